/**
 * Graphs rewritten before they are differentiated. A derivative of a graph that holds a subgraph twice (as derivatives of derivatives do)
 * runs back through both, and then it is too late for the plan to see that they were one.
 */
import { type Tensor, topologicalOrder } from '../graph/tensor.ts'
import { rebuild } from '../ops/define.ts'
import { input } from '../ops/source.ts'
import { GraphBuilder } from '../plan/builder.ts'
import { contentKey } from '../plan/constants.ts'

/** Elements of a constant up to which its key is exact. */
const shortConstant = 16

/**
 * The same values as `outputs` by a smaller graph: equal nodes among those that depend on `sources` are one, and simplified. What does not
 * depend on them (parameters, and whatever those are computed from) stays the very tensors it is, so derivatives by those are the same.
 * Derivatives by a tensor between `sources` and `outputs` are not.
 */
export function compact(outputs: readonly Tensor[], sources: readonly Tensor[]): Tensor[] {
  const moving = dependents(outputs, sources)
  const stands = new Map<Tensor, Tensor>()
  const images = new Map<Tensor, Tensor>()
  const places = new Map<number, Tensor>()
  const numbers = valueNumbers(outputs, moving)
  const hold = (t: Tensor, number: number) => {
    const place = places.get(number) ?? input(t.label ?? t.op.name, t.shape, t.dtype)
    if (!places.has(number)) stands.set(place, t)
    places.set(number, place)
    images.set(t, place)
  }
  for (const [t, number] of numbers) if (t.op.name !== 'constant') hold(t, number)
  sources.forEach((t, i) => {
    hold(t, -1 - i)
  })
  return substitute(new GraphBuilder({ differentiable: true, images }).rewrite(outputs), stands)
}

/** `outputs` over other tensors in place of those that `images` names. */
export function substitute(outputs: readonly Tensor[], images: ReadonlyMap<Tensor, Tensor>): Tensor[] {
  const made = new Map(images)
  for (const t of topologicalOrder(outputs)) {
    if (made.has(t) || !t.inputs.some((i) => made.has(i))) continue
    made.set(
      t,
      rebuild(
        t,
        t.inputs.map((i) => made.get(i) ?? i),
      ),
    )
  }
  return outputs.map((t) => made.get(t) ?? t)
}

/** Tensors under `outputs` that depend on one of `sources`, these included. */
export function dependents(outputs: readonly Tensor[], sources: readonly Tensor[]): Set<Tensor> {
  const found = new Set(sources)
  for (const t of topologicalOrder(outputs)) if (t.inputs.some((i) => found.has(i))) found.add(t)
  return found
}

/** What `moving` tensors read and is none of them, numbered alike where made alike. */
function valueNumbers(outputs: readonly Tensor[], moving: ReadonlySet<Tensor>): Map<Tensor, number> {
  const numbers = new Map<Tensor, number>()
  const known = new Map<string, number>()
  const read = new Map<Tensor, number>()
  for (const t of topologicalOrder(outputs)) {
    if (moving.has(t)) {
      for (const i of t.inputs) if (!moving.has(i)) read.set(i, numbers.get(i) as number)
      continue
    }
    const key = `${t.op.name}|${t.inputs.map((i) => numbers.get(i))}|${sourceKey(t) ?? JSON.stringify(t.attrs)}`
    const number = known.get(key) ?? numbers.size
    known.set(key, number)
    numbers.set(t, number)
  }
  return read
}

/** What tells an input or a constant from others; undefined for what is computed. Long constants are told apart by where they are made. */
function sourceKey(t: Tensor): string | undefined {
  if (t.op.name === 'constant' && t.size <= shortConstant) return contentKey(t)
  return t.inputs.length === 0 && t.op.name !== 'iota' ? `#${t.id}` : undefined
}
