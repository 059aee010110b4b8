/**
 * The JEM loss (Grathwohl 2020): w₁·(mean E(x⁺) - mean E(x⁻)) + w₂·CE(f(x), y) + w₃·(mean E(x⁺,y) - mean E(x⁻,y)) + α·(E(x⁺)² + E(x⁻)²),
 * with E(x) = -logsumexp f(x) and E(x, y) = -f(x)[y]. A graph; where x⁻ comes from is the trainer's part.
 */
import type { Tensor } from '../graph/tensor.ts'
import type { Network } from '../nn/network.ts'
import type { Pass } from '../nn/variables.ts'
import * as ops from '../ops/index.ts'
import { crossEntropy } from './classification.ts'
import { contrastiveDivergence, squaredEnergies } from './contrastive-divergence.ts'

/** Weights of the three factors; zero leaves a term (and its forward pass) out. */
export interface JemWeights {
  /** log p(x): default 1. */
  readonly px: number
  /** log p(y|x): default 1. */
  readonly pyx: number
  /** log p(x,y), contrasted with class-conditional chains: default 0. */
  readonly pxy: number
  /** Penalty on squared energies: default 0. */
  readonly energyPenalty: number
}

export interface JemBatches {
  /** Unlabelled stream, for px. */
  readonly data?: Tensor
  /** Chains of p(x). */
  readonly negatives?: Tensor
  /** Labelled stream, for pyx and pxy. */
  readonly labelled?: Tensor
  readonly labels?: Tensor
  /** Chains of p(x|y), with their classes. */
  readonly classNegatives?: Tensor
  readonly negativeClasses?: Tensor
}

/** The loss and its parts, float32 scalars. */
export type JemTerms = { readonly loss: Tensor } & { readonly [metric: string]: Tensor }

/** Builds the loss over the batches that the weights call for. */
export function jemLoss(
  network: Network,
  pass: (stream: 'data' | 'negatives') => Pass,
  batches: JemBatches,
  weights: JemWeights,
): JemTerms {
  const { outputs, energies: energyOf } = forwardAll(network, pass, batches)
  const metrics: Record<string, Tensor> = {}
  const terms: Tensor[] = []
  if (outputs.data !== undefined && outputs.negatives !== undefined) {
    const energies = { energyData: energyOf('data'), energyNegatives: energyOf('negatives') }
    const { loss, metrics: told } = contrastiveDivergence(energies)
    Object.assign(metrics, told)
    terms.push(ops.mul(loss, weights.px))
    if (weights.energyPenalty > 0)
      terms.push(ops.mul(squaredEnergies(energies.energyData, energies.energyNegatives), weights.energyPenalty))
  }
  if (outputs.labelled !== undefined && batches.labels !== undefined) {
    const logits = outputs.labelled
    const { loss, metrics: told } = crossEntropy(logits, batches.labels)
    Object.assign(metrics, told)
    if (weights.pyx > 0) terms.push(ops.mul(loss, weights.pyx))
    if (weights.pxy > 0 && outputs.classNegatives !== undefined && batches.negativeClasses !== undefined) {
      const pick = (o: Tensor, y: Tensor) => ops.mean(ops.sum(ops.mul(o, ops.oneHot(y, network.classes)), 1))
      metrics.jointGap = ops.sub(pick(logits, batches.labels), pick(outputs.classNegatives, batches.negativeClasses))
      terms.push(ops.mul(metrics.jointGap, -weights.pxy))
    }
  }
  const loss = terms.reduce((a, b) => ops.add(a, b))
  return { loss, ...metrics }
}

type StreamName = 'data' | 'negatives' | 'labelled' | 'classNegatives'
type Outputs = { [K in StreamName]?: Tensor }
/** What the network gives for each batch, and the energies that follow from it. */
interface Forward {
  readonly outputs: Outputs
  energies(of: StreamName): Tensor
}

/**
 * One forward pass for all sets where examples do not depend on each other; batch norms in train mode couple a batch, so there each set
 * goes alone, as published.
 */
function forwardAll(network: Network, pass: (stream: 'data' | 'negatives') => Pass, batches: JemBatches): Forward {
  const names = (['data', 'negatives', 'labelled', 'classNegatives'] as const).filter((n) => batches[n] !== undefined)
  const streamOf = (n: StreamName) => (n === 'data' || n === 'labelled' ? 'data' : 'negatives')
  const coupled = network.variables.some((v) => v.role === 'statistic') && pass('data').norm === 'batch'
  if (coupled) {
    const outputs: Outputs = Object.fromEntries(
      names.map((n) => [n, network.forward(batches[n] as Tensor, pass(streamOf(n)))]),
    )
    return { outputs, energies: (n) => network.energyOf(outputs[n] as Tensor) }
  }
  const sizes = names.map((n) => (batches[n] as Tensor).shape[0] as number)
  const all = network.forward(
    ops.concat(
      names.map((n) => batches[n] as Tensor),
      0,
    ),
    pass('data'),
  )
  const energies = network.energyOf(all)
  const part = (t: Tensor, n: StreamName): Tensor => {
    const at = names.indexOf(n)
    const start = sizes.slice(0, at).reduce((a, b) => a + b, 0)
    const rest = t.shape.slice(1)
    return ops.slice(t, [start, ...rest.map(() => 0)], [start + (sizes[at] as number), ...rest])
  }
  return { outputs: Object.fromEntries(names.map((n) => [n, part(all, n)])), energies: (n) => part(energies, n) }
}
