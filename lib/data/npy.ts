/**
 * NumPy's .npy and .npz files: reading as untrusted input, writing .npy.
 * Format: numpy.lib.format, versions 1 to 3. An .npz is a zip archive of .npy files, stored or deflated.
 */
import { basename } from 'node:path'
import { unzipSync } from 'fflate'
import { suggestion } from '../graph/errors.ts'
import { type HostTensor, hostTensor } from '../graph/host-tensor.ts'
import type { DType } from '../graph/shape.ts'
import { showShape, sizeOf } from '../graph/shape.ts'
import { writeAt, writeAtomically } from '../runtime/files.ts'
import { type ArrayOptions, datasetOf } from './arrays.ts'
import { dataError, largestUnpacked, littleEndian, readContent, swapBytes } from './content.ts'
import type { Dataset } from './dataset.ts'
import { narrowToFloat32, narrowToInt32 } from './numbers.ts'

type Decode = (path: string, buffer: ArrayBuffer) => HostTensor['data']

/** NumPy's kind and width, and how the elements become ours. */
const elementTypes: Readonly<Record<string, Decode>> = {
  u1: (_, b) => new Uint8Array(b),
  b1: (_, b) => new Uint8Array(b),
  i1: (_, b) => Int32Array.from(new Int8Array(b)),
  u2: (_, b) => Int32Array.from(new Uint16Array(b)),
  i2: (_, b) => Int32Array.from(new Int16Array(b)),
  u4: (path, b) => narrowToInt32(path, new Uint32Array(b)),
  i4: (_, b) => new Int32Array(b),
  u8: (path, b) => narrowToInt32(path, new BigUint64Array(b)),
  i8: (path, b) => narrowToInt32(path, new BigInt64Array(b)),
  f4: (_, b) => new Float32Array(b),
  f8: (path, b) => narrowToFloat32(path, new Float64Array(b)),
}

/**
 * Reads a .npy file. Bytes become uint8, booleans bool, integers int32 (values that do not fit are errors), f4 and f8 float32;
 * either byte order; Fortran order is turned to row-major.
 * @throws LangevinError E_DATA that names file, offset and expectation; E_IO if the file cannot be read.
 */
export async function readNpy(path: string): Promise<HostTensor> {
  return decodeNpy(path, await readContent(path))
}

/**
 * Reads the arrays of an .npz archive (all, or those named), by name without `.npy`. Errors as {@link readNpy}.
 * An array that unpacks to more than 2 GiB is an error: store it as .npy.
 */
export async function readNpz(path: string, names?: readonly string[]): Promise<Map<string, HostTensor>> {
  const { arrays, present } = await unpackNpz(path, (name) => names === undefined || names.includes(name))
  for (const name of names ?? []) requireArray(path, name, present)
  return arrays
}

function requireArray(path: string, name: string, present: readonly string[]): void {
  if (!present.includes(name)) throw dataError(path, `no array '${name}' in the archive.${suggestion(name, present)}`)
}

interface Archive {
  readonly arrays: Map<string, HostTensor>
  /** Names of all arrays, also of those not wanted. */
  readonly present: readonly string[]
}

async function unpackNpz(path: string, wanted: (name: string) => boolean): Promise<Archive> {
  const bytes = await readContent(path)
  const present: string[] = []
  let files: Record<string, Uint8Array>
  try {
    files = unzipSync(bytes, {
      filter: ({ name, size, originalSize, compression }) => {
        if (!name.endsWith('.npy')) return false
        const stem = name.slice(0, -4)
        if (present.includes(stem)) throw dataError(path, `the archive holds '${name}' twice`)
        present.push(stem)
        // Deflate packs at most 1032 to 1: a greater promise is a lie that would only cost memory.
        const absurd = compression === 0 ? originalSize !== size : originalSize > 1032 * size + 1024
        if (size > bytes.length || absurd || originalSize > largestUnpacked) {
          throw dataError(
            path,
            `'${name}' claims ${originalSize} bytes packed to ${size} in an archive of ${bytes.length}`,
          )
        }
        return wanted(stem)
      },
    })
  } catch (cause) {
    if (cause instanceof Error && cause.name === 'LangevinError') throw cause
    throw dataError(path, `no zip archive, damaged, or cut short (${(cause as Error).message})`, undefined, cause)
  }
  const decoded = Object.entries(files).map(
    ([name, data]) => [name.slice(0, -4), decodeNpy(`${path}:${name}`, data)] as const,
  )
  return { arrays: new Map(decoded), present }
}

/** Writes a tensor as .npy (version 1.0, row-major, little-endian), atomically. */
export function writeNpy(path: string, tensor: HostTensor): Promise<void> {
  const descr: Record<DType, string> = { float32: '<f4', int32: '<i4', uint8: '|u1', bool: '|b1' }
  const { shape, data, dtype } = tensor
  const dims = shape.length === 1 ? `${shape[0]},` : shape.join(', ')
  const dict = `{'descr': '${descr[dtype]}', 'fortran_order': False, 'shape': (${dims}), }`
  const length = Math.ceil((10 + dict.length + 1) / 64) * 64
  const header = new Uint8Array(length).fill(0x20)
  header.set([0x93, ...new TextEncoder().encode('NUMPY'), 1, 0, (length - 10) & 255, (length - 10) >> 8])
  header.set(new TextEncoder().encode(dict), 10)
  header[length - 1] = 10
  const body = new Uint8Array(data.buffer, data.byteOffset, data.byteLength).slice()
  if (!littleEndian && data.BYTES_PER_ELEMENT > 1) swapBytes(body, data.BYTES_PER_ELEMENT)
  return writeAtomically(path, async (file) => {
    await writeAt(file, header, 0)
    await writeAt(file, body, length)
  })
}

export interface NpzOptions extends ArrayOptions {
  /** Name of the images' array: [n, h, w], [n, c, h, w], or table rows [n, d]. Default 'x'. */
  readonly images?: string | undefined
  /** Name of the labels' array [n]; null says that there is none. Default 'y' where the archive has it. */
  readonly labels?: string | null | undefined
}

/** A data set of two arrays of an .npz archive. Errors as {@link readNpy} and {@link Dataset}. */
export async function npzDataset(path: string, options: NpzOptions = {}): Promise<Dataset> {
  const { images = 'x', labels = 'y' } = options
  const { arrays, present } = await unpackNpz(path, (name) => name === images || name === labels)
  requireArray(path, images, present)
  if (options.labels != null) requireArray(path, options.labels, present)
  const features = arrays.get(images) as HostTensor
  const rows = labels === null ? undefined : arrays.get(labels)
  return datasetOf({ ...options, features, source: path, labels: rows, labelSource: undefined })
}

export interface NpyOptions extends ArrayOptions {
  /** Path of the images: [n, h, w], [n, c, h, w], or table rows [n, d]. */
  readonly images: string
  /** Path of the labels [n]. */
  readonly labels?: string | undefined
}

/** A data set of one .npy file of images and one of labels. Errors as {@link readNpy} and {@link Dataset}. */
export async function npyDataset(options: NpyOptions): Promise<Dataset> {
  const { images, labels } = options
  const [features, rows] = await Promise.all([readNpy(images), labels === undefined ? undefined : readNpy(labels)])
  return datasetOf({ ...options, features, source: images, labels: rows, labelSource: labels })
}

function decodeNpy(path: string, bytes: Uint8Array): HostTensor {
  const magic = [0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59]
  if (bytes.length < 10 || magic.some((m, i) => bytes[i] !== m)) {
    throw dataError(
      path,
      `no npy file: it does not begin with \\x93NUMPY (${basename(path)} has ${bytes.length} bytes)`,
      0,
    )
  }
  const version = bytes[6] as number
  if (version < 1 || version > 3) throw dataError(path, `npy version ${version}; expected 1 to 3`, 6)
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const at = version === 1 ? 10 : 12
  if (bytes.length < at) throw dataError(path, 'cut short within the header', 8)
  const start = at + (version === 1 ? view.getUint16(8, true) : view.getUint32(8, true))
  if (start > bytes.length || start > 1_000_000) {
    throw dataError(path, `the header is said to end at byte ${start}; the file has ${bytes.length}`, 8)
  }
  const header = parseHeader(path, new TextDecoder().decode(bytes.subarray(at, start)))
  const { shape, order, kind, fortran } = header
  const decode = elementTypes[kind]
  if (decode === undefined || !Object.hasOwn(elementTypes, kind)) {
    throw dataError(
      path,
      `element type '${order}${kind}' is not supported; known: ${Object.keys(elementTypes).join(', ')}`,
      at,
    )
  }
  const width = Number(kind.slice(1))
  const expected = sizeOf(shape) * width
  if (bytes.length - start !== expected) {
    const held = bytes.length - start
    throw dataError(
      path,
      `${showShape(shape)} of type ${kind} takes ${expected} bytes; ${held} follow the header`,
      start,
    )
  }
  let raw = bytes.slice(start)
  if (width > 1 && (order === '<') !== littleEndian) swapBytes(raw, width)
  if (fortran) raw = rowMajor(raw, shape, width)
  const data = decode(path, raw.buffer as ArrayBuffer)
  if (kind === 'b1' && data.some((b) => b > 1)) throw dataError(path, 'a boolean is neither 0 nor 1')
  return hostTensor(data, shape, kind === 'b1' ? 'bool' : undefined)
}

interface NpyHeader {
  readonly order: string
  readonly kind: string
  readonly fortran: boolean
  readonly shape: number[]
}

/** The header is the text of a Python dictionary with exactly these three keys, in any order. */
function parseHeader(path: string, text: string): NpyHeader {
  const malformed = (what: string) =>
    dataError(path, `${what} in the npy header ${JSON.stringify(text.trim().slice(0, 120))}`, 10)
  const field =
    /\s*'(descr|fortran_order|shape)'\s*:\s*(?:'([<>|=]?)([a-zA-Z]\d+)'|(True|False)|\(((?:\s*\d+L?\s*,)*(?:\s*\d+L?)?)\s*\))\s*(,|(?=\s*\}))/y
  const open = /^\s*\{/.exec(text)
  if (open === null) throw malformed('no dictionary')
  field.lastIndex = open[0].length
  const found = new Map<string, RegExpExecArray>()
  let end = field.lastIndex
  for (let m = field.exec(text); m !== null; m = field.exec(text)) {
    if (found.has(m[1] as string)) throw malformed(`'${m[1]}' twice`)
    found.set(m[1] as string, m)
    end = field.lastIndex
  }
  if (!/^\s*\}\s*$/.test(text.slice(end))) throw malformed('an unknown field, or a structured type,')
  const kind = found.get('descr')?.[3]
  const fortran = found.get('fortran_order')?.[4]
  const dims = found.get('shape')?.[5]
  if (kind === undefined || fortran === undefined || dims === undefined)
    throw malformed('descr, fortran_order or shape missing')
  const shape = dims.split(',').flatMap((d) => (d.trim() === '' ? [] : [Number.parseInt(d, 10)]))
  if (!shape.every(Number.isSafeInteger)) throw malformed('an absurd dimension')
  const order = found.get('descr')?.[2] ?? ''
  return { order: order === '>' ? '>' : '<', kind, fortran: fortran === 'True', shape }
}

/** Fortran order to row-major: element (i0, i1, ...) stands at i0 + n0 * (i1 + n1 * ...). */
function rowMajor(raw: Uint8Array, shape: readonly number[], width: number): Uint8Array<ArrayBuffer> {
  const out = new Uint8Array(raw.length)
  const index = new Array<number>(shape.length).fill(0)
  const strides = shape.map((_, axis) => sizeOf(shape.slice(0, axis)) * width)
  let from = 0
  for (let at = 0; at < raw.length; at += width) {
    for (let b = 0; b < width; b++) out[at + b] = raw[from + b] as number
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      from += strides[axis] as number
      index[axis] = (index[axis] as number) + 1
      if ((index[axis] as number) < (shape[axis] as number)) break
      from -= (strides[axis] as number) * (shape[axis] as number)
      index[axis] = 0
    }
  }
  return out
}
