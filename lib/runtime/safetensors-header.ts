/**
 * The JSON header of a safetensors file: encoding, and parsing as untrusted input.
 * Everything that a reader relies on is checked here: types, sizes, offsets without gap or overlap, names that occur once. No file access.
 */
import { bytesOf, checkShape, type Shape, showShape, sizeOf } from '../graph/shape.ts'

/** Element types that we read, with their bytes. */
const widths = { F32: bytesOf.float32, I32: bytesOf.int32, U8: 1, BOOL: 1, F64: 8, F16: 2, BF16: 2, I64: 8 } as const
export type FileDType = keyof typeof widths

export interface TensorEntry {
  readonly name: string
  readonly dtype: FileDType
  readonly shape: Shape
  /** Byte range within the data section. */
  readonly begin: number
  readonly end: number
}

export interface SafetensorsHeader {
  /** In the order of their data. */
  readonly entries: readonly TensorEntry[]
  readonly metadata: Record<string, string>
  /** Byte offset of the data section in the file. */
  readonly dataStart: number
}

/** Makes the error to throw from what is wrong. */
type Fail = (what: string) => Error

/** Length and JSON, padded with spaces so that the data starts at a multiple of 8 bytes. */
export function encodeHeader(entries: readonly TensorEntry[], metadata: Readonly<Record<string, string>>): Uint8Array {
  const fields: [string, unknown][] = []
  const meta = Object.entries(metadata)
  for (const [key, value] of meta) {
    if (typeof value !== 'string')
      throw new TypeError(`safetensors: metadata '${key}' must be a string; got ${typeof value}`)
  }
  if (meta.length > 0) fields.push(['__metadata__', metadata])
  for (const { name, dtype, shape, begin, end } of entries) {
    if (name === '__metadata__') throw new TypeError(`safetensors: a tensor cannot be named '__metadata__'`)
    checkShape(`safetensors '${name}'`, shape)
    fields.push([name, { dtype, shape, data_offsets: [begin, end] }])
  }
  const names = fields.map(([name]) => name)
  const seen = new Set<string>()
  const twice = names.find((name) => seen.size === seen.add(name).size)
  if (twice !== undefined) throw new TypeError(`safetensors: two tensors are named '${twice}'`)
  const json = new TextEncoder().encode(
    `{${fields.map(([k, v]) => `${JSON.stringify(k)}:${JSON.stringify(v)}`).join(',')}}`,
  )
  const length = Math.ceil(json.length / 8) * 8
  if (length > 100_000_000)
    throw new RangeError(`safetensors: the header has ${length} bytes; the format allows 100000000`)
  const out = new Uint8Array(8 + length).fill(0x20)
  new DataView(out.buffer).setBigUint64(0, BigInt(length), true)
  out.set(json, 8)
  return out
}

/** Checks and decodes the header's text; `dataBytes` is what the file holds behind it. */
export function parseHeader(bytes: Uint8Array, dataBytes: number, fail: Fail): SafetensorsHeader {
  if (bytes[0] !== 0x7b) throw fail(`is no safetensors file: the header begins with byte ${bytes[0]}; expected '{'`)
  let text: string
  let json: unknown
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
    json = JSON.parse(text)
  } catch (e) {
    throw fail(`the header is not JSON in UTF-8 (${(e as Error).message})`)
  }
  const twice = duplicateKey(text)
  if (twice !== undefined) throw fail(`the name '${twice}' occurs twice in the header`)
  const fields = Object.entries(json as Record<string, unknown>)
  const metadata = checkMetadata(fields.find(([name]) => name === '__metadata__')?.[1], fail)
  const entries = fields
    .filter(([name]) => name !== '__metadata__')
    .map(([name, value]) => checkEntry(name, value, fail))
  checkLayout(entries, dataBytes, fail)
  return { entries, metadata, dataStart: 8 + bytes.length }
}

function checkMetadata(value: unknown, fail: Fail): Record<string, string> {
  if (value === undefined) return {}
  if (!isRecord(value)) throw fail('__metadata__ must be an object of strings')
  for (const [key, v] of Object.entries(value)) {
    if (typeof v !== 'string') throw fail(`metadata '${key}' must be a string; got ${JSON.stringify(v)?.slice(0, 80)}`)
  }
  return value as Record<string, string>
}

function checkEntry(name: string, value: unknown, fail: Fail): TensorEntry {
  const wrong = (what: string) => fail(`tensor '${name}': ${what}`)
  if (!isRecord(value)) throw wrong('its header entry is not an object')
  const unknown = Object.keys(value).find((k) => !['dtype', 'shape', 'data_offsets'].includes(k))
  if (unknown !== undefined) throw wrong(`unknown header field '${unknown}'`)
  const { dtype, shape, data_offsets: offsets } = value
  if (typeof dtype !== 'string' || !Object.hasOwn(widths, dtype)) {
    throw wrong(`dtype ${JSON.stringify(dtype)} is not supported; known: ${Object.keys(widths).join(', ')}`)
  }
  if (!isCounts(shape)) throw wrong(`shape must be a list of non-negative integers; got ${show(shape)}`)
  if (!isCounts(offsets) || offsets.length !== 2)
    throw wrong(`data_offsets must be two byte positions; got ${show(offsets)}`)
  const [begin, end] = offsets as [number, number]
  const bytes = sizeOf(shape) * widths[dtype as FileDType]
  if (!Number.isSafeInteger(bytes) || end - begin !== bytes) {
    throw wrong(`${dtype}${showShape(shape)} takes ${bytes} bytes; data_offsets [${begin},${end}] span ${end - begin}`)
  }
  return { name, dtype: dtype as FileDType, shape, begin, end }
}

/** Sorts by position; the ranges must cover the data section exactly once. */
function checkLayout(entries: TensorEntry[], dataBytes: number, fail: Fail): void {
  entries.sort((a, b) => a.begin - b.begin || a.end - b.end)
  let at = 0
  for (const { name, begin, end } of entries) {
    if (end > dataBytes) {
      throw fail(`tensor '${name}' ends at byte ${end} of the data; the file holds ${dataBytes} (was it cut short?)`)
    }
    if (begin !== at) {
      throw fail(
        `tensor '${name}' begins at byte ${begin} of the data; expected ${at}: the data ${begin < at ? 'overlap' : 'have a gap'}`,
      )
    }
    at = end
  }
  if (at !== dataBytes) throw fail(`the tensors take ${at} bytes; the file holds ${dataBytes - at} more`)
}

/** The first name that an object of valid JSON repeats: JSON.parse would keep the last silently. */
function duplicateKey(json: string): string | undefined {
  const open: (Set<string> | undefined)[] = []
  const tokens = /"(?:[^"\\]|\\.)*"(\s*:)?|[{}[\]]/g
  for (let m = tokens.exec(json); m !== null; m = tokens.exec(json)) {
    const token = m[0]
    if (token === '{') open.push(new Set())
    else if (token === '[') open.push(undefined)
    else if (token === '}' || token === ']') open.pop()
    else if (m[1] !== undefined) {
      const key = JSON.parse(token.slice(0, token.length - m[1].length)) as string
      const keys = open.at(-1)
      if (keys?.has(key)) return key
      keys?.add(key)
    }
  }
  return undefined
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function isCounts(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((d) => Number.isSafeInteger(d) && d >= 0)
}

function show(value: unknown): string {
  return (JSON.stringify(value) ?? 'nothing').slice(0, 80)
}
