/**
 * What is computed again instead of stored. Memory traffic costs more than a few multiplications, so a cheap value that comes from one
 * full-size tensor (a normalised activation, the mask of a leaky ReLU) is repeated in every loop that needs it.
 * `markFree` finds such values before grouping; `cloneAcrossGroups` decides, group by group, about values that cross a boundary.
 */
import { bytesOf } from '../graph/shape.ts'
import { limits } from './format.ts'
import type { Group, Grouping } from './group.ts'
import { iotaAxis } from './lower.ts'
import { isFull, type PlanNode } from './node.ts'

/** Ops a loop may repeat to avoid one store and load. */
export const defaultBudget = 8
/** Small leaves (scales, means) that a free value may have. */
const freeLeaves = 6

/** Operations that larger loops may spend on small values between them, to save the loop that would make those: about what its start costs. */
const repeatLimit = 8192
/** Operands that a repeated small value may have. */
const repeatLeaves = 3

const expensive = new Set('exp expm1 log log1p sin cos tanh sigmoid softplus erf pow rem'.split(' '))
const slow = new Set(['div', 'sqrt', 'rsqrt', 'reciprocal'])

/** In units of an addition. */
export function costOf(n: PlanNode): number {
  if (expensive.has(n.op)) return Number.POSITIVE_INFINITY
  if (n.op === 'broadcast') return 0
  return slow.has(n.op) ? 3 : 1
}

interface Expansion {
  readonly ops: Set<PlanNode>
  readonly full: Set<PlanNode>
  readonly leaves: Set<PlanNode>
  readonly cost: number
}

/** Sets `free` on element nodes that need not be stored whoever reads them. */
export function markFree(nodes: readonly PlanNode[], budget: number): void {
  const expansions = new Map<PlanNode, Expansion>()
  for (const n of nodes) {
    if (n.kind !== 'element' || n.stored) continue
    const e = freeExpansion(n, expansions)
    if (n.repeats > 0) {
      n.free = e !== undefined && e.cost <= budget && mayRepeat(e, n.repeats)
      n.stored = !n.free
      // To a larger loop its operands are small.
      if (n.free && e !== undefined) expansions.set(n, { ...e, full: new Set() })
      continue
    }
    if (e === undefined || e.cost > budget || e.full.size > 1 || e.leaves.size > freeLeaves) continue
    expansions.set(n, e)
    n.free = true
  }
}

/** Counters count along their own loop's axes, so they stay there. */
function mayRepeat(e: Expansion, elements: number): boolean {
  const counts = [...e.ops].some((op) => op.op === 'iota' || op.inputs.some((o) => o.node.op === 'iota'))
  return !counts && e.cost * elements <= repeatLimit && e.leaves.size <= repeatLeaves
}

/** The ops and leaves of `n`, unless an operand is an element node that will itself be grouped. */
function freeExpansion(n: PlanNode, known: Map<PlanNode, Expansion>): Expansion | undefined {
  const ops = new Set([n])
  const full = new Set<PlanNode>()
  const leaves = new Set<PlanNode>()
  for (const o of n.inputs) {
    if (o.node.immediate !== undefined || iotaAxis(o, n) !== undefined) continue
    const inner = known.get(o.node)
    if (inner !== undefined) {
      for (const x of inner.ops) ops.add(x)
      for (const x of inner.full) full.add(x)
      for (const x of inner.leaves) leaves.add(x)
    } else if (o.node.stored) {
      leaves.add(o.node)
      if (isFull(o, n)) full.add(o.node)
    } else {
      return undefined
    }
  }
  let cost = 0
  for (const x of ops) cost += costOf(x)
  return { ops, full, leaves, cost }
}

/** What one group reads and computes, as far as decided. */
interface GroupState {
  readonly reads: Set<PlanNode>
  readonly ops: Set<PlanNode>
}

/**
 * Stores or repeats each value that another group needs. Repeating it must be cheap and make each reader load at most one full-size
 * tensor that it does not load anyway (in place of the value itself).
 */
export function cloneAcrossGroups(grouping: Grouping, budget: number): void {
  const states = new Map<Group, GroupState>()
  for (const g of grouping.groups) states.set(g, readsOf(g, grouping))
  const lastUse = lastUses(grouping, states)
  for (const [value, readers] of crossings(grouping)) {
    if (value.stored) continue
    const plans = readers.map((g) => clonePlan(value, g, states.get(g) as GroupState, lastUse, budget))
    if (plans.some((p) => p === undefined)) {
      value.stored = true
      continue
    }
    readers.forEach((g, i) => {
      const state = states.get(g) as GroupState
      state.reads.delete(value)
      for (const leaf of plans[i]?.leaves ?? []) {
        state.reads.add(leaf)
        lastUse.set(leaf, Math.max(lastUse.get(leaf) ?? 0, g.depth))
      }
      for (const op of plans[i]?.ops ?? []) state.ops.add(op)
    })
  }
}

/** Values of one group that members of others read, in topological order. */
function crossings(grouping: Grouping): [PlanNode, Group[]][] {
  const readers = new Map<PlanNode, Set<Group>>()
  for (const g of grouping.groups) {
    for (const m of g.members) {
      for (const s of grouping.sources(m)) {
        if (s.node.kind !== 'element' || grouping.groupOf(s.node) === g) continue
        const set = readers.get(s.node)
        if (set) set.add(g)
        else readers.set(s.node, new Set([g]))
      }
    }
  }
  return [...readers].sort((a, b) => a[0].id - b[0].id).map(([n, set]) => [n, [...set]])
}

function readsOf(g: Group, grouping: Grouping): GroupState {
  const reads = new Set<PlanNode>()
  const ops = new Set<PlanNode>()
  for (const m of g.members) {
    ops.add(m)
    for (const op of grouping.freeOps(m)) ops.add(op)
    for (const s of grouping.sources(m)) if (grouping.groupOf(s.node) !== g) reads.add(s.node)
  }
  return { reads, ops }
}

/** The depth of the last group or kernel that reads each node. */
function lastUses(grouping: Grouping, states: Map<Group, GroupState>): Map<PlanNode, number> {
  const last = new Map<PlanNode, number>()
  const see = (n: PlanNode, depth: number) => last.set(n, Math.max(last.get(n) ?? 0, depth))
  for (const [g, s] of states) for (const n of s.reads) see(n, g.depth)
  for (const k of grouping.kernels) for (const o of k.inputs) see(o.node, grouping.depthOf(k))
  return last
}

/** What `g` would compute and read to have `value` by itself; undefined where that does not pay. */
function clonePlan(
  value: PlanNode,
  g: Group,
  state: GroupState,
  lastUse: Map<PlanNode, number>,
  budget: number,
): { ops: Set<PlanNode>; leaves: Set<PlanNode> } | undefined {
  const ops = new Set<PlanNode>()
  const leaves = new Set<PlanNode>()
  let cost = 0
  let full: PlanNode | undefined
  const stack = [value]
  for (let n = stack.pop(); n !== undefined; n = stack.pop()) {
    if (ops.has(n) || state.ops.has(n)) continue
    ops.add(n)
    cost += costOf(n)
    if (cost > budget) return undefined
    for (const o of n.inputs) {
      if (o.node.immediate !== undefined || iotaAxis(o, n) !== undefined) continue
      if (!o.node.stored) stack.push(o.node)
      else if (!state.reads.has(o.node) && !leaves.has(o.node)) {
        leaves.add(o.node)
        if (n.iterSize !== value.iterSize || !isFull(o, n)) continue
        if (full !== undefined) return undefined
        full = o.node
      }
    }
  }
  if (state.reads.size - 1 + leaves.size > limits.inputs) return undefined
  if (full !== undefined && !worthKeeping(full, value, g, lastUse)) return undefined
  return { ops, leaves }
}

/** A leaf that is alive anyway, or no larger than the value it replaces. */
function worthKeeping(leaf: PlanNode, value: PlanNode, g: Group, lastUse: Map<PlanNode, number>): boolean {
  if (leaf.kind === 'leaf' || (lastUse.get(leaf) ?? 0) >= g.depth) return true
  return bytesOf[leaf.tensor.dtype] <= bytesOf[value.tensor.dtype]
}
