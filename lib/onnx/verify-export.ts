/**
 * Checks an exported file against the model that it is of: reads from the file what it computes, runs both on fresh inputs, and tells the largest
 * differences. `exportOnnx` does it before it leaves a file; `langevin verify` whenever one asks.
 */
import { z } from 'zod'
import { internalError, LangevinError } from '../graph/errors.ts'
import { type HostTensor, hostTensor } from '../graph/host-tensor.ts'
import { GeneratorModel } from '../nn/generator-model.ts'
import type { EvaluateOptions, Model } from '../nn/model.ts'
import type { ModelOutput } from '../nn/outputs.ts'
import { generatorFeeds, modelFeeds } from './feeds.ts'
import {
  type GeneratorDescription,
  generatorDescriptionSchema,
  kindOf,
  type ModelDescription,
  modelDescriptionSchema,
  type Precision,
  readEntry,
  readOnnxMetadata,
} from './metadata.ts'
import { samplerDescriptionSchema } from './sampler-description.ts'
import { defaultTolerance, type Feeds, type Tolerance, type Verification, verifyOnnx } from './verify.ts'
import { type VerifySamplerOptions, verifySampler } from './verify-sampler.ts'

export interface VerifyExportOptions extends Pick<VerifySamplerOptions, 'tensors' | 'steps'> {
  /** Batch sizes to run; default 1 and 7. */
  readonly batches?: readonly number[]
  /** Of models and generators: the largest relative error that passes, by output, `default` for the others; default by the file's precision. */
  readonly tolerance?: Tolerance
  /** The inputs follow from it; default 0. */
  readonly seed?: number
  /** Threads of ONNX Runtime; default its own choice. */
  readonly threads?: number
  readonly signal?: AbortSignal
}

/**
 * Limits for files of float16, of the largest magnitude of an output; of scores for the typical example (`OutputCheck.typicalRel`). Half keeps 11
 * bits, an error of 5e-4 at each rounding. Measured over the shipped networks with their initial weights: 2e-3 at most for values, 3e-3 for scores
 * through smooth activations, 1e-2 through a wide residual network's leaky rectifiers.
 */
export const halfTolerance: Tolerance = { default: 1e-2, score: 3e-2, class_score: 3e-2 }

/**
 * Limits by precision. In half a few examples say little: the one energy may lie near 0, where relative errors are anything, and one unit of a small
 * network on the other side of its kink turns the one score round.
 */
export function toleranceOf(precision: Precision, batch = 7): Tolerance {
  if (precision === 'float32') return defaultTolerance
  if (batch >= 5) return halfTolerance
  return Object.fromEntries(Object.entries(halfTolerance).map(([name, limit]) => [name, 10 * limit]))
}

/**
 * Compares an exported file (of a model, a sampler or a generator) with the model.
 * @throws LangevinError E_ONNX for a file that langevin did not export, that is of another network (the message names the difference), or that
 *   ONNX Runtime refuses; E_IO when it cannot be read
 */
export async function verifyExport(
  path: string,
  model: Model | GeneratorModel,
  options: VerifyExportOptions = {},
): Promise<Verification> {
  const metadata = await readOnnxMetadata(path)
  const kind = kindOf(metadata, path)
  const isGenerator = model instanceof GeneratorModel
  if ((kind === 'generator') !== isGenerator)
    throw new LangevinError('E_ONNX', `'${path}' holds a ${kind}, not a ${isGenerator ? 'generator' : 'model'}`)
  const network = readEntry(metadata, 'langevin.network', z.record(z.string(), z.unknown()), path)
  checkNetwork(path, network, isGenerator ? model.generator.config : model.network.config)
  if (isGenerator)
    return verifyGenerator(
      path,
      model,
      readEntry(metadata, 'langevin.export', generatorDescriptionSchema, path),
      options,
    )
  if (kind === 'sampler') {
    return verifySampler(path, model, readEntry(metadata, 'langevin.export', samplerDescriptionSchema, path), options)
  }
  return verifyModel(path, model, readEntry(metadata, 'langevin.export', modelDescriptionSchema, path), options)
}

/** What `verifyExport` does of a model's file, told what the file computes. */
export function verifyModel(
  path: string,
  model: Model,
  description: ModelDescription,
  options: VerifyExportOptions = {},
): Promise<Verification> {
  const { signal } = options
  const given = (feeds: Feeds, output: ModelOutput): EvaluateOptions => {
    const sigma = typeof description.sigma === 'number' ? description.sigma : feeds.get('sigma')
    const classes = output === 'class_score' ? feeds.get('y') : undefined
    return { ...(sigma && output !== 'sample' && { sigma }), ...(classes && { classes }), ...(signal && { signal }) }
  }
  return verifyOnnx(path, {
    ...settings(description, options),
    feeds: (batch) => modelFeeds(model.network, description, batch, options.seed ?? 0),
    expected: async (feeds) => {
      const values = description.outputs.map(async (output) => {
        const x = need(feeds, output === 'sample' ? 'z' : 'x')
        return [output, await model.evaluate(output, x, given(feeds, output))] as const
      })
      return new Map(await Promise.all(values))
    },
  })
}

/** The same of a generator's file. */
export function verifyGenerator(
  path: string,
  model: GeneratorModel,
  description: GeneratorDescription,
  options: VerifyExportOptions = {},
): Promise<Verification> {
  return verifyOnnx(path, {
    ...settings(description, options),
    feeds: (batch) => generatorFeeds(model.generator, description, batch, options.seed ?? 0),
    expected: async (feeds) => {
      options.signal?.throwIfAborted()
      const mean = await model.generate(need(feeds, 'z'))
      const noise = feeds.get('epsilon')
      if (noise === undefined) return new Map([['sample', mean]])
      const sigma = await model.sigma()
      const x = (mean.data as Float32Array).map((v, i) => v + sigma * (noise.data[i] as number))
      return new Map([['sample', hostTensor(x, mean.shape)]])
    },
  })
}

function settings(description: { readonly precision: Precision }, options: VerifyExportOptions) {
  const { batches, threads } = options
  const tolerance = options.tolerance ?? ((batch: number) => toleranceOf(description.precision, batch))
  const typical = description.precision === 'float16' ? ['score', 'class_score'] : []
  return { tolerance, typical, ...(batches && { batches }), ...(threads !== undefined && { threads }) }
}

function need(feeds: Feeds, name: string): HostTensor {
  const t = feeds.get(name)
  if (t === undefined) throw internalError(`no ${name} among the feeds`)
  return t
}

/** Two networks are one if their configs are: what JSON keeps of them. */
function checkNetwork(path: string, file: Readonly<Record<string, unknown>>, model: Readonly<Record<string, unknown>>) {
  const difference = firstDifference(file, JSON.parse(JSON.stringify(model)), 'network')
  if (difference === undefined) return
  throw new LangevinError('E_ONNX', `'${path}' is of another network: ${difference}`, { path })
}

/** `network.hidden.0 is 8 in the file and 16 in the model`; undefined where there is none. */
function firstDifference(a: unknown, b: unknown, place: string): string | undefined {
  const isObject = (v: unknown): v is Record<string, unknown> => typeof v === 'object' && v !== null
  if (isObject(a) && isObject(b)) {
    for (const key of new Set([...Object.keys(a), ...Object.keys(b)])) {
      const found = firstDifference(a[key], b[key], `${place}.${key}`)
      if (found !== undefined) return found
    }
    return undefined
  }
  const show = (v: unknown): string => (v === undefined ? 'absent' : JSON.stringify(v))
  return Object.is(a, b) ? undefined : `${place} is ${show(a)} in the file and ${show(b)} in the model`
}
