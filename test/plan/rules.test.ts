/** Each rule of the graph passes, on the smallest graph that shows it: what remains, and that the values stay. */
import { describe, expect, test } from 'vitest'
import { printGraph } from '../../lib/graph/printer.ts'
import type { Tensor } from '../../lib/graph/tensor.ts'
import * as ops from '../../lib/ops/index.ts'
import { simplifyGraph } from '../../lib/plan/index.ts'
import { expectPlanEqualsGraph } from './check.ts'

const x = ops.input('x', [3, 4])
const y = ops.input('y', [3, 4])
const image = ops.input('image', [2, 3, 4, 4])
const column = ops.input('column', [3, 1])
const tall = ops.input('tall', [1, 3])
const wide = ops.input('wide', [4, 1])
const vector = ops.input('vector', [6])

/** Names of the ops that remain, sources left out. */
function remaining(t: Tensor): string[] {
  const lines = printGraph(simplifyGraph([t])).split('\n')
  return lines.map((l) => / = (\w+)\(/.exec(l)?.[1] ?? '').filter((n) => n !== '' && n !== 'input' && n !== 'constant')
}

const cases: [string, Tensor, string[]][] = [
  ['x + 0', ops.add(x, 0), []],
  ['0 + x', ops.add(0, x), []],
  ['x + zeros broadcast', ops.add(x, ops.zeros([3, 4])), []],
  ['x + stored zeros', ops.add(x, ops.constant(new Float32Array(12), [3, 4])), []],
  ['x - 0', ops.sub(x, 0), []],
  ['0 - x', ops.sub(0, x), ['neg']],
  ['x * 1', ops.mul(x, 1), []],
  ['x * -1', ops.mul(x, -1), ['neg']],
  ['x / 1', ops.div(x, 1), []],
  ['x / 8 is exact as a product', ops.div(x, 8), ['mul']],
  ['x / 3 is not', ops.div(x, 3), ['div']],
  ['x * 0 keeps NaN', ops.mul(x, 0), ['mul']],
  ['x - x keeps NaN', ops.sub(x, x), ['sub']],
  ['neg neg', ops.neg(ops.neg(x)), []],
  ['constants of products meet', ops.mul(ops.mul(x, 2), 0.5), []],
  ['neg joins a constant', ops.neg(ops.mul(x, 2)), ['mul']],
  ['x + neg y', ops.add(x, ops.neg(y)), ['sub']],
  ['x - neg y', ops.sub(x, ops.neg(y)), ['add']],
  ['neg of a difference', ops.neg(ops.sub(x, y)), ['sub']],
  ['select of equals', ops.select(ops.gt(x, 0), y, y), []],
  ['equal nodes', ops.mul(ops.sin(x), ops.sin(x)), ['sin', 'mul']],
  ['equal up to operand order', ops.sub(ops.add(x, y), ops.mul(ops.add(y, x), y)), ['add', 'mul', 'sub']],
  [
    'equal constants',
    ops.sub(ops.add(x, ops.constant([1, 2, 3, 4], [4])), ops.constant([1, 2, 3, 4], [4])),
    ['add', 'sub'],
  ],
  ['constants fold', ops.add(x, ops.exp(ops.mul(ops.constant([1, 2, 3, 4], [4]), 2))), ['add']],
  ['reshape of reshape', ops.reshape(ops.stopGradient(ops.reshape(x, [12])), [2, 6]), ['reshape']],
  ['reshape and back', ops.reshape(ops.stopGradient(ops.reshape(x, [12])), [3, 4]), []],
  ['transposes compose', ops.transpose(ops.stopGradient(ops.transpose(image, [0, 2, 3, 1])), [0, 3, 1, 2]), []],
  ['transpose of a column', ops.transpose(column), ['reshape']],
  ['matmul reads transposes', ops.matmul(ops.transpose(x), ops.transpose(ops.input('w', [5, 3]))), ['matmul']],
  ['inner dimension 1', ops.matmul(column, ops.input('row', [1, 4])), ['mul']],
  ['ones times a matrix', ops.matmul(ops.ones([2, 3]), x), ['sum', 'broadcast']],
  ['ones times a transposed matrix', ops.matmul(ops.ones([3, 4]), x, { transposeB: true }), ['sum', 'broadcast']],
  ['a matrix times twos', ops.matmul(x, ops.full([4, 2], 2)), ['sum', 'mul', 'reshape', 'broadcast']],
  [
    'a transposed matrix times twos',
    ops.matmul(x, ops.full([3, 2], 2), { transposeA: true }),
    ['sum', 'mul', 'reshape', 'broadcast'],
  ],
  ['sum over ones', ops.sum(column, 1), ['reshape']],
  ['sum of sum', ops.sum(ops.sum(image, [2, 3]), 0), ['sum']],
  ['max of max', ops.max(ops.max(image, 3, { keepDims: true }), [1]), ['max', 'reshape']],
  ['sum after flatten', ops.sum(ops.flatten(ops.square(image)), 1), ['square', 'sum']],
  ['sum of a broadcast', ops.sum(ops.broadcast(column, [3, 4]), 1), ['reshape', 'mul']],
  ['a constant factor leaves a sum', ops.sum(ops.mul(x, 0.5), 1), ['sum', 'mul']],
  ['a row is broadcast as it is', ops.broadcast(ops.reshape(ops.sum(x, 0), [1, 4]), [3, 4]), ['sum', 'broadcast']],
  ['broadcasts are hoisted', ops.exp(ops.broadcast(column, [3, 4])), ['exp', 'broadcast']],
  ['stop_gradient', ops.stopGradient(x), []],
  ['a computed matrix times a column is a product', ops.matmul(ops.exp(x), wide), ['exp', 'matmul']],
  ['a row times a computed matrix', ops.matmul(tall, ops.exp(x)), ['exp', 'mul', 'reshape', 'sum', 'reshape']],
  [
    'a column times a transposed matrix',
    ops.matmul(ops.exp(x), tall, { transposeA: true, transposeB: true }),
    ['exp', 'mul', 'reshape', 'sum', 'reshape'],
  ],
  ['a given matrix times a column is a product', ops.matmul(x, wide), ['matmul']],
  [
    'the sum of a part of a vector',
    ops.sum(ops.slice(vector, [2], [5])),
    ['iota', 'ge', 'lt', 'logical_and', 'select', 'sum'],
  ],
  [
    'the sum of a head of a column',
    ops.sum(ops.slice(ops.reshape(vector, [6, 1]), [0, 0], [2, 1])),
    ['iota', 'lt', 'select', 'sum'],
  ],
  [
    'functions of parts are parts',
    ops.sum(ops.softplus(ops.neg(ops.slice(vector, [2], [6])))),
    ['neg', 'softplus', 'iota', 'ge', 'select', 'sum'],
  ],
  ['a part padded back', ops.pad(ops.exp(ops.slice(vector, [2], [6])), { low: [2] }), ['exp', 'iota', 'ge', 'select']],
  ['ones padded are a constant', ops.mul(vector, ops.pad(ops.ones([2]), { low: [1], high: [3] })), ['mul']],
]

describe('simplification', () => {
  test.each(cases)('%s', (_name, graph, names) => {
    expect(remaining(graph).sort()).toEqual([...names].sort())
    const inputs = [x, y, image, column, tall, wide, vector, ...inputsOf(graph)].filter(
      (t, i, all) => all.indexOf(t) === i,
    )
    expectPlanEqualsGraph({ inputs, outputs: [{ tensor: graph }] }, 7)
  })

  test('sums that differ in a constant factor are one', () => {
    const scale = ops.input('scale', [1, 4])
    const both = [ops.sum(ops.mul(ops.mul(x, scale), y), 0), ops.sum(ops.mul(x, y), 0)]
    const text = printGraph(simplifyGraph(both))
    expect(text.match(/ = sum\(/g)).toHaveLength(1)
  })

  test('composites leave plain ops only', () => {
    const t = ops.softmaxCrossEntropy(ops.input('logits', [3, 5]), ops.input('labels', [3], 'int32'))
    expect(remaining(t)).not.toContain('softmax_cross_entropy')
    expect(remaining(t)).not.toContain('logsumexp')
  })

  test('a graph as deep as it is large', () => {
    let t: Tensor = x
    for (let i = 0; i < 5000; i++) t = ops.sin(t)
    expect(remaining(t)).toHaveLength(5000)
  })
})

function inputsOf(t: Tensor): Tensor[] {
  return t.op.name === 'input' ? [t] : t.inputs.flatMap(inputsOf)
}
