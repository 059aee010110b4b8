/** Checks of sampler options: each refuses with the sampler, the option, the value, what is expected and, for a misspelled name, the nearest right one. */
import { checkInteger, checkNotNegative, checkChoice as choice, checkPositive as positive } from '../graph/checks.ts'
import { LangevinError, suggestion } from '../graph/errors.ts'
import type { Bounds } from './sampler.ts'

/** The options with the defaults filled in; an option that `defaults` does not list is refused. */
export function resolve<T extends { readonly kind: string }>(options: T, defaults: Required<T>): Required<T> {
  const known = Object.keys(defaults)
  const given = Object.fromEntries(Object.entries(options).filter(([, v]) => v !== undefined))
  for (const name of Object.keys(given)) {
    if (!known.includes(name)) {
      throw new LangevinError(
        'E_CONFIG',
        `sampler ${options.kind}: option '${name}' is not known.${suggestion(name, known)}`,
      )
    }
  }
  return { ...defaults, ...given }
}

export function checkCount(kind: string, name: string, value: number): void {
  checkInteger(`sampler ${kind}: ${name}`, value, 1)
}

/** Finite and ≥ 0, or null. */
export function checkNonNegative(kind: string, values: Record<string, number | null>): void {
  for (const [name, v] of Object.entries(values)) if (v !== null) checkNotNegative(`sampler ${kind}: ${name}`, v)
}

/** Finite and > 0. */
export function checkPositive(kind: string, values: Record<string, number>): void {
  for (const [name, v] of Object.entries(values)) positive(`sampler ${kind}: ${name}`, v)
}

/** Strictly between `low` and `high`, or equal to `low` where `closed`. */
export function checkBetween(
  kind: string,
  name: string,
  value: number,
  low: number,
  high: number,
  closed = false,
): void {
  if (!(value < high && (closed ? value >= low : value > low)))
    throw new RangeError(`sampler ${kind}: ${name} must be ${closed ? '≥' : '>'} ${low} and < ${high}; got ${value}`)
}

export function checkBounds(kind: string, bounds: Bounds): void {
  if (bounds !== null && !(bounds[0] < bounds[1])) {
    throw new RangeError(
      `sampler ${kind}: bounds must be [low, high] with low < high; got [${bounds[0]}, ${bounds[1]}]`,
    )
  }
}

/** One of a list of names. */
export function checkChoice(kind: string, name: string, value: string, choices: readonly string[]): void {
  choice(`sampler ${kind}: ${name}`, value, choices)
}
