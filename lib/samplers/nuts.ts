/**
 * The No-U-Turn sampler (Hoffman & Gelman 2014) with the choices of Betancourt 2017: points drawn in proportion to exp(-H), the far half favoured,
 * the generalised U-turn. One graph step is one leapfrog of every chain; the bookkeeping of the tree is in nuts-tree.ts.
 */
import { LangevinError } from '../graph/errors.ts'
import type { Tensor } from '../graph/tensor.ts'
import * as ops from '../ops/index.ts'
import { adaptationOf, checkTuned, type TunedOptions, tunables, tunedState } from './adaptation.ts'
import { leapfrog } from './hmc.ts'
import { addLeaf, beginTrajectory, growingEnd, treeOf } from './nuts-tree.ts'
import { checkCount, resolve } from './options.ts'
import { evaluateTarget, everyChain, perRow } from './rows.ts'
import type { Sampler, SamplerState } from './sampler.ts'

/**
 * HMC whose trajectories are as long as they go before they turn back, at most 2^maxDepth - 1 leapfrog steps. Chains take their steps together but
 * their transitions apart: a chain that completes one starts the next at once, and the state counts them (`transitions`); `x` is
 * the last completed draw. Draws must be kept by that count (sampler.ts says why), which `Chains` does. The trajectory in the making
 * is part of the state: a step given x alone is refused, so nuts cannot stand in for a training chain that keeps only x.
 * Defaults: step size 0.1, depth 8, target acceptance 0.8, 20 leapfrog steps a round. No bounds: a wall would count as a divergence.
 */
export interface NutsOptions extends TunedOptions {
  readonly kind: 'nuts'
  /** Doublings of a trajectory at most, 1 to 12; memory grows with it: 2·(maxDepth - 1) copies of x. Default 8. */
  readonly maxDepth?: number
}

/** @throws RangeError, LangevinError E_CONFIG for impossible options. */
export function makeNuts(given: NutsOptions): Sampler<Required<NutsOptions>> {
  const options = resolve(given, {
    kind: 'nuts',
    steps: 20,
    stepSize: 0.1,
    maxDepth: 8,
    scale: 1,
    targetAcceptance: 0.8,
    adaptScale: true,
    warmup: 300,
  })
  const { maxDepth } = options
  checkTuned(options)
  checkCount('nuts', 'maxDepth', maxDepth)
  if (maxDepth > 12) throw new RangeError(`sampler nuts: maxDepth must be at most 12; got ${maxDepth}`)
  const step: Sampler['step'] = (target, state, key, stream) => {
    const tree = treeOf(state)
    if (tree === undefined) {
      throw new LangevinError(
        'E_CONFIG',
        'sampler nuts: a step needs the whole state that init gave (a trajectory goes on over many steps), not x alone; for a chain that keeps only x use hmc',
      )
    }
    const { stepSize, scale } = tunables(options, state)
    const end = growingEnd(tree)
    const size = ops.mul(perRow(tree.direction, end.x), ops.mul(scale, stepSize))
    const next = addLeaf(tree, leapfrog(target, end, size, 1), maxDepth, key, stream)
    return {
      state: { ...state, ...next },
      key: ops.nextKey(key),
      info: { energy: next.energy, acceptance: next.acceptance, divergent: ops.gt(next.diverged, 0) },
    }
  }
  return {
    kind: 'nuts',
    options,
    steps: options.steps,
    bounds: null,
    firstStage: 1,
    gradientsPerStep: 1,
    controls: { stepSize: options.stepSize },
    transitions: 'transitions',
    init(target, x, key, stream) {
      const n = x.shape[0] as number
      const at = { x, ...evaluateTarget(target, x) }
      return {
        ...at,
        ...beginTrajectory(at, maxDepth, key, stream),
        transitions: ops.zeros([n], 'int32'),
        acceptance: everyChain(n, 1),
        leapfrogs: ops.zeros([n]),
        diverged: ops.zeros([n]),
        ...tunedState(options, x),
      }
    },
    step,
    adaptation: adaptationOf(options, step, completed),
  }
}

/** float32 [n]: 1 for the chains that completed a transition between two states. */
function completed(before: SamplerState, after: SamplerState): Tensor {
  return ops.cast(ops.sub(after.transitions as Tensor, before.transitions as Tensor), 'float32')
}
