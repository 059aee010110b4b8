/** Who is coupled with whom: neighbours on a lattice, colours of sites that are not coupled, and the matrix of all pairs. Graphs only. */
import type { Shape } from '../graph/shape.ts'
import { sizeOf } from '../graph/shape.ts'
import type { Tensor } from '../graph/tensor.ts'
import * as ops from '../ops/index.ts'

/** Whether a lattice closes upon itself. */
export type Boundary = 'periodic' | 'open'

/** Whether the axis has a bond from its end to its beginning. */
function closed(length: number, boundary: Boundary): boolean {
  return boundary === 'periodic' && length > 2
}

/** Every site and its next one along `axis`: two tensors of one shape, with as many entries along the axis as it has bonds. */
export function neighbours(y: Tensor, axis: number, boundary: Boundary): readonly [Tensor, Tensor] {
  const length = y.shape[axis] as number
  const next = ops.sliceAxis(y, axis, 1, length)
  if (!closed(length, boundary)) return [ops.sliceAxis(y, axis, 0, length - 1), next]
  return [y, ops.concat([next, ops.sliceAxis(y, axis, 0, 1)], axis)]
}

/** A colour for each site (row-major) so that neighbours differ: two where the lattice allows it, up to 3^axes on closed axes of odd length. */
export function siteColours(shape: Shape, boundary: Boundary): { readonly colour: number[]; readonly count: number } {
  const odd = shape.some((length) => closed(length, boundary) && length % 2 === 1)
  const raw = Array.from({ length: sizeOf(shape) }, (_, site) => {
    let rest = site
    let parity = 0
    let mixed = 0
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      const length = shape[axis] as number
      const at = rest % length
      rest = Math.floor(rest / length)
      parity += at
      // The last site of an odd ring touches both colours: it takes a third.
      mixed = 3 * mixed + (closed(length, boundary) && length % 2 === 1 && at === length - 1 ? 2 : at % 2)
    }
    return odd ? mixed : parity % 2
  })
  const used = [...new Set(raw)].sort((a, b) => a - b)
  return { colour: raw.map((c) => used.indexOf(c)), count: used.length }
}

/**
 * The symmetric matrix [sites·width, sites·width] of the pairs i < j in row-major order: J is [pairs], or [pairs, width, width] where entry
 * [p, a, b] stands for value a of site i and b of site j. Blocks on the diagonal are 0.
 */
export function pairMatrix(J: Tensor, sites: number, width: number): Tensor {
  const size = sites * width
  const index = new Int32Array(size * size)
  const none = J.size
  for (let row = 0; row < size; row++) {
    for (let column = 0; column < size; column++) {
      const [i, a, j, b] = [Math.floor(row / width), row % width, Math.floor(column / width), column % width]
      const at =
        i < j ? (pairNumber(i, j, sites) * width + a) * width + b : (pairNumber(j, i, sites) * width + b) * width + a
      index[row * size + column] = i === j ? none : at
    }
  }
  const values = ops.concat([ops.reshape(J, [J.size]), ops.zeros([1])])
  return ops.gather(values, ops.constant(index, [size, size]))
}

/** Position of the pair i < j among all pairs in row-major order. */
function pairNumber(i: number, j: number, sites: number): number {
  return i * sites - (i * (i + 1)) / 2 + (j - i - 1)
}
