/**
 * What a sampler moves towards: an unnormalised log density as a graph, with the split that PYLD uses where a network has one, and the
 * density at a noise level where the energy is conditioned on one. Binding numbers to a target's variables is source.ts's part.
 */
import { LangevinError, shapeError } from '../graph/errors.ts'
import { type Shape, sameShape, showShape } from '../graph/shape.ts'
import type { Tensor } from '../graph/tensor.ts'
import type { Network } from '../nn/network.ts'
import type { Pass } from '../nn/variables.ts'
import * as ops from '../ops/index.ts'

/** log p(x) up to a constant, per chain; `split` writes it as rest(first(x)). */
export interface Target {
  /** x [n, ...shape] to [n]. */
  logDensity(x: Tensor): Tensor
  /** log p_σ(x) up to a constant, of the data with noise N(0, σ²) added: x [n, ...shape] and sigma [n] to [n]. Noise-conditioned energies have it. */
  logDensityAt?(x: Tensor, sigma: Tensor): Tensor
  /** Shape of one example, where it is known. */
  readonly shape?: Shape
  /** One sweep of exact conditionals over all sites of x [n, ...shape], where the network has them; takes streams from `stream` on. */
  sweep?(x: Tensor, key: Tensor, stream: number): Tensor
  readonly split?: {
    first(x: Tensor): Tensor
    rest(h: Tensor): Tensor
    /** first(x) is affine in x. */
    readonly affine: boolean
  }
}

export interface NetworkTargetOptions {
  /** With classes (int32 [n], or one for all as a scalar): log p(x|y) = f(x)[y] instead of log p(x) = logsumexp f(x). */
  readonly classes?: Tensor
  /** How many leading stages form PYLD's first stage; default 1. */
  readonly firstStage?: number
}

/** A network as a target; `pass.sigma` fixes the noise level of `logDensity`. */
export function networkTarget(network: Network, pass: Pass, options: NetworkTargetOptions = {}): Target {
  const { classes, firstStage = 1 } = options
  const density = (output: Tensor): Tensor => {
    if (classes === undefined) return ops.neg(network.energyOf(output))
    network.needClasses('class-conditional sampling')
    const each = classes.rank === 0 ? ops.broadcast(classes, [output.shape[0] as number]) : classes
    return ops.sum(ops.mul(output, ops.oneHot(each, network.classes)), 1)
  }
  const plain: Target = {
    shape: network.shape,
    logDensity: (x) => density(network.forward(x, pass)),
    ...(network.sweep && { sweep: (x, key, stream) => network.sweep?.(x, pass, key, stream) as Tensor }),
    ...(network.conditioned && { logDensityAt: (x, sigma) => density(network.forward(x, { ...pass, sigma })) }),
  }
  if (network.stages.length === 1) return plain
  if (!Number.isInteger(firstStage) || firstStage < 1 || firstStage >= network.stages.length) {
    throw new LangevinError(
      'E_CONFIG',
      `sampler.firstStage must be an integer in 1..${network.stages.length - 1} for this network of ${network.stages.length} stages; got ${firstStage}`,
    )
  }
  return {
    ...plain,
    split: {
      first: (x) => network.forward(x, pass, 0, firstStage),
      rest: (h) => density(network.forward(h, pass, firstStage)),
      affine: network.firstStagesAffine(firstStage),
    },
  }
}

export interface EnergyTargetOptions {
  /** Shape of one example; needed where chains do not start at given points. */
  readonly shape?: Shape
  /** The energy at noise levels: x [n, ...shape] and sigma [n] to [n]. */
  readonly energyAt?: (x: Tensor, sigma: Tensor) => Tensor
}

/**
 * A plain energy as a target: x [n, ...shape] to energies [n]. (An energy with parameters is a model: `defineEnergy`.)
 * @example energyTarget((x) => x.square().sum(-1).mul(0.5), { shape: [2] })
 */
export function energyTarget(energy: (x: Tensor) => Tensor, options: EnergyTargetOptions = {}): Target {
  const { shape, energyAt } = options
  if (typeof energy !== 'function')
    throw new TypeError(
      `energyTarget: takes a function of a tensor x [n, ...shape] to energies [n]; got ${typeof energy}`,
    )
  return {
    ...(shape && { shape }),
    logDensity: (x) => negated(energy(x), x),
    ...(energyAt && { logDensityAt: (x: Tensor, sigma: Tensor) => negated(energyAt(x, sigma), x) }),
  }
}

function negated(energy: Tensor, x: Tensor): Tensor {
  if (sameShape(energy.shape, [x.shape[0] as number])) return ops.neg(energy)
  throw shapeError(
    'energyTarget',
    `the energy of x ${showShape(x.shape)} must be [${x.shape[0]}], one an example; got ${showShape(energy.shape)}: sum over the other axes`,
  )
}

/** p(x)^beta: inverse temperature beta, for all chains or float32 [n]. */
export function tempered(target: Target, beta: number | Tensor): Target {
  if (beta === 1) return target
  // The conditionals are those of temperature 1.
  const { sweep: _, ...rest } = target
  const { split, logDensityAt } = target
  return {
    ...rest,
    logDensity: (x) => ops.mul(target.logDensity(x), beta),
    ...(logDensityAt && { logDensityAt: (x: Tensor, sigma: Tensor) => ops.mul(logDensityAt(x, sigma), beta) }),
    ...(split && { split: { ...split, rest: (h: Tensor) => ops.mul(split.rest(h), beta) } }),
  }
}
