/** `langevin evaluate`, `export` and `info`: thin over the public API. */

import { access } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { Dataset } from '../data/dataset.ts'
import { type DataSpec, loadDataset } from '../data/load.ts'
import { oodNames } from '../data/ood.ts'
import type { Evaluation } from '../evaluation/evaluate.ts'
import { LangevinError } from '../graph/errors.ts'
import { exportOnnx } from '../onnx/export-model.ts'
import { addonInfo } from '../runtime/addon.ts'
import { readWholeFile } from '../runtime/files.ts'
import { packageVersion } from '../runtime/version.ts'
import { CONFIG_FILE } from '../trainers/fit.ts'
import { openRun, type Run } from '../trainers/run.ts'
import { EVALUATION_FILE } from '../trainers/run-folder.ts'
import { type CommandContext, type CommandSpec, UsageError } from './command.ts'
import { parseEvaluation, type TrainConfig } from './config.ts'
import { resolveEvaluation } from './evaluation-paths.ts'
import { checkFolderOf, folderOf, parseJson, RUN } from './files.ts'
import { evaluationData, finish } from './finish.ts'

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

/** What the run folder's config.json keeps of the configuration; nothing where a checkpoint stands alone. */
interface KeptConfig {
  readonly dataSpec?: DataSpec
  readonly config?: string
  readonly evaluation?: TrainConfig['evaluation']
}

async function keptConfig(folder: string): Promise<KeptConfig> {
  const path = join(folder, CONFIG_FILE)
  const there = await access(path).then(
    () => true,
    () => false,
  )
  return there ? (parseJson(new TextDecoder().decode(await readWholeFile(path)), path) as KeptConfig) : {}
}

/** Where the configuration's relative paths start. */
function folderOfConfig({ config }: KeptConfig): string {
  return config === undefined ? '.' : dirname(config)
}

/** The description of the test data: from --data, or what the run folder's config.json keeps. */
async function dataOf(
  context: CommandContext,
  folder: string,
  kept: KeptConfig,
): Promise<{ spec: DataSpec; base: string }> {
  const given = context.text('data')
  if (given !== undefined) {
    const inline = given.trimStart().startsWith('{')
    const text = inline ? given : new TextDecoder().decode(await readWholeFile(given))
    return { spec: parseJson(text, '--data') as DataSpec, base: inline ? '.' : dirname(given) }
  }
  if (kept.dataSpec === undefined)
    throw new LangevinError(
      'E_CONFIG',
      `${join(folder, CONFIG_FILE)} does not say which data the run used; give --data`,
    )
  return { spec: kept.dataSpec, base: folderOfConfig(kept) }
}

const outputNames = ['logits', 'energy', 'score'] as const

export const exportCommand: CommandSpec = {
  name: 'export',
  positionals: [RUN],
  summary:
    'Exports RUN as ONNX and checks the file in ONNX Runtime against the model; a file that disagrees is not left behind.',
  options: {
    outputs: {
      type: 'string',
      value: 'LIST',
      help: `any of ${outputNames.join(',')} (default: all the model has); score is ∇x log p(x)`,
    },
    out: { type: 'string', value: 'FILE', help: 'default: model.onnx in the run folder' },
    opset: { type: 'string', value: 'N', help: '17 (default) to 21' },
    sigma: {
      type: 'string',
      value: 'LEVEL',
      help: "noise-conditioned models: the level that the file holds (default: the smallest), or 'input' for a second input sigma [batch]",
    },
  },
  examples: ['langevin export runs/digits --outputs logits,energy,score --out model.onnx'],
  run: exportRun,
}

async function exportRun(context: CommandContext): Promise<void> {
  const path = context.positionals[0] as string
  const outputs = context.list('outputs', outputNames)
  const opset = context.integer('opset', 1)
  const out = context.text('out') ?? join(await folderOf(path), 'model.onnx')
  const run = await openRun(path, { device: context.device })
  await checkFolderOf(out)
  const { data, options, method } = run.description
  const metadata = {
    'langevin.method': method,
    'langevin.input': inputOf(run),
    'langevin.normalisation': JSON.stringify({
      range: data.range,
      ...(data.transform ? { transform: data.transform } : {}),
    }),
    ...(data.columns === undefined ? {} : { 'langevin.columns': JSON.stringify(data.columns) }),
    'langevin.classes': JSON.stringify(data.classNames),
    'langevin.trainer': JSON.stringify(options),
    ...(await metricsMetadata(await folderOf(path))),
  }
  const exported = await exportOnnx(run.model, out, {
    metadata,
    ...(outputs ? { outputs } : {}),
    ...(opset === undefined ? {} : { opset }),
    ...sigmaOf(context),
  })
  const checks = exported.verification?.outputs ?? []
  const lines = checks.map(
    (c) =>
      `  ${c.name.padEnd(8)} batch ${c.batch}: largest relative difference ${c.maxRel.toExponential(1)} (tolerance ${c.tolerance})`,
  )
  context.print(
    [
      `${out}: ${exported.outputs.join(', ')}, opset ${exported.opset}, ${(exported.bytes / 1024).toFixed(0)} KiB; ONNX Runtime agrees`,
      ...lines,
    ].join('\n'),
    {
      event: 'exported',
      out,
      outputs: exported.outputs,
      opset: exported.opset,
      bytes: exported.bytes,
      checks,
    },
  )
  await run.model.dispose()
}

/** What `x` is, in a few words. */
function inputOf({ model, description }: Run): string {
  const { discrete } = model.network
  const { range, transform } = description.data
  if (discrete === 'oneHot') return 'float32, one-hot along the last axis'
  if (discrete !== undefined) return `float32, ${discrete.join(' or ')}`
  if (range !== null) return 'float32 in [-1, 1], the ends of the range'
  return transform === undefined
    ? "float32 in the data's own units"
    : 'float32, standardised columns: (value - mean) / std'
}

/** A noise level, or 'input'. */
function sigmaOf(context: CommandContext): { sigma?: number | 'input' } {
  const text = context.text('sigma')
  if (text === undefined) return {}
  if (text === 'input') return { sigma: text }
  const sigma = Number(text)
  if (!(sigma > 0)) throw new UsageError(`--sigma takes a noise level above 0, or 'input'; got '${text}'`)
  return { sigma }
}

async function metricsMetadata(folder: string): Promise<Record<string, string>> {
  try {
    const { accuracy, nll, ece, likelihood } = JSON.parse(
      new TextDecoder().decode(await readWholeFile(join(folder, EVALUATION_FILE))),
    ) as Partial<Evaluation>
    const { logZ, mean: logLikelihood } = likelihood ?? {}
    return { 'langevin.evaluation': JSON.stringify({ accuracy, nll, ece, logZ, logLikelihood }) }
  } catch {
    return {}
  }
}

export const infoCommand: CommandSpec = {
  name: 'info',
  positionals: [],
  summary: 'Tells the versions, the instruction set and threads in use, and which devices there are.',
  options: {},
  examples: ['langevin info --json'],
  run: async (context) => {
    const addon = addonInfo()
    const value = {
      langevin: packageVersion(),
      node: process.version,
      platform: `${process.platform}-${process.arch}`,
      ...addon,
      devices: ['cpu'],
    }
    const { ops, loopOps, ...rest } = value
    const text = Object.entries(rest).map(([k, v]) => `${k.padEnd(10)} ${Array.isArray(v) ? v.join(', ') : String(v)}`)
    context.print([...text, `kernels    ${ops.length} ops, ${loopOps.length} fused elementwise ops`].join('\n'), value)
  },
}
