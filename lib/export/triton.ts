/**
 * A bundle as a model repository of NVIDIA Triton Inference Server: a folder for the model and one for the sampler, each with its config.pbtxt, and
 * beside the model's a README that says how to start the server on them. What config.pbtxt says is triton-config.ts's part.
 */
import { copyFile, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { LangevinError } from '../graph/errors.ts'
import { makeFolder } from '../runtime/files.ts'
import type { Run } from '../trainers/run.ts'
import { type BundleOptions, exportBundle } from './bundle.ts'
import { replaceFolder } from './folder.ts'
import { type Bundle, readBundle, signatureOf } from './manifest.ts'
import { isBatchable, type TritonModel, type TritonOptions, tritonConfig } from './triton-config.ts'

export interface ExportTritonOptions extends TritonOptions {
  /** The model's name in the repository; the sampler's is that with `_sampler`. Default the bundle's or the run's folder. */
  readonly name?: string
  /** Of a run: how its bundle is made. */
  readonly bundle?: BundleOptions
}

export interface TritonRepository {
  readonly path: string
  /** Names of the models written. */
  readonly models: readonly string[]
}

const CONFIG = 'config.pbtxt'
const LABELS = 'labels.txt'
const README = 'README.md'

/** The parameter that only samplers have. */
const SAMPLER_KEY = 'langevin.sampler'

/**
 * Writes (or replaces) the models of a run, or of a bundle's folder, in the model repository `dir`; other models there stay.
 * @throws LangevinError E_IO, E_CONFIG for what is no bundle; what exportBundle throws; RangeError for impossible options
 */
export async function exportTriton(
  source: Run | string,
  dir: string,
  options: ExportTritonOptions = {},
): Promise<TritonRepository> {
  if (typeof source === 'string') return fromBundle(await readBundle(source), dir, source, options)
  const work = await mkdtemp(join(tmpdir(), 'langevin-triton-'))
  try {
    const bundle = await exportBundle(source, join(work, 'bundle'), options.bundle)
    return await fromBundle(bundle, dir, dirname(source.path), options)
  } finally {
    await rm(work, { recursive: true, force: true })
  }
}

async function fromBundle(
  bundle: Bundle,
  dir: string,
  folder: string,
  options: ExportTritonOptions,
): Promise<TritonRepository> {
  const name = options.name ?? plainName(basename(folder))
  if (!/^[A-Za-z0-9_][A-Za-z0-9_.-]*$/.test(name))
    throw new LangevinError(
      'E_CONFIG',
      `exportTriton: '${name}' is no name of a model in Triton; use letters, digits, '_', '-' and '.'`,
    )
  await makeFolder(dir)
  const { manifest } = bundle
  const labels = manifest.classes.length > 0 && manifest.model.outputs.includes('logits')
  const model: TritonModel = {
    name,
    signature: await signatureOf(bundle.model),
    ...(labels ? { labels: { output: 'logits', file: LABELS } } : {}),
    parameters: parametersOf(bundle, {}),
  }
  const { sampler } = bundle
  const chain = sampler === undefined ? undefined : await samplerModel(bundle, sampler, `${name}_sampler`)
  const models = chain === undefined ? [model] : [model, chain]
  await writeModel(join(dir, name), bundle.model, model, bundle, options, readme(bundle, models))
  if (chain !== undefined) await writeModel(join(dir, chain.name), bundle.sampler as string, chain, bundle, options)
  else await removeSampler(join(dir, `${name}_sampler`))
  return { path: dir, models: models.map((m) => m.name) }
}

async function samplerModel(bundle: Bundle, path: string, name: string): Promise<TritonModel> {
  return {
    name,
    signature: await signatureOf(path),
    warmup: new Map([['steps', 'steps']]),
    parameters: parametersOf(bundle, { [SAMPLER_KEY]: JSON.stringify(bundle.manifest.sampler) }),
  }
}

/** Removes the sampler that an earlier export of the model left, and nothing else: it would answer for a model that is gone. */
async function removeSampler(folder: string): Promise<void> {
  const config = await readFile(join(folder, CONFIG), 'utf8').catch(() => '')
  if (config.includes(SAMPLER_KEY)) await rm(folder, { recursive: true, force: true })
}

function plainName(folder: string): string {
  return folder.replace(/[^A-Za-z0-9_.-]+/g, '_').replace(/^[-.]+/, '') || 'model'
}

function parametersOf({ manifest }: Bundle, more: Readonly<Record<string, string>>): Record<string, string> {
  const { langevin, method, name, input, outOfDistribution } = manifest
  return {
    'langevin.version': langevin,
    'langevin.name': name,
    'langevin.method': method,
    'langevin.input': JSON.stringify(input),
    ...(outOfDistribution && { 'langevin.out_of_distribution': JSON.stringify(outOfDistribution) }),
    ...more,
  }
}

/** One model's folder: config.pbtxt, 1/model.onnx with its external data, labels, what the warm-up reads, a README (which Triton passes over). */
async function writeModel(
  target: string,
  file: string,
  model: TritonModel,
  { manifest }: Bundle,
  options: TritonOptions,
  about?: string,
): Promise<void> {
  const steps = model.signature.inputs.some((p) => p.name === 'steps')
  const { warmup, ...rest } = model
  const config = tritonConfig(steps && warmup ? model : rest, options)
  await replaceFolder(target, CONFIG, async (folder) => {
    await mkdir(join(folder, '1'))
    // External data are named after their model's file and stand beside it.
    for (const name of await readdir(dirname(file)))
      if (name.startsWith(`${basename(file)}.`)) await copyFile(join(dirname(file), name), join(folder, '1', name))
    await copyFile(file, join(folder, '1', 'model.onnx'))
    if (model.labels) {
      const lines = manifest.classes.map((c) => `${c.replace(/\s+/g, ' ')}\n`)
      await writeFile(join(folder, model.labels.file), lines.join(''))
    }
    if (steps && warmup) {
      // One step, an int64: enough for the body of the loop to be laid out.
      await mkdir(join(folder, 'warmup'))
      await writeFile(join(folder, 'warmup', 'steps'), new Uint8Array(BigInt64Array.of(1n).buffer))
    }
    if (about !== undefined) await writeFile(join(folder, README), about)
    await writeFile(join(folder, CONFIG), config)
  })
}

function readme({ manifest }: Bundle, models: readonly TritonModel[]): string {
  const { input, outOfDistribution: ood, sampler, classes } = manifest
  const [model, chain] = models as [TritonModel, TritonModel?]
  const list = (m: TritonModel) =>
    [
      `## ${m.name}`,
      '',
      isBatchable(m.signature)
        ? 'Rows of concurrent requests are joined (dynamic batching).'
        : 'Each request is a call of its own.',
      '',
      `- inputs: ${m.signature.inputs.map((p) => `\`${p.name}\` [${p.dims.join(', ')}]`).join(', ')}`,
      `- outputs: ${m.signature.outputs.map((p) => `\`${p.name}\` [${p.dims.join(', ')}]`).join(', ')}`,
      '',
    ].join('\n')
  const units = [
    ...(input.transform ? ['standardised columns: (value - mean) / std; the numbers are in langevin.input'] : []),
    input.range === null
      ? 'values as they are'
      : `values mapped from [${input.range.join(', ')}] to [-1, 1]: x = 2·(value - ${input.range[0]}) / (${input.range[1]} - ${input.range[0]}) - 1`,
  ]
  return `# ${manifest.name}: models for Triton Inference Server

Written by langevin ${manifest.langevin}. Start the server on the folder above this one:

    tritonserver --model-repository=..

then ask it, over HTTP (port 8000):

    curl localhost:8000/v2/health/ready
    curl localhost:8000/v2/models/${model.name}
    curl -d @request.json localhost:8000/v2/models/${model.name}/infer

${list(model)}
\`x\`: ${units.join('; ')}.${classes.length > 0 ? ` Classes, in the order of \`logits\`: ${classes.join(', ')}.` : ''}${
    ood === null
      ? ''
      : `

An input counts as out of distribution where \`${ood.score}\` is below ${ood.threshold}: so are ${(100 * ood.falseAlarms).toFixed(0)}% of held-out data.`
  }
${
  chain === undefined || sampler === null
    ? ''
    : `
${list(chain)}
${
  sampler.kind === 'generator'
    ? '`z`: standard normal numbers; `sample`: an independent draw each.'
    : `The run's own settings: ${Object.entries(sampler.defaults)
        .map(([k, v]) => `\`${k}\` ${v}`)
        .join(', ')}. \`y\`: the class of each chain's start, negative for one drawn at random.`
}
`
}
Scalars of the models are [1] in Triton's API. Everything else that is known of the run stands in \`parameters\` of each config.pbtxt.
`
}
