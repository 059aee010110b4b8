/** The accept-reject step that rwm, mala and hmc share (Metropolis 1953; Hastings 1970), chain by chain. */
import type { Tensor } from '../graph/tensor.ts'
import * as ops from '../ops/index.ts'
import { insideRows, selectRows } from './rows.ts'
import { type Bounds, finiteRows, type StepInfo } from './sampler.ts'

/** A rise of the energy along a trajectory from which on the integrator counts as diverged (Stan's limit). */
export const DIVERGENCE = 1000

export interface Proposal {
  /** The present values per chain, by name: `x`, and the caches `energy` and maybe `score`. */
  readonly from: Readonly<Record<string, Tensor>>
  /** The proposed ones, the same names. */
  readonly to: Readonly<Record<string, Tensor>>
  /** [n]: log of the Hastings ratio p(x')q(x|x') / (p(x)q(x'|x)). */
  readonly logRatio: Tensor
  readonly bounds: Bounds
  /** A log ratio below -DIVERGENCE counts as divergent: where the proposal comes from an integrator. */
  readonly integrated: boolean
}

/**
 * Accepts with probability min(1, ratio). A proposal outside the bounds, or whose energy or ratio is not a number, is refused; the latter is divergent.
 */
export function metropolis(
  p: Proposal,
  key: Tensor,
  stream: number,
): { taken: Record<string, Tensor>; info: StepInfo } {
  const [x, energy] = [p.to.x as Tensor, p.to.energy as Tensor]
  const n = x.shape[0] as number
  const sound = ops.logicalAnd(ops.logicalAnd(ops.isFinite(energy), finiteRows(x)), ops.eq(p.logRatio, p.logRatio))
  const inside = p.bounds === null ? undefined : insideRows(x, p.bounds)
  const possible = inside === undefined ? sound : ops.logicalAnd(sound, inside)
  const acceptance = ops.select(possible, ops.exp(ops.minimum(p.logRatio, 0)), 0)
  const accepted = ops.lt(ops.uniform(key, [n], stream), acceptance)
  const wild = p.integrated
    ? ops.logicalOr(ops.logicalNot(sound), ops.lt(p.logRatio, -DIVERGENCE))
    : ops.logicalNot(sound)
  const divergent = inside === undefined ? wild : ops.logicalAnd(wild, inside)
  const taken = Object.fromEntries(
    Object.entries(p.to).map(([name, value]) => [name, selectRows(accepted, value, p.from[name] as Tensor)]),
  )
  return { taken, info: { energy: taken.energy as Tensor, acceptance, divergent } }
}
