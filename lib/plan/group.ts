/**
 * Which element and reduce nodes share a loop. Every node gets a depth: 0 more than its operand along an edge that a loop can hold
 * (same iteration shape), 1 more along any other. Nodes of one depth and iteration shape can then share a loop without a cycle between
 * loops, which makes grouping linear. Within a depth, those that touch each other or read a common full-size tensor are joined
 * (siblings over one pass of memory), and small ones for the sake of fewer kernels.
 */
import { limits } from './format.ts'
import { iotaAxis } from './lower.ts'
import { mergeSmallGroups, smallLoop } from './merge.ts'
import { isFull, type PlanNode, sameFrame } from './node.ts'

export interface Group {
  readonly depth: number
  /** Ascending id. */
  readonly members: readonly PlanNode[]
}

/** What a grouped node reads once free values are seen through. `held`: a loop can hold both. */
interface Source {
  readonly node: PlanNode
  readonly full: boolean
  readonly held: boolean
}

/** The partition into loops, and what each node reads. */
export class Grouping {
  readonly groups: Group[] = []
  readonly kernels: readonly PlanNode[]
  /** Small loops stay apart unless one needs the other: for plans of much memory, since what shares a loop must be alive at one time. */
  readonly apart: boolean
  private readonly depths: Int32Array
  private readonly reads = new Map<PlanNode, Source[]>()
  private readonly free = new Map<PlanNode, PlanNode[]>()
  private readonly owner = new Map<PlanNode, Group>()

  constructor(nodes: readonly PlanNode[], apart = false) {
    this.apart = apart
    this.kernels = nodes.filter((n) => n.kind === 'kernel')
    this.depths = new Int32Array(nodes.length).fill(-1)
    const grouped = nodes.filter((n) => n.kind === 'reduce' || (n.kind === 'element' && (n.stored || !n.free)))
    for (const n of grouped) this.collect(n)
    for (const n of nodes) if (n.kind !== 'leaf') this.depths[n.id] = this.earliest(n)
    this.sink(grouped)
    for (const bucket of this.buckets(grouped)) for (const part of partition(bucket, this)) this.add(part)
    if (!apart) mergeSmallGroups(this)
  }

  depthOf(n: PlanNode): number {
    return this.depths[n.id] as number
  }

  groupOf(n: PlanNode): Group | undefined {
    return this.owner.get(n)
  }

  /** Stored values and grouped nodes that `n` reads, through free ones. */
  sources(n: PlanNode): readonly Source[] {
    return this.reads.get(n) ?? []
  }

  /** Free nodes that `n` needs computed. */
  freeOps(n: PlanNode): readonly PlanNode[] {
    return this.free.get(n) ?? []
  }

  /** A new group of `members`, which must be in no other. */
  add(members: readonly PlanNode[]): void {
    const first = members[0] as PlanNode
    if (!this.reads.has(first)) this.collect(first)
    const depth = Math.max(...members.map((m) => this.depthOf(m)))
    const group = { depth, members: [...members].sort((a, b) => a.id - b.id) }
    this.groups.push(group)
    for (const m of members) this.owner.set(m, group)
  }

  /** Replaces `group` by groups of the given parts; members in none of them are in no group then. */
  replace(group: Group, parts: readonly (readonly PlanNode[])[]): void {
    this.groups.splice(this.groups.indexOf(group), 1)
    for (const m of group.members) this.owner.delete(m)
    for (const part of parts) this.add(part)
  }

  /** Makes one group of two. */
  join(a: Group, b: Group): Group {
    for (const g of [a, b]) this.groups.splice(this.groups.indexOf(g), 1)
    this.add([...a.members, ...b.members])
    return this.groups.at(-1) as Group
  }

  private collect(n: PlanNode): void {
    const found = new Map<PlanNode, Source>()
    const free = new Set<PlanNode>()
    const stack = [n]
    for (let at = stack.pop(); at !== undefined; at = stack.pop()) {
      for (const o of at.inputs) {
        if (o.node.immediate !== undefined || iotaAxis(o, at) !== undefined) continue
        if (o.node.free && !o.node.stored) {
          if (!free.has(o.node)) stack.push(o.node)
          free.add(o.node)
        } else if (found.get(o.node)?.full !== true) {
          const alike = at.iterKey === n.iterKey
          found.set(o.node, { node: o.node, full: alike && isFull(o, at), held: alike && sameFrame(o, at) })
        }
      }
    }
    this.reads.set(n, [...found.values()])
    this.free.set(n, [...free])
  }

  private earliest(n: PlanNode): number {
    let depth = 0
    if (n.kind === 'kernel') for (const o of n.inputs) depth = Math.max(depth, this.depthOf(o.node) + 1)
    else for (const s of this.sources(n)) depth = Math.max(depth, this.depthOf(s.node) + (s.held ? 0 : 1))
    return depth
  }

  /**
   * Moves an element node down to its first reader where that reader's loop can hold it: it is then not stored, or stored by the loop that reads it. Kernels go
   * down as well, as far as their readers let them, to be in nobody's way.
   */
  private sink(grouped: readonly PlanNode[]): void {
    const readers = new Map<PlanNode, { node: PlanNode; held: boolean }[]>()
    const see = (of: PlanNode, node: PlanNode, held: boolean) => {
      const list = readers.get(of)
      if (list) list.push({ node, held })
      else readers.set(of, [{ node, held }])
    }
    for (const n of grouped) for (const s of this.sources(n)) see(s.node, n, s.held)
    for (const k of this.kernels) for (const o of k.inputs) see(o.node, k, false)
    for (const n of [...grouped, ...this.kernels].sort((a, b) => b.id - a.id)) {
      const list = readers.get(n)
      if (n.kind === 'reduce' || list === undefined) continue
      const target = Math.min(...list.map((r) => this.depthOf(r.node) - (r.held ? 0 : 1)))
      if (n.kind === 'kernel') {
        this.depths[n.id] = Math.max(this.depthOf(n), target)
        continue
      }
      if (target <= this.depthOf(n) || !list.some((r) => r.held && this.depthOf(r.node) === target)) continue
      if (this.staysBehind(n, readers) < 2) this.depths[n.id] = target
    }
  }

  /** How many operands of `n` would have to be stored if it left its loop: those that others there need too. */
  private staysBehind(n: PlanNode, readers: Map<PlanNode, { node: PlanNode; held: boolean }[]>): number {
    const depth = this.depthOf(n)
    return this.sources(n).filter(
      (s) =>
        s.held &&
        !s.node.stored &&
        this.depthOf(s.node) === depth &&
        (readers.get(s.node) ?? []).some((r) => r.node !== n && this.depthOf(r.node) === depth),
    ).length
  }

  private buckets(grouped: readonly PlanNode[]): PlanNode[][] {
    return collect(grouped, (n) => `${this.depthOf(n)}:${n.iterKey}`)
  }
}

/** Splits nodes of one depth and iteration shape into those that belong together, each with one set of reduction axes. */
function partition(bucket: readonly PlanNode[], grouping: Grouping): PlanNode[][] {
  const small = (bucket[0]?.iterSize ?? 0) <= smallLoop
  const apart = small && grouping.apart
  const sets = apart ? withoutSiblings(bucket, grouping) : withSiblings(bucket, grouping)
  const parts = collect(bucket, (_, i) => sets.find(i)).map(byAxes)
  const mains = parts.map((p) => p.main)
  // Never packed together: a reduction in `others` may read its own main part.
  const others = parts.flatMap((p) => p.others)
  return small && !apart ? [...pack(mains, grouping), ...pack(others, grouping)] : [...mains, ...others]
}

/** Joins those that read one another or a common full-size tensor. */
function withSiblings(bucket: readonly PlanNode[], grouping: Grouping): DisjointSets {
  const sets = new DisjointSets(bucket.length)
  const joint = new Map<PlanNode, number>(bucket.map((n, i) => [n, i]))
  bucket.forEach((n, i) => {
    for (const node of origins(n, grouping)) {
      const other = joint.get(node)
      if (other === undefined) joint.set(node, i)
      else sets.join(i, other)
    }
  })
  return sets
}

/** Joins those that read one another, but what brings several such sets together (statistics of all passes) stays outside of them. */
function withoutSiblings(bucket: readonly PlanNode[], grouping: Grouping): DisjointSets {
  const sets = new DisjointSets(bucket.length)
  const places = new Map<PlanNode, number>(bucket.map((n, i) => [n, i]))
  const gathers = new Set<number>()
  bucket.forEach((n, i) => {
    const read = grouping.sources(n).flatMap((s) => places.get(s.node) ?? [])
    if (new Set(read.map((r) => sets.find(r))).size > 1 || read.some((r) => gathers.has(r))) gathers.add(i)
    for (const r of read) if (!gathers.has(i) || gathers.has(r)) sets.join(i, r)
  })
  return sets
}

/** The full-size tensors that `n` reads, and those that these are computed from: who reads them can compute the others too. */
function origins(n: PlanNode, grouping: Grouping): PlanNode[] {
  const full = (of: PlanNode) =>
    grouping
      .sources(of)
      .filter((s) => s.full)
      .map((s) => s.node)
  const near = full(n)
  return [...near, ...near.filter((s) => s.kind === 'element' && s.iterKey === n.iterKey).flatMap(full)]
}

/** Element nodes stay with the largest set of reductions over the same axes; the others stand alone, set by set. */
function byAxes(part: PlanNode[]): { main: PlanNode[]; others: PlanNode[][] } {
  const reductions = part.filter((n) => n.kind === 'reduce')
  const sets = collect(reductions, axesKey)
  if (sets.length <= 1) return { main: part, others: [] }
  const [largest, ...others] = sets.sort((a, b) => b.length - a.length)
  const kept = new Set(largest)
  return { main: part.filter((n) => n.kind !== 'reduce' || kept.has(n)), others }
}

function axesKey(n: PlanNode): string {
  return n.axes.join(',')
}

interface Pack {
  axes: string | undefined
  reads: Set<PlanNode>
  stores: number
  readonly nodes: PlanNode[]
}

/** Small parts share loops as far as inputs, outputs and reduction axes allow. */
function pack(parts: readonly PlanNode[][], grouping: Grouping): PlanNode[][] {
  const open: Pack[] = []
  const done: PlanNode[][] = []
  for (const nodes of parts) {
    const reduction = nodes.find((n) => n.kind === 'reduce')
    const axes = reduction && axesKey(reduction)
    const own = new Set(nodes)
    const reads = new Set(nodes.flatMap((n) => grouping.sources(n).map((s) => s.node)).filter((n) => !own.has(n)))
    const stores = Math.max(1, nodes.filter((n) => n.stored).length)
    const have = open.find((p) => axes === undefined || p.axes === undefined || p.axes === axes)
    const joined = have && new Set([...have.reads, ...reads])
    if (have && joined && joined.size <= limits.inputs && have.stores + stores <= limits.outputs) {
      have.nodes.push(...nodes)
      have.axes ??= axes
      have.reads = joined
      have.stores += stores
    } else {
      if (have) open.splice(open.indexOf(have), 1)
      const fresh: Pack = { axes, reads, stores, nodes: [...nodes] }
      open.push(fresh)
      done.push(fresh.nodes)
    }
  }
  return done
}

/** Lists of the items that have the same key, in order of first appearance. */
function collect<T, K>(items: readonly T[], key: (item: T, index: number) => K): T[][] {
  const lists = new Map<K, T[]>()
  items.forEach((item, i) => {
    const k = key(item, i)
    const list = lists.get(k)
    if (list) list.push(item)
    else lists.set(k, [item])
  })
  return [...lists.values()]
}

/** Union-find with path compression. */
class DisjointSets {
  private readonly parent: Int32Array

  constructor(n: number) {
    this.parent = Int32Array.from({ length: n }, (_, i) => i)
  }

  find(i: number): number {
    let root = i
    while (this.parent[root] !== root) root = this.parent[root] as number
    for (let at = i; at !== root; ) {
      const next = this.parent[at] as number
      this.parent[at] = root
      at = next
    }
    return root
  }

  join(a: number, b: number): void {
    this.parent[this.find(a)] = this.find(b)
  }
}
