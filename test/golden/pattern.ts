/** The formula that generate.py and the tests both evaluate, and digests of arrays: see generate.py. */
import { type HostTensor, hostTensor } from '../../lib/graph/host-tensor.ts'
import { type Shape, sizeOf } from '../../lib/graph/shape.ts'
import type { Network } from '../../lib/nn/network.ts'

export function pattern(shape: Shape, phase: number, scale = 1, offset = 0): HostTensor {
  const data = Float32Array.from({ length: sizeOf(shape) }, (_, i) => {
    return offset + scale * Math.sin(1.7 * i + phase + 0.3 * Math.sin(0.011 * i))
  })
  return hostTensor(data, shape)
}

/** All variables of a network by formula, as `set_weights` of generate.py. */
export function patternWeights(network: Network): Map<string, HostTensor> {
  const names = network.variables.map((v) => v.name).sort()
  return new Map(
    network.variables.map(({ name, shape }) => {
      const phase = 0.1 * names.indexOf(name)
      const fanIn = sizeOf(shape) / (shape[0] as number)
      if (name.endsWith('running_var')) return [name, pattern(shape, phase, 0.4, 1)]
      if (shape.length > 1) return [name, pattern(shape, phase, 1.5 / Math.sqrt(fanIn))]
      if (name.endsWith('weight')) return [name, pattern(shape, phase, 0.3, 1)]
      return [name, pattern(shape, phase, 0.2)]
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
