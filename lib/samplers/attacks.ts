/**
 * Adversarial attacks as graph steps: projected gradient ascent on a loss within an L∞ or L2 ball (PGD, Madry et al. 2018), and the free
 * ascent on log p(x) by normalised gradients that dual adversarial training starts its contrastive samples with. Running them is the part
 * of trainers (dual-adversarial.ts) and of lib/evaluation/robustness.ts.
 */
import { z } from 'zod'
import { grad } from '../autodiff/index.ts'
import { checkChoice, checkInteger, checkNotNegative } from '../graph/checks.ts'
import { sizeOf } from '../graph/shape.ts'
import type { Tensor } from '../graph/tensor.ts'
import * as ops from '../ops/index.ts'
import { checkBounds, checkCount, checkPositive, resolve } from './options.ts'
import { perRow, rowSum } from './rows.ts'
import { type Bounds, plainInfo, type Sampler } from './sampler.ts'
import { keepIn } from './sgld.ts'

/** How far from an input an attack may go: largest change of one number, or Euclidean length of the change of all. */
export type AttackNorm = 'linf' | 'l2'
const attackNorms: readonly AttackNorm[] = ['linf', 'l2']

/** What an attack ascends: the cross entropy, or the margin max_{k≠y} f_k - f_y, whose gradient does not vanish where the classifier is sure. */
export type AttackLoss = 'crossEntropy' | 'margin'
const attackLosses: readonly AttackLoss[] = ['crossEntropy', 'margin']

/** Lengths are in the units of the model's input: images are [-1, 1], so twice those of [0, 1] pixels (see {@link fromPixels}). */
export interface PgdOptions {
  /** Default linf. */
  readonly norm?: AttackNorm
  /** Radius of the ball; 0 leaves inputs as they are. */
  readonly epsilon: number
  /** Default 20. */
  readonly steps?: number
  /** Length of a step, in the norm's sense; default 2.5·epsilon / steps (Madry et al. 2018). */
  readonly stepSize?: number
  /** Begins at a random point of the ball; default true. */
  readonly randomStart?: boolean
  /** Default crossEntropy. */
  readonly loss?: AttackLoss
  /** Box that inputs stay in; null for none. Default [-1, 1]. */
  readonly bounds?: Bounds
}

const length = z.number().min(0)

/** PgdOptions as plain data. */
export const pgdFields = {
  norm: z.enum(['linf', 'l2']).optional(),
  epsilon: length,
  steps: z.int().min(0).optional(),
  stepSize: length.optional(),
  randomStart: z.boolean().optional(),
  loss: z.enum(['crossEntropy', 'margin']).optional(),
  bounds: z.union([z.tuple([z.number(), z.number()]), z.null()]).optional(),
}

export type ResolvedPgd = Required<PgdOptions>

/** A length in [0, 1] pixels (as papers give it: 8/255, 0.5) in the units of inputs in [-1, 1]. */
export function fromPixels(length: number): number {
  return 2 * length
}

/** Options with every default filled in. @throws LangevinError E_CONFIG, RangeError naming the option */
export function resolvePgd(options: PgdOptions, what = 'attack'): ResolvedPgd {
  const { norm = 'linf', steps = 20, randomStart = true, loss = 'crossEntropy', bounds = [-1, 1] } = options
  const { epsilon, stepSize = (2.5 * epsilon) / Math.max(1, steps) } = options
  checkChoice(`${what}: norm`, norm, attackNorms)
  checkChoice(`${what}: loss`, loss, attackLosses)
  checkNotNegative(`${what}: epsilon`, epsilon)
  checkNotNegative(`${what}: stepSize`, stepSize)
  checkInteger(`${what}: steps`, steps, 0)
  checkBounds(what, bounds)
  return { norm, epsilon, steps, stepSize, randomStart, loss, bounds }
}

/** Each example's attack loss [n], of logits [n, k] and labels int32 [n]; the sign is turned for a target that is to be reached. */
export function attackLoss(kind: AttackLoss, logits: Tensor, labels: Tensor, targeted = false): Tensor {
  const loss = kind === 'margin' ? margin(logits, labels) : ops.softmaxCrossEntropy(logits, labels)
  return targeted ? ops.neg(loss) : loss
}

/** max_{k≠y} f_k - f_y: [n]; positive exactly where the label is not the largest. */
export function margin(logits: Tensor, labels: Tensor): Tensor {
  const own = ops.oneHot(labels, logits.shape[1] as number)
  const others = ops.max(ops.select(ops.gt(own, 0), Number.NEGATIVE_INFINITY, logits), 1)
  return ops.sub(others, ops.sum(ops.mul(own, logits), 1))
}

/** A point drawn from the ball around x: uniform in the box of L∞, uniform in the ball of L2; within bounds. Uses streams `stream`, `stream + 1`. */
export function attackStart(x: Tensor, { norm, epsilon, bounds }: ResolvedPgd, key: Tensor, stream: number): Tensor {
  if (norm === 'linf') {
    const u = ops.sub(ops.mul(ops.uniform(key, x.shape, stream), 2), 1)
    return keepIn(ops.add(x, ops.mul(u, epsilon)), bounds)
  }
  const direction = unit(ops.normal(key, x.shape, stream))
  const d = sizeOf(x.shape.slice(1))
  const radius = ops.mul(
    ops.pow(ops.uniform(key, x.shape.slice(0, 1), stream + 1), ops.constant(1 / d)),
    ops.constant(epsilon),
  )
  return keepIn(ops.add(x, ops.mul(direction, perRow(radius, x))), bounds)
}

/** One PGD step from x up the gradient of a loss [n], back into the ball around `origin` and into bounds. */
export function attackStep(x: Tensor, gradient: Tensor, origin: Tensor, options: ResolvedPgd): Tensor {
  const { norm, epsilon, stepSize, bounds } = options
  const direction = norm === 'linf' ? ops.sign(gradient) : unit(gradient)
  const moved = ops.sub(ops.add(x, ops.mul(direction, stepSize)), origin)
  // Both sets are convex and the box holds the origin, so that bounding each number cannot leave the ball.
  const delta = norm === 'linf' ? ops.clamp(moved, -epsilon, epsilon) : shorten(moved, epsilon)
  return keepIn(ops.add(origin, delta), bounds)
}

/** Each row divided by its Euclidean length; a row of zeros stays. By the row's largest first: squares of tiny gradients vanish in float32. */
function unit(g: Tensor): Tensor {
  const axes = g.shape.slice(1).map((_, i) => i + 1)
  const scaled = ops.div(g, perRow(ops.maximum(ops.max(ops.abs(g), axes), 1e-30), g))
  // One entry is now ±1, so that the length is at least 1.
  return ops.div(scaled, perRow(ops.maximum(rowNorm(scaled), 1), g))
}

/** Rows longer than `most` scaled down to it. */
function shorten(delta: Tensor, most: number): Tensor {
  const factor = ops.minimum(ops.div(most, ops.maximum(rowNorm(delta), 1e-12)), 1)
  return ops.mul(delta, perRow(factor, delta))
}

function rowNorm(x: Tensor): Tensor {
  return ops.sqrt(rowSum(ops.square(x)))
}

/** Ascent on log p(x) by steps of one length: x ← clamp(x + stepSize·∇/‖∇‖₂). No noise and no radius. */
export interface NormalizedAscentOptions {
  readonly kind: 'normalizedAscent'
  /** Default 40. */
  readonly steps?: number
  /** Euclidean length of a step in units of the input; default 0.2 (published for DAT: 0.1 in [0, 1] pixels). */
  readonly stepSize?: number
  /** Default [-1, 1]. */
  readonly bounds?: Bounds
}

/** @throws RangeError, LangevinError E_CONFIG for impossible options. */
export function makeNormalizedAscent(given: NormalizedAscentOptions): Sampler<Required<NormalizedAscentOptions>> {
  const options = resolve(given, { kind: 'normalizedAscent', steps: 40, stepSize: 0.2, bounds: [-1, 1] })
  const { steps, stepSize, bounds } = options
  checkCount('normalizedAscent', 'steps', steps)
  checkPositive('normalizedAscent', { stepSize })
  checkBounds('normalizedAscent', bounds)
  return {
    kind: 'normalizedAscent',
    options,
    steps,
    bounds,
    firstStage: 1,
    gradientsPerStep: 1,
    stateless: true,
    init: (_, x) => ({ x }),
    step(target, { x }, key) {
      const logDensity = target.logDensity(x)
      const [score] = grad(ops.sum(logDensity), [x]) as [Tensor]
      const next = keepIn(ops.add(x, ops.mul(unit(score), stepSize)), bounds)
      return { state: { x: next }, key: ops.nextKey(key), info: plainInfo(next, ops.neg(logDensity)) }
    },
  }
}
