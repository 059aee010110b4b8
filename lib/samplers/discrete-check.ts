/** Whether a sampler can draw from an energy of discrete x: those that move in real numbers would leave its values, and tell nothing. */
import { LangevinError } from '../graph/errors.ts'
import type { DiscreteValues } from '../nn/network.ts'
import type { Sampler } from './sampler.ts'

/** What of a network, or of a target, is looked at. */
interface Discrete {
  readonly discrete?: DiscreteValues | undefined
  readonly config: { readonly kind: string }
}

/** Refuses a sampler that would leave the values of discrete x. @throws LangevinError E_CONFIG with the samplers that stay among them */
export function checkDiscrete(sampler: Sampler, { discrete, config }: Discrete): void {
  if (discrete === undefined || sampler.kind === 'blockGibbs') return
  const what = `sampler ${sampler.kind}: network '${config.kind}' is an energy of ${discrete === 'oneHot' ? 'one-hot x' : `binary x, ${discrete.join(' or ')}`}`
  const bits = discrete === 'oneHot' || (discrete[0] === 0 && discrete[1] === 1)
  if (sampler.kind !== 'gibbsWithGradients') {
    const fitting = bits ? "'blockGibbs' or 'gibbsWithGradients'" : "'blockGibbs'"
    throw new LangevinError('E_CONFIG', `${what}, and this sampler moves in real numbers. Use ${fitting}.`)
  }
  const { form } = sampler.options as { readonly kind: string; readonly form?: unknown }
  const wanted = discrete === 'oneHot' ? 'oneHot' : 'binary'
  if (form !== wanted) throw new LangevinError('E_CONFIG', `${what}; set form: '${wanted}'.`)
  if (!bits) throw new LangevinError('E_CONFIG', `${what}, and this sampler takes 0 and 1. Use 'blockGibbs'.`)
}
