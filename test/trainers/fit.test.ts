/** The loop that trainers share: reports, checkpoints at their own steps, the event loop, several runs at once, files that cannot be written. */
import { mkdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { splineFlow } from '../../lib/nn/flows.ts'
import { Jem, JemPlusPlus } from '../../lib/trainers/jem-trainers.ts'
import { MaximumLikelihood } from '../../lib/trainers/maximum-likelihood.ts'
import { openRun } from '../../lib/trainers/run.ts'
import { evaluate } from '../../lib/trainers/run-folder.ts'
import { ScoreMatching } from '../../lib/trainers/score-matching.ts'
import {
  blobs,
  checkpointOf,
  convNet,
  fitAll,
  folder,
  metricsOf,
  plane,
  rejection,
  resNet,
  small,
  smallPlusPlus,
  someDigits,
} from './tiny.ts'

const train = (options: Parameters<typeof fitAll>[2]) => fitAll(new Jem(plane(), small), blobs(), options)

test('a plan counts with the batch of the method, and of the options', () => {
  const data = blobs(300)
  const energy = plane(0)
  expect(new ScoreMatching(energy).plan(data)).toEqual({ stepsPerEpoch: 2, totalSteps: 200 })
  expect(new ScoreMatching(energy, { batch: 100 }).plan(data, { epochs: 2 })).toEqual({
    stepsPerEpoch: 3,
    totalSteps: 6,
  })
  expect(new ScoreMatching(energy).plan(data, { steps: 7 }).totalSteps).toBe(7)
})

describe('reports', () => {
  test('come every reportEvery steps and at the end; a row is the mean of its steps', async () => {
    const each = (await train({ steps: 13, reportEvery: 1 })).rows
    const five = (await train({ steps: 13, reportEvery: 5 })).rows
    expect(five.map((r) => r.step)).toEqual([5, 10, 13])
    expect(each.map((r) => r.step)).toEqual(Array.from({ length: 13 }, (_, i) => i + 1))
    for (const [from, to, row] of [
      [0, 5, five[0]],
      [5, 10, five[1]],
      [10, 13, five[2]],
    ] as const) {
      for (const name of ['loss', 'energyData', 'accuracy', 'gradientNorm']) {
        const mean = each.slice(from, to).reduce((a, r) => a + (r[name] as number), 0) / (to - from)
        expect(row?.[name], name).toBeCloseTo(mean, 5)
      }
      expect(row?.epoch).toBeCloseTo(to / 8, 10)
      expect(row?.learningRate).toBe(each[to - 1]?.learningRate)
    }
    expect(five[2]?.seconds).toBeGreaterThan(five[0]?.seconds as number)
  })

  test('epochs, fractions of them, and none', async () => {
    expect((await train({ epochs: 2 })).rows.at(-1)?.step).toBe(16)
    expect((await train({ epochs: 0.5 })).rows.at(-1)?.step).toBe(4)
    expect((await train({ epochs: 5, steps: 3 })).rows.at(-1)?.step).toBe(3)
    const out = folder()
    expect((await train({ steps: 0, out })).rows).toEqual([])
    expect((await checkpointOf(out)).run.step).toBe(0)
  })

  test('impossible numbers are refused by name and value', async () => {
    expect((await rejection(train({ steps: -1 }))).message).toMatch(/steps must be an integer ≥ 0; got -1/)
    expect((await rejection(train({ steps: 1.5 }))).message).toMatch(/steps must be an integer ≥ 0; got 1.5/)
    expect((await rejection(train({ epochs: Number.NaN }))).message).toMatch(/epochs must be a number ≥ 0; got NaN/)
    expect((await rejection(train({ steps: 1, reportEvery: 0 }))).message).toMatch(
      /reportEvery must be an integer ≥ 1; got 0/,
    )
    expect((await rejection(train({ steps: 1, checkpointEvery: 0.5 }))).message).toMatch(
      /checkpointEvery must be an integer ≥ 1; got 0.5/,
    )
  })

  test('something that is no model is refused', () => {
    expect(() => new Jem({} as never)).toThrow(/first argument must be a Model/)
    expect(() => new MaximumLikelihood(splineFlow({ inputs: 2 }) as never)).toThrow(/new FlowModel.*got Flow/)
  })
})

describe('checkpoints', () => {
  test('are written every checkpointEvery steps, also between reports, and say how many lines of metrics belong to them', async () => {
    const out = folder()
    const seen: number[] = []
    for await (const row of new Jem(plane(), small).fit(blobs(), {
      steps: 25,
      out,
      reportEvery: 10,
      checkpointEvery: 4,
    })) {
      const there = await checkpointOf(out).catch(() => undefined)
      seen.push(row.step, there?.run.step ?? -1)
    }
    expect(seen).toEqual([10, 8, 20, 16, 25, 24])
    const { run } = await checkpointOf(out)
    expect(run).toMatchObject({ step: 25, metricsLines: 3 })
    expect(readFileSync(join(out, 'metrics.jsonl'), 'utf8').trim().split('\n')).toHaveLength(3)
  })

  test('do not change the training', async () => {
    const [a, b] = [folder(), folder()]
    await train({ steps: 25, out: a })
    await train({ steps: 25, out: b, reportEvery: 7, checkpointEvery: 3 })
    expect((await checkpointOf(b)).bits).toEqual((await checkpointOf(a)).bits)
  })

  test('a new run in an old folder begins new files and keeps the old checkpoint aside', async () => {
    const out = folder()
    await train({ steps: 5, out })
    const old = (await checkpointOf(out)).bits
    await train({ steps: 3, out, describe: { note: 'second' } })
    expect((await checkpointOf(out)).run.step).toBe(3)
    expect(metricsOf(out).rows.map((r) => r.step)).toEqual([3])
    expect(JSON.parse(readFileSync(join(out, 'config.json'), 'utf8'))).toMatchObject({
      method: 'jem',
      note: 'second',
      totalSteps: 3,
    })
    const { readSafetensors } = await import('../../lib/runtime/safetensors.ts')
    const { tensors } = await readSafetensors(join(out, 'checkpoint.previous.safetensors'))
    expect([...tensors.keys()].sort()).toEqual(Object.keys(old).sort())
  })

  test('a run that is refused leaves the folder as it was', async () => {
    const out = folder()
    await train({ steps: 5, out })
    const before = (await checkpointOf(out)).bits
    await rejection(
      fitAll(new JemPlusPlus(plane(), { ...small, sampler: { kind: 'pyld', firstStage: 9 } }), blobs(), {
        steps: 5,
        out,
      }),
    )
    expect((await checkpointOf(out)).bits).toEqual(before)
    expect(metricsOf(out).rows).toHaveLength(1)
  })
})

describe('files that cannot be written', () => {
  test('metrics: E_IO names the file; the last checkpoint stays', async () => {
    const out = folder()
    const error = await rejection(
      fitAll(new Jem(plane(), small), blobs(), {
        steps: 40,
        out,
        reportEvery: 5,
        checkpointEvery: 5,
        onRow: (r) => {
          if (r.step !== 10) return
          rmSync(join(out, 'metrics.jsonl'))
          mkdirSync(join(out, 'metrics.jsonl'))
        },
      }),
    )
    expect(error).toMatchObject({ code: 'E_IO', message: expect.stringContaining(join(out, 'metrics.jsonl')) })
    expect((await checkpointOf(out)).run.step).toBe(10)
  })

  test('the checkpoint on cancelling: the error is about the file, and does not promise one', async () => {
    const out = folder()
    const controller = new AbortController()
    const error = await rejection(
      train({
        steps: 40,
        out,
        reportEvery: 5,
        signal: controller.signal,
        onRow: () => {
          mkdirSync(join(out, 'checkpoint.safetensors'), { recursive: true })
          controller.abort()
        },
      }),
    )
    expect(error).toMatchObject({ code: 'E_IO', message: expect.stringContaining('checkpoint.safetensors') })
  })

  test('a folder under a file', async () => {
    const out = folder()
    await train({ steps: 1, out })
    const error = await rejection(train({ steps: 1, out: join(out, 'config.json', 'run') }))
    expect(error).toMatchObject({
      code: 'E_IO',
      message: expect.stringMatching(/cannot create the run folder '.*config\.json\/run': ENOTDIR/),
    })
  })
})

describe('while a run goes on', () => {
  test('the event loop ticks: timers fire all along', async () => {
    const data = await someDigits()
    const trainer = new JemPlusPlus(resNet(), { ...smallPlusPlus, sampler: { kind: 'pyld', outer: 10, inner: 5 } })
    let [ticks, last, longest, running] = [0, 0, 0, false]
    const timer = setInterval(() => {
      const now = performance.now()
      if (running) {
        ticks++
        longest = Math.max(longest, now - last)
      }
      last = now
    }, 5)
    const started = performance.now()
    // The first row comes after setup and compilation; what follows is native work only.
    for await (const row of trainer.fit(data, { steps: 40, reportEvery: 20 })) running ||= row.step === 20
    clearInterval(timer)
    const spent = performance.now() - started
    expect(ticks).toBeGreaterThan(5)
    expect(longest).toBeLessThan(Math.max(250, spent / 2))
  })

  test('two runs at once and evaluations between them end as each does alone', async () => {
    const digits = await someDigits(40)
    const outs = [folder(), folder(), folder(), folder()] as const
    const first = () => new Jem(plane(), small)
    const second = () => new JemPlusPlus(convNet(), small)
    const other = convNet()
    await Promise.all([
      fitAll(first(), blobs(), { steps: 30, out: outs[0], reportEvery: 3 }),
      fitAll(second(), digits, { steps: 15, out: outs[1], reportEvery: 2 }),
      ...Array.from({ length: 5 }, () => other.energy(digits.normalized())),
    ])
    await fitAll(first(), blobs(), { steps: 30, out: outs[2] })
    await fitAll(second(), digits, { steps: 15, out: outs[3] })
    expect((await checkpointOf(outs[0])).bits).toEqual((await checkpointOf(outs[2])).bits)
    expect((await checkpointOf(outs[1])).bits).toEqual((await checkpointOf(outs[3])).bits)
  })

  test('a trainer fits again, going on from the weights of its model with new moments', async () => {
    const trainer = new Jem(plane(), small)
    await fitAll(trainer, blobs(), { steps: 10 })
    const before = Float32Array.from(trainer.model.value('0.weight').data)
    await fitAll(trainer, blobs(), { steps: 10 })
    const after = trainer.model.value('0.weight').data as Float32Array
    expect(after).not.toEqual(before)
    expect(Math.max(...after.map((v, i) => Math.abs(v - (before[i] as number))))).toBeLessThan(0.1)
    trainer.dispose()
    trainer.dispose()
    expect(await trainer.model.energy(blobs().normalized())).toHaveLength(64)
  })
})

describe('evaluate', () => {
  test('of a trainer and of its opened run are the same', async () => {
    const out = folder()
    const digits = await someDigits(60)
    const { train, test: held } = digits.split({ test: 20 })
    const trainer = new JemPlusPlus(resNet(), smallPlusPlus)
    await fitAll(trainer, train, { steps: 4, out })
    const options = { samples: 8, ood: ['uniform'] as const, seed: 4 }
    const [a, b] = [await evaluate(trainer, held, options), await evaluate(await openRun(out), held, options)]
    const { seconds: _, peakRssBytes: __, ...figures } = a
    const { seconds: ___, peakRssBytes: ____, ...again } = b
    expect(again).toEqual(figures)
    expect(figures).toMatchObject({ count: 20, accuracy: expect.any(Number), frechet: { samples: 8, reference: 20 } })
    // A set against itself cannot be told apart.
    const same = await evaluate(trainer, held, { samples: 0, ood: [held] })
    expect(same.ood[held.name]?.log_px?.auroc).toBeCloseTo(0.5, 10)
    expect(await rejection(evaluate(trainer, held, { samples: 0, ood: ['unform' as 'uniform'] }))).toMatchObject({
      code: 'E_CONFIG',
      message: expect.stringContaining("Did you mean 'uniform'"),
    })
  })
})
