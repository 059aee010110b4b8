/**
 * The float64 interpreter: evaluates a graph by the reference of each op. It is the oracle of the tests; it is not fast.
 */

import { LangevinError } from '../graph/errors.ts'
import { sameShape, showShape } from '../graph/shape.ts'
import type { Tensor } from '../graph/tensor.ts'
import { definitionOf, type RefArray } from './define.ts'

export type { RefArray } from './define.ts'

/**
 * Values of `outputs`, given those of the `input` tensors. A feed may also be given for any other tensor and then replaces its computation.
 * @throws LangevinError E_GRAPH for an input without a feed, E_SHAPE for a feed of another shape
 */
export function evaluateReference(
  outputs: readonly Tensor[],
  feeds: ReadonlyMap<Tensor, RefArray> = new Map(),
): RefArray[] {
  const values = new Map<Tensor, RefArray>()
  for (const t of needed(outputs, feeds)) values.set(t, evaluate(t, feeds, values))
  return outputs.map((o) => values.get(o) as RefArray)
}

/** What must be computed, inputs before users: nothing below a tensor that is fed. */
function needed(outputs: readonly Tensor[], feeds: ReadonlyMap<Tensor, RefArray>): Tensor[] {
  const seen = new Set<Tensor>()
  const stack = [...outputs]
  while (stack.length > 0) {
    const t = stack.pop() as Tensor
    if (seen.has(t)) continue
    seen.add(t)
    if (!feeds.has(t)) stack.push(...t.inputs)
  }
  return [...seen].sort((a, b) => a.id - b.id)
}

function evaluate(t: Tensor, feeds: ReadonlyMap<Tensor, RefArray>, values: ReadonlyMap<Tensor, RefArray>): RefArray {
  const feed = feeds.get(t)
  if (feed !== undefined) {
    if (!sameShape(feed.shape, t.shape)) {
      throw new LangevinError('E_SHAPE', `feed of ${t} has shape ${showShape(feed.shape)}`, { shape: feed.shape })
    }
    return feed
  }
  if (t.data !== undefined) return { shape: t.shape, data: Float64Array.from(t.data) }
  if (t.op.name === 'input') throw new LangevinError('E_GRAPH', `no feed for ${t}: give its value in \`feeds\``)
  const inputs = t.inputs.map((i) => values.get(i) as RefArray)
  return definitionOf(t).reference(inputs, t.attrs, t)
}
