/**
 * A model traced for a batch size, and several traces read as one graph. What a trace holds is plain: named tensors, parameters, maybe a loop
 * over a body. Writing it down is exporter.ts's part.
 */
import { internalError, LangevinError } from '../graph/errors.ts'
import type { HostTensor } from '../graph/host-tensor.ts'
import type { Tensor } from '../graph/tensor.ts'
import type { OnnxAttr } from '../ops/define.ts'
import { alignTraces, type Place, TraceMismatch } from './align.ts'
import type { Dimension, ElementType } from './format.ts'

/** A tensor under the name it has in the model. */
export interface NamedTensor {
  readonly name: string
  readonly tensor: Tensor
}

/** An input that no tensor stands for (int64 scalars, noise of as many steps as there will be); bound tensors read it. */
export interface PlainInput {
  readonly name: string
  readonly dtype: ElementType
  /** A number, `batch`, or a name of its own. */
  readonly dims: readonly Dimension[]
}

/** What the value of a bound tensor is made with. */
export interface BoundContext {
  /** Adds a node with one output. */
  node(opType: string, inputs: readonly string[], attributes?: Readonly<Record<string, OnnxAttr>>): string
  /** An int64 initializer. */
  ints(data: readonly number[], shape?: readonly number[]): string
  /** int64 []: how many iterations were done before this one; '' outside of the loop. */
  readonly iteration: string
}

/** Makes the value of a tensor that no op computes; returns its name. */
export type Bound = (context: BoundContext) => string

/** A value that goes from iteration to iteration. */
export interface Carried {
  readonly name: string
  /** Before the first iteration. */
  readonly first: Tensor
  /** At the beginning of an iteration: a tensor of op `input`. The very same as `next` where nothing changes it. */
  readonly body: Tensor
  /** At the end of it. */
  readonly next: Tensor
  /** After the last one: a tensor of op `input` that the trace's outputs read. */
  readonly last: Tensor
}

/** An ONNX Loop. Its body reads everything around it; what does not depend on the iteration is computed once. */
export interface LoopTrace {
  readonly carried: readonly Carried[]
  /** One value of each iteration, stacked to an output [iterations, ...]; `iterations` names that axis. */
  readonly scanned: readonly NamedTensor[]
  readonly iterations: string
  /** Name of the int64 [] input that counts the iterations; without one the condition alone ends them. */
  readonly trips?: string
  /** bool []: whether there is a first iteration, and after each one whether there is another. */
  readonly while?: { readonly first: Tensor; readonly next: Tensor }
  /** Bound tensors of the body. */
  readonly bound: ReadonlyMap<Tensor, Bound>
}

/** A model traced for one batch size. */
export interface Trace {
  /** Graph inputs (tensors of op `input`), in the order the model declares them. An axis equal to the batch becomes dynamic. */
  readonly inputs: readonly NamedTensor[]
  readonly outputs: readonly NamedTensor[]
  /** Inputs whose values are written into the model, under PyTorch's names. Those that no output needs are left out. */
  readonly parameters: ReadonlyMap<Tensor, { readonly name: string; readonly data: HostTensor }>
  /** Inputs after these. */
  readonly plain?: readonly PlainInput[]
  readonly bound?: ReadonlyMap<Tensor, Bound>
  readonly loop?: LoopTrace
}

/** The traces of several batch sizes as one graph. */
export interface Traced {
  readonly traces: readonly Trace[]
  readonly batches: readonly number[]
  /** Inputs before users. */
  readonly places: readonly Place[]
  placeOf(tensors: readonly Tensor[]): Place
  /** The carried values that outputs depend on, by position in the trace's list. */
  readonly carried: readonly number[]
}

/** Batch sizes of the traces: primes that seldom equal a dimension of the model, and others if they do. */
const batchSizes: readonly (readonly number[])[] = [
  [11, 13, 17],
  [19, 23, 29],
]

/** Traces at several batch sizes and aligns them; takes other sizes where one of them happened to equal a dimension of the model. */
export function traceAll(build: (batch: number) => Trace): Traced {
  let problem: unknown
  for (const batches of batchSizes) {
    const traces = batches.map((b) => build(b))
    try {
      checkTraces(traces)
      return align(traces, batches)
    } catch (error) {
      if (!(error instanceof TraceMismatch)) throw error
      problem ??= error
    }
  }
  throw problem
}

function align(traces: readonly Trace[], batches: readonly number[]): Traced {
  const carried = liveCarried(traces[0] as Trace)
  const roots = traces.map((t) => rootsOf(t, carried))
  const tuples = (roots[0] as Tensor[]).map((_, i) => roots.map((r) => r[i] as Tensor))
  const aliases = new Map(traces.flatMap((t) => unchanged(t).flatMap((c) => aliasesOf(c))))
  const isBound = (t: Tensor): boolean => traces.some((trace) => boundIn(trace, t))
  const { places, outputs } = alignTraces(tuples, { isBound, aliasOf: (t) => aliases.get(t) })
  const known = new Map(tuples.map((t, i) => [t[0] as Tensor, outputs[i] as Place]))
  const placeOf = ([lead]: readonly Tensor[]): Place => {
    const place = known.get(lead as Tensor)
    if (place === undefined) throw internalError(`${String(lead)} is no root of the trace`)
    return place
  }
  return { traces, batches, places, placeOf, carried }
}

function aliasesOf({ body, last, first }: Carried): [Tensor, Tensor][] {
  return [
    [body, first],
    [last, first],
  ]
}

/** Everything that must have a value: outputs, what the loop starts from, and what its body gives. */
function rootsOf(trace: Trace, carried: readonly number[]): Tensor[] {
  const { loop } = trace
  const roots = trace.outputs.map((o) => o.tensor)
  if (loop === undefined) return roots
  for (const i of carried) {
    const { first, next } = loop.carried[i] as Carried
    roots.push(first, next)
  }
  if (loop.while !== undefined) roots.push(loop.while.first, loop.while.next)
  return [...roots, ...loop.scanned.map((s) => s.tensor)]
}

function unchanged({ loop }: Trace): Carried[] {
  return loop?.carried.filter((c) => c.next === c.body) ?? []
}

function boundIn({ bound, loop }: Trace, t: Tensor): boolean {
  return bound?.has(t) === true || loop?.bound.has(t) === true
}

/** Positions of the carried values that change and that outputs depend on, directly or through later iterations. */
function liveCarried(trace: Trace): number[] {
  const { loop } = trace
  if (loop === undefined) return []
  const live = new Set<number>()
  const changing = loop.carried.flatMap((c, i) => (c.next === c.body ? [] : [i]))
  const aliases = new Map(unchanged(trace).flatMap(aliasesOf))
  for (let before = -1; before !== live.size; ) {
    before = live.size
    const seen = reachable(rootsOf(trace, [...live]), (t) => boundIn(trace, t), aliases)
    for (const i of changing) {
      const { body, last } = loop.carried[i] as Carried
      if (seen.has(body) || seen.has(last)) live.add(i)
    }
  }
  return changing.filter((i) => live.has(i))
}

/** Every tensor that the outputs depend on, through all iterations. */
export function liveTensors(trace: Trace): Set<Tensor> {
  const aliases = new Map(unchanged(trace).flatMap(aliasesOf))
  return reachable(rootsOf(trace, liveCarried(trace)), (t) => boundIn(trace, t), aliases)
}

/** All tensors that `roots` depend on, down to those that `stop` names. */
export function reachable(
  roots: readonly Tensor[],
  stop: (t: Tensor) => boolean,
  aliases: ReadonlyMap<Tensor, Tensor> = new Map(),
): Set<Tensor> {
  const seen = new Set<Tensor>()
  const stack = [...roots]
  for (let t = stack.pop(); t !== undefined; t = stack.pop()) {
    if (seen.has(t)) continue
    seen.add(t)
    const alias = aliases.get(t)
    if (!stop(t)) stack.push(...(alias === undefined ? t.inputs : [alias]))
  }
  return seen
}

/** Inputs and outputs must be the same list in every trace. */
function checkTraces(traces: readonly Trace[]): void {
  const [lead] = traces as [Trace]
  if (lead.outputs.length === 0 && lead.loop === undefined)
    throw new LangevinError('E_ONNX', '[onnx] the model has no outputs; name at least one')
  for (const trace of traces) {
    for (const key of ['inputs', 'outputs'] as const) {
      const names = (t: Trace): string =>
        t[key].map((x) => `${x.name}: ${x.tensor.dtype} rank ${x.tensor.rank}`).join(', ')
      if (names(trace) !== names(lead)) {
        throw new TraceMismatch(`the ${key} differ between batch sizes: (${names(lead)}) and (${names(trace)})`)
      }
    }
    for (const { name, tensor } of trace.inputs) {
      if (tensor.op.name !== 'input') {
        throw new LangevinError(
          'E_ONNX',
          `[onnx] input '${name}' is the result of ${tensor.op.name}; pass a tensor made by input()`,
        )
      }
      if (trace.parameters.has(tensor))
        throw new LangevinError('E_ONNX', `[onnx] '${name}' is both an input and a parameter; choose one`)
    }
  }
}
