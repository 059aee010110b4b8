/** `langevin train`: a configuration becomes a run folder with checkpoint, metrics, evaluation, samples and report. */
import { basename, resolve } from 'node:path'
import type { Dataset } from '../data/index.ts'
import { type DataSpec, loadDataset } from '../data/load.ts'
import type { EventRow, MetricsRow } from '../evaluation/metrics-row.ts'
import { LangevinError } from '../graph/errors.ts'
import { type Device, deviceMemory } from '../runtime/devices.ts'
import { methods } from '../trainers/methods.ts'
import { Trainer } from '../trainers/trainer.ts'
import type { CommandContext, CommandSpec } from './command.ts'
import { readConfig, type TrainConfig } from './config.ts'
import { resolveEvaluation } from './evaluation-paths.ts'
import { evaluationData, finish } from './finish.ts'
import { showBytes } from './info.ts'
import { networkModel } from './network.ts'
import { makeProgress, showSeconds } from './progress.ts'

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
  const evaluation = config.evaluation && (await resolveEvaluation(config.evaluation, base))
  const trainer = await makeTrainer(config, base, data, seed, context.device)
  const progress = makeProgress('train', { json: context.json })
  const steps = context.integer('steps', 1) ?? config.steps
  const started = performance.now()
  let last: MetricsRow | undefined
  const length = {
    ...(steps === undefined ? {} : { steps }),
    ...(config.epochs === undefined ? {} : { epochs: config.epochs }),
  }
  const { totalSteps: total } = trainer.plan(data, length)
  let resumed = false
  const onEvent = (event: EventRow): void => {
    resumed ||= event.event === 'resumed'
    if (context.json) context.print('', event)
    else progress.log(showEvent(event))
  }
  const fit = trainer.fit(data, {
    out,
    resume: context.flag('resume'),
    signal: context.signal,
    onEvent,
    describe: { config: resolve(path), dataSpec: config.data, evaluation: config.evaluation },
    ...length,
    ...(config.reportEvery === undefined ? {} : { reportEvery: config.reportEvery }),
    ...(config.checkpointEvery === undefined ? {} : { checkpointEvery: config.checkpointEvery }),
  })
  for await (const row of fit) {
    last = row
    if (context.json) context.print('', row)
    progress.update(row.step, total, showRow(row))
  }
  progress.end()
  const wall = showSeconds((performance.now() - started) / 1000)
  const device = trainer.model.device
  const peak = device === 'cpu' ? undefined : (await deviceMemory(device)).peak
  const memory = peak === undefined ? '' : `, peak memory of ${device} ${showBytes(peak)}`
  const trained = `trained ${last?.step ?? total} steps in ${showSeconds(last?.seconds ?? 0)} (${wall} with setup${resumed ? ', since it was resumed' : ''})${memory}`
  context.print(trained, {
    event: 'trained',
    step: last?.step ?? total,
    seconds: last?.seconds ?? null,
    out,
    device,
    peakDeviceBytes: peak,
  })
  await finish({
    context,
    trained: trainer,
    test: await evaluationData({ train: data, test }, config.data as DataSpec),
    out,
    title: `${config.method} on ${data.name}`,
    data: config.data as DataSpec,
    evaluation,
    base,
    seed,
    trainer: trainer.options as { readonly binarize?: unknown },
  })
  trainer.dispose()
  await trainer.model.dispose()
}

/** The trainer that a configuration describes; shapes and classes that it leaves open come from the data. */
export async function makeTrainer(
  config: TrainConfig,
  base: string,
  data: Dataset,
  seed: number,
  device: Device,
): Promise<Trainer> {
  const definition = methods.get(config.method)
  if (definition === undefined)
    throw new LangevinError('E_INTERNAL', `internal: method '${config.method}' was not checked`)
  const { classifier = false } = definition
  const model = await networkModel(config.network, data, { classifier, base, seed, device })
  return new Trainer(definition, model, { ...config.trainer, seed })
}

/** Fields that every row has, or that say little while training runs; they are in metrics.jsonl. */
const unshown = new Set([
  ...['step', 'epoch', 'seconds', 'loss', 'learningRate', 'stepsPerSecond', 'gradientNorm'],
  ...['energyData', 'energyNegatives', 'crossEntropy', 'chainDrift'],
])
const shortNames: Readonly<Record<string, string>> = { accuracy: 'acc', energyGap: 'gap' }
/** More would not fit on a line. */
const mostShown = 5

/** Loss, and the first of what else the method reports. */
export function showRow(row: MetricsRow): string {
  const own = Object.entries(row).filter(([name, v]) => v !== undefined && !unshown.has(name) && !name.endsWith('Norm'))
  const shown = own.slice(0, mostShown).map(([name, v]) => `${shortNames[name] ?? name} ${(v as number).toFixed(3)}`)
  const parts = [`epoch ${row.epoch.toFixed(1)}`, `loss ${row.loss.toFixed(3)}`, ...shown]
  return [...parts, `${row.stepsPerSecond.toFixed(1)} steps/s`].join('  ')
}

function showEvent(event: EventRow): string {
  if (event.event === 'recovered') {
    return `step ${event.step}: diverged (${String(event.guard)} ${String(event.value)}); went back to step ${String(event.to)}, learning rate × ${String(event.rateFactor)}, new chains (attempt ${String(event.attempt)})`
  }
  if (event.event === 'resumed') return `resumed at step ${event.step}`
  return `step ${event.step}: ${event.event}`
}
