/**
 * The library's own error classes. Every message names the value, the expectation and the remedy.
 * Plain misuse of an argument throws TypeError or RangeError; what a caller may want to catch by kind has a class here.
 */

/** Codes that {@link LangevinError} carries, one per kind of failure a caller may handle. */
export type ErrorCode =
  | 'E_SHAPE'
  | 'E_DTYPE'
  | 'E_GRAPH'
  | 'E_NOT_DIFFERENTIABLE'
  | 'E_PLAN'
  | 'E_NATIVE_MISSING'
  | 'E_DEVICE'
  | 'E_DATA'
  | 'E_CONFIG'
  | 'E_CHECKPOINT'
  | 'E_IO'
  | 'E_DIVERGED'
  | 'E_CANCELLED'
  | 'E_ONNX'
  | 'E_INTERNAL'

/** An error of this library; `code` tells its kind, `details` carries the values the message names. */
export class LangevinError extends Error {
  readonly code: ErrorCode
  readonly details: Readonly<Record<string, unknown>>

  constructor(code: ErrorCode, message: string, details: Record<string, unknown> = {}, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause })
    this.name = 'LangevinError'
    this.code = code
    this.details = details
  }
}

/** Thrown where two shapes do not fit, while the graph is being built. */
export function shapeError(op: string, expectation: string, details: Record<string, unknown> = {}): LangevinError {
  return new LangevinError('E_SHAPE', `[${op}] ${expectation}`, details)
}

/** Thrown where a dtype is not the one an op takes, while the graph is being built. */
export function dtypeError(op: string, expectation: string, details: Record<string, unknown> = {}): LangevinError {
  return new LangevinError('E_DTYPE', `[${op}] ${expectation}`, details)
}

/** Our own bug: a state that no input should be able to reach. */
export function internalError(what: string): LangevinError {
  return new LangevinError('E_INTERNAL', `internal: ${what}. This is a bug in langevin; please report it.`)
}

/** The candidate nearest to `word` by edit distance, if it is near enough to be what was meant. */
export function nearest(word: string, candidates: readonly string[]): string | undefined {
  let best: string | undefined
  let least = Math.max(2, Math.ceil(word.length / 3)) + 1
  for (const candidate of candidates) {
    const d = editDistance(word.toLowerCase(), candidate.toLowerCase())
    if (d < least) {
      least = d
      best = candidate
    }
  }
  return best
}

function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j)
  for (let i = 1; i <= a.length; i++) {
    const next = [i]
    for (let j = 1; j <= b.length; j++) {
      const substitute = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1)
      next.push(Math.min(substitute, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1))
    }
    row = next
  }
  return row[b.length] ?? 0
}

/** " Did you mean 'x'?" or the list of what is known: the tail of a message about an unknown name. */
export function suggestion(word: string, candidates: readonly string[]): string {
  const near = nearest(word, candidates)
  return near === undefined ? ` Known: ${candidates.join(', ')}.` : ` Did you mean '${near}'?`
}
