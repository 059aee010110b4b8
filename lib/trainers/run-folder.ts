/** What a finished run leaves beside its checkpoint: evaluation.json, samples, density pictures, report.html; and the evaluation with the run's own chain. */
import { readFile } from 'node:fs/promises'
import { cpus } from 'node:os'
import { join } from 'node:path'
import type { Dataset } from '../data/dataset.ts'
import { atStates } from '../data/discrete.ts'
import { defaultOod, type OodName, oodNames, oodSet } from '../data/ood.ts'
import { densityPicture } from '../evaluation/density-picture.ts'
import { type Evaluation, type EvaluationOptions, evaluateModel } from '../evaluation/evaluate.ts'
import { parseMetrics } from '../evaluation/metrics-row.ts'
import type { PlaneInput } from '../evaluation/plane.ts'
import { savePng } from '../evaluation/png.ts'
import { renderReport } from '../evaluation/report.ts'
import { densitySvg } from '../evaluation/scatter.ts'
import { LangevinError, suggestion } from '../graph/errors.ts'
import type { HostTensor } from '../graph/host-tensor.ts'
import type { Model } from '../nn/model.ts'
import { addonInfo } from '../runtime/addon.ts'
import { deviceMemory } from '../runtime/devices.ts'
import { writeFileAtomically } from '../runtime/files.ts'
import { packageVersion } from '../runtime/version.ts'
import { CONFIG_FILE, METRICS_FILE } from './fit.ts'
import { drawForEvaluation, type FigureOptions, featureMaker, runFigures } from './run-figures.ts'
import { inOriginalUnits, type OriginalUnits, writeTable } from './sample-files.ts'
import type { SampleOptions } from './sampling.ts'

/** A trainer after `fit`, or an opened run. */
export interface Trained {
  readonly model: Model
  sample(options?: SampleOptions): Promise<HostTensor>
}

export interface EvaluateRunOptions extends FigureOptions {
  /** Out-of-distribution sets: names of made ones, or data sets of the same shape. Default `data.defaultOod(test)`. */
  readonly ood?: readonly (OodName | Dataset)[]
  /** Samples to compare with the test data, and for the energy histogram: how many (0: none), or ones drawn before. Default 500 for images, 1000 for rows of numbers. */
  readonly samples?: number | HostTensor
  /** How grey test data become the states of a model of binary x, as in training: 'threshold' (default) or 'stochastic'. */
  readonly binarize?: 'threshold' | 'stochastic' | null
  readonly batch?: number
  readonly onProgress?: EvaluationOptions['onProgress']
}

/**
 * Accuracy, calibration, out-of-distribution detection, energies, and what {@link FigureOptions} adds: likelihood, sample quality, divergences.
 * Samples are drawn by the training's own chain. @throws LangevinError E_CONFIG, E_SHAPE, E_DATA, E_CANCELLED
 */
export async function evaluate(trained: Trained, test: Dataset, options: EvaluateRunOptions = {}): Promise<Evaluation> {
  const { model } = trained
  const { ood = defaultOod(test), seed = 0, signal, onProgress, batch } = options
  const { discrete } = model.network
  // A model of discrete x says nothing of what lies between its states.
  const seen = (x: HostTensor): HostTensor =>
    discrete === undefined ? x : atStates(x, discrete, { how: options.binarize ?? 'threshold', seed })
  const x = seen(test.normalized())
  const drawn = await drawForEvaluation(trained, test, options)
  const { samples } = drawn
  const features = featureMaker(options.features)
  const started = performance.now()
  const evaluation = await evaluateModel(evaluated(model, signal), {
    test: { x, ...(test.labels !== undefined && model.network.classes > 0 ? { labels: test.labels } : {}) },
    ood: new Map(ood.map((set) => foreign(set, test, seed)).map(([name, other]) => [name, seen(other)])),
    ...(samples ? { samples } : {}),
    ...(features ? { features } : {}),
    ...(batch ? { batch } : {}),
    ...(signal ? { signal } : {}),
    ...(onProgress ? { onProgress } : {}),
  })
  const notes = [...drawn.notes, ...oneClass(test, model)]
  const more = await runFigures({ model, test, x, samples, features, options, notes })
  const seconds = (performance.now() - started) / 1000
  const peak = model.device === 'cpu' ? {} : { peakDeviceBytes: (await deviceMemory(model.device)).peak }
  return { ...evaluation, ...more, seconds, peakRssBytes: process.resourceUsage().maxRSS * 1024, ...peak }
}

/** What a split of a table that is sorted by class leaves. */
function oneClass({ labels, classNames, name }: Dataset, { network }: Model): string[] {
  const first = labels?.[0]
  if (first === undefined || labels === undefined || network.classes < 2 || labels.length < 20) return []
  if (labels.some((l) => l !== first)) return []
  return [
    `every test example of '${name}' is of class '${classNames[first] ?? first}': if the data were sorted, hold out random rows (split with shuffle: true)`,
  ]
}

function evaluated(model: Model, signal: AbortSignal | undefined) {
  const options = signal ? { signal } : {}
  const classifier = model.network.classes > 0
  return {
    shape: model.network.shape,
    ...(classifier ? { classes: model.network.classes, logits: (x: HostTensor) => model.logits(x, options) } : {}),
    energy: (x: HostTensor) => model.energy(x, options),
    score: (x: HostTensor) => model.score(x, options),
  }
}

function foreign(set: OodName | Dataset, test: Dataset, seed: number): [string, HostTensor] {
  if (typeof set !== 'string') return [set.name, set.normalized()]
  if (!oodNames.includes(set))
    throw new LangevinError('E_CONFIG', `out-of-distribution set '${set}' is not known.${suggestion(set, oodNames)}`)
  return [set, oodSet(set, test, { seed: seed + 1 })]
}

/** Files of a run folder written here. */
export const EVALUATION_FILE = 'evaluation.json'
export const SAMPLES_FILE = 'samples.png'
export const SAMPLES_TABLE_FILE = 'samples.csv'
export const DENSITY_FILE = 'density.png'
const DENSITY_SVG_FILE = 'density.svg'
export const REPORT_FILE = 'report.html'

/** Writes evaluation.json. */
export function writeEvaluation(out: string, evaluation: Evaluation): Promise<void> {
  return writeFileAtomically(join(out, EVALUATION_FILE), `${JSON.stringify(evaluation, null, 2)}\n`)
}

/** Writes samples.png, a grid. */
export function writeSamples(out: string, samples: HostTensor): Promise<void> {
  return savePng(join(out, SAMPLES_FILE), samples)
}

/** Writes samples.csv: points or table rows, in the data's own units. */
export function writeSampleTable(out: string, samples: HostTensor, data: OriginalUnits): Promise<void> {
  return writeTable(join(out, SAMPLES_TABLE_FILE), inOriginalUnits(samples, data), data.columns)
}

/** Writes density.png and density.svg: the learned density of a model of the plane beside data and samples. */
export async function writeDensity(out: string, density: PlaneInput): Promise<void> {
  await savePng(join(out, DENSITY_FILE), densityPicture(density))
  await writeFileAtomically(join(out, DENSITY_SVG_FILE), densitySvg(density))
}

/** Writes report.html from what the folder holds, and the density of a model of the plane, where it is given. */
export async function writeReport(
  out: string,
  title: string,
  options: { readonly environment?: Record<string, unknown>; readonly density?: PlaneInput } = {},
): Promise<void> {
  const { environment = {}, density } = options
  const text = (name: string) => readFile(join(out, name), 'utf8').catch(() => undefined)
  const [config, metrics, evaluation] = await Promise.all([CONFIG_FILE, METRICS_FILE, EVALUATION_FILE].map(text))
  const { rows, events } = parseMetrics(metrics ?? '')
  const samplesPng = await readFile(join(out, SAMPLES_FILE)).catch(() => undefined)
  const page = renderReport({
    title,
    metrics: rows,
    events,
    environment: { ...describeMachine(), ...environment },
    ...(config === undefined ? {} : { config: JSON.parse(config) as unknown }),
    ...(evaluation === undefined ? {} : { evaluation: JSON.parse(evaluation) as Evaluation }),
    ...(samplesPng === undefined ? {} : { samplesPng }),
    ...(density === undefined ? {} : { density }),
  })
  await writeFileAtomically(join(out, REPORT_FILE), page)
}

/** What a figure depends on: package, Node, processor, threads. */
function describeMachine(): Record<string, string | number> {
  const info = addonInfo()
  return {
    langevin: packageVersion(),
    node: process.version,
    processor: cpus()[0]?.model ?? 'unknown',
    threads: info.threads,
    isa: info.isa,
    oneDnn: info.oneDnn,
  }
}
