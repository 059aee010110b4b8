/**
 * A run as ONNX files: its model, its own way of drawing, and the check of either against the run, with what is known of the run in the files'
 * metadata. Folders of both are bundle.ts's part, model repositories triton.ts's.
 */
import { z } from 'zod'
import { GeneratorModel } from '../nn/generator-model.ts'
import {
  type ExportedModel,
  type ExportModelOptions,
  type ExportOnnxOptions,
  exportOnnx,
} from '../onnx/export-model.ts'
import { type ExportedSampler, exportSampler } from '../onnx/export-sampler.ts'
import { kindOf, readEntry, readOnnxMetadata } from '../onnx/metadata.ts'
import type { Verification } from '../onnx/verify.ts'
import { type VerifyExportOptions, verifyExport } from '../onnx/verify-export.ts'
import type { VerifySamplerOptions } from '../onnx/verify-sampler.ts'
import type { SamplerOptions } from '../samplers/samplers.ts'
import type { StartOptions } from '../samplers/starts.ts'
import type { Run } from '../trainers/run.ts'
import { runMetadata } from './metadata.ts'
import { exactModelOf, type RunSamplerOptions, samplerOfRun } from './sampler.ts'

/**
 * Writes the run's model; options and outputs are those of `exportOnnx`. Metadata tell the method, what x is, class names, trainer options and
 * the figures of evaluation.json.
 * @throws LangevinError as `exportOnnx`
 */
export async function exportRun(run: Run, path: string, options: ExportModelOptions = {}): Promise<ExportedModel> {
  return exportOnnx(run.model, path, { ...options, metadata: { ...(await runMetadata(run)), ...options.metadata } })
}

/** A run's way of drawing as a file. */
export interface ExportedRunSampler extends ExportedSampler {
  /** A Markov chain, or exact draws of a flow or generator. */
  readonly kind: 'chain' | 'generator'
  /** Of a chain: its sampler. */
  readonly sampler: SamplerOptions | undefined
  /** Where the file's chains begin; undefined at its input x0. */
  readonly start: StartOptions | undefined
  /** What differs from the run's own sampling. */
  readonly notes: readonly string[]
}

/**
 * Writes how the run draws. Runs that draw exactly (flows, generators) leave as `sample` of base noise `z`; all others, and these if a sampler, a
 * class or a start is asked for, as their chain, with its starts (`y` in, classes), steps, step sizes and a seed.
 * @throws LangevinError E_CONFIG where the run's chain cannot leave (it says why), and as `exportSampler`
 */
export async function exportRunSampler(
  run: Run,
  path: string,
  options: RunSamplerOptions = {},
): Promise<ExportedRunSampler> {
  const own = await runMetadata(run)
  const chainAsked = (['sampler', 'class', 'start', 'random'] as const).some((k) => options[k] !== undefined)
  if (run.exact && !chainAsked) {
    return exportDraws(run, path, { ...options, metadata: { ...own, ...options.metadata } })
  }
  const { options: chain, ...described } = samplerOfRun(run, options)
  const notes = described.notes.length > 0 ? { 'langevin.notes': JSON.stringify(described.notes) } : {}
  const metadata = { ...own, ...notes, ...options.metadata }
  const exported = await exportSampler(run.model, path, { ...chain, metadata })
  return { ...exported, ...described, kind: 'chain' }
}

/** Exact draws of the flow or generator. */
async function exportDraws(run: Run, path: string, options: RunSamplerOptions): Promise<ExportedRunSampler> {
  const { model, dispose } = await drawerOf(run)
  try {
    const { opset, precision, metadata, verify, externalData, signal } = options
    const given = { opset, precision, metadata, verify, externalData, signal }
    const plain: ExportOnnxOptions = Object.fromEntries(Object.entries(given).filter(([, v]) => v !== undefined))
    const exported =
      model instanceof GeneratorModel
        ? await exportOnnx(model, path, plain)
        : await exportOnnx(model, path, { ...plain, outputs: ['sample'] })
    return { ...exported, kind: 'generator', sampler: undefined, start: undefined, defaults: {}, notes: [] }
  } finally {
    await dispose()
  }
}

/** The flow or generator of a run, and what frees it: one that is not the run's model is made anew. */
async function drawerOf(run: Run) {
  const model = await exactModelOf(run)
  const dispose = async (): Promise<void> => {
    if (model !== run.model) await model.dispose()
  }
  return { model, dispose }
}

/**
 * Runs an exported file and the run on fresh inputs and compares: a model's file, a sampler's or a generator's.
 * @throws LangevinError E_ONNX for a file that langevin did not export or that is of another network; E_IO
 */
export async function verifyRun(path: string, run: Run, options: VerifyExportOptions = {}): Promise<Verification> {
  const metadata = await readOnnxMetadata(path)
  const kind = kindOf(metadata, path)
  const { kind: network } = readEntry(metadata, 'langevin.network', z.looseObject({ kind: z.string() }), path)
  const flow = kind === 'model' && network === 'flow'
  const beside = run.model.network.config.kind !== 'flow' && run.exact
  // Starts of class Gaussians stand in the file as weights, and are compared with the run's.
  const tensors = kind === 'sampler' ? run.chain()?.start?.tensors : undefined
  const given: VerifyExportOptions & Pick<VerifySamplerOptions, 'tensors'> = { ...options, ...(tensors && { tensors }) }
  if (!(kind === 'generator' || (flow && beside))) return verifyExport(path, run.model, given)
  const { model, dispose } = await drawerOf(run)
  try {
    return await verifyExport(path, model, options)
  } finally {
    await dispose()
  }
}
