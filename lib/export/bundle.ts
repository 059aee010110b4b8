/**
 * A run as a bundle: the folder that servers and pages load. model.onnx, sampler.onnx and langevin.json (manifest.ts), with the
 * threshold of out-of-distribution detection fitted to data that were held out.
 */
import { basename, dirname, join } from 'node:path'
import type { Dataset } from '../data/dataset.ts'
import type { OodName } from '../data/ood.ts'
import { type ModelOutput, outputsOf } from '../nn/outputs.ts'
import { writeFileAtomically } from '../runtime/files.ts'
import { packageVersion } from '../runtime/version.ts'
import type { Run } from '../trainers/run.ts'
import { replaceFolder } from './folder.ts'
import {
  type Bundle,
  type BundleManifest,
  MANIFEST_FILE,
  MODEL_FILE,
  readBundle,
  SAMPLER_FILE,
  signatureOf,
} from './manifest.ts'
import { classesOf, runMetrics } from './metadata.ts'
import { type ExportedRunSampler, exportRun, exportRunSampler } from './run.ts'
import { whyNot } from './sampler.ts'
import { fitThreshold, type OutOfDistribution } from './threshold.ts'

export interface BundleOptions {
  /** Data that were not trained on, for the threshold. Without them there is none. */
  readonly heldOut?: Dataset
  /** Share of them that the threshold flags; default 0.05. */
  readonly falseAlarms?: number
  /** Foreign sets whose detection is measured; default those that suit the data. */
  readonly ood?: readonly OodName[]
  /** Default: the method and the data. */
  readonly name?: string
  /** Default logits of a classifier, log_prob_unnormalized, energy, score, and log_prob of a normalised model. */
  readonly outputs?: readonly ModelOutput[]
  readonly precision?: 'float32' | 'float16'
  readonly opset?: number
  /** Of a noise-conditioned model: the level; default its smallest. */
  readonly sigma?: number
  /** Whether both files are run against the run; default true. */
  readonly verify?: boolean
  readonly signal?: AbortSignal
}

const usual: readonly ModelOutput[] = ['logits', 'log_prob_unnormalized', 'energy', 'score', 'log_prob']

/**
 * Writes the bundle of a run to the folder `dir`, whole or not at all; a bundle that stands there is replaced.
 * @throws LangevinError E_ONNX when a file disagrees with the run, E_IO, E_DATA; what fitThreshold throws
 */
export async function exportBundle(run: Run, dir: string, options: BundleOptions = {}): Promise<Bundle> {
  const { heldOut, falseAlarms, ood, sigma, signal } = options
  const { binarize } = run.description.options as { readonly binarize?: 'threshold' | 'stochastic' | null }
  const given = { falseAlarms, ood, binarize, sigma, signal }
  const known = Object.fromEntries(Object.entries(given).filter(([, v]) => v !== undefined)) as typeof options
  // First, as it is the cheapest that can fail.
  const threshold = heldOut === undefined ? null : await fitThreshold(run.model, heldOut, known)
  const metrics = await runMetrics(run)
  await replaceFolder(dir, MANIFEST_FILE, async (folder) => {
    const outputs = options.outputs ?? outputsOf(run.model.network).filter((o) => usual.includes(o))
    await exportRun(run, join(folder, MODEL_FILE), { ...fileOptions(options), outputs })
    const sampler = await samplerInto(folder, run, options)
    const manifest = await manifestOf(run, folder, options, { threshold, metrics, ...sampler })
    await writeFileAtomically(join(folder, MANIFEST_FILE), `${JSON.stringify(manifest, null, 2)}\n`)
  })
  return readBundle(dir)
}

function fileOptions({ precision, opset, sigma, verify, signal }: BundleOptions) {
  return {
    ...(precision === undefined ? {} : { precision }),
    ...(opset === undefined ? {} : { opset }),
    ...(sigma === undefined ? {} : { sigma }),
    ...(verify === undefined ? {} : { verify }),
    ...(signal && { signal }),
  }
}

/** Writes sampler.onnx; where the run has nothing that can leave, says so. */
async function samplerInto(
  folder: string,
  run: Run,
  { precision, verify, signal }: BundleOptions,
): Promise<{ readonly sampler: ExportedRunSampler | undefined; readonly notes: readonly string[] }> {
  const reason = run.exact ? undefined : whyNot(run.chain())
  if (reason !== undefined) return { sampler: undefined, notes: [`no ${SAMPLER_FILE}: ${reason}`] }
  const sampler = await exportRunSampler(run, join(folder, SAMPLER_FILE), {
    ...(precision === undefined ? {} : { precision }),
    ...(verify === undefined ? {} : { verify }),
    ...(signal && { signal }),
  })
  return { sampler, notes: sampler.notes }
}

interface Parts {
  readonly threshold: OutOfDistribution | null
  readonly metrics: Readonly<Record<string, number>>
  readonly sampler: ExportedRunSampler | undefined
  readonly notes: readonly string[]
}

async function manifestOf(run: Run, folder: string, options: BundleOptions, parts: Parts): Promise<BundleManifest> {
  const { data, method } = run.description
  const { discrete } = run.model.network
  return {
    format: 1,
    langevin: packageVersion(),
    name: options.name ?? `${method} on ${data.name || basename(dirname(run.path))}`,
    method,
    input: {
      shape: [...run.model.network.shape],
      range: data.range === null ? null : [data.range[0], data.range[1]],
      ...(discrete === undefined ? {} : { discrete: discrete === 'oneHot' ? discrete : [discrete[0], discrete[1]] }),
      ...(data.columns === undefined ? {} : { columns: [...data.columns] }),
      ...(data.transform === undefined
        ? {}
        : { transform: { mean: [...data.transform.mean], std: [...data.transform.std] } }),
    },
    classes: [...classesOf(run)],
    model: { file: MODEL_FILE, ...(await namesOf(join(folder, MODEL_FILE))) },
    sampler: parts.sampler === undefined ? null : await samplerEntry(folder, parts.sampler),
    outOfDistribution: parts.threshold && { ...parts.threshold, detection: { ...parts.threshold.detection } },
    metrics: { ...parts.metrics },
    notes: [...parts.notes],
  }
}

async function samplerEntry(folder: string, sampler: ExportedRunSampler): Promise<BundleManifest['sampler']> {
  const path = join(folder, SAMPLER_FILE)
  const signature = await signatureOf(path)
  const names = await namesOf(path)
  const latent = signature.inputs
    .find((p) => p.name === 'z')
    ?.dims.slice(1)
    .map(Number)
  return {
    file: SAMPLER_FILE,
    ...names,
    kind: sampler.kind,
    defaults: { ...sampler.defaults },
    ...(sampler.sampler && { sampler: { ...sampler.sampler } }),
    ...(sampler.start && { start: { ...sampler.start } }),
    ...(latent && { latent }),
  }
}

async function namesOf(path: string): Promise<{ inputs: string[]; outputs: string[] }> {
  const { inputs, outputs } = await signatureOf(path)
  return { inputs: inputs.map((p) => p.name), outputs: outputs.map((p) => p.name) }
}
