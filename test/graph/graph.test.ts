/** The graph itself: identity and order of tensors, the printer, shape arithmetic, and the float64 interpreter's errors. */
import { describe, expect, it } from 'vitest'
import { LangevinError, nearest } from '../../lib/graph/errors.ts'
import { hostTensor } from '../../lib/graph/host-tensor.ts'
import { printGraph } from '../../lib/graph/printer.ts'
import { broadcastShapes, normalizeAxes, reducedShape } from '../../lib/graph/shape.ts'
import { type Tensor, topologicalOrder } from '../../lib/graph/tensor.ts'
import { rebuild } from '../../lib/ops/define.ts'
import { evaluateReference, type RefArray } from '../../lib/ops/evaluate.ts'
import * as ops from '../../lib/ops/index.ts'

describe('graphs', () => {
  const x = ops.input('x', [2, 3])
  const y = ops.sum(ops.mul(ops.exp(x), 2), -1).named('total')

  it('print the same whenever they are built', () => {
    const text = [
      '%0 = input() {name:"x", shape:[2,3], dtype:"float32"} : float32[2,3] # x',
      '%1 = exp(%0) : float32[2,3]',
      '%2 = constant() {shape:[], dtype:"float32"} : float32[]',
      '%3 = mul(%1, %2) : float32[2,3]',
      '%4 = sum(%3) {axes:[1], keepDims:false} : float32[2] # total',
      'return %4',
    ]
    expect(printGraph([y])).toBe(text.join('\n'))
  })

  it('order inputs before users, each once', () => {
    const order = topologicalOrder([y, x])
    for (const t of order) for (const i of t.inputs) expect(order.indexOf(i)).toBeLessThan(order.indexOf(t))
    expect(new Set(order).size).toBe(order.length)
  })

  it('rebuild over other inputs', () => {
    const other = ops.input('other', [5, 3])
    const again = rebuild(ops.exp(x).named('e'), [other])
    expect([again.op.name, again.shape, again.label]).toEqual(['exp', [5, 3], 'e'])
  })
})

describe('shapes', () => {
  it('broadcast from the right', () => {
    expect(broadcastShapes('test', [2, 1, 3], [4, 1], [])).toEqual([2, 4, 3])
    expect(broadcastShapes('test', [0, 1], [1, 5])).toEqual([0, 5])
    expect(() => broadcastShapes('test', [2, 3], [2])).toThrow(/\[2,3\] and \[2\].*axis -1/)
  })

  it('reduce', () => {
    expect(normalizeAxes('test', [-1, 0], 3)).toEqual([0, 2])
    expect(reducedShape([2, 3, 4], [0, 2], true)).toEqual([1, 3, 1])
    expect(reducedShape([2, 3, 4], [0, 2], false)).toEqual([3])
  })
})

describe('the interpreter', () => {
  const x = ops.input('x', [2])
  const feed = (data: number[]): RefArray => ({ shape: [data.length], data: Float64Array.from(data) })

  it('evaluates several outputs, and takes feeds for any tensor', () => {
    const h = ops.exp(x)
    const [a, b] = evaluateReference([ops.add(h, 1), h], new Map([[h, feed([5, 6])]])) as [RefArray, RefArray]
    expect([[...a.data], [...b.data]]).toEqual([
      [6, 7],
      [5, 6],
    ])
  })

  it('names what is missing or does not fit', () => {
    const code = (feeds: Map<Tensor, RefArray>) => {
      try {
        evaluateReference([ops.exp(x)], feeds)
      } catch (error) {
        return error instanceof LangevinError ? `${error.code}: ${error.message}` : error
      }
      return undefined
    }
    expect(code(new Map())).toMatch(/E_GRAPH: no feed for .*x/)
    expect(code(new Map([[x, feed([1, 2, 3])]]))).toMatch(/E_SHAPE: .*\[3\]/)
  })
})

describe('host tensors and names', () => {
  it('check their size', () => {
    expect(hostTensor(new Float32Array(6), [2, 3]).dtype).toBe('float32')
    expect(hostTensor(new Uint8Array(2), [2], 'bool').dtype).toBe('bool')
    expect(() => hostTensor(new Float32Array(5), [2, 3])).toThrow(/holds 6 elements; data has 5/)
  })

  it('suggest the nearest known one', () => {
    expect(nearest('leakyrelu', ['relu', 'leakyRelu', 'elu'])).toBe('leakyRelu')
    expect(nearest('zzzzzz', ['relu', 'elu'])).toBeUndefined()
  })
})
