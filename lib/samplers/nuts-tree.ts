/**
 * The growing tree of a No-U-Turn trajectory, one leaf at a time, as graphs over all chains. The recursion of Hoffman & Gelman 2014 is unrolled: a branch
 * of 2^j leaves is walked in order, and of its momenta only those are kept (one a level) against which a later leaf has to be tested
 * for a U-turn (Phan, Pradhan & Jankowiak 2019, appendix A; Lao & Dillon 2019). Momenta are in units of √mass.
 */
import { sizeOf } from '../graph/shape.ts'
import type { Tensor } from '../graph/tensor.ts'
import * as ops from '../ops/index.ts'
import type { PhasePoint } from './hmc.ts'
import { DIVERGENCE } from './metropolis.ts'
import { type Evaluated, everyChain, halfSquare, rowSum, selectRows } from './rows.ts'
import type { SamplerState } from './sampler.ts'

/** A trajectory in the making; all of first axis n. `x`, `energy`, `score` are those of the last completed draw. */
export type Tree = {
  /** The two ends of the trajectory. */
  readonly [K in 'left' | 'right' as `${K}X` | `${K}Momentum` | `${K}Score`]: Tensor
} & {
  /** The point chosen so far of the tree, and of the branch that is being walked. */
  readonly [K in 'proposal' | 'branch' as `${K}X` | `${K}Energy` | `${K}Score`]: Tensor
} & {
  readonly x: Tensor
  readonly energy: Tensor
  readonly score: Tensor
  /** ±1: where the branch grows in time. */
  readonly direction: Tensor
  /** int32: the tree has 2^depth points; the branch will have as many. */
  readonly depth: Tensor
  /** int32: leaves that the branch has. */
  readonly leaf: Tensor
  /** log Σ exp(H₀ - H) over the tree's points, and the branch's. */
  readonly weight: Tensor
  readonly branchWeight: Tensor
  /** Sums of momenta over the same. */
  readonly sum: Tensor
  readonly branchSum: Tensor
  /** [n, slots, d]: momenta of leaves where a subtree began, and the branch's sums of momenta up to and with them. */
  readonly checkpoints: Tensor
  readonly checkpointSums: Tensor
  /** H₀ = energy + kinetic energy at the start. */
  readonly hamiltonian: Tensor
  /** Σ min(1, exp(H₀ - H)) over the leaves, and their number. */
  readonly accepted: Tensor
  readonly leaves: Tensor
  /** int32: completed transitions, and of the last one: mean acceptance, leaves, 1 if it ended in a divergence. */
  readonly transitions: Tensor
  readonly acceptance: Tensor
  readonly leapfrogs: Tensor
  readonly diverged: Tensor
}

/** What a new leaf said. */
interface Verdict {
  /** bool [n]: not divergent, no U-turn within the branch. */
  readonly failed: Tensor
  readonly divergent: Tensor
}

/** A trajectory that starts at x, with a fresh momentum and a fresh direction (streams `stream` and `stream + 1`). */
export function beginTrajectory(at: { x: Tensor } & Evaluated, maxDepth: number, key: Tensor, stream: number) {
  const { x, energy, score } = at
  const n = x.shape[0] as number
  const momentum = ops.normal(key, x.shape, stream)
  const slots = ops.zeros([n, Math.max(1, maxDepth - 1), sizeOf(x.shape.slice(1))])
  return {
    leftX: x,
    leftMomentum: momentum,
    leftScore: score,
    rightX: x,
    rightMomentum: momentum,
    rightScore: score,
    proposalX: x,
    proposalEnergy: energy,
    proposalScore: score,
    branchX: x,
    branchEnergy: energy,
    branchScore: score,
    ...beginBranch(x, key, stream + 1),
    depth: ops.zeros([n], 'int32'),
    weight: ops.zeros([n]),
    sum: momentum,
    checkpoints: slots,
    checkpointSums: slots,
    hamiltonian: ops.add(energy, halfSquare(momentum)),
    accepted: ops.zeros([n]),
    leaves: ops.zeros([n]),
  }
}

/** An empty branch in a direction of its own. */
function beginBranch(x: Tensor, key: Tensor, stream: number) {
  const n = x.shape[0] as number
  return {
    direction: ops.select(ops.lt(ops.uniform(key, [n], stream), 0.5), ops.scalar(-1), ops.scalar(1)),
    leaf: ops.zeros([n], 'int32'),
    branchWeight: everyChain(n, Number.NEGATIVE_INFINITY),
    branchSum: ops.zerosLike(x),
  }
}

/** The end of the trajectory at which the branch grows. */
export function growingEnd(t: Tree): PhasePoint {
  const right = ops.gt(t.direction, 0)
  return {
    x: selectRows(right, t.rightX, t.leftX),
    momentum: selectRows(right, t.rightMomentum, t.leftMomentum),
    score: selectRows(right, t.rightScore, t.leftScore),
  }
}

/**
 * The tree with one more leaf, the point one leapfrog step from `growingEnd`. A branch that is full joins the tree; a trajectory that turned back,
 * diverged or is as deep as it may be gives a draw, and the next one starts. Uses streams `stream` to `stream + 3`.
 */
export function addLeaf(t: Tree, leaf: PhasePoint & Evaluated, maxDepth: number, key: Tensor, stream: number): Tree {
  const n = leaf.x.shape[0] as number
  const { tree, failed, divergent } = growBranch(withEnd(t, leaf), leaf, maxDepth, key, stream)
  const sizes = ops.constant(
    Int32Array.from({ length: maxDepth }, (_, j) => 2 ** j),
    [maxDepth],
  )
  const full = ops.eq(tree.leaf, ops.gather(sizes, tree.depth))
  const joins = ops.logicalAnd(full, ops.logicalNot(failed))
  const joined = joinBranch(tree, ops.uniform(key, [n], stream + 1))
  const deep = ops.ge(joined.depth, maxDepth)
  const over = ops.logicalOr(turning(joined.leftMomentum, joined.rightMomentum, joined.sum), deep)
  const done = ops.logicalOr(failed, ops.logicalAnd(joins, over))
  // The same draw of directions serves new branches and new trajectories: a chain begins only one of them.
  const branch = beginBranch(leaf.x, key, stream + 3)
  const grown = choose(joins, { ...joined, ...branch }, tree)
  const drawn = {
    x: grown.proposalX,
    energy: grown.proposalEnergy,
    score: grown.proposalScore,
    transitions: ops.add(t.transitions, 1),
    acceptance: ops.div(grown.accepted, grown.leaves),
    leapfrogs: grown.leaves,
    diverged: ops.cast(divergent, 'float32'),
  }
  const next = { ...beginTrajectory(drawn, maxDepth, key, stream + 2), ...drawn }
  return choose(done, next, grown)
}

function withEnd(t: Tree, leaf: PhasePoint): Tree {
  const right = ops.gt(t.direction, 0)
  return {
    ...t,
    leftX: selectRows(right, t.leftX, leaf.x),
    leftMomentum: selectRows(right, t.leftMomentum, leaf.momentum),
    leftScore: selectRows(right, t.leftScore, leaf.score),
    rightX: selectRows(right, leaf.x, t.rightX),
    rightMomentum: selectRows(right, leaf.momentum, t.rightMomentum),
    rightScore: selectRows(right, leaf.score, t.rightScore),
  }
}

/** The branch with the leaf: its weight, its sums, and the point drawn from it in proportion to exp(-H). */
function growBranch(t: Tree, leaf: PhasePoint & Evaluated, maxDepth: number, key: Tensor, stream: number) {
  const n = leaf.x.shape[0] as number
  const change = ops.sub(t.hamiltonian, ops.add(leaf.energy, halfSquare(leaf.momentum)))
  const sound = ops.logicalAnd(ops.isFinite(change), ops.ge(change, -DIVERGENCE))
  const logWeight = ops.select(sound, change, Number.NEGATIVE_INFINITY)
  const branchWeight = logAddExp(t.branchWeight, logWeight)
  const chosen = ops.lt(ops.uniform(key, [n], stream), ops.exp(ops.sub(logWeight, branchWeight)))
  const branchSum = ops.add(t.branchSum, leaf.momentum)
  const { slot, lowest } = checkpointSlots(t.leaf, maxDepth)
  const at = {
    momentum: asSlots(leaf.momentum),
    sum: asSlots(branchSum),
    index: ops.iota(t.checkpoints.shape.slice(0, 2), 1),
  }
  const turned = turningInBranch(t, at, slot, lowest)
  const even = ops.eq(ops.rem(t.leaf, 2), 0)
  const write = ops.logicalAnd(column(even), ops.eq(at.index, column(slot)))
  const here = ops.reshape(write, [...write.shape, 1])
  const tree: Tree = {
    ...t,
    branchX: selectRows(chosen, leaf.x, t.branchX),
    branchEnergy: ops.select(chosen, leaf.energy, t.branchEnergy),
    branchScore: selectRows(chosen, leaf.score, t.branchScore),
    leaf: ops.add(t.leaf, 1),
    branchWeight,
    branchSum,
    checkpoints: ops.select(here, at.momentum, t.checkpoints),
    checkpointSums: ops.select(here, at.sum, t.checkpointSums),
    accepted: ops.add(t.accepted, ops.select(sound, ops.exp(ops.minimum(change, 0)), 0)),
    leaves: ops.add(t.leaves, 1),
  }
  const divergent = ops.logicalNot(sound)
  return { tree, divergent, failed: ops.logicalOr(divergent, turned) } satisfies { tree: Tree } & Verdict
}

/**
 * Where leaf i (0, 1, ... in its branch) keeps its checkpoint if it is even: at the number of ones in the binary digits of i above the last. If i
 * ends in k ones, it closes k subtrees, whose first leaves stand in the slots from `lowest` to `slot`.
 */
function checkpointSlots(leaf: Tensor, maxDepth: number): { slot: Tensor; lowest: Tensor } {
  let slot = ops.zerosLike(leaf)
  let trailing = ops.zerosLike(leaf)
  let allOnes = ops.add(slot, 1)
  for (let b = 0; b < maxDepth - 1; b++) {
    const bit = ops.rem(ops.div(leaf, 2 ** b), 2)
    if (b > 0) slot = ops.add(slot, bit)
    allOnes = ops.mul(allOnes, bit)
    trailing = ops.add(trailing, allOnes)
  }
  return { slot, lowest: ops.add(ops.sub(slot, trailing), 1) }
}

/** bool [n]: one of the subtrees that the leaf closes has turned back. */
function turningInBranch(
  t: Tree,
  at: { momentum: Tensor; sum: Tensor; index: Tensor },
  slot: Tensor,
  lowest: Tensor,
): Tensor {
  const sums = ops.add(ops.sub(at.sum, t.checkpointSums), t.checkpoints)
  const between = ops.sub(sums, ops.mul(ops.add(t.checkpoints, at.momentum), 0.5))
  const back = (end: Tensor) => ops.le(ops.sum(ops.mul(end, between), 2), 0)
  const closed = ops.logicalAnd(ops.ge(at.index, column(lowest)), ops.le(at.index, column(slot)))
  const turned = ops.logicalAnd(closed, ops.logicalOr(back(t.checkpoints), back(at.momentum)))
  return ops.gt(ops.sum(ops.cast(turned, 'float32'), 1), 0)
}

/**
 * The generalised U-turn criterion (Betancourt 2017, appendix A.4.2): an end's momentum points against the way from end to end, which is the sum of all
 * momenta with those of the ends halved (the leapfrog's trapezium).
 */
function turning(left: Tensor, right: Tensor, sum: Tensor): Tensor {
  const between = ops.sub(sum, ops.mul(ops.add(left, right), 0.5))
  const back = (end: Tensor) => ops.le(rowSum(ops.mul(end, between)), 0)
  return ops.logicalOr(back(left), back(right))
}

/** The tree with its full branch: its point is taken with probability min(1, branch/tree), which favours the far half (Betancourt 2017, A.3.2). */
function joinBranch(t: Tree, u: Tensor): Tree {
  const taken = ops.lt(u, ops.exp(ops.sub(t.branchWeight, t.weight)))
  return {
    ...t,
    proposalX: selectRows(taken, t.branchX, t.proposalX),
    proposalEnergy: ops.select(taken, t.branchEnergy, t.proposalEnergy),
    proposalScore: selectRows(taken, t.branchScore, t.proposalScore),
    weight: logAddExp(t.weight, t.branchWeight),
    sum: ops.add(t.sum, t.branchSum),
    depth: ops.add(t.depth, 1),
  }
}

function logAddExp(a: Tensor, b: Tensor): Tensor {
  const high = ops.maximum(a, b)
  const sum = ops.add(high, ops.log1p(ops.exp(ops.neg(ops.abs(ops.sub(a, b))))))
  return ops.select(ops.isFinite(high), sum, high)
}

/** [n] as [n, 1]. */
function column(v: Tensor): Tensor {
  return ops.reshape(v, [v.size, 1])
}

/** [n, ...shape] as [n, 1, d]. */
function asSlots(x: Tensor): Tensor {
  const n = x.shape[0] as number
  return ops.reshape(x, [n, 1, x.size / n])
}

/** Chain by chain, all of one tree or all of the other; what `a` does not name stays as in b. */
function choose(mask: Tensor, a: Partial<Tree>, b: Tree): Tree {
  const entries = Object.entries(a).map(([name, value]) => {
    const other = b[name as keyof Tree]
    return [name, other === value ? value : selectRows(mask, value, other)] as const
  })
  return { ...b, ...Object.fromEntries(entries) }
}

/** The tree in a sampler's state, if all of it is there. */
export function treeOf(state: SamplerState): Tree | undefined {
  return state.hamiltonian === undefined || state.checkpoints === undefined ? undefined : (state as unknown as Tree)
}
