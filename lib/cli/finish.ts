/** What `train` ends with and `evaluate` does again: evaluation, samples, density pictures and report in the run folder, and the figures in a few lines. */
import type { DataSplit, Dataset } from '../data/index.ts'
import { type DataSpec, loadDataset } from '../data/load.ts'
import { defaultOod } from '../data/ood.ts'
import { toyDensity } from '../data/toys.ts'
import type { Evaluation } from '../evaluation/evaluate.ts'
import type { Robustness } from '../evaluation/robustness.ts'
import { LangevinError } from '../graph/errors.ts'
import type { HostTensor } from '../graph/host-tensor.ts'
import type { Tensor } from '../graph/tensor.ts'
import {
  DENSITY_FILE,
  type EvaluateRunOptions,
  evaluate,
  REPORT_FILE,
  SAMPLES_FILE,
  SAMPLES_TABLE_FILE,
  type Trained,
  writeDensity,
  writeEvaluation,
  writeReport,
  writeSamples,
  writeSampleTable,
} from '../trainers/run-folder.ts'
import { planeOfRun } from '../trainers/run-plane.ts'
import type { CommandContext } from './command.ts'
import type { TrainConfig } from './config.ts'
import { makeProgress, type Progress } from './progress.ts'

export interface FinishOptions {
  readonly context: CommandContext
  readonly trained: Trained
  readonly test: Dataset
  /** Description of the test data; of a toy the exact density is known. */
  readonly data: DataSpec
  readonly out: string
  readonly title: string
  readonly evaluation?: TrainConfig['evaluation']
  readonly base: string
  readonly seed: number
  /** The trainer's options: test data become binary as the training's did. */
  readonly trainer: { readonly binarize?: unknown }
}

/** Fresh points of a toy that has no test part, by a seed of their own. */
const TOY_TEST = { count: 2000, seed: 7919 }

/**
 * What a run is evaluated on: the test part; of a toy without one, points drawn anew; else the first rows of the training part, whose figures then say
 * nothing of other data.
 */
export async function evaluationData(split: DataSplit, spec: DataSpec): Promise<Dataset> {
  const { train, test } = split
  if (test !== undefined) return test
  if (spec.kind !== 'toy') return train.take(1000)
  const { limit: _, test: __, ...toy } = spec
  const count = Math.min(spec.count, TOY_TEST.count)
  return (await loadDataset({ ...toy, count, seed: (spec.seed ?? 0) + TOY_TEST.seed })).train
}

/** Evaluates, samples and reports into the run folder. */
export async function finish(options: FinishOptions): Promise<Evaluation> {
  const { context, trained, test, out, title, seed } = options
  const progress = makeProgress('evaluate', { json: context.json })
  const image = test.shape.length === 3 && (test.shape[0] === 1 || test.shape[0] === 3)
  const samples = image ? undefined : await drawRows(options, progress)
  const evaluation = await evaluate(trained, test, {
    ...(await evaluateOptions(options)),
    ...(samples === undefined ? {} : { samples }),
    onProgress: ({ stage, done, total }) => progress.update(done, total, stage),
  })
  progress.end()
  await writeEvaluation(out, evaluation)
  const written: string[] = []
  if (image) {
    await writeSamples(out, await trained.sample({ count: 100, seed, signal: context.signal }))
    written.push(`samples: ${out}/${SAMPLES_FILE}`)
  } else if (samples?.shape.length === 2) {
    await writeSampleTable(out, samples, test)
    written.push(`samples: ${out}/${SAMPLES_TABLE_FILE}`)
  }
  const plane = test.shape.length === 1 && test.dimensions === 2
  const density = plane ? await planeOfRun(trained.model, test, samples) : undefined
  if (density !== undefined) {
    await writeDensity(out, density)
    written.push(`density: ${out}/${DENSITY_FILE}`)
  }
  await writeReport(out, title, density === undefined ? {} : { density })
  context.print(showEvaluation(evaluation), { event: 'evaluated', out, ...summary(evaluation) })
  context.print([`report: ${out}/${REPORT_FILE}`, ...written].join(', '), {
    event: 'reported',
    report: `${out}/${REPORT_FILE}`,
  })
  return evaluation
}

/** Samples of points and tables, drawn once for figures, files and pictures; none where the run cannot draw and none were asked for. */
async function drawRows(options: FinishOptions, progress: Progress): Promise<HostTensor | undefined> {
  const { trained, seed, context, evaluation } = options
  const count = evaluation?.samples ?? 1000
  if (count === 0) return undefined
  const onProgress = (done: number, total: number): void => progress.update(done, total, 'sampling')
  try {
    return await trained.sample({ count, seed, signal: context.signal, onProgress })
  } catch (error) {
    // evaluate() tries again, and notes it in the evaluation.
    if (evaluation?.samples === undefined && error instanceof LangevinError && error.code === 'E_CONFIG')
      return undefined
    throw error
  }
}

async function evaluateOptions(options: FinishOptions): Promise<EvaluateRunOptions> {
  const { test, seed, context, base } = options
  const { ood = defaultOod(test), ...figures } = options.evaluation ?? {}
  const sets = await Promise.all(
    ood.map(async (o) => {
      if (typeof o === 'string') return o
      const { train: foreign, test: held } = await loadDataset(o as DataSpec, { base })
      return held ?? foreign
    }),
  )
  const truth = truthOf(options.data)
  const given = Object.fromEntries(Object.entries(figures).filter(([, value]) => value !== undefined))
  const binarize = options.trainer.binarize === 'stochastic' ? ('stochastic' as const) : ('threshold' as const)
  const run = { seed, signal: context.signal, binarize }
  return { ...(given as EvaluateRunOptions), ...run, ood: sets, ...(truth ? { truth } : {}) }
}

/** The exact density of a toy of at most three numbers. */
function truthOf(data: DataSpec): ((x: Tensor) => Tensor) | undefined {
  if (data.kind !== 'toy') return undefined
  const density = toyDensity(data.name, data.options as object)
  return density.dimensions <= 3 ? density.logDensity : undefined
}

function summary(e: Evaluation): Record<string, unknown> {
  const { accuracy, nll, ece, ood, frechet, likelihood, divergence, quality, kid, inception, chains, notes } = e
  const { attacks, seconds, peakRssBytes, peakDeviceBytes } = e
  const figures = { likelihood, divergence, quality, kid, inception, chains, attacks, notes }
  return { accuracy, nll, ece, ood, frechet, ...figures, seconds, peakRssBytes, peakDeviceBytes }
}

/** The evaluation as a few lines. */
export function showEvaluation(e: Evaluation): string {
  const lines: string[] = []
  if (e.accuracy !== undefined)
    lines.push(
      `accuracy ${e.accuracy.toFixed(4)}   NLL ${(e.nll ?? Number.NaN).toFixed(4)}   ECE ${(e.ece ?? Number.NaN).toFixed(4)}   (${e.count} test examples)`,
    )
  lines.push(...likelihoodLines(e))
  for (const [set, scores] of Object.entries(e.ood)) {
    const parts = Object.entries(scores).map(([name, f]) => `${name} ${f.auroc.toFixed(4)}`)
    lines.push(`AUROC against ${set.padEnd(10)} ${parts.join('   ')}`)
  }
  lines.push(...(e.attacks ?? []).map(attackLine), ...sampleLines(e), ...(e.notes ?? []))
  const mebibytes = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(0)} MiB`
  const device = e.peakDeviceBytes === undefined ? '' : `, of the device ${mebibytes(e.peakDeviceBytes)}`
  lines.push(`evaluated in ${e.seconds.toFixed(1)} s, peak memory ${mebibytes(e.peakRssBytes)}${device}`)
  return lines.join('\n')
}

function likelihoodLines({ likelihood: l, divergence: d }: Evaluation): string[] {
  const lines: string[] = []
  if (l !== undefined) {
    const bounds = l.logZLower !== undefined && l.logZUpper !== undefined
    const between = bounds ? `, from below ${show(l.logZLower)}, from above ${show(l.logZUpper)}` : ''
    const error = l.logZStandardError > 0 ? ` ± ${show(l.logZStandardError)}` : ''
    const edge = l.reachesEdge ? '; mass reaches the edge of the box' : ''
    lines.push(`log Z ${show(l.logZ)}${error} (${l.method}${between}${edge})`)
    const original = l.original === undefined ? '' : `, ${show(l.original)} in the data's units`
    lines.push(
      `held-out log likelihood ${show(l.mean)} ± ${show(l.totalStandardError)} nats${original}, ${l.bitsPerDimension.toFixed(3)} bits a dimension`,
    )
  }
  if (d !== undefined)
    lines.push(
      `KL(data‖model) ${show(d.forward)}   KL(model‖data) ${show(d.reverse)} nats${d.reachesEdge ? ' (within a box that the model reaches beyond)' : ''}`,
    )
  return lines
}

function sampleLines({ frechet, kid, inception, quality: q, chains }: Evaluation): string[] {
  const lines: string[] = []
  if (q !== undefined) {
    lines.push(`samples against data: MMD² ${q.mmd.squared.toExponential(2)} (${chance(q.mmd.pValue)})`)
    const told =
      q.classifier && `   classifier tells ${percent(q.classifier.accuracy)} (${chance(q.classifier.pValue)})`
    const stein = q.stein && `samples against the model: KSD ${show(q.stein.ksd)} (${chance(q.stein.pValue)})`
    lines[lines.length - 1] += told ?? ''
    const p = q.precisionRecall
    if (p !== undefined)
      lines.push(
        `precision ${p.precision.toFixed(3)}   recall ${p.recall.toFixed(3)}   density ${p.density.toFixed(3)}   coverage ${p.coverage.toFixed(3)}`,
      )
    if (stein !== undefined) lines.push(stein)
  }
  if (frechet?.pixels !== undefined) lines.push(`Frechet distance of samples (inputs) ${frechet.pixels.toPrecision(3)}`)
  if (frechet?.features !== undefined)
    lines.push(`Frechet distance of samples (features) ${frechet.features.toPrecision(4)}`)
  if (kid !== undefined) lines.push(`KID of features ${show(kid.mean)} ± ${show(kid.std)}`)
  if (inception !== undefined) lines.push(`inception score ${show(inception.mean)} ± ${show(inception.std)}`)
  if (chains !== undefined)
    lines.push(
      `${chains.chains} chains of ${chains.sampler}: acceptance ${chains.acceptance.toFixed(3)}, ${chains.divergences} divergences, R-hat ${chains.rhat.toFixed(3)}, ESS ${chains.essBulk.toFixed(0)} bulk, ${chains.essTail.toFixed(0)} tail`,
    )
  return lines
}

function attackLine({ norm, epsilon, steps, restarts, refine, cleanAccuracy, robustAccuracy }: Robustness): string {
  const defence = refine && `, refined by ${refine.steps} steps of ${refine.sampler}`
  return `accuracy under ${norm} ${epsilon.toFixed(4)} (${steps} steps, ${restarts} restarts${defence ?? ''}) ${robustAccuracy.toFixed(4)}   unattacked ${cleanAccuracy.toFixed(4)}`
}

/** A p-value. */
function chance(p: number): string {
  return p < 0.001 ? 'p < 0.001' : `p = ${p.toFixed(3)}`
}

function show(value: number | undefined): string {
  return value === undefined ? 'unknown' : value.toFixed(4)
}

function percent(share: number): string {
  return `${(100 * share).toFixed(1)}%`
}
