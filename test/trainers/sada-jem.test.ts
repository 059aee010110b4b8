/** Sharpness-aware minimisation by hand and against PyTorch (test/golden/sam.py), and SADA-JEM: its published step, on small data, resumed. */
import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { Dataset } from '../../lib/data/dataset.ts'
import type { Tensor } from '../../lib/graph/tensor.ts'
import { mlp } from '../../lib/nn/models.ts'
import { evaluateReference } from '../../lib/ops/evaluate.ts'
import * as ops from '../../lib/ops/index.ts'
import type { JemOptions } from '../../lib/trainers/jem.ts'
import { Jem } from '../../lib/trainers/jem-trainers.ts'
import { methods } from '../../lib/trainers/methods.ts'
import { openRun } from '../../lib/trainers/run.ts'
import { SadaJem } from '../../lib/trainers/sada-jem.ts'
import { ascend, type SamOptions } from '../../lib/trainers/sharpness.ts'
import { pattern, relativeError } from '../golden/pattern.ts'
import { blobs, checkpointOf, fitAll, folder, resNet, small, someDigits } from './tiny.ts'

interface Steps {
  readonly losses: number[]
  readonly weights: Record<string, number[]>
}
interface Golden {
  readonly settings: Record<
    'n' | 'inputs' | 'hidden' | 'classes' | 'learningRate' | 'momentum' | 'weightDecay' | 'steps',
    number
  >
  readonly none: Steps
  readonly plain: Steps & { rho: number }
  readonly adaptive: Steps & { rho: number }
}
const golden = JSON.parse(readFileSync(new URL('../golden/sam.json', import.meta.url), 'utf8')) as Golden

describe('the ascent', () => {
  const w = [Float32Array.of(1, -2), Float32Array.of(0.5)] as const
  const g = [Float32Array.of(0.25, 1), Float32Array.of(-2)] as const
  const flat = (sam: SamOptions) => {
    const tensors = (v: readonly Float32Array[]) => v.map((d) => ops.constant(d, [d.length]))
    const moved = ascend(tensors(w), tensors(g), sam)
    return moved.flatMap((t: Tensor) => Array.from(evaluateReference([t], new Map())[0]?.data ?? []))
  }

  test('w + ρ·g/‖g‖, over all parameters together', () => {
    const norm = Math.hypot(0.25, 1, 2)
    const want = [1 + (0.5 * 0.25) / norm, -2 + 0.5 / norm, 0.5 - 1 / norm]
    flat({ rho: 0.5 }).forEach((v, i) => void expect(v).toBeCloseTo(want[i] as number, 12))
  })

  test('adaptive: w + ρ·w²g/‖|w|g‖', () => {
    const norm = Math.hypot(1 * 0.25, 2 * 1, 0.5 * 2)
    const want = [1 + (2 * 0.25) / norm, -2 + (2 * 4) / norm, 0.5 - (2 * 0.25 * 2) / norm]
    flat({ rho: 2, adaptive: true }).forEach((v, i) => void expect(v).toBeCloseTo(want[i] as number, 10))
  })

  test('of no gradient goes nowhere', () => {
    const zero = ascend([ops.constant(w[0], [2])], [ops.zeros([2])], { rho: 2, adaptive: true })
    expect(Array.from(evaluateReference(zero, new Map())[0]?.data ?? [])).toEqual([1, -2])
  })
})

describe('three steps of SGD equal PyTorch’s', () => {
  const s = golden.settings
  test.each(['none', 'plain', 'adaptive'] as const)('%s', async (kind) => {
    const model = mlp({ inputs: s.inputs, hidden: [s.hidden], classes: s.classes, activation: 'tanh' })
    const names = model.network.variables.map((v) => v.name)
    expect(names).toEqual(Object.keys(golden.none.weights))
    await model.setValues(new Map(model.network.variables.map((v, i) => [v.name, pattern(v.shape, 10 + i, 0.75)])))
    const data = new Dataset({
      name: 'pattern',
      features: pattern([s.n, s.inputs], 1),
      labels: Int32Array.from({ length: s.n }, (_, i) => i % s.classes),
      classes: s.classes,
    })
    const { learningRate, momentum, weightDecay } = s
    const trainer = new Jem(model, {
      batch: s.n,
      weights: { px: 0 },
      augmentation: { labelled: { noise: 0 } },
      optimizer: { kind: 'sgd', learningRate, momentum, weightDecay },
      schedule: { kind: 'constant' },
      sam: kind === 'none' ? null : { rho: golden[kind].rho, adaptive: kind === 'adaptive' },
    })
    const { rows } = await fitAll(trainer, data, { steps: s.steps, reportEvery: 1 })
    expect(
      relativeError(
        rows.map((r) => r.loss),
        golden[kind].losses,
      ),
    ).toBeLessThan(1e-5)
    for (const [name, want] of Object.entries(golden[kind].weights))
      expect(relativeError(model.value(name).data, want), name).toBeLessThan(1e-5)
    // The three differ by far more than that.
    if (kind !== 'none') expect(relativeError(golden.none.losses, golden[kind].losses)).toBeGreaterThan(1e-3)
  })
})

/** SADA-JEM's step, with a schedule and a buffer for small data. */
const cheap: JemOptions = {
  batch: 16,
  optimizer: { kind: 'sgd', learningRate: 0.02, momentum: 0.9, weightDecay: 5e-4 },
  schedule: { kind: 'step', milestones: [2], gamma: 0.2, warmup: 10 },
  buffer: { size: 60 },
}

describe('SADA-JEM', () => {
  test('has the published settings', () => {
    expect(methods.get('sadaJem')?.epochs).toBe(200)
    expect(new SadaJem(resNet()).options).toMatchObject({
      optimizer: { kind: 'sgd', learningRate: 0.1, momentum: 0.9, weightDecay: 5e-4 },
      schedule: { kind: 'step', milestones: [60, 120, 180], gamma: 0.2, warmup: 1000 },
      sampler: { kind: 'proximalSgld', steps: 5, stepSize: 1, noise: 0, gradientClamp: 1 },
      sam: { rho: 2, adaptive: true },
    })
  })

  test('negatives and running statistics are those of the first gradient: SAM changes the weights only', async () => {
    const data = await someDigits(64)
    const at = async (sam: JemOptions['sam']) => {
      const out = folder()
      await fitAll(new SadaJem(resNet(), { ...cheap, sam: sam ?? null }), data, { steps: 1, out })
      return (await checkpointOf(out)).bits
    }
    const [off, on] = [await at(null), await at({ rho: 2, adaptive: true })]
    for (const name of ['chain/buffer', 'bn.running_mean', 'blocks.0.bn1.running_var'])
      expect(on[name], name).toBe(off[name])
    expect(on['stem.weight']).not.toBe(off['stem.weight'])
  })

  test('adds nothing to the images of p(x), unless asked to', async () => {
    // One batch is the whole set, so that the mean energy of the data tells whether anything was added to them.
    const energy = async (options: JemOptions) => {
      const trainer = new SadaJem(mlp({ inputs: 2, hidden: [8], classes: 2, seed: 3 }), {
        ...small,
        batch: 64,
        ...options,
      })
      const before = await trainer.model.energy(blobs().normalized())
      const { rows } = await fitAll(trainer, blobs(), { steps: 1, reportEvery: 1 })
      const mean = before.reduce((a, b) => a + b) / before.length
      return Math.abs((rows[0]?.energyData as number) - mean)
    }
    expect(await energy({})).toBeLessThan(1e-6)
    expect(await energy({ augmentation: { labelled: { noise: 0.3 } } })).toBeLessThan(1e-6)
    expect(await energy({ augmentation: { data: { noise: 0.3 } } })).toBeGreaterThan(1e-5)
  })

  test('trains on digits, and resumes bit for bit', async () => {
    const data = await someDigits(200)
    const [whole, parts] = [folder(), folder()]
    const make = (seed = 1) => new SadaJem(resNet(seed), cheap)
    const { rows } = await fitAll(make(), data, { steps: 45, reportEvery: 15, out: whole })
    const crossEntropy = rows.map((r) => r.crossEntropy as number)
    expect(crossEntropy.at(-1)).toBeLessThan(0.7 * (crossEntropy[0] as number))
    await fitAll(make(), data, { steps: 20, out: parts })
    await fitAll(make(77), data, { steps: 45, out: parts, resume: true })
    expect((await checkpointOf(parts)).bits).toEqual((await checkpointOf(whole)).bits)
    const samples = await (await openRun(whole)).sample({ count: 4, seed: 1 })
    expect(samples.data.every((v) => v >= -1 && v <= 1)).toBe(true)
    expect(new Set(samples.data).size).toBeGreaterThan(10)
  })
})
