/**
 * Flow-contrastive estimation: noise-contrastive estimation whose noise is a normalizing flow that is trained against the energy.
 * One value, two players; which of them moves in a step is the trainer's part.
 */
import type { Tensor } from '../graph/tensor.ts'
import * as ops from '../ops/index.ts'
import { type ContrastiveDensities, contrast } from './noise-contrastive.ts'

/** The game of {@link flowContrastive}. */
export interface FlowContrastiveTerms {
  /** V, a scalar. */
  readonly value: Tensor
  /** -V: what the energy's parameters (and c) descend. */
  readonly energyLoss: Tensor
  /** V: what the flow's parameters descend. */
  readonly flowLoss: Tensor
  readonly metrics: Readonly<Record<string, Tensor>>
}

/**
 * Flow-contrastive estimation (Gao, Nijkamp, Kingma, Xu, Dai & Wu 2020, arXiv 1912.00589), noise as many as data:
 * V = mean_data log[p/(p+q)] + mean_flow log[q/(p+q)], with p = exp(-E - c) and q the flow. The energy ascends V, the flow descends it:
 * at the energy's optimum V = 2·JSD(data, q) - log 4, so the flow is fitted in Jensen-Shannon divergence. For the flow's gradient the
 * noise must be its reparametrised samples x = f(z), so that it flows through both densities at them.
 * Metrics: `value`, `jensenShannon` = (V + log 4)/2 (nats; a lower bound of the true one, at most log 2), `accuracy`, `accuracyData`,
 * `accuracyNoise`, `entropy` = -mean log q of the flow's samples, `flowLogLikelihood` = mean log q of the data.
 * Cost: 6 passes of the energy for its step (3 on data, 3 on noise), 3 and the flow's own for the flow's.
 * @throws LangevinError E_SHAPE when the four tensors are not [n] all.
 */
export function flowContrastive(densities: ContrastiveDensities): FlowContrastiveTerms {
  const { logitData, logitNoise, metrics } = contrast('flowContrastive', densities, 1)
  const energyLoss = ops.add(ops.mean(ops.softplus(ops.neg(logitData))), ops.mean(ops.softplus(logitNoise)))
  const value = ops.neg(energyLoss)
  return {
    value,
    energyLoss,
    flowLoss: value,
    metrics: {
      ...metrics,
      value,
      jensenShannon: ops.mul(ops.add(value, Math.log(4)), 0.5),
      entropy: ops.neg(ops.mean(densities.logNoiseNoise)),
      flowLogLikelihood: ops.mean(densities.logNoiseData),
    },
  }
}
