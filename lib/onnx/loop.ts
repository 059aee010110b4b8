/**
 * Writes the Loop of a trace: its body as a graph of its own, with the iteration, the condition and what is carried. Which ops stand in the body
 * follows from what depends on the iteration; all else is in the graph around it. The steps of samplers are sampler-trace.ts's part.
 */
import type { Tensor } from '../graph/tensor.ts'
import type { Place } from './align.ts'
import type { ValueType } from './format.ts'
import type { Bound, Carried, LoopTrace, Trace, Traced } from './trace.ts'
import type { GraphOutput, GraphWriter } from './writer.ts'

/** Where an op stands: before or around the loop, in its body, or after it (which may read both). */
export type Region = 'outer' | 'body' | 'after'

/** What the exporter does for a region: writes its places, and says what they are called. */
export interface LoopContext {
  readonly traced: Traced
  readonly writer: GraphWriter
  readonly values: Map<Place, string>
  typeOf(tensors: readonly Tensor[], node: string): ValueType
  /** Emits the places of a region into a writer. */
  write(region: Region, writer: GraphWriter): void
}

/** The region of each place: the body is what depends on the iteration. */
export function regionsOf({ traces, places }: Traced): ReadonlyMap<Place, Region> {
  const loop = (traces[0] as Trace).loop
  const begins = new Map<Tensor, Region>()
  for (const c of loop?.carried ?? []) {
    if (c.next === c.body) continue
    begins.set(c.body, 'body')
    begins.set(c.last, 'after')
  }
  for (const t of loop?.bound.keys() ?? []) begins.set(t, 'body')
  const regions = new Map<Place, Region>()
  for (const place of places) {
    const below = place.inputs.map((p) => regions.get(p))
    const inherited = below.includes('body') ? 'body' : below.includes('after') ? 'after' : 'outer'
    regions.set(place, begins.get(place.tensors[0] as Tensor) ?? inherited)
  }
  return regions
}

/** Writes the Loop and gives the places after it their names. Returns the outputs that it stacks. */
export function emitLoop(context: LoopContext): readonly GraphOutput[] {
  const { traced, writer, values } = context
  const { traces, placeOf, carried } = traced
  const loop = (traces[0] as Trace).loop as LoopTrace
  const all = (pick: (l: LoopTrace) => Tensor): Tensor[] => traces.map((t) => pick(t.loop as LoopTrace))
  const of = (i: number, part: 'first' | 'body' | 'next' | 'last') => all((l) => (l.carried[i] as Carried)[part])
  const named = (tensors: readonly Tensor[]): string => values.get(placeOf(tensors)) as string
  const bool: ValueType = { dtype: 'bool', dims: [] }
  const body = writer.child()
  const given = (base: string, type: ValueType): string => {
    const name = body.unique(base)
    body.input(name, type)
    return name
  }
  const iteration = given('iteration', { dtype: 'int64', dims: [] })
  const going = given('going', bool)
  const types = carried.map((i) => context.typeOf(of(i, 'body'), (loop.carried[i] as Carried).name))
  const leaves = new Map(traced.places.map((p) => [p.tensors[0] as Tensor, p]))
  carried.forEach((i, at) => {
    const c = loop.carried[i] as Carried
    const name = given(c.name, types[at] as ValueType)
    const place = leaves.get(c.body)
    if (place !== undefined) values.set(place, name)
  })
  bindAll(loop.bound, leaves, values, body, iteration)
  context.write('body', body)
  const output = (base: string, value: string, type: ValueType): GraphOutput => ({
    name: body.unique(base),
    value,
    type,
  })
  const outputs = [
    output('going_on', loop.while === undefined ? going : named(all((l) => l.while?.next as Tensor)), bool),
    ...carried.map((i, at) => {
      const { name } = loop.carried[i] as Carried
      return output(`${name}_next`, named(of(i, 'next')), types[at] as ValueType)
    }),
    ...loop.scanned.map((s, at) => {
      const tensors = all((l) => l.scanned[at]?.tensor as Tensor)
      return output(`${s.name}_step`, named(tensors), context.typeOf(tensors, s.name))
    }),
  ]
  const first = loop.while === undefined ? '' : named(all((l) => l.while?.first as Tensor))
  const begin = carried.map((i) => named(of(i, 'first')))
  const finals = [
    ...carried.map((i) => `${(loop.carried[i] as Carried).name}_last`),
    ...loop.scanned.map((s) => `${s.name}_all`),
  ]
  const results = writer.loop(
    [loop.trips ?? '', first, ...begin],
    { writer: body, name: 'step', outputs },
    finals,
    'steps',
  )
  carried.forEach((i, at) => {
    const place = leaves.get((loop.carried[i] as Carried).last)
    if (place !== undefined) values.set(place, results[at] as string)
  })
  return loop.scanned.map((s, at) => {
    const { type } = outputs[1 + carried.length + at] as GraphOutput
    const dims = [loop.iterations, ...type.dims]
    return { name: s.name, value: results[carried.length + at] as string, type: { dtype: type.dtype, dims } }
  })
}

/** Gives the bound tensors that the graph reads their values. */
export function bindAll(
  bound: ReadonlyMap<Tensor, Bound>,
  leaves: ReadonlyMap<Tensor, Place>,
  values: Map<Place, string>,
  writer: GraphWriter,
  iteration = '',
): void {
  for (const [tensor, make] of bound) {
    const place = leaves.get(tensor)
    if (place === undefined) continue
    const scope = tensor.label === undefined ? '' : `${tensor.label}/`
    const node = (opType: string, inputs: readonly string[], attributes = {}): string =>
      writer.node(opType, inputs, attributes, 1, scope + opType)[0] as string
    values.set(place, make({ node, ints: (data, shape) => writer.ints(data, shape), iteration }))
  }
}
