/**
 * The loss by which dual adversarial training (Yin 2025) learns its energy: data told from contrastive samples by logistic regression on the
 * unnormalised log density; and the AUC by which it decides how hard those samples are. How they are made is the trainer's part.
 */
import type { Tensor } from '../graph/tensor.ts'
import * as ops from '../ops/index.ts'
import { batchOf, expectVector, type Terms } from './terms.ts'

/**
 * Binary cross entropy with log p̃ = -E as the logit, data 1 and contrastive samples 0, averaged over all of both:
 * (Σ_data softplus(E) + Σ_contrast softplus(-E)) / (n + m). Metrics: `binaryCrossEntropy`, `auc` (data above contrastive samples: ½ cannot
 * tell, 1 tells all), `energyData`, `energyNegatives`, `energyGap`. Cost: 3·(1 + m/n) passes.
 * @param options energies [n] of data and [m] of contrastive samples
 */
export function contrastiveLogistic(options: { readonly energyData: Tensor; readonly energyNegatives: Tensor }): Terms {
  const name = 'contrastiveLogistic'
  const plus = expectVector(name, 'energyData', options.energyData, batchOf(name, options.energyData))
  const minus = expectVector(name, 'energyNegatives', options.energyNegatives, batchOf(name, options.energyNegatives))
  const count = (plus.shape[0] as number) + (minus.shape[0] as number)
  const total = ops.add(ops.sum(ops.softplus(plus)), ops.sum(ops.softplus(ops.neg(minus))))
  const loss = ops.div(total, count)
  const [energyData, energyNegatives] = [ops.mean(plus), ops.mean(minus)]
  return {
    loss,
    metrics: {
      binaryCrossEntropy: loss,
      auc: areaUnderCurve(ops.neg(plus), ops.neg(minus)),
      energyData,
      energyNegatives,
      energyGap: ops.sub(energyNegatives, energyData),
    },
  }
}

/** P(a > b) + ½P(a = b) over all pairs of scores a of `known` [n] and b of `foreign` [m]: the area under the ROC curve, a float32 scalar. */
export function areaUnderCurve(known: Tensor, foreign: Tensor): Tensor {
  const n = batchOf('areaUnderCurve', known)
  const m = batchOf('areaUnderCurve', foreign)
  const a = ops.reshape(expectVector('areaUnderCurve', 'known', known, n), [n, 1])
  const b = ops.reshape(expectVector('areaUnderCurve', 'foreign', foreign, m), [1, m])
  const above = ops.cast(ops.gt(a, b), 'float32')
  const equal = ops.cast(ops.eq(a, b), 'float32')
  return ops.mean(ops.add(above, ops.mul(equal, 0.5)))
}
