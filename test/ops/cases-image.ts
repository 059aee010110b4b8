/** Cases of convolutions, pooling, resizing, the data ops and the random draws. */
import * as ops from '../../lib/ops/index.ts'
import { bools, bytes, distinct, floats, integers, ints, list, type OpCase, opCase } from './case.ts'

const sums = { tolerance: 2e-5, reason: 'float32 sums in another order; Winograd' }

interface Geometry {
  readonly name: string
  readonly x: number[]
  readonly w: number[]
  readonly options: ops.ConvOptions
}

const geometries: readonly Geometry[] = [
  { name: '3x3 padded', x: [2, 2, 5, 4], w: [3, 2, 3, 3], options: { padding: 1 } },
  { name: '1x1', x: [2, 3, 3, 2], w: [4, 3, 1, 1], options: {} },
  { name: 'stride 2, rows left over', x: [1, 2, 6, 7], w: [2, 2, 3, 3], options: { stride: 2, padding: 1 } },
  {
    name: 'stride [1,2], uneven padding',
    x: [2, 1, 4, 5],
    w: [2, 1, 2, 3],
    options: { stride: [1, 2], padding: [1, 0, 0, 2] },
  },
  { name: 'dilation 2', x: [1, 2, 6, 6], w: [2, 2, 2, 3], options: { dilation: 2, padding: [1, 2] } },
  { name: 'two groups', x: [2, 4, 4, 3], w: [6, 2, 3, 2], options: { groups: 2, padding: 1 } },
  { name: 'depthwise, stride 2', x: [1, 3, 5, 5], w: [3, 1, 3, 3], options: { groups: 3, stride: 2 } },
  { name: 'stride 3 over the kernel', x: [1, 1, 8, 7], w: [1, 1, 2, 2], options: { stride: 3 } },
  { name: 'one pixel', x: [1, 1, 1, 1], w: [1, 1, 1, 1], options: {} },
  { name: 'kernel as large as the image', x: [2, 2, 4, 3], w: [3, 2, 4, 3], options: {} },
]

const larger: readonly Geometry[] = [
  { name: '16 channels 3x3', x: [2, 16, 8, 8], w: [32, 16, 3, 3], options: { padding: 1 } },
  { name: '32 channels 3x3, odd image', x: [1, 32, 7, 9], w: [16, 32, 3, 3], options: { padding: 1 } },
  { name: '16 channels stride 2', x: [3, 16, 8, 8], w: [16, 16, 3, 3], options: { padding: 1, stride: 2 } },
  { name: '17 channels', x: [2, 17, 5, 5], w: [9, 17, 3, 3], options: { padding: 1 } },
]

/** The three directions of a geometry; y's shape comes from the forward op. */
function directions({ name, x, w, options }: Geometry, differentiable: boolean): OpCase[] {
  const y = [...ops.conv2d(ops.input('x', x), ops.input('w', w), options).shape]
  const rest = { ...sums, ...(differentiable ? { differentiable: [0, 1] } : {}) }
  const [h, width] = x.slice(2) as [number, number]
  const [kh, kw] = w.slice(2) as [number, number]
  return [
    opCase(
      `conv2d: ${name}`,
      () => [floats(x, -1, 1, 1), floats(w, -1, 1, 2)],
      (a, b) => ops.conv2d(a, b, options),
      rest,
    ),
    opCase(
      `conv2d_input_grad: ${name}`,
      () => [floats(y, -1, 1, 3), floats(w, -1, 1, 2)],
      (a, b) => ops.conv2dInputGrad(a, b, { ...options, inputSize: [h, width] }),
      rest,
    ),
    opCase(
      `conv2d_weight_grad: ${name}`,
      () => [floats(x, -1, 1, 1), floats(y, -1, 1, 3)],
      (a, b) => ops.conv2dWeightGrad(a, b, { ...options, kernelSize: [kh, kw] }),
      rest,
    ),
  ]
}

interface Pooling {
  readonly name: string
  readonly x: number[]
  readonly options: ops.PoolOptions
}

const poolings: readonly Pooling[] = [
  { name: '2', x: [2, 2, 4, 6], options: { kernel: 2 } },
  { name: '3, stride 2, padded', x: [1, 2, 6, 5], options: { kernel: 3, stride: 2, padding: 1 } },
  {
    name: '[2,3], stride [1,2], uneven padding',
    x: [2, 1, 4, 5],
    options: { kernel: [2, 3], stride: [1, 2], padding: [1, 0, 0, 2] },
  },
  { name: 'rows left over', x: [1, 1, 5, 7], options: { kernel: 2 } },
  { name: 'one pixel', x: [1, 1, 1, 1], options: { kernel: 1 } },
  { name: 'the whole image', x: [2, 3, 4, 3], options: { kernel: [4, 3] } },
]

const poolingCases = poolings.flatMap(({ name, x, options }) => {
  const y = [...ops.maxpool2d(ops.input('x', x), options).shape]
  const inputSize = x.slice(2) as [number, number]
  const linear = { differentiable: [0], ...sums }
  return [
    ...[true, false].flatMap((countIncludePad) => {
      const suffix = countIncludePad ? '' : ', without padding'
      const all = { ...options, countIncludePad }
      return [
        opCase(
          `avgpool2d: ${name}${suffix}`,
          () => [floats(x)],
          (a) => ops.avgpool2d(a, all),
          linear,
        ),
        opCase(
          `avgpool2d_grad: ${name}${suffix}`,
          () => [floats(y)],
          (a) => ops.avgpool2dGrad(a, { ...all, inputSize }),
          linear,
        ),
      ]
    }),
    opCase(
      `maxpool2d: ${name}`,
      () => [distinct(x)],
      (a) => ops.maxpool2d(a, options),
      { differentiable: [0] },
    ),
    opCase(
      `maxpool2d_grad: ${name}`,
      () => [distinct(x), floats(y)],
      (a, b) => ops.maxpool2dGrad(a, b, options),
      { differentiable: [0, 1], ...sums },
    ),
    opCase(
      `maxpool2d_select: ${name}`,
      () => [distinct(x), floats(x)],
      (a, b) => ops.maxpool2dSelect(a, b, options),
      { differentiable: [0, 1] },
    ),
  ]
})

const ties: OpCase[] = [
  opCase(
    'maxpool2d_grad: first of equals',
    () => [integersAsFloats([1, 2, 4, 4]), floats([1, 2, 2, 2])],
    (a, b) => ops.maxpool2dGrad(a, b, { kernel: 2 }),
  ),
  opCase(
    'maxpool2d_select: first of equals',
    () => [integersAsFloats([1, 2, 4, 4]), floats([1, 2, 4, 4])],
    (a, b) => ops.maxpool2dSelect(a, b, { kernel: 2 }),
  ),
  opCase(
    'maxpool2d: all negative, padded',
    () => [floats([1, 1, 3, 3], -2, -1)],
    (a) => ops.maxpool2d(a, { kernel: 2, padding: 1 }),
  ),
]

/** Values with many ties. */
function integersAsFloats(shape: number[]) {
  return list(Array.from(integers(shape, 0, 2).data), shape)
}

const resizings: readonly { readonly name: string; readonly x: number[]; readonly options: ops.ResizeOptions }[] = [
  { name: 'nearest, double', x: [2, 2, 3, 2], options: { size: [6, 4] } },
  { name: 'nearest, odd', x: [1, 2, 5, 4], options: { size: [3, 7] } },
  { name: 'bilinear, double', x: [2, 1, 3, 2], options: { size: [6, 4], mode: 'bilinear' } },
  { name: 'bilinear, odd', x: [1, 2, 5, 4], options: { size: [3, 7], mode: 'bilinear' } },
  {
    name: 'bilinear, aligned corners',
    x: [1, 2, 3, 4],
    options: { size: [5, 3], mode: 'bilinear', alignCorners: true },
  },
  { name: 'bilinear from and to one pixel', x: [1, 1, 1, 3], options: { size: [4, 1], mode: 'bilinear' } },
]

const resizeCases = resizings.flatMap(({ name, x, options }) => {
  const y = [...ops.resize2d(ops.input('x', x), options).shape]
  const { size: _, ...sampling } = options
  const inputSize = x.slice(2) as [number, number]
  const linear = { differentiable: [0], ...sums }
  return [
    opCase(
      `resize2d: ${name}`,
      () => [floats(x)],
      (a) => ops.resize2d(a, options),
      linear,
    ),
    opCase(
      `resize2d_grad: ${name}`,
      () => [floats(y)],
      (a) => ops.resize2dGrad(a, { ...sampling, inputSize }),
      linear,
    ),
  ]
})

const noOnnx = { onnx: 'no ONNX form' }
const dataCases: OpCase[] = [
  opCase(
    'crop_flip',
    () => [floats([4, 2, 5, 4]), integers([4, 2], 0, 4), bools([4])],
    (x, o, f) => ops.cropFlip(x, o, f, { pad: 2 }),
    noOnnx,
  ),
  opCase(
    'crop_flip of bytes',
    () => [bytes([3, 1, 4, 6]), integers([3, 2], 0, 6), bools([3])],
    (x, o, f) => ops.cropFlip(x, o, f, { pad: 3 }),
    noOnnx,
  ),
  opCase(
    'crop_flip without padding',
    () => [floats([2, 1, 3, 3]), ints([0, 0, 0, 0], [2, 2]), bools([2], 9)],
    (x, o, f) => ops.cropFlip(x, o, f, { pad: 0 }),
    noOnnx,
  ),
  opCase(
    'gaussian_rows',
    () => [
      bools([5]),
      ints([2, 0, 1, 2, 0]),
      floats([3, 4], -2, 2, 1),
      floats([3, 4, 2], -2, 2, 2),
      floats([5, 2], -2, 2, 3),
    ],
    ops.gaussianRows,
    sums,
  ),
  opCase(
    'gaussian_rows of full rank, many rows',
    () => [
      bools([40]),
      integers([40], 0, 2),
      floats([3, 17], -2, 2, 1),
      floats([3, 17, 17], -1, 1, 2),
      floats([40, 17], -2, 2, 3),
    ],
    ops.gaussianRows,
    { ...sums, tolerance: 5e-5 },
  ),
]

/** Keys with all words in use, with a step about to carry, and with the largest step. */
const keys = { plain: [123, -456, 7, 0], carry: [1, 2, -1, 5], last: [-1, -1, -1, -1] }
const draws = { minOpset: 18, tolerance: 2e-6, reason: 'log, sine and cosine of a few ulp' }
const randomCases: OpCase[] = [
  ...Object.entries(keys).flatMap(([name, key]) => [
    opCase(
      `normal: ${name} key`,
      () => [ints(key)],
      (k) => ops.normal(k, [3, 7], 2),
      draws,
    ),
    opCase(
      `uniform: ${name} key`,
      () => [ints(key)],
      (k) => ops.uniform(k, [2, 9], 4000000000),
      { ...draws, tolerance: 0, reason: 'exact in float32' },
    ),
    opCase(
      `random_int: ${name} key`,
      () => [ints(key)],
      (k) => ops.randomInt(k, [11], { bound: 1000, stream: 3 }),
      draws,
    ),
    opCase(
      `shuffle_index: ${name} key`,
      () => [ints(key)],
      (k) => ops.shuffleIndex(k, { n: 37, count: 5, stream: 1 }),
      noOnnx,
    ),
    opCase(
      `nextKey: ${name} key`,
      () => [ints(key)],
      (k) => ops.nextKey(k),
      { op: 'add' },
    ),
  ]),
  opCase(
    'normal of one element',
    () => [ints(keys.plain)],
    (k) => ops.normal(k, [], 0),
    draws,
  ),
  opCase(
    'normal of nothing',
    () => [ints(keys.plain)],
    (k) => ops.normal(k, [0, 3], 0),
    draws,
  ),
  opCase(
    'normal of many',
    () => [ints(keys.plain)],
    (k) => ops.normal(k, [101, 33], 9),
    draws,
  ),
  opCase(
    'random_int: largest bound',
    () => [ints(keys.plain)],
    (k) => ops.randomInt(k, [33], { bound: 2 ** 31 - 1 }),
    draws,
  ),
  opCase(
    'shuffle_index: one row',
    () => [ints(keys.plain)],
    (k) => ops.shuffleIndex(k, { n: 1, count: 1 }),
    noOnnx,
  ),
  opCase(
    'shuffle_index: a whole epoch',
    () => [ints(keys.plain)],
    (k) => ops.shuffleIndex(k, { n: 64, count: 64 }),
    noOnnx,
  ),
  opCase(
    'bernoulli',
    () => [ints(keys.plain), floats([5, 6], 0, 1)],
    (k, p) => ops.bernoulli(k, p, 1),
    draws,
  ),
  opCase(
    'bernoulli never and always',
    () => [ints(keys.plain), list([0, 1, 0, 1, 1])],
    (k, p) => ops.bernoulli(k, p),
    draws,
  ),
  opCase(
    'categorical',
    () => [ints(keys.plain), floats([7, 4])],
    (k, x) => ops.categorical(k, x, 5),
    draws,
  ),
]

export const imageCases: readonly OpCase[] = [
  ...geometries.flatMap((g) => directions(g, true)),
  ...larger.flatMap((g) => directions(g, false)),
  ...poolingCases,
  ...ties,
  ...resizeCases,
  ...dataCases,
  ...randomCases,
]
