/**
 * ONNX models as files, written whole or not at all. Where the parameters exceed what one file may hold (2 GB), or where it is asked for,
 * they stand in a second file beside the model, as the format's external data.
 */
import { createHash } from 'node:crypto'
import { readdir, unlink } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import { create, fromBinary, toBinary } from '@bufbuild/protobuf'
import { LangevinError } from '../graph/errors.ts'
import { writeAt, writeAtomically, writeFileAtomically } from '../runtime/files.ts'
import { encodeOnnx } from './exporter.ts'
import { externalLocation } from './format.ts'
import { type ModelProto, ModelProtoSchema, type TensorProto, TensorProtoSchema } from './gen/onnx_pb.ts'

export interface SaveOnnxOptions {
  /** Whether parameters go to a file of their own. Default: only if the model would exceed 2 GB. */
  readonly externalData?: boolean
  /** The file that the model is going to be renamed to: external data is named after it. Default `path`. */
  readonly renamedTo?: string
}

/** What was written. */
export interface SavedOnnx {
  readonly path: string
  /** The parameters' file, if there is one; the model names it, so the two must stay in one folder. */
  readonly dataPath?: string
  /** Bytes of all files written. */
  readonly bytes: number
}

/** Tensors below this stay in the model: shapes and scalars, which runtimes read while they load. */
const smallest = 1024

/** Offsets are multiples of a page, so that a runtime can map the file. */
const page = 4096

/** The format's limit, less room for everything but the parameters. */
const limit = 2 ** 31 - 2 ** 24

/**
 * Writes a model to `path`, atomically. External data is written first, under a name that holds its hash, so that a crash leaves the old
 * model with its old data; data files of earlier versions of the model are removed afterwards.
 * @throws LangevinError E_IO when the system refuses, E_ONNX when `model` is not an ONNX model
 */
export async function saveOnnx(
  path: string,
  model: Uint8Array | ModelProto,
  options: SaveOnnxOptions = {},
): Promise<SavedOnnx> {
  const target = resolve(path)
  const external = options.externalData ?? parameterBytes(model) > limit
  if (!external) {
    const bytes = model instanceof Uint8Array ? model : encodeOnnx(model)
    await writeFileAtomically(target, bytes)
    await removeOldData(target)
    return { path: target, bytes: bytes.byteLength }
  }
  const message = model instanceof Uint8Array ? decodeOnnx(model) : shallow(model)
  const large = (message.graph?.initializer ?? []).filter((t) => t.rawData.byteLength >= smallest)
  const name = `${basename(options.renamedTo ?? target)}.${hashOf(large)}.data`
  const dataPath = join(dirname(target), name)
  const size = await writeData(dataPath, large)
  const stored = new Map(large.map((t, i) => [t, i]))
  let offset = 0
  if (message.graph !== undefined) {
    message.graph.initializer = message.graph.initializer.map((t) => {
      if (!stored.has(t)) return t
      const moved = externalised(t, name, offset)
      offset = aligned(offset + t.rawData.byteLength)
      return moved
    })
  }
  const bytes = toBinary(ModelProtoSchema, message)
  await writeFileAtomically(target, bytes)
  await removeOldData(target, name)
  return { path: target, dataPath, bytes: bytes.byteLength + size }
}

/** Reads a serialised model (its parameters too, unless they are external). */
export function decodeOnnx(bytes: Uint8Array): ModelProto {
  try {
    const model = fromBinary(ModelProtoSchema, bytes)
    if (model.graph !== undefined) return model
  } catch (cause) {
    throw new LangevinError('E_ONNX', `[onnx] ${bytes.byteLength} bytes are not an ONNX model: ${cause}`, {}, cause)
  }
  throw new LangevinError('E_ONNX', `[onnx] ${bytes.byteLength} bytes are not an ONNX model: they hold no graph`)
}

function parameterBytes(model: Uint8Array | ModelProto): number {
  if (model instanceof Uint8Array) return model.byteLength
  return (model.graph?.initializer ?? []).reduce((n, t) => n + t.rawData.byteLength, 0)
}

/** A model whose list of initializers may be replaced; the tensors are shared. */
function shallow(model: ModelProto): ModelProto {
  const copy = copyOf(model)
  if (model.graph !== undefined) copy.graph = copyOf(model.graph)
  return copy
}

/** One level of a message, with the prototype that holds its defaults. */
function copyOf<T extends object>(message: T): T {
  return Object.assign(Object.create(Object.getPrototypeOf(message)), message) as T
}

function aligned(offset: number): number {
  return Math.ceil(offset / page) * page
}

function externalised(t: TensorProto, location: string, offset: number): TensorProto {
  const entries = { location, offset: String(offset), length: String(t.rawData.byteLength) }
  return create(TensorProtoSchema, {
    name: t.name,
    dims: [...t.dims],
    dataType: t.dataType,
    externalData: Object.entries(entries).map(([key, value]) => ({ key, value })),
    dataLocation: externalLocation,
  })
}

function hashOf(tensors: readonly TensorProto[]): string {
  const hash = createHash('sha256')
  for (const { rawData } of tensors) {
    // In pieces: Node refuses to hash 2 GB at once.
    for (let at = 0; at < rawData.length; at += 2 ** 26) hash.update(rawData.subarray(at, at + 2 ** 26))
  }
  return hash.digest('hex').slice(0, 8)
}

async function writeData(path: string, tensors: readonly TensorProto[]): Promise<number> {
  let offset = 0
  await writeAtomically(path, async (file) => {
    for (const t of tensors) {
      await writeAt(file, t.rawData, offset)
      offset = aligned(offset + t.rawData.byteLength)
    }
  })
  return offset
}

/** Removes the data files of earlier versions of this model, except `keep`. */
export async function removeOldData(target: string, keep?: string): Promise<void> {
  const prefix = `${basename(target)}.`
  for (const entry of await readdir(dirname(target))) {
    if (entry === keep || !entry.startsWith(prefix)) continue
    if (/^[0-9a-f]{8}\.data$/.test(entry.slice(prefix.length))) await unlink(join(dirname(target), entry))
  }
}
