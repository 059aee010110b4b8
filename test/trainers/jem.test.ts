/** What JEM can be asked for: weights, class-conditional chains, penalties, norms, starts, unlabelled data; each by what it does to a step. */
import { describe, expect, test } from 'vitest'
import { Dataset } from '../../lib/data/dataset.ts'
import { hostTensor } from '../../lib/graph/host-tensor.ts'
import { defineEnergy, mlp } from '../../lib/nn/models.ts'
import type { StartOptions } from '../../lib/samplers/starts.ts'
import type { JemOptions } from '../../lib/trainers/jem.ts'
import { Jem, JemPlusPlus } from '../../lib/trainers/jem-trainers.ts'
import { openRun } from '../../lib/trainers/run.ts'
import {
  blobs,
  checkpointOf,
  convNet,
  fitAll,
  folder,
  plane,
  rejection,
  resNet,
  small,
  smallPlusPlus,
  someDigits,
} from './tiny.ts'

const value = (row: Record<string, number | undefined> | undefined, name: string) => row?.[name] as number

/** The row of one step with the given options. */
async function oneStep(options: JemOptions, data = blobs(), model = plane()) {
  const { rows } = await fitAll(new Jem(model, { ...small, ...options }), data, { steps: 1, reportEvery: 1 })
  return rows[0]
}

describe('weights', () => {
  test('the loss is w₁(E⁺ - E⁻) + w₂ CE + w₃(E⁺(x,y) - E⁻(x,y)) + α(E⁺² + E⁻²)', async () => {
    const row = await oneStep({ weights: { px: 0.7, pyx: 1.3, pxy: 0.4 } })
    const want = -0.7 * value(row, 'energyGap') + 1.3 * value(row, 'crossEntropy') - 0.4 * value(row, 'jointGap')
    expect(value(row, 'loss')).toBeCloseTo(want, 5)
    const [plain, penalised] = [await oneStep({}), await oneStep({ weights: { energyPenalty: 0.5 } })]
    // Of one example's energies the mean of the squares is at least the square of the mean.
    const least = 0.5 * (value(plain, 'energyData') ** 2 + value(plain, 'energyNegatives') ** 2)
    expect(value(penalised, 'loss') - value(plain, 'loss')).toBeGreaterThanOrEqual(least * (1 - 1e-5))
    expect(value(penalised, 'loss') - value(plain, 'loss')).toBeLessThan(least * 1.5)
  })

  test('a weight of 0 leaves its metrics out', async () => {
    expect(Object.keys((await oneStep({ weights: { px: 0 } })) ?? {})).not.toContain('energyGap')
    expect(Object.keys((await oneStep({ weights: { pyx: 0 } })) ?? {})).not.toContain('crossEntropy')
    expect(Object.keys((await oneStep({ weights: { px: 0, pyx: 0, pxy: 1 } })) ?? {})).toEqual(
      expect.arrayContaining(['jointGap', 'accuracy']),
    )
  })

  test('a classifier alone (px 0) learns to tell the blobs apart; its energies stay those of a classifier', async () => {
    const trainer = new Jem(plane(), { ...small, weights: { px: 0 }, optimizer: { kind: 'adam', learningRate: 0.02 } })
    const { rows } = await fitAll(trainer, blobs(), { steps: 150, reportEvery: 50 })
    expect(value(rows.at(-1), 'accuracy')).toBeGreaterThan(0.98)
    expect(value(rows.at(-1), 'crossEntropy')).toBeLessThan(0.3)
  })

  test('impossible weights are refused by name and value', async () => {
    expect((await rejection(oneStep({ weights: { px: -1 } }))).message).toMatch(
      /weights\.px must be a finite number ≥ 0; got -1/,
    )
    expect((await rejection(oneStep({ weights: { pxy: Number.NaN } }))).message).toMatch(
      /weights\.pxy must be a finite number ≥ 0; got NaN/,
    )
    expect((await rejection(oneStep({ weights: { px: 0, pyx: 0 } }))).message).toMatch(/nothing would be trained/)
  })
})

describe('learning', () => {
  test('JEM lowers the energy of the blobs below that of the rest of the square, and classifies them', async () => {
    const trainer = new Jem(mlp({ inputs: 2, hidden: [32, 32], classes: 2, seed: 1 }), {
      batch: 32,
      optimizer: { kind: 'adam', learningRate: 3e-3 },
      schedule: { kind: 'constant' },
      sampler: { kind: 'sgld', steps: 10, stepSize: 0.02, noise: 0.05, bounds: [-1, 1] },
      buffer: { size: 200, start: { kind: 'uniform' } },
      weights: { energyPenalty: 0.01 },
    })
    await fitAll(trainer, blobs(256), { steps: 400, reportEvery: 100 })
    const at = async (x: number, y: number) =>
      (await trainer.model.energy(hostTensor(Float32Array.of(x, y), [1, 2])))[0] as number
    const inside = Math.max(await at(-0.5, -0.5), await at(0.5, 0.5))
    expect(inside + 1).toBeLessThan(Math.min(await at(-0.9, 0.9), await at(0.9, -0.9)))
    const { data } = await trainer.model.logits(hostTensor(Float32Array.of(-0.5, -0.5, 0.5, 0.5), [2, 2]))
    expect((data[0] as number) > (data[1] as number) && (data[3] as number) > (data[2] as number)).toBe(true)
    // Samples lie where the data are.
    const samples = await trainer.sample({ count: 100, steps: 20 })
    const near = (i: number) =>
      Math.min(
        ...[-0.5, 0.5].map((c) =>
          Math.hypot((samples.data[2 * i] as number) - c, (samples.data[2 * i + 1] as number) - c),
        ),
      ) < 0.4
    expect(Array.from({ length: 100 }, (_, i) => near(i)).filter(Boolean).length).toBeGreaterThan(60)
  })
})

describe('class-conditional chains', () => {
  test('of one class go to where that class is', async () => {
    const trainer = new Jem(mlp({ inputs: 2, hidden: [32], classes: 2, seed: 1 }), {
      batch: 32,
      optimizer: { kind: 'adam', learningRate: 5e-3 },
      schedule: { kind: 'constant' },
      sampler: { kind: 'sgld', steps: 10, stepSize: 0.05, noise: 0.02, bounds: [-1, 1] },
      buffer: { size: 100, start: { kind: 'uniform' } },
      classConditional: true,
    })
    const out = folder()
    await fitAll(trainer, blobs(256), { steps: 300, out })
    for (const [c, sign] of [
      [0, -1],
      [1, 1],
    ] as const) {
      const { data } = await trainer.sample({ count: 40, class: c, from: 'buffer' })
      const mean = (data as Float32Array).reduce((a, b) => a + b, 0) / data.length
      expect(mean * sign).toBeGreaterThan(0.1)
    }
    expect((await openRun(out).then((r) => r.sample({ count: 5 }))).data).toEqual(
      (await trainer.sample({ count: 5 })).data,
    )
  })

  test('with p(x,y) alone: chains of both kinds run and are reported', async () => {
    const trainer = new Jem(plane(), { ...small, weights: { px: 0.5, pyx: 1, pxy: 0.5 }, classConditional: true })
    const { rows } = await fitAll(trainer, blobs(), { steps: 3, reportEvery: 1 })
    for (const r of rows)
      for (const name of ['jointGap', 'energyGap', 'crossEntropy'])
        expect(value(r, name), name).toSatisfy(Number.isFinite)
  })
})

describe('norms', () => {
  test("chainNorm 'running' and 'batch' differ; the running statistics take in data, never chains", async () => {
    const data = await someDigits()
    const states: Record<string, string>[] = []
    for (const chainNorm of ['batch', 'running'] as const) {
      const out = folder()
      await fitAll(new JemPlusPlus(resNet(), { ...smallPlusPlus, chainNorm }), data, { steps: 2, out })
      states.push((await checkpointOf(out)).bits)
    }
    expect(states[0]?.['chain/buffer']).not.toBe(states[1]?.['chain/buffer'])

    // Without a chain that moves, statistics are those of the data whatever the negatives are.
    const still: JemOptions = {
      ...smallPlusPlus,
      optimizer: { kind: 'sgd', learningRate: 0 },
      sampler: { kind: 'sgld', steps: 1, stepSize: 0, noise: 0 },
    }
    const statistics = async (start: StartOptions) => {
      const trainer = new JemPlusPlus(resNet(), { ...still, buffer: { size: 40, start } })
      await fitAll(trainer, data, { steps: 3 })
      return trainer.model.value('bn.running_mean').data
    }
    const [a, b] = [await statistics({ kind: 'uniform' }), await statistics({ kind: 'normal', mean: 3 })]
    expect(b).toEqual(a)
    expect(a.some((v) => v !== 0)).toBe(true)
  })

  test('the first fold of the statistics is (1 - m)·old + m·batch', async () => {
    const data = await someDigits(8)
    const run = async (statisticsMomentum: number) => {
      const trainer = new JemPlusPlus(resNet(), {
        ...smallPlusPlus,
        optimizer: { kind: 'sgd', learningRate: 0 },
        statisticsMomentum,
      })
      await fitAll(trainer, data, { steps: 1 })
      return trainer.model.value('bn.running_var').data as Float32Array
    }
    const [tenth, whole] = [await run(0.1), await run(1)]
    // The variance starts at 1.
    tenth.forEach((v, i) => {
      expect(v).toBeCloseTo(0.9 + 0.1 * (whole[i] as number), 4)
    })
    expect(whole.some((v) => Math.abs(v - 1) > 0.1)).toBe(true)
    expect((await rejection(run(0))).message).toMatch(/statisticsMomentum must be in \(0, 1\]; got 0/)
  })
})

describe('updates', () => {
  test('gradientClip bounds the update, not the reported norm', async () => {
    const step = async (gradientClip: number | null) => {
      const trainer = new Jem(plane(), {
        ...small,
        optimizer: { kind: 'sgd', learningRate: 1, momentum: 0 },
        gradientClip,
      })
      const before = new Map([...trainer.model.stateDict()].map(([n, v]) => [n, Float32Array.from(v.data)]))
      const { rows } = await fitAll(trainer, blobs(), { steps: 1 })
      const moved = [...trainer.model.stateDict()].flatMap(([n, v]) =>
        Array.from(v.data, (x, i) => (x - (before.get(n)?.[i] as number)) ** 2),
      )
      return { norm: value(rows[0], 'gradientNorm'), moved: Math.sqrt(moved.reduce((a, b) => a + b, 0)) }
    }
    const [free, clipped] = [await step(null), await step(0.01)]
    expect(free.norm).toBeGreaterThan(0.05)
    expect(free.moved).toBeCloseTo(free.norm, 4)
    expect(clipped.norm).toBeCloseTo(free.norm, 5)
    expect(clipped.moved).toBeCloseTo(0.01, 4)
    expect((await rejection(step(0))).message).toMatch(/gradientClip must be positive or null; got 0/)
  })

  test('ema: the model holds the moving average, of the last step and all before', async () => {
    const [out, raw] = [folder(), folder()]
    const steps = 3
    const averaged = new Jem(plane(), { ...small, ema: 0.5 })
    await fitAll(averaged, blobs(), { steps, out, reportEvery: 1 })
    // The average does not touch the training itself.
    await fitAll(new Jem(plane(), small), blobs(), { steps, out: raw })
    expect((await checkpointOf(out)).bits['0.weight']).toBe((await checkpointOf(raw)).bits['0.weight'])
    const path: Float32Array[] = [plane().value('0.weight').data as Float32Array]
    for (let s = 1; s <= steps; s++) {
      const trainer = new Jem(plane(), small)
      await fitAll(trainer, blobs(), { steps: s })
      path.push(trainer.model.value('0.weight').data as Float32Array)
    }
    const want = path
      .slice(1)
      .reduce((a, w) => a.map((v, i) => 0.5 * v + 0.5 * (w[i] as number)), path[0] as Float32Array)
    const got = averaged.model.value('0.weight').data
    want.forEach((v, i) => {
      expect(got[i]).toBeCloseTo(v, 6)
    })
    expect((await openRun(out)).model.value('0.weight').data).toEqual(got)
    expect((await rejection(fitAll(new Jem(plane(), { ...small, ema: 1 }), blobs(), { steps: 1 }))).message).toMatch(
      /ema must be in \[0, 1\) or null; got 1/,
    )
  })
})

describe('starts', () => {
  const starts: StartOptions[] = [
    { kind: 'uniform', low: -0.2, high: 0.1 },
    { kind: 'normal', mean: 0.5, std: 0.01 },
    { kind: 'data' },
    { kind: 'classGaussians' },
    { kind: 'classGaussians', form: 'lowRank', rank: 3 },
    { kind: 'classGaussians', form: 'diagonal', jitter: 1e-3 },
    {
      kind: 'mixture',
      parts: [
        { share: 1, start: { kind: 'uniform' } },
        { share: 3, start: { kind: 'data' } },
        { share: 1, start: { kind: 'classGaussians' } },
      ],
    },
  ]

  /** What the buffer is filled with, before any step. */
  async function filled(start: StartOptions, data: Dataset) {
    const { readSafetensors } = await import('../../lib/runtime/safetensors.ts')
    const out = folder()
    await fitAll(new Jem(plane(), { ...small, buffer: { size: 400, start } }), data, { steps: 0, out })
    return (await readSafetensors(`${out}/checkpoint.safetensors`)).tensors.get('chain/buffer')?.data as Float32Array
  }

  test.each(starts)('%j trains, resumes and samples', async (start) => {
    const data = await someDigits(60)
    const out = folder()
    const options = { ...small, buffer: { size: 40, reinit: 0.5, start } }
    const make = () => new Jem(convNet(), options)
    await fitAll(make(), data, { steps: 2, out })
    const trainer = make()
    await fitAll(trainer, data, { steps: 4, out, resume: true })
    const samples = await trainer.sample({ count: 3 })
    expect(samples.data.every((v) => v >= -1 && v <= 1)).toBe(true)
    const fresh = trainer.sample({ count: 3, from: 'start' })
    if (JSON.stringify(start).includes('"data"'))
      expect((await rejection(fresh)).message).toMatch(/start at training data.*from: 'buffer'/)
    else expect((await fresh).data.every(Number.isFinite)).toBe(true)
  })

  test('the buffer is filled from the start: ranges, moments, rows of the data, class by class', async () => {
    const data = blobs(64)
    const rows = new Set(Array.from({ length: 64 }, (_, i) => [...data.normalized([i]).data].join()))
    const pairs = (b: Float32Array) =>
      Array.from({ length: b.length / 2 }, (_, i) => [b[2 * i] as number, b[2 * i + 1] as number])
    const uniform = await filled({ kind: 'uniform', low: -0.2, high: 0.1 }, data)
    expect([
      Math.min(...uniform) >= -0.2,
      Math.max(...uniform) <= 0.1,
      Math.min(...uniform) < -0.19,
      Math.max(...uniform) > 0.09,
    ]).toEqual([true, true, true, true])
    const normal = await filled({ kind: 'normal', mean: 0.5, std: 0.01 }, data)
    expect(Math.abs(normal.reduce((a, b) => a + b, 0) / normal.length - 0.5)).toBeLessThan(
      (4 * 0.01) / Math.sqrt(normal.length),
    )
    for (const [x, y] of pairs(await filled({ kind: 'data' }, data))) expect(rows.has([x, y].join())).toBe(true)
    for (const form of ['full', 'lowRank', 'diagonal'] as const) {
      const drawn = pairs(await filled({ kind: 'classGaussians', form, rank: 1 }, data))
      // Rows 0..199 belong to class 0 around (-½, -½), the others to class 1 around (½, ½).
      const mean = (from: number, to: number) => drawn.slice(from, to).reduce((a, [x = 0]) => a + x, 0) / (to - from)
      expect(Math.abs(mean(0, 200) + 0.5), form).toBeLessThan(0.06)
      expect(Math.abs(mean(200, 400) - 0.5), form).toBeLessThan(0.06)
    }
    const mixed = pairs(
      await filled(
        {
          kind: 'mixture',
          parts: [
            { share: 1, start: { kind: 'uniform' } },
            { share: 3, start: { kind: 'data' } },
          ],
        },
        data,
      ),
    )
    const fromData = mixed.filter(([x, y]) => rows.has([x, y].join())).length / mixed.length
    expect(Math.abs(fromData - 0.75)).toBeLessThan(4 * Math.sqrt((0.75 * 0.25) / 400))
  })

  test('impossible starts and buffers are refused by name and value', async () => {
    const refused = (buffer: NonNullable<JemOptions['buffer']>) => oneStep({ buffer })
    expect((await rejection(refused({ size: 1 }))).message).toMatch(
      /buffer\.size must be an integer ≥ 2 \(one row a class\); got 1/,
    )
    expect((await rejection(refused({ reinit: 2 }))).message).toMatch(/buffer\.reinit must be in \[0, 1\]; got 2/)
    expect((await rejection(refused({ start: { kind: 'mixture', parts: [] } }))).message).toMatch(/takes 1 to 4 parts/)
    expect((await rejection(refused({ start: { kind: 'unifrm' } as unknown as StartOptions }))).message).toMatch(
      /'unifrm' is not known. Did you mean 'uniform'/,
    )
  })
})

describe('data and networks', () => {
  test('unlabelled rows with an energy of one number: no classes anywhere', async () => {
    const out = folder()
    const trainer = new Jem(plane(0), {
      ...small,
      weights: { pyx: 0 },
      buffer: { size: 40, start: { kind: 'classGaussians' } },
    })
    const { rows } = await fitAll(trainer, blobs(64, false), { steps: 10, reportEvery: 5, out })
    expect(Object.keys(rows[0] ?? {})).not.toContain('accuracy')
    expect(value(rows.at(-1), 'loss')).toBeCloseTo(-value(rows.at(-1), 'energyGap'), 5)
    expect((await openRun(out)).model.network.classes).toBe(0)
    expect((await trainer.sample({ count: 3, from: 'start', steps: 2 })).shape).toEqual([3, 2])
  })

  test("an energy of one's own trains, resumes and opens with the model given", async () => {
    const ring = () =>
      defineEnergy({ shape: [2], name: 'ring' }, (x, scope) => {
        const r = scope.parameter('radius', [1], { kind: 'constant', value: 0.3 })
        return x.square().sum(-1).add(1e-6).sqrt().sub(r).square().mul(8)
      })
    const out = folder()
    const options: JemOptions = { ...small, weights: { pyx: 0 } }
    await fitAll(new Jem(ring(), options), blobs(64, false), { steps: 4, out })
    await fitAll(new Jem(ring(), options), blobs(64, false), { steps: 8, out, resume: true })
    expect((await rejection(openRun(out))).message).toMatch(/'ring' was written in code/)
    const run = await openRun(out, { model: ring() })
    expect(run.model.value('radius').data[0]).not.toBeCloseTo(0.3, 6)
  })

  test('a network without parameters is refused', async () => {
    const fixed = defineEnergy({ shape: [2] }, (x) => x.square().sum(-1))
    expect(await rejection(oneStep({ weights: { pyx: 0 } }, blobs(), fixed))).toMatchObject({
      code: 'E_CONFIG',
      message: expect.stringContaining('no parameters to train'),
    })
  })

  test('misfits of data, network and batch say what was expected', async () => {
    const digits = await someDigits()
    expect((await rejection(oneStep({}, digits))).message).toMatch(/examples of \[1,8,8\], the network takes \[2\]/)
    expect((await rejection(oneStep({}, blobs(64, false)))).message).toMatch(
      /no labels; set weights\.pyx and weights\.pxy to 0/,
    )
    expect((await rejection(oneStep({}, blobs(), plane(0)))).message).toMatch(/needs a classifier/)
    expect((await rejection(oneStep({}, digits, convNet(5)))).message).toMatch(
      /has 10 classes, the network gives 5 logits/,
    )
    expect((await rejection(oneStep({ batch: 65 }))).message).toMatch(
      /batch 65 is larger than the data 'blobs' \(64 rows\); use batch ≤ 64/,
    )
    for (const batch of [0, 1.5, Number.NaN])
      expect((await rejection(oneStep({ batch }))).message).toMatch(
        new RegExp(`batch must be an integer ≥ 1; got ${batch}`),
      )
    expect((await rejection(oneStep({ augmentation: { data: { pad: 1 } } }))).message).toMatch(
      /pad and flip need images/,
    )
    expect((await rejection(oneStep({ sampler: { kind: 'pyld', firstStage: 9 } }))).message).toMatch(
      /firstStage must be an integer in 1\.\.2.*got 9/,
    )
  })

  test('bytes and floats of the same pictures train alike', async () => {
    const digits = await someDigits(40)
    const floats = new Dataset({
      name: 'digits',
      features: hostTensor(Float32Array.from(digits.features.data), digits.features.shape),
      labels: digits.labels,
      classes: 10,
      range: [0, 16],
    })
    expect(digits.features.dtype).toBe('uint8')
    const rows = await Promise.all([digits, floats].map((d) => oneStep({}, d, convNet())))
    expect(value(rows[1], 'loss')).toBeCloseTo(value(rows[0], 'loss'), 5)
  })
})
