/** Hamiltonian Monte Carlo with the leapfrog integrator, a diagonal mass and a fixed number of steps. */
import type { Tensor } from '../graph/tensor.ts'
import * as ops from '../ops/index.ts'
import { adaptationOf, checkTuned, tunables, tunedState, type WalledOptions } from './adaptation.ts'
import { metropolis } from './metropolis.ts'
import { checkBetween, checkCount, checkPositive, resolve } from './options.ts'
import { cached, type Evaluated, evaluateTarget, everyChain, halfSquare, perRow, scoreOf } from './rows.ts'
import type { Sampler } from './sampler.ts'
import type { Target } from './target.ts'

/**
 * Fresh momenta, `leapfrogSteps` of leapfrog, accept by the change of the total energy (Duane 1987; Neal 2011). Momenta are kept in units of √mass, so the
 * mass is 1/scale². Energy and score of x are kept: a transition costs `leapfrogSteps` gradients. Defaults: step size 0.1, 10 leapfrog
 * steps, target acceptance 0.8, 5 transitions a training round.
 */
export interface HmcOptions extends WalledOptions {
  readonly kind: 'hmc'
  /** Leapfrog steps of a transition; default 10. */
  readonly leapfrogSteps?: number
  /**
   * Instead of `leapfrogSteps`: the length in units of time; their number is then trajectoryLength/stepSize, rounded up, with the step size
   * given here. Warm-up tunes the step size, not that number. Default null.
   */
  readonly trajectoryLength?: number | null
  /**
   * Each chain draws the step size of each transition from stepSize·U(1 - jitter, 1 + jitter), against periodic orbits (Neal 2011, section 3.2); in [0, 1).
   * Default 0.
   */
  readonly jitter?: number
}

/** @throws RangeError, LangevinError E_CONFIG for impossible options. */
export function makeHmc(given: HmcOptions): Sampler<Required<HmcOptions>> {
  const options = resolve(given, {
    kind: 'hmc',
    steps: 5,
    stepSize: 0.1,
    leapfrogSteps: 10,
    trajectoryLength: null,
    jitter: 0,
    scale: 1,
    bounds: null,
    targetAcceptance: 0.8,
    adaptScale: true,
    warmup: 300,
  })
  const { trajectoryLength, jitter } = options
  checkTuned(options)
  checkCount('hmc', 'leapfrogSteps', options.leapfrogSteps)
  checkBetween('hmc', 'jitter', jitter, 0, 1, true)
  if (trajectoryLength !== null) checkPositive('hmc', { trajectoryLength })
  const leaps =
    trajectoryLength === null ? options.leapfrogSteps : Math.ceil(trajectoryLength / options.stepSize - 1e-9)
  const step: Sampler['step'] = (target, state, key, stream) => {
    const { x } = state
    const { stepSize, scale } = tunables(options, state)
    const { energy, score } = cached(target, state)
    const momentum = ops.normal(key, x.shape, stream)
    const end = leapfrog(
      target,
      { x, momentum, score },
      ops.mul(scale, jittered(stepSize, x, jitter, key, stream + 2)),
      leaps,
    )
    const { taken, info } = metropolis(
      {
        from: { x, energy, score },
        to: { x: end.x, energy: end.energy, score: end.score },
        logRatio: ops.add(ops.sub(energy, end.energy), ops.sub(halfSquare(momentum), halfSquare(end.momentum))),
        bounds: options.bounds,
        integrated: true,
      },
      key,
      stream + 1,
    )
    return { state: { ...state, ...taken, x: taken.x as Tensor }, key: ops.nextKey(key), info }
  }
  return {
    kind: 'hmc',
    options,
    steps: options.steps,
    bounds: options.bounds,
    firstStage: 1,
    gradientsPerStep: leaps,
    controls: { stepSize: options.stepSize },
    init: (target, x) => ({ x, ...evaluateTarget(target, x), ...tunedState(options, x) }),
    step,
    adaptation: adaptationOf(options, step),
  }
}

/** The step size of each chain, [n, 1, ...], or the common one. */
function jittered(stepSize: Tensor, x: Tensor, jitter: number, key: Tensor, stream: number): Tensor {
  if (jitter === 0) return stepSize
  const u = ops.uniform(key, [x.shape[0] as number], stream)
  const factor = ops.add(ops.mul(u, 2 * jitter), 1 - jitter)
  return perRow(ops.mul(everyChain(x.shape[0] as number, stepSize), factor), x)
}

export interface PhasePoint {
  readonly x: Tensor
  /** In units of √mass: a standard normal at rest. */
  readonly momentum: Tensor
  readonly score: Tensor
}

/**
 * `steps` leapfrog steps of size ε·scale = `size` (broadcast over x): half a kick, drifts with whole kicks between, half a kick. Time-reversible and
 * volume-preserving; its energy error is O(ε²).
 */
export function leapfrog(target: Target, from: PhasePoint, size: Tensor, steps: number): PhasePoint & Evaluated {
  const half = ops.mul(size, 0.5)
  let momentum = ops.add(from.momentum, ops.mul(half, from.score))
  let x = ops.add(from.x, ops.mul(size, momentum))
  for (let i = 1; i < steps; i++) {
    momentum = ops.add(momentum, ops.mul(size, scoreOf(target.logDensity(x), x)))
    x = ops.add(x, ops.mul(size, momentum))
  }
  const { energy, score } = evaluateTarget(target, x)
  return { x, momentum: ops.add(momentum, ops.mul(half, score)), energy, score }
}
