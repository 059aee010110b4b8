/**
 * The probability-flow ODE of the variance-exploding diffusion as a sampler, without noise after its start. The integrator's step is
 * flow-step.ts's part, log densities by the same flow flow-density.ts's.
 */
import type { Tensor } from '../graph/tensor.ts'
import * as ops from '../ops/index.ts'
import { type FlowMethod, flowMethods, flowStep, plainRate, scoresPerStep } from './flow-step.ts'
import { levelAt, type Sigmas, sigmaLevels } from './levels.ts'
import { checkChoice, resolve } from './options.ts'
import { plainInfo, type Sampler } from './sampler.ts'

/**
 * dx/dσ = -σ·∇log p_σ(x) from σ₁ down to σ_L (Song et al., ICLR 2021, section 4.3; Karras et al. 2022), in fixed steps of log σ, one a
 * pair of neighbouring levels; then x ← x + σ_L²·∇log p_σL(x). Chains begin at N(0, σ₁²); the same start gives the same draw.
 *
 * Needs an energy conditioned on the noise level. A draw is one whole schedule.
 */
export interface ProbabilityFlowOptions {
  readonly kind: 'probabilityFlow'
  /** Default { largest: 10, smallest: 0.01, levels: 50 }. The largest should exceed the distances between data, in units of x. */
  readonly sigmas?: Sigmas
  /** 'heun' (two scores a step, default) or 'rk4' (four). */
  readonly method?: FlowMethod
  /** The last step to σ = 0; default true. */
  readonly denoise?: boolean
}

export const FLOW_SIGMAS: Sigmas = { largest: 10, smallest: 0.01, levels: 50 }

/** @throws RangeError, LangevinError E_CONFIG for impossible options. */
export function makeProbabilityFlow(given: ProbabilityFlowOptions): Sampler<Required<ProbabilityFlowOptions>> {
  const options = resolve(given, { kind: 'probabilityFlow', sigmas: FLOW_SIGMAS, method: 'heun', denoise: true })
  const { kind, method, denoise } = options
  const levels = sigmaLevels('sampler probabilityFlow', options.sigmas, 2)
  checkChoice(kind, 'method', method, flowMethods)
  const flowSteps = levels.length - 1
  return {
    kind,
    options,
    steps: flowSteps + (denoise ? 1 : 0),
    bounds: null,
    firstStage: 1,
    gradientsPerStep: scoresPerStep[method],
    schedule: true,
    start: { kind: 'normal', mean: 0, std: levels[0] as number },
    init: (_, x) => ({ x, step: ops.scalar(0, 'int32') }),
    step(target, state, key) {
      const { x } = state
      const at = state.step as Tensor
      const sigma = levelAt(levels, at)
      const flowed = flowStep(
        method,
        plainRate('sampler probabilityFlow', target),
        x,
        sigma,
        levelAt(levels, ops.add(at, 1)),
      )
      const last = denoise ? ops.select(ops.eq(at, flowSteps), flowed.denoised, x) : x
      const next = ops.select(ops.lt(at, flowSteps), flowed.x, last)
      const step = ops.minimum(ops.add(at, 1), flowSteps + 1)
      return { state: { x: next, step }, key: ops.nextKey(key), info: plainInfo(next, flowed.energy) }
    },
  }
}
