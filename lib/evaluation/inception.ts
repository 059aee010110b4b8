/**
 * The inception score (Salimans et al. 2016): exp of the mean divergence of p(y|x) from p(y) over samples, by the class probabilities of
 * a classifier that is the caller's. It sees neither the data nor variety within a class; report it beside other figures.
 */
import { LangevinError } from '../graph/errors.ts'
import type { HostTensor } from '../graph/host-tensor.ts'
import { showShape } from '../graph/shape.ts'
import { asRows, checkCount, checkFinite } from './checks.ts'
import { logSoftmax } from './classification.ts'
import { type FeatureOptions, onnxFeatures } from './features.ts'

export interface InceptionOptions {
  /** Parts, in the given order, that are scored apart. Default 10, as published; every part needs a row. */
  readonly splits?: number
  /** What the numbers are. Default `logits`. */
  readonly outputs?: 'logits' | 'probabilities'
}

export interface InceptionScore {
  /** Mean over the splits of exp(mean KL(p(y|x) ‖ p(y))): from 1 to the number of classes. */
  readonly mean: number
  /** Standard deviation over the splits (divisor their number, as published). */
  readonly std: number
  readonly splits: number
}

/**
 * Inception score of class logits or probabilities [n, classes], in float64.
 * Throws LangevinError E_SHAPE (not [n, k] with k >= 2, fewer rows than splits), E_DATA (not finite; rows that are no probabilities);
 * RangeError for an option.
 */
export function inceptionScore(x: HostTensor, options: InceptionOptions = {}): InceptionScore {
  const { splits = 10, outputs = 'logits' } = options
  checkCount('inceptionScore: splits', splits, 1)
  if (outputs !== 'logits' && outputs !== 'probabilities') {
    throw new RangeError(`inceptionScore: outputs must be 'logits' or 'probabilities'; got ${JSON.stringify(outputs)}`)
  }
  const logs = outputs === 'logits' ? logSoftmax(x) : logProbabilities(x)
  const rows = x.shape[0] ?? 0
  if (rows < splits) {
    throw new LangevinError(
      'E_SHAPE',
      `inceptionScore: ${rows} rows cannot be split into ${splits} parts; give at least ${splits} rows or fewer splits`,
      { rows, splits },
    )
  }
  const classes = logs.length / rows
  const scores = Array.from({ length: splits }, (_, s) =>
    scoreOf(logs, classes, Math.floor((s * rows) / splits), Math.floor(((s + 1) * rows) / splits)),
  )
  const mean = scores.reduce((a, b) => a + b, 0) / splits
  return { mean, std: Math.sqrt(scores.reduce((a, b) => a + (b - mean) ** 2, 0) / splits), splits }
}

/** {@link inceptionScore} of an ONNX classifier's output for inputs x [n, ...]; see onnxFeatures. */
export async function onnxInceptionScore(
  path: string,
  x: HostTensor,
  options: InceptionOptions & FeatureOptions = {},
): Promise<InceptionScore> {
  return inceptionScore(await onnxFeatures(path, x, options), options)
}

/** exp of the mean over rows start..end-1 of Σ p (log p - log q), q their mean; a class without probability adds nothing. */
function scoreOf(logs: Float64Array, classes: number, start: number, end: number): number {
  const count = end - start
  const marginal = new Float64Array(classes)
  let negativeEntropy = 0
  for (let i = start * classes; i < end * classes; i++) {
    const log = logs[i]!
    const p = Math.exp(log)
    marginal[i % classes]! += p / count
    if (p > 0) negativeEntropy += p * log
  }
  const marginalEntropy = marginal.reduce((h, q) => (q > 0 ? h - q * Math.log(q) : h), 0)
  return Math.exp(negativeEntropy / count + marginalEntropy)
}

/** Rows of probabilities as logarithms, normalised in float64; a row may be off 1 by what float32 rounding gives. */
function logProbabilities(x: HostTensor): Float64Array {
  if (x.shape.length !== 2 || (x.shape[1] ?? 0) < 2) {
    throw new LangevinError(
      'E_SHAPE',
      `inceptionScore: probabilities must have shape [n, k] with k >= 2; got ${showShape(x.shape)}`,
      { shape: x.shape },
    )
  }
  const { data, rows, columns } = asRows('inceptionScore: probabilities', x)
  checkFinite('inceptionScore: probabilities', data)
  const out = new Float64Array(rows * columns)
  for (let i = 0; i < rows; i++) {
    let sum = 0
    let least = 0
    for (let k = 0; k < columns; k++) {
      sum += data[i * columns + k]!
      least = Math.min(least, data[i * columns + k]!)
    }
    if (least < 0 || Math.abs(sum - 1) > 1e-3) {
      throw new LangevinError(
        'E_DATA',
        `inceptionScore: row ${i} holds no probabilities (least ${least}, sum ${sum}); logits need outputs: 'logits'`,
        { row: i, least, sum },
      )
    }
    for (let k = 0; k < columns; k++) out[i * columns + k] = Math.log(data[i * columns + k]! / sum)
  }
  return out
}
