/** Products to try on every device: shapes, what they must give (naive loops in float64), a seeded sweep. Not a test itself. */
import { sizeOf } from '../../../lib/graph/shape.ts'
import { type Array64, between, uniform, zeros } from '../one-op.ts'
import { generator } from '../plan-json.ts'

export interface Case {
  readonly a: readonly number[]
  readonly b: readonly number[]
  readonly transposeA?: boolean
  readonly transposeB?: boolean
}

/** Index of the matrix that batch entry `i` of `batch` reads in an operand with these batch axes (right-aligned, 1 repeats). */
function matrixOf(i: number, batch: readonly number[], own: readonly number[]): number {
  let [rest, index, stride] = [i, 0, 1]
  for (let d = batch.length - 1; d >= 0; d--) {
    const at = rest % (batch[d] as number)
    rest = Math.floor(rest / (batch[d] as number))
    const size = own[d - (batch.length - own.length)] ?? 1
    index += (size === 1 ? 0 : at) * stride
    stride *= size
  }
  return index
}

export function reference(a: Array64, b: Array64, transposeA: boolean, transposeB: boolean): Array64 {
  const [batchA, batchB] = [a.shape.slice(0, -2), b.shape.slice(0, -2)]
  const rank = Math.max(batchA.length, batchB.length)
  const batch = Array.from({ length: rank }, (_, d) => {
    const [p, q] = [batchA[d - rank + batchA.length] ?? 1, batchB[d - rank + batchB.length] ?? 1]
    return p === 1 ? q : p
  })
  const [rows, columns] = [a.shape.at(-2) as number, a.shape.at(-1) as number]
  const [m, k] = transposeA ? [columns, rows] : [rows, columns]
  const n = b.shape.at(transposeB ? -2 : -1) as number
  const c = zeros([...batch, m, n])
  for (let i = 0; i < sizeOf(batch); i++) {
    const [fromA, fromB] = [matrixOf(i, batch, batchA) * m * k, matrixOf(i, batch, batchB) * k * n]
    for (let p = 0; p < m; p++) {
      for (let q = 0; q < n; q++) {
        let total = 0
        for (let e = 0; e < k; e++) {
          const left = a.data[fromA + (transposeA ? e * m + p : p * k + e)] as number
          total += left * (b.data[fromB + (transposeB ? q * k + e : e * n + q)] as number)
        }
        c.data[(i * m + p) * n + q] = total
      }
    }
  }
  return c
}

/** What it takes and gives. */
export function operands(g: Case, seed: number) {
  const random = generator(seed)
  const [a, b] = [uniform(g.a, random), uniform(g.b, random)]
  const attr = { transposeA: g.transposeA ?? false, transposeB: g.transposeB ?? false }
  return { a, b, attr, c: reference(a, b, attr.transposeA, attr.transposeB) }
}

export const table: Record<string, Case> = {
  square: { a: [33, 17], b: [17, 40] },
  layer: { a: [64, 32], b: [48, 32], transposeB: true },
  'weight gradient': { a: [64, 32], b: [64, 48], transposeA: true },
  'both transposed': { a: [17, 33], b: [40, 17], transposeA: true, transposeB: true },
  'few columns': { a: [50, 24], b: [24, 2] },
  'few columns, transposed b': { a: [50, 24], b: [3, 24], transposeB: true },
  'few columns, transposed a': { a: [50, 24], b: [50, 10], transposeA: true },
  'few columns, both': { a: [24, 50], b: [2, 24], transposeA: true, transposeB: true },
  'two to many': { a: [50, 2], b: [40, 2], transposeB: true },
  'matrix times vector': { a: [40, 30], b: [30, 1] },
  'vector times matrix': { a: [1, 30], b: [30, 40] },
  'outer product': { a: [30, 1], b: [1, 40] },
  'one number': { a: [1, 1], b: [1, 1] },
  batch: { a: [5, 7, 9], b: [5, 9, 11] },
  'batch, transposed': { a: [5, 9, 7], b: [5, 11, 9], transposeA: true, transposeB: true },
  'one b for a batch': { a: [5, 7, 9], b: [9, 11] },
  'one b for a batch, transposed a': { a: [5, 9, 7], b: [9, 11], transposeA: true },
  'one a for a batch': { a: [7, 9], b: [5, 9, 11] },
  'crossed broadcast': { a: [3, 1, 7, 9], b: [4, 9, 2] },
  'rank 5': { a: [2, 1, 3, 4, 5], b: [2, 3, 1, 5, 6] },
  'inner size 0': { a: [4, 0], b: [0, 5] },
  'inner size 0 in a batch': { a: [3, 4, 0], b: [0, 5] },
  // Large enough that the rows are shared out among the threads.
  'many rows': { a: [131, 130], b: [130, 140] },
  'many rows, transposed b': { a: [257, 2], b: [66, 2], transposeB: true },
  'many rows, few columns': { a: [259, 70], b: [70, 3] },
  'many rows, few columns, transposed b': { a: [259, 70], b: [2, 70], transposeB: true },
  'many rows, one column': { a: [259, 70], b: [70, 1] },
  'large batch': { a: [4, 40, 33], b: [4, 33, 48] },
  'large batch, transposed': { a: [4, 33, 40], b: [4, 48, 33], transposeA: true, transposeB: true },
  'large, one b for a batch, transposed a': { a: [4, 33, 40], b: [33, 48], transposeA: true },
  'large, one a for a batch': { a: [40, 33], b: [4, 33, 48] },
  'large, crossed broadcast': { a: [3, 1, 25, 31], b: [4, 31, 35] },
  'large, outer product': { a: [300, 1], b: [1, 257] },
  'long sums, few results': { a: [2, 3000], b: [3000, 3] },
  'long sums, few results, transposed': { a: [3000, 2], b: [5, 3000], transposeA: true, transposeB: true },
  'no rows': { a: [0, 4], b: [4, 5] },
  'no batch': { a: [0, 3, 4], b: [4, 5] },
}

/** Products of all kinds, the same for a seed. */
export function sweep(count: number): Case[] {
  const random = generator(11)
  const sizes = [1, 2, 3, 8, 16, 31, 64]
  const pick = (): number => sizes[between(random, 0, sizes.length - 1)] as number
  return Array.from({ length: count }, () => {
    const [m, k, n] = [pick(), pick(), pick()]
    const [transposeA, transposeB] = [random() < 0.5, random() < 0.5]
    const batch = Array.from({ length: between(random, 0, 2) }, () => between(random, 1, 3))
    const own = (): number[] => batch.map((s) => (random() < 0.3 ? 1 : s))
    const a = [...own(), ...(transposeA ? [k, m] : [m, k])]
    return { a, b: [...own(), ...(transposeB ? [n, k] : [k, n])], transposeA, transposeB }
  })
}
