/**
 * Checks plain data (options, configurations) against a zod schema, with errors that name the place, the value and the nearest right word.
 * The schemas stand with what they describe.
 */
import { z } from 'zod'
import { LangevinError, suggestion } from '../graph/errors.ts'

/** Numbers that schemas are made of: a whole number from 1, one above 0, one from 0. */
export const count = z.int().min(1)
export const positive = z.number().positive()
export const amount = z.number().min(0)

/** What a fault of the whole value is called. */
const ROOT = 'the configuration'

/** Faults of `value`, a line each, with their place below `place`; none if it fits. */
export function faultsOf(schema: z.ZodType, value: unknown, place = ''): string[] {
  return describe(schema, value, place, () => true)
}

/**
 * Refuses keys that options do not have, as a misspelled one would be silently left out. Values are checked where they are used, by name.
 * @throws LangevinError E_CONFIG with every such key and the nearest right one.
 */
export function checkKeys(schema: z.ZodType, options: unknown, what: string): void {
  const faults = describe(schema, options, 'options', (issue) => issue.code === 'unrecognized_keys')
  if (faults.length === 0) return
  throw new LangevinError('E_CONFIG', `${what}: ${faults.join('; ')}`, { faults })
}

function describe(schema: z.ZodType, value: unknown, place: string, wanted: (issue: Issue) => boolean): string[] {
  const result = schema.safeParse(value)
  if (result.success) return []
  const issues = (result.error.issues as Issue[]).filter(wanted)
  const faults = issues.flatMap((issue) => describeIssue(schema, issue, value))
  return place === ''
    ? faults
    : faults.map((f) => (f.startsWith(ROOT) ? place + f.slice(ROOT.length) : `${place}.${f}`))
}

/** What this file reads of a zod issue. */
interface Issue {
  readonly code: string
  readonly path: readonly PropertyKey[]
  readonly message: string
  readonly keys?: readonly string[]
  readonly values?: readonly unknown[]
  readonly errors?: readonly (readonly Issue[])[]
  /** What the discriminator of a union may be. */
  readonly options?: readonly unknown[]
}

function describeIssue(schema: z.core.$ZodType, issue: Issue, root: unknown): string[] {
  const place = issue.path.length === 0 ? ROOT : issue.path.join('.')
  if (issue.code === 'unrecognized_keys') {
    return (issue.keys ?? []).map(
      (key) => `${place}: unknown key '${key}'.${suggestion(key, keysAt(schema, issue.path, root))}`,
    )
  }
  const got = valueAt(issue.path, root)
  const allowed = issue.values ?? issue.options
  if (allowed !== undefined && got === undefined) return [`${place}: is missing; give one of ${allowed.join(', ')}`]
  if (allowed !== undefined && typeof got === 'string') {
    const others = issue.code === TELLING && issue.message !== '' ? ` Or ${issue.message}.` : ''
    return [`${place}: '${got}' is not allowed.${suggestion(got, allowed.map(String))}${others}`]
  }
  if (issue.code === 'invalid_union') {
    const alternatives = issue.errors ?? []
    if (got === undefined) return [`${place}: is missing; give ${alternativesAt(schema, issue.path, root)}`]
    const telling = tellingIssue(alternatives)
    if (telling !== undefined)
      return describeIssue(schema, { ...telling, path: [...issue.path, ...telling.path] }, root)
    const words = alternatives.find((list) => typeof got === 'string' && list[0]?.values && list[0].path.length === 0)
    const nested = words ?? [...alternatives].sort((a, b) => a.length - b.length || deepest(b) - deepest(a))[0]
    if (nested !== undefined)
      return nested.flatMap((n) => describeIssue(schema, { ...n, path: [...issue.path, ...n.path] }, root))
  }
  if (got === undefined) return [`${place}: is missing; ${inWords(issue.message)}`]
  return [`${place}: ${inWords(issue.message)}; got ${show(got)}`]
}

/** Code of an issue put together by {@link tellingIssue}. */
const TELLING = 'telling'

/** Where all alternatives that are objects fault the same field (`kind`, mostly): that issue, with what any of them allows there. */
function tellingIssue(alternatives: readonly (readonly Issue[])[]): Issue | undefined {
  const objects = alternatives.filter((list) => list.some((i) => i.path.length > 0))
  const field = objects[0]?.find((i) => i.path.length === 1)?.path[0]
  const own = objects.map((list) => list.find((i) => i.path.length === 1 && i.path[0] === field))
  if (field === undefined || own.length < 2 || !own.every((i) => i !== undefined)) return undefined
  const options = own.flatMap((i) => i.values ?? i.options ?? [])
  if (options.length === 0) return undefined
  const others = own
    .filter((i) => (i.values ?? i.options) === undefined)
    .map((i) => inWords(i.message).replace(/^expected /, 'a '))
  return { code: TELLING, path: [field], options, message: [...new Set(others)].join(', or ') }
}

/** What the union at a place takes, in a few words. */
function alternativesAt(schema: z.core.$ZodType, path: readonly PropertyKey[], root: unknown): string {
  const key = path.at(-1) as string
  const parent = objectAt(schema, path.slice(0, -1), root)
  const found =
    parent instanceof z.ZodObject ? unwrapped((parent.shape as Record<string, z.core.$ZodType>)[key]) : undefined
  const options = found instanceof z.ZodUnion ? found.options.map((o) => inKind(o as z.core.$ZodType)) : []
  return [...new Set(options)].join(' or ') || 'one of its kinds'
}

function inKind(schema: z.core.$ZodType): string {
  if (schema instanceof z.ZodObject) return `{ ${Object.keys(schema.shape).join(', ')} }`
  if (schema instanceof z.ZodArray) return 'a list'
  if (schema instanceof z.ZodNumber) return 'a number'
  if (schema instanceof z.ZodLiteral) return [...schema.values].map((v) => JSON.stringify(v)).join(' or ')
  if (schema instanceof z.ZodEnum) return schema.options.map((v) => `'${v}'`).join(' or ')
  return `a ${schema._zod.def.type}`
}

function unwrapped(schema: z.core.$ZodType | undefined): z.core.$ZodType | undefined {
  return schema instanceof z.ZodOptional || schema instanceof z.ZodNullable ? unwrapped(schema.unwrap()) : schema
}

/** Zod's message without what is said beside it. */
function inWords(message: string): string {
  return message
    .replace(/^Invalid input: /, '')
    .replace(/, received .*$/, '')
    .replace(/^Too (?:small|big): expected number to be /, 'expected a number ')
    .replace(/^Too (?:small|big): /, '')
    .replace('>=', '≥ ')
    .replace('<=', '≤ ')
    .replace(/([<>])(?=\d)/, '$1 ')
}

function deepest(issues: readonly Issue[]): number {
  return Math.max(0, ...issues.map((i) => i.path.length))
}

function valueAt(path: readonly PropertyKey[], root: unknown): unknown {
  return path.reduce<unknown>(
    (v, key) => (typeof v === 'object' && v !== null ? (v as Record<PropertyKey, unknown>)[key] : undefined),
    root,
  )
}

/** Keys that the schema allows where an unknown one was found. */
function keysAt(schema: z.core.$ZodType, path: readonly PropertyKey[], root: unknown): string[] {
  const at = objectAt(schema, path, root)
  return at instanceof z.ZodObject ? Object.keys(at.shape) : []
}

/** The schema at a place, of unions the alternative that the value is meant to be. */
function objectAt(schema: z.core.$ZodType, path: readonly PropertyKey[], root: unknown): z.core.$ZodType | undefined {
  let at: z.core.$ZodType | undefined = schema
  for (let depth = 0; ; depth++) {
    at = resolveSchema(at, valueAt(path.slice(0, depth), root))
    if (depth === path.length) return at
    const key = path[depth] as string
    at =
      at instanceof z.ZodArray
        ? at.element
        : at instanceof z.ZodObject
          ? (at.shape as Record<string, z.core.$ZodType>)[key]
          : undefined
  }
}

/** Unwraps optionals and picks the alternative of a union that the value is meant to be. */
function resolveSchema(schemaAt: z.core.$ZodType | undefined, value: unknown): z.core.$ZodType | undefined {
  let at = schemaAt
  if (at instanceof z.ZodOptional || at instanceof z.ZodNullable) at = resolveSchema(at.unwrap(), value)
  if (at instanceof z.ZodUnion) {
    const options = at.options.map((o) => resolveSchema(o as z.core.$ZodType, value))
    const objects = options.filter((o) => o instanceof z.ZodObject)
    const byWords = objects.map((o) => ({ o, words: agreeing(o, value) })).sort((a, b) => b.words - a.words)[0]
    return byWords !== undefined && byWords.words >= 0 ? byWords.o : (objects[0] ?? options[0])
  }
  return at
}

/** How many fields that must be certain words (`kind`, mostly) are those in the value; -1 if any is not. */
function agreeing(schema: z.ZodObject, value: unknown): number {
  const fields = typeof value === 'object' && value !== null ? (value as Readonly<Record<string, unknown>>) : {}
  const words = Object.entries(schema.shape).filter(([, s]) => s instanceof z.ZodLiteral || s instanceof z.ZodEnum)
  return words.every(([name, s]) => z.safeParse(s as z.ZodType, fields[name]).success) ? words.length : -1
}

function show(value: unknown): string {
  const text = JSON.stringify(value) ?? 'nothing'
  return text.length > 80 ? `${text.slice(0, 80)}...` : text
}
