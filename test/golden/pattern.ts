/** The formula that generate.py and the tests both evaluate, and digests of arrays: see generate.py. */
import { type HostTensor, hostTensor } from '../../lib/graph/host-tensor.ts'
import { type Shape, sizeOf } from '../../lib/graph/shape.ts'
import type { Network } from '../../lib/nn/network.ts'

/** offset + scale·u, u uniform in [-1, 1) from Murmur3's finalizer of (index, seed), rounded to float32. */
export function pattern(shape: Shape, seed: number, scale = 1, offset = 0): HostTensor {
  const data = Float32Array.from({ length: sizeOf(shape) }, (_, i) => {
    let h = (Math.imul(i + 1, 2654435761) + Math.imul(seed, 40503)) >>> 0
    h = Math.imul(h ^ (h >>> 16), 0x85ebca6b)
    h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35)
    h = (h ^ (h >>> 16)) >>> 0
    return offset + scale * (h / 2 ** 31 - 1)
  })
  return hostTensor(data, shape)
}

/** All variables of a network by formula, as `set_weights` of generate.py. */
export function patternWeights(network: Network): Map<string, HostTensor> {
  const names = network.variables.map((v) => v.name).sort()
  return new Map(
    network.variables.map(({ name, shape }) => {
      const seed = names.indexOf(name)
      const fanIn = sizeOf(shape) / (shape[0] as number)
      if (name.endsWith('running_var')) return [name, pattern(shape, seed, 0.4, 1)]
      if (shape.length > 1) return [name, pattern(shape, seed, 1.7 / Math.sqrt(fanIn))]
      if (name.endsWith('weight')) return [name, pattern(shape, seed, 0.3, 1)]
      return [name, pattern(shape, seed, 0.2)]
    }),
  )
}

export interface Digest {
  readonly norm: number
  readonly dot: number
  readonly first: readonly number[]
}

export function digest(t: HostTensor): Digest {
  let squares = 0
  let dot = 0
  t.data.forEach((v, i) => {
    squares += v * v
    dot += v * Math.cos(0.37 * i)
  })
  return { norm: Math.sqrt(squares), dot, first: [...t.data.subarray(0, 6)] }
}

/** Largest difference of two digests, relative to the norm of `want` (for single values: to the root mean square). */
export function digestError(got: Digest, want: Digest, size: number): number {
  const scale = Math.max(want.norm, 1e-6)
  const rms = scale / Math.sqrt(size)
  const firsts = want.first.map((w, i) => Math.abs(w - (got.first[i] as number)) / Math.max(rms, Math.abs(w)))
  return Math.max(Math.abs(got.norm - want.norm) / scale, Math.abs(got.dot - want.dot) / scale, ...firsts)
}

/** max |a - b| / max |b|. */
export function relativeError(got: ArrayLike<number>, want: readonly number[]): number {
  let worst = got.length === want.length ? 0 : Infinity
  const scale = Math.max(1e-6, ...want.map(Math.abs))
  want.forEach((w, i) => {
    worst = Math.max(worst, Math.abs(w - (got[i] as number)) / scale)
  })
  return worst
}
