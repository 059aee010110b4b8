/** scripts/real-data.mjs: each section runs to its tables with a few steps, its reference figures are right, and every configuration it reads is valid. */
import { execFileSync, spawnSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { beforeAll, describe, expect, test } from 'vitest'
import { readConfig } from '../../lib/cli/config.ts'
import { banknote } from '../../lib/data/standard.ts'
import { standardize } from '../../lib/data/standardize.ts'
import { buildDist, temporaryFolder } from '../dist.ts'

const root = resolve(import.meta.dirname, '../..')
const script = join(root, 'scripts/real-data.mjs')

interface Row {
  readonly name: string
  readonly mean: number
  readonly [figure: string]: unknown
}

/** The results of a quick run: parsed results.json, the printed page, and the folder. */
function quick(...args: string[]): { rows: Row[]; page: string; out: string } {
  const out = temporaryFolder()
  const page = execFileSync(process.execPath, [script, '--quick', '--threads', '1', '--out', out, ...args], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const { results } = JSON.parse(readFileSync(join(out, 'results.json'), 'utf8')) as {
    results: Record<string, { rows: Row[] }>
  }
  return { rows: Object.values(results).flatMap((r) => r.rows), page, out }
}

const find = (rows: readonly Row[], name: string): Row => {
  const row = rows.find((r) => r.name === name)
  if (row === undefined) throw new Error(`no row '${name}' among ${rows.map((r) => r.name).join(', ')}`)
  return row
}

beforeAll(async () => {
  await buildDist()
}, 120_000)

const tables = readdirSync(join(root, 'configs/tables')).map((f) => join('configs/tables', f))

test.each([...tables, 'configs/score-matching-digits.json', 'configs/rbm-digits.json'])(
  '%s is a configuration',
  async (path) => {
    const { config } = await readConfig(join(root, path))
    expect(config.steps).toBeGreaterThan(0)
  },
)

describe('table', () => {
  test('rows for the baselines, energies and what stands beside them', async () => {
    const { rows, page, out } = quick(
      '--only',
      'table',
      '--methods',
      'flow-contrastive,score-matching-multiscale,maximum-likelihood',
    )
    expect(rows.map((r) => r.name)).toEqual([
      'Gaussian (fitted)',
      '16 Gaussians (EM)',
      'flow-contrastive',
      'flow-contrastive: its flow',
      'maximum-likelihood',
      'score-matching-multiscale',
      'score-matching-multiscale: its probability flow',
    ])
    for (const row of rows) expect(row.mean, row.name).toSatisfy(Number.isFinite)
    // Of training rows the fitted Gaussian is -(d/2)(1 + log 2π) - ½ log det, whatever the rows; here against the determinant by hand.
    expect(find(rows, 'Gaussian (fitted)').trainMean).toBeCloseTo(await gaussianEntropy(), 2)
    const energy = find(rows, 'flow-contrastive')
    for (const name of ['logZ', 'lower', 'upper', 'learnedLogZ']) expect(energy[name], name).toSatisfy(Number.isFinite)
    expect(page).toContain('| flow-contrastive: its flow |')
    expect(existsSync(join(out, 'table-score-matching-multiscale/checkpoint.safetensors'))).toBe(true)
  }, 120_000)
})

/** Minus the entropy of the Gaussian of the training rows: what they have as mean log likelihood under it, but for the jitter. */
async function gaussianEntropy(): Promise<number> {
  const { train } = standardize((await banknote()).split({ test: 0.2, shuffle: true, seed: 0 }))
  const d = train.dimensions
  const x = train.normalized().data
  const covariance = Array.from({ length: d }, (_, i) =>
    Array.from({ length: d }, (_, j) => {
      let sum = 0
      for (let n = 0; n < train.count; n++) sum += (x[n * d + i] as number) * (x[n * d + j] as number)
      return sum / train.count + (i === j ? 1e-4 : 0)
    }),
  )
  return -0.5 * (d * (1 + Math.log(2 * Math.PI)) + Math.log(determinant(covariance)))
}

function determinant(m: readonly (readonly number[])[]): number {
  if (m.length === 1) return m[0]?.[0] as number
  return (m[0] ?? []).reduce((sum, v, j) => {
    const minor = m.slice(1).map((row) => row.filter((_, k) => k !== j))
    return sum + (j % 2 === 0 ? 1 : -1) * v * determinant(minor)
  }, 0)
}

test('digits: judges, samples and references', () => {
  const { rows, out } = quick('--only', 'digits')
  expect(rows).toHaveLength(4)
  for (const row of rows) {
    for (const name of ['confidence', 'agreement', 'recognised'])
      expect(row[name], `${row.name}: ${name}`).toSatisfy((v: number) => v >= 0 && v <= 1)
    expect((row.counts as number[]).reduce((a, b) => a + b)).toBe(row.count)
  }
  expect(find(rows, 'test images')).toMatchObject({ count: 360 })
  for (const file of ['digits-samples.png', 'digits-test.png', 'results.md'])
    expect(existsSync(join(out, file))).toBe(true)
}, 120_000)

test('rbm: the bounds hold log Z of the small machine between them', () => {
  const { rows, out } = quick('--only', 'rbm')
  const small = find(rows, 'RBM, 16 hidden units')
  const { exact, lower, upper, logZStandardError } = small as unknown as Record<string, number>
  const room = 6 * (logZStandardError as number)
  expect(lower as number).toBeLessThan((exact as number) + room)
  expect(upper as number).toBeGreaterThan((exact as number) - room)
  // A machine without weights is no better than pixels apart, and 20 steps make little of it.
  expect(Math.abs(small.mean - find(rows, 'pixels apart').mean)).toBeLessThan(3)
  expect(existsSync(join(out, 'rbm-samples.png'))).toBe(true)
}, 120_000)

test('refuses what it does not know, by name', () => {
  const run = (...args: string[]) => spawnSync(process.execPath, [script, ...args], { encoding: 'utf8' })
  const section = run('--only', 'tables')
  expect(section.status).toBe(2)
  expect(section.stderr).toContain("section 'tables' is not known. Known: table, digits, rbm")
  expect(run('--seed', 'x').stderr).toContain('--seed takes an integer')
  expect(run('--help').stdout).toContain('--only LIST')
})
