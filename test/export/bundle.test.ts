/** Bundles: what langevin.json says, the threshold against numpy's quantile, folders whole or not at all, damaged ones; model repositories of Triton. */
import { execFileSync } from 'node:child_process'
import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { beforeAll, describe, expect, test } from 'vitest'
import { Dataset } from '../../lib/data/dataset.ts'
import { exportBundle } from '../../lib/export/bundle.ts'
import { replaceFolder } from '../../lib/export/folder.ts'
import { type BundleManifest, parseManifest, readBundle } from '../../lib/export/manifest.ts'
import { verifyRun } from '../../lib/export/run.ts'
import { fitThreshold } from '../../lib/export/threshold.ts'
import { exportTriton } from '../../lib/export/triton.ts'
import { hostTensor } from '../../lib/graph/host-tensor.ts'
import { openOnnx } from '../../lib/onnx/verify.ts'
import type { Run } from '../../lib/trainers/run.ts'
import { type Parsed, parseText, readSchema } from '../onnx/triton.ts'
import { cases, type MethodCase } from '../trainers/method-cases.ts'
import { folder, rejection, someDigits } from '../trainers/tiny.ts'
import { trained, trainedDigits } from '../trainers/trained.ts'

let run: Run
let heldOut: Dataset
let bundle: string

beforeAll(async () => {
  const { out, digits, run: opened } = await trainedDigits()
  writeFileSync(join(out, 'evaluation.json'), JSON.stringify({ accuracy: 0.5, ece: 0.25, ood: {}, energies: {} }))
  run = opened
  heldOut = digits
  bundle = join(folder(), 'digits')
  await exportBundle(run, bundle, { heldOut, falseAlarms: 0.1 })
})

const manifestOf = (path: string) => JSON.parse(readFileSync(join(path, 'langevin.json'), 'utf8')) as BundleManifest

test('holds model, sampler and langevin.json, which says all that a server needs', async () => {
  expect(readdirSync(bundle).sort()).toEqual(['langevin.json', 'model.onnx', 'sampler.onnx'])
  const read = await readBundle(bundle)
  expect(read.manifest).toEqual(manifestOf(bundle))
  expect(read.manifest).toMatchObject({
    format: 1,
    name: 'jempp on digits',
    method: 'jempp',
    input: { shape: [1, 8, 8], range: [0, 16] },
    classes: ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9'],
    model: { file: 'model.onnx', inputs: ['x'], outputs: ['logits', 'log_prob_unnormalized', 'energy', 'score'] },
    sampler: {
      file: 'sampler.onnx',
      kind: 'chain',
      inputs: ['y', 'step_size', 'steps', 'seed'],
      outputs: ['samples', 'energies'],
      defaults: { steps: 20, step_size: expect.any(Number) },
      start: { kind: 'classGaussians', form: 'diagonal' },
    },
    outOfDistribution: { score: 'log_prob_unnormalized', falseAlarms: 0.1, examples: 100 },
    metrics: { accuracy: 0.5, ece: 0.25 },
    notes: [],
  })
})

test('its files do what the manifest says: classes of held-out data, and digits from a seed', async () => {
  const { manifest, model, sampler } = await readBundle(bundle)
  const x = heldOut.normalized()
  const session = await openOnnx(model, 1)
  const told = await session.run(new Map([['x', x]]))
  await session.release()
  const native = await run.model.logits(x)
  const largest = (row: number, of: ArrayLike<number>) =>
    Math.max(...Array.from({ length: 10 }, (_, i) => of[row * 10 + i] as number))
  const logits = told.get('logits')?.data as Float32Array
  for (let i = 0; i < 100; i++) expect(largest(i, logits)).toBeCloseTo(largest(i, native.data), 3)
  const threshold = manifest.outOfDistribution?.threshold as number
  const scores = told.get('log_prob_unnormalized')?.data ?? []
  expect([...scores].filter((v) => v < threshold)).toHaveLength(10)
  const { InferenceSession, Tensor } = await import('onnxruntime-node')
  const chain = await InferenceSession.create(sampler as string)
  const feeds = {
    y: new Tensor('int32', Int32Array.of(3, -1, 7, 0), [4]),
    steps: new Tensor('int64', BigInt64Array.of(BigInt(manifest.sampler?.defaults.steps as number)), []),
    step_size: new Tensor('float32', Float32Array.of(manifest.sampler?.defaults.step_size as number), []),
    seed: new Tensor('int64', BigInt64Array.of(11n), []),
  }
  const { samples, energies } = await chain.run(feeds)
  await chain.release()
  expect(samples?.dims).toEqual([4, 1, 8, 8])
  const drawn = hostTensor(samples?.data as Float32Array, [4, 1, 8, 8])
  expect(drawn.data.every((v) => v >= -1 && v <= 1)).toBe(true)
  const known = await run.model.energy(drawn)
  for (const [i, e] of known.entries()) expect(energies?.data[i]).toBeCloseTo(e, 3)
})

describe('a run without a chain of its own', () => {
  test('draws from base noise: the manifest says of which shape', async () => {
    const title = "adversarial training of a classifier against VERA's generator"
    const vera = await trained(cases.find((c) => c.title === title) as MethodCase)
    const { manifest, sampler } = await exportBundle(vera, join(folder(), 'vera'), { heldOut })
    expect(manifest.sampler).toMatchObject({
      kind: 'generator',
      inputs: ['z', 'epsilon'],
      outputs: ['sample'],
      latent: [3],
      defaults: {},
    })
    expect(await verifyRun(sampler as string, vera, { batches: [5] })).toMatchObject({ ok: true })
    await vera.model.dispose()
  })

  test('whose chain cannot leave has a bundle without a sampler, which says why', async () => {
    const grey = await trained({
      title: '',
      method: 'ratioMatching',
      options: { sites: 3 },
      network: { kind: 'convEnergy', shape: [1, 8, 8], channels: [4] },
      data: () => someDigits(40),
    })
    const { manifest, sampler } = await exportBundle(grey, join(folder(), 'grey'), { verify: false })
    expect(sampler).toBeUndefined()
    expect(manifest).toMatchObject({ sampler: null, outOfDistribution: null, classes: [], metrics: {} })
    expect(manifest.notes).toEqual([
      expect.stringMatching(
        /no sampler\.onnx: sampler 'gibbsWithGradients' runs over 0 and 1, and this model takes other/,
      ),
    ])
    const at = join(folder(), 'models')
    // The sampler of an earlier model of that name goes with it; what is called so but is no such sampler stays.
    await exportTriton(bundle, at, { name: 'grey' })
    mkdirSync(join(at, 'other_sampler'))
    writeFileSync(join(at, 'other_sampler/config.pbtxt'), 'name: "other_sampler"')
    await exportTriton(grey, at, { name: 'other', bundle: { verify: false } })
    expect(readdirSync(at).sort()).toEqual(['grey', 'grey_sampler', 'other', 'other_sampler'])
    const { models } = await exportTriton(grey, at, { name: 'grey', bundle: { verify: false } })
    expect(models).toEqual(['grey'])
    expect(readdirSync(at).sort()).toEqual(['grey', 'other', 'other_sampler'])
    expect(readFileSync(join(at, 'grey/README.md'), 'utf8')).not.toMatch(/sampler/)
    await grey.model.dispose()
  })
})

describe('the threshold', () => {
  const python = process.env.LANGEVIN_PYTHON

  test.each([0.05, 0.1, 0.317])('is the %f-quantile of the scores, as sorted by hand', async (falseAlarms) => {
    const fit = await fitThreshold(run.model, heldOut, { falseAlarms })
    const scores = [...(await run.model.energy(heldOut.normalized()))].map((e) => -e).sort((a, b) => a - b)
    const at = falseAlarms * 99
    const [a, b] = [scores[Math.floor(at)] as number, scores[Math.ceil(at)] as number]
    expect(fit.threshold).toBeCloseTo(a + (at - Math.floor(at)) * (b - a), 10)
    expect(scores.filter((s) => s < fit.threshold).length).toBe(Math.ceil(at))
    expect(Object.keys(fit.detection)).toEqual(['uniform', 'inverted', 'shuffled'])
    for (const share of Object.values(fit.detection)) expect(share).toSatisfy((v: number) => v >= 0 && v <= 1)
  })

  test.skipIf(!python)('is numpy’s (needs LANGEVIN_PYTHON)', async () => {
    const scores = [...(await run.model.energy(heldOut.normalized()))].map((e) => -e)
    const script =
      'import json, sys, numpy; s = json.load(sys.stdin); print(json.dumps([float(numpy.quantile(s, q)) for q in (0.05, 0.1, 0.317)]))'
    const told = JSON.parse(
      execFileSync(python as string, ['-c', script], { input: JSON.stringify(scores), encoding: 'utf8' }),
    ) as number[]
    for (const [i, falseAlarms] of [0.05, 0.1, 0.317].entries()) {
      const { threshold } = await fitThreshold(run.model, heldOut, { falseAlarms, ood: [] })
      expect(threshold).toBeCloseTo(told[i] as number, 10)
    }
  })

  test('counts what it flags of foreign sets', async () => {
    const all = await fitThreshold(run.model, heldOut, { falseAlarms: 0.999, ood: ['uniform'] })
    const none = await fitThreshold(run.model, heldOut, { falseAlarms: 1e-6, ood: ['flipped'] })
    // Uniform noise is far from anything trained on; mirrored digits are not below the least likely digit in such numbers.
    expect(all.detection.uniform).toBeGreaterThan(0.5)
    expect(none.detection.flipped).toBeLessThan(0.5)
  })

  test('refuses impossible shares and foreign data', async () => {
    expect((await rejection(fitThreshold(run.model, heldOut, { falseAlarms: 1 }))).message).toMatch(
      /share in \(0, 1\); got 1/,
    )
    const plane = new Dataset({ name: 'plane', features: hostTensor(new Float32Array(4), [2, 2]) })
    expect(await rejection(fitThreshold(run.model, plane))).toMatchObject({ code: 'E_SHAPE' })
  })
})

describe('reading', () => {
  const copy = () => {
    const to = join(folder(), 'copy')
    cpSync(bundle, to, { recursive: true })
    return to
  }

  test('a folder that is none, a file that is missing', async () => {
    expect(await rejection(readBundle(folder()))).toMatchObject({
      code: 'E_IO',
      message: expect.stringMatching(/no langevin.json; write one with: langevin export RUN --bundle/),
    })
    const at = copy()
    unlinkSync(join(at, 'sampler.onnx'))
    expect(await rejection(readBundle(at))).toMatchObject({
      code: 'E_IO',
      message: expect.stringMatching(/lacks its file sampler.onnx/),
    })
  })

  test('a truncated manifest, another version, a wrong field, a path that leads out', async () => {
    const at = copy()
    const path = join(at, 'langevin.json')
    truncateSync(path, 100)
    expect(await rejection(readBundle(at))).toMatchObject({
      code: 'E_CONFIG',
      message: expect.stringMatching(/is not JSON/),
    })
    const fault = (change: object) => {
      try {
        parseManifest(JSON.stringify({ ...manifestOf(bundle), ...change }), 'langevin.json')
      } catch (error) {
        return (error as Error).message
      }
      return ''
    }
    expect(fault({ format: 2 })).toMatch(/format 2, this version .* reads format 1; update/)
    expect(fault({ classes: 'none' })).toMatch(/classes: expected array; got "none"/)
    expect(fault({ model: { file: '../secret.onnx', inputs: [], outputs: [] } })).toMatch(/model\.file/)
    expect(fault({ later: true })).toBe('')
  })
})

describe('writing', () => {
  test('replaces a bundle whole, and never a folder of other things', async () => {
    const at = join(folder(), 'again')
    await exportBundle(run, at, { verify: false, name: 'first' })
    await exportBundle(run, at, { verify: false, name: 'second', heldOut })
    expect(manifestOf(at)).toMatchObject({ name: 'second', outOfDistribution: { falseAlarms: 0.05 } })
    expect(readdirSync(join(at, '..'))).toEqual(['again'])
    const foreign = folder()
    writeFileSync(join(foreign, 'thesis.tex'), 'x')
    expect(await rejection(exportBundle(run, foreign, { verify: false }))).toMatchObject({
      code: 'E_IO',
      message: expect.stringMatching(/holds other files \(thesis.tex\)/),
    })
    expect(readdirSync(foreign)).toEqual(['thesis.tex'])
  })

  test('makes the folders above it, and says where none can be made', async () => {
    const write = async (fresh: string) => writeFileSync(join(fresh, 'mark'), 'new')
    const at = join(folder(), 'bundles', 'of', 'digits')
    await replaceFolder(at, 'mark', write)
    expect(readFileSync(join(at, 'mark'), 'utf8')).toBe('new')
    // Node's own mkdir with `recursive` never returns there.
    expect(await rejection(exportTriton(bundle, '/proc/langevin/models'))).toMatchObject({ code: 'E_IO' })
    const below = join(at, 'mark', 'digits')
    expect(await rejection(replaceFolder(below, 'mark', write))).toMatchObject({ code: 'E_IO' })
  })

  test('an error on the way leaves what stood there, and nothing beside it', async () => {
    const parent = folder()
    const at = join(parent, 'kept')
    mkdirSync(at)
    writeFileSync(join(at, 'mark'), 'old')
    const failing = replaceFolder(at, 'mark', async (fresh) => {
      writeFileSync(join(fresh, 'mark'), 'new')
      throw new Error('no more disk')
    })
    expect((await rejection(failing)).message).toBe('no more disk')
    expect(readdirSync(parent)).toEqual(['kept'])
    expect(readFileSync(join(at, 'mark'), 'utf8')).toBe('old')
  })
})

describe('a model repository of Triton', () => {
  const schema = readSchema(fileURLToPath(new URL('../onnx/triton-model-config.proto', import.meta.url)))
  const config = (at: string, name: string): Parsed =>
    parseText(readFileSync(join(at, name, 'config.pbtxt'), 'utf8'), schema, 'ModelConfig')

  test('of a bundle: both models with files, labels and a configuration that fits them', async () => {
    const at = join(folder(), 'models')
    mkdirSync(join(at, 'other'), { recursive: true })
    const { models } = await exportTriton(bundle, at, { maxBatch: 16, device: 'cpu' })
    expect(models).toEqual(['digits', 'digits_sampler'])
    expect(readdirSync(at).sort()).toEqual(['digits', 'digits_sampler', 'other'])
    expect(readdirSync(join(at, 'digits')).sort()).toEqual(['1', 'README.md', 'config.pbtxt', 'labels.txt'])
    expect(readFileSync(join(at, 'digits/1/model.onnx'))).toEqual(readFileSync(join(bundle, 'model.onnx')))
    expect(readFileSync(join(at, 'digits/labels.txt'), 'utf8').split('\n')).toEqual([...'0123456789', ''])
    expect(config(at, 'digits')).toMatchObject({
      name: 'digits',
      max_batch_size: 16,
      input: [{ name: 'x', dims: [1, 8, 8] }],
      output: [{ name: 'logits', dims: [10], label_filename: 'labels.txt' }, {}, { name: 'energy' }, {}],
    })
    const chain = config(at, 'digits_sampler')
    expect(chain).toMatchObject({ max_batch_size: 0, instance_group: [{ kind: 'KIND_CPU' }] })
    expect((chain.input as Parsed[]).map((p) => [p.name, p.data_type, p.dims])).toEqual([
      ['y', 'TYPE_INT32', [-1]],
      ['step_size', 'TYPE_FP32', [1]],
      ['steps', 'TYPE_INT64', [1]],
      ['seed', 'TYPE_INT64', [1]],
    ])
    expect(readFileSync(join(at, 'digits_sampler/warmup/steps'))).toEqual(Buffer.from([1, 0, 0, 0, 0, 0, 0, 0]))
    const readme = readFileSync(join(at, 'digits/README.md'), 'utf8')
    expect(readme).toMatch(/tritonserver --model-repository/)
    expect(readme).toMatch(/mapped from \[0, 16\] to \[-1, 1\]/)
    expect(readme).toContain(String(manifestOf(bundle).outOfDistribution?.threshold))
  })

  test('of a run; what is no bundle and names that Triton does not take are refused', async () => {
    const at = join(folder(), 'models')
    const { models } = await exportTriton(run, at, { name: 'ours', bundle: { verify: false } })
    expect(models).toEqual(['ours', 'ours_sampler'])
    expect(existsSync(join(at, 'ours/1/model.onnx'))).toBe(true)
    expect(config(at, 'ours').parameters).toMatchObject({ 'langevin.method': { string_value: 'jempp' } })
    rmSync(join(at, 'ours'), { recursive: true })
    expect(await rejection(exportTriton(folder(), at))).toMatchObject({ code: 'E_IO' })
    expect((await rejection(exportTriton(bundle, at, { name: 'a/b' }))).message).toMatch(/'a\/b' is no name/)
  })
})
