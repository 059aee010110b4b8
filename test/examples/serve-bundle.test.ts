/** What the server example takes for a bundle and for options; units, pictures and noise; energies alone, flows and discrete x. */
import { execFileSync, spawnSync } from 'node:child_process'
import { cpSync, readFileSync, truncateSync, unlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { encode } from 'fast-png'
import { beforeAll, describe, expect, test } from 'vitest'
import { normals } from '../../examples/serve/src/normals.ts'
import { defaults, readArguments, withDefaults } from '../../examples/serve/src/options.ts'
import { readPicture } from '../../examples/serve/src/picture.ts'
import { Units } from '../../examples/serve/src/units.ts'
import { Dataset } from '../../lib/data/dataset.ts'
import { atStates } from '../../lib/data/discrete.ts'
import { standardize } from '../../lib/data/standardize.ts'
import { exportBundle } from '../../lib/export/bundle.ts'
import { hostTensor } from '../../lib/graph/host-tensor.ts'
import { cases } from '../trainers/method-cases.ts'
import { folder } from '../trainers/tiny.ts'
import { trained } from '../trainers/trained.ts'
import { compile, type DigitsBundle, digitsBundle, post, serve } from './serve-service.ts'

let digits: DigitsBundle

beforeAll(async () => {
  digits = await digitsBundle()
}, 60_000)

type Manifest = Record<string, unknown> & { input: Record<string, unknown>; model: Record<string, unknown> }

/** A copy of the digits' bundle with something changed. */
function changed(change: (manifest: Manifest, path: string) => void): string {
  const path = join(folder(), 'copy')
  cpSync(digits.path, path, { recursive: true })
  const manifest = JSON.parse(readFileSync(join(path, 'langevin.json'), 'utf8')) as Manifest
  change(manifest, path)
  writeFileSync(join(path, 'langevin.json'), JSON.stringify(manifest))
  return path
}

describe('a bundle that does not fit is refused at the start, by name', () => {
  const set = (place: string, value: unknown) => (manifest: Manifest) => {
    const keys = place.split('.')
    const last = keys.pop() as string
    const at = keys.reduce((o, k) => o[k] as Record<string, unknown>, manifest as Record<string, unknown>)
    at[last] = value
  }
  test.each<[string, (manifest: Manifest, path: string) => void, RegExp]>([
    ['another format', set('format', 2), /langevin.json' has format 2; this service reads format 1/],
    ['no format', set('format', undefined), /has no format/],
    ['no model', set('model', undefined), /'model' is missing; expected an object/],
    [
      'a path',
      set('model.file', '../model.onnx'),
      /'model.file' is "..\/model.onnx"; expected a file in the bundle folder itself/,
    ],
    ['a missing file', (_, path) => unlinkSync(join(path, 'model.onnx')), /model.onnx', which .* names, is missing/],
    [
      'a file cut short',
      (_, path) => truncateSync(join(path, 'model.onnx'), 500),
      /ONNX Runtime does not open '.*model.onnx'/,
    ],
    [
      'a foreign file',
      (_, path) => writeFileSync(join(path, 'sampler.onnx'), 'hello'),
      /does not open '.*sampler.onnx'/,
    ],
    [
      'another shape',
      set('input.shape', [1, 8, 9]),
      /takes x float32 \[.*, 1, 8, 8\]; expected one input: x float32 \[batch, 1, 8, 9\]/,
    ],
    ['no shape', set('input.shape', 'x'), /'input.shape' is "x"; expected an array of sizes/],
    ['a range upside down', set('input.range', [16, 0]), /'input.range' is \[16,0\]; expected null or \[low, high\]/],
    [
      'a short transform',
      set('input.transform', { mean: [0], std: [1] }),
      /'input.transform.mean' is \[0\]; expected 64 finite/,
    ],
    ['fewer classes', set('classes', ['a', 'b']), /output 'logits' of two examples is \[2, 10\]; expected \[2, 2\]/],
    ['classes of one name', set('classes', Array(10).fill('a')), /expected distinct names/],
    [
      'a score of another shape',
      set('outOfDistribution.score', 'score'),
      /outOfDistribution.score is 'score'; expected one of log_prob/,
    ],
    [
      'a threshold of text',
      set('outOfDistribution.threshold', 'low'),
      /'outOfDistribution.threshold' is "low"; expected a finite number/,
    ],
    ['a sampler that takes x0', set('sampler.file', 'model.onnx'), /takes an input 'x'; this service feeds y, steps/],
    ['no default', set('sampler.defaults', {}), /gives no default of 'steps'/],
  ])('%s', async (_, change, message) => {
    await expect(serve(changed(change))).rejects.toMatchObject({
      code: 'E_BUNDLE',
      message: expect.stringMatching(message),
    })
  })

  test('no folder, and no JSON', async () => {
    await expect(serve(join(digits.path, 'nowhere'))).rejects.toMatchObject({
      code: 'E_BUNDLE',
      message: expect.stringMatching(/nowhere.langevin.json' cannot be read .*langevin export RUN --bundle/),
    })
    const path = changed(() => {})
    writeFileSync(join(path, 'langevin.json'), '{"format": 1,')
    await expect(serve(path)).rejects.toMatchObject({
      message: expect.stringMatching(/is damaged: .*Export the bundle again/),
    })
  })

  test('the command says so in one line and ends with code 1, or 2 for its options', async () => {
    const run = async (...args: string[]) =>
      spawnSync(process.execPath, [join(await compile(), 'main.js'), ...args], { encoding: 'utf8' })
    const missing = await run(join(digits.path, 'nowhere'))
    expect([missing.status, missing.stderr]).toEqual([
      1,
      expect.stringMatching(/^langevin-serve: '.*' cannot be read.*\n$/),
    ])
    expect(await run('--prot', '80')).toMatchObject({
      status: 2,
      stderr: expect.stringMatching(/Did you mean --port\?/),
    })
    const help = execFileSync(process.execPath, [join(await compile(), 'main.js'), '--help'], { encoding: 'utf8' })
    expect(help).toMatch(/--max-batch ROWS +most rows of a batch \(default 64\)/)
  })
})

test('numbers far beyond the data overflow, and are refused; the others of the batch are not', async () => {
  const tiny = { mean: Array(64).fill(0), std: Array(64).fill(0.001) }
  const wide = changed((m) => Object.assign(m.input, { range: null, transform: tiny }))
  const { url } = await serve(wide, { maxDelay: 50 })
  const [wild, tame] = await Promise.all(
    [3e38, 0.0005].map((v) => post(`${url}/classify`, { instances: [Array(64).fill(v)] })),
  )
  expect(wild).toMatchObject({ status: 422, body: { error: { code: 'E_VALUE' } } })
  expect(JSON.stringify(wild?.body)).toMatch(/instances\[0\].*far beyond those of the data/)
  expect(tame).toMatchObject({ status: 200, body: { predictions: [{ logProb: expect.any(Number) }] } })
})

describe('other models', () => {
  test('an energy alone has log p(x), and no classes', async () => {
    const run = await trained(cases.find((c) => c.title === 'score matching, exact') ?? raise())
    const path = join(folder(), 'plane')
    await exportBundle(run, path)
    const { url } = await serve(path)
    const points = [
      [0.5, -1],
      [2, 0.25],
    ]
    const { status, body } = await post(`${url}/classify`, { instances: points })
    const energies = await run.model.energy(hostTensor(Float32Array.from(points.flat()), [2, 2]))
    expect([status, body]).toEqual([
      200,
      {
        normalised: false,
        predictions: Array.from(energies, (e) => ({ logProb: expect.closeTo(-e, 4), outOfDistribution: null })),
      },
    ])
    expect(await post(`${url}/classify?top=1`, { instances: points })).toMatchObject({
      status: 400,
      body: { error: { code: 'E_OPTION' } },
    })
    expect(await post(`${url}/sample`, { class: 1 })).toMatchObject({ status: 422 })
    const drawn = await post(`${url}/sample`, { count: 3 })
    expect(drawn).toMatchObject({ status: 200, body: { samples: { length: 3 }, energies: { length: 3 } } })
    const png = encode({ width: 2, height: 1, channels: 1, data: new Uint8Array(2) })
    expect(await post(`${url}/classify`, png, { 'content-type': 'image/png' })).toMatchObject({ status: 415 })
    expect(await post(`${url}/sample`, {}, { accept: 'image/png' })).toMatchObject({ status: 406 })
    await run.model.dispose()
  })

  test('a model of discrete x judges every pixel as the nearer of its two values, and draws such', async () => {
    const run = await trained(cases.find((c) => c.method === 'rbm') ?? raise())
    const path = join(folder(), 'rbm')
    await exportBundle(run, path)
    const { url } = await serve(path)
    const grey = [...digits.raw.subarray(0, 64)]
    const { body } = await post(`${url}/classify`, { instances: [grey, grey.map((v) => (v > 8 ? 16 : 0))] })
    const { predictions } = body as { predictions: { logProb: number }[] }
    const states = Float32Array.from(grey, (v) => (v > 8 ? 1 : -1))
    const energy = await run.model.energy(hostTensor(states, [1, 1, 8, 8]))
    expect(predictions.map((p) => p.logProb)).toEqual([predictions[0]?.logProb, predictions[0]?.logProb])
    expect(predictions[0]?.logProb).toBeCloseTo(-(energy[0] as number), 3)
    const drawn = (await post(`${url}/sample`, { count: 2, steps: 2 })).body as { samples: unknown[] }
    expect(new Set(drawn.samples.flat(4))).toEqual(new Set([0, 16]))
    await run.model.dispose()
  })

  test('a flow has normalised densities and draws exactly, the same from the same seed', async () => {
    const run = await trained(cases.find((c) => c.method === 'maximumLikelihood') ?? raise())
    const path = join(folder(), 'flow')
    await exportBundle(run, path)
    const { url } = await serve(path)
    const drawn = await post(`${url}/sample`, { count: 5, seed: 4 })
    const { samples, energies, seed } = drawn.body as { samples: number[][]; energies: unknown; seed: number }
    expect([drawn.status, samples.length, energies, seed]).toEqual([200, 5, null, 4])
    expect((await post(`${url}/sample`, { count: 5, seed: 4 })).body).toEqual(drawn.body)
    const { body } = await post(`${url}/classify`, { instances: samples })
    const { normalised, predictions } = body as { normalised: boolean; predictions: { logProb: number }[] }
    const energy = await run.model.energy(hostTensor(Float32Array.from(samples.flat()), [5, samples[0]?.length ?? 0]))
    expect(normalised).toBe(true)
    for (const [i, p] of predictions.entries()) expect(p.logProb).toBeCloseTo(-(energy[i] as number), 3)
    await run.model.dispose()
  })
})

function raise(): never {
  throw new Error('no such case')
}

describe('options', () => {
  test('a command line, and what it leaves out', () => {
    expect(readArguments(['b', '--port', '0', '--no-batching', '--max-delay', '0.5', '--log-requests'])).toEqual({
      bundle: 'b',
      options: { ...defaults, port: 0, batching: false, maxDelay: 0.5, logRequests: true },
    })
    expect(defaults.host).toBe('127.0.0.1')
    expect(readArguments(['--help'])).toBe('help')
  })

  test.each<[string[], RegExp]>([
    [[], /expected one bundle folder; got 0/],
    [['a', 'b'], /got 2/],
    [['a', '--port', 'x'], /--port: expected a number; got 'x'/],
    [['a', '--port', '70000'], /--port: expected a whole number in 0..65535; got 70000/],
    [['a', '--max-batch', '1.5'], /--max-batch: expected a whole number/],
    [['a', '--log', 'loud'], /--log: expected one of fatal, .*; got 'loud'/],
    [['a', '--max-bacth', '3'], /Did you mean --max-batch\?/],
  ])('%j is refused', (args, message) => {
    expect(() => readArguments(args)).toThrow(message)
  })

  test('options in code are checked as well', () => {
    expect(() => withDefaults({ threads: 0 })).toThrow(/--threads: expected a whole number in 1..256; got 0/)
    expect(() => withDefaults({ thread: 1 } as object)).toThrow(/no option 'thread'/)
  })
})

describe('units are those of langevin’s data sets', () => {
  const info = { shape: [3], range: null, columns: undefined, transform: undefined, discrete: undefined } as const
  const numbers = Float32Array.from([0, 3, 16, 7, 1, 12])

  test('a range, a transform, neither', () => {
    const data = new Dataset({ name: 'd', features: hostTensor(numbers, [2, 3]), range: [0, 16] })
    const units = new Units({ ...info, range: [0, 16] })
    expect(units.toModel(numbers.slice())).toEqual(data.normalized().data)
    expect(units.toRaw(units.toModel(numbers.slice()))).toEqual(numbers)
    const table = new Dataset({ name: 'd', features: hostTensor(numbers, [2, 3]), range: null })
    const { train } = standardize({ train: table, test: undefined })
    const { mean = [], std = [] } = train.transform ?? {}
    const columns = new Units({ ...info, transform: { mean: [...mean], std: [...std] } })
    expect(columns.toModel(numbers.slice())).toEqual(train.features.data)
    expect(columns.toRaw(columns.toModel(numbers.slice()))).toEqual(numbers)
    expect(new Units(info).toModel(numbers.slice())).toEqual(numbers)
  })

  test('discrete x: the nearer value, the greatest of a site', () => {
    const grey = Float32Array.from([0, 0.4, 0.5, 0.51, 1, 0.9])
    const binary = new Units({ ...info, discrete: [0, 1] })
    expect(binary.toModel(grey.slice())).toEqual(atStates(hostTensor(grey, [2, 3]), [0, 1]).data)
    const sites = Float32Array.from([0.2, 0.9, 0.9, 0, 0, 0])
    const oneHot = new Units({ ...info, discrete: 'oneHot' })
    expect(oneHot.toModel(sites.slice())).toEqual(atStates(hostTensor(sites, [2, 3]), 'oneHot').data)
  })
})

test('PNG of every kind: grey, colour, transparency, palettes and few bits', () => {
  const size = { channels: 1, height: 1, width: 2 } as const
  const read = (png: Parameters<typeof encode>[0], channels: 1 | 3 = 1) => [
    ...readPicture(Buffer.from(encode(png)), { ...size, channels }),
  ]
  const two = { width: 2, height: 1 }
  expect(read({ ...two, channels: 1, data: Uint8Array.of(10, 200) })).toEqual([10, 200])
  expect(read({ ...two, channels: 1, data: Uint8Array.of(10, 200) }, 3)).toEqual([10, 200, 10, 200, 10, 200])
  expect(read({ ...two, channels: 3, data: Uint8Array.of(255, 0, 0, 0, 255, 0) }, 3)).toEqual([255, 0, 0, 255, 0, 0])
  expect(read({ ...two, channels: 3, data: Uint8Array.of(255, 0, 0, 9, 9, 9) })).toEqual([
    expect.closeTo(76.245, 3),
    expect.closeTo(9, 4),
  ])
  expect(read({ ...two, channels: 2, data: Uint8Array.of(0, 0, 100, 255) })).toEqual([255, 100])
  expect(read({ ...two, channels: 1, depth: 16, data: Uint16Array.of(65535, 257) })).toEqual([255, 1])
  expect(read({ ...two, channels: 1, depth: 1, data: Uint8Array.of(0b01000000) })).toEqual([0, 255])
})

test('noise is standard normal, of its seed and stream alone', () => {
  const n = 40_000
  const z = normals(n, 7, 0)
  const moment = (k: number) => z.reduce((sum, v) => sum + v ** k, 0) / n
  // Five standard errors of each moment.
  for (const [k, expected, spread] of [
    [1, 0, 1],
    [2, 1, Math.sqrt(2)],
    [3, 0, Math.sqrt(15)],
    [4, 3, Math.sqrt(96)],
  ] as const)
    expect(Math.abs(moment(k) - expected)).toBeLessThan((5 * spread) / Math.sqrt(n))
  const lag = z.slice(1).reduce((sum, v, i) => sum + v * (z[i] as number), 0) / n
  expect(Math.abs(lag)).toBeLessThan(5 / Math.sqrt(n))
  expect(normals(10, 7, 0)).toEqual(z.slice(0, 10))
  for (const other of [normals(10, 8, 0), normals(10, 7, 1), normals(10, 7 + 2 ** 32, 0)])
    expect(other).not.toEqual(z.slice(0, 10))
})
