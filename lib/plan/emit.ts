/**
 * Writes the register program of a loop, and splits groups whose program exceeds what a loop kernel takes.
 * Which values are stored is decided before (recompute.ts); a split stores more.
 */
import { definitionOf } from '../ops/define.ts'
import { type LoopEntry, limits, type ReduceName } from './format.ts'
import type { Group, Grouping } from './group.ts'
import { iotaAxis } from './lower.ts'
import type { Operand, PlanNode } from './node.ts'

/** A loop before value ids are known. */
export interface LoopDraft {
  readonly group: Group
  /** Registers 0.. in this order. */
  readonly inputs: readonly Operand[]
  readonly program: readonly LoopEntry[]
  readonly outputs: readonly { readonly node: PlanNode; readonly register: number; readonly reduce?: ReduceName }[]
  /** Nodes computed inside, in execution order. */
  readonly computed: readonly PlanNode[]
  /** Most registers in use at once. */
  readonly live: number
}

/** The program of `group`, or undefined when nothing that it computes is stored. */
export function draftLoop(group: Group, grouping: Grouping): LoopDraft | undefined {
  const roots = group.members.filter((m) => m.stored)
  if (roots.length === 0) return undefined
  const inside = (n: PlanNode) => !n.stored || grouping.groupOf(n) === group
  const computed = postOrder(roots, inside)
  const inputs = loadsOf(computed, inside)
  const emitter = new Emitter(inputs, inside)
  for (const n of computed) emitter.compute(n)
  const outputs = roots.map((node) => {
    const register = emitter.registerOf(node)
    return node.kind === 'reduce' ? { node, register, reduce: node.op as ReduceName } : { node, register }
  })
  const live = mostLive(
    inputs.length,
    emitter.program,
    outputs.map((o) => o.register),
  )
  return { group, inputs, program: emitter.program, outputs, computed, live }
}

/** Operands first, depth first, so that values are used soon after they are made. */
function postOrder(roots: readonly PlanNode[], inside: (n: PlanNode) => boolean): PlanNode[] {
  const seen = new Set<PlanNode>()
  const order: PlanNode[] = []
  const stack: { node: PlanNode; next: number }[] = []
  const enter = (node: PlanNode) => {
    if (seen.has(node)) return
    seen.add(node)
    stack.push({ node, next: 0 })
  }
  for (const root of roots) {
    enter(root)
    for (let top = stack.at(-1); top !== undefined; top = stack.at(-1)) {
      const o = top.node.inputs[top.next++]
      if (o === undefined) {
        order.push(top.node)
        stack.pop()
      } else if (!isInline(o, top.node) && inside(o.node)) {
        enter(o.node)
      }
    }
  }
  return order
}

/** A constant in the program or a counter: no node of its own. */
function isInline(o: Operand, user: PlanNode): boolean {
  return o.node.immediate !== undefined || iotaAxis(o, user) !== undefined
}

function loadKey(o: Operand): string {
  return `${o.node.id}:${o.shape.join(',')}`
}

function loadsOf(computed: readonly PlanNode[], inside: (n: PlanNode) => boolean): Operand[] {
  const loads = new Map<string, Operand>()
  for (const n of computed) {
    for (const o of n.inputs) if (!isInline(o, n) && !inside(o.node)) loads.set(loadKey(o), o)
  }
  return [...loads.values()]
}

const castNames = { float32: 'cast_float', int32: 'cast_int', bool: 'cast_bool', uint8: 'cast_byte' } as const

class Emitter {
  readonly program: LoopEntry[] = []
  private readonly base: number
  private readonly loads: ReadonlyMap<string, number>
  private readonly registers = new Map<PlanNode, number>()
  private readonly sources = new Map<string, number>()
  private readonly inside: (n: PlanNode) => boolean

  constructor(inputs: readonly Operand[], inside: (n: PlanNode) => boolean) {
    this.base = inputs.length
    this.loads = new Map(inputs.map((o, i) => [loadKey(o), i]))
    this.inside = inside
  }

  registerOf(n: PlanNode): number {
    return this.registers.get(n) as number
  }

  compute(n: PlanNode): void {
    this.registers.set(n, this.value(n))
  }

  private value(n: PlanNode): number {
    if (n.op === 'iota') return this.counter({ node: n, shape: n.tensor.shape }, n)
    const args = n.inputs.map((o) => this.operand(o, n))
    const first = args[0] as number
    if (n.kind === 'reduce' || n.op === 'broadcast') return first
    if (n.op === 'cast') {
      const byteToInt = n.inputs[0]?.node.tensor.dtype === 'uint8' && n.tensor.dtype === 'int32'
      return byteToInt ? first : this.push([castNames[n.tensor.dtype], first])
    }
    const names = definitionOf(n.tensor).constants ?? []
    const trailing = names.map((name) => this.source('const', n.attrs[name] as number))
    return this.push([n.op, ...args, ...trailing])
  }

  private operand(o: Operand, user: PlanNode): number {
    const k = o.node.immediate
    if (k !== undefined) {
      const dtype = o.node.tensor.dtype
      if (dtype === 'float32') return this.source('const', k)
      const register = this.source('const_int', k)
      return dtype === 'bool' ? this.derived('cast_bool', register) : register
    }
    if (iotaAxis(o, user) !== undefined) return this.counter(o, user)
    return this.inside(o.node) ? this.registerOf(o.node) : (this.loads.get(loadKey(o)) as number)
  }

  private counter(o: Operand, user: PlanNode): number {
    const axis = iotaAxis(o, user) as number
    const float = o.node.tensor.dtype === 'float32'
    if (axis < 0) return float ? this.source('const', 0) : this.source('const_int', 0)
    const register = this.source('iota', axis)
    return float ? this.derived('cast_float', register) : register
  }

  /** One register for equal sources. */
  private source(kind: 'const' | 'const_int' | 'iota', value: number): number {
    return this.shared(`${kind}:${value}`, [kind, value])
  }

  private derived(op: string, register: number): number {
    return this.shared(`${op}:${register}`, [op, register])
  }

  private shared(key: string, entry: LoopEntry): number {
    const have = this.sources.get(key)
    if (have !== undefined) return have
    const register = this.push(entry)
    this.sources.set(key, register)
    return register
  }

  private push(entry: LoopEntry): number {
    return this.base + this.program.push(entry) - 1
  }
}

/** Registers that `entry` reads. */
export function operandsOf(entry: LoopEntry): number[] {
  const [op, ...args] = entry
  return op === 'const' || op === 'const_int' || op === 'iota' ? [] : args
}

/** Most registers that hold a value still needed, at any point; outputs are needed to the end, constants never count. */
export function mostLive(inputs: number, program: readonly LoopEntry[], outputs: readonly number[]): number {
  const last = new Array<number>(inputs + program.length).fill(-1)
  program.forEach((entry, i) => {
    for (const r of operandsOf(entry)) last[r] = i
  })
  for (const r of outputs) last[r] = program.length
  const ending = new Array<number>(program.length + 1).fill(0)
  let live = 0
  for (let r = 0; r < inputs; r++) {
    if ((last[r] as number) < 0) continue
    live++
    ending[last[r] as number] = (ending[last[r] as number] as number) + 1
  }
  let most = live
  program.forEach((entry, i) => {
    const end = last[inputs + i] as number
    const counts = end >= 0 && entry[0] !== 'const' && entry[0] !== 'const_int'
    if (counts) {
      live++
      ending[end] = (ending[end] as number) + 1
    }
    most = Math.max(most, live)
    live -= ending[i] as number
  })
  return most
}

/** Drafts every group, splitting until all fit a loop kernel. */
export function draftAll(grouping: Grouping): LoopDraft[] {
  for (;;) {
    const drafts = grouping.groups.map((g) => draftLoop(g, grouping)).filter((d) => d !== undefined)
    const over = drafts.filter((d) => !fits(d))
    if (over.length === 0) return drafts
    for (const d of over) split(d, grouping)
  }
}

function fits(d: LoopDraft): boolean {
  return (
    d.inputs.length <= limits.inputs &&
    d.outputs.length <= limits.outputs &&
    d.live <= limits.liveRegisters &&
    d.program.length <= limits.program
  )
}

/** Cuts a group in topological order, storing what crosses the cuts; a single node that is too large has its operands stored instead. */
function split(d: LoopDraft, grouping: Grouping): void {
  const computed = new Set(d.computed)
  const members = d.group.members.filter((m) => computed.has(m))
  if (members.length === 1) {
    grouping.replace(d.group, [members])
    for (const o of (members[0] as PlanNode).inputs) store(o, members[0] as PlanNode, grouping)
    return
  }
  const count = Math.max(2, Math.ceil(d.program.length / limits.program))
  const size = Math.ceil(members.length / count)
  const parts: PlanNode[][] = []
  for (let i = 0; i < members.length; i += size) parts.push(members.slice(i, i + size))
  const partOf = new Map(parts.flatMap((part) => part.map((m) => [m, part] as const)))
  for (const m of members) {
    for (const s of grouping.sources(m)) {
      const other = partOf.get(s.node)
      if (other !== undefined && other !== partOf.get(m)) s.node.stored = true
    }
  }
  grouping.replace(d.group, parts)
}

function store(o: Operand, user: PlanNode, grouping: Grouping): void {
  const n = o.node
  if (isInline(o, user) || n.kind !== 'element' || (n.stored && grouping.groupOf(n) !== undefined)) return
  n.stored = true
  if (grouping.groupOf(n) === undefined) grouping.add([n])
}
