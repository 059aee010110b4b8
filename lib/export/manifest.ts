/**
 * langevin.json: what a bundle's files are and how raw values become their inputs, for servers and pages that know nothing else of the run. Its
 * schema, its reading, and what an ONNX file takes and gives. Writing bundles is bundle.ts's part.
 */
import { readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import { LangevinError } from '../graph/errors.ts'
import { decodeOnnx } from '../onnx/save.ts'
import { faultsOf } from '../runtime/check-options.ts'
import { ioError, readWholeFile } from '../runtime/files.ts'

/** The file that makes a folder a bundle. */
export const MANIFEST_FILE = 'langevin.json'
export const MODEL_FILE = 'model.onnx'
export const SAMPLER_FILE = 'sampler.onnx'

// A name in the bundle's own folder: a manifest from elsewhere cannot lead out of it.
const file = z.string().regex(/^[A-Za-z0-9_-][A-Za-z0-9._-]*$/)
const count = z.int().min(1)
const numbers = z.array(z.number())
const part = { file, inputs: z.array(z.string()), outputs: z.array(z.string()) }

/** Further keys are left alone: later versions may say more. */
const manifestSchema = z.object({
  format: z.literal(1),
  langevin: z.string(),
  name: z.string(),
  method: z.string(),
  input: z.object({
    shape: z.array(count).min(1),
    range: z.tuple([z.number(), z.number()]).nullable(),
    discrete: z.union([z.literal('oneHot'), z.tuple([z.number(), z.number()])]).optional(),
    columns: z.array(z.string()).optional(),
    transform: z.object({ mean: numbers, std: numbers }).optional(),
  }),
  classes: z.array(z.string()),
  model: z.object(part),
  sampler: z
    .object({
      ...part,
      kind: z.enum(['chain', 'generator']),
      defaults: z.record(z.string(), z.number()),
      sampler: z.looseObject({ kind: z.string() }).optional(),
      start: z.looseObject({ kind: z.string() }).optional(),
      latent: z.array(count).optional(),
    })
    .nullable(),
  outOfDistribution: z
    .object({
      score: z.literal('log_prob_unnormalized'),
      threshold: z.number(),
      falseAlarms: z.number(),
      examples: count,
      detection: z.record(z.string(), z.number()),
    })
    .nullable(),
  metrics: z.record(z.string(), z.number()),
  notes: z.array(z.string()),
})

/**
 * What langevin.json holds. `input.range`: raw values that are -1 and 1 (null: as they are); `input.transform`: (value - mean) / std a column, first.
 * `sampler.kind`: a `chain` takes y, steps, step_size, ... and seed, and gives samples and energies; a `generator` takes base noise z [n, ...latent], standard
 * normal, and maybe more such noise epsilon of x's own shape, and gives sample. `sampler.defaults`: what the run itself samples with, by input. An input is flagged where `outOfDistribution.score` is
 * below its threshold.
 */
export type BundleManifest = z.infer<typeof manifestSchema>

/** A bundle folder as read. */
export interface Bundle {
  readonly path: string
  readonly manifest: BundleManifest
  /** Paths of the files; no sampler where the bundle has none. */
  readonly model: string
  readonly sampler: string | undefined
}

/**
 * Reads a bundle's langevin.json and sees that its files are there; what is in them is ONNX Runtime's to judge.
 * @throws LangevinError E_IO for a folder that is missing or is no bundle, E_CONFIG for a manifest that is damaged or of another version
 */
export async function readBundle(path: string): Promise<Bundle> {
  const at = join(path, MANIFEST_FILE)
  const text = await readFile(at, 'utf8').catch((cause: NodeJS.ErrnoException) => {
    if (cause.code !== 'ENOENT') throw ioError('read', at, cause)
    throw new LangevinError(
      'E_IO',
      `'${path}' is no bundle: it has no ${MANIFEST_FILE}; write one with: langevin export RUN --bundle DIR`,
      { path },
      cause,
    )
  })
  const manifest = parseManifest(text, at)
  const found = async (name: string): Promise<string> => {
    const target = join(path, name)
    const info = await stat(target).catch(() => undefined)
    if (info?.isFile()) return target
    throw new LangevinError('E_IO', `bundle '${path}' lacks its file ${name}; export it again`, { path: target })
  }
  const model = await found(manifest.model.file)
  return { path, manifest, model, sampler: manifest.sampler === null ? undefined : await found(manifest.sampler.file) }
}

/** The text of a langevin.json, checked. @throws LangevinError E_CONFIG */
export function parseManifest(text: string, source: string): BundleManifest {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (cause) {
    throw new LangevinError(
      'E_CONFIG',
      `${source} is not JSON: ${(cause as Error).message}; export the bundle again`,
      { path: source },
      cause,
    )
  }
  const format = (value as { readonly format?: unknown } | null)?.format
  if (format !== undefined && format !== 1)
    throw new LangevinError(
      'E_CONFIG',
      `${source} has format ${JSON.stringify(format)}, this version of langevin reads format 1; update langevin, or export the bundle again`,
      { path: source },
    )
  const faults = faultsOf(manifestSchema, value)
  if (faults.length > 0)
    throw new LangevinError('E_CONFIG', `${source}: ${faults.join('; ')}; export the bundle again`, { faults })
  return manifestSchema.parse(value)
}

/** An input or output of an ONNX file. */
export interface Port {
  readonly name: string
  /** `TensorProto.DataType`. */
  readonly elementType: number
  /** A number, or the name of one that is only known when the file runs. */
  readonly dims: readonly (number | string)[]
}

export interface Signature {
  readonly inputs: readonly Port[]
  readonly outputs: readonly Port[]
}

/** What an ONNX file takes and gives. @throws LangevinError E_IO, E_ONNX */
export async function signatureOf(path: string): Promise<Signature> {
  const { graph } = decodeOnnx(await readWholeFile(path))
  const ports = (list: NonNullable<typeof graph>['input']): Port[] =>
    list.map(({ name, type }) => {
      const tensor = type?.value.case === 'tensorType' ? type.value.value : undefined
      const dims = tensor?.shape?.dim ?? []
      return {
        name,
        elementType: tensor?.elemType ?? 0,
        dims: dims.map((d) => (d.value.case === 'dimValue' ? Number(d.value.value) : String(d.value.value ?? '?'))),
      }
    })
  const weights = new Set(graph?.initializer.map((t) => t.name))
  return { inputs: ports(graph?.input ?? []).filter((p) => !weights.has(p.name)), outputs: ports(graph?.output ?? []) }
}
