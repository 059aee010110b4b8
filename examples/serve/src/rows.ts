/** Examples out of request bodies: JSON arrays, raw float32 or uint8, PNG. Shapes and numbers are checked; units are still those of the data. */
import { Fields } from './check.ts'
import { ServeError } from './errors.ts'
import { readPicture } from './picture.ts'

/** What examples must look like. */
export interface RowsFormat {
  readonly shape: readonly number[]
  /** Most examples of a request. */
  readonly most: number
  /** Raw values of black and white; null for data that are no pixels. */
  readonly range: readonly [number, number] | null
}

export const MEDIA = ['application/json', 'application/octet-stream', 'image/png'] as const

/**
 * The numbers of `{ "instances": [...] }`: each instance nested as its shape says, or flat.
 * @throws ServeError E_SHAPE or E_VALUE that names the place.
 */
export function rowsOfJson(body: unknown, format: RowsFormat): Float32Array {
  const fields = new Fields(body, '', (refusal) => new ServeError('E_VALUE', refusal))
  const instances = fields.raw('instances')
  fields.done()
  if (!Array.isArray(instances)) {
    throw new ServeError('E_SHAPE', {
      what: "'instances'",
      value: instances ?? null,
      expected: `an array of examples, each ${shapeText(format.shape)}`,
    })
  }
  const width = sizeOf(format.shape)
  checkCount(instances.length, format)
  const rows = new Float32Array(instances.length * width)
  for (const [i, instance] of instances.entries())
    fillExample(rows, i * width, instance, `instances[${i}]`, format.shape)
  return checkRange(rows, format)
}

/** Little-endian float32, or bytes, one example after the other. */
export function rowsOfBytes(bytes: Buffer, dtype: 'float32' | 'uint8', format: RowsFormat): Float32Array {
  const width = sizeOf(format.shape)
  const stride = width * (dtype === 'float32' ? 4 : 1)
  if (bytes.length === 0 || bytes.length % stride !== 0) {
    throw new ServeError('E_SHAPE', {
      what: 'the length of the body in bytes',
      value: bytes.length,
      expected: `a positive multiple of ${stride}: examples of ${shapeText(format.shape)} as ${dtype}`,
      remedy: dtype === 'float32' ? 'Bytes are sent with ?dtype=uint8' : 'Floats are sent with ?dtype=float32',
    })
  }
  const count = bytes.length / stride
  checkCount(count, format)
  if (dtype === 'uint8') return checkRange(Float32Array.from(bytes), format)
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  const rows = new Float32Array(count * width)
  for (let i = 0; i < rows.length; i++) {
    const v = view.getFloat32(4 * i, true)
    if (!Number.isFinite(v)) throw notFinite(`number ${i % width} of example ${Math.floor(i / width)}`, v)
    rows[i] = v
  }
  return checkRange(rows, format)
}

/** One picture of the model's size; 0 is the low end of the data's range, white its high end. */
export function rowsOfPng(bytes: Buffer, { shape, range }: RowsFormat): Float32Array {
  const [channels, height, width] = shape
  if (shape.length !== 3 || (channels !== 1 && channels !== 3) || range === null) {
    throw new ServeError('E_MEDIA_TYPE', {
      what: `this model takes examples of ${shapeText(shape)}, which are no pictures; the content type`,
      value: 'image/png',
      expected: 'application/json or application/octet-stream',
    })
  }
  const planes = readPicture(bytes, { channels, height: height as number, width: width as number })
  const [low, high] = range
  return planes.map((p) => low + (p / 255) * (high - low))
}

export function sizeOf(shape: readonly number[]): number {
  return shape.reduce((a, b) => a * b, 1)
}

export function shapeText(shape: readonly number[]): string {
  return `[${shape.join(', ')}]`
}

function checkCount(count: number, { most }: RowsFormat): void {
  if (count >= 1 && count <= most) return
  throw new ServeError(count === 0 ? 'E_SHAPE' : 'E_TOO_LARGE', {
    what: 'the number of examples',
    value: count,
    expected: `1 to ${most} in a request`,
    ...(count === 0 ? {} : { remedy: 'Send them in several requests' }),
  })
}

/**
 * Refuses numbers further beyond the range of the data than the range is wide: most often they come in other units (0..255 for 0..16), and
 * there, where no data ever were, log p(x) can be as high as it likes. Less, as samplers without bounds overshoot, log p(x) has to judge.
 */
function checkRange(rows: Float32Array, { range, shape }: RowsFormat): Float32Array {
  if (range === null) return rows
  const [low, high] = range
  const at = rows.findIndex((v) => v < 2 * low - high || v > 2 * high - low)
  if (at < 0) return rows
  const width = sizeOf(shape)
  throw new ServeError('E_VALUE', {
    what: `number ${at % width} of example ${Math.floor(at / width)}`,
    value: rows[at],
    expected: `${low} to ${high}, the range of the data`,
    remedy: 'Send numbers in the units of the data: see "input" of GET /model',
  })
}

/** Writes one example, nested or flat, to `rows` at `at`. */
function fillExample(rows: Float32Array, at: number, value: unknown, where: string, shape: readonly number[]): void {
  const flat = sizeOf(shape)
  if (Array.isArray(value) && value.length === flat && typeof value[0] === 'number') {
    for (let j = 0; j < flat; j++) rows[at + j] = finite(value[j], where, j)
    return
  }
  const [n = 0, ...rest] = shape
  if (!Array.isArray(value) || value.length !== n) {
    throw new ServeError('E_SHAPE', {
      what: where,
      value: value ?? null,
      expected: `${shapeText(shape)} numbers, nested${shape.length > 1 ? ` or flat (${flat})` : ''}`,
    })
  }
  const stride = flat / n
  for (let j = 0; j < n; j++) {
    if (rest.length === 0) rows[at + j] = finite(value[j], where, j)
    else fillExample(rows, at + j * stride, value[j], `${where}[${j}]`, rest)
  }
}

/** A number that float32 can hold too. */
function finite(value: unknown, where: string, index: number): number {
  if (typeof value === 'number' && Number.isFinite(Math.fround(value))) return value
  throw notFinite(`${where}[${index}]`, value)
}

function notFinite(what: string, value: unknown): ServeError {
  return new ServeError('E_VALUE', { what, value: value ?? null, expected: 'a finite float32 number' })
}
