/**
 * Discrete data sets: grey values made binary once and for all, whole numbers made one-hot, and draws from a model whose parameters are known.
 * Binary values drawn anew for each batch are the trainers' option `binarize`.
 */
import { LangevinError } from '../graph/errors.ts'
import { type HostTensor, hostTensor } from '../graph/host-tensor.ts'
import { sizeOf } from '../graph/shape.ts'
import type { Model } from '../nn/model.ts'
import type { DiscreteValues } from '../nn/network.ts'
import { HostRandom } from '../runtime/host-random.ts'
import { sample } from '../samplers/sample.ts'
import type { SamplerOptions } from '../samplers/samplers.ts'
import { Dataset } from './dataset.ts'

export interface BinarizeOptions {
  /** 'threshold' (default): 1 above `threshold`. 'stochastic': 1 with a probability that is the value's place in the range (Salakhutdinov & Murray 2008). */
  readonly how?: 'threshold' | 'stochastic'
  /** As a place in the range, in (0, 1); default 0.5. */
  readonly threshold?: number
  /** For 'stochastic'. Default 0. */
  readonly seed?: number
}

/** The set with every value 0 or 1, range null, labels as they were. @throws LangevinError E_DATA for a set whose range is null and whose values leave [0, 1], RangeError */
export function binarized(data: Dataset, options: BinarizeOptions = {}): Dataset {
  const { how = 'threshold', threshold = 0.5, seed = 0 } = options
  if (how !== 'threshold' && how !== 'stochastic')
    throw new LangevinError('E_CONFIG', `binarized: how must be 'threshold' or 'stochastic'; got '${String(how)}'`)
  if (!(threshold > 0 && threshold < 1))
    throw new RangeError(`binarized: threshold must be in (0, 1); got ${threshold}`)
  const [low, high] = data.range ?? [0, 1]
  const random = new HostRandom(seed)
  const numbers = data.features.data
  const out = new Uint8Array(numbers.length)
  for (let i = 0; i < out.length; i++) {
    const place = ((numbers[i] as number) - low) / (high - low)
    if (!(place >= 0 && place <= 1)) {
      throw new LangevinError(
        'E_DATA',
        `binarized: row ${Math.floor(i / data.dimensions)} of ${data} holds ${numbers[i]}, outside [${low}, ${high}]; give the data a range`,
      )
    }
    out[i] = place > (how === 'stochastic' ? random.uniform() : threshold) ? 1 : 0
  }
  return rebuilt(data, 'binarized', out, data.shape)
}

/**
 * Whole numbers 0 .. values-1 as one-hot rows: [n, ...shape] becomes [n, ...shape, values], range null.
 * @throws LangevinError E_DATA that names a row with another number, RangeError
 */
export function oneHot(data: Dataset, values: number): Dataset {
  if (!Number.isInteger(values) || values < 2)
    throw new RangeError(`oneHot: values must be an integer of at least 2; got ${values}`)
  const numbers = data.features.data
  const out = new Uint8Array(numbers.length * values)
  for (let i = 0; i < numbers.length; i++) {
    const v = numbers[i] as number
    if (!Number.isInteger(v) || v < 0 || v >= values) {
      throw new LangevinError(
        'E_DATA',
        `oneHot: row ${Math.floor(i / data.dimensions)} of ${data} holds ${v}; expected whole numbers 0..${values - 1}`,
      )
    }
    out[i * values + v] = 1
  }
  return rebuilt(data, 'one-hot', out, [...data.shape, values])
}

function rebuilt(data: Dataset, what: string, numbers: Uint8Array, shape: readonly number[]): Dataset {
  const { labels, classes, classNames, count, name } = data
  const features = hostTensor(numbers, [count, ...shape])
  return new Dataset({ name: `${name} ${what}`, features, labels, classes, classNames, range: null })
}

/**
 * x [n, ...] as a model of discrete x takes it: every number at the nearer of its two values, or at the further one with a probability that is
 * its place between them ('stochastic', by seed); one-hot data with a one at the greatest of each site.
 */
export function atStates(
  x: HostTensor,
  states: DiscreteValues,
  options: { readonly how?: 'threshold' | 'stochastic'; readonly seed?: number } = {},
): HostTensor {
  const { how = 'threshold', seed = 0 } = options
  const { data, shape } = x
  const out = new Float32Array(data.length)
  if (states === 'oneHot') {
    const width = shape.at(-1) as number
    for (let at = 0; at < out.length; at += width) {
      const site = data.subarray(at, at + width)
      out[at + site.indexOf(Math.max(...site))] = 1
    }
    return hostTensor(out, shape)
  }
  const [off, on] = states
  const random = new HostRandom(seed)
  for (let i = 0; i < out.length; i++) {
    const place = ((data[i] as number) - off) / (on - off)
    out[i] = place > (how === 'stochastic' ? random.uniform() : 0.5) ? on : off
  }
  return hostTensor(out, shape)
}

export interface ModelDataOptions {
  /** Rows. */
  readonly count: number
  /** Default 'blockGibbs'. */
  readonly sampler?: SamplerOptions
  /** Steps of each chain from fair coins to its one draw; default 1000. */
  readonly steps?: number
  /** Default 0. */
  readonly seed?: number
  readonly name?: string
}

/**
 * Independent draws of a discrete model with known parameters, to see whether a method finds them again: one chain a row, as long as
 * `steps`. Exact up to what the chains have not forgotten. @throws as `sample`
 */
export async function drawnFrom(model: Model, options: ModelDataOptions): Promise<Dataset> {
  const { count, sampler = { kind: 'blockGibbs' }, steps = 1000, seed = 0, name } = options
  const { shape, config } = model.network
  const { draws } = await sample(model, { sampler, chains: count, draws: 1, warmup: steps, seed })
  if (draws.data.length !== count * sizeOf(shape))
    throw new LangevinError('E_INTERNAL', `internal: ${draws.data.length} numbers for ${count} draws`)
  const features = hostTensor(draws.data, [count, ...shape])
  return new Dataset({ name: name ?? `${config.kind} draws`, features, range: null })
}
