/** Divergence: the run goes back, lowers the rate, makes the chains anew and says so; where that does not help it stops with the last good state. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { Dataset } from '../../lib/data/dataset.ts'
import { renderReport } from '../../lib/evaluation/report.ts'
import { hostTensor } from '../../lib/graph/host-tensor.ts'
import type { JemOptions } from '../../lib/trainers/jem.ts'
import { Jem } from '../../lib/trainers/jem-trainers.ts'
import { openRun } from '../../lib/trainers/run.ts'
import { blobs, checkpointOf, fitAll, folder, metricsOf, plane, rejection, small } from './tiny.ts'

/** A learning rate at which the first update ruins the weights; halved a few times it does no harm. */
const absurd = (recovery: JemOptions['recovery'], learningRate = 1e6): JemOptions => ({
  ...small,
  optimizer: { kind: 'sgd', learningRate, momentum: 0 },
  recovery: { snapshotEvery: 10, ...recovery },
})

describe('a run that diverges', () => {
  test('goes back, lowers the rate, makes chains anew, says so, and goes on to its end', async () => {
    const out = folder()
    const trainer = new Jem(plane(), absurd({ tries: 5, rateFactor: 1e-4 }))
    const { rows, events } = await fitAll(trainer, blobs(), { steps: 60, out, reportEvery: 5 })
    const recovered = events.filter((e) => e.event === 'recovered')
    expect(recovered.length).toBeGreaterThan(0)
    expect(recovered.length).toBeLessThanOrEqual(5)
    for (const [i, e] of recovered.entries()) {
      expect(e).toMatchObject({ rateFactor: 1e-4, attempt: i + 1, guard: expect.any(String) })
      expect(e.to as number).toBeLessThanOrEqual(e.step)
      expect(Number.isFinite(e.value) && Math.abs(e.value as number) <= (e.limit as number)).toBe(false)
    }
    expect(metricsOf(out).events.map((e) => e.event)).toEqual(events.map((e) => e.event))
    const last = rows.at(-1)
    expect(last?.step).toBe(60)
    expect(last?.learningRate).toBeCloseTo(1e6 * 1e-4 ** recovered.length, 8)
    expect(Number.isFinite(last?.loss)).toBe(true)
    const { run } = await checkpointOf(out)
    expect(run).toMatchObject({ step: 60, recoveries: recovered.length })
    const values = (await openRun(out)).model.stateDict()
    for (const [name, v] of values) expect(v.data.every(Number.isFinite), name).toBe(true)
  })

  test('has other chains afterwards than a run that never diverged', async () => {
    const chains = async (options: JemOptions, steps: number) => {
      const out = folder()
      await fitAll(new Jem(plane(), options), blobs(), { steps, out })
      return checkpointOf(out)
    }
    // With a chain that does not move, the buffer is what it was filled with: seed 0 at first, seed 1 after one recovery.
    const still: JemOptions = {
      ...small,
      sampler: { kind: 'sgld', steps: 1, stepSize: 0, noise: 0 },
      buffer: { size: 40, reinit: 0, start: { kind: 'uniform' } },
    }
    const jump: JemOptions = {
      ...absurd({ rateFactor: 1e-9 }),
      sampler: still.sampler,
      buffer: still.buffer,
    } as JemOptions
    const [calm, again, moved] = [
      await chains(still, 3),
      await chains({ ...still, recovery: { tries: 1 } }, 4),
      await chains(jump, 12),
    ]
    expect(again.bits['chain/buffer']).toBe(calm.bits['chain/buffer'])
    expect(moved.run.recoveries).toBeGreaterThan(0)
    expect(moved.bits['chain/buffer']).not.toBe(calm.bits['chain/buffer'])
  })

  test('after its tries throws E_DIVERGED; the last good state is in the folder and opens', async () => {
    const out = folder()
    const trainer = new Jem(plane(), absurd({ tries: 2, rateFactor: 1 }))
    const error = await rejection(fitAll(trainer, blobs(), { steps: 60, out, reportEvery: 5 }))
    expect(error).toMatchObject({ code: 'E_DIVERGED' })
    expect(error.message).toMatch(/after 2 of 2 recoveries/)
    expect(error.message).toContain(join(out, 'checkpoint.safetensors'))
    expect(error.message).toMatch(/[Ll]ower the learning rate/)
    expect(metricsOf(out).events.map((e) => e.event)).toEqual(['recovered', 'recovered', 'diverged'])
    const { run } = await checkpointOf(out)
    expect(run.step).toBe(error.details?.lastGoodStep)
    const opened = await openRun(out)
    const samples = await opened.sample({ count: 4 })
    expect(samples.data.every(Number.isFinite)).toBe(true)
    // The model in memory is that state too.
    expect(opened.model.value('0.weight')).toEqual(trainer.model.value('0.weight'))
  })

  test('with tries 0 stops at once', async () => {
    const error = await rejection(fitAll(new Jem(plane(), absurd({ tries: 0 })), blobs(), { steps: 60 }))
    expect(error).toMatchObject({ code: 'E_DIVERGED', message: expect.stringContaining('after 0 of 0 recoveries') })
    expect(error.message).not.toContain('checkpoint')
  })

  test('keeps the weights of the last snapshot, not of a step in between', async () => {
    const [out, good] = [folder(), folder()]
    // Calm for two epochs of 8 steps; then the rate is multiplied by 1e12.
    const options: JemOptions = {
      ...small,
      optimizer: { kind: 'sgd', learningRate: 1e-3, momentum: 0.9 },
      schedule: { kind: 'step', milestones: [2], gamma: 1e12 },
      recovery: { tries: 0, snapshotEvery: 4 },
    }
    const error = await rejection(fitAll(new Jem(plane(), options), blobs(), { steps: 40, out, reportEvery: 1 }))
    expect(error.details?.lastGoodStep).toBe(16)
    await fitAll(new Jem(plane(), options), blobs(), { steps: 16, out: good })
    const [a, b] = [await checkpointOf(out), await checkpointOf(good)]
    const weights = (bits: Record<string, string>) => Object.entries(bits).filter(([n]) => !n.startsWith('chain/'))
    expect(weights(a.bits)).toEqual(weights(b.bits))
  })
})

describe('limits', () => {
  test('lossLimit and energyLimit stop a run whose numbers are finite', async () => {
    const run = (recovery: JemOptions['recovery']) =>
      rejection(fitAll(new Jem(plane(), { ...small, recovery: { tries: 0, ...recovery } }), blobs(), { steps: 4 }))
    expect(await run({ lossLimit: 1e-6 })).toMatchObject({
      code: 'E_DIVERGED',
      details: { name: 'loss', limit: 1e-6, step: 0 },
    })
    expect((await run({ energyLimit: 1e-6 })).details?.name).toMatch(/^energy(Data|Negatives)$/)
  })

  test('impossible settings are refused by name and value', async () => {
    const refused = (options: JemOptions) => rejection(fitAll(new Jem(plane(), options), blobs(), { steps: 1 }))
    expect((await refused({ recovery: { tries: -1 } })).message).toMatch(
      /recovery\.tries must be an integer ≥ 0; got -1/,
    )
    expect((await refused({ recovery: { rateFactor: 0 } })).message).toMatch(
      /recovery\.rateFactor must be in \(0, 1\]; got 0/,
    )
    expect((await refused({ recovery: { lossLimit: Number.NaN } })).message).toMatch(
      /recovery\.lossLimit must be positive; got NaN/,
    )
    expect((await refused({ recovery: { snapshotEvery: 0.5 } })).message).toMatch(
      /snapshotEvery must be an integer ≥ 1; got 0.5/,
    )
  })
})

describe('a recovered run on disk', () => {
  /** Calm, then wild from step 16 on, until the rate has been lowered once. */
  const options: JemOptions = {
    ...small,
    optimizer: { kind: 'sgd', learningRate: 1e-3, momentum: 0 },
    schedule: { kind: 'step', milestones: [2], gamma: 1e10 },
    recovery: { tries: 3, snapshotEvery: 8, rateFactor: 1e-10 },
  }

  test('resumes exactly, keeps its lowered rate, and metrics.jsonl keeps the order of events', async () => {
    const [whole, parts] = [folder(), folder()]
    const fit = { reportEvery: 4, checkpointEvery: 4 }
    const make = () => new Jem(plane(), options)
    const { events } = await fitAll(make(), blobs(), { ...fit, steps: 48, out: whole })
    expect(events.map((e) => e.event)).toEqual(['recovered'])
    await fitAll(make(), blobs(), { ...fit, steps: 28, out: parts })
    await fitAll(make(), blobs(), { ...fit, steps: 48, out: parts, resume: true })
    expect((await checkpointOf(parts)).bits).toEqual((await checkpointOf(whole)).bits)
    const lines = (out: string) =>
      readFileSync(join(out, 'metrics.jsonl'), 'utf8')
        .trim()
        .split('\n')
        .map((l) => JSON.parse(l) as { step: number; event?: string })
        .map(({ step, event }) => `${step} ${event ?? ''}`)
    expect(lines(parts).filter((l) => !l.includes('resumed'))).toEqual(lines(whole))
    expect(lines(parts).indexOf('28 resumed')).toBeGreaterThan(lines(parts).indexOf('28 '))
  })

  test('stopped at a step that an older checkpoint also had: the file is the new one', async () => {
    const out = folder()
    const seen: number[] = []
    const trainer = new Jem(plane(), { ...options, recovery: { ...options.recovery, snapshotEvery: 20 } })
    for await (const row of trainer.fit(blobs(), { steps: 48, out, reportEvery: 4, checkpointEvery: 16 })) {
      seen.push(row.step)
      if (row.step === 16 && seen.filter((s) => s === 16).length === 2) break
    }
    // Went back from a step after 16 to one before it; else this test shows nothing.
    expect(seen.filter((s) => s === 16).length).toBe(2)
    expect((await checkpointOf(out)).run).toMatchObject({ step: 16, recoveries: 1 })
  })

  test('the report marks the recovery and leaves out the rows it took back', async () => {
    const out = folder()
    await fitAll(new Jem(plane(), options), blobs(), { steps: 48, out, reportEvery: 2 })
    const { rows, events } = metricsOf(out)
    const page = renderReport({ title: 'recovered', metrics: rows, events })
    expect(page).toContain('recovered')
    expect(rows.every((r) => Number.isFinite(r.loss))).toBe(true)
  })
})

describe('data that would poison a run', () => {
  test('NaN and infinite values are refused with their place', () => {
    for (const bad of [Number.NaN, Number.POSITIVE_INFINITY]) {
      const values = new Float32Array(20).fill(0.5)
      values[7] = bad
      expect(() => new Dataset({ name: 'broken', features: hostTensor(values, [10, 2]) })).toThrow(
        expect.objectContaining({
          code: 'E_DATA',
          message: expect.stringMatching(/row 3 holds (NaN|Infinity) \(number 1 of the row\)/),
        }),
      )
    }
  })
})
