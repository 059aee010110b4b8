/**
 * What an exported file says of itself: `metadata_props` under `langevin.*`, enough to rebuild what the file computes (`langevin verify`) and to
 * use it elsewhere (classes, normalisation, metrics). Reading takes only the head of a file, never its weights.
 */
import type { FileHandle } from 'node:fs/promises'
import { fromBinary } from '@bufbuild/protobuf'
import { z } from 'zod'
import { LangevinError } from '../graph/errors.ts'
import { modelOutputs } from '../nn/outputs.ts'
import { faultsOf, positive } from '../runtime/check-options.ts'
import { readAt, sizeOfFile, withFile } from '../runtime/files.ts'
import { packageVersion } from '../runtime/version.ts'
import { type StringStringEntryProto, StringStringEntryProtoSchema } from './gen/onnx_pb.ts'

/** `langevin.kind`: what a file holds. */
export const fileKinds = ['model', 'sampler', 'generator'] as const
export type FileKind = (typeof fileKinds)[number]

/** `precision` of an export: the type of weights and arithmetic; inputs and outputs are float32 always. */
export const precisions = ['float32', 'float16'] as const
export type Precision = (typeof precisions)[number]

const shared = { opset: z.int().min(17).max(21), precision: z.enum(precisions) }

/** `langevin.export` of a model. `sigma`: the noise level that is held fixed, 'input', or null where the model takes none or its smallest. */
export const modelDescriptionSchema = z.strictObject({
  outputs: z.array(z.enum(modelOutputs)).min(1),
  sigma: z.union([positive, z.literal('input'), z.null()]),
  ...shared,
})
export type ModelDescription = z.infer<typeof modelDescriptionSchema>

/** `langevin.export` of a generator; `noise`: whether `sample` has its learned noise, from the input `epsilon`. */
export const generatorDescriptionSchema = z.strictObject({
  outputs: z.array(z.literal('sample')).min(1),
  noise: z.boolean(),
  ...shared,
})
export type GeneratorDescription = z.infer<typeof generatorDescriptionSchema>

/** The entries that every export has; `more` are a run's, or a user's own. */
export function exportMetadata(
  kind: FileKind,
  network: Readonly<Record<string, unknown>>,
  description: Readonly<Record<string, unknown>>,
  more: Readonly<Record<string, string>> = {},
): Record<string, string> {
  return {
    'langevin.version': packageVersion(),
    'langevin.kind': kind,
    'langevin.network': JSON.stringify(network),
    'langevin.export': JSON.stringify(description),
    ...more,
  }
}

/** The kind of an exported file. @throws LangevinError E_ONNX for a file that langevin did not export, naming what is missing */
export function kindOf(metadata: Readonly<Record<string, string>>, source: string): FileKind {
  const kind = entry(metadata, 'langevin.kind', source)
  const known = fileKinds.find((k) => k === kind)
  if (known === undefined)
    throw new LangevinError(
      'E_ONNX',
      `'${source}': langevin.kind is '${kind}', this version knows ${fileKinds.join(', ')}; update langevin, or export the file again`,
    )
  return known
}

/**
 * An entry that holds JSON of a schema, such as `langevin.export`.
 * @throws LangevinError E_ONNX where it is missing, is not JSON, or does not fit: the message names each fault
 */
export function readEntry<T>(
  metadata: Readonly<Record<string, string>>,
  key: string,
  schema: z.ZodType<T>,
  source: string,
): T {
  const text = entry(metadata, key, source)
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (cause) {
    throw new LangevinError(
      'E_ONNX',
      `'${source}': ${key} is not JSON (${(cause as Error).message}); the file is damaged, export it again`,
      { key },
      cause,
    )
  }
  const faults = faultsOf(schema, value, key)
  if (faults.length > 0)
    throw new LangevinError('E_ONNX', `'${source}': ${faults.join('; ')}. Export the file again with this version`, {
      faults,
    })
  return value as T
}

function entry(metadata: Readonly<Record<string, string>>, key: string, source: string): string {
  const value = metadata[key]
  if (value === undefined) {
    const langevin = Object.keys(metadata).some((k) => k.startsWith('langevin.'))
    const why = langevin
      ? `has no ${key}; export it again`
      : 'was not exported by langevin; importOnnx reads such files'
    throw new LangevinError('E_ONNX', `'${source}' ${why}`, { key })
  }
  return value
}

/** Field numbers of ModelProto and wire types, facts of the format. */
const METADATA_PROPS = 14
const OPSET_IMPORT = 8
const GRAPH = 7
const wire = { varint: 0, eight: 1, bytes: 2, four: 5 } as const

/**
 * The metadata of an ONNX file, ours or another's. Reads what stands around the graph: weights are skipped, external data is not opened.
 * @throws LangevinError E_ONNX for a file that is no ONNX model or ends early, E_IO when it cannot be read
 */
export async function readOnnxMetadata(path: string): Promise<Record<string, string>> {
  const entries = await withFile(path, (file) => metadataEntries(file, path))
  return Object.fromEntries(entries.map((e) => [e.key, e.value]))
}

async function metadataEntries(file: FileHandle, path: string): Promise<StringStringEntryProto[]> {
  const size = await sizeOfFile(file, path)
  const found: StringStringEntryProto[] = []
  const seen = new Set<number>()
  const broken = (why: string, cause?: unknown): LangevinError =>
    new LangevinError('E_ONNX', `'${path}' is not an ONNX model: ${why}`, { path }, cause)
  for (let at = 0; at < size; ) {
    // A tag and a length take at most 20 bytes.
    const head = new Uint8Array(Math.min(20, size - at))
    if ((await readAt(file, path, head, at)) < head.length) throw broken('it cannot be read to its end')
    const tag = varint(head, 0)
    if (tag === undefined) throw broken(`no field begins at byte ${at}`)
    const number = Math.floor(tag.value / 8)
    const type = tag.value % 8
    const value = type === wire.varint || type === wire.bytes ? varint(head, tag.next) : { value: 0, next: tag.next }
    const fixed = type === wire.eight ? 8 : type === wire.four ? 4 : 0
    if (value === undefined || number < 1 || (type > wire.bytes && type !== wire.four))
      throw broken(`no field begins at byte ${at}`)
    const begin = at + value.next
    const length = type === wire.bytes ? value.value : fixed
    if (begin + length > size) throw broken(`field ${number} is to end at byte ${begin + length} of ${size}`)
    seen.add(number)
    if (number === METADATA_PROPS && type === wire.bytes) {
      const bytes = new Uint8Array(length)
      await readAt(file, path, bytes, begin)
      try {
        found.push(fromBinary(StringStringEntryProtoSchema, bytes))
      } catch (cause) {
        throw broken(`the metadata entry at byte ${begin} is damaged`, cause)
      }
    }
    at = begin + length
  }
  if (!seen.has(GRAPH) || !seen.has(OPSET_IMPORT)) throw broken('it holds no graph')
  return found
}

/** A base-128 number at a position, and where the next byte stands; undefined if it does not end. */
function varint(bytes: Uint8Array, from: number): { readonly value: number; readonly next: number } | undefined {
  let value = 0
  for (let i = from; i < Math.min(bytes.length, from + 10); i++) {
    const byte = bytes[i] as number
    value += (byte & 127) * 2 ** (7 * (i - from))
    if (byte < 128) return { value, next: i + 1 }
  }
  return undefined
}
