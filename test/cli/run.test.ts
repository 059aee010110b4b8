/** One run through all commands: train, evaluate, sample, export, info; the files they leave; --json; damaged and foreign checkpoints. */
import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { decode } from 'fast-png'
import { beforeAll, describe, expect, test } from 'vitest'
import { readNpy } from '../../lib/data/npy.ts'
import { parseMetrics } from '../../lib/evaluation/metrics-row.ts'
import { convEnergy } from '../../lib/nn/models.ts'
import { readSafetensors, writeSafetensors } from '../../lib/runtime/safetensors.ts'
import { buildDist } from '../dist.ts'
import { langevin, type Result, tinyConfig, work, writeJson } from './command.ts'

const here = work()
const run = join(here, 'run')
let trained: Result

beforeAll(async () => {
  await buildDist()
  const config = writeJson(here, 'tiny.json', tinyConfig())
  trained = await langevin(['train', config, '--out', 'run', '--seed', '3'], here)
}, 180_000)

const json = (path: string) => JSON.parse(readFileSync(path, 'utf8')) as Record<string, unknown>
const lines = (text: string) =>
  text
    .trimEnd()
    .split('\n')
    .map((l) => JSON.parse(l) as Record<string, unknown>)

describe('train', () => {
  test('leaves configuration, metrics, checkpoint, evaluation, samples and report', () => {
    expect(trained.err).not.toMatch(/error/)
    expect(trained.code).toBe(0)
    expect(trained.out).toMatch(/trained 20 steps.*\n.*accuracy 0\.\d+ .*NLL.*ECE/)
    expect(readdirSync(run).sort()).toEqual([
      'checkpoint.safetensors',
      'config.json',
      'evaluation.json',
      'metrics.jsonl',
      'report.html',
      'samples.png',
    ])
  })

  test('config.json says what was run', () => {
    expect(json(join(run, 'config.json'))).toMatchObject({
      method: 'jempp',
      network: { kind: 'wideResNet', depth: 10, width: 1, channels: 1, size: [8, 8], classes: 10 },
      options: { seed: 3, batch: 8, sampler: { kind: 'pyld', outer: 2 }, optimizer: { kind: 'sgd', momentum: 0.9 } },
      data: { name: 'digits', count: 100, classes: 10 },
      dataSpec: { kind: 'digits', limit: 100, test: 40 },
      totalSteps: 20,
    })
  })

  test('metrics.jsonl has a row every reportEvery steps, all finite', () => {
    const { rows, events } = parseMetrics(readFileSync(join(run, 'metrics.jsonl'), 'utf8'))
    expect(rows.map((r) => r.step)).toEqual([5, 10, 15, 20])
    expect(events).toEqual([])
    for (const row of rows) {
      for (const name of [
        'loss',
        'crossEntropy',
        'energyData',
        'energyNegatives',
        'energyGap',
        'chainDrift',
        'accuracy',
        'gradientNorm',
        'learningRate',
        'seconds',
        'epoch',
        'stepsPerSecond',
      ])
        expect(row[name], name).toSatisfy(Number.isFinite)
      expect(row.energyGap).toBeCloseTo((row.energyNegatives as number) - (row.energyData as number), 4)
      expect(row.loss).toBeCloseTo((row.crossEntropy as number) - (row.energyGap as number), 4)
    }
  })

  test('evaluation.json has accuracy, nll, ece, ood by set and score, seconds and peakRssBytes', () => {
    const e = json(join(run, 'evaluation.json')) as {
      ood: Record<string, Record<string, { auroc: number }>>
    } & Record<string, number>
    for (const name of ['accuracy', 'nll', 'ece', 'seconds', 'peakRssBytes'])
      expect(e[name], name).toSatisfy(Number.isFinite)
    expect(e.count).toBe(40)
    expect(e.peakRssBytes).toBeGreaterThan(2e7)
    expect(Object.keys(e.ood)).toEqual(['uniform', 'inverted', 'shuffled'])
    for (const scores of Object.values(e.ood))
      for (const s of ['log_px', 'max_py', 'score_norm']) {
        const auroc = scores[s]?.auroc as number
        expect(auroc >= 0 && auroc <= 1).toBe(true)
      }
  })

  test('samples.png is an image with some variety, report.html is a page about this run', () => {
    const image = decode(readFileSync(join(run, 'samples.png')))
    expect(image.width).toBeGreaterThanOrEqual(80)
    expect(new Set(image.data).size).toBeGreaterThan(10)
    const page = readFileSync(join(run, 'report.html'), 'utf8')
    expect(page).toMatch(/^<!doctype html>/)
    expect(page).toContain('jempp on digits')
    expect(page).not.toMatch(/(src|href)="https?:/)
  })

  test('the same seed gives the same checkpoint, with --json too, whose output is one object a line', async () => {
    const r = await langevin(['train', 'tiny.json', '--out', 'again', '--seed', '3', '--json'], here)
    expect(r.code).toBe(0)
    const rows = lines(r.out)
    expect(rows.filter((x) => x.event === undefined).map((x) => x.step)).toEqual([5, 10, 15, 20])
    expect(rows.map((x) => x.event).filter(Boolean)).toEqual(['trained', 'evaluated', 'reported'])
    expect(rows.find((x) => x.event === 'evaluated')).toMatchObject({
      accuracy: json(join(run, 'evaluation.json')).accuracy,
    })
    expect(r.err).toBe('')
    const [a, b] = [
      await readSafetensors(join(run, 'checkpoint.safetensors')),
      await readSafetensors(join(here, 'again/checkpoint.safetensors')),
    ]
    expect(b.tensors).toEqual(a.tensors)
  })

  test('a new run in the same folder moves the old checkpoint aside', async () => {
    const folder = join(here, 'twice')
    mkdirSync(folder)
    copyFileSync(join(run, 'checkpoint.safetensors'), join(folder, 'checkpoint.safetensors'))
    expect((await langevin(['train', 'tiny.json', '--out', 'twice', '--steps', '1'], here)).code).toBe(0)
    const size = (f: string) => statSync(join(folder, f)).size
    expect(size('checkpoint.previous.safetensors')).toBe(statSync(join(run, 'checkpoint.safetensors')).size)
    expect(existsSync(join(folder, 'checkpoint.safetensors'))).toBe(true)
  })

  test('resuming with other settings names the one that differs', async () => {
    const other = writeJson(
      here,
      'other.json',
      tinyConfig({ trainer: { batch: 8, sampler: { kind: 'pyld', outer: 3, inner: 2 }, buffer: { size: 40 } } }),
    )
    const r = await langevin(['train', other, '--out', 'run', '--seed', '3', '--resume'], here)
    expect(r.err).toMatch(/options\.sampler\.outer is 2 there, 3 here/)
    expect(r.code).toBe(1)
    const network = writeJson(
      here,
      'network.json',
      tinyConfig({ network: { kind: 'wideResNet', depth: 16, width: 1 } }),
    )
    expect((await langevin(['train', network, '--out', 'run', '--seed', '3', '--resume'], here)).err).toMatch(
      /network\.depth is 10 there, 16 here/,
    )
  })
})

describe('what is done with a run', () => {
  test('sample to .npy and .png: the same seed gives the same numbers, in [-1, 1]', async () => {
    const sample = (out: string, ...more: string[]) =>
      langevin(['sample', 'run', '--count', '9', '--out', out, ...more], here)
    expect((await sample('a.npy')).code).toBe(0)
    expect((await sample('b.npy')).code).toBe(0)
    expect((await sample('c.npy', '--seed', '5')).code).toBe(0)
    expect(await sample('grid.png', '--class', '3', '--steps', '2')).toMatchObject({
      code: 0,
      out: '9 samples of [1,8,8] in grid.png\n',
    })
    const [a, b, c] = await Promise.all(['a', 'b', 'c'].map((n) => readNpy(join(here, `${n}.npy`))))
    expect(a?.shape).toEqual([9, 1, 8, 8])
    expect(b).toEqual(a)
    expect(c?.data).not.toEqual(a?.data)
    expect(Array.from(a?.data ?? []).every((v) => v >= -1 && v <= 1)).toBe(true)
    expect(decode(readFileSync(join(here, 'grid.png'))).width).toBeGreaterThan(20)
  })

  test('sample says at once when it cannot write, and which classes there are', async () => {
    const r = await langevin(['sample', 'run', '--out', 'nodir/x.png'], here)
    expect(r).toMatchObject({
      code: 1,
      out: '',
      err: expect.stringContaining("'nodir' is not a folder; create it first"),
    })
    expect(await langevin(['sample', 'run', '--class', '11'], here)).toMatchObject({
      code: 1,
      err: expect.stringMatching(/class must be an integer in 0\.\.9; got 11/),
    })
  })

  test('evaluate repeats the evaluation, from another working folder too', async () => {
    const before = json(join(run, 'evaluation.json'))
    const r = await langevin(['evaluate', run, '--samples', '0', '--ood', 'uniform,constant', '--json'])
    expect(r.code).toBe(0)
    const after = json(join(run, 'evaluation.json'))
    expect(after).toMatchObject({ accuracy: before.accuracy, nll: before.nll, ece: before.ece })
    expect(Object.keys(after.ood as object)).toEqual(['uniform', 'constant'])
    expect(lines(r.out).map((x) => x.event)).toEqual(['evaluated', 'reported'])
  })

  test('evaluate with data of another shape names both shapes', async () => {
    const { writeNpy } = await import('../../lib/data/npy.ts')
    await writeNpy(join(here, 'wide.npy'), { dtype: 'float32', shape: [5, 1, 4, 4], data: new Float32Array(80) })
    const data = JSON.stringify({ kind: 'npy', images: join(here, 'wide.npy') })
    const r = await langevin(['evaluate', 'run', '--data', data, '--samples', '0', '--out', here], here)
    expect(r.err).toMatch(/float32 \[n,1,8,8\].*\[5,1,4,4\]/)
    expect(r.code).toBe(1)
    expect(await langevin(['evaluate', 'run', '--data', '{nope'], here)).toMatchObject({
      code: 1,
      err: expect.stringMatching(/--data is not JSON/),
    })
  })

  test('export writes a model that ONNX Runtime agrees with', async () => {
    const r = await langevin(['export', 'run', '--json'], here)
    expect(r.err).toBe('')
    expect(r.code).toBe(0)
    const [done] = lines(r.out) as [
      { outputs: string[]; checks: { name: string; maxRel: number; tolerance: number }[] },
    ]
    expect(done.outputs).toEqual(['logits', 'log_prob_unnormalized', 'energy', 'score'])
    for (const c of done.checks) expect(c.maxRel).toBeLessThanOrEqual(c.tolerance)
    expect(done.checks.length).toBeGreaterThanOrEqual(3)
    expect(statSync(join(run, 'model.onnx')).size).toBeGreaterThan(100_000)
  })

  test('info', async () => {
    const [info] = lines((await langevin(['info', '--json'])).out)
    expect(info).toMatchObject({
      langevin: expect.any(String),
      node: process.version,
      threads: 1,
      devices: expect.arrayContaining(['cpu']),
      device: 'cpu',
      cuda: { available: expect.any(Boolean) },
      isa: expect.any(String),
    })
    expect((await langevin(['info'])).out).toMatch(/^langevin +\d/)
  })
})

describe('damaged and foreign checkpoints', () => {
  const damaged = (name: string, bytes: Uint8Array) => {
    writeFileSync(join(here, name), bytes)
    return langevin(['sample', name, '--out', 'never.npy'], here)
  }

  test('cut short, with a flipped header, of no format, of other weights', async () => {
    const good = readFileSync(join(run, 'checkpoint.safetensors'))
    const results = [
      [
        await damaged('cut.safetensors', good.subarray(0, good.length - 1000)),
        /'cut\.safetensors' is a damaged.*cut short/,
      ],
      [
        await damaged('flip.safetensors', Buffer.from(good.map((b, i) => (i === 20 ? b ^ 0x80 : b)))),
        /'flip\.safetensors' is a damaged/,
      ],
      [
        await damaged('text.safetensors', Buffer.from('hello, this is text\n')),
        /'text\.safetensors' is no safetensors file/,
      ],
    ] as const
    for (const [r, message] of results) {
      expect(r.err).toMatch(message)
      expect(r.code).toBe(1)
    }
    await convEnergy({ shape: [1, 8, 8], channels: [2] }).save(join(here, 'plain.safetensors'))
    expect((await langevin(['export', 'plain.safetensors'], here)).err).toMatch(/not a run's checkpoint/)
    expect(existsSync(join(here, 'never.npy'))).toBe(false)
  })

  test('tensors that do not fit the network that the file describes: named, with both shapes', async () => {
    const { tensors, metadata } = await readSafetensors(join(run, 'checkpoint.safetensors'))
    tensors.set('head.bias', { dtype: 'float32', shape: [7], data: new Float32Array(7) })
    await writeSafetensors(join(here, 'head.safetensors'), tensors, metadata)
    expect(await langevin(['sample', 'head.safetensors', '--out', 'never.npy'], here)).toMatchObject({
      code: 1,
      err: expect.stringMatching(/'head\.bias' is float32\[7\], the network needs float32\[10\]/),
    })
  })
})
