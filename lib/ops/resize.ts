/**
 * Resizing of images [N,C,H,W], nearest or bilinear, and its adjoint. Both are a linear map of rows and one of columns,
 * so each is the other's gradient. Coordinates are PyTorch's: nearest floor(i·in/out); bilinear with half-pixel centres, or aligned corners.
 */
import { shapeError } from '../graph/errors.ts'
import { showShape } from '../graph/shape.ts'
import type { Tensor } from '../graph/tensor.ts'
import { expectRank, operand } from './check.ts'
import { defineOp, type OpBuilder, type RefArray } from './define.ts'
import { one } from './onnx.ts'
import { at, refArray } from './ref.ts'
import { expectList, type Pair, pair } from './window.ts'

type Sampling = { readonly mode: string; readonly alignCorners: boolean }
type ResizeAttrs = Sampling & { readonly size: readonly number[] }
type ResizeGradAttrs = Sampling & { readonly inputSize: readonly number[] }

/** One output position's two sources and the weight of the second. */
interface Source {
  readonly first: number
  readonly second: number
  readonly weight: number
}

function sources(from: number, to: number, { mode, alignCorners }: Sampling): Source[] {
  return Array.from({ length: to }, (_, i) => {
    if (mode === 'nearest') {
      const first = Math.min(from - 1, Math.floor((i * from) / to))
      return { first, second: first, weight: 0 }
    }
    const place = alignCorners ? (to > 1 ? (i * (from - 1)) / (to - 1) : 0) : Math.max(0, ((i + 0.5) * from) / to - 0.5)
    const first = Math.min(from - 1, Math.floor(place))
    return { first, second: Math.min(from - 1, first + 1), weight: place - first }
  })
}

function expectSampling(op: string, { mode, alignCorners }: Sampling): void {
  if (mode !== 'nearest' && mode !== 'bilinear') {
    throw new RangeError(`[${op}] mode must be 'nearest' or 'bilinear'; got '${mode}'`)
  }
  if (alignCorners && mode === 'nearest') throw new RangeError(`[${op}] alignCorners goes with mode 'bilinear' only`)
}

/** Calls `visit(position in the small plane, position in the resized plane, weight)` for all planes. */
function forEachWeight(
  small: readonly number[],
  resized: readonly number[],
  sampling: Sampling,
  visit: (x: number, y: number, weight: number) => void,
): void {
  const [n, c, h, w] = small as [number, number, number, number]
  const [oH, oW] = [at(resized, 2), at(resized, 3)]
  const [rows, columns] = [sources(h, oH, sampling), sources(w, oW, sampling)]
  for (let p = 0; p < n * c; p++) {
    rows.forEach((r, i) => {
      columns.forEach((q, j) => {
        const y = (p * oH + i) * oW + j
        for (const [ih, a] of [
          [r.first, 1 - r.weight],
          [r.second, r.weight],
        ] as const) {
          for (const [iw, b] of [
            [q.first, 1 - q.weight],
            [q.second, q.weight],
          ] as const) {
            if (a * b !== 0) visit((p * h + ih) * w + iw, y, a * b)
          }
        }
      })
    })
  }
}

function add(out: RefArray, i: number, value: number): void {
  out.data[i] = at(out.data, i) + value
}

const resize2dOp: OpBuilder<ResizeAttrs> = defineOp<ResizeAttrs>({
  name: 'resize2d',
  kind: 'structured',
  infer: (inputs, attrs) => {
    const x = operand('resize2d', inputs, 0, 'float32')
    expectRank('resize2d', 'x', x.shape, 4, '[N,C,H,W]')
    expectList('resize2d', 'size', attrs.size, 2, 1)
    expectSampling('resize2d', attrs)
    if (x.shape[2] === 0 || x.shape[3] === 0)
      throw shapeError('resize2d', `cannot resize the empty image ${showShape(x.shape)}`)
    return { shape: [at(x.shape, 0), at(x.shape, 1), ...attrs.size], dtype: 'float32' }
  },
  gradient: ({ inputs, attrs: { size: _, ...sampling }, grad }) => [
    resize2dGradOp([grad], { ...sampling, inputSize: at(inputs, 0).shape.slice(2) }),
  ],
  reference: (inputs, attrs, output) => {
    const x = at(inputs, 0)
    const out = refArray(output.shape)
    forEachWeight(x.shape, output.shape, attrs, (ix, iy, weight) => add(out, iy, at(x.data, ix) * weight))
    return out
  },
  onnx: (c) => {
    const { mode, alignCorners } = c.attrs
    const coordinates = mode === 'nearest' ? 'asymmetric' : alignCorners ? 'align_corners' : 'half_pixel'
    return one(c, 'Resize', [at(c.inputs, 0), '', '', c.emit.shape('sizes', c.output.shape)], {
      mode: { string: mode === 'nearest' ? 'nearest' : 'linear' },
      coordinate_transformation_mode: { string: coordinates },
      nearest_mode: { string: 'floor' },
    })
  },
})

const resize2dGradOp: OpBuilder<ResizeGradAttrs> = defineOp<ResizeGradAttrs>({
  name: 'resize2d_grad',
  kind: 'structured',
  infer: (inputs, attrs) => {
    const dy = operand('resize2d_grad', inputs, 0, 'float32')
    expectRank('resize2d_grad', 'dy', dy.shape, 4, '[N,C,H,W]')
    expectList('resize2d_grad', 'inputSize', attrs.inputSize, 2, 1)
    expectSampling('resize2d_grad', attrs)
    return { shape: [at(dy.shape, 0), at(dy.shape, 1), ...attrs.inputSize], dtype: 'float32' }
  },
  gradient: ({ inputs, attrs: { inputSize: _, ...sampling }, grad }) => [
    resize2dOp([grad], { ...sampling, size: at(inputs, 0).shape.slice(2) }),
  ],
  reference: (inputs, attrs, output) => {
    const dy = at(inputs, 0)
    const out = refArray(output.shape)
    forEachWeight(output.shape, dy.shape, attrs, (ix, iy, weight) => add(out, ix, at(dy.data, iy) * weight))
    return out
  },
  // Rᵀ·dy·C with the matrices of the two linear maps.
  onnx: (c) => {
    const dy = at(c.types, 0).shape
    const rows = mapMatrix(at(c.attrs.inputSize, 0), at(dy, 2), c.attrs)
    const columns = mapMatrix(at(c.attrs.inputSize, 1), at(dy, 3), c.attrs)
    const left = one(c, 'Transpose', [c.emit.floats(rows, [at(dy, 2), at(c.attrs.inputSize, 0)])], {
      perm: { ints: [1, 0] },
    })
    const right = c.emit.floats(columns, [at(dy, 3), at(c.attrs.inputSize, 1)])
    return one(c, 'MatMul', [one(c, 'MatMul', [left, at(c.inputs, 0)]), right])
  },
})

/** The map of one axis as a row-major matrix [to, from]. */
function mapMatrix(from: number, to: number, sampling: Sampling): number[] {
  const matrix = new Array<number>(to * from).fill(0)
  sources(from, to, sampling).forEach(({ first, second, weight }, i) => {
    matrix[i * from + first] = at(matrix, i * from + first) + 1 - weight
    matrix[i * from + second] = at(matrix, i * from + second) + weight
  })
  return matrix
}

export interface ResizeOptions {
  /** New [height, width]. */
  readonly size: Pair
  /** Default 'nearest'. */
  readonly mode?: 'nearest' | 'bilinear'
  /** Bilinear only: the corner pixels keep their places. Default false (half-pixel centres). */
  readonly alignCorners?: boolean
}

/** Images [N,C,H,W] sampled at another size, as PyTorch's interpolate without antialiasing. */
export function resize2d(x: Tensor, { size, mode = 'nearest', alignCorners = false }: ResizeOptions): Tensor {
  return resize2dOp([x], { size: pair(size), mode, alignCorners })
}

/** Adjoint of {@link resize2d}: from dy [N,C,H',W'] back to [N,C,...inputSize]. */
export function resize2dGrad(
  dy: Tensor,
  { inputSize, mode = 'nearest', alignCorners = false }: Omit<ResizeOptions, 'size'> & { readonly inputSize: Pair },
): Tensor {
  return resize2dGradOp([dy], { inputSize: pair(inputSize), mode, alignCorners })
}
