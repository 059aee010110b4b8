/** Elementwise operators, layers, pools and norms at several attributes: what ONNX Runtime computes, the import must compute. */
import { bools, numbers, weights } from './foreign.ts'
import { f, type ImportCase, image, one } from './import-case.ts'
import { shapeCases } from './import-shape-cases.ts'

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

/** At least one case for every operator that importOnnx takes. */
export const importCases: readonly ImportCase[] = [
  ...activations,
  ...arithmetic,
  ...layers,
  ...pools,
  ...norms,
  ...shapeCases,
]
