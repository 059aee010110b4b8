/**
 * Cases beside the shared table (test/ops/cases.ts) that matter to ONNX: types its runtimes lack, integer divisions that kill them, windows whose
 * strides leave rows over, and functions whose form here is a formula of ours, compared to the last digits near zero.
 */
import { grad } from '../../lib/autodiff/index.ts'
import { hostTensor } from '../../lib/graph/host-tensor.ts'
import type { Tensor } from '../../lib/graph/tensor.ts'
import * as ops from '../../lib/ops/index.ts'
import { floats, ints, list, type OpCase, opCase } from '../ops/case.ts'

const bools = (values: readonly number[]) => hostTensor(Uint8Array.from(values), [values.length], 'bool')
const column = (t: Tensor): Tensor => ops.reshape(t, [t.size, 1])
const least = -(2 ** 31)
const dividends = () => [ints([-7, -6, -1, 0, 1, 6, 7, least, 2 ** 31 - 1]), ints([-3, 3, 1, -1, 0, least])]

const types: readonly OpCase[] = [
  opCase('div int32, every sign, zero and the overflow', dividends, (a, b) => ops.div(column(a), b), { op: 'div' }),
  opCase('rem, every sign, zero and the overflow', dividends, (a, b) => ops.rem(column(a), b), { op: 'rem' }),
  opCase('select bool', () => [bools([0, 1, 0, 1]), bools([0, 0, 1, 1]), bools([1, 0, 1, 0])], ops.select, {
    op: 'select',
  }),
  opCase(
    'gather int32 at a scalar',
    () => [ints([4, 5, 6]), ints([1], [])],
    (x, i) => ops.gather(x, i),
    { op: 'gather' },
  ),
  opCase(
    'scatter_add at a scalar',
    () => [floats([4, 2]), ints([9], []), floats([2])],
    (x, i, u) => ops.scatterAdd(x, i, u),
  ),
]

/** f(x) / scale, so that the table's absolute bound is relative where values are small. */
const scaled = (op: string, f: (x: Tensor) => Tensor, want: (x: number) => number): OpCase => {
  const at = [-1e-3, -1e-6, 1e-12, 1e-7, 3e-7, 1e-5, 1e-3, 0.03]
  const weights = at.map((v) => 1 / want(v))
  return opCase(
    `${op} near zero, relative`,
    () => [list(at), list(weights)],
    (x, w) => ops.mul(f(x), w),
    { op },
  )
}
const nearZero: readonly OpCase[] = [
  scaled('expm1', ops.expm1, Math.expm1),
  scaled('log1p', ops.log1p, Math.log1p),
  scaled('tanh', ops.tanh, Math.tanh),
  scaled('sin', ops.sin, Math.sin),
]

interface Window {
  readonly name: string
  readonly x: number[]
  readonly w: number[]
  readonly options: ops.ConvOptions
}
const windows: readonly Window[] = [
  { name: 'stride 3 leaves two rows over', x: [1, 2, 10, 8], w: [2, 2, 2, 2], options: { stride: 3 } },
  {
    name: 'dilated with stride',
    x: [1, 2, 9, 8],
    w: [3, 2, 3, 2],
    options: { dilation: 2, stride: [2, 3], padding: [2, 0] },
  },
  {
    name: 'groups, dilation, stride, uneven',
    x: [2, 4, 8, 9],
    w: [6, 2, 2, 3],
    options: { groups: 2, dilation: [3, 1], stride: 2, padding: [0, 1, 2, 1] },
  },
]
/** Both gradients of a quadratic of the convolution, as an energy's score contains them. */
const adjoints = windows.flatMap(({ name, x, w, options }) =>
  ['conv2d_input_grad', 'conv2d_weight_grad'].map((op, i) =>
    opCase(
      `${op} of a square: ${name}`,
      () => [floats(x, -1, 1, 1), floats(w, -1, 1, 2)],
      (a, b) => grad(ops.sum(ops.square(ops.conv2d(a, b, options))), [a, b])[i] as Tensor,
      { op, tolerance: 1e-5, reason: 'float32 sums in another order' },
    ),
  ),
)

export const onnxCases: readonly OpCase[] = [...types, ...nearZero, ...adjoints]
