/**
 * Runs the case table through the float64 references: shapes and dtypes, decompositions, first and second derivatives against central
 * differences, and forward mode. Native code and ONNX Runtime are compared elsewhere from the same table.
 */
import { describe, expect, it } from 'vitest'
import { grad, jvp } from '../../lib/autodiff/index.ts'
import { sizeOf } from '../../lib/graph/shape.ts'
import { type Tensor, topologicalOrder } from '../../lib/graph/tensor.ts'
import { allOps, definitionOf, rebuild } from '../../lib/ops/define.ts'
import { evaluateReference, type RefArray } from '../../lib/ops/evaluate.ts'
import * as ops from '../../lib/ops/index.ts'
import { buildCase, cases, generator, type OpCase } from './cases.ts'

/** Weights that make a scalar of a tensor, without symmetry that could hide an error. */
function weights(shape: readonly number[], seed: number): RefArray {
  const next = generator(seed)
  return { shape, data: Float64Array.from({ length: sizeOf(shape) }, () => 0.5 + next()) }
}

const evaluate = (t: Tensor, feeds: ReadonlyMap<Tensor, RefArray>): RefArray =>
  evaluateReference([t], feeds)[0] as RefArray

/** Central difference of the scalar y in direction v of input x. */
function difference(y: Tensor, feeds: ReadonlyMap<Tensor, RefArray>, x: Tensor, v: RefArray, h: number): number {
  const at = (step: number) => {
    const base = feeds.get(x) as RefArray
    const data = base.data.map((value, i) => value + step * (v.data[i] as number))
    return evaluate(y, new Map(feeds).set(x, { shape: base.shape, data })).data[0] as number
  }
  return (8 * (at(h) - at(-h)) - (at(2 * h) - at(-2 * h))) / (12 * h)
}

const dot = (a: RefArray, b: RefArray) => a.data.reduce((s, value, i) => s + value * (b.data[i] as number), 0)

// The differences are good to 1e-9; scalars in the rules (1/n, eps) are rounded to float32.
function expectNear(got: number, want: number): void {
  expect(Math.abs(got - want) / Math.max(1, Math.abs(want)), `${got} instead of ${want}`).toBeLessThan(2e-6)
}

/** Σ weights·output as a graph, and its feeds. */
function scalarOf(c: OpCase): { y: Tensor; inputs: Tensor[]; feeds: Map<Tensor, RefArray> } {
  const { inputs, output, feeds } = buildCase(c)
  const w = ops.input('weights', output.shape)
  feeds.set(w, weights(output.shape, 77))
  return { y: ops.sum(ops.mul(output, w)), inputs, feeds }
}

/** Replaces composites by their decompositions, recursively. */
function decomposed(output: Tensor): Tensor {
  const done = new Map<Tensor, Tensor>()
  for (const t of topologicalOrder([output])) {
    const inputs = t.inputs.map((i) => done.get(i) as Tensor)
    const plain = definitionOf(t).decompose?.(inputs, t.attrs)
    done.set(t, plain === undefined ? rebuild(t, inputs) : decomposed(plain))
  }
  return done.get(output) as Tensor
}

describe('the table', () => {
  it('covers every op, under unique names', () => {
    const inGraphs = new Set(cases.map((c) => c.op))
    const missing = allOps().filter((d) => d.kind !== 'source' && !inGraphs.has(d.name))
    expect(missing.map((d) => d.name)).toEqual([])
    expect(cases.map((c) => c.name).filter((n, i, all) => all.indexOf(n) !== i)).toEqual([])
    const known = new Set(allOps().map((d) => d.name))
    expect(cases.filter((c) => !known.has(c.op)).map((c) => c.name)).toEqual([])
  })

  it.each(cases.map((c) => [c.name, c] as const))('%s: contains its op', (_, c) => {
    const names = topologicalOrder([buildCase(c).output]).map((t) => t.op.name)
    if (!c.name.startsWith('sum of a scalar')) expect(names).toContain(c.op)
  })
})

describe('shapes and dtypes', () => {
  it.each(cases.map((c) => [c.name, c] as const))('%s', (_, c) => {
    const { output, feeds } = buildCase(c)
    const value = evaluate(output, feeds)
    expect(value.shape).toEqual(output.shape)
    expect(value.data.length).toBe(sizeOf(output.shape))
    if (output.dtype !== 'float32') for (const v of value.data) expect(Number.isInteger(v)).toBe(true)
    if (output.dtype === 'bool') for (const v of value.data) expect(v === 0 || v === 1).toBe(true)
  })
})

describe('decompositions equal their references', () => {
  const composite = cases.filter((c) => definitionOf(buildCase(c).output).decompose !== undefined)
  it.each(composite.map((c) => [c.name, c] as const))('%s', (_, c) => {
    const { output, feeds } = buildCase(c)
    const [want, got] = evaluateReference([output, decomposed(output)], feeds) as [RefArray, RefArray]
    expect(got.shape).toEqual(want.shape)
    got.data.forEach((g, i) => {
      const w = want.data[i] as number
      // Constants of decompositions are rounded to float32, references are not.
      if (!Object.is(g, w) && g !== w)
        expect(Math.abs(g - w) / Math.max(1, Math.abs(w)), `${g} for ${w}`).toBeLessThan(1e-6)
    })
  })
})

const smooth = cases.filter((c) => (c.differentiable?.length ?? 0) > 0)
const differentiated = smooth.flatMap((c) =>
  (c.differentiable ?? []).map((i) => [`${c.name}, input ${i}`, c, i] as const),
)

describe('first derivatives agree with differences', () => {
  it.each(differentiated)('%s', (_, c, i) => {
    const { y, inputs, feeds } = scalarOf(c)
    const x = inputs[i] as Tensor
    const [g] = grad(y, [x]) as [Tensor]
    const v = weights(x.shape, 11)
    expectNear(dot(evaluate(g, feeds), v), difference(y, feeds, x, v, 1e-3))
  })
})

describe('second derivatives agree with differences of the first', () => {
  it.each(differentiated)('%s', (_, c, i) => {
    const { y, inputs, feeds } = scalarOf(c)
    const x = inputs[i] as Tensor
    const [g] = grad(y, [x]) as [Tensor]
    const v = ops.input('v', x.shape)
    const all = new Map(feeds).set(v, weights(x.shape, 12))
    const directional = ops.sum(ops.mul(g, v))
    for (const j of c.differentiable ?? []) {
      const other = inputs[j] as Tensor
      const [gg] = grad(directional, [other]) as [Tensor]
      const u = weights(other.shape, 13)
      expectNear(dot(evaluate(gg, all), u), difference(directional, all, other, u, 1e-3))
    }
  })
})

describe('forward mode agrees with differences', () => {
  it.each(smooth.map((c) => [c.name, c] as const))('%s', (_, c) => {
    const { inputs, output, feeds } = buildCase(c)
    const wrt = (c.differentiable ?? []).map((i) => inputs[i] as Tensor)
    const tangents = wrt.map((x, k) => ops.input(`t${k}`, x.shape))
    tangents.forEach((t, k) => {
      feeds.set(t, weights(t.shape, 20 + k))
    })
    const [forward] = jvp([output], wrt, tangents) as [Tensor]
    expect(forward.shape).toEqual(output.shape)
    const w = weights(output.shape, 77)
    const weighted = ops.input('weights', output.shape)
    const all = new Map(feeds).set(weighted, w)
    const y = ops.sum(ops.mul(output, weighted))
    const want = wrt.reduce(
      (s, x, k) => s + difference(y, all, x, feeds.get(tangents[k] as Tensor) as RefArray, 1e-3),
      0,
    )
    expectNear(dot(evaluate(forward, feeds), w), want)
  })
})
