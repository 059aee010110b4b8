/**
 * Block Gibbs sampling: whole blocks of sites drawn from their exact conditionals, for networks that have them (a restricted Boltzmann
 * machine's layers, the sublattices of an Ising or Potts model). The conditionals are the network's part.
 */
import { LangevinError } from '../graph/errors.ts'
import * as ops from '../ops/index.ts'
import { checkCount, resolve } from './options.ts'
import { plainInfo, type Sampler } from './sampler.ts'

/**
 * Geman & Geman 1984. A step is one sweep over all blocks; nothing is refused, and the chain is exact. Points need not be of the allowed values
 * to begin with: after one sweep they are.
 */
export interface BlockGibbsOptions {
  readonly kind: 'blockGibbs'
  /** Sweeps in one round of a training chain; default 1. */
  readonly steps?: number
}

/** @throws RangeError for steps that are no positive integer; LangevinError E_CONFIG for other options, and on a target without conditionals. */
export function makeBlockGibbs(given: BlockGibbsOptions): Sampler<Required<BlockGibbsOptions>> {
  const options = resolve(given, { kind: 'blockGibbs', steps: 1 })
  checkCount(options.kind, 'steps', options.steps)
  return {
    kind: options.kind,
    options,
    steps: options.steps,
    bounds: null,
    firstStage: 1,
    gradientsPerStep: 1,
    stateless: true,
    init: (_, x) => ({ x }),
    step(target, { x }, key, stream) {
      if (target.sweep === undefined) {
        throw new LangevinError(
          'E_CONFIG',
          "sampler blockGibbs needs a network with exact conditionals (rbm, ising, potts), at temperature 1; for other discrete energies use 'gibbsWithGradients'",
        )
      }
      const next = target.sweep(x, key, stream)
      return { state: { x: next }, key: ops.nextKey(key), info: plainInfo(next, ops.neg(target.logDensity(x))) }
    },
  }
}
