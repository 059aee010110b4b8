/** Learning-rate schedules as graphs of the step counter, gradient clipping, and the moving average of weights. */
import { LangevinError, suggestion } from '../graph/errors.ts'
import type { Tensor } from '../graph/tensor.ts'
import * as ops from '../ops/index.ts'

/** Factors on the learning rate. `warmup` steps rise linearly from 1/warmup to 1 before (multiplied with) the rest. */
export type ScheduleOptions =
  | { readonly kind: 'constant'; readonly warmup?: number }
  /** × `gamma` at each milestone, in epochs (fractions allowed). */
  | { readonly kind: 'step'; readonly milestones: readonly number[]; readonly gamma?: number; readonly warmup?: number }
  /** Cosine from 1 to `floor` (default 0) over the whole run. */
  | { readonly kind: 'cosine'; readonly floor?: number; readonly warmup?: number }

export interface ScheduleContext {
  /** float32 scalar: updates done so far, 0 at the first. */
  readonly step: Tensor
  readonly stepsPerEpoch: number
  readonly totalSteps: number
}

/** The factor on the base learning rate at `step`: a float32 scalar. */
export function scheduleFactor(options: ScheduleOptions, { step, stepsPerEpoch, totalSteps }: ScheduleContext): Tensor {
  const main = mainFactor(options, step, stepsPerEpoch, totalSteps)
  const warmup = options.warmup ?? 0
  if (warmup <= 0) return main
  return ops.mul(main, ops.minimum(ops.mul(ops.add(step, 1), 1 / warmup), 1))
}

function mainFactor(options: ScheduleOptions, step: Tensor, stepsPerEpoch: number, totalSteps: number): Tensor {
  switch (options.kind) {
    case 'constant':
      return ops.constant(1)
    case 'step': {
      const { milestones, gamma = 0.2 } = options
      return milestones.reduce<Tensor>((f, m) => {
        const passed = ops.ge(step, Math.round(m * stepsPerEpoch))
        return ops.mul(f, ops.select(passed, gamma, 1))
      }, ops.constant(1))
    }
    case 'cosine': {
      const floor = options.floor ?? 0
      const done = ops.minimum(ops.mul(step, 1 / Math.max(1, totalSteps)), 1)
      const wave = ops.mul(ops.add(ops.cos(ops.mul(done, Math.PI)), 1), 0.5)
      return ops.add(ops.mul(wave, 1 - floor), floor)
    }
    default: {
      const kind = String((options as { kind: unknown }).kind)
      throw new LangevinError(
        'E_CONFIG',
        `schedule '${kind}' is not known.${suggestion(kind, ['constant', 'step', 'cosine'])}`,
      )
    }
  }
}

/** √Σ‖g‖² over all gradients: a float32 scalar. */
export function globalNorm(gradients: readonly Tensor[]): Tensor {
  const squares = gradients.map((g) => ops.sum(ops.square(g)))
  return ops.sqrt(squares.reduce((a, b) => ops.add(a, b)))
}

/** The factor min(1, max / norm) that brings the global norm down to `max`. */
export function clipFactor(norm: Tensor, max: number): Tensor {
  return ops.minimum(ops.div(max, ops.add(norm, 1e-6)), 1)
}

/** a ← decay · a + (1 - decay) · w. */
export function movingAverage(average: Tensor, value: Tensor, decay: number): Tensor {
  return ops.add(ops.mul(average, decay), ops.mul(value, 1 - decay))
}
