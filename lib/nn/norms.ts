/** Batch, layer, instance and group norms on [n, c, ...]; parameter names as PyTorch's. */
import { shapeError, suggestion } from '../graph/errors.ts'
import { showShape } from '../graph/shape.ts'
import type { Tensor } from '../graph/tensor.ts'
import * as ops from '../ops/index.ts'
import { type Layer, layer } from './layer.ts'
import type { Scope } from './variables.ts'

/** `layer` is one group over channels and pixels, `instance` one group a channel, `group` 8 channels a group where they divide. */
export type NormName = 'none' | 'batch' | 'layer' | 'instance' | 'group'

export const normNames: readonly NormName[] = ['none', 'batch', 'layer', 'instance', 'group']

const EPSILON = 1e-5

/** A norm by name, with per-channel weight and bias. */
export function norm(name: NormName): Layer {
  switch (name) {
    case 'none':
      return layer('identity', (x) => x, true)
    case 'batch':
      return layer('batch_norm', batchNorm)
    case 'layer':
      return layer('layer_norm', (x, scope) => groupNorm(x, scope, 1))
    case 'instance':
      return layer('instance_norm', (x, scope) => groupNorm(x, scope, channelsOf(x, scope)))
    case 'group':
      return layer('group_norm', (x, scope) => groupNorm(x, scope, defaultGroups(channelsOf(x, scope))))
    default:
      throw new RangeError(`norm '${String(name)}' is not known.${suggestion(String(name), normNames)}`)
  }
}

/** Eight channels a group where 8 divides the channels, else a single group. */
export function defaultGroups(channels: number): number {
  return channels % 8 === 0 ? channels / 8 : 1
}

function channelsOf(x: Tensor, scope: Scope): number {
  const c = x.shape[1]
  if (c === undefined) throw shapeError(scope.path, `a norm takes [batch, channels, ...]; got ${showShape(x.shape)}`)
  return c
}

function perChannel(v: Tensor, x: Tensor): Tensor {
  return ops.reshape(
    v,
    x.shape.map((_, i) => (i === 1 ? (v.shape[0] as number) : 1)),
  )
}

function affine(xhat: Tensor, scope: Scope): Tensor {
  const c = xhat.shape[1] as number
  const weight = perChannel(scope.parameter('weight', [c], { kind: 'constant', value: 1 }), xhat)
  const bias = perChannel(scope.parameter('bias', [c], { kind: 'constant', value: 0 }), xhat)
  return ops.add(ops.mul(xhat, weight), bias)
}

function batchNorm(x: Tensor, scope: Scope): Tensor {
  const c = channelsOf(x, scope)
  const mean = scope.statistic('running_mean', [c], 0)
  const variance = scope.statistic('running_var', [c], 1)
  if (scope.pass.norm === 'running') {
    const rstd = ops.rsqrt(ops.add(variance, EPSILON))
    return affine(ops.mul(ops.sub(x, perChannel(mean, x)), perChannel(rstd, x)), scope)
  }
  const axes = x.shape.map((_, i) => i).filter((i) => i !== 1)
  if (scope.pass.statistics !== undefined) {
    const n = x.size / c
    const batch = ops.moments(x, axes)
    scope.pass.statistics.set(scope.join('running_mean'), batch.mean)
    scope.pass.statistics.set(scope.join('running_var'), ops.mul(batch.variance, n / Math.max(1, n - 1)))
  }
  return affine(ops.normalize(x, axes, { eps: EPSILON }), scope)
}

function groupNorm(x: Tensor, scope: Scope, groups: number): Tensor {
  const c = channelsOf(x, scope)
  const spatial = x.shape.map((_, i) => i).slice(2)
  // One group, or one a channel, needs no reshape, so blocked memory layouts survive.
  if (groups === 1) return affine(ops.normalize(x, [1, ...spatial], { eps: EPSILON }), scope)
  if (groups === c) return affine(ops.normalize(x, spatial, { eps: EPSILON }), scope)
  const grouped = ops.reshape(x, [x.shape[0] as number, groups, c / groups, ...x.shape.slice(2)])
  const axes = grouped.shape.map((_, i) => i).slice(2)
  return affine(ops.reshape(ops.normalize(grouped, axes, { eps: EPSILON }), x.shape), scope)
}
