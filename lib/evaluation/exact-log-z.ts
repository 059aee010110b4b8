/** log Z of discrete models summed over all their states: of a machine's smaller layer, or of every site. What the sums are made of is rbm.ts's and enumerate.ts's. */
import { LangevinError } from '../graph/errors.ts'
import { sizeOf } from '../graph/shape.ts'
import type { Model } from '../nn/model.ts'
import type { Network } from '../nn/network.ts'
import { RbmNetwork } from '../nn/rbm.ts'
import { enumerateStates } from './enumerate.ts'
import { rbmLogZ } from './rbm.ts'

/** log2 of the number of terms in {@link exactLogZ}'s sum; Infinity where there is no such sum. */
export function exactBits(network: Network): number {
  const { discrete, shape } = network
  if (network instanceof RbmNetwork)
    return discrete === undefined ? network.hidden : Math.min(network.hidden, network.visible)
  if (discrete === undefined) return Infinity
  return discrete === 'oneHot' ? sizeOf(shape.slice(0, -1)) * Math.log2(shape.at(-1) as number) : sizeOf(shape)
}

/** log Z in nats, exactly, of at most 2^22 states. @throws LangevinError E_CONFIG for more, and for energies that are not discrete */
export async function exactLogZ(model: Model, options: { readonly signal?: AbortSignal } = {}): Promise<number> {
  const { network } = model
  if (network instanceof RbmNetwork) return rbmLogZ(model, options)
  const { discrete, config } = network
  if (discrete === undefined) {
    throw new LangevinError(
      'E_CONFIG',
      `log Z 'exact' is a sum over the states of a discrete model (rbm, ising, potts); network '${config.kind}' is an energy of real numbers. Use 'quadrature' or 'ais'.`,
    )
  }
  const kind = discrete === 'oneHot' ? { kind: 'oneHot' as const } : { values: discrete }
  return (await enumerateStates(model, { ...kind, ...options })).logZ
}
