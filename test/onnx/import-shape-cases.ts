/** Reductions, operators that arrange elements, resizing, and shape arithmetic as exporters write it; see import-cases.ts. */
import { ints, numbers, weights } from './foreign.ts'
import { f, type ImportCase, image, one } from './import-case.ts'

const w = weights

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

export const shapeCases: readonly ImportCase[] = [...reductions, ...arranging, ...resizing, ...shapeArithmetic]
