/** PGD and normalised ascent as graphs: balls and boxes, exact steps, losses, random starts; natively and by the float64 interpreter. */

import { describe, expect, test } from 'vitest'
import { grad } from '../../lib/autodiff/index.ts'
import { hostTensor } from '../../lib/graph/host-tensor.ts'
import type { Tensor } from '../../lib/graph/tensor.ts'
import { evaluateReference } from '../../lib/ops/evaluate.ts'
import * as ops from '../../lib/ops/index.ts'
import { setThreads } from '../../lib/runtime/addon.ts'
import { compileGraph } from '../../lib/runtime/compile.ts'
import { DeviceTensor } from '../../lib/runtime/device.ts'
import { keyFromSeed } from '../../lib/runtime/state.ts'
import {
  attackLoss,
  attackStart,
  attackStep,
  fromPixels,
  makeNormalizedAscent,
  margin,
  resolvePgd,
} from '../../lib/samplers/attacks.ts'
import { energyTarget } from '../../lib/samplers/target.ts'
import { testDevice } from '../device.ts'
import { pattern } from '../golden/pattern.ts'

setThreads(1)

const [N, D] = [64, 5]
const lengths = (data: ArrayLike<number>, d = D) =>
  Array.from({ length: data.length / d }, (_, i) =>
    Math.hypot(...Array.from({ length: d }, (_, j) => data[i * d + j] as number)),
  )

/** Values of a graph of one input and a key, by the device. */
async function run(build: (x: Tensor, key: Tensor) => Tensor, x = pattern([N, D], 1), seed = 1): Promise<Float32Array> {
  const inputs = [ops.input('x', x.shape, x.dtype), ops.input('key', [4], 'int32')] as [Tensor, Tensor]
  const out = build(...inputs)
  const plan = await compileGraph(testDevice, inputs, [{ tensor: out }])
  const tensors = [
    DeviceTensor.empty(testDevice, x.dtype, x.shape),
    DeviceTensor.empty(testDevice, 'int32', [4]),
  ] as const
  await tensors[0].write(x)
  await tensors[1].write(keyFromSeed(seed))
  const result = DeviceTensor.empty(testDevice, out.dtype, out.shape)
  await plan.run([...tensors], [result])
  const { data } = await result.read()
  for (const t of [...tensors, result]) t.dispose()
  plan.dispose()
  return data as Float32Array
}

const difference = (a: ArrayLike<number>, b: ArrayLike<number>) => Float64Array.from(a, (v, i) => v - (b[i] as number))

describe('options', () => {
  test('defaults: L∞, 20 steps of 2.5·ε/steps, random start, [-1, 1]', () => {
    expect(resolvePgd({ epsilon: 0.1 })).toEqual({
      norm: 'linf',
      epsilon: 0.1,
      steps: 20,
      stepSize: 0.0125,
      randomStart: true,
      loss: 'crossEntropy',
      bounds: [-1, 1],
    })
    expect(fromPixels(8 / 255)).toBeCloseTo(0.0627451, 7)
  })

  test('what is impossible is refused by name', () => {
    expect(() => resolvePgd({ epsilon: -1 })).toThrow(/attack: epsilon must be a finite number ≥ 0; got -1/)
    expect(() => resolvePgd({ epsilon: 1, steps: 1.5 })).toThrow(/steps must be an integer ≥ 0; got 1.5/)
    expect(() => resolvePgd({ epsilon: 1, norm: 'linff' as 'linf' })).toThrow(/'linff' is not known.*linf/)
    expect(() => resolvePgd({ epsilon: 1, loss: 'margn' as 'margin' })).toThrow(/'margn' is not known.*margin/)
    expect(() => resolvePgd({ epsilon: 1, bounds: [1, -1] })).toThrow(/bounds/)
    expect(() => makeNormalizedAscent({ kind: 'normalizedAscent', stepSize: 0 })).toThrow(/stepSize/)
  })
})

describe('a step', () => {
  const weights = pattern([D], 3)
  const linear = (x: Tensor) => ops.sum(ops.mul(x, ops.constant(weights.data as Float32Array, [D])), 1)

  for (const norm of ['linf', 'l2'] as const) {
    test(`${norm}: stays in ball and box, and goes up`, async () => {
      const x = pattern([N, D], 1)
      const pgd = resolvePgd({ norm, epsilon: 0.3, stepSize: 0.25, steps: 3 })
      const build = (origin: Tensor): Tensor => {
        let at = origin
        for (let i = 0; i < 3; i++) at = attackStep(at, grad(ops.sum(linear(at)), [at])[0] as Tensor, origin, pgd)
        return at
      }
      const moved = await run(build, x)
      const delta = difference(moved, x.data)
      const size = norm === 'linf' ? Array.from(delta, Math.abs) : lengths(delta)
      expect(Math.max(...size)).toBeLessThanOrEqual(0.3 + 1e-6)
      expect(Math.max(...moved.map(Math.abs))).toBeLessThanOrEqual(1)
      const rise = Array.from({ length: N }, (_, i) =>
        Array.from({ length: D }, (_, j) => (delta[i * D + j] as number) * (weights.data[j] as number)).reduce(
          (a, b) => a + b,
        ),
      )
      expect(Math.min(...rise)).toBeGreaterThan(0)
    })
  }

  test('is the formula: sign or direction, projected', async () => {
    const x = pattern([N, D], 1, 0.2)
    const g = pattern([N, D], 2)
    const gradient = ops.constant(g.data as Float32Array, [N, D])
    const origin = pattern([N, D], 1, 0.2, 0.05)
    const from = ops.constant(origin.data as Float32Array, [N, D])
    const linf = resolvePgd({ norm: 'linf', epsilon: 0.1, stepSize: 0.08, bounds: null })
    const l2 = resolvePgd({ norm: 'l2', epsilon: 0.15, stepSize: 0.08, bounds: null })
    const [a, b] = [
      await run((t) => attackStep(t, gradient, from, linf), x),
      await run((t) => attackStep(t, gradient, from, l2), x),
    ]
    for (let i = 0; i < N; i++) {
      const row = (t: ArrayLike<number>) => Array.from({ length: D }, (_, j) => t[i * D + j] as number)
      const [xi, gi, oi] = [row(x.data), row(g.data), row(origin.data)]
      const wantLinf = xi.map((v, j) => {
        const delta = v + 0.08 * Math.sign(gi[j] as number) - (oi[j] as number)
        return (oi[j] as number) + Math.max(-0.1, Math.min(0.1, delta))
      })
      const norm = Math.hypot(...gi)
      const delta = xi.map((v, j) => v + (0.08 * (gi[j] as number)) / norm - (oi[j] as number))
      const shrink = Math.min(1, 0.15 / Math.hypot(...delta))
      row(a).forEach((v, j) => void expect(v).toBeCloseTo(wantLinf[j] as number, 6))
      row(b).forEach((v, j) => void expect(v).toBeCloseTo((oi[j] as number) + (delta[j] as number) * shrink, 6))
    }
  })

  test('gradients of 1e-25 still have a direction, and of 0 none', async () => {
    const pgd = resolvePgd({ norm: 'l2', epsilon: 1, stepSize: 0.5, bounds: null })
    const x = hostTensor(new Float32Array(4), [2, 2])
    const g = ops.constant(Float32Array.of(3e-25, 4e-25, 0, 0), [2, 2])
    const moved = await run((t) => attackStep(t, g, ops.zeros([2, 2]), pgd), x)
    expect(Array.from(moved)).toEqual([expect.closeTo(0.3, 5), expect.closeTo(0.4, 5), 0, 0])
  })
})

describe('a random start', () => {
  test('L∞: uniform in the box around x', async () => {
    const pgd = resolvePgd({ norm: 'linf', epsilon: 0.2 })
    const x = hostTensor(new Float32Array(20000), [4000, 5])
    const delta = await run((t, key) => attackStart(t, pgd, key, 1), x)
    const size = Array.from(delta, Math.abs)
    expect(Math.max(...size)).toBeLessThanOrEqual(0.2)
    expect(size.reduce((a, b) => a + b) / size.length).toBeCloseTo(0.1, 2)
  })

  test('L2: uniform in the ball, so that (r/ε)^d is uniform', async () => {
    const pgd = resolvePgd({ norm: 'l2', epsilon: 0.4 })
    const x = hostTensor(new Float32Array(20000), [4000, 5])
    const volume = lengths(await run((t, key) => attackStart(t, pgd, key, 1), x)).map((r) => (r / 0.4) ** 5)
    expect(Math.max(...volume)).toBeLessThanOrEqual(1 + 1e-5)
    expect(volume.reduce((a, b) => a + b) / volume.length).toBeCloseTo(0.5, 1)
    expect(volume.filter((v) => v < 0.25).length / volume.length).toBeCloseTo(0.25, 1)
  })

  test('stays in bounds', async () => {
    const x = hostTensor(new Float32Array(100).fill(0.95), [20, 5])
    for (const norm of ['linf', 'l2'] as const) {
      const at = await run((t, key) => attackStart(t, resolvePgd({ norm, epsilon: 0.5 }), key, 1), x)
      expect(Math.max(...at)).toBeLessThanOrEqual(1)
    }
  })
})

test('losses: the margin is max over the others less the own logit, and a target turns the sign', () => {
  const logits = ops.constant(Float32Array.of(1, 3, 2, 5, -1, 0), [2, 3])
  const labels = ops.constant(Int32Array.of(1, 2), [2], 'int32')
  const values = (t: Tensor) => Array.from(evaluateReference([t], new Map())[0]?.data ?? [])
  expect(values(margin(logits, labels))).toEqual([-1, 5])
  expect(values(attackLoss('margin', logits, labels, true))).toEqual([1, -5])
  const own = Math.log(Math.exp(1) + Math.exp(3) + Math.exp(2)) - 3
  expect(values(attackLoss('crossEntropy', logits, labels))[0]).toBeCloseTo(own, 6)
})

test('normalised ascent: steps of one length down the energy, kept in the box', async () => {
  const target = energyTarget((x) => ops.mul(ops.sum(ops.square(ops.sub(x, 3)), 1), 0.5))
  const sampler = makeNormalizedAscent({ kind: 'normalizedAscent', stepSize: 0.25 })
  const x = pattern([N, D], 1, 0.5)
  const step = (t: Tensor, key: Tensor) => sampler.step(target, { x: t }, key, 1)
  const moved = await run((t, key) => step(t, key).state.x, x)
  lengths(difference(moved, x.data)).forEach((l) => void expect(l).toBeCloseTo(0.25, 5))
  const far = await run((t, key) => {
    let at = t
    for (let i = 0; i < 30; i++) at = step(at, key).state.x
    return at
  }, x)
  expect(far.every((v) => v > 0.99 && v <= 1)).toBe(true)
  const energies = await run((t, key) => step(t, key).info.energy, x)
  expect(energies[0]).toBeCloseTo(
    0.5 * Array.from({ length: D }, (_, j) => ((x.data[j] as number) - 3) ** 2).reduce((a, b) => a + b),
    4,
  )
})
