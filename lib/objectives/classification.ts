/** Cross entropy and accuracy of logits: the supervised part that joint models and plain classifiers share. */
import type { Tensor } from '../graph/tensor.ts'
import * as ops from '../ops/index.ts'
import { notNegative, type Terms } from './terms.ts'

/** Share of rows whose largest logit is their label's. logits [n, classes], labels int32 [n]; a float32 scalar. */
export function accuracy(logits: Tensor, labels: Tensor): Tensor {
  return ops.mean(ops.cast(ops.eq(ops.argmax(logits, 1), labels), 'float32'))
}

/**
 * mean -log softmax(f(x))[y], for logits [n, classes] and labels int32 [n]; with label smoothing s the target is (1-s)·onehot + s/classes
 * (Szegedy 2016). Metrics: `crossEntropy` (without smoothing, nats), `accuracy`. Cost: 3 passes.
 * @throws LangevinError E_SHAPE where labels do not fit the logits; RangeError for smoothing outside [0, 1)
 */
export function crossEntropy(
  logits: Tensor,
  labels: Tensor,
  { smoothing = 0 }: { readonly smoothing?: number } = {},
): Terms {
  notNegative('crossEntropy', 'smoothing', smoothing)
  if (smoothing >= 1) throw new RangeError(`crossEntropy: smoothing must be below 1; got ${smoothing}`)
  const plain = ops.mean(ops.softmaxCrossEntropy(logits, labels))
  const metrics = { crossEntropy: plain, accuracy: accuracy(logits, labels) }
  if (smoothing === 0) return { loss: plain, metrics }
  const uniform = ops.neg(ops.mean(ops.logSoftmax(logits, -1)))
  return { loss: ops.add(ops.mul(plain, 1 - smoothing), ops.mul(uniform, smoothing)), metrics }
}
