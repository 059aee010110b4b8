/** Small discrete models exactly: the energy of every state, natively, and log Z. Nothing here samples. */
import { LangevinError } from '../graph/errors.ts'
import { type HostTensor, hostTensor } from '../graph/host-tensor.ts'
import { sizeOf } from '../graph/shape.ts'
import type { Tensor } from '../graph/tensor.ts'
import type { Model } from '../nn/model.ts'
import { Variables } from '../nn/variables.ts'
import * as ops from '../ops/index.ts'
import { logSumExp } from './log-weights.ts'
import { overRows } from './row-blocks.ts'

export interface EnumerateOptions {
  /** 'binary' (default): every number of x is a site. 'oneHot': the last axis holds a site's values. */
  readonly kind?: 'binary' | 'oneHot'
  /** The two values of binary x; default [0, 1]. */
  readonly values?: readonly [off: number, on: number]
  readonly signal?: AbortSignal
}

/** Every state of a model. State i has the i-th digits of i, the last site's changing fastest. */
export interface Enumeration {
  /** log Σ_x exp(-E(x)), nats. */
  readonly logZ: number
  /** E of every state. */
  readonly energy: Float32Array
  /** p(x) of every state; they sum to 1. */
  readonly probability: Float64Array
  /** x of the given states [n, ...shape]. */
  states(indices: ArrayLike<number>): HostTensor
}

/**
 * The whole distribution of a model over discrete x of few sites: at most 2^22 states.
 * @throws LangevinError E_CONFIG for more states, or an example shape without values for kind 'oneHot'
 */
export async function enumerateStates(model: Model, options: EnumerateOptions = {}): Promise<Enumeration> {
  const { shape } = model.network
  const { kind = 'binary', values: [off, on] = [0, 1], signal } = options
  if (kind !== 'binary' && kind !== 'oneHot')
    throw new LangevinError('E_CONFIG', `enumerateStates: kind must be 'binary' or 'oneHot'; got '${String(kind)}'`)
  const base = kind === 'binary' ? 2 : (shape.at(-1) as number)
  const sites = sizeOf(kind === 'binary' ? shape : shape.slice(0, -1))
  const count = checkStates('enumerateStates', base, sites, 22)
  const work = {
    device: model.device,
    tensors: Object.fromEntries(model.stateDict()),
    rows: count,
    columns: sizeOf(shape),
    signal,
  }
  const { energy } = await overRows(work, (index, read) => {
    const x = kind === 'binary' ? binaryRows(index, sites) : ops.oneHot(digitRows(index, sites, base), base)
    const scaled = off === 0 && on === 1 ? x : ops.add(ops.mul(x, on - off), off)
    const pass = { variables: new Variables((v) => read(v.name)), norm: 'running' } as const
    return { energy: model.network.energy(ops.reshape(scaled, [index.shape[0] as number, ...shape]), pass) }
  })
  const energies = energy.data as Float32Array
  const logZ = logSumExp(energies.map((e) => -e))
  return {
    logZ,
    energy: energies,
    probability: Float64Array.from(energies, (e) => Math.exp(-e - logZ)),
    states(indices) {
      const d = sizeOf(shape)
      const out = new Float32Array(indices.length * d)
      for (let r = 0; r < indices.length; r++) {
        let rest = indices[r] as number
        if (!Number.isInteger(rest) || rest < 0 || rest >= count)
          throw new RangeError(`states: expected numbers of states in 0..${count - 1}; got ${rest}`)
        for (let site = sites - 1; site >= 0; site--) {
          const digit = rest % base
          rest = Math.floor(rest / base)
          if (kind === 'binary') out[r * d + site] = digit === 1 ? on : off
          else out[r * d + site * base + digit] = 1
        }
      }
      return hostTensor(out, [indices.length, ...shape])
    },
  }
}

/** base^sites, if that is at most 2^limit. @throws LangevinError E_CONFIG */
export function checkStates(where: string, base: number, sites: number, limit: number): number {
  const bits = sites * Math.log2(base)
  if (bits > limit + 1e-9 || limit > 30) {
    throw new LangevinError(
      'E_CONFIG',
      `${where}: ${sites} sites of ${base} values are 2^${bits.toFixed(1)} states; at most 2^${Math.min(limit, 30)} are enumerated. Use annealed importance sampling.`,
    )
  }
  return base ** sites
}

/** Digits of `index` (int32 [n]) to a base, most significant first: int32 [n, sites]. */
function digitRows(index: Tensor, sites: number, base: number): Tensor {
  const place = Int32Array.from({ length: sites }, (_, i) => base ** (sites - 1 - i))
  return ops.rem(ops.div(ops.unsqueeze(index, 1), ops.constant(place, [1, sites])), base)
}

/** Bits of `index` (int32 [n]), most significant first: float32 [n, sites] of 0 and 1. */
export function binaryRows(index: Tensor, sites: number): Tensor {
  return ops.cast(digitRows(index, sites, 2), 'float32')
}
