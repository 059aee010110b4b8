/**
 * Optimizers as graphs: one update of one parameter. No loop, no numbers: the trainer's update plan is made of these.
 * Definitions and defaults are PyTorch's, so that a recipe carries over.
 */
import { LangevinError, suggestion } from '../graph/errors.ts'
import type { Tensor } from '../graph/tensor.ts'
import * as ops from '../ops/index.ts'

export interface SgdOptions {
  readonly kind: 'sgd'
  /** Default 0.1. */
  readonly learningRate?: number
  /** Default 0.9. */
  readonly momentum?: number
  /** L2 penalty added to the gradient; default 0. */
  readonly weightDecay?: number
  readonly nesterov?: boolean
}

export interface AdamOptions {
  /** `adam` adds the decay to the gradient, `adamw` shrinks the parameter (Loshchilov & Hutter 2019). */
  readonly kind: 'adam' | 'adamw'
  /** Default 1e-4 for adam (JEM's), 1e-3 for adamw. */
  readonly learningRate?: number
  /** Default [0.9, 0.999]. */
  readonly betas?: readonly [number, number]
  /** Default 1e-8. */
  readonly epsilon?: number
  /** Default 0 for adam, 0.01 for adamw. */
  readonly weightDecay?: number
}

export type OptimizerOptions = SgdOptions | AdamOptions

/** What an update may read besides the parameter: the learning rate now, and how many updates there have been, this one counted. */
export interface UpdateContext {
  /** float32 scalar. */
  readonly learningRate: Tensor
  /** float32 scalar, 1 at the first update. */
  readonly count: Tensor
}

export interface Optimizer {
  readonly kind: OptimizerOptions['kind']
  readonly learningRate: number
  /** Names of the tensors kept per parameter; all start at zero. */
  readonly slots: readonly string[]
  update(
    parameter: Tensor,
    gradient: Tensor,
    slots: readonly Tensor[],
    context: UpdateContext,
  ): { parameter: Tensor; slots: Tensor[] }
}

/** The optimizer that the options describe. */
export function makeOptimizer(options: OptimizerOptions): Optimizer {
  switch (options.kind) {
    case 'sgd':
      return sgd(options)
    case 'adam':
    case 'adamw':
      return adam(options)
    default: {
      const kind = String((options as { kind: unknown }).kind)
      throw new LangevinError(
        'E_CONFIG',
        `optimizer '${kind}' is not known.${suggestion(kind, ['sgd', 'adam', 'adamw'])}`,
      )
    }
  }
}

/** v ← μ v + (g + λ w); w ← w - η v, or with Nesterov w - η (g + λ w + μ v). */
function sgd(options: SgdOptions): Optimizer {
  const { learningRate = 0.1, momentum = 0.9, weightDecay = 0, nesterov = false } = options
  checkRates('sgd', { learningRate, momentum, weightDecay })
  return {
    kind: 'sgd',
    learningRate,
    slots: momentum === 0 ? [] : ['momentum'],
    update(w, g, [v], { learningRate: rate }) {
      const d = weightDecay === 0 ? g : ops.add(g, ops.mul(w, weightDecay))
      if (v === undefined) return { parameter: ops.sub(w, ops.mul(d, rate)), slots: [] }
      const next = ops.add(ops.mul(v, momentum), d)
      const direction = nesterov ? ops.add(d, ops.mul(next, momentum)) : next
      return { parameter: ops.sub(w, ops.mul(direction, rate)), slots: [next] }
    },
  }
}

/** m ← β₁ m + (1-β₁) g; v ← β₂ v + (1-β₂) g²; w ← w - η m̂ / (√v̂ + ε) (Kingma & Ba 2015). */
function adam(options: AdamOptions): Optimizer {
  const decoupled = options.kind === 'adamw'
  const {
    betas = [0.9, 0.999],
    epsilon = 1e-8,
    learningRate = decoupled ? 1e-3 : 1e-4,
    weightDecay = decoupled ? 0.01 : 0,
  } = options
  const [b1, b2] = betas
  checkRates(options.kind, { learningRate, 'betas[0]': b1, 'betas[1]': b2, epsilon, weightDecay })
  return {
    kind: options.kind,
    learningRate,
    slots: ['first_moment', 'second_moment'],
    update(w, g, [m, v], { learningRate: rate, count }) {
      const d = weightDecay === 0 || decoupled ? g : ops.add(g, ops.mul(w, weightDecay))
      const m1 = ops.add(ops.mul(m as Tensor, b1), ops.mul(d, 1 - b1))
      const v1 = ops.add(ops.mul(v as Tensor, b2), ops.mul(ops.square(d), 1 - b2))
      // 1 - βᵗ through expm1, exact for the first steps where βᵗ is close to 1.
      const c1 = ops.neg(ops.expm1(ops.mul(count, Math.log(b1))))
      const c2 = ops.neg(ops.expm1(ops.mul(count, Math.log(b2))))
      // η m̂ / (√v̂ + ε) with the scalars gathered: one root and one quotient an element.
      const root = ops.add(ops.mul(ops.sqrt(v1), ops.reciprocal(ops.sqrt(c2))), epsilon)
      const step = ops.div(ops.mul(m1, ops.div(rate, c1)), root)
      const start = decoupled && weightDecay !== 0 ? ops.mul(w, ops.sub(1, ops.mul(rate, weightDecay))) : w
      return { parameter: ops.sub(start, step), slots: [m1, v1] }
    },
  }
}

function checkRates(kind: string, values: Record<string, number>): void {
  for (const [name, v] of Object.entries(values)) {
    const below = name === 'momentum' || name.startsWith('betas')
    if (!Number.isFinite(v) || v < 0 || (below && v >= 1)) {
      throw new RangeError(
        `optimizer ${kind}: ${name} must be ${below ? 'in [0, 1)' : 'a non-negative number'}; got ${v}`,
      )
    }
  }
}
