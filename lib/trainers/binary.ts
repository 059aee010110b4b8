/**
 * Binary and one-hot data for methods that train on them: which two values of x are 0 and 1, grey values made binary, and refusal of data
 * that are neither.
 *
 * The rule is the package's: data with a range reach a model in [-1, 1], so 0 and 1 are -1 and 1 there; data without a range are taken as
 * they are, so they are 0 and 1 themselves (or what the network says: option `values` of rbm and ising).
 */
import type { Dataset } from '../data/dataset.ts'
import { LangevinError } from '../graph/errors.ts'
import type { Tensor } from '../graph/tensor.ts'
import { PairwiseNetwork } from '../nn/discrete.ts'
import type { Network } from '../nn/network.ts'
import { type BinaryValues, RbmNetwork, zeroOne } from '../nn/rbm.ts'
import * as ops from '../ops/index.ts'
import type { DataDescription } from './checkpoint.ts'

/**
 * How grey values become binary, drawn anew for each batch: above the middle ('threshold'), with a probability that is their place between
 * the two values ('stochastic', Salakhutdinov & Murray 2008), or not at all (null).
 */
export type Binarize = 'threshold' | 'stochastic' | null

/** The binary values of one run's x. */
export class BinaryUnits {
  readonly values: BinaryValues
  private readonly data: DataDescription

  /** @throws LangevinError E_CONFIG where the network's values are not those in which the data come */
  constructor(network: Network, data: DataDescription) {
    const own = network instanceof RbmNetwork || network instanceof PairwiseNetwork ? network.values : undefined
    const values = data.range === null ? (own ?? ([0, 1] as const)) : ([-1, 1] as const)
    if (own !== undefined && (own[0] !== values[0] || own[1] !== values[1])) {
      throw new LangevinError(
        'E_CONFIG',
        `data '${data.name}' have a range, so they reach the network as [-1, 1]; it takes values [${own.join(', ')}]. Build it with values: [-1, 1], or give binary data with range null.`,
      )
    }
    this.values = values
    this.data = data
  }

  /** x with its two values at 0 and 1. */
  toUnit(x: Tensor): Tensor {
    return zeroOne(x, this.values)
  }

  /** The two values are 0 and 1 themselves. */
  get plain(): boolean {
    const [off, on] = this.values
    return off === 0 && on === 1
  }

  /** The opposite of {@link toUnit}. */
  fromUnit(b: Tensor): Tensor {
    const [off, on] = this.values
    return this.plain ? b : ops.add(ops.mul(b, on - off), off)
  }

  /** A batch with every number at one of the two values. */
  binarize(x: Tensor, how: Binarize, key: Tensor, stream: number): Tensor {
    if (how === null) return x
    const unit = this.toUnit(x)
    const on = how === 'stochastic' ? ops.bernoulli(key, unit, stream) : ops.gt(unit, 0.5)
    return this.fromUnit(ops.cast(on, 'float32'))
  }

  /** Data without a range must lie between the two values. @throws LangevinError E_DATA that names the first that does not */
  check(data: Dataset): void {
    if (this.data.range !== null) return
    const [low, high] = [Math.min(...this.values), Math.max(...this.values)]
    refuse(data, (v) => v >= low && v <= high, `between ${low} and ${high}`, 'data.binarized makes such a set')
  }
}

/** One-hot data: no range, 0 and 1 only, one 1 for each site along the last axis. @throws LangevinError E_DATA */
export function checkOneHot(data: Dataset): void {
  const width = data.shape.at(-1) ?? 0
  const remedy = 'data.oneHot makes such a set of whole numbers'
  if (data.range !== null || data.shape.length < 2 || width < 2) {
    throw new LangevinError(
      'E_DATA',
      `data ${data}: one-hot examples must be [..., values] with range null; got range ${JSON.stringify(data.range)}. ${remedy}.`,
    )
  }
  refuse(data, (v) => v === 0 || v === 1, '0 or 1', remedy)
  const { data: numbers } = data.features
  for (let at = 0; at < numbers.length; at += width) {
    let sum = 0
    for (let k = 0; k < width; k++) sum += numbers[at + k] as number
    if (sum === 1) continue
    const row = Math.floor(at / data.dimensions)
    throw new LangevinError(
      'E_DATA',
      `data ${data}: row ${row} has a site with ${sum} ones; one-hot needs one. ${remedy}.`,
    )
  }
}

function refuse(data: Dataset, fits: (v: number) => boolean, what: string, remedy: string): void {
  const { data: numbers } = data.features
  for (let i = 0; i < numbers.length; i++) {
    if (fits(numbers[i] as number)) continue
    const row = Math.floor(i / data.dimensions)
    throw new LangevinError('E_DATA', `data ${data}: row ${row} holds ${numbers[i]}; expected ${what} (${remedy})`)
  }
}
