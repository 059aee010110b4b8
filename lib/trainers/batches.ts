/** Drawing batches as graphs: rows in a seeded order without replacement, normalised, augmented. The data live on the device as they are (bytes stay bytes). */
import { LangevinError } from '../graph/errors.ts'
import { sameShape } from '../graph/shape.ts'
import type { Tensor } from '../graph/tensor.ts'
import type { Network } from '../nn/network.ts'
import * as ops from '../ops/index.ts'
import type { DataDescription } from './checkpoint.ts'

/** Names in the state. */
export const DATA = 'data/features'
export const LABELS = 'data/labels'

/** What is done to a batch before the network sees it. */
export interface Augmentation {
  /** Reflect-pad by this many pixels and crop back at random; default 0. */
  readonly pad?: number
  /** Mirror left-right with probability ½; default false. */
  readonly flip?: boolean
  /** Standard deviation of Gaussian noise added last, in units of the [-1, 1] range; default 0. */
  readonly noise?: number
}

/** How stored values become what the network sees ([-1, 1], where the data have a range): x·scale + shift. */
export interface Normalization {
  readonly scale: number
  readonly shift: number
}

/** The normalisation of a data set's range; null leaves values as they are. */
export function normalizationOf(range: readonly [number, number] | null): Normalization {
  if (range === null) return { scale: 1, shift: 0 }
  const scale = 2 / (range[1] - range[0])
  return { scale, shift: -1 - range[0] * scale }
}

/** Row numbers of this step's batch in the stream's shuffled order: int32 [count]. */
export function orderedRows(key: Tensor, rows: number, count: number, stream: number): Tensor {
  if (count > rows) {
    throw new LangevinError('E_DATA', `batch ${count} is larger than the data (${rows} rows); use batch ≤ ${rows}`, {
      batch: count,
      rows,
    })
  }
  return ops.shuffleIndex(key, { n: rows, count, stream })
}

/** The given rows as float32 in [-1, 1]. */
export function takeRows(features: Tensor, rows: Tensor, { scale, shift }: Normalization): Tensor {
  const taken = ops.gather(features, rows, { axis: 0 })
  const floats = features.dtype === 'float32' ? taken : ops.cast(taken, 'float32')
  return ops.add(ops.mul(floats, scale), shift)
}

/** Pads, crops, mirrors and adds noise; uses streams `stream` to `stream + 2`. */
export function augment(x: Tensor, options: Augmentation, key: Tensor, stream: number): Tensor {
  const { pad = 0, flip = false, noise = 0 } = options
  const n = x.shape[0] as number
  let out = x
  if ((pad > 0 || flip) && x.rank !== 4) {
    throw new LangevinError(
      'E_CONFIG',
      `augmentation pad and flip need images [n,c,h,w]; the data are [${x.shape.join(',')}]. Set pad: 0, flip: false.`,
    )
  }
  if (pad > 0 || flip) {
    const offsets =
      pad > 0
        ? ops.randomInt(key, [n, 2], { stream, bound: 2 * pad + 1 })
        : ops.cast(ops.broadcast(ops.constant(0), [n, 2]), 'int32')
    const mirror = flip
      ? ops.lt(ops.uniform(key, [n], stream + 1), 0.5)
      : ops.cast(ops.broadcast(ops.constant(0), [n]), 'bool')
    out = ops.cropFlip(x, offsets, mirror, { pad })
  }
  if (noise > 0) out = ops.add(out, ops.mul(ops.normal(key, x.shape, stream + 2), noise))
  return out
}

/** Refuses data whose examples the network does not take. */
export function checkExamples(network: Network, data: DataDescription): void {
  if (!sameShape(network.shape, data.shape)) {
    throw new LangevinError(
      'E_DATA',
      `data '${data.name}' has examples of [${data.shape.join(',')}], the network takes [${network.shape.join(',')}]`,
    )
  }
}

/** Refuses a network without classes, and data without labels or with more classes than the network has. */
export function checkLabelled(network: Network, data: DataDescription, what: string, remedy: string): void {
  network.needClasses(what)
  if (data.classes === 0)
    throw new LangevinError('E_DATA', `data '${data.name}' has no labels; ${remedy}, or give labels`)
  if (data.classes > network.classes) {
    throw new LangevinError(
      'E_DATA',
      `data '${data.name}' has ${data.classes} classes, the network gives ${network.classes} logits`,
    )
  }
}
