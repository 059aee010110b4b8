/** `langevin bench`: times the workloads of scripts/bench/workloads.json on this machine. Side by side with others: scripts/bench-peers.mjs. */
import { type BenchProfile, type BenchRow, benchWorkload } from '../bench/measure.ts'
import { chooseWorkloads } from '../bench/workloads.ts'
import { checkPrecision, type Precision } from '../runtime/compile.ts'
import { type CommandContext, type CommandSpec, UsageError } from './command.ts'

export const benchCommand: CommandSpec = {
  name: 'bench',
  positionals: [],
  summary: 'Times Langevin chains and training steps on this machine; milliseconds a step.',
  options: {
    only: { type: 'string', value: 'LIST', help: 'workloads, by commas (default: all)' },
    repeats: { type: 'string', value: 'N', help: 'timings of which the median is taken (default 7)' },
    seconds: { type: 'string', value: 'S', help: 'a timing takes a quarter of this, or one call (default 1)' },
    precision: { type: 'string', value: 'P', help: "of products and convolutions: 'float32' (default) or 'bfloat16'" },
    profile: { type: 'boolean', help: 'also kernels, reorders and memory of what was compiled' },
  },
  examples: ['langevin bench --only langevin_mlp,dsm_mlp', 'langevin bench --json --threads 2 --profile'],
  run: bench,
}

async function bench(context: CommandContext): Promise<void> {
  const workloads = chooseWorkloads(context.list('only'))
  const repeats = context.integer('repeats', 1)
  const seconds = positive(context, 'seconds')
  const precision = context.text('precision')
  checkPrecision(precision)
  const options = {
    signal: context.signal,
    ...(repeats === undefined ? {} : { repeats }),
    ...(seconds === undefined ? {} : { seconds }),
    ...(precision === undefined ? {} : { precision: precision as Precision }),
  }
  if (!context.json) process.stdout.write(`${head()}\n`)
  for (const [name, workload] of workloads) {
    const { row, profile } = await benchWorkload(name, workload, options)
    context.print(rowText(row), { ...row })
    if (context.flag('profile')) context.print(profileText(profile), { event: 'profile', ...profile })
  }
}

function positive(context: CommandContext, name: string): number | undefined {
  const text = context.text(name)
  if (text === undefined) return undefined
  const value = Number(text)
  if (text.trim() === '' || !Number.isFinite(value) || value <= 0)
    throw new UsageError(`--${name} takes a positive number; got '${text}'`)
  return value
}

function head(): string {
  return `${'workload'.padEnd(18)} ${['ms a step', 'min', 'max'].map((h) => h.padStart(11)).join('')}`
}

function rowText({ workload, ms, min, max }: BenchRow): string {
  const number = (v: number) => v.toPrecision(4).padStart(11)
  return `${workload.padEnd(18)} ${number(ms)}${number(min)}${number(max)}`
}

function profileText({ kernels, nativeMs, stages }: BenchProfile): string {
  const lines = stages.map((s) => {
    const ops = Object.entries(s.kernels).map(([op, n]) => `${n} ${op}`)
    const memory = `arena ${megabytes(s.arenaBytes)}, kept ${megabytes(s.persistentBytes)}`
    return `    ${s.stage}: ${ops.join(', ') || 'nothing'}; ${s.reorders} reorders; ${memory}`
  })
  return [`    ${kernels} kernels and ${nativeMs} ms of native code a step`, ...lines].join('\n')
}

function megabytes(bytes: number): string {
  return `${(bytes / 2 ** 20).toFixed(2)} MiB`
}
