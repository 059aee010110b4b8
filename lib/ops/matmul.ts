/** Matrix products with broadcast leading dimensions. Their gradients are matrix products, so they close under differentiation. */
import { shapeError } from '../graph/errors.ts'
import { broadcastShapes, type Shape, showShape } from '../graph/shape.ts'
import type { Tensor } from '../graph/tensor.ts'
import { operand } from './check.ts'
import { defineOp } from './define.ts'
import { one } from './onnx.ts'
import { unbroadcast } from './reduce.ts'
import { at, broadcastStrides, indexMap, refArray } from './ref.ts'
import { reshape, transpose } from './shape.ts'

type MatmulAttrs = { readonly transposeA: boolean; readonly transposeB: boolean }

/** [rows, columns] of the last two axes, after the transposition. */
function matrix(shape: Shape, transposed: boolean): [number, number] {
  const [r, c] = [at(shape, shape.length - 2), at(shape, shape.length - 1)]
  return transposed ? [c, r] : [r, c]
}

const matmulOp = defineOp<MatmulAttrs>({
  name: 'matmul',
  kind: 'structured',
  infer: (inputs, { transposeA, transposeB }) => {
    const a = operand('matmul', inputs, 0, 'float32')
    const b = operand('matmul', inputs, 1, 'float32')
    const shown = `${showShape(a.shape)}${transposeA ? 'ᵀ' : ''} and ${showShape(b.shape)}${transposeB ? 'ᵀ' : ''}`
    if (a.shape.length < 2 || b.shape.length < 2) {
      throw shapeError('matmul', `operands must have rank 2 or more; got ${shown}: reshape a vector to a matrix`, {
        a: a.shape,
        b: b.shape,
      })
    }
    const [m, ka] = matrix(a.shape, transposeA)
    const [kb, n] = matrix(b.shape, transposeB)
    if (ka !== kb) {
      throw shapeError('matmul', `columns of a (${ka}) must equal rows of b (${kb}); got ${shown}`, {
        a: a.shape,
        b: b.shape,
        transposeA,
        transposeB,
      })
    }
    return { shape: [...broadcastShapes('matmul', a.shape.slice(0, -2), b.shape.slice(0, -2)), m, n], dtype: 'float32' }
  },
  // With A, B the matrices after transposition: dA = g·Bᵀ, dB = Aᵀ·g, each transposed back where its operand was.
  gradient: ({ inputs, attrs: { transposeA, transposeB }, grad }) => {
    const [a, b] = [at(inputs, 0), at(inputs, 1)]
    const da = transposeA
      ? matmul(b, grad, { transposeA: transposeB, transposeB: true })
      : matmul(grad, b, { transposeB: !transposeB })
    const db = transposeB
      ? matmul(grad, a, { transposeA: true, transposeB: transposeA })
      : matmul(a, grad, { transposeA: !transposeA })
    return [unbroadcast(da, a.shape), unbroadcast(db, b.shape)]
  },
  reference: (inputs, { transposeA, transposeB }, output) => {
    const [a, b] = [at(inputs, 0), at(inputs, 1)]
    const [m, k] = matrix(a.shape, transposeA)
    const n = at(output.shape, output.shape.length - 1)
    const batch = output.shape.slice(0, -2)
    const startA = indexMap(batch, broadcastStrides(a.shape.slice(0, -2), batch))
    const startB = indexMap(batch, broadcastStrides(b.shape.slice(0, -2), batch))
    const [ai, ak] = transposeA ? [1, m] : [k, 1]
    const [bk, bj] = transposeB ? [1, k] : [n, 1]
    const out = refArray(output.shape)
    for (let s = 0, e = 0; s < startA.length; s++) {
      for (let i = 0; i < m; i++) {
        for (let j = 0; j < n; j++, e++) {
          let total = 0
          for (let p = 0; p < k; p++) {
            total +=
              at(a.data, at(startA, s) * m * k + i * ai + p * ak) * at(b.data, at(startB, s) * k * n + p * bk + j * bj)
          }
          out.data[e] = total
        }
      }
    }
    return out
  },
  onnx: (c) => {
    const [a, b] = c.inputs.map((name, i) => {
      const flipped = i === 0 ? c.attrs.transposeA : c.attrs.transposeB
      const rank = at(c.types, i).shape.length
      const perm = Array.from({ length: rank }, (_, d) => (d < rank - 2 ? d : 2 * rank - 3 - d))
      return flipped ? one(c, 'Transpose', [name], { perm: { ints: perm } }) : name
    }) as [string, string]
    return one(c, 'MatMul', [a, b])
  },
})

export interface MatmulOptions {
  /** Use the transpose of a's last two axes. Default false. */
  readonly transposeA?: boolean
  /** Use the transpose of b's last two axes. Default false. */
  readonly transposeB?: boolean
}

/** Matrix product over the last two axes; float32, rank 2 or more, leading axes broadcast. */
export function matmul(a: Tensor, b: Tensor, { transposeA = false, transposeB = false }: MatmulOptions = {}): Tensor {
  // One matrix b serves every row of every batch of a: one large product, whose weight gradient is one product too.
  if (a.rank > 2 && b.rank === 2 && !transposeA) {
    const rows = a.size / Math.max(1, at(a.shape, a.rank - 1))
    if (a.size > 0) {
      const flat = matmulOp([reshape(a, [rows, at(a.shape, a.rank - 1)]), b], { transposeA, transposeB })
      return reshape(flat, [...a.shape.slice(0, -1), at(flat.shape, 1)])
    }
  }
  return matmulOp([a, b], { transposeA, transposeB })
}

/** Transpose of the last two axes. */
export function matrixTranspose(x: Tensor): Tensor {
  return transpose(
    x,
    x.shape.map((_, i) => (i < x.rank - 2 ? i : 2 * x.rank - 3 - i)),
  )
}
