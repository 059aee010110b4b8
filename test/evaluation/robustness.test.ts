/** Accuracy under attack: worst cases known in closed form, bounds that must hold, determinism, refine-then-classify and attacks on it. */
import { beforeAll, describe, expect, test } from 'vitest'
import { type AttackRunOptions, attackExamples, attackSchema, robustAccuracy } from '../../lib/evaluation/robustness.ts'
import type { HostTensor } from '../../lib/graph/host-tensor.ts'
import type { Model } from '../../lib/nn/model.ts'
import { convEnergy, mlp } from '../../lib/nn/models.ts'
import { setThreads } from '../../lib/runtime/addon.ts'
import { pattern } from '../golden/pattern.ts'

setThreads(1)

const [N, D] = [150, 6]
const x = pattern([N, D], 5, 0.6)
const weights = pattern([2, D], 7)
const bias = pattern([2], 8, 0.2)
const w = Array.from({ length: D }, (_, j) => (weights.data[D + j] as number) - (weights.data[j] as number))
/** f_1 - f_0 of the linear classifier. */
const gap = (t: HostTensor, i: number) =>
  w.reduce((s, v, j) => s + v * (t.data[i * D + j] as number), (bias.data[1] as number) - (bias.data[0] as number))
// A few labels are wrong on purpose, so that clean accuracy is not 1.
const labels = Int32Array.from({ length: N }, (_, i) => ((gap(x, i) > 0 ? 1 : 0) + (i % 10 === 0 ? 1 : 0)) % 2)
const toLabel = (i: number) => (labels[i] === 1 ? 1 : -1)

const linear = mlp({ inputs: D, hidden: [], classes: 2 })
beforeAll(async () => {
  const [weight, offset] = linear.network.variables.map((v) => v.name) as [string, string]
  await linear.setValues(
    new Map([
      [weight, weights],
      [offset, bias],
    ]),
  )
})

const rejection = async (promise: Promise<unknown>): Promise<Error & { code?: string }> =>
  promise.then(
    () => Promise.reject(new Error('expected a rejection')),
    (e: Error) => e,
  )

describe('the worst case of a linear classifier', () => {
  const dual = { linf: w.reduce((s, v) => s + Math.abs(v), 0), l2: Math.hypot(...w) }
  for (const norm of ['linf', 'l2'] as const) {
    test(`${norm}: the margin falls by ε times the dual norm of the weights, exactly`, async () => {
      const epsilon = 0.15
      const options: AttackRunOptions = { norm, epsilon, steps: 30, stepSize: epsilon, bounds: null, batch: 64 }
      const found = await attackExamples(linear, x, labels, options)
      const wanted = Array.from({ length: N }, (_, i) => toLabel(i) * gap(x, i) - epsilon * dual[norm])
      found.margin.forEach((m, i) => void expect(-m).toBeCloseTo(wanted[i] as number, 5))
      const figures = await robustAccuracy(linear, x, labels, options)
      const share = (right: (i: number) => boolean) =>
        Array.from({ length: N }, (_, i) => right(i)).filter(Boolean).length / N
      expect(figures.cleanAccuracy).toBeCloseTo(
        share((i) => toLabel(i) * gap(x, i) > 0),
        10,
      )
      expect(figures.robustAccuracy).toBeCloseTo(
        share((i) => (wanted[i] as number) > 0),
        10,
      )
      expect(figures.robustAccuracy).toBeLessThan(figures.cleanAccuracy - 0.05)
      expect(figures).toMatchObject({ norm, epsilon, steps: 30, restarts: 1, count: N, targeted: false })
    })
  }

  test('examples stay in the ball and in bounds', async () => {
    for (const norm of ['linf', 'l2'] as const) {
      const { x: found } = await attackExamples(linear, x, labels, {
        norm,
        epsilon: 0.5,
        bounds: [-0.7, 0.7],
        restarts: 2,
      })
      expect(Math.max(...found.data.map(Math.abs))).toBeLessThanOrEqual(Math.fround(0.7))
      const delta = Array.from(found.data, (v, i) => v - (x.data[i] as number))
      const size = Array.from({ length: N }, (_, i) => {
        const row = delta.slice(i * D, (i + 1) * D)
        return norm === 'linf' ? Math.max(...row.map(Math.abs)) : Math.hypot(...row)
      })
      expect(Math.max(...size)).toBeLessThanOrEqual(0.5 + 1e-6)
      expect(Math.max(...size)).toBeGreaterThan(0.4)
    }
  })

  test('pixels are half the units of the input', async () => {
    const a = await robustAccuracy(linear, x, labels, { epsilon: 0.1, stepSize: 0.02, units: 'pixels' })
    const b = await robustAccuracy(linear, x, labels, { epsilon: 0.2, stepSize: 0.04 })
    expect(a).toEqual(b)
    expect(a.epsilon).toBeCloseTo(0.2, 12)
  })

  test('radius 0 and no steps leave the clean accuracy', async () => {
    for (const options of [{ epsilon: 0 }, { epsilon: 0.3, steps: 0, randomStart: false }]) {
      const figures = await robustAccuracy(linear, x, labels, options)
      expect(figures.robustAccuracy).toBe(figures.cleanAccuracy)
      expect(figures.cleanAccuracy).toBeCloseTo(0.9, 5)
    }
  })
})

/** A net that is not linear, with labels by its own predictions. */
const bumpy = mlp({ inputs: D, hidden: [32, 32], classes: 4, seed: 3 })
let own: Int32Array
beforeAll(async () => {
  const { data } = await bumpy.logits(x)
  own = Int32Array.from({ length: N }, (_, i) => {
    const row = Array.from(data.subarray(i * 4, i * 4 + 4))
    return row.indexOf(Math.max(...row))
  })
})

describe('any classifier', () => {
  test('robust ≤ clean; more restarts, a larger ball and more steps never help the defence', async () => {
    const at = (options: Partial<AttackRunOptions>, model: Model = bumpy) =>
      attackExamples(model, x, own, { epsilon: 0.15, steps: 5, ...options })
    const [one, three] = [await at({}), await at({ restarts: 3 })]
    expect(one.clean.every((c) => c === 1)).toBe(true)
    three.robust.forEach((r, i) => void expect(r).toBeLessThanOrEqual(one.robust[i] as number))
    three.margin.forEach((m, i) => void expect(m).toBeGreaterThanOrEqual(one.margin[i] as number))
    const count = (bits: Uint8Array) => bits.reduce((a, b) => a + b, 0)
    const wide = await at({ epsilon: 0.4, steps: 20 })
    expect(count(wide.robust)).toBeLessThan(count(one.robust))
    expect(count(one.robust)).toBeLessThan(N)
  })

  test('raises the loss: every margin ends above where it was', async () => {
    const start = await attackExamples(bumpy, x, own, { epsilon: 0.2, steps: 0, randomStart: false })
    for (const loss of ['crossEntropy', 'margin'] as const) {
      const end = await attackExamples(bumpy, x, own, { epsilon: 0.2, steps: 10, loss, randomStart: false })
      end.margin.forEach((m, i) => void expect(m).toBeGreaterThan(start.margin[i] as number))
    }
  })

  test('the margins it tells are the model’s at the examples it gives', async () => {
    const found = await attackExamples(bumpy, x, own, { epsilon: 0.2, restarts: 2, batch: 40 })
    const { data } = await bumpy.logits(found.x)
    found.margin.forEach((m, i) => {
      const row = Array.from(data.subarray(i * 4, i * 4 + 4))
      const label = own[i] as number
      const others = Math.max(...row.filter((_, k) => k !== label))
      expect(m).toBeCloseTo(others - (row[label] as number), 4)
      expect(found.robust[i]).toBe(others > (row[label] as number) ? 0 : 1)
    })
  })

  test('a targeted attack goes elsewhere, and is weaker than an untargeted one of as many tries', async () => {
    const options = { epsilon: 0.3, steps: 10, restarts: 1 }
    const free = await robustAccuracy(bumpy, x, own, options)
    const aimed = await robustAccuracy(bumpy, x, own, { ...options, targeted: true })
    expect(aimed.robustAccuracy).toBeGreaterThan(free.robustAccuracy)
    expect(aimed.robustAccuracy).toBeLessThan(1)
  })

  test('follows from the seed', async () => {
    const at = (seed: number) => attackExamples(bumpy, x, own, { epsilon: 0.1, steps: 2, seed })
    const [a, b, c] = [await at(1), await at(1), await at(2)]
    expect(b).toEqual(a)
    expect(c.x.data).not.toEqual(a.x.data)
  })

  test('only the first examples, progress, images', async () => {
    const images = convEnergy({ shape: [1, 8, 8], channels: [4], classes: 10, seed: 2 })
    const told: number[] = []
    const some = { epsilon: 0.1, steps: 2, examples: 9, batch: 4, onProgress: (done: number) => void told.push(done) }
    const figures = await robustAccuracy(images, pattern([20, 1, 8, 8], 1), new Int32Array(20), some)
    expect(figures.count).toBe(9)
    expect(told).toEqual([4, 8, 9])
  })
})

describe('refine-then-classify', () => {
  const sampler = { kind: 'sgld', stepSize: 0.05, noise: 0.02, bounds: [-1, 1] } as const
  const options = { norm: 'l2', epsilon: 0.3, steps: 4, seed: 1 } as const

  test('figures are of the refined classifier; each attack’s differ; they follow from the seed', async () => {
    const refine = { sampler, steps: 3, draws: 4 }
    const ways = ['around', 'identity', 'through'] as const
    const found = await Promise.all(
      ways.map((attack) => attackExamples(bumpy, x, own, { ...options, refine: { ...refine, attack } })),
    )
    const again = await attackExamples(bumpy, x, own, { ...options, refine: { ...refine, attack: 'through' } })
    expect(again).toEqual(found[2])
    // The clean inputs are refined by the same draws, however the attack goes on.
    expect(found[1]?.clean).toEqual(found[0]?.clean)
    expect(found[2]?.x.data).not.toEqual(found[1]?.x.data)
    expect(found[1]?.x.data).not.toEqual(found[0]?.x.data)
    const figures = await robustAccuracy(bumpy, x, own, { ...options, refine })
    expect(figures.refine).toEqual({ sampler: 'sgld', steps: 3, draws: 4, attack: 'identity' })
    expect(figures.robustAccuracy).toBeLessThanOrEqual(figures.cleanAccuracy)
  })

  test('a sampler that does not move leaves the plain classifier, for every attack', async () => {
    const still = { sampler: { ...sampler, stepSize: 0, noise: 0 }, steps: 2, draws: 3 }
    // Judged where the attack ends: so does a plain attack of which only the end counts, hence a monotone one.
    const plain = await attackExamples(linear, x, labels, { ...options, epsilon: 0.1, randomStart: false })
    for (const attack of ['around', 'identity', 'through'] as const) {
      const found = await attackExamples(linear, x, labels, {
        ...options,
        epsilon: 0.1,
        randomStart: false,
        refine: { ...still, attack },
      })
      expect(found.robust).toEqual(plain.robust)
      found.margin.forEach((m, i) => void expect(m).toBeCloseTo(plain.margin[i] as number, 4))
    }
  })

  test('samplers that keep a state refine too', async () => {
    const refine = { sampler: { kind: 'mala', stepSize: 0.01 }, steps: 2, draws: 2, attack: 'around' } as const
    const figures = await robustAccuracy(bumpy, x, own, { ...options, refine })
    expect(figures.cleanAccuracy).toBeGreaterThan(0.5)
  })
})

describe('what is impossible is refused', () => {
  const attack = (options: object, model: Model = bumpy, at = x, y = own) =>
    rejection(robustAccuracy(model, at, y, { epsilon: 0.1, ...options } as AttackRunOptions))

  test('by name, with a remedy', async () => {
    expect(await attack({}, mlp({ inputs: D }))).toMatchObject({
      code: 'E_CONFIG',
      message: expect.stringContaining('classes'),
    })
    expect((await attack({}, bumpy, pattern([3, 2], 1))).code).toBe('E_SHAPE')
    expect((await attack({}, bumpy, x, new Int32Array(3))).code).toBe('E_SHAPE')
    expect((await attack({ restarts: 0 })).message).toMatch(/restarts must be an integer ≥ 1; got 0/)
    expect((await attack({ restarts: 2, randomStart: false })).message).toMatch(/randomStart/)
    expect((await attack({ bounds: [-0.1, 0.1] })).message).toMatch(/outside bounds \[-0.1, 0.1\]/)
    expect((await attack({ units: 'pixel' })).message).toMatch(/'pixel' is not known.*pixels/)
    expect((await attack({ refine: { sampler: { kind: 'sgld' }, attack: 'thru' } })).message).toMatch(
      /refine.attack: 'thru'/,
    )
    expect((await attack({ refine: { sampler: { kind: 'annealedLangevin', sigmas: [1, 0.1] } } })).message).toMatch(
      /schedule/,
    )
    const reason = new Error('enough')
    expect(await attack({ signal: AbortSignal.abort(reason) })).toBe(reason)
  })

  test('as plain data', () => {
    expect(attackSchema.safeParse({ epsilon: 8 / 255, units: 'pixels', norm: 'linf', restarts: 2 }).success).toBe(true)
    expect(attackSchema.safeParse({ norm: 'linf' }).success).toBe(false)
    expect(attackSchema.safeParse({ epsilon: 1, step: 2 }).success).toBe(false)
  })
})
