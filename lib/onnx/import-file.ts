/** Reads an ONNX file for import: the message, and the numbers of its tensors, which may stand in the message or in files beside it. */
import { dirname, isAbsolute, join, normalize } from 'node:path'
import { LangevinError } from '../graph/errors.ts'
import { type Shape, showShape, sizeOf } from '../graph/shape.ts'
import { readAt, readWholeFile, sizeOfFile, withFile } from '../runtime/files.ts'
import { fromHalfBits } from './float16.ts'
import { externalLocation } from './format.ts'
import type { ModelProto, TensorProto } from './gen/onnx_pb.ts'
import { decodeOnnx } from './save.ts'

/** A model and where its external data stand. */
export interface OnnxFile {
  readonly model: ModelProto
  /** For messages. */
  readonly source: string
  /** Undefined for bytes. */
  readonly folder: string | undefined
}

/** Numbers of a tensor in a type of ours; int64 is limited to the range of int32, which only "until the end" exceeds. */
export interface OnnxNumbers {
  readonly dtype: 'float32' | 'int32' | 'bool'
  readonly shape: Shape
  readonly data: Float32Array | Int32Array | Uint8Array
  /** The type it had, where float32 is a conversion. */
  readonly from?: string
}

/** @throws LangevinError E_IO for a file that cannot be read, E_ONNX for what is not an ONNX model */
export async function readOnnxFile(source: string | Uint8Array): Promise<OnnxFile> {
  const bytes = typeof source === 'string' ? await readWholeFile(source) : source
  const model = decodeOnnx(bytes)
  if ((model.graph?.node.length ?? 0) + (model.graph?.output.length ?? 0) === 0)
    throw new LangevinError('E_ONNX', `[onnx] ${bytes.byteLength} bytes are not an ONNX model: the graph is empty`)
  if (typeof source !== 'string') return { model, source: 'the given bytes', folder: undefined }
  return { model, source: `'${source}'`, folder: dirname(source) }
}

/** How an element type of ONNX is read: name, bytes an element, field of the message, and the number from a view. */
interface Reading {
  readonly name: string
  readonly bytes: number
  readonly dtype: OnnxNumbers['dtype']
  at(view: DataView, offset: number): number
}

const readings: ReadonlyMap<number, Reading> = new Map<number, Reading>([
  [1, { name: 'float32', bytes: 4, dtype: 'float32', at: (v, o) => v.getFloat32(o, true) }],
  [2, { name: 'uint8', bytes: 1, dtype: 'int32', at: (v, o) => v.getUint8(o) }],
  [3, { name: 'int8', bytes: 1, dtype: 'int32', at: (v, o) => v.getInt8(o) }],
  [4, { name: 'uint16', bytes: 2, dtype: 'int32', at: (v, o) => v.getUint16(o, true) }],
  [5, { name: 'int16', bytes: 2, dtype: 'int32', at: (v, o) => v.getInt16(o, true) }],
  [6, { name: 'int32', bytes: 4, dtype: 'int32', at: (v, o) => v.getInt32(o, true) }],
  [7, { name: 'int64', bytes: 8, dtype: 'int32', at: (v, o) => limited(Number(v.getBigInt64(o, true))) }],
  [9, { name: 'bool', bytes: 1, dtype: 'bool', at: (v, o) => (v.getUint8(o) === 0 ? 0 : 1) }],
  [10, { name: 'float16', bytes: 2, dtype: 'float32', at: (v, o) => fromHalfBits(v.getUint16(o, true)) }],
  [11, { name: 'float64', bytes: 8, dtype: 'float32', at: (v, o) => v.getFloat64(o, true) }],
  [12, { name: 'uint32', bytes: 4, dtype: 'int32', at: (v, o) => limited(v.getUint32(o, true)) }],
  [13, { name: 'uint64', bytes: 8, dtype: 'int32', at: (v, o) => limited(Number(v.getBigUint64(o, true))) }],
  [16, { name: 'bfloat16', bytes: 2, dtype: 'float32', at: (v, o) => upperHalf(v.getUint16(o, true)) }],
])

const made: Readonly<Record<OnnxNumbers['dtype'], (size: number) => OnnxNumbers['data']>> = {
  float32: (n) => new Float32Array(n),
  int32: (n) => new Int32Array(n),
  bool: (n) => new Uint8Array(n),
}

function limited(v: number): number {
  return Math.min(2 ** 31 - 1, Math.max(-(2 ** 31), v))
}

const word = new DataView(new ArrayBuffer(4))

/** The float32 whose upper half these bits are. */
function upperHalf(bits: number): number {
  word.setUint32(0, bits << 16)
  return word.getFloat32(0)
}

/**
 * The numbers of a tensor. @throws LangevinError E_ONNX for a type that is not numbers, for data that are missing or cut short, E_IO for external
 * data that cannot be read
 */
export async function numbersOf(file: OnnxFile, t: TensorProto, name = t.name): Promise<OnnxNumbers> {
  const reading = readings.get(t.dataType ?? 0)
  if (reading === undefined)
    throw tensorError(file, name, `element type ${t.dataType ?? 0} is not supported (numbers and booleans are)`)
  const shape = t.dims.map(Number)
  const size = sizeOf(shape)
  if (!shape.every((d) => d >= 0) || !Number.isSafeInteger(size * reading.bytes))
    throw tensorError(file, name, `${showShape(shape)} is no shape: the file is damaged`)
  const outside = t.dataLocation === externalLocation
  const raw = outside ? await externalBytes(file, t, name, size * reading.bytes) : t.rawData
  // What is there is counted before room is made for what the shape says: a damaged shape may ask for gigabytes.
  const listed = raw.byteLength > 0 || size === 0 ? undefined : listedData(t, reading)
  const [needed, there, unit] =
    listed === undefined ? [size * reading.bytes, raw.byteLength, 'bytes'] : [size, listed.length, 'numbers']
  if (needed !== there)
    throw tensorError(
      file,
      name,
      `${reading.name}${showShape(shape)} takes ${needed} ${unit}; there are ${there}: the file is damaged or cut short`,
    )
  const data = made[reading.dtype](size)
  if (listed !== undefined) data.set(listed)
  else if (reading.name === 'float32') new Uint8Array(data.buffer).set(raw)
  else {
    const view = new DataView(raw.buffer, raw.byteOffset, raw.byteLength)
    for (let i = 0; i < size; i++) data[i] = reading.at(view, i * reading.bytes)
  }
  const converted = reading.dtype === 'float32' && reading.name !== 'float32'
  return { dtype: reading.dtype, shape, data, ...(converted && { from: reading.name }) }
}

/** Data that stand in the message's lists; 16-bit floats are kept there as their bits. */
function listedData(t: TensorProto, { name, dtype }: Reading): number[] {
  if (name === 'float16' || name === 'bfloat16') return t.int32Data.map(name === 'float16' ? fromHalfBits : upperHalf)
  if (name === 'float64') return unknownDoubles(t)
  if (name === 'int64') return t.int64Data.map((v) => limited(Number(v)))
  return dtype === 'float32' ? t.floatData : t.int32Data.map((v) => (dtype === 'bool' && v !== 0 ? 1 : v))
}

/** The field of doubles (number 10, packed), which our part of the schema does not name. */
function unknownDoubles(t: TensorProto): number[] {
  const field = t.$unknown?.find((f) => f.no === 10 && f.wireType === 2)
  if (field === undefined) return []
  const view = new DataView(field.data.buffer, field.data.byteOffset, field.data.byteLength)
  // A packed field begins with its length in bytes, as a varint.
  let start = 0
  while (start < view.byteLength && view.getUint8(start) >= 0x80) start++
  const out: number[] = []
  for (let at = start + 1; at + 8 <= view.byteLength; at += 8) out.push(view.getFloat64(at, true))
  return out
}

/** Bytes of a tensor that stands in a file beside the model. */
async function externalBytes(file: OnnxFile, t: TensorProto, name: string, length: number): Promise<Uint8Array> {
  const entry = (key: string): string | undefined => t.externalData.find((e) => e.key === key)?.value
  const location = entry('location') ?? ''
  if (file.folder === undefined)
    throw tensorError(
      file,
      name,
      `its numbers stand in the file '${location}', which bytes do not have; give the path of the model instead`,
    )
  const inside = normalize(location)
  if (location === '' || isAbsolute(location) || inside.startsWith('..'))
    throw tensorError(file, name, `its numbers stand in '${location}'; a model may only name files in its own folder`)
  const path = join(file.folder, inside)
  const offset = Number(entry('offset') ?? 0)
  const given = Number(entry('length') ?? length)
  return withFile(path, async (handle) => {
    const size = await sizeOfFile(handle, path)
    if (given !== length || !Number.isSafeInteger(offset) || offset < 0 || offset + length > size)
      throw tensorError(
        file,
        name,
        `needs ${length} bytes at ${offset} of '${path}', which has ${size}: it is damaged, or of another model`,
      )
    const bytes = new Uint8Array(length)
    await readAt(handle, path, bytes, offset)
    return bytes
  })
}

function tensorError(file: OnnxFile, name: string, reason: string): LangevinError {
  return new LangevinError('E_ONNX', `[onnx] ${file.source}: tensor '${name}': ${reason}`, { tensor: name })
}
