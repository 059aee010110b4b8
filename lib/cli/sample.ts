/** `langevin sample`: draws of a run by its own method, or by chains of any sampler on its model, as a picture, an array or a table. */
import { extname, join } from 'node:path'
import { writeNpy } from '../data/npy.ts'
import { savePng } from '../evaluation/png.ts'
import { LangevinError } from '../graph/errors.ts'
import { type HostTensor, hostTensor } from '../graph/host-tensor.ts'
import { sizeOf } from '../graph/shape.ts'
import { faultsOf } from '../runtime/check-options.ts'
import type { Sigmas } from '../samplers/levels.ts'
import { sample as sampleChains } from '../samplers/sample.ts'
import { makeSampler, type SamplerOptions, samplerKinds } from '../samplers/samplers.ts'
import { samplerSchema } from '../samplers/schema.ts'
import { openRun, type Run } from '../trainers/run.ts'
import { inOriginalUnits, writeTable } from '../trainers/sample-files.ts'
import { type CommandContext, type CommandSpec, UsageError } from './command.ts'
import { checkFolderOf, folderOf, parseJson, RUN } from './files.ts'
import { makeProgress } from './progress.ts'

export const sampleCommand: CommandSpec = {
  name: 'sample',
  positionals: [RUN],
  summary:
    'Draws samples from RUN (a run folder or a checkpoint) as it was trained to, or by a sampler of your choice.',
  options: {
    count: { type: 'string', value: 'N', help: 'samples (default 100)' },
    class: { type: 'string', value: 'C', help: 'only this class, by chains of p(x|y)' },
    steps: {
      type: 'string',
      value: 'K',
      help: 'sampler steps (default: one training round from the buffer, ten from fresh starts)',
    },
    from: {
      type: 'string',
      value: 'WHERE',
      help: "'buffer', 'start' or 'model' (exact draws of a flow or generator; default: what the method has)",
    },
    sampler: {
      type: 'string',
      value: 'KIND|JSON',
      help: `chains of this sampler from fresh starts, e.g. nuts or '{"kind":"mala","stepSize":0.1}'`,
    },
    warmup: { type: 'string', value: 'K', help: "with --sampler: warm-up steps (default: the sampler's own, or 500)" },
    chains: { type: 'string', value: 'N', help: 'with --sampler: chains (default: one a sample, at most 256)' },
    thin: {
      type: 'string',
      value: 'K',
      help: 'with --sampler: steps from one draw of a chain to the next (default 1)',
    },
    out: {
      type: 'string',
      value: 'FILE',
      help: "grid.png for images, samples.csv for rows in the data's units, samples.npy (default: samples.png or samples.csv in the run folder)",
    },
  },
  examples: [
    'langevin sample runs/digits --count 64 --out grid.png',
    'langevin sample runs/digits --class 3 --out threes.npy',
    'langevin sample runs/moons --sampler nuts --count 1000 --out draws.csv',
  ],
  run: sample,
}

const kinds = ['.png', '.npy', '.csv']
const chainOptions = ['warmup', 'chains', 'thin'] as const

async function sample(context: CommandContext): Promise<void> {
  const path = context.positionals[0] as string
  const given = context.text('out')
  if (given !== undefined && !kinds.includes(extname(given).toLowerCase()))
    throw new UsageError(`--out must end in .png, .npy or .csv; got '${given}'`)
  if (given !== undefined) await checkFolderOf(given)
  const sampler = samplerOf(context)
  checkUsage(context, sampler)
  const from = context.list('from', ['buffer', 'start', 'model'] as const)?.[0]
  const run = await openRun(path, { device: context.device })
  const { data } = run.description
  const image = data.shape.length === 3
  const out = given ?? join(await folderOf(path), image ? 'samples.png' : 'samples.csv')
  const kind = extname(out).toLowerCase()
  checkKind(kind, data.shape, out)
  const progress = makeProgress('sample', { json: context.json })
  const options = {
    count: context.integer('count', 1) ?? 100,
    ...defined({
      class: context.integer('class'),
      steps: context.integer('steps'),
      seed: context.integer('seed'),
      from,
    }),
    signal: context.signal,
    onProgress: (done: number, total: number) => progress.update(done, total),
  }
  const drawn =
    sampler === undefined
      ? { samples: await run.sample(options), told: {}, text: '' }
      : await drawChains(run, sampler, { ...options, ...defined(chainSettings(context)) })
  progress.end()
  const samples = inOriginalUnits(drawn.samples, data)
  if (kind === '.png') await savePng(out, samples)
  else if (kind === '.csv') await writeTable(out, samples, data.columns)
  else await writeNpy(out, samples)
  context.print(`${samples.shape[0]} samples of [${samples.shape.slice(1).join(',')}] in ${out}${drawn.text}`, {
    event: 'sampled',
    out,
    shape: samples.shape,
    ...drawn.told,
  })
  await run.model.dispose()
}

/** What was given. */
function defined<T extends Record<string, unknown>>(options: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(options).filter(([, v]) => v !== undefined)) as {
    [K in keyof T]?: Exclude<T[K], undefined>
  }
}

function chainSettings(context: CommandContext) {
  return {
    warmup: context.integer('warmup'),
    chains: context.integer('chains', 1),
    thin: context.integer('thin', 1),
  }
}

/** The sampler that an option gives by its kind or as JSON. */
export function samplerOf(context: CommandContext, option = 'sampler'): SamplerOptions | undefined {
  const text = context.text(option)
  if (text === undefined) return undefined
  const plain = text.trimStart().startsWith('{') ? parseJson(text, `--${option}`) : { kind: text }
  const faults = faultsOf(samplerSchema, plain, 'sampler')
  if (faults.length > 0) {
    throw new UsageError(
      `--${option}: ${faults.join('; ')}${text.includes('{') ? '' : ` Kinds: ${samplerKinds.join(', ')}`}`,
    )
  }
  return plain as SamplerOptions
}

function checkUsage(context: CommandContext, sampler: SamplerOptions | undefined): void {
  const other = sampler === undefined ? chainOptions : (['steps', 'from'] as const)
  for (const name of other) {
    if (context.text(name) === undefined) continue
    throw new UsageError(
      sampler === undefined
        ? `--${name} goes with --sampler; the run's own chains take --steps`
        : `--${name} is of the run's own chains; with --sampler give --warmup and --thin`,
    )
  }
}

function checkKind(kind: string, shape: readonly number[], out: string): void {
  const [channels] = shape
  if (kind === '.png' && !(shape.length === 3 && (channels === 1 || channels === 3)))
    throw new UsageError(`--out '${out}': a PNG grid shows images; samples of [${shape.join(',')}] go to .csv or .npy`)
  if (kind === '.csv' && shape.length !== 1)
    throw new UsageError(
      `--out '${out}': a table holds rows of numbers; samples of [${shape.join(',')}] go to .png or .npy`,
    )
}

interface ChainRun {
  readonly count: number
  readonly class?: number
  readonly seed?: number
  readonly warmup?: number
  readonly chains?: number
  readonly thin?: number
  readonly signal: AbortSignal
  readonly onProgress: (done: number, total: number) => void
}

/** Samplers with an accept step. */
const metropolis: readonly string[] = ['rwm', 'mala', 'hmc', 'nuts', 'parallelTempering', 'gibbsWithGradients']

/** Samplers that go down a ladder of noise levels: those of the training, unless others are given. */
const laddered: readonly string[] = ['annealedLangevin', 'predictorCorrector', 'probabilityFlow']

/** @throws LangevinError E_CONFIG for annealed Langevin where neither the run nor the options have levels */
export function withLevels(sampler: SamplerOptions, { model, description }: Run): SamplerOptions {
  if (!laddered.includes(sampler.kind) || 'sigmas' in sampler) return sampler
  const { estimator } = description.options as { readonly estimator?: { readonly sigmas?: Sigmas } }
  if (estimator?.sigmas !== undefined) return { ...sampler, sigmas: estimator.sigmas } as SamplerOptions
  if (sampler.kind !== 'annealedLangevin' || model.network.conditioned) return sampler
  throw new LangevinError(
    'E_CONFIG',
    'sample: annealedLangevin goes down the noise levels of a noise-conditioned energy, and this one has none. To anneal the temperature instead, ' +
      `from (largest/smallest)² to 1, give sigmas in units of x: '{"kind":"annealedLangevin","sigmas":{"largest":1,"smallest":0.2,"levels":10}}'; or use parallelTempering`,
  )
}

/** What JEM's samplers are not, where their noise is not that of Langevin dynamics. */
function caution(sampler: SamplerOptions): string {
  const { kind } = sampler
  if (kind !== 'sgld' && kind !== 'proximalSgld' && kind !== 'pyld') return ''
  if (kind !== 'pyld' && sampler.noise === 'langevin') return ''
  return `. Note: ${kind} with these settings seeks low energy and does not draw from p(x); ula, mala, hmc and nuts do`
}

/** Draws of all chains, the first draw of each before the second. */
async function drawChains(run: Run, given: SamplerOptions, options: ChainRun) {
  const { model, description } = run
  const sampler = withLevels(given, run)
  const { count, chains = Math.min(count, 256), ...rest } = options
  const draws = Math.ceil(count / chains)
  // Where the data have no range, they are standardised or small: a unit normal is nearer than the box [-1, 1] is to images.
  const own = makeSampler(sampler).start
  const start = own === undefined && description.data.range === null ? { start: { kind: 'normal' } as const } : {}
  const made = await sampleChains(model, { ...rest, ...start, sampler, chains, draws })
  const { acceptance, divergences, stepSize, gradients } = made
  const accepted = metropolis.includes(sampler.kind) ? `, acceptance ${acceptance.toFixed(3)}` : ''
  const text = `; ${chains} chains of ${sampler.kind}${accepted}, ${divergences} divergences${caution(sampler)}`
  return { samples: interleaved(made.draws, count), told: { acceptance, divergences, stepSize, gradients }, text }
}

function interleaved(draws: HostTensor, count: number): HostTensor {
  const [chains = 0, length = 0, ...shape] = draws.shape
  const each = sizeOf(shape)
  const out = new Float32Array(count * each)
  for (let i = 0; i < count; i++) {
    const at = ((i % chains) * length + Math.floor(i / chains)) * each
    out.set((draws.data as Float32Array).subarray(at, at + each), i * each)
  }
  if (!out.every(Number.isFinite))
    throw new LangevinError(
      'E_DATA',
      'sample: chains left the finite numbers; take a smaller step size, or a sampler that adapts (nuts, hmc, mala)',
    )
  return hostTensor(out, [count, ...shape])
}
