/**
 * The figures of a run's evaluation beyond lib/evaluation/evaluate.ts: log Z and held-out likelihood, divergences from an exact density, sample
 * quality, scores by given networks, chains of another sampler. What is on by default depends on the data; what cannot be had is noted, not thrown.
 */
import type { Dataset } from '../data/dataset.ts'
import { type ChainCheckOptions, chainFigures } from '../evaluation/chain-figures.ts'
import type { Evaluation, EvaluationOptions } from '../evaluation/evaluate.ts'
import { exactBits } from '../evaluation/exact-log-z.ts'
import { onnxFeatures } from '../evaluation/features.ts'
import { onnxInceptionScore } from '../evaluation/inception.ts'
import { kid } from '../evaluation/kid.ts'
import { divergenceFigures, type LikelihoodOptions, likelihoodFigures } from '../evaluation/likelihood-figures.ts'
import { type AttackOptions, type Robustness, robustAccuracy } from '../evaluation/robustness.ts'
import { sampleQuality } from '../evaluation/sample-quality.ts'
import { LangevinError } from '../graph/errors.ts'
import type { HostTensor } from '../graph/host-tensor.ts'
import { sizeOf } from '../graph/shape.ts'
import type { Tensor } from '../graph/tensor.ts'
import type { Model } from '../nn/model.ts'
import type { SampleOptions } from './sampling.ts'

export interface FigureOptions {
  /**
   * Where log Z comes from; false for no likelihood. Default quadrature for one or two real numbers an example, the exact sum for discrete models of up
   * to 2^16 states (of an RBM's smaller layer), 0 for flows, none otherwise.
   */
  readonly likelihood?: LikelihoodOptions | false
  /** Exact log density of the data as a graph (`toyDensity(name).logDensity`), for divergences by quadrature. One to three numbers an example. */
  readonly truth?: (x: Tensor) => Tensor
  /**
   * Two-sample tests of samples against the test data, and the Stein discrepancy up to 32 numbers an example. Default: with at least 50 samples of at most 64
   * numbers.
   */
  readonly quality?: boolean
  /** An ONNX feature network: Frechet distance and kernel distance (KID) of features. */
  readonly features?: string
  /** An ONNX classifier: inception score of the samples. */
  readonly classifier?: string
  /** Runs chains of a sampler of one's choice on the model and tells whether they mixed; default none. */
  readonly chains?: Omit<ChainCheckOptions, 'signal' | 'onProgress'>
  /** Attacks that the classifier's accuracy is measured under; default none. Bounds default to [-1, 1], and to none where the data have no range. */
  readonly attacks?: readonly AttackOptions[]
  /** Everything random follows from it; default 0. */
  readonly seed?: number
  readonly signal?: AbortSignal
}

type Features = (x: HostTensor) => Promise<HostTensor>

/** Features by an ONNX network, each set computed once. */
export function featureMaker(path: string | undefined): Features | undefined {
  if (path === undefined) return undefined
  const made = new Map<HostTensor, Promise<HostTensor>>()
  return (x) => {
    const found = made.get(x) ?? onnxFeatures(path, x)
    made.set(x, found)
    return found
  }
}

interface Drawn {
  readonly samples: HostTensor | undefined
  readonly notes: string[]
}

/** Samples for the evaluation; where the run cannot draw any and none were asked for, none. */
export async function drawForEvaluation(
  trained: { sample(options?: SampleOptions): Promise<HostTensor> },
  test: Dataset,
  options: FigureOptions & {
    readonly samples?: number | HostTensor
    readonly onProgress?: EvaluationOptions['onProgress']
  },
): Promise<Drawn> {
  const { seed = 0, signal, onProgress, samples: wanted } = options
  if (typeof wanted === 'object') return { samples: wanted, notes: [] }
  const count = wanted ?? (test.shape.length === 3 ? 500 : 1000)
  if (count === 0) return { samples: undefined, notes: [] }
  const report = (done: number, total: number): void => onProgress?.({ stage: 'sampling', done, total })
  try {
    const samples = await trained.sample({ count, seed, onProgress: report, ...(signal ? { signal } : {}) })
    return { samples, notes: [] }
  } catch (error) {
    if (wanted !== undefined || !(error instanceof LangevinError && error.code === 'E_CONFIG')) throw error
    return { samples: undefined, notes: [`no samples: ${error.message}`] }
  }
}

/** What figures are computed from. */
export interface FigureInput {
  readonly model: Model
  readonly test: Dataset
  /** The test data as the model sees them. */
  readonly x: HostTensor
  readonly samples: HostTensor | undefined
  readonly features: Features | undefined
  readonly options: FigureOptions & { readonly onProgress?: EvaluationOptions['onProgress'] }
  readonly notes: readonly string[]
}

/** Fields of {@link Evaluation}. */
export async function runFigures(input: FigureInput): Promise<Partial<Evaluation>> {
  const { model, test, x, samples, features, options } = input
  const { seed = 0, signal, chains, classifier, truth, likelihood = defaultLikelihood(model) } = options
  const notes = [...input.notes]
  const stage = (name: string) => (done: number, total: number) => options.onProgress?.({ stage: name, done, total })
  const run = { seed, ...(signal ? { signal } : {}) }
  const out: { -readonly [K in keyof Evaluation]?: Evaluation[K] | undefined } = {}
  signal?.throwIfAborted()
  if (likelihood !== false) {
    // Of discrete x the figure is a probability, which no change of units touches.
    const logDeterminant = model.network.discrete === undefined ? test.logDeterminant : 0
    const given = { ...run, test: x, logDeterminant, onProgress: stage('log Z'), ...(samples ? { samples } : {}) }
    out.likelihood = await likelihoodFigures(model, given, likelihood)
  }
  if (truth !== undefined) out.divergence = await divergenceFigures(model, truth, x, signal)
  if (samples !== undefined) {
    stage('samples against data')(0, 1)
    if (options.quality ?? comparable(samples)) out.quality = await qualityOf(model, samples, x, run, notes)
    if (features !== undefined)
      out.kid = await kid(await features(samples), await features(x), { ...run, device: model.device })
    if (classifier !== undefined) {
      const splits = Math.min(10, samples.shape[0] as number)
      out.inception = await onnxInceptionScore(classifier, samples, { splits })
    }
  }
  if (chains !== undefined) out.chains = await chainFigures(model, { ...run, ...chains, onProgress: stage('chains') })
  if (options.attacks !== undefined) out.attacks = await attackFigures(input, options.attacks, run)
  if (notes.length > 0) out.notes = notes
  return Object.fromEntries(Object.entries(out).filter(([, value]) => value !== undefined))
}

async function qualityOf(
  model: Model,
  samples: HostTensor,
  x: HostTensor,
  run: { readonly seed: number; readonly signal?: AbortSignal },
  notes: string[],
): Promise<Evaluation['quality']> {
  const few = x.data.length / (x.shape[0] as number) <= mostForStein
  try {
    return await sampleQuality(samples, x, {
      ...run,
      device: model.device,
      ...(few && model.network.discrete === undefined ? { model } : {}),
    })
  } catch (error) {
    // Samples that all coincide have no scale to be compared at; the rest of a failed model's evaluation should still be seen.
    if (!(error instanceof LangevinError && error.code === 'E_DATA')) throw error
    notes.push(`no sample quality: ${error.message}`)
    return undefined
  }
}

/** Attacks one after the other. @throws LangevinError E_CONFIG without labels or classes */
async function attackFigures(
  { model, test, x, options }: FigureInput,
  attacks: readonly AttackOptions[],
  run: { readonly seed: number; readonly signal?: AbortSignal },
): Promise<readonly Robustness[]> {
  const { labels } = test
  if (labels === undefined)
    throw new LangevinError('E_CONFIG', `attacks need labels, and '${test.name}' has none; leave attacks out`)
  const bounds = test.range === null ? null : ([-1, 1] as const)
  const out: Robustness[] = []
  for (const [i, attack] of attacks.entries()) {
    const onProgress = (done: number, total: number): void =>
      options.onProgress?.({ stage: `attack ${i + 1} of ${attacks.length}`, done, total })
    out.push(await robustAccuracy(model, x, labels, { bounds, ...attack, ...run, onProgress }))
  }
  return out
}

/** Numbers an example beyond which a Stein discrepancy has little power. */
const mostForStein = 32

/** log2 of the states that are summed over without being asked to: a moment's work. */
const mostSummed = 16

/** Enough samples of few enough numbers that two-sample tests mean something in the data's own space. */
function comparable(samples: HostTensor): boolean {
  const n = samples.shape[0] as number
  return n >= 50 && samples.data.length / n <= 64
}

function defaultLikelihood({ network }: Model): LikelihoodOptions | false {
  if (network.config.kind === 'flow') return { logZ: 0 }
  if (exactBits(network) <= mostSummed) return { logZ: 'exact' }
  return sizeOf(network.shape) <= 2 && network.discrete === undefined ? { logZ: 'quadrature' } : false
}
