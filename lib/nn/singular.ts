/** Power iteration on the host, for the initial singular vectors of a weight. In training it is part of the graph: spectral-norm.ts. */
import type { HostTensor } from '../graph/host-tensor.ts'

/**
 * Left and right singular vectors of the largest singular value of `weight` seen as [out, rest], after `iterations` of u ← Wv/‖Wv‖,
 * v ← Wᵀu/‖Wᵀu‖ from v = start/‖start‖.
 */
export function singularVectors(
  weight: HostTensor,
  start: Float64Array,
  iterations: number,
): { readonly left: Float64Array; readonly right: Float64Array } {
  const [rows = 1] = weight.shape
  const columns = weight.data.length / rows
  let left = new Float64Array(rows)
  let right = normalized(start)
  for (let k = 0; k < iterations; k++) {
    left = normalized(left.map((_, i) => dotRow(weight, i, columns, right)))
    const next = new Float64Array(columns)
    for (let i = 0; i < rows; i++) {
      const u = left[i] as number
      for (let j = 0; j < columns; j++) next[j] = (next[j] as number) + u * (weight.data[i * columns + j] as number)
    }
    right = normalized(next)
  }
  return { left, right }
}

function dotRow(weight: HostTensor, row: number, columns: number, v: Float64Array): number {
  let sum = 0
  for (let j = 0; j < columns; j++) sum += (weight.data[row * columns + j] as number) * (v[j] as number)
  return sum
}

function normalized(v: Float64Array): Float64Array<ArrayBuffer> {
  const length = Math.max(Math.sqrt(v.reduce((sum, x) => sum + x * x, 0)), 1e-12)
  return Float64Array.from(v, (x) => x / length)
}
