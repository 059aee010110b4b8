/** Rules of matrix products: Gemm, MatMul, and Einsum of one or two operands. */
import { sizeOf } from '../../graph/shape.ts'
import type { Tensor } from '../../graph/tensor.ts'
import * as ops from '../../ops/index.ts'
import type { Attributes, Call, OpRule } from './call.ts'

/** alpha·A·B + beta·C. */
function gemm(c: Call): Tensor {
  const [transposeA, transposeB] = [c.number('transA', 0) !== 0, c.number('transB', 0) !== 0]
  const [alpha, beta] = [c.number('alpha', 1), c.number('beta', 1)]
  const scaled = (t: Tensor, by: number): Tensor => (by === 1 ? t : ops.mul(t, by))
  const product = scaled(ops.matmul(c.x(0), c.x(1), { transposeA, transposeB }), alpha)
  const more = c.maybe(2)
  return more === undefined || beta === 0 ? product : ops.add(product, scaled(more, beta))
}

/** A vector on the left is a row, one on the right a column, as in NumPy. */
function matMul(c: Call): Tensor {
  const [a, b] = [c.x(0), c.x(1)]
  if (a.rank === 0 || b.rank === 0) throw c.fail('takes vectors, matrices or stacks of them; got a scalar')
  const y = ops.matmul(a.rank === 1 ? ops.unsqueeze(a, 0) : a, b.rank === 1 ? ops.unsqueeze(b, 1) : b)
  const gone = [...(a.rank === 1 ? [y.rank - 2] : []), ...(b.rank === 1 ? [y.rank - 1] : [])]
  return gone.length === 0 ? y : ops.squeeze(y, gone)
}

/** `ij,jk->ik` as its terms; undefined for what is not understood (repeated letters in a term, an ellipsis). */
function termsOf(equation: string): { readonly inputs: string[][]; readonly output: string[] } | undefined {
  const [left = '', right] = equation.replaceAll(' ', '').split('->')
  const inputs = left.split(',').map((t) => [...t])
  const all = inputs.flat()
  // Without an arrow: the letters that stand once, in alphabetical order.
  const once = [...new Set(all)].filter((l) => all.indexOf(l) === all.lastIndexOf(l)).sort()
  const output = right === undefined ? once : [...right]
  const plain = [...inputs, output].every((t) => t.every((l) => /[A-Za-z]/.test(l)) && new Set(t).size === t.length)
  return plain && output.every((l) => all.includes(l)) && inputs.length <= 2 ? { inputs, output } : undefined
}

/** x with the axes named `have` summed and ordered to `want`. */
function arranged(x: Tensor, have: readonly string[], want: readonly string[]): Tensor {
  const gone = have.flatMap((l, i) => (want.includes(l) ? [] : [i]))
  const kept = have.filter((l) => want.includes(l))
  const y = gone.length === 0 ? x : ops.sum(x, gone)
  return ops.transpose(
    y,
    want.map((l) => kept.indexOf(l)),
  )
}

/** As a stack of matrix products: letters of both and the output are the stack, those of both alone are summed over. */
function einsum(c: Call): Tensor {
  const terms = termsOf(c.text('equation', ''))
  if (terms === undefined) throw c.fail(`equation '${c.text('equation', '')}' is not supported`)
  const { output } = terms
  const [p, q] = terms.inputs as [string[], string[] | undefined]
  if (q === undefined) return arranged(c.x(0), p, output)
  const size = new Map([
    ...p.map((l, i) => [l, c.x(0).shape[i]] as const),
    ...q.map((l, i) => [l, c.x(1).shape[i]] as const),
  ])
  const stack = output.filter((l) => p.includes(l) && q.includes(l))
  const summed = p.filter((l) => q.includes(l) && !output.includes(l))
  const [rows, columns] = [output.filter((l) => !q.includes(l)), output.filter((l) => !p.includes(l))]
  const sizes = (letters: readonly string[]): number[] => letters.map((l) => size.get(l) as number)
  const a = arranged(c.x(0), p, [...stack, ...rows, ...summed])
  const b = arranged(c.x(1), q, [...stack, ...summed, ...columns])
  const count = (letters: readonly string[]): number => sizeOf(sizes(letters))
  const y = ops.matmul(
    ops.reshape(a, [...sizes(stack), count(rows), count(summed)]),
    ops.reshape(b, [...sizes(stack), count(summed), count(columns)]),
  )
  return arranged(ops.reshape(y, sizes([...stack, ...rows, ...columns])), [...stack, ...rows, ...columns], output)
}

export const linear: Readonly<Record<string, OpRule>> = {
  Gemm: { attributes: ['alpha', 'beta', 'transA', 'transB'], affine: 'first', build: gemm },
  MatMul: { attributes: [], affine: 'either', build: matMul },
  Einsum: {
    attributes: ['equation'],
    affine: 'either',
    refuse: (a: Attributes) =>
      termsOf(a.text('equation', '')) === undefined
        ? `equation '${a.text('equation', '')}' is not supported (one or two operands, no repeated letters)`
        : undefined,
    build: einsum,
  },
}
