/**
 * The order of instructions. Topological, in the order in which the graph was built (which suits a backward pass: gradients follow what
 * they are of); a value whose computation holds less memory than the value itself moves down to its first reader; a write into the
 * memory of an input follows every other reader of that input where that is possible. Or depth first from the results, which keeps passes
 * that share nothing from being alive together.
 */
import type { LoopDraft } from './emit.ts'
import type { PlanNode } from './node.ts'
import { UnitGraph } from './unit-graph.ts'

/** One instruction to be: a loop, a kernel, or the copy that makes output `copy` of the plan. */
export interface Unit {
  readonly reads: readonly PlanNode[]
  readonly writes: readonly PlanNode[]
  readonly loop?: LoopDraft
  readonly kernel?: PlanNode
  readonly copy?: number
  /** The node under the plan input whose memory this unit overwrites. */
  readonly overwrites?: readonly PlanNode[]
}

export interface Schedule {
  readonly units: readonly Unit[]
  /** Bytes of the values that are alive at once, at most; inputs and results of the plan not counted. */
  readonly memory: number
}

export function schedule(units: readonly Unit[], pinned: ReadonlySet<PlanNode>, depthFirst = false): Schedule {
  const graph = new UnitGraph(units)
  graph.orderOverwrites()
  const built = depthFirst ? graph.depthFirst(pinned) : graph.order(units.map(creation))
  const order = graph.order(graph.sunkKeys(built, pinned))
  return { units: order.map((i) => units[i] as Unit), memory: graph.peak(order, pinned) }
}

/** Place in the order of building: a unit cannot stand before its latest node. */
function creation(u: Unit): number {
  if (u.copy !== undefined) return Number.MAX_SAFE_INTEGER
  return u.kernel ? u.kernel.id : Math.max(...u.writes.map((n) => n.id))
}
