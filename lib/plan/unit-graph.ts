/** Units of a plan and which must run before which; orders of them, and the memory that an order needs. */
import { internalError } from '../graph/errors.ts'
import { bytesOf } from '../graph/shape.ts'
import type { PlanNode } from './node.ts'
import type { Unit } from './schedule.ts'

/** Bytes that may wait for the end of the plan, so that a counter or key is advanced last and its readers can be late. */
const littleMemory = 1024

export class UnitGraph {
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

  /**
   * Depth first from the results, except that what frees more memory than it takes runs as soon as it can. Passes
   * that have nothing but their results in common follow one another so, each with its own values only.
   */
  depthFirst(pinned: ReadonlySet<PlanNode>): number[] {
    const postorder = this.postorder()
    const waiting = new Int32Array(this.units.length)
    for (const users of this.users) for (const u of users) waiting[u] = (waiting[u] as number) + 1
    const left = this.readersLeft()
    const heap = new Heap(postorder)
    const done = new Uint8Array(this.units.length)
    waiting.forEach((n, i) => {
      if (n === 0) heap.push(i)
    })
    const order: number[] = []
    const run = (start: number) => {
      for (const stack = [start]; stack.length > 0; ) {
        const i = stack.pop() as number
        if (done[i] === 1) continue
        done[i] = 1
        order.push(i)
        const unit = this.units[i] as Unit
        for (const n of unit.reads) left.get(n)?.delete(i)
        for (const u of this.users[i] as Set<number>) {
          waiting[u] = (waiting[u] as number) - 1
          if (waiting[u] === 0) heap.push(u)
        }
        for (const n of [...unit.reads, ...unit.writes]) {
          for (const r of left.get(n) ?? []) if (waiting[r] === 0 && this.frees(r, left, pinned)) stack.push(r)
        }
      }
    }
    for (let i = heap.pop(); i !== undefined; i = heap.pop()) if (done[i] === 0) run(i)
    if (order.length !== this.units.length) throw internalError('loops depend on each other in a cycle')
    return order
  }

  /** Greatest sum of the values that are alive at once, without inputs and results of the plan, which have memory of their own. */
  peak(order: readonly number[], pinned: ReadonlySet<PlanNode>): number {
    const left = this.readersLeft()
    let live = 0
    let most = 0
    for (const i of order) {
      const unit = this.units[i] as Unit
      live += bytes(unit.writes.filter((n) => !pinned.has(n)))
      most = Math.max(most, live)
      for (const n of new Set([...unit.reads, ...unit.writes])) {
        left.get(n)?.delete(i)
        if (this.writer.has(n) && !pinned.has(n) && (left.get(n)?.size ?? 0) === 0) live -= bytes([n])
      }
    }
    return most
  }

  /** Place of each unit in a depth-first walk from those that nobody reads, operands before readers, first those that need most units. */
  private postorder(): number[] {
    const before: number[][] = this.units.map(() => [])
    this.users.forEach((users, i) => {
      for (const u of users) (before[u] as number[]).push(i)
    })
    const needs = this.needs(before)
    const mostLast = (list: number[]) => list.sort((a, b) => (needs[a] as number) - (needs[b] as number) || b - a)
    const roots = this.units.map((_, i) => i).filter((i) => (this.users[i] as Set<number>).size === 0)
    const place = new Array<number>(this.units.length).fill(-1)
    const seen = new Uint8Array(this.units.length)
    let next = 0
    const stack = mostLast(roots).map((unit) => ({ unit, leave: false }))
    for (let top = stack.pop(); top !== undefined; top = stack.pop()) {
      if (top.leave) place[top.unit] = next++
      else if (seen[top.unit] === 0) {
        seen[top.unit] = 1
        stack.push({ unit: top.unit, leave: true })
        for (const b of mostLast(before[top.unit] as number[])) stack.push({ unit: b, leave: false })
      }
    }
    return place
  }

  /** How many units must run before each. */
  private needs(before: readonly (readonly number[])[]): number[] {
    const words = Math.ceil(this.units.length / 32)
    const sets = this.units.map(() => new Uint32Array(words))
    const counts = new Array<number>(this.units.length).fill(0)
    for (const i of this.order(counts)) {
      const own = sets[i] as Uint32Array
      for (const b of before[i] as readonly number[]) {
        own[b >> 5] = (own[b >> 5] as number) | (1 << (b & 31))
        const other = sets[b] as Uint32Array
        for (let w = 0; w < words; w++) own[w] = (own[w] as number) | (other[w] as number)
      }
    }
    return sets.map((set) => set.reduce((sum, word) => sum + bits(word), 0))
  }

  private readersLeft(): Map<PlanNode, Set<number>> {
    return new Map([...this.readers].map(([n, list]) => [n, new Set(list)]))
  }

  /** Does the unit, last reader of some of its operands, free at least what it takes? */
  private frees(i: number, left: ReadonlyMap<PlanNode, Set<number>>, pinned: ReadonlySet<PlanNode>): boolean {
    const unit = this.units[i] as Unit
    const freed = new Set(unit.reads.filter((n) => this.writer.has(n) && !pinned.has(n) && left.get(n)?.size === 1))
    return bytes([...freed]) >= bytes(unit.writes.filter((n) => !pinned.has(n)))
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

/** How many bits are set. */
function bits(word: number): number {
  let n = 0
  for (let w = word >>> 0; w !== 0; w &= w - 1) n++
  return n
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
