/**
 * The noise of noise-contrastive estimation as part of a run: fitted to the data or trained, its numbers kept in the state as `noise/<name>`
 * (a flow's as the module `flow`), so that checkpoints carry it. Densities and draws stand in samplers/distributions.ts and nn/flow.ts.
 */
import { z } from 'zod'
import type { Dataset } from '../data/dataset.ts'
import { fitGaussian } from '../data/gaussian-fit.ts'
import { fitGaussianMixture } from '../data/gaussian-mixture.ts'
import { columnsOf } from '../data/standardize.ts'
import { LangevinError, suggestion } from '../graph/errors.ts'
import { type HostTensor, hostTensor } from '../graph/host-tensor.ts'
import { type Shape, sameShape, showShape, sizeOf } from '../graph/shape.ts'
import type { Tensor } from '../graph/tensor.ts'
import type { Flow } from '../nn/flow.ts'
import { flowSchema } from '../nn/schema.ts'
import type { OptimizerOptions } from '../optim/optimizers.ts'
import { amount, count, positive } from '../runtime/check-options.ts'
import type { Device } from '../runtime/devices.ts'
import type { Recorder, State } from '../runtime/state.ts'
import { type Distribution, gaussian, gaussianMixture, standardNormal, uniformBox } from '../samplers/distributions.ts'
import type { StartOptions } from '../samplers/starts.ts'
import { ChainStarts, type PlainStarts } from './chain-starts.ts'
import type { DataDescription } from './checkpoint.ts'
import { type FlowSource, flowModule, flowPass, plainFlow } from './flow-module.ts'
import type { Module } from './method.ts'
import { optimizerSchema } from './schema.ts'

/**
 * Where noise comes from. The closer to the data, the more the energy learns of every step; but it must reach wherever the energy is to be
 * right. All are in the units the network sees.
 * - `normal`: N(0, I).
 * - `gaussian`: the data's mean and full covariance; d² numbers. `jitter` is added to every variance; default 1e-4 of their mean.
 * - `mixture`: `components` (default 8) full-covariance Gaussians by EM; `iterations` (100), `tolerance` (1e-4 nats a row), `seed` (the run's).
 * - `uniform`: a box: `low` and `high` (one for all or one a dimension); what is not given is [-1, 1] where the data live there, the data's own
 *   extremes otherwise, and then widened by `margin` (default 0.1) of its width on either side. Data outside the box teach nothing.
 * - `flow`: a normalizing flow, fitted by maximum likelihood in the first `steps` steps of the run (default 1000; 0 for a FlowModel, which
 *   stays as it is) with `optimizer` (default Adam 1e-3), and then held.
 * - `custom`: a distribution of one's own (`customDistribution`); it must be normalised. A checkpoint keeps its parameters but not its functions.
 */
export type NoiseOptions =
  | { readonly kind: 'normal' }
  | { readonly kind: 'gaussian'; readonly jitter?: number }
  | MixtureNoise
  | BoxNoise
  | {
      readonly kind: 'flow'
      readonly flow?: FlowSource
      readonly steps?: number
      readonly optimizer?: OptimizerOptions
    }
  | { readonly kind: 'custom'; readonly distribution: Distribution }

interface MixtureNoise {
  readonly kind: 'mixture'
  readonly components?: number
  readonly iterations?: number
  readonly tolerance?: number
  readonly jitter?: number
  readonly seed?: number
}

interface BoxNoise {
  readonly kind: 'uniform'
  readonly low?: number | readonly number[]
  readonly high?: number | readonly number[]
  readonly margin?: number
}

/** Noise as a method uses it; `r` records over the state that holds its numbers. */
export interface Noise {
  readonly kind: NoiseOptions['kind']
  /** The module of a trained flow; none for others. */
  readonly modules: readonly Module[]
  /** The flow, if it is one. */
  readonly flow?: Flow
  /** Fits it and puts its numbers into the state. */
  setup(state: State, data: Dataset): Promise<void>
  /** `count` draws [count, ...shape] and their log density [count]; uses streams `stream` and `stream + 1`. */
  sample(r: Recorder, key: Tensor, count: number, stream: number): { readonly x: Tensor; readonly logDensity: Tensor }
  /** log p_n(x), nats: [n]. */
  logDensity(r: Recorder, x: Tensor): Tensor
}

const kinds = ['normal', 'gaussian', 'mixture', 'uniform', 'flow', 'custom']
const PREFIX = 'noise/'

/** Name in the state of log Z, which belongs to the module `noise` too. */
export const LOG_Z = 'log_z'

/** The noise that options describe. @throws LangevinError E_CONFIG for an unknown kind or a distribution of another shape; RangeError. */
export function makeNoise(options: NoiseOptions, data: DataDescription, seed: number): Noise {
  const { shape } = data
  switch (options.kind) {
    case 'normal': {
      const distribution = standardNormal(shape)
      return fromDistribution('normal', distribution, async () => distribution)
    }
    case 'gaussian':
      return fromDistribution('gaussian', unitGaussian(shape), async (d, device) => {
        const { mean, factor } = await fitGaussian(d, { device, jitter: options.jitter })
        return gaussian(mean, factor)
      })
    case 'mixture':
      return mixtureNoise(options, shape, seed)
    case 'uniform':
      return fromDistribution('uniform', uniformBox(filled(shape, -1), filled(shape, 1)), async (d) =>
        boxAround(options, d),
      )
    case 'flow':
      return flowNoise(options.flow, shape)
    case 'custom':
      return customNoise(options.distribution, shape)
    default: {
      const kind = String((options as { readonly kind?: unknown } | undefined)?.kind)
      throw new LangevinError('E_CONFIG', `noise '${kind}' is not known.${suggestion(kind, kinds)}`)
    }
  }
}

/** Options as plain data; see {@link plainFlow}. */
export function plainNoise(options: NoiseOptions): NoiseOptions {
  return options?.kind === 'flow' && options.flow !== undefined
    ? { ...options, flow: plainFlow(options.flow) }
    : options
}

/**
 * Noise by a distribution. `form` is one of the same graphs, whatever its numbers, which are read from the state: so an opened run, which has the
 * numbers but no data, uses it too.
 */
function fromDistribution(
  kind: Noise['kind'],
  form: Distribution,
  estimate: (data: Dataset, device: Device) => Promise<Distribution>,
): Noise {
  const tensor = (r: Recorder) => (name: string) => r.read(`${PREFIX}${name}`)
  const logDensity = (r: Recorder, x: Tensor): Tensor => form.logDensity(tensor(r), x)
  return {
    kind,
    modules: [],
    async setup(state, data) {
      for (const [name, value] of (await estimate(data, state.device)).parameters)
        await state.put(`${PREFIX}${name}`, value)
    },
    sample(r, key, n, stream) {
      const x = form.sample(tensor(r), key, n, stream)
      return { x, logDensity: logDensity(r, x) }
    },
    logDensity,
  }
}

/** A flow in the module `flow`, as noise. */
export function flowNoise(source: FlowSource | undefined, shape: Shape): Noise & { readonly flow: Flow } {
  const { flow, module } = flowModule(source, shape)
  return {
    kind: 'flow',
    modules: [module],
    flow,
    async setup() {},
    sample: (r, key, n, stream) => flow.sample(key, n, stream, flowPass(r)),
    logDensity: (r, x) => flow.logDensity(x, flowPass(r)),
  }
}

function mixtureNoise(options: MixtureNoise, shape: Shape, seed: number): Noise {
  const { components: k = 8 } = options
  if (!Number.isSafeInteger(k) || k < 1)
    throw new RangeError(`noise: components must be a positive integer; got ${String(k)}`)
  const d = sizeOf(shape)
  const factors = new Float32Array(k * d * d)
  for (let i = 0; i < k * d; i++) factors[i * d + (i % d)] = 1
  const form = gaussianMixture(filled([k], 1), filled([k, ...shape], 0), hostTensor(factors, [k, d, d]))
  return fromDistribution('mixture', form, async (data, device) => {
    const { kind: _, ...rest } = options
    const fit = await fitGaussianMixture(data, { seed, ...rest, components: k, device })
    return gaussianMixture(fit.weights, fit.means, fit.factors)
  })
}

/** A distribution of one's own. What a file gives of it has no functions: an opened run can do without it until it is asked for. */
function customNoise(distribution: Distribution | undefined, shape: Shape): Noise {
  if (typeof distribution?.sample !== 'function' || typeof distribution.logDensity !== 'function') {
    const missing = (): never => {
      throw new LangevinError(
        'E_CONFIG',
        "noise 'custom' needs distribution: what customDistribution(...) gives. A file cannot hold it: give it in the trainer's options, or as openRun(path, { options: { noise: { kind: 'custom', distribution } } })",
      )
    }
    return { kind: 'custom', modules: [], setup: async () => missing(), sample: missing, logDensity: missing }
  }
  if (!sameShape(distribution.shape, shape)) {
    throw new LangevinError(
      'E_CONFIG',
      `noise: the distribution gives examples of ${showShape(distribution.shape)}, the data have ${showShape(shape)}`,
    )
  }
  if (distribution.parameters.has(LOG_Z))
    throw new LangevinError('E_CONFIG', `noise: a parameter may not be called '${LOG_Z}'; rename it`)
  return fromDistribution('custom', distribution, async () => distribution)
}

function unitGaussian(shape: Shape): Distribution {
  const d = sizeOf(shape)
  const eye = Float32Array.from({ length: d * d }, (_, i) => (i % (d + 1) === 0 ? 1 : 0))
  return gaussian(filled(shape, 0), hostTensor(eye, [d, d]))
}

function filled(shape: Shape, value: number): HostTensor {
  return hostTensor(new Float32Array(sizeOf(shape)).fill(value), shape)
}

/** The box of the options, or around the data. */
function boxAround(options: BoxNoise, data: Dataset): Distribution {
  const { margin = 0.1 } = options
  if (!(margin >= 0 && margin < Infinity)) throw new RangeError(`noise: margin must be at least 0; got ${margin}`)
  const { low, high } = extremes(data)
  const d = data.dimensions
  const width = Float32Array.from(low, (a, i) => (high[i] as number) - a)
  const a = corner('low', options.low, d) ?? low.map((v, i) => v - margin * (width[i] as number))
  const b = corner('high', options.high, d) ?? high.map((v, i) => v + margin * (width[i] as number))
  return uniformBox(hostTensor(a, data.shape), hostTensor(b, data.shape))
}

function corner(name: string, value: number | readonly number[] | undefined, d: number): Float32Array | undefined {
  if (value === undefined) return undefined
  const list = typeof value === 'number' ? new Array<number>(d).fill(value) : value
  if (list.length !== d || !list.every(Number.isFinite))
    throw new RangeError(`noise: ${name} must be a finite number or ${d} of them; got ${JSON.stringify(value)}`)
  return Float32Array.from(list)
}

/** [-1, 1] where the data are mapped there, else the least and the greatest of every number. */
function extremes(data: Dataset): { readonly low: Float32Array; readonly high: Float32Array } {
  const d = data.dimensions
  if (data.range !== null) return { low: new Float32Array(d).fill(-1), high: new Float32Array(d).fill(1) }
  const { low, high } = columnsOf(data)
  return { low: Float32Array.from(low), high: Float32Array.from(high) }
}

/** Chains that begin at draws of the noise: where the energy was trained, and independent of each other. */
export class NoiseStarts extends ChainStarts {
  private readonly noise: Noise

  constructor(noise: Noise, data: DataDescription) {
    super({ kind: 'uniform' }, data)
    this.noise = noise
  }

  override async setup(): Promise<void> {}

  /** A normal, one Gaussian (the same for every class) or a cube; no options describe mixtures, other boxes and flows. */
  override plain(tensors: ReadonlyMap<string, HostTensor>): PlainStarts | undefined {
    const { classes } = this
    const number = (name: string) => tensors.get(`${PREFIX}${name}`)
    const plain = (options: StartOptions, numbers: [string, HostTensor][] = []): PlainStarts => ({
      options,
      tensors: new Map(numbers),
      classes,
      bounded: false,
    })
    if (this.noise.kind === 'normal') return plain({ kind: 'normal' })
    const [mean, factor, low, high] = ['mean', 'factor', 'low', 'high'].map(number)
    if (this.noise.kind === 'gaussian' && mean && factor) {
      const d = sizeOf(this.data.shape)
      return plain({ kind: 'classGaussians' }, [
        ['mean', repeated(mean, classes, [d])],
        ['factor', repeated(factor, classes, [d, d])],
      ])
    }
    const [a, b] = [low?.data[0], high?.data[0]]
    const cube = low?.data.every((v) => v === a) && high?.data.every((v) => v === b)
    return cube && a !== undefined && b !== undefined ? plain({ kind: 'uniform', low: a, high: b }) : undefined
  }

  override draw(r: Recorder, key: Tensor, classes: Tensor, _mask: Tensor, stream: number): Tensor {
    return this.noise.sample(r, key, classes.shape[0] as number, stream).x
  }
}

/** `count` copies of a tensor's numbers: [count, ...shape]. */
function repeated({ data }: HostTensor, count: number, shape: Shape): HostTensor {
  const all = new Float32Array(count * data.length)
  for (let i = 0; i < count; i++) all.set(data as Float32Array, i * data.length)
  return hostTensor(all, [count, ...shape])
}

const side = z.union([z.number(), z.array(z.number())])

/** NoiseOptions that a file can hold. */
export const noiseSchema = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('normal') }),
  z.strictObject({ kind: z.literal('gaussian'), jitter: amount.optional() }),
  z.strictObject({
    kind: z.literal('mixture'),
    components: count.optional(),
    iterations: count.optional(),
    tolerance: positive.optional(),
    jitter: amount.optional(),
    seed: z.int().optional(),
  }),
  z.strictObject({
    kind: z.literal('uniform'),
    low: side.optional(),
    high: side.optional(),
    margin: amount.optional(),
  }),
  z.strictObject({
    kind: z.literal('flow'),
    flow: flowSchema.optional(),
    steps: z.int().min(0).optional(),
    optimizer: optimizerSchema.optional(),
  }),
])
