#!/usr/bin/env node
/**
 * Trains every configuration of configs/toys/ that is about the mixture of eight Gaussians, at several seeds, and prints one table: KL(p ‖ p_θ) in
 * nats by quadrature, the error of log Z where the method estimates it, and the seconds of training. All share network, batch and steps.
 */
import { readdirSync, writeFileSync } from 'node:fs'
import { availableParallelism, cpus } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'

const root = fileURLToPath(new URL('..', import.meta.url))
const help = `usage: node scripts/methods-table.mjs [options]      (after npm run build)

  --only LIST     names of configurations in configs/toys, by commas (default: all on gaussians8)
  --seeds N       seeds 0..N-1 (default 5)
  --out FILE      JSON of all numbers (default: none)
`
const { values } = parseArgs({
  options: {
    only: { type: 'string' },
    seeds: { type: 'string', default: '5' },
    out: { type: 'string' },
    help: { type: 'boolean', default: false },
  },
})
if (values.help) {
  process.stdout.write(help)
  process.exit(0)
}
const seeds = Number(values.seeds)
if (!Number.isInteger(seeds) || seeds < 1)
  throw new RangeError(`--seeds must be a positive integer; got ${values.seeds}`)

const { readConfig } = await import('../dist/cli/config.js')
const { makeTrainer } = await import('../dist/cli/train.js')
const { loadDataset, toyDensity } = await import('../dist/data/index.js')
const { quadratureKl } = await import('../dist/evaluation/quadrature.js')

const box = { low: -4, high: 4, points: 400 }
const folder = join(root, 'configs/toys')
const wanted = values.only?.split(',')
const names = readdirSync(folder)
  .filter((f) => f.endsWith('.json'))
  .map((f) => f.slice(0, -5))
  .filter((n) => wanted === undefined || wanted.includes(n))

const results = []
for (const name of names) {
  const { config, base } = await readConfig(join(folder, `${name}.json`))
  if (config.data.kind !== 'toy' || config.data.name !== 'gaussians8') continue
  const runs = []
  for (let seed = 0; seed < seeds; seed++) {
    runs.push(await once(config, base, seed))
    const { kl, seconds } = runs.at(-1)
    process.stderr.write(`${name} seed ${seed}: KL ${kl.toFixed(4)} in ${seconds.toFixed(1)} s\n`)
  }
  results.push({ name, method: config.method, steps: config.steps, batch: config.trainer?.batch, runs })
}
process.stdout.write(`${table(results)}\n`)
if (values.out !== undefined) writeFileSync(values.out, `${JSON.stringify({ machine: machine(), results }, null, 2)}\n`)
process.exit(0)

/** One training: the KL divergence of the learned density from the true one, and log Z where the method tells it. */
async function once(config, base, seed) {
  const { train } = await loadDataset({ ...config.data, seed }, { base })
  const trainer = await makeTrainer(config, base, train, seed, 'cpu')
  let last
  for await (const row of trainer.fit(train, { steps: config.steps, reportEvery: 500 })) last = row
  const { forward, logZModel } = await quadratureKl(toyDensity('gaussians8').logDensity, trainer.model, box)
  trainer.dispose()
  await trainer.model.dispose()
  const logZError = last.logZ === undefined ? undefined : Math.abs(last.logZ - logZModel)
  return { seed, kl: forward, logZError, seconds: last.seconds }
}

function table(rows) {
  const head =
    '| configuration | KL median | least | largest | log Z error, median | seconds, median |\n|---|---|---|---|---|---|'
  const lines = rows.map(({ name, runs }) => {
    const kl = runs.map((r) => r.kl)
    const errors = runs.map((r) => r.logZError).filter((e) => e !== undefined)
    const logZ = errors.length === 0 ? '-' : median(errors).toFixed(3)
    const cells = [name, median(kl).toFixed(4), Math.min(...kl).toFixed(4), Math.max(...kl).toFixed(4), logZ]
    return `| ${[...cells, median(runs.map((r) => r.seconds)).toFixed(1)].join(' | ')} |`
  })
  return [head, ...lines, '', `${seeds} seeds; ${machine()}`].join('\n')
}

function median(values) {
  const sorted = [...values].sort((a, b) => a - b)
  const half = (sorted.length - 1) / 2
  return (sorted[Math.floor(half)] + sorted[Math.ceil(half)]) / 2
}

function machine() {
  return `${cpus()[0]?.model ?? 'unknown processor'}, ${availableParallelism()} cores, Node ${process.version}`
}
