/**
 * A foreign graph that can be traced: which values carry data, where one alone is live (so that the network can be cut there), and the run of a
 * part of it over graph tensors. What does not depend on the data (shape arithmetic, transposed weights) is made where it is first read.
 */
import { LangevinError } from '../../graph/errors.ts'
import { type Shape, sameShape, sizeOf } from '../../graph/shape.ts'
import type { Tensor } from '../../graph/tensor.ts'
import { evaluateReference } from '../../ops/evaluate.ts'
import * as ops from '../../ops/index.ts'
import { fanInUniform } from '../layer.ts'
import { Scope, Variables } from '../variables.ts'
import { Call, constantTensor, type LiteralShapes, mostKnown, nodeError } from './call.ts'
import type { ImportedOptions, NodeRecord, VariableRecord } from './record.ts'
import { checkNodes, ruleOf } from './rules.ts'

export class ForeignGraph {
  readonly options: ImportedOptions
  /** Nodes through which data flow, in order. */
  readonly dataNodes: readonly NodeRecord[]
  readonly variables: ReadonlyMap<string, VariableRecord>
  private readonly makers = new Map<string, NodeRecord>()
  private readonly carries = new Set<string>()
  private readonly weights: Set<string>
  private readonly shapes = new Map<number, ReadonlyMap<string, Shape>>()

  /** @throws LangevinError E_ONNX that lists all that is not supported, or for a value that nothing makes */
  constructor(options: ImportedOptions) {
    this.options = options
    const { nodes, opset, input, output } = options
    checkNodes(nodes, opset, new Set([output, ...nodes.flatMap((n) => n.in)]))
    this.variables = new Map(options.variables.map((v) => [v.value, v]))
    this.weights = new Set(this.variables.keys())
    this.carries.add(input)
    for (const node of nodes) {
      const outputs = node.out.filter((o) => o !== '')
      for (const o of outputs) this.makers.set(o, node)
      const data = !ruleOf(node).shapeOnly && node.in.some((i) => this.carries.has(i))
      const follows = data ? this.carries : node.in.some((i) => this.weights.has(i)) ? this.weights : undefined
      for (const o of outputs) follows?.add(o)
    }
    this.dataNodes = nodes.filter((n) => n.out.some((o) => this.carries.has(o)))
    if (!this.carries.has(output)) {
      throw new LangevinError(
        'E_ONNX',
        `[onnx] output '${output}' does not depend on input '${input}'; name others with the options input and output`,
      )
    }
  }

  /** Whether a value depends on the data, not on their shape alone. */
  carriesData(value: string): boolean {
    return this.carries.has(value)
  }

  /** Whether a value is a weight or made of weights. */
  isWeight(value: string): boolean {
    return this.weights.has(value)
  }

  /** Shapes of the values that carry data, for a batch. */
  shapesAt(batch: number): ReadonlyMap<string, Shape> {
    let known = this.shapes.get(batch)
    if (known === undefined) {
      const { options } = this
      const run = new GraphRun(this, batch, new Scope('', { variables: new Variables(), norm: 'running' }))
      run.set(options.input, ops.input('x', [batch, ...options.shape]))
      for (const node of this.dataNodes) run.step(node)
      known = run.shapes()
      this.shapes.set(batch, known)
    }
    return known
  }

  maker(value: string): NodeRecord | undefined {
    return this.makers.get(value)
  }
}

/** One pass through a part of the graph. */
export class GraphRun {
  private readonly graph: ForeignGraph
  private readonly batch: number
  private readonly scope: Scope
  private readonly values = new Map<string, Tensor>()
  /** Values that follow from constants and shapes alone. */
  private readonly fixed = new Set<Tensor>()

  constructor(graph: ForeignGraph, batch: number, scope: Scope) {
    this.graph = graph
    this.batch = batch
    this.scope = scope
  }

  set(value: string, tensor: Tensor): void {
    this.values.set(value, tensor)
  }

  /** A value: made before, a constant, a variable, or what follows from those and from shapes. */
  get(value: string): Tensor {
    const begun = new Set<NodeRecord>()
    // Deep graphs are no deep recursion.
    for (const stack = [value]; stack.length > 0; ) {
      const wanted = stack.at(-1) as string
      const maker = this.values.has(wanted) ? undefined : this.leaf(wanted)
      const missing = maker?.in.filter((i) => i !== '' && !this.values.has(i) && !this.isShapeOfData(maker, i)) ?? []
      if (maker !== undefined && missing.length === 0) this.step(maker)
      if (missing.length === 0) stack.pop()
      else if (maker !== undefined && begun.has(maker)) throw nodeError(maker, `its result depends on itself`)
      else stack.push(...missing)
      if (maker !== undefined) begun.add(maker)
    }
    const made = this.values.get(value)
    if (made === undefined) throw this.nothingMakes(value)
    return made
  }

  /** Makes a constant or a variable; of anything else gives the node that makes it. */
  private leaf(value: string): NodeRecord | undefined {
    const { constants } = this.graph.options
    const constant = Object.hasOwn(constants, value) ? constants[value] : undefined
    const variable = this.graph.variables.get(value)
    if (constant !== undefined) this.values.set(value, constantTensor(constant))
    else if (variable !== undefined) this.values.set(value, this.declare(variable))
    if (this.values.has(value)) return undefined
    const maker = this.graph.maker(value)
    if (maker === undefined || this.graph.carriesData(value)) throw this.nothingMakes(value)
    return maker
  }

  private nothingMakes(value: string): LangevinError {
    return new LangevinError('E_ONNX', `[onnx] nothing makes the value '${value}' where it is read`, { value })
  }

  /** Only the shape of the data is read, which is known without them. */
  private isShapeOfData(node: NodeRecord, value: string): boolean {
    return ruleOf(node).shapeOnly === true && this.graph.carriesData(value)
  }

  /** Runs one node. @throws LangevinError E_ONNX that names it */
  step(node: NodeRecord): void {
    const rule = ruleOf(node)
    const inputs = rule.shapeOnly
      ? node.in.map(() => undefined)
      : node.in.map((i) => (i === '' ? undefined : this.get(i)))
    const call = new Call({
      node,
      opset: this.graph.options.opset,
      pass: this.scope.pass,
      inputs,
      variableName: (i) => this.variableName(node.in[i] ?? ''),
      shapeOf: (i) => this.shapeOf(node.in[i] ?? ''),
      literal: () => this.literal(node),
      rebatched: ![undefined, this.batch].includes(this.graph.options.batch),
    })
    const fixed = inputs.every((t) => t === undefined || t.op.name === 'constant' || this.fixed.has(t))
    let made: Tensor | readonly Tensor[]
    try {
      made = rule.build(call)
    } catch (cause) {
      if (cause instanceof LangevinError && cause.code === 'E_ONNX') throw cause
      if (!(cause instanceof LangevinError || cause instanceof RangeError)) throw cause
      throw nodeError(node, cause.message, cause)
    }
    const outputs = Array.isArray(made) ? (made as readonly Tensor[]) : [made as Tensor]
    node.out.forEach((o, i) => {
      const t = outputs[i]
      if (o === '' || t === undefined) return
      if (fixed && t.size > mostKnown)
        throw nodeError(node, `makes ${t.size} numbers of constants; at most ${mostKnown} are taken`)
      const value = fixed ? folded(t) : t
      if (fixed) this.fixed.add(value)
      this.values.set(o, value)
    })
  }

  /** Shapes of all values that carry data. */
  shapes(): Map<string, Shape> {
    return new Map([...this.values].filter(([v]) => this.graph.carriesData(v)).map(([v, t]) => [v, t.shape]))
  }

  private declare(v: VariableRecord): Tensor {
    const { shape } = v
    const matrix = shape.length > 1 && v.init === undefined
    const init = matrix
      ? fanInUniform(sizeOf(shape) / Math.max(1, shape[0] as number))
      : { kind: 'constant' as const, value: v.init ?? 0 }
    return v.role === 'parameter'
      ? this.scope.parameter(v.name, shape, init)
      : this.scope.statistic(v.name, shape, init)
  }

  private variableName(value: string): string | undefined {
    const v = this.graph.variables.get(value)
    return v === undefined ? undefined : this.scope.join(v.name)
  }

  private shapeOf(value: string): Shape {
    const here = this.values.get(value)
    if (here !== undefined) return here.shape
    if (!this.graph.carriesData(value)) return this.get(value).shape
    return this.graph.shapesAt(this.batch).get(value) as Shape
  }

  /** Shapes at the graph's own batch, where it has one literally and ours is another. */
  private literal(node: NodeRecord): LiteralShapes | undefined {
    const { batch } = this.graph.options
    if (batch === undefined || batch === this.batch) return undefined
    const shapes = this.graph.shapesAt(batch)
    const [input, output] = [shapes.get(node.in[0] ?? ''), shapes.get(node.out[0] ?? '')]
    return input === undefined || output === undefined ? undefined : { batch, input, output }
  }
}

/** More numbers than this are left to the graph. */
const mostFolded = 4096

/** A value made of constants as a constant, so that shape arithmetic leaves nothing behind but its result. */
function folded(t: Tensor): Tensor {
  if (t.op.name === 'constant' || t.size > mostFolded) return t
  return ops.constant(Array.from(evaluateReference([t])[0]?.data ?? []), t.shape, t.dtype)
}

/**
 * Values after which nothing else carries data, with the position in `dataNodes` behind them; the batch leads in each. The output is the last.
 */
export function cuts(graph: ForeignGraph): { readonly end: number; readonly value: string }[] {
  const { dataNodes, options } = graph
  const lastRead = new Map<string, number>([[options.output, dataNodes.length]])
  dataNodes.forEach((node, i) => {
    for (const v of node.in) if (graph.carriesData(v)) lastRead.set(v, Math.max(i, lastRead.get(v) ?? 0))
  })
  const [two, three] = [graph.shapesAt(2), graph.shapesAt(3)]
  const leads = (v: string): boolean =>
    two.get(v)?.[0] === 2 &&
    three.get(v)?.[0] === 3 &&
    sameShape(two.get(v)?.slice(1) ?? [], three.get(v)?.slice(1) ?? [])
  const live = new Set([options.input])
  const found: { end: number; value: string }[] = []
  dataNodes.forEach((node, i) => {
    for (const o of node.out) if ((lastRead.get(o) ?? -1) > i) live.add(o)
    for (const v of [...live]) if ((lastRead.get(v) ?? -1) <= i) live.delete(v)
    const [value] = live
    if (live.size === 1 && value !== undefined && node.out.includes(value) && leads(value))
      found.push({ end: i + 1, value })
  })
  return found.at(-1)?.value === options.output ? found : [...found, { end: dataNodes.length, value: options.output }]
}
