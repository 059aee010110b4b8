/** Ops of the data path: random crops with mirroring, and rows drawn from class Gaussians. No gradients: they make inputs. */
import { shapeError } from '../graph/errors.ts'
import { sameShape, showShape, type TensorType } from '../graph/shape.ts'
import type { Tensor } from '../graph/tensor.ts'
import { expectInteger, expectRank, type NoAttrs, operand } from './check.ts'
import { defineOp } from './define.ts'
import { one } from './onnx.ts'
import { at, refArray } from './ref.ts'

const cropFlipOp = defineOp<{ readonly pad: number }>({
  name: 'crop_flip',
  kind: 'structured',
  infer: (inputs, { pad }) => {
    const x = operand('crop_flip', inputs, 0, 'float32', 'uint8')
    const offsets = operand('crop_flip', inputs, 1, 'int32')
    const flip = operand('crop_flip', inputs, 2, 'bool')
    expectRank('crop_flip', 'x', x.shape, 4, '[N,C,H,W]')
    expectInteger('crop_flip', 'pad', pad, 0)
    expectRows('crop_flip', 'offsets', offsets, [at(x.shape, 0), 2])
    expectRows('crop_flip', 'flip', flip, [at(x.shape, 0)])
    if (pad > 0 && pad >= Math.min(at(x.shape, 2), at(x.shape, 3))) {
      throw shapeError('crop_flip', `pad must be smaller than height and width; got ${pad} for ${showShape(x.shape)}`, {
        pad,
      })
    }
    return x
  },
  gradient: { missing: 'it augments data, before anything is differentiated' },
  reference: (inputs, { pad }, output) => {
    const [x, offsets, flip] = [at(inputs, 0), at(inputs, 1), at(inputs, 2)]
    const [n, c, h, w] = x.shape as [number, number, number, number]
    const out = refArray(output.shape)
    for (let p = 0; p < n * c; p++) {
      const image = Math.floor(p / c)
      const dy = shiftOf(at(offsets.data, 2 * image), pad)
      const dx = shiftOf(at(offsets.data, 2 * image + 1), pad)
      for (let i = 0; i < h; i++) {
        for (let j = 0; j < w; j++) {
          const column = at(flip.data, image) !== 0 ? w - 1 - j : j
          const source = (p * h + reflect(i + dy, h)) * w + reflect(column + dx, w)
          out.data[(p * h + i) * w + j] = at(x.data, source)
        }
      }
    }
    return out
  },
  onnx: { unsupported: 'augmentation happens before an exported model' },
})

/** Crop offset 0..2·pad in the padded image as a shift of the unpadded one; clamped. */
function shiftOf(offset: number, pad: number): number {
  return Math.min(2 * pad, Math.max(0, offset)) - pad
}

/** Mirror at the borders without repeating the edge. */
function reflect(i: number, n: number): number {
  return i < 0 ? -i : i >= n ? 2 * (n - 1) - i : i
}

function expectRows(op: string, what: string, t: TensorType, want: readonly number[]): void {
  if (!sameShape(t.shape, want)) {
    throw shapeError(op, `${what} must have shape ${showShape(want)}; got ${showShape(t.shape)}`, {
      got: t.shape,
      want,
    })
  }
}

/**
 * Images x [N,C,H,W] (float32 or uint8) padded by reflection (edge not repeated), cropped back at `offsets` (int32 [N,2], dy and dx in
 * 0..2·pad) and mirrored left-right where `flip` (bool [N]).
 */
export function cropFlip(x: Tensor, offsets: Tensor, flip: Tensor, { pad }: { readonly pad: number }): Tensor {
  return cropFlipOp([x, offsets, flip], { pad })
}

const gaussianRowsOp = defineOp<NoAttrs>({
  name: 'gaussian_rows',
  kind: 'structured',
  infer: (inputs) => {
    const mask = operand('gaussian_rows', inputs, 0, 'bool')
    const classes = operand('gaussian_rows', inputs, 1, 'int32')
    const mean = operand('gaussian_rows', inputs, 2, 'float32')
    const factor = operand('gaussian_rows', inputs, 3, 'float32')
    const z = operand('gaussian_rows', inputs, 4, 'float32')
    expectRank('gaussian_rows', 'mean', mean.shape, 2, '[c,d]')
    expectRank('gaussian_rows', 'factor', factor.shape, 3, '[c,d,r]')
    expectRank('gaussian_rows', 'z', z.shape, 2, '[n,r]')
    const n = at(z.shape, 0)
    expectRows('gaussian_rows', 'mask', mask, [n])
    expectRows('gaussian_rows', 'classes', classes, [n])
    expectRows('gaussian_rows', 'factor', factor, [...mean.shape, at(z.shape, 1)])
    if (n > 0 && at(mean.shape, 0) === 0)
      throw shapeError('gaussian_rows', 'needs at least one class; got mean with none')
    return { shape: [n, at(mean.shape, 1)], dtype: 'float32' }
  },
  gradient: { missing: 'it draws starting points; differentiate gather and matmul instead' },
  reference: (inputs, _, output) => {
    const [mask, classes, mean, factor, z] = [0, 1, 2, 3, 4].map((i) => at(inputs, i)) as [
      (typeof inputs)[0],
      (typeof inputs)[0],
      (typeof inputs)[0],
      (typeof inputs)[0],
      (typeof inputs)[0],
    ]
    const [n, d] = output.shape as [number, number]
    const r = at(z.shape, 1)
    const out = refArray(output.shape)
    for (let i = 0; i < n; i++) {
      if (at(mask.data, i) === 0) continue
      const k = Math.min(at(mean.shape, 0) - 1, Math.max(0, at(classes.data, i)))
      for (let j = 0; j < d; j++) {
        let value = at(mean.data, k * d + j)
        for (let q = 0; q < r; q++) value += at(factor.data, (k * d + j) * r + q) * at(z.data, i * r + q)
        out.data[i * d + j] = value
      }
    }
    return out
  },
  onnx: (c) => {
    const [mask, classes, mean, factor, z] = c.inputs as [string, string, string, string, string]
    const last = c.emit.cast(c.emit.ints([at(at(c.types, 2).shape, 0) - 1], []), 'int64')
    const index = one(c, 'Max', [one(c, 'Min', [c.emit.cast(classes, 'int64'), last]), c.emit.ints([0], [])])
    // Every class's product with every z, [c,d,n], and of those each row's own: a factor gathered for each row would take n·d·r numbers.
    const products = one(c, 'MatMul', [factor, one(c, 'Transpose', [z], { perm: { ints: [1, 0] } })])
    const byRow = one(c, 'Transpose', [products], { perm: { ints: [2, 0, 1] } })
    const own = one(c, 'Unsqueeze', [index, c.emit.ints([1])])
    const spread = one(c, 'GatherND', [byRow, own], { batch_dims: { int: 1 } })
    const rows = one(c, 'Add', [one(c, 'Gather', [mean, index]), spread])
    return one(c, 'Where', [one(c, 'Unsqueeze', [mask, c.emit.ints([1])]), rows, c.emit.floats([0], [])])
  },
})

/**
 * Row i is mean[classes[i]] + factor[classes[i]]·z[i] where mask[i], else 0.
 * mask bool [n], classes int32 [n] (clamped), mean [c,d], factor [c,d,r], z [n,r]; result [n,d].
 */
export function gaussianRows(mask: Tensor, classes: Tensor, mean: Tensor, factor: Tensor, z: Tensor): Tensor {
  return gaussianRowsOp([mask, classes, mean, factor, z], {})
}
