/**
 * One step of the probability-flow ODE of the variance-exploding diffusion as a graph, with or without the trace of its Jacobian. In u = log σ
 * the ODE is dx/du = -σ²·∇log p_σ(x), so that equal steps of u are a geometric ladder of σ.
 */
import { vjp } from '../autodiff/index.ts'
import { sizeOf } from '../graph/shape.ts'
import type { Tensor } from '../graph/tensor.ts'
import * as ops from '../ops/index.ts'
import { scoreAt } from './levels.ts'
import type { Target } from './target.ts'

/** Heun: two scores a step, error of order 2. RK4: four, order 4. */
export type FlowMethod = 'heun' | 'rk4'
export const flowMethods: readonly FlowMethod[] = ['heun', 'rk4']
export const scoresPerStep: Readonly<Record<FlowMethod, number>> = { heun: 2, rk4: 4 }

export interface FlowRate {
  /** dx/du. */
  readonly rate: Tensor
  /** [n]: tr ∂(dx/du)/∂x, where it was asked for. */
  readonly trace?: Tensor
}

export type Rate = (x: Tensor, sigma: Tensor) => FlowRate & { readonly energy: Tensor }

/** dx/du at (x, σ). */
export function plainRate(where: string, target: Target): Rate {
  return (x, sigma) => {
    const { energy, score } = scoreAt(where, target, x, sigma)
    return { energy, rate: ops.mul(score, ops.neg(ops.square(sigma))) }
  }
}

/**
 * With the trace, from Jacobian-vector products along `probes` [m, n, ...]: unit vectors (m = d, exact: their mean is over d, so they are scaled by √d)
 * or signs (Hutchinson). All m·n products are one pass of a batch of m·n.
 */
export function tracedRate(where: string, target: Target, probes: Tensor): Rate {
  const plain = plainRate(where, target)
  const [m = 0, n = 0, ...shape] = probes.shape
  const flat = ops.reshape(probes, [m * n, ...shape])
  return (x, sigma) => {
    // Rows gathered, not reshaped: a reshape of a reshape is one op of what was before both, through which no gradient would come back.
    const many = ops.gather(x, ops.rem(ops.iota([m * n], 0), n))
    const rates = plain(many, sigma).rate
    const [product] = vjp([rates], [flat], [many])
    const quadratic = ops.reshape(ops.mul(product as Tensor, flat), [m, n, sizeOf(shape)])
    return { ...plain(x, sigma), trace: ops.mean(ops.sum(quadratic, 2), 0) }
  }
}

export interface FlowStep {
  readonly x: Tensor
  /** [n]: ∫ trace du over the step; absent without traces. */
  readonly trace?: Tensor
  /** [n]: energy at the step's beginning. */
  readonly energy: Tensor
  /** From the step's beginning to σ = 0 at once, by Tweedie's formula: x + σ²·∇log p_σ(x) = x - dx/du. */
  readonly denoised: Tensor
}

/** From σ = `from` to σ = `to` (scalars): x, and the trace as a further coordinate of the same integrator. */
export function flowStep(method: FlowMethod, rate: Rate, x: Tensor, from: Tensor, to: Tensor): FlowStep {
  const h = ops.sub(ops.log(to), ops.log(from))
  const along = (k: FlowRate, share: number) => ops.add(x, ops.mul(k.rate, ops.mul(h, share)))
  const first = rate(x, from)
  if (method === 'heun') {
    const second = rate(along(first, 1), to)
    return combine(x, h, first, [
      [first, 1 / 2],
      [second, 1 / 2],
    ])
  }
  const middle = ops.sqrt(ops.mul(from, to))
  const second = rate(along(first, 0.5), middle)
  const third = rate(along(second, 0.5), middle)
  const fourth = rate(along(third, 1), to)
  return combine(x, h, first, [
    [first, 1 / 6],
    [second, 1 / 3],
    [third, 1 / 3],
    [fourth, 1 / 6],
  ])
}

function combine(
  x: Tensor,
  h: Tensor,
  first: ReturnType<Rate>,
  stages: readonly (readonly [FlowRate, number])[],
): FlowStep {
  const mix = (of: (k: FlowRate) => Tensor): Tensor =>
    ops.mul(
      stages.map(([k, weight]) => ops.mul(of(k), weight)).reduce((a, b) => ops.add(a, b)),
      h,
    )
  const traced = stages.every(([k]) => k.trace !== undefined)
  return {
    energy: first.energy,
    denoised: ops.sub(x, first.rate),
    x: ops.add(
      x,
      mix((k) => k.rate),
    ),
    ...(traced && { trace: mix((k) => k.trace as Tensor) }),
  }
}
