/** Compares a plan, run by the interpreter, with the graph it was made of, evaluated op by op by the references. */
import { expect } from 'vitest'
import { sizeOf } from '../../lib/graph/shape.ts'
import type { Tensor } from '../../lib/graph/tensor.ts'
import { evaluateReference, type RefArray } from '../../lib/ops/evaluate.ts'
import { isLoop, type PlanJson } from '../../lib/plan/format.ts'
import { makePlan, type PlanOptions } from '../../lib/plan/index.ts'
import { interpretPlan } from '../../lib/plan/interpret.ts'
import type { TestGraph } from './nets.ts'
import { generator } from './random-graphs.ts'

/** Random feeds: floats in [-2, 2), float scalars (rates, counts) in [0, 1), integers in 0..9, booleans. */
export function feedsFor(inputs: readonly Tensor[], seed: number): RefArray[] {
  const next = generator(seed)
  return inputs.map((t) => {
    const float = t.rank === 0 ? next : () => next() * 4 - 2
    const integer = () => Math.floor(next() * (t.dtype === 'bool' ? 2 : 10))
    const draw = t.dtype === 'float32' ? float : integer
    return { shape: t.shape, data: Float64Array.from({ length: t.size }, draw) }
  })
}

/** Fails unless the plan's results are the graph's. Constants are folded in float32, hence the tolerance. */
export function expectPlanEqualsGraph(
  g: TestGraph,
  seed: number,
  options: PlanOptions = {},
  tolerance = 2e-5,
): PlanJson {
  const feeds = feedsFor(g.inputs, seed)
  const plan = makePlan(g.inputs, g.outputs, options)
  const got = interpretPlan(plan, feeds)
  const want = evaluateReference(
    g.outputs.map((o) => o.tensor),
    new Map(g.inputs.map((t, i) => [t, feeds[i] as RefArray])),
  )
  want.forEach((w, i) => {
    const have = got[i] as RefArray
    expect(have.shape).toEqual(w.shape)
    const scale = Math.max(1, ...w.data.filter(Number.isFinite).map(Math.abs))
    for (let k = 0; k < w.data.length; k++) {
      const [a, b] = [have.data[k] as number, w.data[k] as number]
      const close = Object.is(a, b) || a === b || Math.abs(a - b) <= tolerance * scale
      if (!close) expect.fail(`seed ${seed}: output ${i}[${k}] is ${a}, expected ${b}\n${plan.text}`)
    }
  })
  return JSON.parse(plan.json) as PlanJson
}

/** How many instructions of each op a plan has. */
export function countOps(p: PlanJson): { [op: string]: number } {
  const counts: { [op: string]: number } = {}
  for (const i of p.code) counts[i.op] = (counts[i.op] ?? 0) + 1
  return counts
}

/** Values of at least `size` elements that instructions (not reshapes) write: what goes through memory. */
export function largeValues(p: PlanJson, size: number): number {
  const written = p.code.filter((i) => i.op !== 'reshape').flatMap((i) => i.out)
  return written.filter((id) => sizeOf(p.values[id]?.shape ?? []) >= size).length
}

export function loopsOver(p: PlanJson, size: number): number {
  return p.code.filter((i) => isLoop(i) && sizeOf(i.attr.shape) >= size).length
}
