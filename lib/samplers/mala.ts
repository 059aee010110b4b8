/** MALA: a Langevin step as the proposal of a Metropolis step, so that its bias goes. */
import type { Tensor } from '../graph/tensor.ts'
import * as ops from '../ops/index.ts'
import { adaptationOf, checkTuned, tunables, tunedState, type WalledOptions } from './adaptation.ts'
import { metropolis } from './metropolis.ts'
import { resolve } from './options.ts'
import { cached, evaluateTarget, halfSquare } from './rows.ts'
import type { Sampler } from './sampler.ts'

/**
 * x' = x + h·s²·∇log p(x) + √(2h)·s·ε with h = stepSize, s = scale, accepted by the Metropolis-Hastings ratio (Rossky, Doll & Friedman 1978; Roberts & Tweedie 1996). Energy and score of x
 * are kept, so a step costs one gradient. Defaults: step size 0.1, target acceptance 0.574 (Roberts & Rosenthal 1998), 20 steps.
 */
export interface MalaOptions extends WalledOptions {
  readonly kind: 'mala'
}

/** @throws RangeError, LangevinError E_CONFIG for impossible options. */
export function makeMala(given: MalaOptions): Sampler<Required<MalaOptions>> {
  const options = resolve(given, {
    kind: 'mala',
    steps: 20,
    stepSize: 0.1,
    scale: 1,
    bounds: null,
    targetAcceptance: 0.574,
    adaptScale: true,
    warmup: 300,
  })
  checkTuned(options)
  const step: Sampler['step'] = (target, state, key, stream) => {
    const { x } = state
    const { stepSize, scale } = tunables(options, state)
    const { energy, score } = cached(target, state)
    // In units of the noise √(2h)·s the drift is u = √(h/2)·s·∇log p, and the way back needs the noise -(ε + u + u').
    const half = ops.mul(scale, ops.sqrt(ops.mul(stepSize, 0.5)))
    const noise = ops.normal(key, x.shape, stream)
    const forth = ops.add(noise, ops.mul(half, score))
    const next = ops.add(x, ops.mul(forth, ops.mul(half, 2)))
    const there = evaluateTarget(target, next)
    const back = ops.add(forth, ops.mul(half, there.score))
    const { taken, info } = metropolis(
      {
        from: { x, energy, score },
        to: { x: next, ...there },
        logRatio: ops.add(ops.sub(energy, there.energy), ops.sub(halfSquare(noise), halfSquare(back))),
        bounds: options.bounds,
        integrated: true,
      },
      key,
      stream + 1,
    )
    return { state: { ...state, ...taken, x: taken.x as Tensor }, key: ops.nextKey(key), info }
  }
  return {
    kind: 'mala',
    options,
    steps: options.steps,
    bounds: options.bounds,
    firstStage: 1,
    gradientsPerStep: 1,
    controls: { stepSize: options.stepSize },
    init: (target, x) => ({ x, ...evaluateTarget(target, x), ...tunedState(options, x) }),
    step,
    adaptation: adaptationOf(options, step),
  }
}
