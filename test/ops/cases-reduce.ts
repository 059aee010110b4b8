/** Cases of reductions and of the composites made of them. */
import * as ops from '../../lib/ops/index.ts'
import { awayFromZero, distinct, floats, integers, ints, list, type OpCase, opCase } from './case.ts'

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
    { ...one, ...vectorMath },
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

export const reduceCases: readonly OpCase[] = [...reductions, ...composites]
