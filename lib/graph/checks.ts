/** Checks of option values that all folders share: each refuses by name, with the value and what is expected. No shapes here (see shape.ts). */
import { LangevinError, suggestion } from './errors.ts'

/** @throws RangeError unless `value` is an integer of at least `least` */
export function checkInteger(what: string, value: number, least: number): void {
  if (!Number.isSafeInteger(value) || value < least)
    throw new RangeError(`${what} must be an integer ≥ ${least}; got ${String(value)}`)
}

/** @throws RangeError unless `value` is finite and > 0 */
export function checkPositive(what: string, value: number): void {
  if (!(Number.isFinite(value) && value > 0))
    throw new RangeError(`${what} must be a positive finite number; got ${String(value)}`)
}

/** @throws RangeError unless `value` is finite and ≥ 0 */
export function checkNotNegative(what: string, value: number): void {
  if (!(Number.isFinite(value) && value >= 0))
    throw new RangeError(`${what} must be a finite number ≥ 0; got ${String(value)}`)
}

/** @throws LangevinError E_CONFIG that names the nearest right word, unless `value` is one of `known` */
export function checkChoice(what: string, value: string, known: readonly string[]): void {
  if (!known.includes(value))
    throw new LangevinError('E_CONFIG', `${what} '${String(value)}' is not known.${suggestion(String(value), known)}`, {
      value,
      known,
    })
}

/** A misspelled option would be left out in silence. @throws LangevinError E_CONFIG for a key that is none of `known` */
export function checkOptionNames(what: string, options: object, known: readonly string[]): void {
  for (const name of Object.keys(options)) checkChoice(`${what}: option`, name, known)
}
