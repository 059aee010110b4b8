/** The registry: options of every kind of sampler, and the sampler that options describe. The samplers themselves stand one a file. */
import { LangevinError, suggestion } from '../graph/errors.ts'
import { type AnnealedLangevinOptions, makeAnnealedLangevin } from './annealed.ts'
import { type BlockGibbsOptions, makeBlockGibbs } from './block-gibbs.ts'
import { type GibbsWithGradientsOptions, makeGibbsWithGradients } from './gibbs-with-gradients.ts'
import { type HmcOptions, makeHmc } from './hmc.ts'
import { makePreconditionedLangevin, makeUla, type PreconditionedLangevinOptions, type UlaOptions } from './langevin.ts'
import { type MalaOptions, makeMala } from './mala.ts'
import { makeNuts, type NutsOptions } from './nuts.ts'
import { makePredictorCorrector, type PredictorCorrectorOptions } from './predictor-corrector.ts'
import { makeProbabilityFlow, type ProbabilityFlowOptions } from './probability-flow.ts'
import { makePyld, type PyldOptions } from './pyld.ts'
import { makeRwm, type RwmOptions } from './rwm.ts'
import type { Sampler } from './sampler.ts'
import { makeSgld, type ProximalSgldOptions, type SgldOptions } from './sgld.ts'
import { makeParallelTempering, type ParallelTemperingOptions } from './tempering.ts'
import { makeUnderdamped, type UnderdampedOptions } from './underdamped.ts'

export type { AnnealedLangevinOptions } from './annealed.ts'
export type { BlockGibbsOptions } from './block-gibbs.ts'
export type { GibbsWithGradientsOptions } from './gibbs-with-gradients.ts'
export type { HmcOptions } from './hmc.ts'
export type { PreconditionedLangevinOptions, UlaOptions } from './langevin.ts'
export type { MalaOptions } from './mala.ts'
export type { NutsOptions } from './nuts.ts'
export type { PredictorCorrectorOptions } from './predictor-corrector.ts'
export type { ProbabilityFlowOptions } from './probability-flow.ts'
export type { PyldOptions } from './pyld.ts'
export type { RwmOptions } from './rwm.ts'
export type { ProximalSgldOptions, SgldOptions } from './sgld.ts'
export type { ParallelTemperingOptions } from './tempering.ts'
export type { UnderdampedOptions } from './underdamped.ts'

export type SamplerOptions =
  | SgldOptions
  | ProximalSgldOptions
  | PyldOptions
  | UlaOptions
  | PreconditionedLangevinOptions
  | UnderdampedOptions
  | RwmOptions
  | MalaOptions
  | HmcOptions
  | NutsOptions
  | AnnealedLangevinOptions
  | PredictorCorrectorOptions
  | ProbabilityFlowOptions
  | ParallelTemperingOptions
  | GibbsWithGradientsOptions
  | BlockGibbsOptions

type Makers = {
  readonly [K in SamplerOptions['kind']]: (options: Extract<SamplerOptions, { kind: K }>) => Sampler<SamplerOptions>
}

const makers: Makers = {
  sgld: makeSgld,
  proximalSgld: makeSgld,
  pyld: makePyld,
  ula: makeUla,
  preconditionedLangevin: makePreconditionedLangevin,
  underdamped: makeUnderdamped,
  rwm: makeRwm,
  mala: makeMala,
  hmc: makeHmc,
  nuts: makeNuts,
  annealedLangevin: makeAnnealedLangevin,
  predictorCorrector: makePredictorCorrector,
  probabilityFlow: makeProbabilityFlow,
  parallelTempering: (options) => makeParallelTempering(options, makeSampler),
  gibbsWithGradients: makeGibbsWithGradients,
  blockGibbs: makeBlockGibbs,
}

/** The kinds that {@link makeSampler} knows. */
export const samplerKinds: readonly SamplerOptions['kind'][] = Object.keys(makers) as SamplerOptions['kind'][]

/** The sampler that the options describe. @throws LangevinError E_CONFIG for unknown kinds and options; RangeError for impossible values. */
export function makeSampler(options: SamplerOptions): Sampler<SamplerOptions> {
  const kind: string = options.kind
  if (!Object.hasOwn(makers, kind)) {
    throw new LangevinError('E_CONFIG', `sampler '${kind}' is not known.${suggestion(kind, samplerKinds)}`)
  }
  return (makers[options.kind] as (options: SamplerOptions) => Sampler<SamplerOptions>)(options)
}
