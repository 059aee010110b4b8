/** `langevin train`: a configuration becomes a run folder with checkpoint, metrics, evaluation, samples and report. */
import { basename, resolve } from 'node:path'
import { type Dataset, oodNames } from '../data/index.ts'
import { type DataSpec, loadDataset } from '../data/load.ts'
import type { OodName } from '../data/ood.ts'
import type { Evaluation } from '../evaluation/evaluate.ts'
import type { EventRow, MetricsRow } from '../evaluation/metrics-row.ts'
import { LangevinError } from '../graph/errors.ts'
import { Model } from '../nn/model.ts'
import { buildNetwork } from '../nn/networks.ts'
import type { Device } from '../runtime/device.ts'
import { methods } from '../trainers/methods.ts'
import {
  evaluate,
  REPORT_FILE,
  SAMPLES_FILE,
  type Trained,
  writeEvaluation,
  writeReport,
  writeSamples,
} from '../trainers/run-folder.ts'
import { Trainer } from '../trainers/trainer.ts'
import type { CommandContext, CommandSpec } from './command.ts'
import { readConfig, type TrainConfig } from './config.ts'
import { makeProgress, type Progress, showSeconds } from './progress.ts'

export const trainCommand: CommandSpec = {
  name: 'train',
  positionals: ['CONFIG.json'],
  summary:
    'Trains the model that CONFIG.json describes; then evaluates it, draws samples and writes a report. Ctrl-C stops at a step and keeps a checkpoint.',
  options: {
    out: { type: 'string', value: 'DIR', help: "run folder (default: runs/ and the configuration's name)" },
    resume: { type: 'boolean', help: "continue the run folder's checkpoint, exactly where it stood" },
    steps: { type: 'string', value: 'N', help: 'training steps, instead of what the configuration says' },
  },
  examples: [
    'langevin train configs/jempp-digits.json --out runs/digits',
    'langevin train configs/jempp-digits.json --out runs/digits --resume',
  ],
  run: train,
}

async function train(context: CommandContext): Promise<void> {
  const path = context.positionals[0] as string
  const { config, base } = await readConfig(path)
  const seed = context.integer('seed') ?? config.trainer?.seed ?? 0
  const out = context.text('out') ?? `runs/${basename(path).replace(/\.json$/, '')}`
  const { train: data, test } = await loadDataset(config.data as DataSpec, { base })
  const trainer = makeTrainer(config, data, seed, context.device)
  const progress = makeProgress('train', { json: context.json })
  const steps = context.integer('steps', 1) ?? config.steps
  const started = performance.now()
  let last: MetricsRow | undefined
  const stepsPerEpoch = Math.floor(data.count / (config.trainer?.batch ?? 64))
  const total = steps ?? Math.round((config.epochs ?? trainer.definition.epochs) * stepsPerEpoch)
  const onEvent = (event: EventRow): void => {
    if (context.json) context.print('', event)
    else progress.log(showEvent(event))
  }
  const fit = trainer.fit(data, {
    out,
    resume: context.flag('resume'),
    signal: context.signal,
    onEvent,
    describe: { config: resolve(path), dataSpec: config.data, evaluation: config.evaluation },
    ...(steps === undefined ? {} : { steps }),
    ...(config.epochs === undefined ? {} : { epochs: config.epochs }),
    ...(config.reportEvery === undefined ? {} : { reportEvery: config.reportEvery }),
    ...(config.checkpointEvery === undefined ? {} : { checkpointEvery: config.checkpointEvery }),
  })
  for await (const row of fit) {
    last = row
    if (context.json) context.print('', row)
    progress.update(row.step, total, showRow(row))
  }
  progress.end()
  const trained = `trained ${last?.step ?? total} steps in ${showSeconds(last?.seconds ?? 0)} (${showSeconds((performance.now() - started) / 1000)} with setup)`
  context.print(trained, { event: 'trained', step: last?.step ?? total, seconds: last?.seconds ?? null, out })
  await finish({
    context,
    trained: trainer,
    test: test ?? data.take(1000),
    out,
    title: `${config.method} on ${data.name}`,
    evaluation: config.evaluation,
    base,
    seed,
  })
  trainer.dispose()
  await trainer.model.dispose()
}

/** The trainer that a configuration describes; shapes and classes that it leaves open come from the data. */
export function makeTrainer(config: TrainConfig, data: Dataset, seed: number, device: Device): Trainer {
  const model = new Model(buildNetwork(completeNetwork(config, data)), { seed, device })
  const definition = methods.get(config.method)
  if (definition === undefined)
    throw new LangevinError('E_INTERNAL', `internal: method '${config.method}' was not checked`)
  return new Trainer(definition, model, { ...config.trainer, seed })
}

function completeNetwork(config: TrainConfig, data: Dataset): { kind: string } & Record<string, unknown> {
  const { network } = config
  const [channels, height, width] = data.shape
  const classes = network.classes ?? data.classes
  if (network.kind === 'mlp' && data.shape.length > 1) {
    throw new LangevinError(
      'E_CONFIG',
      `network.kind: 'mlp' takes rows of numbers; data '${data.name}' has images of [${data.shape.join(',')}]. Use kind 'wideResNet' or 'convEnergy'.`,
    )
  }
  if (network.kind === 'mlp') return { ...network, inputs: network.inputs ?? data.dimensions, classes }
  if (channels === undefined || height === undefined || width === undefined) {
    throw new LangevinError(
      'E_CONFIG',
      `network.kind: '${network.kind}' takes images; data '${data.name}' has rows of [${data.shape.join(',')}]. Use kind 'mlp'.`,
    )
  }
  if (network.kind === 'convEnergy') return { ...network, shape: network.shape ?? data.shape, classes }
  return { ...network, channels: network.channels ?? channels, size: network.size ?? [height, width], classes }
}

export interface FinishOptions {
  readonly context: CommandContext
  readonly trained: Trained
  readonly test: Dataset
  readonly out: string
  readonly title: string
  readonly evaluation?: TrainConfig['evaluation']
  readonly base: string
  readonly seed: number
}

/** Evaluates, samples and reports into the run folder. */
export async function finish(options: FinishOptions): Promise<Evaluation> {
  const { context, trained, test, out, title, seed } = options
  const { ood = ['uniform', 'inverted', 'shuffled'] as const, samples, features } = options.evaluation ?? {}
  const progress: Progress = makeProgress('evaluate', { json: context.json })
  const sets = await Promise.all(
    ood.map(async (o) => {
      if (typeof o === 'string') return o
      const { train: foreign, test: held } = await loadDataset(o as DataSpec, { base: options.base })
      return held ?? foreign
    }),
  )
  const evaluation = await evaluate(trained, test, {
    ood: sets,
    seed,
    signal: context.signal,
    onProgress: ({ stage, done, total }) => progress.update(done, total, stage),
    ...(samples === undefined ? {} : { samples }),
    ...(features === undefined ? {} : { features }),
  })
  progress.end()
  await writeEvaluation(out, evaluation)
  const image = test.shape.length === 3 && (test.shape[0] === 1 || test.shape[0] === 3)
  if (image) await writeSamples(out, await trained.sample({ count: 100, seed, signal: context.signal }))
  await writeReport(out, title)
  context.print(showEvaluation(evaluation), { event: 'evaluated', out, ...summary(evaluation) })
  context.print(`report: ${out}/${REPORT_FILE}${image ? `, samples: ${out}/${SAMPLES_FILE}` : ''}`, {
    event: 'reported',
    report: `${out}/${REPORT_FILE}`,
  })
  return evaluation
}

function summary(e: Evaluation): Record<string, unknown> {
  return {
    accuracy: e.accuracy,
    nll: e.nll,
    ece: e.ece,
    ood: e.ood,
    frechet: e.frechet,
    seconds: e.seconds,
    peakRssBytes: e.peakRssBytes,
  }
}

/** The evaluation as a few lines. */
export function showEvaluation(e: Evaluation): string {
  const lines: string[] = []
  if (e.accuracy !== undefined)
    lines.push(
      `accuracy ${e.accuracy.toFixed(4)}   NLL ${(e.nll ?? Number.NaN).toFixed(4)}   ECE ${(e.ece ?? Number.NaN).toFixed(4)}   (${e.count} test examples)`,
    )
  for (const [set, scores] of Object.entries(e.ood)) {
    const parts = Object.entries(scores).map(([name, f]) => `${name} ${f.auroc.toFixed(4)}`)
    lines.push(`AUROC against ${set.padEnd(10)} ${parts.join('   ')}`)
  }
  if (e.frechet?.pixels !== undefined) lines.push(`Frechet distance of samples (pixels) ${e.frechet.pixels.toFixed(2)}`)
  lines.push(`evaluated in ${e.seconds.toFixed(1)} s, peak memory ${(e.peakRssBytes / 2 ** 20).toFixed(0)} MiB`)
  return lines.join('\n')
}

function showRow(row: MetricsRow): string {
  const parts = [`epoch ${row.epoch.toFixed(1)}`, `loss ${row.loss.toFixed(3)}`]
  if (row.accuracy !== undefined) parts.push(`acc ${row.accuracy.toFixed(3)}`)
  if (row.energyGap !== undefined) parts.push(`gap ${row.energyGap.toFixed(3)}`)
  parts.push(`${row.stepsPerSecond.toFixed(1)} steps/s`)
  return parts.join('  ')
}

function showEvent(event: EventRow): string {
  if (event.event === 'recovered') {
    return `step ${event.step}: diverged (${String(event.guard)} ${String(event.value)}); went back to step ${String(event.to)}, learning rate × ${String(event.rateFactor)}, new chains (attempt ${String(event.attempt)})`
  }
  if (event.event === 'resumed') return `resumed at step ${event.step}`
  return `step ${event.step}: ${event.event}`
}

/** Names that --ood takes. */
export const oodChoices: readonly OodName[] = oodNames
