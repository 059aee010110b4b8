/**
 * The likelihood part of an evaluation: log Z by the means that the options name, held-out log likelihood with it, and divergences from a
 * density that is known exactly. The estimators are quadrature.ts's, ais.ts's and likelihood.ts's; here they are chosen and put together.
 */
import { LangevinError, suggestion } from '../graph/errors.ts'
import type { HostTensor } from '../graph/host-tensor.ts'
import type { Tensor } from '../graph/tensor.ts'
import type { Model } from '../nn/model.ts'
import { RbmNetwork } from '../nn/rbm.ts'
import { type AisOptions, annealedImportanceSampling, bracketLogZ } from './ais.ts'
import { exactLogZ } from './exact-log-z.ts'
import { heldOutLogLikelihood } from './likelihood.ts'
import {
  type BoxOptions,
  type PerDimension,
  type QuadratureResult,
  quadratureKl,
  quadratureLogZ,
} from './quadrature.ts'
import { rbmAnnealing } from './rbm.ts'

/** Where log Z comes from, as plain data. */
export type LikelihoodOptions =
  /** Known, in nats: 0 for normalised networks (flows), or a trained normaliser. */
  | { readonly logZ: number; readonly standardError?: number }
  /** One to three values an example. Default box: the test data's extremes and half their width around, doubled until the edge holds no mass. */
  | ({ readonly logZ: 'quadrature'; readonly low?: PerDimension; readonly high?: PerDimension } & Pick<
      BoxOptions,
      'points' | 'rule' | 'batch'
    >)
  /** Discrete models of at most 2^22 states (a restricted Boltzmann machine: of its smaller layer): the sum over all of them. */
  | { readonly logZ: 'exact' }
  /**
   * Annealed importance sampling from a Gaussian fitted to the test data (a restricted Boltzmann machine: by Gibbs sweeps from the data's means). With samples of the model (`bracket`, default where there are some) the reverse
   * anneal gives an upper bound beside the lower one; it is a bound only if the samples are the model's.
   */
  | ({ readonly logZ: 'ais'; readonly bracket?: boolean } & Pick<
      AisOptions,
      'chains' | 'steps' | 'schedule' | 'transition' | 'transitions'
    >)

/** What likelihoods are computed on. */
export interface LikelihoodInput {
  /** Held-out examples [n, ...shape] in the units that the model sees. */
  readonly test: HostTensor
  /** log|det| of the map from the data's own units to the model's (Dataset.logDeterminant); default 0. */
  readonly logDeterminant?: number
  /** Draws of the model, for the upper bound of AIS. */
  readonly samples?: HostTensor
  readonly seed?: number
  readonly signal?: AbortSignal
  readonly onProgress?: (done: number, total: number) => void
}

/** In evaluation.json. Nats an example unless said otherwise. */
export interface LikelihoodFigures {
  readonly method: 'given' | 'quadrature' | 'exact' | 'ais'
  readonly logZ: number
  /** 0 where log Z is given, exact or by quadrature. */
  readonly logZStandardError: number
  /** Bounds in expectation: forward AIS below, reverse AIS above. */
  readonly logZLower?: number
  readonly logZUpper?: number
  /** Quadrature: mass lies beyond the box, so log Z is too small. */
  readonly reachesEdge?: boolean
  /** Held-out examples. */
  readonly count: number
  /** Mean log p, in the units that the model sees. */
  readonly mean: number
  /** Of `mean`, from the spread of the examples. */
  readonly standardError: number
  /** With log Z's. */
  readonly totalStandardError: number
  readonly bitsPerDimension: number
  /** Mean log p in the data's own units, where these are others (standardised columns, pixel levels). */
  readonly original?: number
}

const methods = ['quadrature', 'exact', 'ais']

/**
 * Held-out log likelihood with log Z from `options`.
 * @throws LangevinError E_CONFIG for an unknown method, and for AIS of discrete models; what the estimators throw
 */
export async function likelihoodFigures(
  model: Model,
  input: LikelihoodInput,
  options: LikelihoodOptions,
): Promise<LikelihoodFigures> {
  const { test, logDeterminant = 0, signal } = input
  const normaliser = await logZOf(model, input, options)
  const { logZ, logZStandardError } = normaliser
  const held = await heldOutLogLikelihood(model, test, { logZ, logZStandardError, ...(signal ? { signal } : {}) })
  const { mean, standardError, totalStandardError, bitsPerDimension } = held
  return {
    ...normaliser,
    count: held.logDensity.length,
    mean,
    standardError,
    totalStandardError,
    bitsPerDimension,
    ...(logDeterminant === 0 ? {} : { original: mean + logDeterminant }),
  }
}

function signalOf({ signal }: LikelihoodInput): { readonly signal?: AbortSignal } {
  return signal === undefined ? {} : { signal }
}

type Normaliser = Pick<
  LikelihoodFigures,
  'method' | 'logZ' | 'logZStandardError' | 'logZLower' | 'logZUpper' | 'reachesEdge'
>

async function logZOf(model: Model, input: LikelihoodInput, options: LikelihoodOptions): Promise<Normaliser> {
  if (typeof options.logZ === 'number') {
    const { standardError = 0 } = options as { readonly standardError?: number }
    return { method: 'given', logZ: options.logZ, logZStandardError: standardError }
  }
  if (options.logZ === 'ais') return aisLogZ(model, input, options)
  if (options.logZ === 'exact')
    return { method: 'exact', logZ: await exactLogZ(model, signalOf(input)), logZStandardError: 0 }
  if (options.logZ !== 'quadrature') {
    const { logZ } = options as { readonly logZ: unknown }
    throw new LangevinError(
      'E_CONFIG',
      `likelihood: logZ must be a number, 'quadrature', 'exact' or 'ais'; got ${JSON.stringify(logZ)}.${suggestion(String(logZ), methods)}`,
    )
  }
  const { low, high, ...rest } = options
  const given = low !== undefined && high !== undefined
  const { result } = given
    ? { result: await quadratureLogZ(model, { ...rest, low, high, ...(input.signal ? { signal: input.signal } : {}) }) }
    : await coveringBox(model, input.test, rest, input.signal)
  return { method: 'quadrature', logZ: result.logZ, logZStandardError: 0, reachesEdge: result.reachesEdge }
}

async function aisLogZ(
  model: Model,
  { test, samples, seed = 0, signal, onProgress }: LikelihoodInput,
  options: LikelihoodOptions & { readonly logZ: 'ais' },
): Promise<Normaliser> {
  const { logZ: _, bracket = samples !== undefined, ...rest } = options
  const given = { ...rest, ...annealingOf(model, test, rest.transition !== undefined), seed }
  const run = { ...given, ...(signal ? { signal } : {}), ...(onProgress ? { onProgress } : {}) }
  if (!bracket) {
    const { logZ, standardError } = await annealedImportanceSampling(model, run)
    return { method: 'ais', logZ, logZStandardError: standardError, logZLower: logZ }
  }
  if (samples === undefined)
    throw new LangevinError(
      'E_CONFIG',
      'likelihood: the bracket of AIS needs samples of the model; set samples above 1',
    )
  const { estimate, standardError, lower, upper } = await bracketLogZ(model, { ...run, samples })
  return { method: 'ais', logZ: estimate, logZStandardError: standardError, logZLower: lower, logZUpper: upper }
}

/** Base and moves of the anneal: a machine's own Gibbs sweeps; else a Gaussian fitted to the data and moves by gradients, which discrete x do not allow. */
function annealingOf(model: Model, test: HostTensor, given: boolean): Pick<AisOptions, 'base' | 'transition'> {
  const { network } = model
  if (network instanceof RbmNetwork) {
    if (given)
      throw new LangevinError(
        'E_CONFIG',
        "likelihood: a restricted Boltzmann machine is annealed by Gibbs sweeps; leave 'transition' out",
      )
    return rbmAnnealing(model, { data: test })
  }
  if (network.discrete === undefined) return { base: { kind: 'fitted', data: test } }
  throw new LangevinError(
    'E_CONFIG',
    `likelihood: 'ais' moves chains by gradients in real numbers, and '${network.config.kind}' is over discrete ones; use 'exact' (up to 2^22 states), or give logZ as a number`,
  )
}

/** A box, and log Z over it. */
interface CoveringBox {
  readonly box: BoxOptions
  readonly result: QuadratureResult
}

const doublings = 2
const gridPoints = [2000, 400, 96]
const mostPoints = [8000, 640, 160]

/**
 * The extremes of x [n, ...] with half their width around, doubled until the model has no mass at the edge. Where it always has (an energy that does
 * not grow), the first box, and `reachesEdge` says so.
 */
async function coveringBox(
  model: Model,
  x: HostTensor,
  options: Partial<BoxOptions> = {},
  signal?: AbortSignal,
): Promise<CoveringBox> {
  const { low, high } = extremesOf(x)
  const d = low.length
  let first: CoveringBox | undefined
  for (let k = 0; k <= doublings; k++) {
    const margin = low.map((l, j) => 2 ** k * ((high[j] as number) - l || 1) - ((high[j] as number) - l) / 2)
    const even = Math.min((gridPoints[d - 1] ?? 0) * 2 ** k, mostPoints[d - 1] ?? 0)
    const points = options.rule === 'simpson' ? even + 1 : even
    const box: BoxOptions = {
      points,
      ...options,
      low: low.map((l, j) => l - (margin[j] as number)),
      high: high.map((h, j) => h + (margin[j] as number)),
      ...(signal ? { signal } : {}),
    }
    const result = await quadratureLogZ(model, box)
    if (!result.reachesEdge) return { box, result }
    first ??= { box, result }
  }
  return first as CoveringBox
}

/** Least and greatest of each number of an example. */
export function extremesOf(x: HostTensor): { readonly low: number[]; readonly high: number[] } {
  const n = x.shape[0] as number
  const d = x.data.length / n
  const low = new Array<number>(d).fill(Number.POSITIVE_INFINITY)
  const high = new Array<number>(d).fill(Number.NEGATIVE_INFINITY)
  for (let i = 0; i < x.data.length; i++) {
    const v = x.data[i] as number
    low[i % d] = Math.min(low[i % d] as number, v)
    high[i % d] = Math.max(high[i % d] as number, v)
  }
  return { low, high }
}

/** Divergences from the density that the data were drawn from, where that is known. Nats. */
export interface DivergenceFigures {
  /** KL(data ‖ model). */
  readonly forward: number
  /** KL(model ‖ data). */
  readonly reverse: number
  /** The model has mass beyond the box, within which both are normalised. */
  readonly reachesEdge: boolean
  readonly low: readonly number[]
  readonly high: readonly number[]
}

/** Both divergences by quadrature over a box that covers data and model. @param truth the exact log density as a graph */
export async function divergenceFigures(
  model: Model,
  truth: (x: Tensor) => Tensor,
  test: HostTensor,
  signal?: AbortSignal,
): Promise<DivergenceFigures> {
  const { box } = await coveringBox(model, test, {}, signal)
  const { forward, reverse, reachesEdge } = await quadratureKl(truth, model, box)
  return { forward, reverse, reachesEdge, low: box.low as number[], high: box.high as number[] }
}
