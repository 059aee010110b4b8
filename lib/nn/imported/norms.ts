/** Rules of normalisations. A batch norm is ours: in training it takes the batch's statistics and leaves them under its variables' names. */
import type { Tensor } from '../../graph/tensor.ts'
import * as ops from '../../ops/index.ts'
import type { Attributes, Call, OpRule } from './call.ts'

/** [c] against [n, c, ...]. */
function perChannel(v: Tensor, x: Tensor): Tensor {
  return ops.reshape(
    v,
    x.shape.map((_, i) => (i === 1 ? v.size : 1)),
  )
}

/** xhat·scale + bias, where they are given. */
function scaled(xhat: Tensor, scale: Tensor | undefined, bias: Tensor | undefined): Tensor {
  const y = scale === undefined ? xhat : ops.mul(xhat, scale)
  return bias === undefined ? y : ops.add(y, bias)
}

function batchNorm(c: Call): Tensor {
  const x = c.x()
  const [scale, bias, mean, variance] = [1, 2, 3, 4].map((i) => perChannel(c.x(i), x)) as [
    Tensor,
    Tensor,
    Tensor,
    Tensor,
  ]
  const eps = c.number('epsilon', 1e-5)
  const { pass } = c.site
  if (pass.norm === 'running') return scaled(ops.mul(ops.sub(x, mean), ops.rsqrt(ops.add(variance, eps))), scale, bias)
  const axes = x.shape.map((_, i) => i).filter((i) => i !== 1)
  const names = [c.site.variableName(3), c.site.variableName(4)]
  if (pass.statistics !== undefined && names[0] !== undefined && names[1] !== undefined) {
    const n = x.size / (x.shape[1] as number)
    const batch = ops.moments(x, axes)
    pass.statistics.set(names[0], batch.mean)
    pass.statistics.set(names[1], ops.mul(batch.variance, n / Math.max(1, n - 1)))
  }
  return scaled(ops.normalize(x, axes, { eps }), scale, bias)
}

function instanceNorm(c: Call): Tensor {
  const x = c.x()
  const axes = x.shape.map((_, i) => i).slice(2)
  const y = ops.normalize(x, axes, { eps: c.number('epsilon', 1e-5) })
  return scaled(y, perChannel(c.x(1), x), perChannel(c.x(2), x))
}

/** Over the axes from `axis` on. */
function layerNorm(c: Call): Tensor {
  const x = c.x()
  const axes = x.shape.map((_, i) => i).slice(c.axis(c.number('axis', -1)))
  return scaled(ops.normalize(x, axes, { eps: c.number('epsilon', 1e-5) }), c.x(1), c.maybe(2))
}

/** Scale and bias are one number a group before opset 21, one a channel since. */
function groupNorm(c: Call): Tensor {
  const x = c.x()
  const [n, channels] = x.shape as [number, number]
  const groups = c.number('num_groups', 1)
  const eps = c.number('epsilon', 1e-5)
  const grouped = ops.reshape(x, [n, groups, channels / groups, ...x.shape.slice(2)])
  const y = ops.normalize(grouped, grouped.shape.map((_, i) => i).slice(2), { eps })
  if (c.x(1).size === groups && c.opset < 21)
    return ops.reshape(scaled(y, perChannel(c.x(1), y), perChannel(c.x(2), y)), x.shape)
  return scaled(ops.reshape(y, x.shape), perChannel(c.x(1), x), perChannel(c.x(2), x))
}

/** x / (bias + alpha/size · Σ of squares over `size` neighbouring channels)^beta (Krizhevsky et al. 2012). */
function localResponse(c: Call): Tensor {
  const x = c.x()
  const size = c.number('size', 1)
  const channels = x.shape[1] as number
  // Beyond twice the channels there is nothing left to add.
  if (!(size >= 1 && size <= 2 * channels)) throw c.fail(`size ${size} does not fit ${channels} channels`)
  const before = Math.floor((size - 1) / 2)
  const edge = (n: number): number[] => x.shape.map((_, i) => (i === 1 ? n : 0))
  const squares = ops.pad(ops.square(x), { low: edge(before), high: edge(size - 1 - before) })
  const parts = Array.from({ length: size }, (_, i) => ops.sliceAxis(squares, 1, i, i + channels))
  const total = parts.reduce((a, b) => ops.add(a, b))
  const base = ops.add(ops.mul(total, c.number('alpha', 1e-4) / size), c.number('bias', 1))
  return ops.mul(x, ops.pow(base, -c.number('beta', 0.75)))
}

function lpNorm(c: Call): Tensor {
  const x = c.x()
  const axis = c.axis(c.number('axis', -1))
  const keep = { keepDims: true }
  const length = c.number('p', 2) === 1 ? ops.sum(ops.abs(x), axis, keep) : ops.norm(x, axis, keep)
  return ops.div(x, length)
}

/** Softmax over one axis; before opset 13 over all from `axis` on, taken together. */
function softmaxLike(c: Call, f: (x: Tensor, axis: number) => Tensor): Tensor {
  const x = c.x()
  if (c.opset >= 13) return f(x, c.axis(c.number('axis', -1)))
  const axis = c.axis(c.number('axis', 1))
  const outer = x.shape.slice(0, axis).reduce((a, b) => a * b, 1)
  return ops.reshape(f(ops.reshape(x, [outer, -1]), 1), x.shape)
}

function evaluationMode(a: Attributes): string | undefined {
  if (a.number('training_mode', 0)) return 'training_mode is set; export the model in evaluation mode (model.eval())'
  return a.number('spatial', 1) === 0 ? 'spatial 0 is not supported' : undefined
}

export const norms: Readonly<Record<string, OpRule>> = {
  BatchNormalization: {
    attributes: ['epsilon', 'momentum', 'training_mode', 'spatial'],
    refuse: evaluationMode,
    build: batchNorm,
  },
  InstanceNormalization: { attributes: ['epsilon'], build: instanceNorm },
  LayerNormalization: { attributes: ['axis', 'epsilon', 'stash_type'], build: layerNorm },
  GroupNormalization: { attributes: ['epsilon', 'num_groups', 'stash_type'], build: groupNorm },
  LRN: { attributes: ['alpha', 'beta', 'bias', 'size'], build: localResponse },
  LpNormalization: { attributes: ['axis', 'p'], build: lpNorm },
  Softmax: { attributes: ['axis'], build: (c) => softmaxLike(c, ops.softmax) },
  LogSoftmax: { attributes: ['axis'], build: (c) => softmaxLike(c, ops.logSoftmax) },
}
