/**
 * Safetensors: named tensors in one file, exchanged with PyTorch and everybody else, and the form of our checkpoints.
 * The format: 8 bytes little-endian header length, a JSON header, raw little-endian data. What the names mean is the checkpoint's business.
 * Reading trusts nothing: safetensors-header.ts checks the header before a byte of data is touched.
 */
import { endianness } from 'node:os'
import { type ErrorCode, LangevinError } from '../graph/errors.ts'
import { type HostTensor, hostTensor, type TypedArray, zeros } from '../graph/host-tensor.ts'
import { bytesOf, type DType, sizeOf } from '../graph/shape.ts'
import { readAt, sizeOfFile, withFile, writeAt, writeAtomically } from './files.ts'
import {
  encodeHeader,
  type FileDType,
  parseHeader,
  type SafetensorsHeader,
  type TensorEntry,
} from './safetensors-header.ts'

export interface SafetensorsFile {
  /** In the order of the data in the file. */
  readonly tensors: Map<string, HostTensor>
  /** The header's `__metadata__`; empty if there is none. */
  readonly metadata: Record<string, string>
}

/** Bytes that a conversion reads at once; a multiple of every element size. */
const conversionBytes = 8 * 1024 * 1024

const fileDType: Readonly<Record<DType, FileDType>> = { float32: 'F32', int32: 'I32', uint8: 'U8', bool: 'BOOL' }

/**
 * Reads all tensors of a safetensors file.
 * F32, I32, U8 and BOOL as they are; F64, F16 and BF16 become float32, I64 int32 (a value that does not fit is an error).
 * @throws LangevinError E_CHECKPOINT if the file is malformed (names file and tensor), E_IO if it cannot be read.
 */
export function readSafetensors(path: string): Promise<SafetensorsFile> {
  requireLittleEndian()
  return withFile(path, async (file) => {
    const header = await readHeader(file, path)
    const tensors = new Map<string, HostTensor>()
    for (const entry of header.entries) {
      const read = async (into: Uint8Array, offset: number): Promise<void> => {
        const got = await readAt(file, path, into, header.dataStart + entry.begin + offset)
        if (got !== into.length)
          throw checkpointError(path, `tensor '${entry.name}': the file became shorter while it was read`)
      }
      tensors.set(entry.name, await readTensor(path, entry, read))
    }
    return { tensors, metadata: header.metadata }
  })
}

/** Names, types, shapes and metadata of a safetensors file, without its data. Errors as {@link readSafetensors}. */
export function inspectSafetensors(path: string): Promise<SafetensorsHeader> {
  return withFile(path, (file) => readHeader(file, path))
}

/**
 * Writes named tensors, atomically: a crash or an error leaves the old file as it was (see writeAtomically).
 * The data must not change until the promise settles. Equal tensors give equal bytes: the order in the file is by element size, then name.
 * @throws LangevinError E_IO if the file cannot be written; TypeError or RangeError for what the format cannot hold.
 */
export async function writeSafetensors(
  path: string,
  tensors: ReadonlyMap<string, HostTensor> | Readonly<Record<string, HostTensor>>,
  metadata: Readonly<Record<string, string>> = {},
): Promise<void> {
  requireLittleEndian()
  const list = [...(tensors instanceof Map ? tensors : Object.entries(tensors))] as [string, HostTensor][]
  // Larger elements first: with the padded header every tensor is then aligned to its element.
  list.sort(([a, s], [b, t]) => bytesOf[t.dtype] - bytesOf[s.dtype] || (a < b ? -1 : 1))
  let end = 0
  const entries = list.map(([name, t]): TensorEntry => {
    if (t.data.length !== sizeOf(t.shape)) {
      throw new RangeError(`writeSafetensors: tensor '${name}' has shape [${t.shape}] and ${t.data.length} elements`)
    }
    const begin = end
    end += t.data.byteLength
    return { name, dtype: fileDType[t.dtype], shape: t.shape, begin, end }
  })
  const header = encodeHeader(entries, metadata)
  await writeAtomically(path, async (file) => {
    await writeAt(file, header, 0)
    for (const [i, [, t]] of list.entries()) {
      await writeAt(file, asBytes(t.data), header.length + (entries[i] as TensorEntry).begin)
    }
  })
}

async function readHeader(file: Parameters<typeof sizeOfFile>[0], path: string): Promise<SafetensorsHeader> {
  const size = await sizeOfFile(file, path)
  const fail = (what: string) => checkpointError(path, what)
  if (size < 8) throw fail(`is no safetensors file: it has ${size} bytes, and the header's length alone takes 8`)
  const length = new Uint8Array(8)
  await readAt(file, path, length, 0)
  const declared = new DataView(length.buffer).getBigUint64(0, true)
  if (declared > 100_000_000n || declared < 2n || Number(declared) > size - 8) {
    throw fail(
      `is no safetensors file, or was cut short: the first 8 bytes promise a header of ${declared} bytes; ` +
        `expected 2..${Math.min(100_000_000, size - 8)} in a file of ${size} bytes`,
    )
  }
  const text = new Uint8Array(Number(declared))
  await readAt(file, path, text, 8)
  return parseHeader(text, size - 8 - text.length, fail)
}

type ReadBytes = (into: Uint8Array, offset: number) => Promise<void>

async function readTensor(path: string, entry: TensorEntry, read: ReadBytes): Promise<HostTensor> {
  const n = sizeOf(entry.shape)
  const { dtype } = entry
  if (dtype === 'F32' || dtype === 'I32' || dtype === 'U8' || dtype === 'BOOL') {
    const own = dtype === 'F32' ? 'float32' : dtype === 'I32' ? 'int32' : dtype === 'U8' ? 'uint8' : 'bool'
    const data = allocate(path, entry, own, n)
    await read(asBytes(data), 0)
    if (own === 'bool') checkBooleans(path, entry, data)
    return hostTensor(data, entry.shape, own)
  }
  const out = allocate(path, entry, dtype === 'I64' ? 'int32' : 'float32', n)
  const width = (entry.end - entry.begin) / Math.max(1, n)
  const chunk = new Uint8Array(Math.min(conversionBytes, entry.end - entry.begin))
  for (let i = 0; i < n; i += conversionBytes / width) {
    const count = Math.min(conversionBytes / width, n - i)
    await read(chunk.subarray(0, count * width), i * width)
    convert(path, entry, chunk.buffer, count, out, i)
  }
  return hostTensor(out, entry.shape)
}

/** Converts `count` elements of a wider or narrower type into `out` from index `at`. */
function convert(
  path: string,
  entry: TensorEntry,
  from: ArrayBuffer,
  count: number,
  out: TypedArray,
  at: number,
): void {
  const misfit = (value: unknown, i: number, into: string) =>
    checkpointError(path, `tensor '${entry.name}': element ${at + i} is ${value}, which does not fit ${into}`)
  if (entry.dtype === 'I64') {
    const words = new BigInt64Array(from, 0, count)
    for (let i = 0; i < count; i++) {
      const value = words[i] as bigint
      if (BigInt.asIntN(32, value) !== value) throw misfit(value, i, 'int32')
      out[at + i] = Number(value)
    }
  } else if (entry.dtype === 'F64') {
    const doubles = new Float64Array(from, 0, count)
    for (let i = 0; i < count; i++) {
      const value = doubles[i] as number
      out[at + i] = value
      if (Math.abs(out[at + i] as number) === Infinity && Math.abs(value) !== Infinity)
        throw misfit(value, i, 'float32')
    }
  } else {
    const halves = new Uint16Array(from, 0, count)
    const decode = entry.dtype === 'F16' ? fromHalf : fromBfloat
    for (let i = 0; i < count; i++) out[at + i] = decode(halves[i] as number)
  }
}

/** IEEE 754 binary16. */
function fromHalf(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1
  const exponent = (bits >> 10) & 31
  const fraction = bits & 1023
  if (exponent === 31) return fraction === 0 ? sign * Infinity : NaN
  return exponent === 0 ? sign * fraction * 2 ** -24 : sign * (1024 + fraction) * 2 ** (exponent - 25)
}

const word = new Uint32Array(1)
const float = new Float32Array(word.buffer)

/** The upper half of a float32. */
function fromBfloat(bits: number): number {
  word[0] = bits << 16
  return float[0] as number
}

function checkBooleans(path: string, entry: TensorEntry, data: TypedArray): void {
  const bad = data.findIndex((b) => b > 1)
  if (bad >= 0)
    throw checkpointError(path, `tensor '${entry.name}': BOOL element ${bad} is ${data[bad]}; expected 0 or 1`)
}

function allocate(path: string, entry: TensorEntry, dtype: DType, n: number): TypedArray {
  try {
    return zeros(dtype, n)
  } catch (cause) {
    throw checkpointError(path, `tensor '${entry.name}' of ${n} elements is larger than this process can hold`, cause)
  }
}

function asBytes(data: TypedArray): Uint8Array {
  return new Uint8Array(data.buffer, data.byteOffset, data.byteLength)
}

function requireLittleEndian(): void {
  if (endianness() === 'LE') return
  throw new LangevinError(
    'E_DEVICE',
    'safetensors files are little-endian, and this machine is big-endian: it is not supported',
  )
}

function checkpointError(path: string, what: string, cause?: unknown): LangevinError {
  const code: ErrorCode = 'E_CHECKPOINT'
  const text = what.startsWith('is no')
    ? `'${path}' ${what}.`
    : `'${path}' is a damaged or foreign safetensors file: ${what}.`
  return new LangevinError(code, text, { path }, cause)
}
