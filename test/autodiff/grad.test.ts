/** The drivers of lib/autodiff; the rules themselves are tested from the case table in test/ops. */
import { describe, expect, it } from 'vitest'
import { grad, hvp, jvp, vjp } from '../../lib/autodiff/index.ts'
import { type Tensor, topologicalOrder } from '../../lib/graph/tensor.ts'
import { evaluateReference, type RefArray } from '../../lib/ops/evaluate.ts'
import * as ops from '../../lib/ops/index.ts'

const values = (shape: number[], ...data: number[]): RefArray => ({ shape, data: Float64Array.from(data) })
const run = (t: Tensor, feeds: [Tensor, RefArray][]): number[] => {
  const [r] = evaluateReference([t], new Map(feeds))
  return [...(r as RefArray).data]
}

describe('grad', () => {
  it('differentiates the ring energy, with a zero gradient at the origin', () => {
    const x = ops.input('x', [2, 2])
    const e = ops.mul(ops.square(ops.sub(ops.norm(x, -1), 2)), 8)
    const [g] = grad(ops.sum(e), [x])
    // 16 (|x| - 2) x/|x|
    const got = run(g as Tensor, [[x, values([2, 2], 3, 4, 0, 0)]])
    expect(got[0]).toBeCloseTo(16 * 3 * 0.6, 5)
    expect(got[1]).toBeCloseTo(16 * 3 * 0.8, 5)
    expect(got.slice(2)).toEqual([0, 0])
  })

  it('takes intermediate tensors, and sums over all paths', () => {
    const x = ops.input('x', [3])
    const h = ops.mul(x, x)
    const y = ops.sum(ops.add(ops.mul(h, x), h))
    const [dx, dh] = grad(y, [x, h])
    const feed: [Tensor, RefArray][] = [[x, values([3], 1, 2, -3)]]
    expect(run(dx as Tensor, feed)).toEqual([5, 16, 21]) // 3x² + 2x
    expect(run(dh as Tensor, feed)).toEqual([2, 3, -2]) // x + 1
  })

  it('gives zeros for what y does not depend on, and behind stopGradient and piecewise constant ops', () => {
    const x = ops.input('x', [2])
    const z = ops.input('z', [3])
    const y = ops.sum(ops.add(ops.floor(x), ops.stopGradient(x)))
    const [dx, dz] = grad(y, [x, z])
    const feed: [Tensor, RefArray][] = [
      [x, values([2], 0.5, 1.5)],
      [z, values([3], 0, 0, 0)],
    ]
    expect(run(dx as Tensor, feed)).toEqual([0, 0])
    expect(run(dz as Tensor, feed)).toEqual([0, 0, 0])
  })

  it('goes to any order', () => {
    const x = ops.input('x', [])
    let y = ops.pow(x, 5)
    for (let i = 0; i < 4; i++) y = grad(y, [x])[0] as Tensor
    expect(run(y, [[x, values([], 1.5)]])[0]).toBeCloseTo(120 * 1.5, 5)
  })

  it('refuses what it cannot do, with a typed error', () => {
    const x = ops.input('x', [2, 2])
    const i = ops.input('i', [2], 'int32')
    expect(() => grad(x, [x])).toThrow(/must have one element/)
    expect(() => grad(ops.sum(x), [i])).toThrow(/float32 tensors only/)
    expect(() => vjp([x], [], [x])).toThrow(RangeError)
    expect(() => vjp([x], [ops.zeros([3])], [x])).toThrow(/cotangent 0 must have shape \[2,2\]/)
  })
})

describe('jvp and hvp', () => {
  const x = ops.input('x', [2, 3])
  const w = ops.input('w', [3, 2])
  const v = ops.input('v', [2, 3])
  const feeds: [Tensor, RefArray][] = [
    [x, values([2, 3], 0.1, -0.4, 0.7, 1.1, 0.3, -0.9)],
    [w, values([3, 2], 0.5, -0.2, 0.3, 0.8, -0.6, 0.4)],
    [v, values([2, 3], 1, -2, 0.5, 0.25, 3, -1)],
  ]
  const f = (at: Tensor) => ops.logsumexp(ops.tanh(ops.matmul(at, w)), -1)
  const shifted = (h: number) => {
    const moved = values([2, 3], ...run(ops.add(x, ops.mul(v, h)), feeds))
    return feeds.map(([t, a]): [Tensor, RefArray] => (t === x ? [t, moved] : [t, a]))
  }

  it('jvp agrees with a central difference and leaves no dummy cotangent behind', () => {
    const y = f(x)
    const [t] = jvp([y], [x], [v])
    const names = topologicalOrder([t as Tensor]).filter((n) => n.op.name === 'input')
    expect(new Set(names)).toEqual(new Set([x, w, v]))
    const h = 2 ** -16
    const [up, down] = [run(y, shifted(h)), run(y, shifted(-h))]
    run(t as Tensor, feeds).forEach((value, i) => {
      expect(value).toBeCloseTo(((up[i] as number) - (down[i] as number)) / (2 * h), 7)
    })
  })

  it('hvp agrees with a central difference of the gradient', () => {
    const y = ops.sum(f(x))
    const [g] = grad(y, [x])
    const [hv] = hvp(y, [x], [v])
    const h = 2 ** -16
    const [up, down] = [run(g as Tensor, shifted(h)), run(g as Tensor, shifted(-h))]
    run(hv as Tensor, feeds).forEach((value, i) => {
      expect(value).toBeCloseTo(((up[i] as number) - (down[i] as number)) / (2 * h), 7)
    })
  })
})
