#!/usr/bin/env node
/**
 * What the methods make of real data, as markdown tables, JSON and pictures: the shipped table by every unconditional method (held-out log
 * likelihood), the shipped digits by multi-scale denoising (are the samples digits?), and binarised digits by a restricted Boltzmann machine
 * (log likelihood between two bounds). Only data that ship with the package; no timing beyond seconds of training.
 */
import { mkdirSync, writeFileSync } from 'node:fs'
import { availableParallelism, cpus, loadavg } from 'node:os'
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { digitsSection } from './real-data/digits.mjs'
import { rbmSection } from './real-data/rbm.mjs'
import { tableSection } from './real-data/table.mjs'

const sections = { table: tableSection, digits: digitsSection, rbm: rbmSection }

const help = `usage: node scripts/real-data.mjs [options]      (after npm run build)

  --only LIST      sections, by commas: ${Object.keys(sections).join(', ')} (default: all)
  --methods LIST   in the table: configurations of configs/tables, by commas, without 'banknote-' (default: all)
  --seed N         of networks, batches and chains (default 0); what is held out does not depend on it
  --validate       in the table: hold out part of the training rows instead of the test rows, as when settings are chosen
  --quick          a few steps of everything: shows that all parts run, the figures mean nothing
  --threads N      (default: all cores)
  --out DIR        results.json, results.md and pictures (default: runs/real-data)
`

function fail(message) {
  process.stderr.write(`error: ${message}\n\n${help}`)
  process.exit(2)
}

function readOptions() {
  const text = { type: 'string' }
  const flag = { type: 'boolean', default: false }
  const strings = { only: text, methods: text, seed: text, threads: text, out: text }
  let values
  try {
    values = parseArgs({ options: { ...strings, validate: flag, quick: flag, help: flag } }).values
  } catch (error) {
    fail(error.message)
  }
  if (values.help) {
    process.stdout.write(help)
    process.exit(0)
  }
  const whole = (name, fallback, least) => {
    const v = Number(values[name] ?? fallback)
    if (!Number.isSafeInteger(v) || v < least)
      fail(`--${name} takes an integer of at least ${least}; got '${values[name]}'`)
    return v
  }
  const only = values.only?.split(',').map((w) => w.trim()) ?? Object.keys(sections)
  for (const name of only)
    if (!(name in sections)) fail(`--only: section '${name}' is not known. Known: ${Object.keys(sections).join(', ')}`)
  return {
    only,
    methods: values.methods?.split(',').map((w) => w.trim()),
    seed: whole('seed', 0, 0),
    threads: whole('threads', availableParallelism(), 1),
    validate: values.validate,
    quick: values.quick,
    out: resolve(values.out ?? 'runs/real-data'),
  }
}

const options = readOptions()
const { setThreads } = await import('../dist/index.js')
setThreads(options.threads)
mkdirSync(options.out, { recursive: true })

const machine = {
  processor: cpus()[0]?.model ?? 'unknown processor',
  threads: options.threads,
  node: process.version,
  load: loadavg()[0],
}
const results = {}
const pages = []
for (const name of Object.keys(sections).filter((n) => options.only.includes(n))) {
  const started = performance.now()
  const { figures, markdown } = await sections[name]({ ...options, log: (line) => process.stderr.write(`${line}\n`) })
  const seconds = (performance.now() - started) / 1000
  results[name] = { seconds, ...figures }
  pages.push(`${markdown}\n\nThis section took ${seconds.toFixed(0)} s.`)
  process.stdout.write(`${pages.at(-1)}\n\n`)
}
const about = `${machine.processor}, ${machine.threads} threads, Node ${machine.node}, load ${machine.load.toFixed(1)} at the start; seed ${options.seed}${options.quick ? '; --quick: a few steps only, the figures mean nothing' : ''}.`
process.stdout.write(`${about}\n`)
const { seed, quick, validate } = options
writeFileSync(
  join(options.out, 'results.json'),
  `${JSON.stringify({ machine, seed, quick, validate, results }, null, 2)}\n`,
)
writeFileSync(join(options.out, 'results.md'), `${[...pages, about].join('\n\n')}\n`)
process.exit(0)
