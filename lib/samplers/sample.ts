/** Draws from a model or energy in one call: chains are started, warmed up, drawn from and freed. chains.ts gives each step by itself. */
import { Chains, type ChainsOptions, type Draws, type RunOptions } from './chains.ts'
import type { DensitySource } from './source.ts'

export interface SampleChainsOptions extends ChainsOptions, RunOptions {
  /** Draws of each chain. Default 100; 1 for schedules, whose every draw is a whole run. */
  readonly draws?: number
  /** Warm-up before the first draw. Default: as long as the sampler's own, 500 steps for samplers that do not adapt, none for schedules. */
  readonly warmup?: number
  /** Steps from one draw to the next (transitions, for NUTS). Default 1. */
  readonly thin?: number
}

/** Burn-in of samplers that say nothing about theirs. */
const BURN_IN = 500

/**
 * The draws [chains, draws, ...shape] and what the run tells; `onProgress` sees warm-up and draws, one after the other. R-hat and effective
 * sample sizes are in lib/evaluation.
 * @example await sample(model, { sampler: { kind: 'nuts' }, chains: 4, draws: 1000 })
 * @throws LangevinError E_CONFIG, E_SHAPE for what does not fit, E_CANCELLED; RangeError for impossible values
 */
export async function sample(source: DensitySource, options: SampleChainsOptions = {}): Promise<Draws> {
  const { draws, warmup, thin, signal, onProgress, ...start } = options
  const run: RunOptions = { ...(signal && { signal }), ...(onProgress && { onProgress }) }
  const chains = await Chains.start(source, start)
  try {
    const { schedule, adaptation } = chains.sampler
    if (warmup !== undefined || !schedule) await chains.warmup(warmup ?? adaptation?.steps ?? BURN_IN, run)
    return await chains.draw({ draws: draws ?? (schedule ? 1 : 100), ...(thin !== undefined && { thin }), ...run })
  } finally {
    chains.dispose()
  }
}
