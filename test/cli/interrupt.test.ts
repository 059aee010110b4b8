/** Ctrl-C: once stops at a step with a checkpoint that --resume continues; twice quits. So does a reader that goes away. */
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, describe, expect, test } from 'vitest'
import { readSafetensors } from '../../lib/runtime/safetensors.ts'
import { buildDist } from '../dist.ts'
import { langevin, start, tinyConfig, work, writeJson } from './command.ts'

beforeAll(async () => void (await buildDist()), 120_000)

const here = work()
const long = writeJson(
  here,
  'long.json',
  tinyConfig({ steps: 1_000_000, reportEvery: 2, evaluation: { samples: 0, ood: ['uniform'] } }),
)
const checkpoint = (out: string) => readSafetensors(join(here, out, 'checkpoint.safetensors'))
const stepOf = async (out: string) =>
  (JSON.parse((await checkpoint(out)).metadata.run as string) as { step: number }).step

describe('SIGINT', () => {
  test('once: exit 130, a checkpoint; --resume ends like a run that was never stopped', async () => {
    const r = await start(['train', long, '--out', 'stopped', '--json'], here)
    await r.said('"step":4,')
    r.process.kill('SIGINT')
    const { code, out, err } = await r.result
    expect(err).toMatch(/press Ctrl-C again to quit at once/)
    expect(err).toMatch(/training was cancelled at step \d+; .*continue with resume/)
    expect(code).toBe(130)
    const last = JSON.parse(out.trimEnd().split('\n').at(-1) as string) as Record<string, unknown>
    expect(last).toMatchObject({ event: 'error', code: 'E_CANCELLED' })
    const step = await stepOf('stopped')
    expect(step).toBeGreaterThanOrEqual(4)
    expect(existsSync(join(here, 'stopped/evaluation.json'))).toBe(false)

    const total = String(step + 6)
    expect((await langevin(['train', long, '--out', 'stopped', '--resume', '--steps', total], here)).code).toBe(0)
    expect((await langevin(['train', long, '--out', 'whole', '--steps', total], here)).code).toBe(0)
    expect((await checkpoint('stopped')).tensors).toEqual((await checkpoint('whole')).tensors)
    expect(readFileSync(join(here, 'stopped/metrics.jsonl'), 'utf8')).toContain(`{"event":"resumed","step":${step}}`)
  }, 120_000)

  test('twice: quits at once', async () => {
    // A step so long (5000 chain steps) that the first signal alone would take its time.
    const slow = writeJson(
      here,
      'slow.json',
      tinyConfig({ trainer: { batch: 64, sampler: { kind: 'sgld', steps: 5000 }, buffer: { size: 64 } }, steps: 10 }),
    )
    const r = await start(['train', slow, '--out', 'slow', '--json'], here)
    while (!existsSync(join(here, 'slow/metrics.jsonl'))) await new Promise((resolve) => setTimeout(resolve, 5))
    r.process.kill('SIGINT')
    await r.said('press Ctrl-C again')
    const pressed = performance.now()
    r.process.kill('SIGINT')
    expect((await r.result).signal).toBe('SIGINT')
    expect(performance.now() - pressed).toBeLessThan(3000)
    expect((await r.result).err).not.toMatch(/cancelled at step/)
  }, 120_000)

  test('SIGTERM stops in the same way, with its own exit code', async () => {
    const r = await start(['train', long, '--out', 'term', '--json'], here)
    await r.said('"step":2,')
    r.process.kill('SIGTERM')
    expect(await r.result).toMatchObject({ code: 143, err: expect.stringMatching(/cancelled at step/) })
    expect(await stepOf('term')).toBeGreaterThanOrEqual(2)
  }, 120_000)
})

test('when nobody reads the output any more, the run stops with a checkpoint and no stack trace', async () => {
  const r = await start(['train', long, '--out', 'pipe', '--json'], here)
  await r.said('"step":2,')
  r.process.stdout?.destroy()
  const { code, err } = await r.result
  expect(err).not.toMatch(/^\s+at /m)
  expect(code).toBe(130)
  expect(await stepOf('pipe')).toBeGreaterThanOrEqual(2)
}, 120_000)
