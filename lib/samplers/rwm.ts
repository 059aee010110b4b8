/** Random-walk Metropolis: Gaussian proposals, no gradient. */
import type { Tensor } from '../graph/tensor.ts'
import * as ops from '../ops/index.ts'
import { adaptationOf, checkTuned, tunables, tunedState, type WalledOptions } from './adaptation.ts'
import { metropolis } from './metropolis.ts'
import { resolve } from './options.ts'
import type { Sampler } from './sampler.ts'

/**
 * x' = x + stepSize·scale·ε, accepted with probability min(1, p(x')/p(x)) (Metropolis 1953). Defaults: step size 0.5 (2.4/√d is best for a
 * Gaussian of unit scales: Roberts, Gelman & Gilks 1997), target acceptance 0.234, 20 steps. Costs an energy a step, no gradient.
 */
export interface RwmOptions extends WalledOptions {
  readonly kind: 'rwm'
}

/** @throws RangeError, LangevinError E_CONFIG for impossible options. */
export function makeRwm(given: RwmOptions): Sampler<Required<RwmOptions>> {
  const options = resolve(given, {
    kind: 'rwm',
    steps: 20,
    stepSize: 0.5,
    scale: 1,
    bounds: null,
    targetAcceptance: 0.234,
    adaptScale: true,
    warmup: 300,
  })
  checkTuned(options)
  const step: Sampler['step'] = (target, state, key, stream) => {
    const { x } = state
    const { stepSize, scale } = tunables(options, state)
    const energyOf = (at: Tensor): Tensor => ops.neg(target.logDensity(at))
    const energy = state.energy ?? energyOf(x)
    const next = ops.add(x, ops.mul(ops.normal(key, x.shape, stream), ops.mul(scale, stepSize)))
    const nextEnergy = energyOf(next)
    const { taken, info } = metropolis(
      {
        from: { x, energy },
        to: { x: next, energy: nextEnergy },
        logRatio: ops.sub(energy, nextEnergy),
        bounds: options.bounds,
        integrated: false,
      },
      key,
      stream + 1,
    )
    return { state: { ...state, x: taken.x as Tensor, energy: taken.energy as Tensor }, key: ops.nextKey(key), info }
  }
  return {
    kind: 'rwm',
    options,
    steps: options.steps,
    bounds: options.bounds,
    firstStage: 1,
    gradientsPerStep: 1,
    controls: { stepSize: options.stepSize },
    init: (target, x) => ({ x, energy: ops.neg(target.logDensity(x)), ...tunedState(options, x) }),
    step,
    adaptation: adaptationOf(options, step),
  }
}
