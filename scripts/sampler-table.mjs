#!/usr/bin/env node
/**
 * Prints, as a markdown table, what each sampler gets out of a pass through the target: effective sample size per thousand gradients on targets
 * that are known exactly, beside R-hat and how far the draws are off. Not a timing: counts only, the same on any machine.
 *
 *   node scripts/sampler-table.mjs [--gradients 5000] [--chains 16] [--seed 1] [--only funnel]      (after npm run build)
 *
 * ESS is the least over the coordinates, of rank-normalised draws (Vehtari 2021). `off` is the largest |mean| or |variance - 1| over the
 * coordinates after the map that makes the target standard normal: Monte Carlo error, and for ula and its kin also bias. Warm-up (300 transitions) is
 * not counted. What the samplers without warm-up get depends on the step given here.
 */
import { parseArgs } from 'node:util'

const { effectiveSampleSize, splitRhat } = await import('../dist/evaluation/mcmc-diagnostics.js')
const { ops } = await import('../dist/index.js')
const { sample } = await import('../dist/samplers/sample.js')
const { energyTarget } = await import('../dist/samplers/target.js')

const option = (fallback) => ({ type: 'string', default: fallback })
const { values } = parseArgs({
  options: { gradients: option('5000'), chains: option('16'), seed: option('1'), only: option('') },
})
function count(name) {
  const v = Number(values[name])
  if (Number.isInteger(v) && v > 0) return v
  process.stderr.write(`error: --${name} takes a positive integer; got '${values[name]}'\n`)
  return process.exit(2)
}
const [gradients, chains, seed] = [count('gradients'), count('chains'), count('seed')]

const column = (x, i) => x.sliceAxis(1, i, i + 1).reshape([x.shape[0]])
const scales = Array.from({ length: 10 }, (_, i) => 10 ** (-1 + (2 * i) / 9))
const rest = Math.sqrt(1 - 0.9 ** 2)

/** Energies, and the map of a draw to independent standard normals. */
const targets = [
  {
    name: 'Gaussian, d = 2, correlation 0.9',
    d: 2,
    energy: (x) => {
      const other = column(x, 1).sub(column(x, 0).mul(0.9)).div(rest)
      return column(x, 0).square().add(other.square()).mul(0.5)
    },
    whiten: ([a, b]) => [a, (b - 0.9 * a) / rest],
  },
  {
    name: 'Gaussian, d = 10, scales 0.1 to 10',
    d: 10,
    energy: (x) =>
      x
        .div(ops.constant(scales, [10]))
        .square()
        .sum(1)
        .mul(0.5),
    whiten: (x) => x.map((v, i) => v / scales[i]),
  },
  {
    name: 'banana',
    d: 2,
    energy: (x) => {
      const off = column(x, 1).sub(column(x, 0).square()).add(1).mul(2)
      return column(x, 0).square().add(off.square()).mul(0.5)
    },
    whiten: ([a, b]) => [a, 2 * (b - a * a + 1)],
  },
  {
    name: "Neal's funnel, d = 3",
    d: 3,
    energy: (x) => {
      const v = column(x, 0)
      const others = x.sliceAxis(1, 1, 3).square().sum(1)
      return v.square().div(18).add(v.neg().exp().mul(others).mul(0.5)).add(v)
    },
    whiten: ([v, a, b]) => [v / 3, a * Math.exp(-v / 2), b * Math.exp(-v / 2)],
  },
]

const samplers = [
  { kind: 'rwm' },
  { kind: 'ula', stepSize: 0.005 },
  { kind: 'preconditionedLangevin', stepSize: 0.01 },
  { kind: 'underdamped', stepSize: 0.1 },
  { kind: 'mala' },
  { kind: 'hmc', jitter: 0.3 },
  { kind: 'nuts' },
]

/** The largest |mean| and |variance - 1| of whitened draws [chains, draws, d]. */
function distance(target, { data, shape }) {
  const n = shape[0] * shape[1]
  const sums = Array.from({ length: target.d }, () => [0, 0])
  for (let i = 0; i < n; i++) {
    const z = target.whiten(Array.from(data.subarray(i * target.d, (i + 1) * target.d)))
    z.forEach((v, j) => {
      sums[j][0] += v / n
      sums[j][1] += (v * v) / n
    })
  }
  return Math.max(...sums.flatMap(([mean, square]) => [Math.abs(mean), Math.abs(square - mean * mean - 1)]))
}

async function row(target, sampler) {
  const source = energyTarget(target.energy, { shape: [target.d] })
  // As many passes for all: about 16 leapfrogs to a transition of nuts.
  const perDraw = { hmc: 10, nuts: 16 }[sampler.kind] ?? 1
  const thin = perDraw === 1 ? 5 : 1
  const draws = Math.max(4, Math.round(gradients / perDraw / thin))
  const options = { sampler, chains, draws, thin, warmup: 300, seed, start: { kind: 'normal' } }
  const run = await sample(source, options)
  const cells = [sampler.kind, run.acceptance.toFixed(2), run.stepSize === null ? 'given' : run.stepSize.toPrecision(2)]
  if (!run.draws.data.every(Number.isFinite)) return [...cells, run.gradients, 'diverged', '', '', '']
  const ess = Math.min(...effectiveSampleSize(run.draws))
  const rhat = Math.max(...splitRhat(run.draws))
  const rate = (1000 * ess) / (run.gradients * chains)
  return [
    ...cells,
    run.gradients,
    ess.toFixed(0),
    rate.toFixed(1),
    rhat.toFixed(3),
    distance(target, run.draws).toFixed(3),
  ]
}

const print = (cells) => process.stdout.write(`| ${cells.join(' | ')} |\n`)
for (const target of targets.filter((t) => t.name.toLowerCase().includes(values.only.toLowerCase()))) {
  process.stdout.write(`\n### ${target.name}\n\n`)
  print(['sampler', 'acceptance', 'step', 'passes a chain', 'ESS', 'ESS per 1000 passes', 'R-hat', 'off'])
  print(['---', ...Array.from({ length: 7 }, () => '---:')])
  for (const sampler of samplers) print(await row(target, sampler))
}
