/** Chains of a sampler of one's choice on a trained model, and whether they have mixed: acceptance, divergences, R-hat and effective sample sizes. */
import type { Model } from '../nn/model.ts'
import { type SampleChainsOptions, sample } from '../samplers/sample.ts'
import { summarizeDraws } from './mcmc-diagnostics.ts'

/** As for `sample`; default NUTS, 4 chains of 500 draws. */
export type ChainCheckOptions = Pick<
  SampleChainsOptions,
  | 'sampler'
  | 'chains'
  | 'draws'
  | 'warmup'
  | 'thin'
  | 'start'
  | 'class'
  | 'temperature'
  | 'seed'
  | 'signal'
  | 'onProgress'
>

/** In evaluation.json. */
export interface ChainFigures {
  readonly sampler: string
  readonly chains: number
  /** Of each chain. */
  readonly draws: number
  /** Mean acceptance probability; 1 for samplers without an accept step. */
  readonly acceptance: number
  readonly divergences: number
  /** As tuned; null for samplers without one. */
  readonly stepSize: number | null
  /** Passes through the energy that each chain's draws cost. */
  readonly gradients: number
  /** Worst split R-hat over the coordinates; above 1.01 the chains disagree. */
  readonly rhat: number
  /** Least effective sample sizes over the coordinates, of all chains together. */
  readonly essBulk: number
  readonly essTail: number
}

/** Runs chains and sums up their draws. @throws what `sample` throws */
export async function chainFigures(model: Model, options: ChainCheckOptions = {}): Promise<ChainFigures> {
  const { sampler = { kind: 'nuts' }, chains = 4, draws = 500, ...rest } = options
  const made = await sample(model, { ...rest, sampler, chains, draws })
  const summaries = summarizeDraws(made.draws)
  const { acceptance, divergences, stepSize, gradients } = made
  return {
    sampler: sampler.kind,
    chains,
    draws,
    acceptance,
    divergences,
    stepSize,
    gradients,
    rhat: Math.max(...summaries.map((s) => s.rhat)),
    essBulk: Math.min(...summaries.map((s) => s.essBulk)),
    essTail: Math.min(...summaries.map((s) => s.essTail)),
  }
}
