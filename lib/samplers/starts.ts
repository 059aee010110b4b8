/**
 * Where chains begin: uniform, normal, data rows, class Gaussians (JEM++'s informative start), or a mixture of these, as graphs.
 * What a start needs (data, means, factors) are named tensors that the caller owns; estimating class Gaussians is lib/data's part.
 */
import { LangevinError, suggestion } from '../graph/errors.ts'
import { type Shape, sizeOf } from '../graph/shape.ts'
import type { Tensor } from '../graph/tensor.ts'
import * as ops from '../ops/index.ts'
import { perRow } from '../ops/rows.ts'

export type SimpleStart =
  /** U(low, high), default (-1, 1). */
  | { readonly kind: 'uniform'; readonly low?: number; readonly high?: number }
  /** N(mean, std²), default N(0, 1). */
  | { readonly kind: 'normal'; readonly mean?: number; readonly std?: number }
  /** Rows of the training set. */
  | { readonly kind: 'data' }
  /** N(mean_c, cov_c + jitter·I) of a class c (of all data, where there are no labels), clamped to [-1, 1] where the data live there; `form` is how the covariance is kept; `rank` for lowRank (default 64). */
  | {
      readonly kind: 'classGaussians'
      readonly form?: 'full' | 'lowRank' | 'diagonal'
      readonly rank?: number
      readonly jitter?: number
    }

export type StartOptions =
  | SimpleStart
  /** Each chain picks one of the parts with probability proportional to its share. */
  | { readonly kind: 'mixture'; readonly parts: readonly { readonly share: number; readonly start: SimpleStart }[] }

export interface StartContext {
  /** Chains to draw. */
  readonly count: number
  /** Shape of one example. */
  readonly shape: Shape
  readonly key: Tensor
  /** First of 16 streams that the draw may use. */
  readonly stream: number
  /** int32 [count]: the class of each chain, for class Gaussians. */
  readonly classes: Tensor
  /** bool [count]: rows that will be used; others may hold anything finite. */
  readonly mask: Tensor
  /** Numbers of class Gaussians: `mean` [classes, d], `factor` [classes, d, r], `scale` [classes, d]. */
  tensor(name: string): Tensor
  /** Random rows of the training set, normalised, float32 [count, ...shape]. */
  dataRows(stream: number): Tensor
  /** Whether examples live in [-1, 1], so that class Gaussians are clamped there; default true. */
  readonly bounded?: boolean
}

const kinds = ['uniform', 'normal', 'data', 'classGaussians', 'mixture']

/** The simple starts that `options` may draw from. */
export function partsOf(options: StartOptions): readonly SimpleStart[] {
  return options.kind === 'mixture' ? options.parts.map((p) => p.start) : [options]
}

/** Draws `count` starting points: float32 [count, ...shape]. */
export function drawStart(options: StartOptions, context: StartContext): Tensor {
  if (options.kind !== 'mixture') return simple(options, context, context.stream)
  const total = options.parts.reduce((s, p) => s + p.share, 0)
  if (
    options.parts.length === 0 ||
    options.parts.length > 4 ||
    !(total > 0) ||
    options.parts.some((p) => !(p.share >= 0))
  ) {
    throw new RangeError(
      `start mixture: takes 1 to 4 parts with shares ≥ 0 that do not all vanish; got ${JSON.stringify(options.parts.map((p) => p.share))}`,
    )
  }
  const pick = ops.uniform(context.key, [context.count], context.stream)
  let below = 0
  let drawn: Tensor | undefined
  for (const [i, part] of options.parts.entries()) {
    const x = simple(part.start, context, context.stream + 1 + 2 * i)
    const chosen = drawn === undefined ? undefined : ops.ge(perRow(pick, x), below / total)
    drawn = drawn === undefined ? x : ops.select(chosen as Tensor, x, drawn)
    below += part.share
  }
  return drawn as Tensor
}

function simple(start: SimpleStart, context: StartContext, stream: number): Tensor {
  const { count, shape, key } = context
  const full = [count, ...shape]
  switch (start.kind) {
    case 'uniform': {
      const { low = -1, high = 1 } = start
      return ops.add(ops.mul(ops.uniform(key, full, stream), high - low), low)
    }
    case 'normal': {
      const { mean = 0, std = 1 } = start
      return ops.add(ops.mul(ops.normal(key, full, stream), std), mean)
    }
    case 'data':
      return context.dataRows(stream)
    case 'classGaussians': {
      const drawn = ops.reshape(gaussians(start.form ?? 'full', context, stream), full)
      return context.bounded === false ? drawn : ops.clamp(drawn, -1, 1)
    }
    default: {
      const kind = String((start as { kind: unknown }).kind)
      throw new LangevinError('E_CONFIG', `start '${kind}' is not known.${suggestion(kind, kinds)}`)
    }
  }
}

function gaussians(form: 'full' | 'lowRank' | 'diagonal', context: StartContext, stream: number): Tensor {
  const { count, shape, key, classes, mask } = context
  const d = sizeOf(shape)
  const mean = context.tensor('mean')
  const spread = () =>
    ops.mul(ops.gather(context.tensor('scale'), classes, { axis: 0 }), ops.normal(key, [count, d], stream + 1))
  if (form === 'diagonal') return ops.add(ops.gather(mean, classes, { axis: 0 }), spread())
  const factor = context.tensor('factor')
  const z = ops.normal(key, [count, factor.shape[2] as number], stream)
  const correlated = ops.gaussianRows(mask, classes, mean, factor, z)
  return form === 'full' ? correlated : ops.add(correlated, spread())
}
