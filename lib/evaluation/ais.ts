/**
 * Annealed importance sampling (Neal 2001): log Z of any energy from chains that are annealed from a tractable base to the model, and
 * the reverse (Burda 2015), which together bracket log Z. The anneal is one native program; JavaScript only asks for temperatures and
 * sums the log weights in float64. What moves the chains is ais-transition.ts's, where they begin ais-base.ts's part.
 */
import { LangevinError } from '../graph/errors.ts'
import type { HostTensor } from '../graph/host-tensor.ts'
import { sameShape, showShape, sizeOf } from '../graph/shape.ts'
import type { Model } from '../nn/model.ts'
import { Variables } from '../nn/variables.ts'
import * as ops from '../ops/index.ts'
import type { Recorder } from '../runtime/state.ts'
import { type BaseOptions, makeBase } from './ais-base.ts'
import { type Annealed, anneal, annealingSchedule, drawBase, type Setup, stateOf } from './ais-run.ts'
import { makeTransition, type TransitionOptions } from './ais-transition.ts'
import { checkCount, checkFinite } from './checks.ts'
import { bennettLogZ } from './log-weights.ts'

export interface AnnealingOptions {
  /** Where annealing begins; default N(0, 1) in every dimension. Best: fitted to data or samples. */
  readonly base?: BaseOptions
  /** Temperatures after the base; default 1000. The estimate's bias and variance fall as it grows. */
  readonly steps?: number
  /**
   * Inverse temperatures β of π_β ∝ base^(1-β) exp(-βE): 'sigmoid' (default; finer near both ends, Grosse 2015), 'linear', or `steps` rising
   * numbers in (0, 1] that end in 1.
   */
  readonly schedule?: 'sigmoid' | 'linear' | readonly number[]
  /** What moves the chains; default HMC with 5 leapfrog steps. */
  readonly transition?: TransitionOptions
  /** Transitions at each temperature; default 1. */
  readonly transitions?: number
  /** Default 0. */
  readonly seed?: number
  readonly signal?: AbortSignal
  /** Temperatures done, the pilot's included. */
  readonly onProgress?: (done: number, total: number) => void
}

export interface AisOptions extends AnnealingOptions {
  /** Independent chains, at least 2; default 256. */
  readonly chains?: number
}

export interface ReverseAisOptions extends AnnealingOptions {
  /** Draws of the model, float32 [n, ...shape], n >= 2: one chain begins at each. The bound is only as good as they are. */
  readonly samples: HostTensor
}

export interface AisResult {
  /** Estimate of log Z, nats. Forward: a lower bound in expectation; reverse: an upper bound. */
  readonly logZ: number
  /** By the delta method; too small where few chains carry the weight (see `effectiveSampleSize`). */
  readonly standardError: number
  /** log of each chain's importance weight, float64 [chains]; its exponential has the mean Z (reverse: 1/Z). */
  readonly logWeights: Float64Array
  /** (Σw)² / Σw², between 1 and the number of chains. */
  readonly effectiveSampleSize: number
  /** Mean acceptance probability over all temperatures. */
  readonly acceptance: number
  /** The chains at the end [chains, ...shape]: with the weights, draws of the model (reverse: of the base). */
  readonly samples: HostTensor
  /** Step size at each temperature, from the base to the model, in units of the base's width. */
  readonly stepSizes: Float32Array
}

/**
 * log Z = log of the integral of exp(-E) by chains from the base to the model. Weights are unbiased for Z, so log Z is underestimated on
 * average, the less the more temperatures. Step sizes are tuned in a pilot anneal of other chains, so that they do not bias the weights.
 * Cost: chains · steps · transitions · leapfrog gradients, natively; the pilot adds at most as much again.
 * @throws LangevinError E_CONFIG, E_SHAPE, E_DATA; E_DIVERGED if weights are not finite; E_CANCELLED; RangeError
 */
export async function annealedImportanceSampling(model: Model, options: AisOptions = {}): Promise<AisResult> {
  const { chains = 256 } = options
  checkCount('annealedImportanceSampling: chains', chains, 2)
  const setup = await prepare(model, options)
  const progress = counter(options, setup, 1)
  const stepSizes = await stepSizesFor(setup, pilotCount(chains), progress)
  return forward(setup, chains, stepSizes, progress)
}

/**
 * The same anneal run backwards from draws of the model: an estimate of log Z that is too high on average (Burda 2015). Exact draws make
 * it a bound; draws of a chain that has not mixed do not.
 * @throws as {@link annealedImportanceSampling}; E_DATA for samples outside the base's support
 */
export async function reverseAnnealedImportanceSampling(model: Model, options: ReverseAisOptions): Promise<AisResult> {
  const setup = await prepare(model, options)
  checkSamples(model, options.samples)
  const progress = counter(options, setup, 1)
  const stepSizes = await stepSizesFor(setup, pilotCount(options.samples.shape[0] as number), progress)
  return reverse(setup, options.samples, stepSizes, progress)
}

export interface LogZBracket {
  /** Forward estimate: below log Z on average. */
  readonly lower: number
  /** Reverse estimate: above log Z on average. */
  readonly upper: number
  /** Bennett's combination of the weights of both directions (Bennett 1976). */
  readonly estimate: number
  /** Of `estimate`. */
  readonly standardError: number
  readonly forward: AisResult
  readonly reverse: AisResult
}

/**
 * log Z between two bounds that are stochastic but closing: forward annealing from below, reverse annealing from above. A gap that is
 * wide against the standard errors says that the steps are too few or the samples not the model's.
 * @throws as {@link reverseAnnealedImportanceSampling}
 */
export async function bracketLogZ(model: Model, options: ReverseAisOptions & AisOptions): Promise<LogZBracket> {
  const setup = await prepare(model, options)
  checkSamples(model, options.samples)
  const chains = options.chains ?? (options.samples.shape[0] as number)
  checkCount('bracketLogZ: chains', chains, 2)
  const progress = counter(options, setup, 2)
  const stepSizes = await stepSizesFor(setup, pilotCount(chains), progress)
  const up = await forward(setup, chains, stepSizes, progress)
  const down = await reverse(setup, options.samples, stepSizes, progress)
  const both = bennettLogZ(
    up.logWeights,
    down.logWeights.map((w) => -w),
  )
  return {
    lower: up.logZ,
    upper: down.logZ,
    estimate: both.value,
    standardError: both.standardError,
    forward: up,
    reverse: down,
  }
}

async function prepare(model: Model, options: AnnealingOptions): Promise<Setup> {
  const { network } = model
  const { steps, transitions = 1, seed = 0 } = options
  checkCount('AIS: transitions', transitions, 1)
  checkCount('AIS: seed', seed, 0)
  const schedule = options.schedule ?? 'sigmoid'
  const base = await makeBase(options.base ?? { kind: 'normal' }, network.shape)
  const pass = (r: Recorder) => ({ variables: new Variables((v) => r.read(v.name)), norm: 'running' as const })
  return {
    model,
    base,
    path: {
      shape: network.shape,
      logModel: (r, x) => ops.neg(network.energy(x, pass(r))),
      logBase: (r, x) => base.logDensity((name) => r.read(`base/${name}`), x),
    },
    transition: makeTransition(options.transition ?? { kind: 'hmc' }, sizeOf(network.shape)),
    transitions,
    betas: annealingSchedule(schedule, steps ?? (typeof schedule === 'string' ? 1000 : schedule.length)),
    seed,
    signal: options.signal,
  }
}

function checkSamples(model: Model, samples: HostTensor): void {
  const { shape } = model.network
  if (samples.dtype !== 'float32' || !((samples.shape[0] ?? 0) >= 2) || !sameShape(samples.shape.slice(1), shape)) {
    throw new LangevinError(
      'E_SHAPE',
      `AIS: samples must be float32 [n,${shape.join(',')}] with n >= 2; got ${samples.dtype}${showShape(samples.shape)}`,
    )
  }
  checkFinite('AIS: samples', samples.data)
}

type Progress = (done: number) => void

/** Counts temperatures over `anneals` runs and the pilot. */
function counter(options: AnnealingOptions, { transition, betas }: Setup, anneals: number): Progress {
  const total = betas.length * (anneals + (typeof transition.stepSize === 'number' ? 0 : 1))
  let sum = 0
  return (done) => {
    sum += done
    options.onProgress?.(sum, total)
  }
}

const pilotCount = (chains: number): number => Math.min(Math.max(chains, 32), 128)

async function stepSizesFor(setup: Setup, chains: number, progress: Progress): Promise<Float32Array> {
  const { transition, betas, seed } = setup
  if (typeof transition.stepSize === 'number') return new Float32Array(betas.length).fill(transition.stepSize)
  const state = await stateOf(setup, BigInt(seed) ^ (1n << 62n))
  try {
    await drawBase(state, setup, chains)
    await anneal(state, setup, { betas, pilot: transition.stepSize }, progress)
    return (await state.get('ais/stepSizes').read()).data as Float32Array
  } finally {
    state.dispose()
  }
}

async function forward(setup: Setup, chains: number, stepSizes: Float32Array, progress: Progress): Promise<AisResult> {
  const state = await stateOf(setup, BigInt(setup.seed))
  try {
    await drawBase(state, setup, chains)
    const run = await anneal(state, setup, { betas: setup.betas, stepSizes }, progress)
    return { logZ: run.mean.value, ...report(run, stepSizes) }
  } finally {
    state.dispose()
  }
}

async function reverse(
  setup: Setup,
  samples: HostTensor,
  stepSizes: Float32Array,
  progress: Progress,
): Promise<AisResult> {
  const state = await stateOf(setup, BigInt(setup.seed) ^ (1n << 63n))
  try {
    await state.put('ais/x', samples)
    const backwards = { betas: setup.betas, stepSizes: stepSizes.toReversed(), reverse: true }
    const run = await anneal(state, setup, backwards, progress)
    return { logZ: -run.mean.value, ...report(run, stepSizes) }
  } finally {
    state.dispose()
  }
}

function report(run: Annealed, stepSizes: Float32Array): Omit<AisResult, 'logZ'> {
  const { mean, logWeights, acceptance, samples } = run
  const { standardError, effectiveSampleSize } = mean
  return { standardError, logWeights, effectiveSampleSize, acceptance, samples, stepSizes }
}
