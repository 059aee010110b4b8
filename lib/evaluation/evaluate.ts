/**
 * Evaluates a trained model: classification, calibration, out-of-distribution detection, energies and the Frechet distance of
 * samples, gathered in one plain object, which is what evaluation.json holds. The model is seen through {@link EvaluatedModel}
 * only, so that anything with an energy can be evaluated. Drawing samples is the caller's part: it must be the chain that the
 * model was trained with.
 */
import { LangevinError, suggestion } from '../graph/errors.ts'
import type { HostTensor } from '../graph/host-tensor.ts'
import { hostTensor } from '../graph/host-tensor.ts'
import { sameShape, showShape } from '../graph/shape.ts'
import { type Reliability, reliabilityOf } from './calibration.ts'
import type { ChainFigures } from './chain-figures.ts'
import { checkCount, checkFinite, checkLabels } from './checks.ts'
import { type ClassificationFigures, classificationFigures, logMaxProbability } from './classification.ts'
import { frechetBetween } from './frechet.ts'
import { type Histogram, histograms } from './histogram.ts'
import type { InceptionScore } from './inception.ts'
import type { KidResult } from './kid.ts'
import type { DivergenceFigures, LikelihoodFigures } from './likelihood-figures.ts'
import { type OodFigures, oodFigures } from './ood.ts'
import type { Robustness } from './robustness.ts'
import { forEachBatch } from './rows.ts'
import type { SampleQuality } from './sample-quality.ts'

/** What evaluation asks of a model; x is float32 [n, ...shape], n up to the batch option (the last batch may be smaller). */
export interface EvaluatedModel {
  /** Logits [n, k]; absent for a model without classes. */
  logits?(x: HostTensor): Promise<HostTensor>
  /** E(x), one number a row. */
  energy(x: HostTensor): Promise<Float32Array>
  /** ∇x log p(x) = -∇x E(x), of x's shape. */
  score(x: HostTensor): Promise<HostTensor>
  /** Shape of one input. */
  readonly shape: readonly number[]
  readonly classes?: number
}

/**
 * Scores by which inputs are ranked, high = known:
 * `log_px` is -E(x), the unnormalised log density; `max_py` is max_y p(y|x); `score_norm` is
 * -‖∇x log p(x)‖₂ (Grathwohl 2020, "approximate mass").
 */
export type OodScore = 'log_px' | 'max_py' | 'score_norm'
const oodScores: readonly OodScore[] = ['log_px', 'max_py', 'score_norm']

/** What to evaluate on. Tensors are float32 [n, ...model.shape] in the model's own range ([-1, 1] for images). */
export interface EvaluationOptions {
  readonly test: { readonly x: HostTensor; readonly labels?: Int32Array }
  /** Foreign sets by name; default none. */
  readonly ood?: ReadonlyMap<string, HostTensor>
  /** Default: log_px, score_norm, and max_py if the model has logits. */
  readonly scores?: readonly OodScore[]
  /** Inputs per call of the model; default 128. */
  readonly batch?: number
  /** Draws of the model: their energies join the histograms, and they are held against `reference`. */
  readonly samples?: HostTensor
  /** Data that the samples are compared with; default the test inputs. */
  readonly reference?: HostTensor
  /** Whether to compare samples by pixels; default up to 1024 values an input (cost grows with its cube). */
  readonly pixels?: boolean
  /** A feature extractor, e.g. `(x) => onnxFeatures(path, x)`, for the Frechet distance of features. */
  readonly features?: (x: HostTensor) => Promise<HostTensor>
  /** Stops between batches; the promise rejects with the signal's reason. */
  readonly signal?: AbortSignal
  readonly onProgress?: (progress: EvaluationProgress) => void
}

/** How far an evaluation is: inputs done of the set that is being worked on. */
export interface EvaluationProgress {
  readonly stage: string
  readonly done: number
  readonly total: number
}

/** Frechet distances of samples from the reference, with the counts that their bias depends on. */
export interface FrechetFigures {
  readonly pixels?: number
  readonly features?: number
  readonly samples: number
  readonly reference: number
}

/** The content of evaluation.json. Fields that the model or the data have no ground for are absent. */
export interface Evaluation {
  /** Test inputs. */
  readonly count: number
  readonly accuracy?: number
  /** Nats an input. */
  readonly nll?: number
  /** Expected calibration error, 15 equal-width bins. */
  readonly ece?: number
  readonly brier?: number
  readonly confusion?: readonly (readonly number[])[]
  readonly perClassAccuracy?: readonly (number | null)[]
  readonly reliability?: Reliability
  /** ood[set][score]. */
  readonly ood: Readonly<Record<string, Readonly<Partial<Record<OodScore, OodFigures>>>>>
  /** Energies of `test`, of each foreign set and of `samples`, over common bins. */
  readonly energies: Readonly<Record<string, Histogram>>
  readonly frechet?: FrechetFigures
  /** What lib/trainers/run-figures.ts adds for a run: log Z and held-out log likelihood, ... */
  readonly likelihood?: LikelihoodFigures
  /** ... divergences from a density that is known exactly, ... */
  readonly divergence?: DivergenceFigures
  /** ... tests of samples against data, ... */
  readonly quality?: SampleQuality
  /** ... kernel and inception scores by networks that are given, ... */
  readonly kid?: KidResult
  readonly inception?: InceptionScore
  /** ... chains of another sampler, ... */
  readonly chains?: ChainFigures
  /** ... and accuracies under attack. */
  readonly attacks?: readonly Robustness[]
  /** What was left out, and why. */
  readonly notes?: readonly string[]
  readonly seconds: number
  /** Largest resident set of the process so far. */
  readonly peakRssBytes: number
  /** Of a model on another device than the CPU: the most bytes of its memory that the process has held so far. */
  readonly peakDeviceBytes?: number
}

/**
 * Evaluates `model`. Runs the model batch by batch and the metrics on the calling thread.
 * Throws LangevinError E_SHAPE (sets that do not fit the model), E_DATA (energies, scores or logits that are not finite, with counts),
 * E_CONFIG (an unknown score, max_py without logits, a set called 'test' or 'samples'), or the signal's reason.
 */
export async function evaluateModel(model: EvaluatedModel, options: EvaluationOptions): Promise<Evaluation> {
  const start = performance.now()
  const { test, ood = new Map<string, HostTensor>(), batch = 128, samples, signal } = options
  checkCount('batch', batch, 1)
  const scores = chosenScores(model, options.scores)
  checkSets(model, options, ood)
  const run = { model, batch, signal, onProgress: options.onProgress ?? (() => {}) }

  const wantsLogits = scores.includes('max_py') || test.labels !== undefined
  const known = await outputsOf(run, 'test', test.x, wantsLogits, scores.includes('score_norm'))
  const classified = known.logits && test.labels ? classify(known.logits, test.labels) : {}
  const energies = new Map([['test', known.energy]])
  const figures: Record<string, Partial<Record<OodScore, OodFigures>>> = {}
  for (const [name, x] of ood) {
    const foreign = await outputsOf(run, name, x, scores.includes('max_py'), scores.includes('score_norm'))
    energies.set(name, foreign.energy)
    figures[name] = Object.fromEntries(
      scores.map((s) => [s, oodFigures(rankBy(s, 'test', known), rankBy(s, name, foreign))]),
    )
  }
  if (samples) energies.set('samples', (await outputsOf(run, 'samples', samples, false, false)).energy)
  const frechet = samples ? await compareSamples(samples, options) : undefined
  return {
    count: test.x.shape[0] ?? 0,
    ...classified,
    ood: figures,
    energies: histograms(energies),
    ...(frechet ? { frechet } : {}),
    seconds: (performance.now() - start) / 1000,
    peakRssBytes: process.resourceUsage().maxRSS * 1024,
  }
}

/** What a model says of one set. */
interface Outputs {
  readonly energy: Float64Array
  readonly logits?: HostTensor
  readonly scoreNorm?: Float64Array
}

interface Run {
  readonly model: EvaluatedModel
  readonly batch: number
  readonly signal: AbortSignal | undefined
  readonly onProgress: (progress: EvaluationProgress) => void
}

async function outputsOf(
  run: Run,
  name: string,
  x: HostTensor,
  wantLogits: boolean,
  wantScore: boolean,
): Promise<Outputs> {
  const { model } = run
  const total = x.shape[0] ?? 0
  const energy = new Float64Array(total)
  const norms = new Float64Array(wantScore ? total : 0)
  let logits: Float32Array | undefined
  let classes = 0
  await forEachBatch(x, run.batch, run.signal, async (part, start) => {
    const rows = part.shape[0] ?? 0
    const e = await model.energy(part)
    if (e.length !== rows) throw misfit('energy', `[${rows}]`, `[${e.length}]`)
    energy.set(e, start)
    if (wantLogits && model.logits) {
      const l = await model.logits(part)
      classes = l.shape[1] ?? 0
      if (l.shape.length !== 2 || l.shape[0] !== rows) throw misfit('logits', `[${rows},k]`, showShape(l.shape))
      logits ??= new Float32Array(total * classes)
      logits.set(l.data, start * classes)
    }
    if (wantScore) {
      const s = await model.score(part)
      if (!sameShape(s.shape, part.shape)) throw misfit('score', showShape(part.shape), showShape(s.shape))
      norms.set(rowNorms(s), start)
    }
    run.onProgress({ stage: name, done: start + rows, total })
  })
  checkFinite(`energies of '${name}'`, energy)
  return {
    energy,
    ...(logits ? { logits: hostTensor(logits, [total, classes]) } : {}),
    ...(wantScore ? { scoreNorm: norms } : {}),
  }
}

function rowNorms(x: HostTensor): Float64Array {
  const rows = x.shape[0] ?? 0
  const width = x.data.length / rows
  return Float64Array.from({ length: rows }, (_, i) => {
    let sum = 0
    for (let j = i * width; j < (i + 1) * width; j++) sum += (x.data[j] as number) ** 2
    return Math.sqrt(sum)
  })
}

function rankBy(score: OodScore, set: string, outputs: Outputs): Float64Array {
  let values: Float64Array | undefined
  if (score === 'log_px') values = outputs.energy.map((e) => -e)
  else if (score === 'max_py') values = outputs.logits && logMaxProbability(outputs.logits)
  else values = outputs.scoreNorm?.map((n) => -n)
  if (values === undefined) throw new LangevinError('E_INTERNAL', `internal: no ${score} of '${set}'`)
  checkFinite(`${score} of '${set}'`, values)
  return values
}

type Classified = Omit<ClassificationFigures, 'count'> & { readonly ece: number; readonly reliability: Reliability }

function classify(logits: HostTensor, labels: Int32Array): Classified {
  const { count: _, ...figures } = classificationFigures(logits, labels)
  const reliability = reliabilityOf(logits, labels)
  return { ...figures, ece: reliability.ece, reliability }
}

async function compareSamples(samples: HostTensor, options: EvaluationOptions): Promise<FrechetFigures | undefined> {
  const reference = options.reference ?? options.test.x
  const counts = { samples: samples.shape[0] ?? 0, reference: reference.shape[0] ?? 0 }
  if (counts.samples < 2 || counts.reference < 2) return undefined
  const pixels = options.pixels ?? samples.data.length / counts.samples <= 1024
  options.signal?.throwIfAborted()
  options.onProgress?.({ stage: 'frechet', done: 0, total: 1 })
  const out = {
    ...(pixels ? { pixels: frechetBetween(samples, reference) } : {}),
    ...(options.features
      ? { features: frechetBetween(await options.features(samples), await options.features(reference)) }
      : {}),
    ...counts,
  }
  options.onProgress?.({ stage: 'frechet', done: 1, total: 1 })
  return out
}

function chosenScores(model: EvaluatedModel, wanted: readonly OodScore[] | undefined): readonly OodScore[] {
  if (wanted === undefined) return oodScores.filter((s) => s !== 'max_py' || model.logits !== undefined)
  for (const s of wanted) {
    if (!oodScores.includes(s)) {
      throw new LangevinError('E_CONFIG', `unknown out-of-distribution score '${s}'.${suggestion(s, oodScores)}`, {
        score: s,
      })
    }
  }
  if (wanted.includes('max_py') && model.logits === undefined) {
    throw new LangevinError(
      'E_CONFIG',
      "the score 'max_py' needs a model with logits; this one has none. Use log_px or score_norm",
    )
  }
  return wanted
}

function checkSets(model: EvaluatedModel, options: EvaluationOptions, ood: ReadonlyMap<string, HostTensor>): void {
  const sets: [string, HostTensor | undefined][] = [
    ['test.x', options.test.x],
    ['samples', options.samples],
    ['reference', options.reference],
    ...[...ood].map(([name, x]): [string, HostTensor] => [`ood set '${name}'`, x]),
  ]
  for (const [what, x] of sets) {
    if (x === undefined) continue
    if (x.dtype !== 'float32' || !((x.shape[0] ?? 0) >= 1) || !sameShape(x.shape.slice(1), model.shape)) {
      throw new LangevinError(
        'E_SHAPE',
        `${what} must be float32 [n,${model.shape.join(',')}] with n >= 1, as the model takes it; got ${x.dtype}${showShape(x.shape)}`,
        { shape: x.shape, expected: model.shape },
      )
    }
    checkFinite(what, x.data)
  }
  for (const name of ['test', 'samples']) {
    if (ood.has(name))
      throw new LangevinError(
        'E_CONFIG',
        `an ood set cannot be called '${name}': evaluation.json uses that name itself`,
      )
  }
  const { labels } = options.test
  if (labels === undefined) return
  if (model.logits === undefined) {
    throw new LangevinError('E_CONFIG', 'labels are given but the model has no logits; leave the labels out')
  }
  checkLabels(labels, options.test.x.shape[0] ?? 0, model.classes ?? Number.MAX_SAFE_INTEGER)
}

function misfit(what: string, expected: string, got: string): LangevinError {
  return new LangevinError('E_SHAPE', `the model's ${what} must have shape ${expected}; got ${got}`, { expected, got })
}
