/** Every shipped configuration trains, with fewer data, steps and numbers, through the command as a user runs it; and every method has one that works. */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { trainCommand } from '../../lib/cli/train.ts'
import { parseMetrics } from '../../lib/evaluation/metrics-row.ts'
import { shipped, work, writeJson } from './command.ts'
import { runHere } from './in-process.ts'

type Json = { readonly [key: string]: unknown }

/** Numbers and widths that cost time, wherever they stand. */
const small: Readonly<Record<string, unknown>> = {
  size: 40,
  stepsPerLevel: 2,
  leapfrogSteps: 2,
  outer: 2,
  inner: 2,
  restarts: 1,
  hidden: [8, 8],
  likelihoodSteps: 2,
  adversarialEpochs: 0.5,
  width: 1,
}

function shrunk(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(shrunk)
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(
    Object.entries(value).map(([key, v]) => {
      const least = small[key]
      if (least !== undefined && typeof v === typeof least)
        return [key, typeof v === 'number' ? Math.min(v, least as number) : least]
      return [key, key === 'steps' ? Math.min(v as number, 3) : shrunk(v)]
    }),
  )
}

/** The configuration on few data (what a user brings is replaced), with a small batch, four steps and a short evaluation. */
function quick(config: Json): Json {
  const { data, epochs: _, evaluation, ...rest } = config as { data: Json; epochs?: number; evaluation?: Json }
  const few =
    data.kind === 'toy'
      ? { ...data, count: 200 }
      : data.kind === 'table' && data.name !== undefined
        ? { ...data, limit: 64, test: 20 }
        : { kind: 'digits', limit: 64, test: 20 }
  const { trainer, ...small } = shrunk(rest) as { trainer: Json }
  const { attacks } = (shrunk(evaluation ?? {}) as Json) ?? {}
  return {
    ...small,
    data: few,
    trainer: { ...trainer, batch: 16, sampling: { steps: 2, ...(trainer.sampling as Json | undefined) } },
    steps: 4,
    reportEvery: 1,
    evaluation: { samples: 0, ood: [], ...(attacks ? { attacks } : {}) },
  }
}

const files = readdirSync(shipped, { recursive: true, encoding: 'utf8' }).filter((f) => f.endsWith('.json'))
const here = work()
/** Options of methods that keep chains of their own and take no `sampling`. */
const withoutSampling = ['jem', 'jempp', 'sadaJem', 'dualAdversarial', 'maximumLikelihood']

describe.each(files)('%s', (file) => {
  test('trains and is evaluated', async () => {
    const whole = JSON.parse(readFileSync(join(shipped, file), 'utf8')) as Json
    const config = quick(whole)
    if (withoutSampling.includes(String(config.method))) delete (config.trainer as Record<string, unknown>).sampling
    const name = file.replaceAll('/', '-')
    const out = join(here, name.replace('.json', ''))
    const { error, out: said } = await runHere(trainCommand, writeJson(here, name, config), '--out', out)
    expect(error).toBeUndefined()
    expect(said).toMatch(/^trained 4 steps/)
    const { rows } = parseMetrics(readFileSync(join(out, 'metrics.jsonl'), 'utf8'))
    expect(rows.map((r) => r.step)).toEqual([1, 2, 3, 4])
    for (const row of rows) expect(row.loss).toSatisfy(Number.isFinite)
    const evaluation = JSON.parse(readFileSync(join(out, 'evaluation.json'), 'utf8')) as Json
    if ((whole.data as Json).kind === 'toy') expect(evaluation.divergence).toBeDefined()
    else expect(evaluation.count).toBe(20)
  })
})
