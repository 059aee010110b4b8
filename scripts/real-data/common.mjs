/** What the sections of real-data.mjs share: a configuration of the repository trained as `langevin train` would, and markdown tables. */
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('../..', import.meta.url))

const { readConfig } = await import('../../dist/cli/config.js')
const { makeTrainer } = await import('../../dist/cli/train.js')

/** A configuration by its path in configs/, checked. */
export async function configOf(path) {
  const { config, base } = await readConfig(join(root, 'configs', path))
  return { config, base }
}

/** Trains as the configuration says, on `train`; the run folder is `name` below `out`. */
export async function trainBy(config, train, { seed, quick, log, out: folder, name }) {
  const out = join(folder, name)
  const steps = quick ? 20 : config.steps
  const trainer = await makeTrainer(quick ? shortened(config, steps) : config, root, train, seed, 'cpu')
  const events = []
  let last
  const started = performance.now()
  const fit = trainer.fit(train, { steps, out, reportEvery: Math.min(500, steps), onEvent: (e) => events.push(e) })
  for await (const row of fit) {
    last = row
    log(`${name}: step ${row.step} of ${steps}, loss ${row.loss.toFixed(4)}, ${row.stepsPerSecond.toFixed(0)} steps/s`)
  }
  const seconds = (performance.now() - started) / 1000
  return { trainer, out, last, seconds, steps, recoveries: events.filter((e) => e.event === 'recovered').length }
}

/** So that a few steps reach the second part of a run that begins with maximum likelihood. */
function shortened(config, steps) {
  const { trainer } = config
  return trainer?.likelihoodSteps === undefined
    ? config
    : { ...config, trainer: { ...trainer, likelihoodSteps: steps / 2 } }
}

export async function release({ trainer }) {
  trainer.dispose()
  await trainer.model.dispose()
}

export function markdownTable(head, rows) {
  const line = (cells) => `| ${cells.join(' | ')} |`
  return [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n')
}

/** A number with so many decimals, with its standard error where there is one; '-' for none. */
export function show(value, decimals = 3, error = undefined) {
  if (value === undefined || value === null) return '-'
  return error === undefined ? value.toFixed(decimals) : `${value.toFixed(decimals)} ± ${error.toFixed(decimals)}`
}

export function meanOf(values) {
  return values.reduce((s, v) => s + v, 0) / values.length
}

/** Mean and its standard error. */
export function meanAndError(values) {
  const mean = meanOf(values)
  const variance = values.reduce((s, v) => s + (v - mean) ** 2, 0) / (values.length - 1)
  return { mean, error: Math.sqrt(variance / values.length) }
}
