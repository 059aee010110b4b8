/** What a toy is: how it is drawn on the host, and its exact density as a graph. The toys themselves stand in toy-mixtures.ts and toy-warps.ts. */
import type { Tensor } from '../graph/tensor.ts'
import type { HostRandom } from '../runtime/host-random.ts'

export interface ToyShape {
  /** Numbers of one example. */
  readonly dimensions: number
  /** Classes of the labels; 0 where there is nothing to label. */
  readonly classes: number
  /** Exact mean [d]. */
  readonly mean: readonly number[]
  /** Exact covariance [d][d]. */
  readonly covariance: readonly (readonly number[])[]
  /** An interval for each dimension; together they hold at least 0.999 of the mass. */
  readonly box: readonly (readonly [low: number, high: number])[]
  /** Fills `row` with one draw and returns its class. */
  draw(random: HostRandom, row: Float32Array): number
  /** Normalised log density in nats of x [n, d]: float32 [n]. */
  logDensity(x: Tensor): Tensor
}
