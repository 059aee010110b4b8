/** Resuming: a stopped, cancelled, abandoned or killed run ends with the very bits of an uninterrupted one. */
import { spawn } from 'node:child_process'
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { beforeAll, describe, expect, test } from 'vitest'
import { mlp } from '../../lib/nn/models.ts'
import type { JemOptions } from '../../lib/trainers/jem.ts'
import { Jem, JemPlusPlus } from '../../lib/trainers/jem-trainers.ts'
import { openRun } from '../../lib/trainers/run.ts'
import { buildDist } from '../dist.ts'
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

const plain = (rows: { seconds: number; stepsPerSecond: number }[]) =>
  rows.map(({ seconds: _, stepsPerSecond: __, ...row }) => row)

describe('stopped in the middle and resumed', () => {
  test('JEM++ on a batch-norm network: every persistent tensor and every row is the same', async () => {
    const data = await someDigits()
    const options: JemOptions = { ...smallPlusPlus, ema: 0.9, gradientClip: 2, seed: 6 }
    const [whole, parts] = [folder(), folder()]
    await fitAll(new JemPlusPlus(resNet(), options), data, { steps: 16, out: whole, reportEvery: 4 })
    await fitAll(new JemPlusPlus(resNet(), options), data, { steps: 8, out: parts, reportEvery: 4 })
    expect((await checkpointOf(parts)).run.step).toBe(8)
    // Initial values of the resuming model must not matter.
    await fitAll(new JemPlusPlus(resNet(77), options), data, { steps: 16, out: parts, reportEvery: 4, resume: true })
    const [a, b] = [await checkpointOf(whole), await checkpointOf(parts)]
    expect(b.names).toEqual(a.names)
    expect(b.bits).toEqual(a.bits)
    expect(a.names).toEqual(
      expect.arrayContaining([
        'stem.weight',
        'bn.running_mean',
        'optimizer/momentum/stem.weight',
        'ema/head.bias',
        'rng/train',
        'rng/chain',
        'chain/buffer',
        'schedule/scale',
      ]),
    )
    expect(plain(metricsOf(parts).rows)).toEqual(plain(metricsOf(whole).rows))
    expect(metricsOf(parts).events).toEqual([{ event: 'resumed', step: 8 }])
  })

  test('JEM with Adam, class Gaussians and noise in the chain', async () => {
    const options: JemOptions = {
      ...small,
      optimizer: { kind: 'adam', learningRate: 1e-3 },
      buffer: { size: 40, reinit: 0.5, start: { kind: 'classGaussians' } },
      weights: { pxy: 0.5 },
    }
    const [whole, parts] = [folder(), folder()]
    const make = () => new Jem(plane(), options)
    await fitAll(make(), blobs(), { steps: 40, out: whole })
    await fitAll(make(), blobs(), { steps: 20, out: parts })
    await fitAll(make(), blobs(), { steps: 40, out: parts, resume: true })
    expect((await checkpointOf(parts)).bits).toEqual((await checkpointOf(whole)).bits)
  })

  test('a step that is no multiple of reportEvery', async () => {
    const [whole, parts] = [folder(), folder()]
    const make = () => new Jem(plane(), small)
    await fitAll(make(), blobs(), { steps: 30, out: whole })
    await fitAll(make(), blobs(), { steps: 7, out: parts })
    const { rows } = await fitAll(make(), blobs(), { steps: 30, out: parts, resume: true })
    expect(rows.map((r) => r.step)).toEqual([20, 30])
    expect((await checkpointOf(parts)).bits).toEqual((await checkpointOf(whole)).bits)
  })

  test('two runs of one seed are the same, of two seeds are not', async () => {
    const [a, b, c] = [folder(), folder(), folder()]
    await fitAll(new Jem(plane(), { ...small, seed: 1 }), blobs(), { steps: 10, out: a })
    await fitAll(new Jem(plane(), { ...small, seed: 1 }), blobs(), { steps: 10, out: b })
    await fitAll(new Jem(plane(), { ...small, seed: 2 }), blobs(), { steps: 10, out: c })
    const [x, y, z] = [await checkpointOf(a), await checkpointOf(b), await checkpointOf(c)]
    expect(y.bits).toEqual(x.bits)
    expect(z.bits['chain/buffer']).not.toEqual(x.bits['chain/buffer'])
    expect(z.bits['0.weight']).not.toEqual(x.bits['0.weight'])
  })
})

describe('cancelled or abandoned', () => {
  test('AbortSignal: E_CANCELLED with the step, a checkpoint of that step, and resume goes on', async () => {
    const [whole, parts] = [folder(), folder()]
    const make = () => new Jem(plane(), small)
    await fitAll(make(), blobs(), { steps: 60, out: whole, reportEvery: 10 })
    const controller = new AbortController()
    const error = await rejection(
      fitAll(make(), blobs(), {
        steps: 60,
        out: parts,
        reportEvery: 10,
        signal: controller.signal,
        onRow: (r) => r.step === 30 && controller.abort(),
      }),
    )
    expect(error).toMatchObject({ code: 'E_CANCELLED', details: { step: 30 } })
    expect(error.message).toContain('checkpoint.safetensors')
    expect((await checkpointOf(parts)).run.step).toBe(30)
    await fitAll(make(), blobs(), { steps: 60, out: parts, reportEvery: 10, resume: true })
    expect((await checkpointOf(parts)).bits).toEqual((await checkpointOf(whole)).bits)
    expect(plain(metricsOf(parts).rows)).toEqual(plain(metricsOf(whole).rows))
  })

  test('aborting while native code runs stops within the report interval', async () => {
    const out = folder()
    const controller = new AbortController()
    const trainer = new Jem(plane(), small)
    const run = rejection(
      fitAll(trainer, blobs(), { steps: 10_000_000, out, reportEvery: 10_000_000, signal: controller.signal }),
    )
    while (!existsSync(join(out, 'metrics.jsonl'))) await sleep(10)
    await sleep(1500)
    controller.abort()
    const error = await run
    expect(error.code).toBe('E_CANCELLED')
    const { run: description } = await checkpointOf(out)
    expect(description.step).toBeGreaterThan(0)
    expect(description.step).toBe(error.details?.step)
  })

  test('a signal that is aborted beforehand', async () => {
    const out = folder()
    const error = await rejection(
      fitAll(new Jem(plane(), small), blobs(), { steps: 5, out, signal: AbortSignal.abort() }),
    )
    expect(error).toMatchObject({ code: 'E_CANCELLED', details: { step: 0 } })
    expect((await checkpointOf(out)).run.step).toBe(0)
  })

  test('breaking out of the loop keeps a checkpoint, and the model holds its weights', async () => {
    const [whole, parts] = [folder(), folder()]
    const make = () => new Jem(plane(), small)
    await fitAll(make(), blobs(), { steps: 40, out: whole, reportEvery: 5 })
    const trainer = make()
    for await (const row of trainer.fit(blobs(), { steps: 40, out: parts, reportEvery: 5 })) if (row.step === 15) break
    const { run } = await checkpointOf(parts)
    expect(run.step).toBe(15)
    const opened = await openRun(parts)
    expect(opened.model.value('0.weight')).toEqual(trainer.model.value('0.weight'))
    await fitAll(make(), blobs(), { steps: 40, out: parts, reportEvery: 5, resume: true })
    expect((await checkpointOf(parts)).bits).toEqual((await checkpointOf(whole)).bits)
  })

  test('without out nothing is written and the message does not speak of a file', async () => {
    const error = await rejection(fitAll(new Jem(plane(), small), blobs(), { steps: 5, signal: AbortSignal.abort() }))
    expect(error.message).not.toContain('checkpoint')
  })
})

describe('killed', () => {
  const network = { inputs: 2, hidden: [8], classes: 2, seed: 3 }
  const options: JemOptions = { ...small, optimizer: { kind: 'adamw' } }
  const fit = { steps: 1500, reportEvery: 10, checkpointEvery: 50 }
  const trainer = () => new Jem(mlp(network), options)
  const settings = join(folder(), 'settings.json')

  beforeAll(async () => {
    await buildDist()
    const { features, labels = [] } = blobs()
    writeFileSync(settings, JSON.stringify({ network, options, fit, rows: [...features.data], labels: [...labels] }))
  }, 120_000)

  /** A child process; `said` waits for a line of its output and throws if the child ends without it. */
  function child(out: string, mode: string) {
    const script = new URL('./kill-child.mjs', import.meta.url).pathname
    const p = spawn(process.execPath, [script, settings, out, mode], {
      stdio: ['ignore', 'pipe', 'inherit'],
      env: { ...process.env, LANGEVIN_THREADS: '1' },
    })
    let text = ''
    p.stdout.on('data', (d) => {
      text += d
    })
    const ended = new Promise<number | null>((resolve) => p.once('exit', resolve))
    const said = async (line: string) => {
      while (!text.includes(`${line}\n`)) {
        if (p.exitCode !== null) throw new Error(`the child ended before '${line}': ${text}`)
        await sleep(2)
      }
    }
    return { p, ended, said }
  }

  test('kill -9 in the middle: resumes from the last checkpoint and ends like an uninterrupted run', async () => {
    const [whole, parts] = [folder(), folder()]
    await fitAll(trainer(), blobs(), { ...fit, out: whole })
    const c = child(parts, 'train')
    await c.said('step 120')
    c.p.kill('SIGKILL')
    expect(await c.ended).toBe(null)
    const { run } = await checkpointOf(parts)
    expect(run.step).toBeGreaterThan(0)
    expect(run.step).toBeLessThan(fit.steps)
    await fitAll(trainer(), blobs(), { ...fit, out: parts, resume: true })
    expect((await checkpointOf(parts)).bits).toEqual((await checkpointOf(whole)).bits)
    expect(plain(metricsOf(parts).rows)).toEqual(plain(metricsOf(whole).rows))
  })

  test('kill -9 while checkpoints are written, again and again: the file is always whole', async () => {
    const out = folder()
    for (let round = 0; round < 3; round++) {
      const c = child(out, 'write')
      await c.said('writing')
      await sleep(40 + 23 * round)
      c.p.kill('SIGKILL')
      await c.ended
      const { names, run } = await checkpointOf(out)
      expect(run.step).toBeGreaterThanOrEqual(0)
      expect(names).toEqual(['big', 'one'])
    }
    // What a killed writer left is cleared away by the next one.
    expect(await child(out, 'once').ended).toBe(0)
    expect(readdirSync(out)).toEqual(['checkpoint.safetensors'])
  })
})

describe('a checkpoint carries the sampler', () => {
  test('openRun(...).sample() equals trainer.sample() of the same seed, from the buffer, from fresh starts, of a class', async () => {
    const out = folder()
    const trainer = new JemPlusPlus(resNet(), { ...smallPlusPlus, ema: 0.8, buffer: { size: 40 } })
    await fitAll(trainer, await someDigits(), { steps: 4, out })
    const run = await openRun(out)
    for (const options of [
      { count: 20, seed: 3 },
      { count: 5, from: 'start', steps: 3, seed: 3 },
      { count: 3, class: 7, steps: 3 },
      { count: 3, class: 7, steps: 3, from: 'buffer' },
    ] as const) {
      const [a, b] = [await trainer.sample(options), await run.sample(options)]
      expect(a.shape).toEqual([options.count, 1, 8, 8])
      expect(b).toEqual(a)
      expect(a.data.every((v) => v >= -1 && v <= 1)).toBe(true)
      expect(new Set(a.data).size).toBeGreaterThan(10)
    }
    expect((await run.sample({ count: 4, seed: 1 })).data).not.toEqual((await run.sample({ count: 4, seed: 2 })).data)
    expect(run.description).toMatchObject({ method: 'jempp', step: 4, data: { name: 'digits', classes: 10 } })
    await run.model.dispose()
    trainer.dispose()
  })

  test('impossible samples are refused by name', async () => {
    const out = folder()
    const trainer = new Jem(plane(), small)
    expect(await rejection(trainer.sample())).toMatchObject({ code: 'E_CONFIG' })
    await fitAll(trainer, blobs(), { steps: 2, out })
    const run = await openRun(out)
    expect((await rejection(run.sample({ count: 0 }))).message).toMatch(/count must be an integer ≥ 1; got 0/)
    expect((await rejection(run.sample({ class: 2 }))).message).toMatch(/class must be an integer in 0\.\.1; got 2/)
    expect((await rejection(run.sample({ steps: -1 }))).message).toMatch(/steps must be an integer ≥ 0; got -1/)
    expect(await rejection(run.sample({ signal: AbortSignal.abort() }))).toMatchObject({ code: 'E_CANCELLED' })
  })

  test('sampling an unlabelled run by class says what is missing', async () => {
    const trainer = new Jem(plane(0), { ...small, weights: { pyx: 0 } })
    await fitAll(trainer, blobs(32, false), { steps: 2 })
    expect(await rejection(trainer.sample({ class: 0 }))).toMatchObject({
      code: 'E_CONFIG',
      message: expect.stringContaining('classifier'),
    })
  })
})

describe('a checkpoint of another run is refused', () => {
  async function trained(): Promise<string> {
    const out = folder()
    await fitAll(new Jem(convNet(), small), await someDigits(), { steps: 2, out })
    return out
  }

  test('other options, network, data: each named, with both values', async () => {
    const out = await trained()
    const data = await someDigits()
    const again = (trainer: Jem | JemPlusPlus, d = data) =>
      rejection(fitAll(trainer, d, { steps: 4, out, resume: true }))
    const options = await again(new Jem(convNet(), { ...small, batch: 4 }))
    expect(options).toMatchObject({
      code: 'E_CHECKPOINT',
      message: expect.stringContaining('options.batch is 8 there, 4 here'),
    })
    expect((await again(new Jem(resNet(), small))).message).toMatch(
      /network.kind is "convEnergy" there, "wideResNet" here/,
    )
    expect((await again(new Jem(convNet(), small), data.take(50))).message).toMatch(/data.count is 100 there, 50 here/)
    expect((await again(new JemPlusPlus(convNet(), small))).message).toMatch(/method is "jem" there, "jempp" here/)
    // Nothing of all this has changed the run.
    expect((await checkpointOf(out)).run.step).toBe(2)
  })

  test('opening it with another model names tensor and shapes', async () => {
    const out = await trained()
    const error = await rejection(openRun(out, { model: convNet(5) }))
    expect(error).toMatchObject({ code: 'E_CHECKPOINT', message: expect.stringContaining("'head.weight'") })
    expect(error.message).toMatch(/\[10,64\].*\[5,64\]/)
  })

  test('opening it with a model that lacks some of its tensors is refused too', async () => {
    const out = folder()
    await fitAll(new Jem(mlp({ inputs: 2, hidden: [2], classes: 2 }), small), blobs(), { steps: 1, out })
    const error = await rejection(openRun(out, { model: mlp({ inputs: 2, hidden: [], classes: 2 }) }))
    expect(error).toMatchObject({ code: 'E_CHECKPOINT', message: expect.stringContaining('2.weight') })
  })

  test('beyond the planned steps, without out, without a checkpoint', async () => {
    const out = await trained()
    const data = await someDigits()
    const make = () => new Jem(convNet(), small)
    expect((await rejection(fitAll(make(), data, { steps: 1, out, resume: true }))).message).toMatch(
      /stands at step 2, beyond the planned 1/,
    )
    expect((await rejection(fitAll(make(), data, { steps: 4, resume: true }))).message).toMatch(/needs out/)
    expect(await rejection(fitAll(make(), data, { steps: 4, out: folder(), resume: true }))).toMatchObject({
      code: 'E_CHECKPOINT',
    })
    expect(await rejection(fitAll(make(), data, { steps: 4, out: join(out, 'nowhere'), resume: true }))).toMatchObject({
      code: 'E_IO',
    })
  })

  test('damaged files: cut short, flipped header, foreign metadata', async () => {
    const out = await trained()
    const path = join(out, 'checkpoint.safetensors')
    const good = readFileSync(path)
    const damage: [string, Buffer, RegExp][] = [
      ['cut short', good.subarray(0, good.length - 100), /cut short/],
      ['only the length', good.subarray(0, 6), /6 bytes/],
      ['empty', Buffer.alloc(0), /0 bytes/],
      ['flipped length', Buffer.from(good.map((b, i) => (i === 2 ? b ^ 0x40 : b))), /header/],
      ['flipped header', Buffer.from(good.map((b, i) => (i === 9 ? b ^ 0x80 : b))), /header/],
      ['text', Buffer.from('this is no checkpoint at all, really'), /safetensors/],
    ]
    for (const [what, bytes, text] of damage) {
      writeFileSync(path, bytes)
      const error = await rejection(openRun(out))
      expect(error, what).toMatchObject({ code: 'E_CHECKPOINT' })
      expect(error.message, what).toMatch(text)
      expect(error.message, what).toContain(path)
    }
    await convNet().save(path)
    expect((await rejection(openRun(out))).message).toMatch(/not a run's checkpoint/)
  })
})
