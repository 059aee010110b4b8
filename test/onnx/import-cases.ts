/** One case for every operator that importOnnx takes, at several attributes: what ONNX Runtime computes, the import must compute. */
import type { TensorProto } from '../../lib/onnx/gen/onnx_pb.ts'
import { type Attr, bools, type ForeignNode, ints, numbers, weights } from './foreign.ts'

export interface ImportCase {
  readonly name: string
  /** Shape of one example. */
  readonly shape: readonly number[]
  /** The last node's first output is compared; `x` is the input. */
  readonly nodes: readonly ForeignNode[]
  readonly tensors?: Readonly<Record<string, TensorProto>>
  readonly opset?: number
}

type Attrs = Readonly<Record<string, Attr>>

/** A node over x and tensors t1, t2, ... */
function one(
  op: string,
  shape: readonly number[],
  {
    attr = {},
    with: more = [],
    opset,
  }: { readonly attr?: Attrs; readonly with?: readonly (TensorProto | null)[]; readonly opset?: number } = {},
): ImportCase {
  const names = more.map((t, i) => (t === null ? '' : `t${i + 1}`))
  const tensors = Object.fromEntries(more.flatMap((t, i) => (t === null ? [] : [[`t${i + 1}`, t]])))
  const shown = Object.entries(attr).map(
    ([k, v]) => `${k}=${typeof v === 'object' && 'float' in v ? v.float : Array.isArray(v) ? `[${v}]` : v}`,
  )
  return {
    name: [
      op,
      ...shown,
      ...(opset ? [`opset ${opset}`] : []),
      `[${shape}]`,
      ...(more.length ? [`${more.length} more`] : []),
    ].join(' '),
    shape,
    nodes: [{ op, in: ['x', ...names], attr }],
    tensors,
    ...(opset && { opset }),
  }
}

const f = (float: number): Attr => ({ float })
const image = [3, 7, 6] as const
const w = weights

const unary = [
  'Relu',
  'LeakyRelu',
  'Elu',
  'Selu',
  'Celu',
  'Sigmoid',
  'HardSigmoid',
  'HardSwish',
  'Tanh',
  'Softplus',
  'Softsign',
  'Erf',
  'Exp',
  'Neg',
  'Abs',
  'Sin',
  'Cos',
  'Sign',
  'Floor',
  'Ceil',
  'Round',
  'Identity',
  'Dropout',
  'ThresholdedRelu',
]
const positive = ['Sqrt', 'Log', 'Reciprocal']

const activations: ImportCase[] = [
  ...unary.map((op) => one(op, [4, 5])),
  ...positive.map(
    (op): ImportCase => ({
      name: op,
      shape: [4, 5],
      nodes: [
        { op: 'Exp', in: ['x'] },
        { op, in: ['Exp'] },
      ],
    }),
  ),
  one('LeakyRelu', [9], { attr: { alpha: f(0.3) } }),
  one('Elu', [9], { attr: { alpha: f(0.7) } }),
  one('Celu', [9], { attr: { alpha: f(0.6) } }),
  one('Selu', [9], { attr: { alpha: f(1.5), gamma: f(1.2) } }),
  one('HardSigmoid', [9], { attr: { alpha: f(0.3), beta: f(0.4) } }),
  one('ThresholdedRelu', [9], { attr: { alpha: f(0.2) } }),
  one('Mish', [9], { opset: 18 }),
  one('Gelu', [9], { opset: 20 }),
  one('Gelu', [9], { opset: 20, attr: { approximate: 'tanh' } }),
  one('PRelu', image, { with: [w([3, 1, 1])] }),
  one('Clip', [9], { with: [numbers([-0.3], []), numbers([0.4], [])] }),
  one('Clip', [9], { with: [null, numbers([0.4], [])] }),
  one('Clip', [9], { with: [numbers([0.1], [])] }),
  one('Clip', [9], { opset: 9, attr: { min: f(-0.2), max: f(0.5) } }),
  one('Dropout', [9], { opset: 10, attr: { ratio: f(0.5) } }),
]

const arithmetic: ImportCase[] = [
  ...['Add', 'Sub', 'Mul', 'Div', 'Min', 'Max', 'Sum', 'Mean'].map((op) =>
    one(op, image, { with: [w([3, 1, 1], 2, 0.4, 1)] }),
  ),
  ...['Min', 'Max', 'Sum', 'Mean'].map((op) => one(op, [5], { with: [w([5], 3), w([1], 4)] })),
  { name: 'Pow 3', shape: [5], nodes: [{ op: 'Pow', in: ['x', 'e'] }], tensors: { e: numbers([3], []) } },
  { name: 'Pow 2', shape: [5], nodes: [{ op: 'Pow', in: ['x', 'e'] }], tensors: { e: numbers([2], []) } },
  {
    name: 'Pow of a positive base',
    shape: [5],
    nodes: [
      { op: 'Exp', in: ['x'] },
      { op: 'Pow', in: ['Exp', 'e'] },
    ],
    tensors: { e: w([5], 3) },
  },
  ...['Equal', 'Less', 'LessOrEqual', 'Greater', 'GreaterOrEqual'].map(
    (op): ImportCase => ({
      name: `${op}, Where`,
      shape: [6],
      nodes: [
        { op, in: ['x', 't'] },
        { op: 'Where', in: [op, 'x', 'v'] },
      ],
      tensors: { t: numbers([0], []), v: w([6], 2) },
    }),
  ),
  ...['And', 'Or', 'Xor'].map(
    (op): ImportCase => ({
      name: `${op}, Not, Cast`,
      shape: [6],
      nodes: [
        { op: 'Greater', in: ['x', 't'] },
        { op, in: ['Greater', 'b'] },
        { op: 'Not', in: [op] },
        { op: 'Cast', in: ['Not'], attr: { to: 1 } },
      ],
      tensors: { t: numbers([0], []), b: bools([true, false, true, false, true, false]) },
    }),
  ),
  {
    name: 'Cast to int and back',
    shape: [6],
    nodes: [
      { op: 'Mul', in: ['x', 't'] },
      { op: 'Cast', in: ['Mul'], out: ['i'], attr: { to: 6 } },
      { op: 'Cast', in: ['i'], attr: { to: 1 } },
    ],
    tensors: { t: numbers([5], []) },
  },
]

const layers: ImportCase[] = [
  one('Conv', image, { with: [w([4, 3, 3, 3])] }),
  one('Conv', image, {
    attr: { strides: [2, 1], pads: [1, 0, 2, 1], dilations: [1, 2] },
    with: [w([4, 3, 3, 2]), w([4], 2)],
  }),
  one('Conv', [4, 7, 6], { attr: { group: 2, kernel_shape: [3, 3] }, with: [w([6, 2, 3, 3])] }),
  ...['SAME_UPPER', 'SAME_LOWER', 'VALID'].map((auto) =>
    one('Conv', image, { attr: { auto_pad: auto, strides: [2, 3] }, with: [w([2, 3, 4, 3])] }),
  ),
  one('Conv', [3, 11], { attr: { strides: [2], pads: [1, 2] }, with: [w([4, 3, 3]), w([4], 2)] }),
  one('ConvTranspose', [4, 5, 3], { attr: { strides: [2, 3] }, with: [w([4, 2, 3, 3]), w([2], 2)] }),
  one('ConvTranspose', [4, 5, 3], {
    attr: { strides: [2, 2], pads: [1, 0, 1, 1], output_padding: [1, 0], group: 2 },
    with: [w([4, 3, 3, 2])],
  }),
  one('ConvTranspose', [4, 5, 3], { attr: { strides: [2, 2], dilations: [2, 1] }, with: [w([4, 3, 3, 2])] }),
  one('ConvTranspose', [4, 5, 3], { attr: { strides: [2, 2], output_shape: [10, 6] }, with: [w([4, 3, 3, 3])] }),
  one('ConvTranspose', [4, 5, 3], { attr: { strides: [2, 2], auto_pad: 'SAME_UPPER' }, with: [w([4, 3, 3, 3])] }),
  one('ConvTranspose', [4, 5], { attr: { strides: [2] }, with: [w([4, 3, 3])] }),
  one('Gemm', [5], { with: [w([5, 4])] }),
  one('Gemm', [5], { attr: { transB: 1, alpha: f(0.5), beta: f(2) }, with: [w([4, 5]), w([4], 2)] }),
  one('MatMul', [5], { with: [w([5, 4])] }),
  one('MatMul', [3, 5], { with: [w([5, 4])] }),
  one('MatMul', [3, 5], { with: [w([5])] }),
  {
    name: 'MatMul of two data',
    shape: [3, 5],
    nodes: [
      { op: 'Transpose', in: ['x'], attr: { perm: [0, 2, 1] } },
      { op: 'MatMul', in: ['x', 'Transpose'] },
    ],
  },
  { name: 'MatMul from the left', shape: [3, 5], nodes: [{ op: 'MatMul', in: ['t', 'x'] }], tensors: { t: w([2, 3]) } },
  ...['nij,jk->nik', 'nij,kj->kni', 'nij,ji->n', 'nij,nik->njk'].map(
    (equation): ImportCase => ({
      name: `Einsum ${equation}`,
      shape: [3, 5],
      nodes: [
        { op: 'Einsum', in: ['x', equation.startsWith('nij,n') ? 'x' : 't'], attr: { equation } },
        ...(equation.includes('kni') ? [{ op: 'Transpose', in: ['Einsum'], attr: { perm: [1, 0, 2] } }] : []),
      ],
      tensors: { t: equation.includes('ji') ? w([5, 3]) : equation.includes('kj') ? w([2, 5]) : w([5, 2]) },
    }),
  ),
  { name: 'Einsum of one operand', shape: [3, 5], nodes: [{ op: 'Einsum', in: ['x'], attr: { equation: 'nij->nj' } }] },
]

const pools: ImportCase[] = [
  one('MaxPool', image, { attr: { kernel_shape: [2, 3] } }),
  one('MaxPool', image, { attr: { kernel_shape: [3, 3], strides: [2, 2], pads: [1, 1, 1, 1] } }),
  one('MaxPool', image, { attr: { kernel_shape: [3, 2], strides: [2, 2], ceil_mode: 1 } }),
  one('MaxPool', [3, 9], { attr: { kernel_shape: [2], strides: [2] } }),
  one('MaxPool', image, { attr: { kernel_shape: [2, 2], strides: [2, 2], auto_pad: 'SAME_UPPER' } }),
  one('AveragePool', image, { attr: { kernel_shape: [3, 3], strides: [2, 2], pads: [1, 1, 1, 1] } }),
  one('AveragePool', image, {
    attr: { kernel_shape: [3, 3], strides: [2, 2], pads: [1, 1, 1, 1], count_include_pad: 1 },
  }),
  one('AveragePool', image, { attr: { kernel_shape: [2, 4], strides: [2, 4], ceil_mode: 1 } }),
  one('AveragePool', image, { attr: { kernel_shape: [3, 3], strides: [2, 2], auto_pad: 'SAME_LOWER' } }),
  one('AveragePool', [3, 9], { attr: { kernel_shape: [3], strides: [2] } }),
  one('GlobalAveragePool', image),
  one('GlobalMaxPool', image),
]

const norms: ImportCase[] = [
  one('BatchNormalization', image, {
    attr: { epsilon: f(0.01) },
    with: [w([3], 2, 0.3, 1), w([3], 3), w([3], 4), w([3], 5, 0.4, 1)],
  }),
  one('BatchNormalization', [5], { with: [w([5], 2, 0.3, 1), w([5], 3), w([5], 4), w([5], 5, 0.4, 1)], opset: 9 }),
  one('InstanceNormalization', image, { attr: { epsilon: f(0.01) }, with: [w([3], 2, 0.3, 1), w([3], 3)] }),
  one('LayerNormalization', [4, 6], { with: [w([6], 2, 0.3, 1), w([6], 3)] }),
  one('LayerNormalization', [4, 6], { attr: { axis: 1, epsilon: f(0.1) }, with: [w([4, 6], 2, 0.3, 1)] }),
  one('GroupNormalization', [6, 3, 2], { attr: { num_groups: 3 }, with: [w([6], 2, 0.3, 1), w([6], 3)], opset: 21 }),
  one('GroupNormalization', [6, 3, 2], { attr: { num_groups: 3 }, with: [w([3], 2, 0.3, 1), w([3], 3)], opset: 18 }),
  one('LRN', [6, 3, 2], { attr: { size: 3, alpha: f(0.5), beta: f(0.6), bias: f(1.5) } }),
  one('LRN', [6, 3, 2], { attr: { size: 5 } }),
  one('LpNormalization', [6], { attr: { p: 1 } }),
  one('LpNormalization', [3, 4], { attr: { axis: 1 } }),
  ...['Softmax', 'LogSoftmax'].flatMap((op) => [
    one(op, [3, 4]),
    one(op, [3, 4], { attr: { axis: 1 } }),
    one(op, [3, 4], { opset: 11 }),
    one(op, [3, 4], { opset: 11, attr: { axis: 2 } }),
  ]),
]

const reduced = [
  'ReduceSum',
  'ReduceMean',
  'ReduceMax',
  'ReduceMin',
  'ReduceL1',
  'ReduceL2',
  'ReduceSumSquare',
  'ReduceLogSumExp',
]
const reductions: ImportCase[] = [
  ...reduced.flatMap((op) => [
    one(op, image, { attr: { axes: [2, -1] }, opset: 11 }),
    one(op, image, { attr: { keepdims: 0 }, with: [ints([1])], opset: 18 }),
  ]),
  {
    name: 'ReduceLogSum',
    shape: image,
    nodes: [
      { op: 'Exp', in: ['x'] },
      { op: 'ReduceLogSum', in: ['Exp'], attr: { axes: [1] } },
    ],
  },
]

const arranging: ImportCase[] = [
  one('Flatten', image),
  one('Flatten', image, { attr: { axis: -3 } }),
  one('Reshape', image, { with: [ints([0, -1, 7])] }),
  one('Transpose', image, { attr: { perm: [0, 2, 3, 1] } }),
  one('Squeeze', [3, 1, 2], { with: [ints([2])] }),
  one('Squeeze', [3, 1, 2], { attr: { axes: [-2] }, opset: 11 }),
  one('Unsqueeze', [3, 2], { with: [ints([-1, 1])] }),
  one('Unsqueeze', [3, 2], { attr: { axes: [1] }, opset: 11 }),
  {
    name: 'Concat',
    shape: [3, 2],
    nodes: [
      { op: 'Tanh', in: ['x'] },
      { op: 'Concat', in: ['x', 'Tanh', 'x'], attr: { axis: 1 } },
    ],
  },
  {
    name: 'Split, sizes',
    shape: [5],
    nodes: [
      { op: 'Split', in: ['x', 't'], out: ['a', 'b'], attr: { axis: 1 } },
      { op: 'Concat', in: ['b', 'a'], attr: { axis: -1 } },
    ],
    tensors: { t: ints([2, 3]) },
  },
  {
    name: 'Split, equal',
    shape: [6],
    nodes: [
      { op: 'Split', in: ['x'], out: ['a', 'b'], attr: { axis: 1 } },
      { op: 'Mul', in: ['b', 'a'] },
    ],
  },
  {
    name: 'Split, num_outputs',
    shape: [7],
    opset: 18,
    nodes: [
      { op: 'Split', in: ['x'], out: ['a', 'b'], attr: { axis: 1, num_outputs: 2 } },
      { op: 'Concat', in: ['b', 'a'], attr: { axis: 1 } },
    ],
  },
  {
    name: 'Split, attribute',
    shape: [5],
    opset: 11,
    nodes: [
      { op: 'Split', in: ['x'], out: ['a', 'b'], attr: { axis: 1, split: [1, 4] } },
      { op: 'Concat', in: ['b', 'a'], attr: { axis: 1 } },
    ],
  },
  one('Slice', [7, 6], { with: [ints([1, -4]), ints([2 ** 40, -1]), ints([1, 2])] }),
  one('Slice', [7, 6], { with: [ints([1]), ints([6]), ints([-1]), ints([2])] }),
  one('Slice', [7, 6], { with: [ints([-1]), ints([-(2 ** 40)]), ints([1]), ints([-2])] }),
  one('Slice', [7, 6], { attr: { axes: [1], starts: [2], ends: [5] }, opset: 9 }),
  one('Gather', [5, 3], { attr: { axis: 1 }, with: [ints([4, 0, -1])] }),
  one('Gather', [5, 3], { attr: { axis: 1 }, with: [ints([2], [])] }),
  one('Gather', [5, 3], { attr: { axis: -1 }, with: [ints([2, 0, 1, 1], [2, 2])] }),
  one('Pad', [2, 4, 5], { with: [ints([0, 0, 1, 2, 0, 1, 0, 3])] }),
  one('Pad', [2, 4, 5], { with: [ints([0, 0, 1, -1, 0, 0, 0, 3]), numbers([0.5], [])] }),
  ...['reflect', 'edge'].map((mode) =>
    one('Pad', [2, 4, 5], { attr: { mode }, with: [ints([0, 0, 1, 2, 0, 0, 2, 3])] }),
  ),
  one('Pad', [2, 4, 5], { with: [ints([1, 2]), null, ints([-1])], opset: 18 }),
  one('Pad', [2, 4], { attr: { pads: [0, 0, 1, 0, 1, 0], value: f(2) }, opset: 10 }),
  one('Expand', [1, 3], { with: [ints([4, 1])] }),
  one('Tile', [2, 3], { with: [ints([1, 2, 3])] }),
  one('DepthToSpace', [8, 2, 3], { attr: { blocksize: 2 } }),
  one('DepthToSpace', [8, 2, 3], { attr: { blocksize: 2, mode: 'CRD' } }),
  one('SpaceToDepth', [2, 4, 6], { attr: { blocksize: 2 } }),
  one('Trilu', [4, 5], { attr: { upper: 0 } }),
  one('Trilu', [4, 5], { with: [ints([1], [])] }),
]

const scales = (...v: number[]) => numbers(v)
const resizing: ImportCase[] = [
  one('Resize', image, {
    attr: { mode: 'nearest', coordinate_transformation_mode: 'asymmetric', nearest_mode: 'floor' },
    with: [null, scales(1, 1, 2, 2)],
  }),
  one('Resize', image, { attr: { mode: 'nearest' }, with: [null, scales(1, 1, 1.5, 0.6)] }),
  one('Resize', image, {
    attr: { mode: 'nearest', nearest_mode: 'round_prefer_ceil' },
    with: [null, scales(1, 1, 1.5, 2)],
  }),
  ...['half_pixel', 'align_corners', 'asymmetric', 'pytorch_half_pixel'].map((mode) =>
    one('Resize', image, {
      attr: { mode: 'linear', coordinate_transformation_mode: mode },
      with: [null, scales(1, 1, 2, 1.5)],
    }),
  ),
  one('Resize', image, { attr: { mode: 'cubic' }, with: [null, scales(1, 1, 2, 2)] }),
  one('Resize', image, { attr: { mode: 'nearest' }, opset: 10, with: [scales(1, 1, 2, 3)] }),
  one('Upsample', image, { attr: { mode: 'linear' }, opset: 9, with: [scales(1, 1, 2, 2)] }),
  {
    name: 'Resize to a size that follows from the shape',
    shape: image,
    nodes: [
      { op: 'Shape', in: ['x'] },
      { op: 'Slice', in: ['Shape', 'zero', 'two'], out: ['lead'] },
      { op: 'Concat', in: ['lead', 'size'], attr: { axis: 0 } },
      { op: 'Resize', in: ['x', '', '', 'Concat'], attr: { mode: 'linear' } },
    ],
    tensors: { zero: ints([0]), two: ints([2]), size: ints([9, 5]) },
  },
]

/** Shape arithmetic, as PyTorch and TensorFlow write it around a reshape. */
const shapeArithmetic: ImportCase[] = [
  {
    name: 'Shape, Gather, Unsqueeze, Concat, Reshape',
    shape: image,
    nodes: [
      { op: 'Shape', in: ['x'] },
      { op: 'Gather', in: ['Shape', 'zero'] },
      { op: 'Unsqueeze', in: ['Gather', 'axes'] },
      { op: 'Concat', in: ['Unsqueeze', 'rest'], attr: { axis: 0 } },
      { op: 'Reshape', in: ['x', 'Concat'] },
    ],
    tensors: { zero: ints([0], []), axes: ints([0]), rest: ints([6, 21]) },
  },
  {
    name: 'Shape with start, ReduceProd, Mul, Div, Sub, Add, Range',
    opset: 18,
    shape: [4, 6],
    nodes: [
      { op: 'Shape', in: ['x'], attr: { start: 1 } },
      { op: 'ReduceProd', in: ['Shape'], attr: { keepdims: 0 } },
      { op: 'Div', in: ['ReduceProd', 'six'] },
      { op: 'Range', in: ['zero', 'Div', 'one'] },
      { op: 'Gather', in: ['x', 'Range'], attr: { axis: 2 }, out: ['g'] },
    ],
    tensors: { zero: ints([0], []), one: ints([1], []), six: ints([6], []) },
  },
  {
    name: 'ConstantOfShape, Equal, Where, Expand',
    shape: [1, 6],
    nodes: [
      { op: 'ConstantOfShape', in: ['len'], attr: { value: ints([1]) } },
      { op: 'Mul', in: ['ConstantOfShape', 'minus'] },
      { op: 'Equal', in: ['target', 'Mul'] },
      { op: 'Where', in: ['Equal', 'ConstantOfShape', 'target'] },
      { op: 'Expand', in: ['x', 'Where'] },
    ],
    tensors: { len: ints([3]), minus: ints([-1], []), target: ints([-1, 4, -1]) },
  },
  {
    name: 'Size, Cast, Mul, Floor as a scale',
    shape: [4, 6],
    nodes: [
      { op: 'Size', in: ['t'] },
      { op: 'Cast', in: ['Size'], attr: { to: 1 } },
      { op: 'Mul', in: ['x', 'Cast'] },
    ],
    tensors: { t: w([3, 2]) },
  },
  {
    name: 'Mod, Min, Max, Neg, Abs of integers',
    shape: [9],
    nodes: [
      { op: 'Mod', in: ['a', 'b'] },
      { op: 'Neg', in: ['Mod'] },
      { op: 'Abs', in: ['Neg'] },
      { op: 'Max', in: ['Abs', 'c'] },
      { op: 'Gather', in: ['x', 'Max'], attr: { axis: 1 } },
    ],
    tensors: { a: ints([7, 8, 9]), b: ints([5]), c: ints([1]) },
  },
  {
    name: 'Div of integers rounds towards zero',
    shape: [9],
    nodes: [
      { op: 'Div', in: ['a', 'b'] },
      { op: 'Gather', in: ['x', 'Div'], attr: { axis: 1 } },
    ],
    tensors: { a: ints([-7, 8, -9]), b: ints([4]) },
  },
  {
    name: 'Constant nodes',
    shape: [9],
    nodes: [
      { op: 'Constant', in: [], attr: { value_float: f(2) } },
      { op: 'Mul', in: ['x', 'Constant'] },
      { op: 'Constant', in: [], out: ['c2'], attr: { value: w([9], 5) } },
      { op: 'Add', in: ['Mul', 'c2'] },
      { op: 'Constant', in: [], out: ['c3'], attr: { value_floats: { floats: [1, 2, 3, 4, 5, 6, 7, 8, 9] } } },
      { op: 'Sub', in: ['Add', 'c3'] },
    ],
  },
]

export const importCases: readonly ImportCase[] = [
  ...activations,
  ...arithmetic,
  ...layers,
  ...pools,
  ...norms,
  ...reductions,
  ...arranging,
  ...resizing,
  ...shapeArithmetic,
]
