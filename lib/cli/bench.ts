/** `langevin bench`: times the workloads of scripts/bench/workloads.json on this machine. Side by side with others: scripts/bench-peers.mjs. */
import { type Ceilings, measureCeilings } from '../bench/ceilings.ts'
import { type BenchProfile, type BenchRow, benchWorkload, type KernelProfile } from '../bench/measure.ts'
import { chooseWorkloads } from '../bench/workloads.ts'
import { checkPrecision, type Precision } from '../runtime/compile.ts'
import { type CommandContext, type CommandSpec, UsageError } from './command.ts'

export const benchCommand: CommandSpec = {
  name: 'bench',
  positionals: [],
  summary: 'Times Langevin chains and training steps on a device of this machine; milliseconds a step.',
  options: {
    only: { type: 'string', value: 'LIST', help: 'workloads, by commas (default: all)' },
    repeats: { type: 'string', value: 'N', help: 'timings of which the median is taken (default 7)' },
    seconds: { type: 'string', value: 'S', help: 'a timing takes a quarter of this, or one call (default 1)' },
    precision: { type: 'string', value: 'P', help: "of products and convolutions: 'float32' (default) or 'bfloat16'" },
    profile: {
      type: 'boolean',
      help: "also kernels, reorders and memory, and where the time goes by kernel, against the machine's ceilings",
    },
  },
  examples: [
    'langevin bench --only langevin_mlp,dsm_mlp',
    'langevin bench --json --threads 2 --profile',
    'langevin bench --device cuda',
  ],
  run: bench,
}

async function bench(context: CommandContext): Promise<void> {
  const workloads = chooseWorkloads(context.list('only'))
  const repeats = context.integer('repeats', 1)
  const seconds = positive(context, 'seconds')
  const precision = context.text('precision')
  checkPrecision(precision)
  const options = {
    device: context.device,
    signal: context.signal,
    ...(repeats === undefined ? {} : { repeats }),
    ...(seconds === undefined ? {} : { seconds }),
    ...(precision === undefined ? {} : { precision: precision as Precision }),
  }
  const ceilings = context.flag('profile') ? await measureCeilings(context.device, context.signal) : undefined
  if (ceilings !== undefined) context.print(ceilingsText(ceilings), { event: 'ceilings', ...ceilings })
  if (!context.json) process.stdout.write(`${head()}\n`)
  for (const [name, workload] of workloads) {
    const { row, profile } = await benchWorkload(name, workload, options)
    context.print(rowText(row), { ...row })
    if (ceilings !== undefined) context.print(profileText(profile, ceilings), { event: 'profile', ...profile })
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

function ceilingsText({ operations, bytes }: Ceilings): string {
  return `ceilings here and now: ${giga(operations)} GFLOP/s (a large float32 matrix product), ${giga(bytes)} GB/s (a stream through memory)`
}

/** Stages, then where the time goes: by op, and the costliest kernels. */
function profileText(profile: BenchProfile, ceilings: Ceilings): string {
  const { kernels, nativeMs, stages } = profile
  const steps = stages.flatMap((s) => s.steps)
  const total = steps.reduce((sum, k) => sum + k.ms, 0)
  const heavy = steps.filter((k) => k.op === 'matmul' || k.op.startsWith('conv2d'))
  const flops = heavy.reduce((sum, k) => sum + k.operations, 0)
  const share = flops / (nativeMs * 1e-3) / ceilings.operations
  const memory = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(2)} MiB`
  const built = stages.map((s) => {
    const ops = Object.entries(s.kernels).map(([op, n]) => `${n} ${op}`)
    const sizes = `arena ${memory(s.arenaBytes)}, kept ${memory(s.persistentBytes)}`
    return `    ${s.stage}: ${ops.join(', ') || 'nothing'}; ${s.reorders} reorders; ${sizes}`
  })
  const byOp = [...new Set(steps.map((k) => k.op))].map((op) => sumOf(op, steps))
  const top = [...steps].sort((a, b) => b.ms - a.ms).slice(0, TOP)
  const line = (k: KernelProfile, text: string): string => `    ${figures(k, total, ceilings)}  ${text}`
  return [
    `    ${kernels} kernels and ${nativeMs} ms of native code a step; matmul and convolution: ${percent(share)} of the ceiling over the whole step`,
    ...built,
    `    ${['share', 'µs', 'runs', 'GFLOP/s', 'of peak', 'GB/s', 'of peak'].map((h) => h.padStart(8)).join('')}`,
    ...byOp.sort((a, b) => b.ms - a.ms).map((k) => line(k, `all ${k.op}`)),
    ...top.map((k) => line(k, k.text)),
  ].join('\n')
}

/** Kernels shown one by one. */
const TOP = 12

function sumOf(op: string, steps: readonly KernelProfile[]): KernelProfile {
  const ones = steps.filter((k) => k.op === op)
  const sum = (of: (k: KernelProfile) => number): number => ones.reduce((s, k) => s + of(k), 0)
  return {
    op,
    text: op,
    runs: sum((k) => k.runs),
    ms: sum((k) => k.ms),
    operations: sum((k) => k.operations),
    bytes: sum((k) => k.bytes),
  }
}

function figures(k: KernelProfile, total: number, ceilings: Ceilings): string {
  const seconds = k.ms * 1e-3
  const rate = (amount: number, ceiling: number): string[] =>
    seconds > 0 && amount > 0 ? [giga(amount / seconds), percent(amount / seconds / ceiling)] : ['-', '-']
  const cells = [
    percent(k.ms / total),
    (k.ms * 1e3).toFixed(1),
    k.runs.toPrecision(3),
    ...rate(k.operations, ceilings.operations),
    ...rate(k.bytes, ceilings.bytes),
  ]
  return cells.map((c) => c.padStart(8)).join('')
}

function giga(perSecond: number): string {
  return (perSecond / 1e9).toPrecision(3)
}

function percent(share: number): string {
  return `${(share * 100).toFixed(1)}%`
}
