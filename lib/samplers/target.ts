/** What a sampler moves towards: an unnormalised log density as a graph, with the split that PYLD uses where a network has one. */
import { LangevinError } from '../graph/errors.ts'
import type { Tensor } from '../graph/tensor.ts'
import type { Network } from '../nn/network.ts'
import type { Pass } from '../nn/variables.ts'
import * as ops from '../ops/index.ts'

/** log p(x) up to a constant, per chain; `split` writes it as rest(first(x)). */
export interface Target {
  logDensity(x: Tensor): Tensor
  readonly split?: {
    first(x: Tensor): Tensor
    rest(h: Tensor): Tensor
    /** first(x) is affine in x. */
    readonly affine: boolean
  }
}

export interface NetworkTargetOptions {
  /** With classes (int32 [n]): log p(x|y) = f(x)[y] instead of log p(x) = logsumexp f(x). */
  readonly classes?: Tensor
  /** How many leading stages form PYLD's first stage; default 1. */
  readonly firstStage?: number
}

/** A network as a target. */
export function networkTarget(network: Network, pass: Pass, options: NetworkTargetOptions = {}): Target {
  const { classes, firstStage = 1 } = options
  const density = (output: Tensor): Tensor => {
    if (classes === undefined) return ops.neg(network.energyOf(output))
    network.needClasses('class-conditional sampling')
    return ops.sum(ops.mul(output, ops.oneHot(classes, network.classes)), 1)
  }
  const logDensity = (x: Tensor): Tensor => density(network.forward(x, pass))
  if (network.stages.length === 1) return { logDensity }
  if (!Number.isInteger(firstStage) || firstStage < 1 || firstStage >= network.stages.length) {
    throw new LangevinError(
      'E_CONFIG',
      `sampler.firstStage must be an integer in 1..${network.stages.length - 1} for this network of ${network.stages.length} stages; got ${firstStage}`,
    )
  }
  return {
    logDensity,
    split: {
      first: (x) => network.forward(x, pass, 0, firstStage),
      rest: (h) => density(network.forward(h, pass, firstStage)),
      affine: network.firstStagesAffine(firstStage),
    },
  }
}
