/**
 * Reading untrusted objects (request bodies, queries, langevin.json) field by field: each reader checks one value and names it where it does not
 * fit; `done` refuses names that nobody asked for. It knows no HTTP: what is thrown is up to the caller.
 */
import type { Refusal } from './errors.ts'

export type Fail = (refusal: Refusal) => Error

export interface Bounds {
  readonly least?: number
  readonly most?: number
  /** What to do about a value beyond the bounds. */
  readonly remedy?: string
}

/** The fields of one object. */
export class Fields {
  readonly #record: Readonly<Record<string, unknown>>
  readonly #where: string
  readonly #fail: Fail
  readonly #asked = new Set<string>()
  /** Query strings hold text only: numbers and booleans are read from it. */
  readonly #textual: boolean

  /** @throws what `fail` makes, when `value` is no object. */
  constructor(value: unknown, where: string, fail: Fail, textual = false) {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) {
      throw fail({ what: where === '' ? 'the JSON' : where, value: value ?? null, expected: 'an object' })
    }
    this.#record = value as Record<string, unknown>
    this.#where = where
    this.#fail = fail
    this.#textual = textual
  }

  /** The value of a field as it stands; undefined where it is missing or null. */
  raw(name: string): unknown {
    this.#asked.add(name)
    return Object.hasOwn(this.#record, name) ? (this.#record[name] ?? undefined) : undefined
  }

  has(name: string): boolean {
    return this.raw(name) !== undefined
  }

  number(name: string, bounds: Bounds = {}): number | undefined {
    return this.#numeric(name, bounds, 'a finite number', Number.isFinite)
  }

  integer(name: string, bounds: Bounds = {}): number | undefined {
    return this.#numeric(name, bounds, 'a whole number', Number.isSafeInteger)
  }

  text(name: string): string | undefined {
    const value = this.raw(name)
    if (value === undefined || typeof value === 'string') return value
    throw this.wrong(name, 'text')
  }

  flag(name: string): boolean | undefined {
    const value = this.raw(name)
    if (value === undefined || typeof value === 'boolean') return value
    if (this.#textual && (value === 'true' || value === '')) return true
    if (this.#textual && value === 'false') return false
    throw this.wrong(name, 'true or false')
  }

  choice<T extends string>(name: string, choices: readonly T[]): T | undefined {
    const value = this.raw(name)
    if (value === undefined) return undefined
    const found = choices.find((c) => c === value)
    if (found === undefined) throw this.wrong(name, `one of ${choices.join(', ')}`)
    return found
  }

  /** An object, read by its own fields. */
  fields(name: string): Fields | undefined {
    const value = this.raw(name)
    return value === undefined ? undefined : new Fields(value, this.path(name), this.#fail)
  }

  /** An array all of whose entries pass `fits`. */
  list<T>(name: string, expected: string, fits: (entry: unknown) => entry is T): readonly T[] | undefined {
    const value = this.raw(name)
    if (value === undefined) return undefined
    if (!Array.isArray(value) || !value.every(fits)) throw this.wrong(name, expected)
    return value
  }

  /** What `read` gave, which must be there. */
  needed<T>(name: string, value: T | undefined, expected: string): T {
    if (value !== undefined) return value
    throw this.#fail({ what: `'${this.path(name)}' is missing`, expected })
  }

  /** Refuses fields that were not asked for. */
  done(): void {
    const unknown = Object.keys(this.#record).find((name) => !this.#asked.has(name))
    if (unknown === undefined) return
    const known = [...this.#asked]
    const meant = known.find((name) => near(name, unknown))
    throw this.#fail({
      what: `there is no '${this.path(unknown)}'`,
      expected: known.length === 0 ? 'no fields here' : `any of ${known.join(', ')}`,
      ...(meant === undefined ? {} : { remedy: `Did you mean '${meant}'?` }),
    })
  }

  wrong(name: string, expected: string, remedy?: string): Error {
    return this.#fail({ what: `'${this.path(name)}'`, value: this.raw(name), expected, remedy })
  }

  path(name: string): string {
    return this.#where === '' ? name : `${this.#where}.${name}`
  }

  #numeric(name: string, bounds: Bounds, kind: string, fits: (n: number) => boolean): number | undefined {
    const value = this.raw(name)
    if (value === undefined) return undefined
    const n = this.#textual && typeof value === 'string' && value.trim() !== '' ? Number(value) : value
    const { least = Number.NEGATIVE_INFINITY, most = Number.POSITIVE_INFINITY } = bounds
    if (typeof n === 'number' && fits(n) && n >= least && n <= most) return n
    throw this.wrong(name, `${kind}${rangeText(least, most)}`, bounds.remedy)
  }
}

export const isText = (value: unknown): value is string => typeof value === 'string'
export const isNumber = (value: unknown): value is number => typeof value === 'number' && Number.isFinite(value)
export const isSize = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) > 0

function rangeText(least: number, most: number): string {
  if (least === Number.NEGATIVE_INFINITY && most === Number.POSITIVE_INFINITY) return ''
  if (most === Number.POSITIVE_INFINITY) return ` of at least ${least}`
  return least === Number.NEGATIVE_INFINITY ? ` of at most ${most}` : ` in ${least}..${most}`
}

/** Whether two names differ by at most two edits (one, for short names) or by case alone. */
export function near(a: string, b: string): boolean {
  const [from, to] = [a.toLowerCase(), b.toLowerCase()]
  if (from === to) return true
  let row = Array.from({ length: to.length + 1 }, (_, i) => i)
  for (let i = 1; i <= from.length; i++) {
    const next = [i]
    for (let j = 1; j <= to.length; j++) {
      const change = (row[j - 1] ?? 0) + (from[i - 1] === to[j - 1] ? 0 : 1)
      next.push(Math.min(change, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1))
    }
    row = next
  }
  return (row.at(-1) ?? 0) <= (Math.min(a.length, b.length) < 4 ? 1 : 2)
}
