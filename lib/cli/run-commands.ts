/** `langevin sample`, `evaluate`, `export` and `info`: thin over the public API. */

import { stat } from 'node:fs/promises'
import { dirname, extname, join } from 'node:path'
import { type DataSpec, loadDataset } from '../data/load.ts'
import { writeNpy } from '../data/npy.ts'
import { savePng } from '../evaluation/png.ts'
import { LangevinError } from '../graph/errors.ts'
import { exportOnnx } from '../onnx/export-model.ts'
import { addonInfo } from '../runtime/addon.ts'
import { readWholeFile } from '../runtime/files.ts'
import { packageVersion } from '../runtime/version.ts'
import { CONFIG_FILE } from '../trainers/fit.ts'
import { openRun } from '../trainers/run.ts'
import { EVALUATION_FILE } from '../trainers/run-folder.ts'
import { type CommandContext, type CommandSpec, UsageError } from './command.ts'
import { makeProgress } from './progress.ts'
import { finish, oodChoices } from './train.ts'

const RUN = 'RUN'

export const sampleCommand: CommandSpec = {
  name: 'sample',
  positionals: [RUN],
  summary: 'Draws samples from RUN (a run folder or a checkpoint) with the chain that it was trained with.',
  options: {
    count: { type: 'string', value: 'N', help: 'samples (default 100)' },
    class: { type: 'string', value: 'C', help: 'only this class, by chains of p(x|y)' },
    steps: {
      type: 'string',
      value: 'K',
      help: 'sampler steps (default: one training round from the buffer, ten from fresh starts)',
    },
    from: { type: 'string', value: 'WHERE', help: "'buffer' or 'start' (default: buffer, or start with --class)" },
    out: { type: 'string', value: 'FILE', help: 'grid.png or samples.npy (default: samples.png in the run folder)' },
  },
  examples: [
    'langevin sample runs/digits --count 64 --out grid.png',
    'langevin sample runs/digits --class 3 --out threes.npy',
  ],
  run: sample,
}

async function sample(context: CommandContext): Promise<void> {
  const path = context.positionals[0] as string
  const out = context.text('out') ?? join(await folderOf(path), 'samples.png')
  const kind = extname(out).toLowerCase()
  if (kind !== '.png' && kind !== '.npy') throw new UsageError(`--out must end in .png or .npy; got '${out}'`)
  await checkFolderOf(out)
  const from = context.list('from', ['buffer', 'start'] as const)?.[0]
  const run = await openRun(path, { device: context.device })
  const progress = makeProgress('sample', { json: context.json })
  const options = {
    count: context.integer('count', 1) ?? 100,
    class: context.integer('class'),
    steps: context.integer('steps'),
    seed: context.integer('seed'),
    from,
  }
  const given = Object.fromEntries(Object.entries(options).filter(([, v]) => v !== undefined))
  const samples = await run.sample({
    ...given,
    signal: context.signal,
    onProgress: (done, total) => progress.update(done, total),
  })
  progress.end()
  if (kind === '.png') await savePng(out, samples)
  else await writeNpy(out, samples)
  context.print(`${samples.shape[0]} samples of [${samples.shape.slice(1).join(',')}] in ${out}`, {
    event: 'sampled',
    out,
    shape: samples.shape,
  })
  await run.model.dispose()
}

export const evaluateCommand: CommandSpec = {
  name: 'evaluate',
  positionals: [RUN],
  summary:
    'Evaluates RUN: accuracy, calibration, out-of-distribution detection, Frechet distance of samples; rewrites evaluation.json, samples.png and report.html.',
  options: {
    data: {
      type: 'string',
      value: 'JSON|FILE',
      help: "test data as a description ('{\"kind\":...}') or a file holding one (default: the run's own held-out part)",
    },
    ood: {
      type: 'string',
      value: 'LIST',
      help: `out-of-distribution sets: ${oodChoices.join(', ')} (default: uniform,inverted,shuffled)`,
    },
    samples: { type: 'string', value: 'N', help: 'samples for the Frechet distance (default 500 for images; 0: none)' },
    features: { type: 'string', value: 'NET.onnx', help: 'feature network for the Frechet distance' },
    out: { type: 'string', value: 'DIR', help: 'folder to write to (default: the run folder)' },
  },
  examples: ['langevin evaluate runs/digits', 'langevin evaluate runs/digits --ood uniform,constant --json'],
  run: evaluateRun,
}

async function evaluateRun(context: CommandContext): Promise<void> {
  const path = context.positionals[0] as string
  const ood = context.list('ood', oodChoices)
  const samples = context.integer('samples')
  const features = context.text('features')
  const folder = await folderOf(path)
  const run = await openRun(path, { device: context.device })
  const { spec, base } = await dataOf(context, folder)
  const { train, test } = await loadDataset(spec, { base })
  const evaluation = {
    ...(ood ? { ood } : {}),
    ...(samples === undefined ? {} : { samples }),
    ...(features ? { features } : {}),
  }
  const { method, data } = run.description
  await finish({
    context,
    trained: run,
    test: test ?? train,
    out: context.text('out') ?? folder,
    title: `${method} on ${data.name}`,
    evaluation,
    base,
    seed: context.integer('seed') ?? 0,
  })
  await run.model.dispose()
}

/** The description of the test data: from --data, or what the run folder's config.json keeps. */
async function dataOf(context: CommandContext, folder: string): Promise<{ spec: DataSpec; base: string }> {
  const given = context.text('data')
  if (given !== undefined) {
    const inline = given.trimStart().startsWith('{')
    const text = inline ? given : new TextDecoder().decode(await readWholeFile(given))
    return { spec: parseJson(text, '--data') as DataSpec, base: inline ? '.' : dirname(given) }
  }
  const path = join(folder, CONFIG_FILE)
  const kept = parseJson(new TextDecoder().decode(await readWholeFile(path)), path) as {
    dataSpec?: DataSpec
    config?: string
  }
  if (kept.dataSpec === undefined)
    throw new LangevinError('E_CONFIG', `${path} does not say which data the run used; give --data`)
  return { spec: kept.dataSpec, base: kept.config === undefined ? '.' : dirname(kept.config) }
}

function parseJson(text: string, source: string): unknown {
  try {
    return JSON.parse(text)
  } catch (cause) {
    throw new LangevinError('E_CONFIG', `${source} is not JSON: ${(cause as Error).message}`, { source }, cause)
  }
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
    'langevin.input': 'float32 in [-1, 1]',
    'langevin.normalisation': JSON.stringify({ range: data.range }),
    'langevin.classes': JSON.stringify(data.classNames),
    'langevin.trainer': JSON.stringify(options),
    ...(await metricsMetadata(await folderOf(path))),
  }
  const exported = await exportOnnx(run.model, out, {
    metadata,
    ...(outputs ? { outputs } : {}),
    ...(opset === undefined ? {} : { opset }),
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

async function metricsMetadata(folder: string): Promise<Record<string, string>> {
  try {
    const { accuracy, nll, ece } = JSON.parse(
      new TextDecoder().decode(await readWholeFile(join(folder, EVALUATION_FILE))),
    ) as Record<string, unknown>
    return { 'langevin.evaluation': JSON.stringify({ accuracy, nll, ece }) }
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

/** Refuses a file whose folder does not exist, before the work that would be lost. */
async function checkFolderOf(file: string): Promise<void> {
  const folder = dirname(file)
  const info = await stat(folder).catch(() => undefined)
  if (!info?.isDirectory())
    throw new LangevinError('E_IO', `--out '${file}': '${folder}' is not a folder; create it first`, { path: file })
}

async function folderOf(path: string): Promise<string> {
  const info = await stat(path).catch(() => undefined)
  return info?.isDirectory() ? path : dirname(path)
}
