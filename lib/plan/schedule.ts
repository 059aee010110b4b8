/**
 * The order of instructions. Topological, in the order in which the graph was built (which suits a backward pass: gradients follow what
 * they are of); a value whose computation holds less memory than the value itself moves down to its first reader; a write into the
 * memory of an input follows every other reader of that input where that is possible.
 */
import { internalError } from '../graph/errors.ts'
import { bytesOf } from '../graph/shape.ts'
import type { LoopDraft } from './emit.ts'
import type { PlanNode } from './node.ts'

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

/** Bytes that may wait for the end of the plan, so that a counter or key is advanced last and its readers can be late. */
const littleMemory = 1024

export function schedule(units: readonly Unit[], pinned: ReadonlySet<PlanNode>): Unit[] {
  const graph = new UnitGraph(units)
  graph.orderOverwrites()
  const created = graph.order(units.map(creation))
  return graph.order(graph.sunkKeys(created, pinned)).map((i) => units[i] as Unit)
}

/** Place in the order of building: a unit cannot stand before its latest node. */
function creation(u: Unit): number {
  if (u.copy !== undefined) return Number.MAX_SAFE_INTEGER
  return u.kernel ? u.kernel.id : Math.max(...u.writes.map((n) => n.id))
}

class UnitGraph {
  private readonly units: readonly Unit[]
  private readonly users: Set<number>[]
  private readonly writer = new Map<PlanNode, number>()
  private readonly readers = new Map<PlanNode, number[]>()

  constructor(units: readonly Unit[]) {
    this.units = units
    this.users = units.map(() => new Set())
    units.forEach((u, i) => {
      for (const n of u.writes) this.writer.set(n, i)
    })
    units.forEach((u, i) => {
      for (const n of u.reads) {
        const from = this.writer.get(n)
        if (from !== undefined && from !== i) (this.users[from] as Set<number>).add(i)
        const list = this.readers.get(n)
        if (list) list.push(i)
        else this.readers.set(n, [i])
      }
    })
  }

  /** Readers of an input before the unit that overwrites it, unless they need what that unit computes. */
  orderOverwrites(): void {
    this.units.forEach((u, i) => {
      for (const input of u.overwrites ?? []) {
        const others = (this.readers.get(input) ?? []).filter((r) => r !== i)
        if (others.length === 0) continue
        const after = this.reachable(i)
        for (const r of others) if (!after.has(r)) (this.users[r] as Set<number>).add(i)
      }
    })
  }

  private reachable(from: number): Set<number> {
    const seen = new Set<number>()
    const stack = [from]
    for (let i = stack.pop(); i !== undefined; i = stack.pop()) {
      for (const user of this.users[i] as Set<number>) {
        if (seen.has(user)) continue
        seen.add(user)
        stack.push(user)
      }
    }
    return seen
  }

  /** Topological, smallest key first among what is ready. */
  order(keys: readonly number[]): number[] {
    const waiting = new Int32Array(this.units.length)
    for (const users of this.users) for (const u of users) waiting[u] = (waiting[u] as number) + 1
    const heap = new Heap(keys)
    waiting.forEach((n, i) => {
      if (n === 0) heap.push(i)
    })
    const order: number[] = []
    for (let i = heap.pop(); i !== undefined; i = heap.pop()) {
      order.push(i)
      for (const u of this.users[i] as Set<number>) {
        waiting[u] = (waiting[u] as number) - 1
        if (waiting[u] === 0) heap.push(u)
      }
    }
    if (order.length !== this.units.length) throw internalError('loops depend on each other in a cycle')
    return order
  }

  /** Positions in `order`, where units that gain by it stand just before their first reader. */
  sunkKeys(order: readonly number[], pinned: ReadonlySet<PlanNode>): number[] {
    const keys = new Array<number>(order.length).fill(0)
    order.forEach((unit, i) => {
      keys[unit] = i
    })
    for (let i = order.length - 1; i >= 0; i--) {
      const at = order[i] as number
      const unit = this.units[at] as Unit
      const users = [...(this.users[at] as Set<number>)]
      const end = order.length
      if (users.length === 0 && unit.overwrites?.length && this.held(unit, at, end, keys) <= littleMemory) {
        keys[at] = end
      }
      if (users.length === 0 || unit.writes.some((n) => pinned.has(n))) continue
      const target = Math.min(...users.map((u) => keys[u] as number)) - 0.5
      if (target > i && this.held(unit, at, target, keys) < bytes(unit.writes)) keys[at] = target
    }
    return keys
  }

  /** Bytes that would stay alive only for this unit, were it to run at `target`. */
  private held(unit: Unit, at: number, target: number, keys: readonly number[]): number {
    const only = unit.reads.filter((n) => {
      if (!this.writer.has(n)) return false
      return (this.readers.get(n) ?? []).every((r) => r === at || (keys[r] as number) < target)
    })
    return bytes(only)
  }
}

function bytes(nodes: readonly PlanNode[]): number {
  return nodes.reduce((sum, n) => sum + n.tensor.size * bytesOf[n.tensor.dtype], 0)
}

/** Binary heap of indices by key, then by index. */
class Heap {
  private readonly keys: readonly number[]
  private readonly items: number[] = []

  constructor(keys: readonly number[]) {
    this.keys = keys
  }

  push(item: number): void {
    let at = this.items.push(item) - 1
    while (at > 0) {
      const parent = (at - 1) >> 1
      if (!this.less(at, parent)) return
      this.swap(at, parent)
      at = parent
    }
  }

  pop(): number | undefined {
    const top = this.items[0]
    const last = this.items.pop()
    if (last === undefined || this.items.length === 0) return top
    this.items[0] = last
    for (let at = 0; ; ) {
      const left = 2 * at + 1
      const least = left + 1 < this.items.length && this.less(left + 1, left) ? left + 1 : left
      if (left >= this.items.length || !this.less(least, at)) return top
      this.swap(least, at)
      at = least
    }
  }

  private less(a: number, b: number): boolean {
    const [x, y] = [this.items[a] as number, this.items[b] as number]
    const [kx, ky] = [this.keys[x] as number, this.keys[y] as number]
    return kx < ky || (kx === ky && x < y)
  }

  private swap(a: number, b: number): void {
    const x = this.items[a] as number
    this.items[a] = this.items[b] as number
    this.items[b] = x
  }
}
