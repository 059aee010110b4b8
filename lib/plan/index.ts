/**
 * Graph to plan: canonical form (builder.ts), plan nodes (lower.ts), loops (group.ts, recompute.ts, emit.ts), order (schedule.ts),
 * serialised form (serialize.ts). The contract of the result is docs/architecture.md, "Plan". Memory is planned in native code.
 */
import { LangevinError, suggestion } from '../graph/errors.ts'
import { sameShape, showShape } from '../graph/shape.ts'
import type { Tensor } from '../graph/tensor.ts'
import { GraphBuilder } from './builder.ts'
import { draftAll, type LoopDraft } from './emit.ts'
import { type Precision, precisions, type SerializedPlan } from './format.ts'
import { Grouping } from './group.ts'
import { lower } from './lower.ts'
import type { PlanNode } from './node.ts'
import { printPlan } from './print.ts'
import { cloneAcrossGroups, defaultBudget, markFree } from './recompute.ts'
import { type Schedule, schedule, type Unit } from './schedule.ts'
import { type PlannedOutput, serialize } from './serialize.ts'

export type { PlanInstruction, PlanJson, PlanValue, Precision, SerializedPlan } from './format.ts'
export { kernels, limits, precisions } from './format.ts'
export { printPlan } from './print.ts'

/** A result of the plan; `alias` is the position in `inputs` of a state tensor that it replaces, whose memory it may be written to. */
export interface PlanOutput {
  readonly tensor: Tensor
  readonly alias?: number
}

export interface PlanOptions {
  /** Additions' worth of work that a loop may repeat to avoid storing a tensor. Default 8; 0 stores everything shared. */
  readonly recomputeBudget?: number
  /** What products and convolutions multiply; default 'float32'. */
  readonly precision?: Precision
  /**
   * Should convolutions take their biases in? Default true; false leaves them to the loops that read the results, where the device's convolutions would
   * need a pass of their own for it (CUDA).
   */
  readonly convolutionBias?: boolean
}

/**
 * Plans the computation of `outputs` from `inputs` (tensors of op `input`, in binding order).
 * @throws LangevinError E_GRAPH when an output depends on an input that is not listed, or an alias does not fit its input
 */
export function makePlan(
  inputs: readonly Tensor[],
  outputs: readonly PlanOutput[],
  options: PlanOptions = {},
): SerializedPlan {
  const budget = options.recomputeBudget ?? defaultBudget
  checkOptions(options, budget)
  checkBindings(inputs, outputs)
  const canonical = simplifyGraph(outputs.map((o) => o.tensor))
  const bias = options.convolutionBias ?? true
  const arrange = (sparing: boolean) => arrangement(canonical, inputs, outputs, { budget, bias, sparing })
  let chosen = arrange(false)
  if (chosen.memory > muchMemory) {
    const other = arrange(true)
    if (other.memory < worthwhile * chosen.memory) chosen = other
  }
  const { plan: code, constants } = serialize(inputs, chosen.planned, chosen.units)
  const plan = options.precision === 'bfloat16' ? { ...code, precision: options.precision } : code
  return { json: JSON.stringify(plan), constants, text: printPlan(plan) }
}

/** Bytes from which on a plan is also made sparing of memory, and what part of them that must do with to be worth its further loops. */
const muchMemory = 64 * 2 ** 20
const worthwhile = 0.8

interface ArrangementOptions {
  readonly budget: number
  /** Convolutions take their biases in. */
  readonly bias: boolean
  /** What does not depend on one another is not computed together, but one after the other. */
  readonly sparing: boolean
}

/** Loops and kernels in order. */
function arrangement(
  canonical: readonly Tensor[],
  inputs: readonly Tensor[],
  outputs: readonly PlanOutput[],
  { budget, bias, sparing }: ArrangementOptions,
): Schedule & { readonly planned: readonly PlannedOutput[] } {
  const { nodes, results } = lower(canonical, bias)
  checkInputs(inputs, nodes)
  markFree(nodes, budget)
  const grouping = new Grouping(nodes, sparing)
  cloneAcrossGroups(grouping, budget)
  const planned = results.map((operand, i) => ({ operand, alias: outputs[i]?.alias ?? null }))
  const units = makeUnits(draftAll(grouping), grouping.kernels, planned, inputs, nodes)
  return { ...schedule(units, new Set(results.map((o) => o.node)), sparing), planned }
}

/** The graph passes alone: composites decomposed, equal nodes shared, simplified, constants folded. */
export function simplifyGraph(outputs: readonly Tensor[]): Tensor[] {
  return new GraphBuilder().rewrite(outputs)
}

function makeUnits(
  loops: readonly LoopDraft[],
  kernelNodes: readonly PlanNode[],
  outputs: readonly PlannedOutput[],
  inputs: readonly Tensor[],
  nodes: readonly PlanNode[],
): Unit[] {
  const leafOf = new Map(nodes.filter((n) => n.kind === 'leaf').map((n) => [n.tensor, n]))
  const replaced = (o: PlannedOutput) => (o.alias === null ? undefined : leafOf.get(inputs[o.alias] as Tensor))
  const copied = copiedOutputs(outputs)
  const overwritten = new Map<PlanNode, PlanNode[]>()
  outputs.forEach((o, i) => {
    const leaf = replaced(o)
    if (leaf === undefined || copied.has(i)) return
    overwritten.set(o.operand.node, [...(overwritten.get(o.operand.node) ?? []), leaf])
  })
  const overwrites = (writes: readonly PlanNode[]) => writes.flatMap((n) => overwritten.get(n) ?? [])
  const units: Unit[] = []
  for (const loop of loops) {
    const writes = loop.outputs.map((o) => o.node)
    units.push({ reads: loop.inputs.map((o) => o.node), writes, loop, overwrites: overwrites(writes) })
  }
  for (const kernel of kernelNodes) {
    units.push({ reads: kernel.inputs.map((o) => o.node), writes: [kernel], kernel, overwrites: overwrites([kernel]) })
  }
  for (const i of copied) {
    const o = outputs[i] as PlannedOutput
    const leaf = replaced(o)
    units.push({ reads: [o.operand.node], writes: [], copy: i, overwrites: leaf ? [leaf] : [] })
  }
  return units
}

/** Outputs that are inputs, constants, or a value that another output is already. One that replaces an input goes first. */
function copiedOutputs(outputs: readonly PlannedOutput[]): Set<number> {
  const order = outputs.map((_, i) => i).sort((a, b) => rank(outputs[a]) - rank(outputs[b]) || a - b)
  const taken = new Set<PlanNode>()
  const copied = new Set<number>()
  for (const i of order) {
    const node = (outputs[i] as PlannedOutput).operand.node
    if (node.kind === 'leaf' || taken.has(node)) copied.add(i)
    taken.add(node)
  }
  return copied
}

function rank(o: PlannedOutput | undefined): number {
  return o?.alias === null ? 1 : 0
}

const optionNames: readonly string[] = ['recomputeBudget', 'precision', 'convolutionBias']

function checkOptions(options: PlanOptions, budget: number): void {
  for (const name of Object.keys(options)) {
    if (!optionNames.includes(name))
      throw new TypeError(`makePlan: unknown option '${name}'. Known: ${optionNames.join(', ')}.`)
  }
  checkPrecision(options.precision)
  if (!(budget >= 0)) throw new RangeError(`makePlan: recomputeBudget must be a number of at least 0; got ${budget}`)
}

/** @throws LangevinError E_CONFIG for anything but a known precision; undefined passes. */
export function checkPrecision(precision: unknown): void {
  if (precision === undefined || precisions.includes(precision as Precision)) return
  const near = typeof precision === 'string' ? suggestion(precision, precisions) : ''
  throw new LangevinError('E_CONFIG', `precision must be 'float32' or 'bfloat16'; got '${String(precision)}'.${near}`)
}

function checkBindings(inputs: readonly Tensor[], outputs: readonly PlanOutput[]): void {
  const seen = new Set<Tensor>()
  for (const [i, t] of inputs.entries()) {
    const what = `input ${i} (${t.toString()})`
    if (t.op.name !== 'input')
      throw new LangevinError('E_GRAPH', `${what} must be an input tensor; it is a ${t.op.name}`)
    if (seen.has(t)) throw new LangevinError('E_GRAPH', `${what} is listed twice; list each input once`)
    seen.add(t)
  }
  const aliased = new Set<number>()
  for (const [i, { tensor, alias }] of outputs.entries()) {
    if (alias === undefined) continue
    const to = inputs[alias]
    if (to === undefined) throw new RangeError(`output ${i}: alias must be in 0..${inputs.length - 1}; got ${alias}`)
    if (aliased.has(alias)) throw new LangevinError('E_GRAPH', `output ${i}: input ${alias} is replaced by two outputs`)
    aliased.add(alias)
    if (sameShape(to.shape, tensor.shape) && to.dtype === tensor.dtype) continue
    const types = `${tensor.dtype}${showShape(tensor.shape)} and ${to.dtype}${showShape(to.shape)}`
    throw new LangevinError(
      'E_GRAPH',
      `output ${i} must have the type of input ${alias}, which it replaces; got ${types}`,
    )
  }
}

function checkInputs(inputs: readonly Tensor[], nodes: readonly PlanNode[]): void {
  const known = new Set(inputs)
  for (const { kind, tensor } of nodes) {
    if (kind !== 'leaf' || tensor.data !== undefined || known.has(tensor)) continue
    const message = `the graph depends on ${tensor.toString()}, which is not among the plan's inputs; list it there`
    throw new LangevinError('E_GRAPH', message, { input: tensor.label })
  }
}
