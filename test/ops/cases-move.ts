/** Cases of the ops that move elements (shape, indexing) and of matrix products. */
import * as ops from '../../lib/ops/index.ts'
import { bools, floats, integers, ints, type OpCase, opCase } from './case.ts'

const sums = { tolerance: 1e-5, reason: 'float32 sums in another order' }
const one = { differentiable: [0] }

const moving: OpCase[] = [
  opCase(
    'reshape',
    () => [floats([3, 4])],
    (x) => ops.reshape(x, [2, -1]),
    one,
  ),
  opCase(
    'reshape to a scalar',
    () => [floats([1, 1])],
    (x) => ops.reshape(x, []),
    one,
  ),
  opCase(
    'reshape nothing',
    () => [floats([0, 4])],
    (x) => ops.reshape(x, [2, 0, 3]),
  ),
  opCase(
    'stop_gradient',
    () => [floats([3])],
    (x) => ops.mul(ops.stopGradient(x), x),
    { op: 'stop_gradient' },
  ),
  opCase(
    'transpose',
    () => [floats([3, 4])],
    (x) => ops.transpose(x),
    one,
  ),
  opCase(
    'transpose 0,2,3,1',
    () => [floats([2, 3, 4, 5])],
    (x) => ops.transpose(x, [0, 2, 3, 1]),
    one,
  ),
  opCase(
    'transpose 2,0,1 int32',
    () => [integers([2, 3, 4], -9, 9)],
    (x) => ops.transpose(x, [2, 0, 1]),
  ),
  opCase(
    'transpose bool',
    () => [bools([3, 4])],
    (x) => ops.transpose(x),
  ),
  opCase(
    'transpose nothing',
    () => [floats([0, 4])],
    (x) => ops.transpose(x),
  ),
  opCase(
    'slice',
    () => [floats([5, 6])],
    (x) => ops.slice(x, [1, 2], [4, 6]),
    one,
  ),
  opCase(
    'slice with steps',
    () => [floats([5, 7])],
    (x) => ops.slice(x, [0, 1], [5, 7], [2, 3]),
    one,
  ),
  opCase(
    'slice from the end',
    () => [floats([5, 6])],
    (x) => ops.slice(x, [-2, 0], [5, -1]),
    one,
  ),
  opCase(
    'slice to nothing',
    () => [floats([5, 6])],
    (x) => ops.slice(x, [2, 0], [2, 6]),
  ),
  opCase(
    'slice int32',
    () => [integers([9], -9, 9)],
    (x) => ops.slice(x, [1], [9], [4]),
  ),
  opCase(
    'pad',
    () => [floats([2, 3])],
    (x) => ops.pad(x, { low: [1, 0], high: [0, 2], value: -1.5 }),
    one,
  ),
  opCase(
    'pad inside',
    () => [floats([3, 1, 2])],
    (x) => ops.pad(x, { low: [0, 1, 2], high: [1, 0, 0], interior: [2, 3, 1] }),
    one,
  ),
  opCase(
    'pad nothing',
    () => [floats([0, 2])],
    (x) => ops.pad(x, { low: [1, 1], interior: [2, 1] }),
  ),
  opCase(
    'pad int32',
    () => [integers([2, 2], -9, 9)],
    (x) => ops.pad(x, { high: [1, 1], value: 7 }),
  ),
  opCase(
    'concat',
    () => [floats([2, 3], -2, 2, 1), floats([2, 1], -2, 2, 2), floats([2, 2], -2, 2, 3)],
    (...x) => ops.concat(x, -1),
    { differentiable: [0, 1, 2] },
  ),
  opCase(
    'concat on axis 0 with an empty one',
    () => [floats([2, 3]), floats([0, 3]), floats([1, 3])],
    (...x) => ops.concat(x),
  ),
  opCase(
    'concat in the middle',
    () => [integers([2, 1, 3], -9, 9), integers([2, 2, 3], -9, 9, 8)],
    (...x) => ops.concat(x, 1),
  ),
  opCase(
    'stack',
    () => [floats([2, 3], -2, 2, 1), floats([2, 3], -2, 2, 2)],
    (...x) => ops.stack(x, 1),
    { op: 'concat', differentiable: [0, 1] },
  ),
  opCase(
    'gather',
    () => [floats([5, 3]), ints([4, 0, 0])],
    (x, i) => ops.gather(x, i),
    one,
  ),
  opCase(
    'gather on axis 1 by [2,2]',
    () => [floats([2, 5, 3]), ints([4, 0, 1, 1], [2, 2])],
    (x, i) => ops.gather(x, i, { axis: 1 }),
    one,
  ),
  opCase(
    'gather by a scalar index',
    () => [floats([4, 3]), ints([2], [])],
    (x, i) => ops.gather(x, i),
    one,
  ),
  opCase(
    'gather clamps',
    () => [floats([3]), ints([-7, 9])],
    (x, i) => ops.gather(x, i),
    one,
  ),
  opCase(
    'gather no rows',
    () => [floats([3, 2]), ints([], [0])],
    (x, i) => ops.gather(x, i),
  ),
  opCase(
    'gather int32',
    () => [integers([5, 2], -9, 9), ints([1, 3])],
    (x, i) => ops.gather(x, i),
  ),
  opCase(
    'scatter_add',
    () => [floats([4, 3], -2, 2, 1), ints([1, 3, 1]), floats([3, 3], -2, 2, 2)],
    (x, i, u) => ops.scatterAdd(x, i, u),
    { differentiable: [0, 2], ...sums },
  ),
  opCase(
    'scatter_add on axis 1 by [2,2]',
    () => [floats([2, 4, 3], -2, 2, 1), ints([1, 3, 1, 0], [2, 2]), floats([2, 2, 2, 3], -2, 2, 2)],
    (x, i, u) => ops.scatterAdd(x, i, u, { axis: 1 }),
    { differentiable: [0, 2], ...sums },
  ),
  opCase(
    'scatter_add clamps',
    () => [floats([3]), ints([-7, 9, 9]), floats([3], 0, 1, 8)],
    (x, i, u) => ops.scatterAdd(x, i, u),
    sums,
  ),
  opCase('scatter_rows', () => [floats([5, 2], -2, 2, 1), ints([4, 0]), floats([2, 2], -2, 2, 2)], ops.scatterRows, {
    onnx: 'no ONNX form',
  }),
  opCase(
    'scatter_rows: later rows win',
    () => [floats([3, 2, 2], -2, 2, 1), ints([1, 1, 9]), floats([3, 2, 2], -2, 2, 2)],
    ops.scatterRows,
    { op: 'scatter_rows', onnx: 'no ONNX form' },
  ),
  opCase('scatter_rows int32', () => [integers([5], -9, 9), ints([3, 1]), ints([77, 88])], ops.scatterRows, {
    onnx: 'no ONNX form',
  }),
]

const flags = [false, true]
const products: OpCase[] = [
  ...flags.flatMap((transposeA) =>
    flags.map((transposeB) =>
      opCase(
        `matmul ${transposeA ? 'aT' : 'a'} ${transposeB ? 'bT' : 'b'}`,
        () => [floats(transposeA ? [5, 3] : [3, 5], -1, 1, 1), floats(transposeB ? [2, 5] : [5, 2], -1, 1, 2)],
        (a, b) => ops.matmul(a, b, { transposeA, transposeB }),
        { differentiable: [0, 1], ...sums },
      ),
    ),
  ),
  opCase(
    'matmul with broadcast batches',
    () => [floats([2, 1, 3, 4], -1, 1, 1), floats([3, 4, 2], -1, 1, 2)],
    (a, b) => ops.matmul(a, b),
    { differentiable: [0, 1], ...sums },
  ),
  opCase(
    'matmul with batches and transposes',
    () => [floats([2, 4, 3], -1, 1, 1), floats([2, 5, 4], -1, 1, 2)],
    (a, b) => ops.matmul(a, b, { transposeA: true, transposeB: true }),
    { differentiable: [0, 1], ...sums },
  ),
  opCase(
    'matmul of rank 3 with a matrix',
    () => [floats([2, 3, 4], -1, 1, 1), floats([5, 4], -1, 1, 2)],
    (a, b) => ops.matmul(a, b, { transposeB: true }),
    { differentiable: [0, 1], ...sums },
  ),
  opCase(
    'matmul of one element',
    () => [floats([1, 1], -1, 1, 1), floats([1, 1], -1, 1, 2)],
    (a, b) => ops.matmul(a, b),
    { differentiable: [0, 1] },
  ),
  opCase(
    'matmul without inner elements',
    () => [floats([2, 0]), floats([0, 3])],
    (a, b) => ops.matmul(a, b),
  ),
  opCase(
    'matmul of no rows',
    () => [floats([0, 4]), floats([4, 3])],
    (a, b) => ops.matmul(a, b),
  ),
  opCase(
    'matmul of odd sizes',
    () => [floats([17, 33], -1, 1, 1), floats([33, 19], -1, 1, 2)],
    (a, b) => ops.matmul(a, b),
    sums,
  ),
]

export const moveCases: readonly OpCase[] = [...moving, ...products]
