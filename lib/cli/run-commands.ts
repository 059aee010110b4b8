/** `langevin evaluate`: thin over the public API. */
import type { Dataset } from '../data/dataset.ts'
import { type DataSpec, loadDataset } from '../data/load.ts'
import { oodNames } from '../data/ood.ts'
import { openRun } from '../trainers/run.ts'
import type { CommandContext, CommandSpec } from './command.ts'
import { parseEvaluation, type TrainConfig } from './config.ts'
import { resolveEvaluation } from './evaluation-paths.ts'
import { folderOf, parseJson, RUN } from './files.ts'
import { evaluationData, finish } from './finish.ts'
import { dataOf, folderOfConfig, keptConfig } from './run-data.ts'

export const evaluateCommand: CommandSpec = {
  name: 'evaluate',
  positionals: [RUN],
  summary:
    'Evaluates RUN: accuracy, calibration, likelihood, out-of-distribution detection, samples against data; rewrites evaluation.json, samples, density pictures and report.html.',
  options: {
    data: {
      type: 'string',
      value: 'JSON|FILE',
      help: "test data as a description ('{\"kind\":...}') or a file holding one (default: the run's own held-out part)",
    },
    ood: {
      type: 'string',
      value: 'LIST',
      help: `out-of-distribution sets: ${oodNames.join(', ')} (default: three that suit the data)`,
    },
    samples: {
      type: 'string',
      value: 'N',
      help: 'samples to compare with the data (default 500 for images, 1000 for rows; 0: none)',
    },
    features: { type: 'string', value: 'NET.onnx', help: 'feature network for Frechet distance and KID' },
    classifier: { type: 'string', value: 'NET.onnx', help: 'classifier for the inception score' },
    'log-z': {
      type: 'string',
      value: 'HOW',
      help: "for the likelihood: 'quadrature', 'exact' (discrete), 'ais', 'none' or a number (default: quadrature up to 2 numbers an example, exact for small discrete models, 0 for flows)",
    },
    options: {
      type: 'string',
      value: 'JSON',
      help: `more of a configuration's "evaluation", e.g. '{"likelihood":{"logZ":"ais","steps":2000},"chains":{}}'`,
    },
    out: { type: 'string', value: 'DIR', help: 'folder to write to (default: the run folder)' },
  },
  examples: [
    'langevin evaluate runs/digits',
    'langevin evaluate runs/digits --ood uniform,constant --json',
    'langevin evaluate runs/banknote --log-z ais',
  ],
  run: evaluateRun,
}

async function evaluateRun(context: CommandContext): Promise<void> {
  const path = context.positionals[0] as string
  const asked = evaluationOf(context)
  const folder = await folderOf(path)
  const run = await openRun(path, { device: context.device })
  const kept = await keptConfig(folder)
  const { spec, base } = await dataOf(context, folder, kept)
  const test = await testOf(context, spec, base)
  const { method, data, options } = run.description
  // What the configuration asked for when the run was trained, under what is asked for now.
  const own = kept.evaluation && (await resolveEvaluation(kept.evaluation, folderOfConfig(kept)))
  const evaluation = { ...own, ...(asked && (await resolveEvaluation(asked, '.'))) }
  await finish({
    context,
    trained: run,
    test,
    out: context.text('out') ?? folder,
    title: `${method} on ${data.name}`,
    data: spec,
    evaluation,
    base,
    seed: context.integer('seed') ?? 0,
    trainer: options,
  })
  await run.model.dispose()
}

/** What --data names is taken whole, unless it has a test part. */
async function testOf(context: CommandContext, spec: DataSpec, base: string): Promise<Dataset> {
  const split = await loadDataset(spec, { base })
  return context.text('data') === undefined ? evaluationData(split, spec) : (split.test ?? split.train)
}

/** A configuration's `evaluation` from the options of the command. */
function evaluationOf(context: CommandContext): TrainConfig['evaluation'] {
  const more = context.text('options')
  const ood = context.list('ood', oodNames)
  const samples = context.integer('samples')
  const features = context.text('features')
  const classifier = context.text('classifier')
  const logZ = context.text('log-z')
  const plain = {
    ...(more === undefined ? {} : (parseJson(more, '--options') as object)),
    ...(ood === undefined ? {} : { ood }),
    ...(samples === undefined ? {} : { samples }),
    ...(features === undefined ? {} : { features }),
    ...(classifier === undefined ? {} : { classifier }),
    ...(logZ === undefined ? {} : { likelihood: likelihoodOf(logZ) }),
  }
  return parseEvaluation(plain, 'the options of evaluate')
}

function likelihoodOf(logZ: string): unknown {
  if (logZ === 'none') return false
  const value = Number(logZ)
  return { logZ: logZ.trim() === '' || Number.isNaN(value) ? logZ : value }
}
