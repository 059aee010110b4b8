/**
 * Small loops of one iteration shape become one, wherever they stand in the graph, if neither needs the other: what a loop of a few hundred
 * elements costs is its start. (Updates of biases, sums of squares for a gradient norm, statistics: many of one size, at many depths.)
 */
import { limits } from './format.ts'
import type { Group, Grouping } from './group.ts'
import type { PlanNode } from './node.ts'

/** Iteration shapes up to this many elements share loops even when nothing connects them. */
export const smallLoop = 4096

/** Merges groups of `grouping` in place; what is computed and stored stays. */
export function mergeSmallGroups(grouping: Grouping): void {
  const order = new Precedence(grouping)
  const open = new Map<string, Group[]>()
  for (const group of [...grouping.groups].sort((a, b) => a.depth - b.depth || firstId(a) - firstId(b))) {
    const first = group.members[0] as PlanNode
    if (first.iterSize > smallLoop) continue
    const alike = open.get(first.iterKey) ?? []
    open.set(first.iterKey, alike)
    const at = alike.findIndex((other) => fitTogether(other, group, grouping) && order.independent(other, group))
    if (at < 0) alike.push(group)
    else alike[at] = order.merge(alike[at] as Group, group)
  }
}

function firstId(g: Group): number {
  return (g.members[0] as PlanNode).id
}

/** One set of reduction axes, and no more inputs and outputs than a loop takes. */
function fitTogether(a: Group, b: Group, grouping: Grouping): boolean {
  const members = [...a.members, ...b.members]
  if (new Set(members.filter((m) => m.kind === 'reduce').map((m) => m.axes.join(','))).size > 1) return false
  const own = new Set(members)
  const reads = new Set(members.flatMap((m) => grouping.sources(m).map((s) => s.node)).filter((n) => !own.has(n)))
  return reads.size <= limits.inputs && members.filter((m) => m.stored).length <= limits.outputs
}

/** Which groups and kernels must run before which: the transitive closure, a row of bits each. */
class Precedence {
  private readonly grouping: Grouping
  private readonly places = new Map<Group | PlanNode, number>()
  /** Bit j of row i: i must run before j. */
  private readonly after: Uint32Array[] = []

  constructor(grouping: Grouping) {
    this.grouping = grouping
    const users = new Map<Group | PlanNode, Set<Group | PlanNode>>()
    const link = (from: PlanNode, to: Group | PlanNode) => {
      const maker = from.kind === 'kernel' ? from : grouping.groupOf(from)
      if (maker === undefined || maker === to) return
      const set = users.get(maker)
      if (set) set.add(to)
      else users.set(maker, new Set([to]))
    }
    for (const g of grouping.groups) for (const m of g.members) for (const s of grouping.sources(m)) link(s.node, g)
    for (const k of grouping.kernels) for (const o of k.inputs) link(o.node, k)
    const depth = (u: Group | PlanNode) => ('members' in u ? u.depth : grouping.depthOf(u))
    const units = [...grouping.groups, ...grouping.kernels]
    units.forEach((u, i) => {
      this.places.set(u, i)
      this.after.push(new Uint32Array(Math.ceil(units.length / 32)))
    })
    // Users are deeper, or as deep and of another set of reduction axes: a second sweep sees those.
    const deepestFirst = [...units].sort((a, b) => depth(b) - depth(a))
    for (const u of [...deepestFirst, ...deepestFirst]) {
      const row = this.row(u)
      for (const v of users.get(u) ?? []) {
        const j = this.places.get(v) as number
        row[j >> 5] = (row[j >> 5] as number) | (1 << (j & 31))
        unite(row, this.after[j] as Uint32Array)
      }
    }
  }

  independent(a: Group, b: Group): boolean {
    return !this.has(this.row(a), b) && !this.has(this.row(b), a)
  }

  /** One group of two; what must run before either must now run before all that follows both. */
  merge(a: Group, b: Group): Group {
    const merged = this.grouping.join(a, b)
    const row = this.row(a)
    unite(row, this.row(b))
    for (const other of this.after) if (this.has(other, a) || this.has(other, b)) this.follow(other, row, a)
    this.places.set(merged, this.places.get(a) as number)
    return merged
  }

  private follow(other: Uint32Array, row: Uint32Array, a: Group): void {
    const j = this.places.get(a) as number
    other[j >> 5] = (other[j >> 5] as number) | (1 << (j & 31))
    unite(other, row)
  }

  private row(u: Group | PlanNode): Uint32Array {
    return this.after[this.places.get(u) as number] as Uint32Array
  }

  private has(row: Uint32Array, u: Group | PlanNode): boolean {
    const j = this.places.get(u) as number
    return (((row[j >> 5] as number) >> (j & 31)) & 1) === 1
  }
}

function unite(into: Uint32Array, from: Uint32Array): void {
  for (let i = 0; i < into.length; i++) into[i] = (into[i] as number) | (from[i] as number)
}
