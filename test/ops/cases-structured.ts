/** Cases of reductions, composites, shape ops, indexing and matrix products. Convolution, pooling and random draws are in cases-image.ts. */
import * as ops from '../../lib/ops/index.ts'
import { awayFromZero, bools, distinct, floats, integers, ints, list, type OpCase, opCase } from './case.ts'

const inf = Number.POSITIVE_INFINITY
const sums = { tolerance: 1e-5, reason: 'float32 sums in another order' }
const vectorMath = { tolerance: 1e-5, reason: 'exp and log of a few ulp, then sums' }
const one = { differentiable: [0] }

const reductions: OpCase[] = [
  opCase(
    'sum',
    () => [floats([3, 5])],
    (x) => ops.sum(x),
    { ...one, ...sums },
  ),
  opCase(
    'sum over axis -1',
    () => [floats([3, 5])],
    (x) => ops.sum(x, -1),
    { ...one, ...sums },
  ),
  opCase(
    'sum over axis 0 kept',
    () => [floats([3, 5])],
    (x) => ops.sum(x, 0, { keepDims: true }),
    { ...one, ...sums },
  ),
  opCase(
    'sum over axes 0,2,3',
    () => [floats([2, 3, 4, 5])],
    (x) => ops.sum(x, [0, 2, 3]),
    { ...one, ...sums },
  ),
  opCase(
    'sum over axes 0,2',
    () => [floats([3, 2, 5])],
    (x) => ops.sum(x, [2, 0]),
    { ...one, ...sums },
  ),
  opCase(
    'sum of one element',
    () => [floats([1, 1])],
    (x) => ops.sum(x),
    one,
  ),
  opCase(
    'sum of nothing',
    () => [floats([0, 3])],
    (x) => ops.sum(x, 0),
  ),
  opCase(
    'sum of a scalar',
    () => [floats([])],
    (x) => ops.mul(ops.sum(x), 2),
    { op: 'sum', ...one },
  ),
  opCase(
    'sum of many',
    () => [floats([17, 1031], 0, 1)],
    (x) => ops.sum(x),
    sums,
  ),
  opCase(
    'sum with inf and NaN',
    () => [list([inf, 1, -inf, 1, Number.NaN, 2, inf, inf], [4, 2])],
    (x) => ops.sum(x, 1),
  ),
  opCase(
    'sum int32',
    () => [integers([4, 5], -9, 9)],
    (x) => ops.sum(x, 0),
  ),
  ...Object.entries({ max: ops.max, min: ops.min }).flatMap(([op, f]) => [
    opCase(
      op,
      () => [distinct([3, 5])],
      (x) => f(x),
      one,
    ),
    opCase(
      `${op} over axis 1`,
      () => [distinct([3, 5])],
      (x) => f(x, 1),
      one,
    ),
    opCase(
      `${op} over axes 0,2 kept`,
      () => [distinct([2, 3, 4])],
      (x) => f(x, [0, 2], { keepDims: true }),
      one,
    ),
    opCase(
      `${op} of one element`,
      () => [distinct([1])],
      (x) => f(x),
      one,
    ),
    opCase(
      `${op} with infinities`,
      () => [list([inf, 1, -inf, -inf], [2, 2])],
      (x) => f(x, 1),
    ),
    opCase(
      `${op} with NaN`,
      () => [list([1, Number.NaN, 3, Number.NaN, 1, 2], [2, 3])],
      (x) => f(x, 1),
      { onnx: 'ONNX leaves NaN open' },
    ),
    opCase(
      `${op} of nothing`,
      () => [floats([3, 0])],
      (x) => f(x, 1),
      {},
    ),
    opCase(
      `${op} int32`,
      () => [integers([4, 5], -9, 9)],
      (x) => f(x, 0),
    ),
  ]),
  opCase(
    'mean',
    () => [floats([3, 4, 5])],
    (x) => ops.mean(x, [0, 2]),
    { op: 'sum', ...one, ...sums },
  ),
  opCase(
    'mean of all',
    () => [floats([7])],
    (x) => ops.mean(x),
    { op: 'sum', ...one, ...sums },
  ),
  opCase(
    'moments: mean',
    () => [floats([4, 3, 2], 10, 11)],
    (x) => ops.moments(x, [0, 2]).mean,
    { op: 'sum', ...one, ...sums },
  ),
  opCase(
    'moments: variance far from zero',
    () => [floats([4, 3, 2], 1000, 1001)],
    (x) => ops.moments(x, [0, 2], { keepDims: true }).variance,
    {
      op: 'sum',
      ...one,
      tolerance: 2e-4,
      reason: 'float32 values near 1000 are 6e-5 apart; the shifted sums lose no more',
    },
  ),
  opCase(
    'norm',
    () => [awayFromZero([3, 4])],
    (x) => ops.norm(x, -1),
    { op: 'sqrt', ...one, ...sums },
  ),
  opCase(
    'argmax',
    () => [floats([3, 5])],
    (x) => ops.argmax(x),
  ),
  opCase(
    'argmax over axis 1 of 3',
    () => [floats([2, 4, 3])],
    (x) => ops.argmax(x, 1),
  ),
  opCase(
    'argmax takes the first of equals',
    () => [list([1, 3, 3, 2, 2, 2], [2, 3])],
    (x) => ops.argmax(x),
  ),
  opCase(
    'argmax with NaN and -inf',
    () => [list([1, Number.NaN, 3, -inf, -inf, -inf], [2, 3])],
    (x) => ops.argmax(x),
    { onnx: 'ONNX leaves NaN open' },
  ),
]

const composites: OpCase[] = [
  ...(['logsumexp', 'softmax', 'log_softmax'] as const).flatMap((op) => {
    const f = {
      logsumexp: (x: Parameters<typeof ops.softmax>[0], a: number) => ops.logsumexp(x, a),
      softmax: ops.softmax,
      log_softmax: ops.logSoftmax,
    }[op]
    return [
      opCase(
        op,
        () => [floats([3, 5])],
        (x) => f(x, -1),
        { ...one, ...vectorMath },
      ),
      opCase(
        `${op} over axis 1 of 3`,
        () => [floats([2, 4, 3])],
        (x) => f(x, 1),
        { ...one, ...vectorMath },
      ),
      opCase(
        `${op} of one class`,
        () => [floats([3, 1])],
        (x) => f(x, -1),
        vectorMath,
      ),
      opCase(
        `${op} of large logits`,
        () => [list([1e4, 1e4 - 1, -1e4, -1e4], [2, 2])],
        (x) => f(x, -1),
        vectorMath,
      ),
      opCase(
        `${op} with some -inf`,
        () => [list([-inf, 0, 1, 2, -inf, -inf], [2, 3])],
        (x) => f(x, -1),
        vectorMath,
      ),
      opCase(
        `${op} of no rows`,
        () => [floats([0, 3])],
        (x) => f(x, -1),
      ),
    ]
  }),
  opCase(
    'logsumexp over all',
    () => [floats([3, 5])],
    (x) => ops.logsumexp(x),
    { ...one, ...vectorMath },
  ),
  opCase(
    'logsumexp over axes 0,2 kept',
    () => [floats([2, 3, 4])],
    (x) => ops.logsumexp(x, [0, 2], { keepDims: true }),
    { ...one, ...vectorMath },
  ),
  opCase(
    'logsumexp of all -inf',
    () => [list([-inf, -inf])],
    (x) => ops.logsumexp(x),
    {},
  ),
  opCase(
    'normalize like batch norm',
    () => [floats([3, 2, 2, 3], 4, 6)],
    (x) => ops.normalize(x, [0, 2, 3]),
    { ...one, ...sums, tolerance: 5e-5 },
  ),
  opCase(
    'normalize like layer norm',
    () => [floats([3, 7])],
    (x) => ops.normalize(x, -1, { eps: 1e-3 }),
    { ...one, ...sums, tolerance: 5e-5 },
  ),
  opCase(
    'normalize one element',
    () => [floats([3, 1])],
    (x) => ops.normalize(x, -1),
    { ...one, ...sums },
  ),
  opCase(
    'normalize a constant row',
    () => [list([2, 2, 2, 1, 2, 3], [2, 3])],
    (x) => ops.normalize(x, -1),
    { ...sums, tolerance: 5e-5 },
  ),
  opCase('softmax_cross_entropy', () => [floats([4, 5], -3, 3), ints([0, 4, 2, 2])], ops.softmaxCrossEntropy, {
    ...one,
    ...vectorMath,
  }),
  opCase(
    'softmax_cross_entropy of rank 3',
    () => [floats([2, 3, 4]), integers([2, 3], 0, 3)],
    ops.softmaxCrossEntropy,
    { ...one, ...vectorMath },
  ),
  opCase(
    'softmax_cross_entropy of large logits',
    () => [list([1e4, 0, -1e4, 0, 50, 100], [2, 3]), ints([1, 1])],
    ops.softmaxCrossEntropy,
    vectorMath,
  ),
  opCase(
    'softmax_cross_entropy ignores labels outside',
    () => [floats([3, 4]), ints([-1, 4, 1])],
    ops.softmaxCrossEntropy,
    vectorMath,
  ),
  opCase(
    'one_hot',
    () => [ints([2, 0, 4, -1, 5], [5])],
    (y) => ops.oneHot(y, 5),
  ),
  opCase(
    'one_hot of rank 2',
    () => [integers([2, 3], 0, 3)],
    (y) => ops.oneHot(y, 4),
  ),
]

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

export const structuredCases: readonly OpCase[] = [...reductions, ...composites, ...moving, ...products]
