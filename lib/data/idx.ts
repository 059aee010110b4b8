/**
 * The IDX format of MNIST: two zero bytes, element type, rank, big-endian dimensions, row-major big-endian elements. Plain or gzipped.
 * Format: http://yann.lecun.com/exdb/mnist (archived). Where the standard sets lie is in standard.ts.
 */
import { type HostTensor, hostTensor } from '../graph/host-tensor.ts'
import { showShape, sizeOf } from '../graph/shape.ts'
import { type ArrayOptions, datasetOf } from './arrays.ts'
import { dataError, littleEndian, readContent, swapBytes } from './content.ts'
import type { Dataset } from './dataset.ts'
import { type NumberArray, narrowToFloat32 } from './numbers.ts'

interface ElementType {
  readonly name: string
  readonly width: number
  view(buffer: ArrayBuffer): NumberArray
}

const elementTypes: Readonly<Record<number, ElementType>> = {
  8: { name: 'unsigned byte', width: 1, view: (b) => new Uint8Array(b) },
  9: { name: 'signed byte', width: 1, view: (b) => new Int8Array(b) },
  11: { name: 'short', width: 2, view: (b) => new Int16Array(b) },
  12: { name: 'int', width: 4, view: (b) => new Int32Array(b) },
  13: { name: 'float', width: 4, view: (b) => new Float32Array(b) },
  14: { name: 'double', width: 8, view: (b) => new Float64Array(b) },
}

/**
 * Reads an IDX file, plain or gzipped (told by its content). Unsigned bytes become uint8; signed bytes, short and int become int32;
 * float and double become float32.
 * @throws LangevinError E_DATA that names file, offset and expectation; E_IO if the file cannot be read.
 */
export async function readIdx(path: string): Promise<HostTensor> {
  const bytes = await readContent(path)
  if (bytes.length < 4)
    throw dataError(path, `no IDX file: it has ${bytes.length} bytes, and the magic number takes 4`, 0)
  const [zero, nought, code, rank] = bytes as unknown as [number, number, number, number]
  if (zero !== 0 || nought !== 0)
    throw dataError(path, `no IDX file: it begins with bytes ${zero}, ${nought}; expected 0, 0`, 0)
  const type = elementTypes[code]
  if (type === undefined) {
    throw dataError(
      path,
      `no IDX file: the element type is ${code}; expected one of ${Object.keys(elementTypes).join(', ')}`,
      2,
    )
  }
  if (rank < 1 || rank > 8) throw dataError(path, `the rank is ${rank}; expected 1 to 8`, 3)
  const start = 4 + 4 * rank
  if (bytes.length < start)
    throw dataError(path, `cut short: ${rank} dimensions take ${start} bytes; it has ${bytes.length}`, 4)
  const header = new DataView(bytes.buffer, bytes.byteOffset, start)
  const shape = Array.from({ length: rank }, (_, i) => header.getUint32(4 + 4 * i))
  const expected = sizeOf(shape) * type.width
  const held = bytes.length - start
  if (held !== expected) {
    const what =
      held < expected ? 'cut short, or the dimensions are wrong' : 'bytes left over, or the dimensions are wrong'
    throw dataError(
      path,
      `${what}: ${showShape(shape)} of type ${type.name} take ${expected} bytes; ${held} follow the header`,
      start,
    )
  }
  const data = bytes.slice(start)
  if (littleEndian && type.width > 1) swapBytes(data, type.width)
  const numbers = type.view(data.buffer as ArrayBuffer)
  if (numbers instanceof Uint8Array || numbers instanceof Int32Array || numbers instanceof Float32Array) {
    return hostTensor(numbers, shape)
  }
  if (numbers instanceof Float64Array) return hostTensor(narrowToFloat32(path, numbers), shape)
  return hostTensor(Int32Array.from(numbers), shape)
}

export interface IdxOptions extends ArrayOptions {
  /** Path of the images: [n, h, w], [n, c, h, w], or table rows [n, d]. */
  readonly images: string
  /** Path of the labels [n], whole numbers. */
  readonly labels?: string | undefined
}

/** A data set of an IDX file of images and one of labels. Errors as {@link readIdx} and {@link Dataset}. */
export async function idxDataset(options: IdxOptions): Promise<Dataset> {
  const { images, labels } = options
  const [features, classes] = await Promise.all([readIdx(images), labels === undefined ? undefined : readIdx(labels)])
  return datasetOf({
    ...options,
    name: options.name ?? images,
    features,
    source: images,
    labels: classes,
    labelSource: labels,
  })
}
