/** Targets with known answers for the samplers over several levels: mixtures of Gaussians, as they are and with noise added. */
import type { Tensor } from '../../lib/graph/tensor.ts'
import * as ops from '../../lib/ops/index.ts'
import { energyTarget, type Target } from '../../lib/samplers/target.ts'

export interface Mixture {
  readonly weights: readonly number[]
  readonly means: readonly (readonly number[])[]
  /** Standard deviation of every component. */
  readonly std: number
}

/** Normalised log density of the mixture with noise N(0, σ²) added: the components' variances grow by σ². x [n, d], sigma [n] to [n]. */
export function noisyLogDensity({ weights, means, std }: Mixture, x: Tensor, sigma: Tensor): Tensor {
  const [k, d, n] = [weights.length, (means[0] as readonly number[]).length, x.shape[0] as number]
  const variance = sigma.square().add(std ** 2)
  const centres = ops.constant(means.flat(), [1, k, d])
  const square = x.reshape([n, 1, d]).sub(centres).square().sum(2)
  const logWeights = ops.constant(
    weights.map((w) => Math.log(w)),
    [1, k],
  )
  const norm = variance
    .mul(2 * Math.PI)
    .log()
    .mul(0.5 * d)
    .reshape([n, 1])
  return logWeights
    .sub(square.div(variance.mul(2).reshape([n, 1])))
    .sub(norm)
    .logsumexp(1)
}

/** The mixture as a target that also knows its noise levels. */
export function mixtureTarget(mixture: Mixture): Target {
  const at = (x: Tensor, sigma: Tensor) => noisyLogDensity(mixture, x, sigma).neg()
  const shape = [(mixture.means[0] as readonly number[]).length]
  return energyTarget((x) => at(x, ops.zeros([x.shape[0] as number])), { shape, energyAt: at })
}

/** The mixture without levels. */
export function plainMixture(mixture: Mixture): Target {
  const { logDensityAt: _, ...target } = mixtureTarget(mixture)
  return target
}

export interface Found {
  /** Share of the points nearest to each mean. */
  readonly shares: readonly number[]
  /** Of those points: mean and variance, pooled over coordinates. */
  readonly offsets: readonly (readonly number[])[]
  readonly variances: readonly number[]
}

/** Which mode each point [n, d] belongs to, and the moments about it. */
export function modes(data: ArrayLike<number>, { means }: Mixture): Found {
  const d = (means[0] as readonly number[]).length
  const groups: number[][][] = means.map(() => [])
  for (let i = 0; i < data.length; i += d) {
    const x = Array.from({ length: d }, (_, j) => data[i + j] as number)
    const square = means.map((m) => m.reduce((s, v, j) => s + ((x[j] as number) - v) ** 2, 0))
    const best = square.indexOf(Math.min(...square))
    ;(groups[best] as number[][]).push(x.map((v, j) => v - (means[best]?.[j] as number)))
  }
  const offsets = groups.map((g) =>
    Array.from({ length: d }, (_, j) => g.reduce((s, x) => s + (x[j] as number), 0) / g.length),
  )
  const variances = groups.map(
    (g, c) =>
      g.reduce((s, x) => s + x.reduce((t, v, j) => t + (v - (offsets[c]?.[j] as number)) ** 2, 0), 0) / (g.length * d),
  )
  return { shares: groups.map((g) => (g.length * d) / data.length), offsets, variances }
}
