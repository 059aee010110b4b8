/**
 * Out-of-distribution sets made from a data set or from nothing: float32 images in [-1, 1], deterministic by seed. Of points and tables
 * (range null) the noises keep to the data's own columns, and what needs a range is refused.
 * They are what an energy should rank below the data; the scores stand in lib/evaluation. Another data set serves as it is: `normalized()`.
 */
import { LangevinError, suggestion } from '../graph/errors.ts'
import { type HostTensor, hostTensor } from '../graph/host-tensor.ts'
import { type Shape, sizeOf } from '../graph/shape.ts'
import { HostRandom } from '../runtime/host-random.ts'
import { Dataset } from './dataset.ts'
import { columnsOf } from './standardize.ts'

/** Anything that knows the shape of one example. */
export interface Like {
  readonly shape: Shape
}

/** Every number uniform in [-1, 1), independent; [count, ...like.shape]. Of data without a range: between its column's extremes. */
export function uniformNoise(like: Like, count: number, seed: number): HostTensor {
  const random = new HostRandom(seed)
  if (!hasNoRange(like)) return fill(like, count, () => 2 * random.uniform() - 1)
  const { low, high } = columnsOf(like)
  return fill(like, count, (j) => (low[j] as number) + random.uniform() * ((high[j] as number) - (low[j] as number)))
}

/**
 * Every number normal with the given standard deviation (default 1/2) around 0, clamped to [-1, 1]. Of data without a range: with its
 * column's mean and standard deviation, independent of the other columns; `deviation` is then a factor, by default 1.
 */
export function gaussianNoise(like: Like, count: number, seed: number, deviation?: number): HostTensor {
  const random = new HostRandom(seed)
  if (!hasNoRange(like)) return fill(like, count, () => clamp((deviation ?? 0.5) * random.normal()))
  const { mean, std } = columnsOf(like)
  return fill(like, count, (j) => (mean[j] as number) + (deviation ?? 1) * (std[j] as number) * random.normal())
}

/** Images of one colour each, uniform in [-1, 1) a channel (tables: one value a row). @throws LangevinError E_DATA for data without a range. */
export function constant(like: Like, count: number, seed: number): HostTensor {
  if (hasNoRange(like)) {
    const why =
      'its range is null, so its columns share no unit. Use another set (uniform, gaussian, shuffled), or give a range'
    throw new LangevinError('E_DATA', `constant: ${like} has no rows of one value: ${why}`)
  }
  const random = new HostRandom(seed)
  const plane = like.shape.length === 3 ? sizeOf(like.shape.slice(1)) : sizeOf(like.shape)
  let value = 0
  return fill(like, count, (j) => {
    if (j % plane === 0) value = 2 * random.uniform() - 1
    return value
  })
}

/** The data with light for dark: `-x`. */
export function inverted(data: Dataset): HostTensor {
  return data.inverted().normalized()
}

/** The data with its pixels in one random order, the same for all images. */
export function shuffled(data: Dataset, seed: number): HostTensor {
  return data.shuffledPixels(seed).normalized()
}

/** The data mirrored left to right. */
export function flipped(data: Dataset): HostTensor {
  return data.flipped().normalized()
}

/** Means of random pairs of different rows, as many as the data has (Du & Mordatch 2019 call them interpolations). */
export function interpolated(data: Dataset, seed: number): HostTensor {
  const x = data.normalized()
  const d = data.dimensions
  const random = new HostRandom(seed)
  const other = Int32Array.from({ length: data.count }, (_, i) =>
    data.count === 1 ? 0 : (i + 1 + random.int(data.count - 1)) % data.count,
  )
  const out = Float32Array.from(x.data)
  for (let i = 0; i < out.length; i++) {
    const j = (other[Math.floor(i / d)] as number) * d + (i % d)
    out[i] = ((x.data[i] as number) + (x.data[j] as number)) / 2
  }
  return hostTensor(out, x.shape)
}

/** Names that {@link oodSet} knows. */
export const oodNames = ['uniform', 'gaussian', 'constant', 'inverted', 'shuffled', 'flipped', 'interpolated'] as const
export type OodName = (typeof oodNames)[number]

/**
 * The sets that an evaluation takes unless told otherwise: those that the data's range (or lack of one) allows. Points of one or two numbers are not
 * shuffled, as many a distribution of the plane is the same with x and y exchanged.
 */
export function defaultOod(data: Pick<Dataset, 'range' | 'dimensions'>): readonly OodName[] {
  if (data.range !== null) return ['uniform', 'inverted', 'shuffled']
  return data.dimensions <= 2 ? ['uniform', 'gaussian'] : ['uniform', 'gaussian', 'shuffled']
}

export interface OodOptions {
  /** Rows of the noise sets. Default: as many as the data. */
  readonly count?: number | undefined
  /** Default 0. */
  readonly seed?: number | undefined
}

/** An out-of-distribution set by name, in the shape of `data`. @throws RangeError for a name that is not known. */
export function oodSet(name: OodName, data: Dataset, options: OodOptions = {}): HostTensor {
  const { count = data.count, seed = 0 } = options
  if (name === 'uniform') return uniformNoise(data, count, seed)
  if (name === 'gaussian') return gaussianNoise(data, count, seed)
  if (name === 'constant') return constant(data, count, seed)
  if (name === 'inverted') return inverted(data)
  if (name === 'shuffled') return shuffled(data, seed)
  if (name === 'flipped') return flipped(data)
  if (name === 'interpolated') return interpolated(data, seed)
  throw new RangeError(`oodSet: no out-of-distribution set '${name}'.${suggestion(String(name), oodNames)}`)
}

/** [count, ...like.shape]; `value` gets the index within the example. */
function fill(like: Like, count: number, value: (j: number) => number): HostTensor {
  if (!Number.isInteger(count) || count < 1)
    throw new RangeError(`count must be a whole number of at least 1; got ${count}`)
  const d = sizeOf(like.shape)
  const out = new Float32Array(count * d)
  for (let i = 0; i < out.length; i++) out[i] = value(i % d)
  return hostTensor(out, [count, ...like.shape])
}

function hasNoRange(like: Like): like is Dataset {
  return like instanceof Dataset && like.range === null
}

function clamp(x: number): number {
  return Math.min(1, Math.max(-1, x))
}
