/** The accept step against analytic acceptances; walls; the integrator; caches; divergence; options. */

import { describe, expect, test } from 'vitest'
import type { Tensor } from '../../lib/graph/tensor.ts'
import { convEnergy } from '../../lib/nn/models.ts'
import { evaluateReference } from '../../lib/ops/evaluate.ts'
import * as ops from '../../lib/ops/index.ts'
import { compileGraph } from '../../lib/runtime/compile.ts'
import { keyFromSeed } from '../../lib/runtime/state.ts'
import { Chains } from '../../lib/samplers/chains.ts'
import { leapfrog } from '../../lib/samplers/hmc.ts'
import { scoreOf } from '../../lib/samplers/rows.ts'
import { sample } from '../../lib/samplers/sample.ts'
import { makeSampler, type SamplerOptions, samplerKinds } from '../../lib/samplers/samplers.ts'
import { energyTarget } from '../../lib/samplers/target.ts'
import { testDevice } from '../device.ts'
import { normality } from './normality.ts'
import { type Energy, estimate, Rig, startPoints } from './rig.ts'
import { banana, normalCdf, standard } from './targets.ts'

const CHAINS = 20000

/** The share accepted in one step from exact draws of N(0, 1), and its standard error (acceptances lie in [0, 1]). */
async function acceptanceOnNormal(options: SamplerOptions) {
  const start = startPoints(CHAINS, 1, 21, (r) => [r.normal()])
  const rig = await Rig.start(makeSampler(options), standard(1).energy, start)
  const { acceptance } = await rig.advance(1)
  rig.dispose()
  return acceptance[0] as number
}

/** ∫∫ min(1, exp(-ΔH)) over x, ε ~ N(0, 1) by the midpoint rule. */
function expectedAcceptance(change: (x: number, e: number) => number): number {
  const [points, edge] = [600, 6]
  const h = (2 * edge) / points
  const weight = (v: number) => (Math.exp((-v * v) / 2) / Math.sqrt(2 * Math.PI)) * h
  let total = 0
  for (let i = 0; i < points; i++) {
    const x = -edge + (i + 0.5) * h
    for (let j = 0; j < points; j++) {
      const e = -edge + (j + 0.5) * h
      total += weight(x) * weight(e) * Math.min(1, Math.exp(-change(x, e)))
    }
  }
  return total
}

/** The largest difference of two lists of numbers. */
function furthest(a: ArrayLike<number>, b: ArrayLike<number>): number {
  return Array.from(a).reduce((most, v, i) => Math.max(most, Math.abs(v - (b[i] as number))), 0)
}

const tolerance = 4 * (0.5 / Math.sqrt(CHAINS))

describe('acceptance on N(0, 1)', () => {
  test.each([0.5, 2.4, 6])('rwm with step %s accepts (2/π)·atan(2/step)', async (stepSize) => {
    const got = await acceptanceOnNormal({ kind: 'rwm', stepSize })
    expect(Math.abs(got - (2 / Math.PI) * Math.atan(2 / stepSize))).toBeLessThan(tolerance)
  })

  test.each([0.3, 0.8, 1.5])('mala with step %s accepts what the integral says', async (h) => {
    const log = (from: number, to: number) => -((to - from + h * from) ** 2) / (4 * h)
    const want = expectedAcceptance((x, e) => {
      const y = x - h * x + Math.sqrt(2 * h) * e
      return (y * y) / 2 - (x * x) / 2 - log(y, x) + log(x, y)
    })
    expect(want).toBeLessThan(0.995)
    expect(Math.abs((await acceptanceOnNormal({ kind: 'mala', stepSize: h })) - want)).toBeLessThan(tolerance)
  })

  test.each([
    [0.9, 2],
    [1.5, 3],
  ])('hmc with step %s, %s leapfrogs accepts what the integral says', async (h, leapfrogSteps) => {
    const want = expectedAcceptance((x0, r0) => {
      let [x, r] = [x0, r0]
      for (let i = 0; i < leapfrogSteps; i++) {
        r -= (h / 2) * x
        x += h * r
        r -= (h / 2) * x
      }
      return (x * x + r * r - x0 * x0 - r0 * r0) / 2
    })
    expect(want).toBeLessThan(0.98)
    const got = await acceptanceOnNormal({ kind: 'hmc', stepSize: h, leapfrogSteps })
    expect(Math.abs(got - want)).toBeLessThan(tolerance)
  })
})

describe('leapfrog', () => {
  const target = { logDensity: (x: Tensor) => banana().energy(x).neg() }
  const feedsOf = (x: number[], r: number[]) => ({ x, r, n: x.length / 2 })
  /** One trajectory in float64, by the interpreter. */
  function run(at: { x: number[]; r: number[]; n: number }, step: number, steps: number) {
    const shape = [at.n, 2]
    const [x, momentum] = [ops.input('x', shape), ops.input('r', shape)]
    const score = ops.input('score', shape)
    const end = leapfrog(target, { x, momentum, score }, ops.scalar(step), steps)
    const energy = banana().energy(x)
    const first = leapfrog(target, { x, momentum, score: ops.zeros(shape) }, ops.scalar(0), 1)
    const known = new Map([
      [x, { shape, data: Float64Array.from(at.x) }],
      [momentum, { shape, data: Float64Array.from(at.r) }],
    ])
    const [s] = evaluateReference([first.score], known)
    const feeds = new Map([...known, [score, s as NonNullable<typeof s>]])
    const [ex, er, e1, e0] = evaluateReference([end.x, end.momentum, end.energy, energy], feeds).map((v) => [...v.data])
    return { x: ex as number[], r: er as number[], energy: e1 as number[], before: e0 as number[] }
  }
  const kinetic = (r: number[], i: number) => ((r[2 * i] as number) ** 2 + (r[2 * i + 1] as number) ** 2) / 2

  test('comes back when the momentum is turned round', () => {
    const from = feedsOf([0.3, -0.8, 1.2, 0.4], [0.5, 1, -0.7, 0.2])
    const there = run(from, 0.125, 20)
    const back = run(
      feedsOf(
        there.x,
        there.r.map((v) => -v),
      ),
      0.125,
      20,
    )
    expect(furthest(back.x, from.x)).toBeLessThan(1e-10)
    expect(
      furthest(
        back.r,
        from.r.map((v) => -v),
      ),
    ).toBeLessThan(1e-10)
    expect(Math.abs((there.x[0] as number) - 0.3)).toBeGreaterThan(0.05)
  })

  test('errs in energy by the square of the step', () => {
    const error = (step: number) => {
      const { x: _, r, energy, before } = run(feedsOf([0.3, -0.8], [0.5, 1]), step, Math.round(1.5 / step))
      return (energy[0] as number) + kinetic(r, 0) - (before[0] as number) - 0.625
    }
    const [coarse, middle, fine] = [error(1 / 16), error(1 / 32), error(1 / 64)] as [number, number, number]
    expect(Math.abs(coarse)).toBeGreaterThan(1e-5)
    expect(coarse / middle).toBeGreaterThan(3.6)
    expect(coarse / middle).toBeLessThan(4.4)
    expect(middle / fine).toBeGreaterThan(3.9)
    expect(middle / fine).toBeLessThan(4.1)
  })
})

describe('walls', () => {
  const walled: SamplerOptions[] = [
    { kind: 'rwm', stepSize: 1, bounds: [-0.5, 1.5] },
    { kind: 'mala', stepSize: 0.3, bounds: [-0.5, 1.5] },
    { kind: 'hmc', stepSize: 0.3, leapfrogSteps: 3, bounds: [-0.5, 1.5] },
  ]
  test.each(walled)('$kind samples the truncated normal and reports no divergence', async (options) => {
    const n = 6000
    const rig = await Rig.start(
      makeSampler(options),
      standard(1).energy,
      startPoints(n, 1, 5, (r) => [r.uniform()]),
    )
    const { divergent, acceptance } = await rig.advance(60)
    const x = Array.from(await rig.read('x')).sort((a, b) => a - b)
    rig.dispose()
    const [low, high] = [normalCdf(-0.5), normalCdf(1.5)]
    const farthest = x.map((v, i) => Math.abs((normalCdf(v) - low) / (high - low) - (i + 0.5) / n))
    expect(Math.max(...farthest) * Math.sqrt(n)).toBeLessThan(1.95)
    expect(Math.min(...x)).toBeGreaterThanOrEqual(-0.5)
    expect(Math.max(...x)).toBeLessThanOrEqual(1.5)
    expect(Math.max(...divergent)).toBe(0)
    expect(acceptance[59]).toBeLessThan(0.95)
  })
})

describe('the state', () => {
  const kinds: SamplerOptions[] = [
    { kind: 'rwm' },
    { kind: 'mala' },
    { kind: 'hmc', leapfrogSteps: 2 },
    { kind: 'underdamped' },
    { kind: 'preconditionedLangevin' },
  ]
  test.each(kinds)('$kind: a step from x alone is the step from the full state', async (options) => {
    const sampler = makeSampler(options)
    const target = { logDensity: (x: Tensor) => banana().energy(x).neg() }
    const [x, key] = [ops.input('x', [50, 2]), ops.input('key', [4], 'int32')]
    const full = sampler.init(target, x, key, 7)
    // Momenta that are not given are drawn anew, so the full state lends its own.
    const momentum = full.momentum === undefined ? {} : { momentum: full.momentum }
    const [a, b] = [sampler.step(target, full, key, 1), sampler.step(target, { x, ...momentum }, key, 1)]
    const plan = await compileGraph(testDevice, [x, key], [{ tensor: a.state.x }, { tensor: b.state.x }])
    const start = startPoints(50, 2, 8, (r) => [r.normal(), r.normal()])
    const [fromFull, fromX] = await plan.call([start, keyFromSeed(4)])
    plan.dispose()
    expect(fromFull?.data).toEqual(fromX?.data)
    expect(fromFull?.data).not.toEqual(start.data)
  })

  test('cached energy and score are those of x after many steps', async () => {
    for (const options of [
      { kind: 'mala', stepSize: 0.3 },
      { kind: 'hmc', stepSize: 0.4 },
    ] as const) {
      const rig = await Rig.start(
        makeSampler(options),
        banana().energy,
        startPoints(200, 2, 8, (r) => banana().draw(r)),
      )
      await rig.advance(25)
      const [x, energy, score] = await Promise.all(['x', 'energy', 'score'].map((n) => rig.read(n)))
      rig.dispose()
      const at = ops.input('x', [200, 2])
      const want = banana().energy(at)
      const feeds = new Map([[at, { shape: [200, 2], data: Float64Array.from(x as Float32Array) }]])
      const [e, s] = evaluateReference([want, scoreOf(want.neg(), at)], feeds)
      expect(furthest(energy as Float32Array, e?.data as Float64Array)).toBeLessThan(1e-3)
      expect(furthest(score as Float32Array, s?.data as Float64Array)).toBeLessThan(1e-2)
    }
  })

  test('the same seed repeats bit for bit, another does not', async () => {
    const run = async (options: SamplerOptions, seed: number) => {
      const rig = await Rig.start(
        makeSampler(options),
        banana().energy,
        startPoints(50, 2, 8, (r) => banana().draw(r)),
        seed,
      )
      await rig.advance(20)
      const x = await rig.read('x')
      rig.dispose()
      return x
    }
    for (const kind of ['rwm', 'mala', 'hmc', 'nuts', 'underdamped', 'preconditionedLangevin'] as const) {
      expect(await run({ kind }, 3)).toEqual(await run({ kind }, 3))
      expect(await run({ kind }, 3)).not.toEqual(await run({ kind }, 4))
    }
  })
})

describe('divergence', () => {
  test.each(['mala', 'hmc', 'nuts'] as const)('%s refuses and reports a step that is far too long', async (kind) => {
    const steep: Energy = (x) => x.square().sum(1).mul(5e5)
    const start = startPoints(100, 1, 3, (r) => [1e-3 * r.normal()])
    const rig = await Rig.start(makeSampler({ kind, stepSize: 0.5 }), steep, start)
    const { divergent, acceptance } = await rig.advance(3)
    expect(divergent[2]).toBe(1)
    expect(acceptance[2]).toBeLessThan(1e-3)
    expect(await rig.read('x')).toEqual(start.data)
    rig.dispose()
  })

  test.each(['rwm', 'mala', 'hmc', 'nuts'] as const)('%s never goes where the energy is not a number', async (kind) => {
    // log x: NaN for x < 0; density x·e^-x, a Gamma of shape 2 and mean 2.
    const gamma: Energy = (x) => x.sub(x.log()).sum(1)
    const start = startPoints(4000, 1, 3, (r) => [-Math.log((1 - r.uniform()) * (1 - r.uniform()))])
    const rig = await Rig.start(makeSampler({ kind, stepSize: 0.6 }), gamma, start)
    let x: Float32Array
    if (kind === 'nuts') x = (await rig.transitions(3)).x
    else {
      await rig.advance(20)
      x = await rig.read('x')
    }
    rig.dispose()
    expect(Math.min(...x)).toBeGreaterThan(0)
    const { mean, error } = estimate(x)
    expect(Math.abs(mean - 2)).toBeLessThan(4 * error)
  })
})

describe('through Chains', () => {
  test.each([
    { kind: 'rwm', stepSize: 0.05 },
    { kind: 'mala', stepSize: 0.001 },
    { kind: 'hmc', stepSize: 0.02, leapfrogSteps: 3 },
    { kind: 'nuts', stepSize: 0.05, maxDepth: 3 },
    { kind: 'underdamped' },
    { kind: 'preconditionedLangevin', stepSize: 0.001 },
  ] satisfies SamplerOptions[])('$kind moves in images under a convolutional energy', async (sampler) => {
    const model = convEnergy({ shape: [1, 8, 8], channels: [8, 8], seed: 2 })
    const chains = await Chains.start(model, { sampler, chains: 6, seed: 1 })
    const before = await chains.read()
    const { acceptance, divergent, energy } = await chains.advance(4)
    const after = await chains.read()
    expect(acceptance).toBeGreaterThan(0.5)
    expect(divergent).toBe(0)
    expect(energy.every(Number.isFinite)).toBe(true)
    expect(after.shape).toEqual([6, 1, 8, 8])
    expect(furthest(after.data, before.data)).toBeGreaterThan(1e-3)
    chains.dispose()
    await model.dispose()
  })

  test.each(['mala', 'hmc', 'nuts'] as const)('draws of %s are draws, the third like the first', async (kind) => {
    const target = banana()
    const start = startPoints(5000, 2, 3, (r) => target.draw(r))
    const source = energyTarget(target.energy, { shape: [2] })
    const { draws } = await sample(source, { sampler: { kind, stepSize: 0.25 }, start, draws: 3, warmup: 0 })
    for (const k of [0, 2]) {
      const rows = Array.from({ length: 5000 }, (_, i) => [...draws.data.subarray(6 * i + 2 * k, 6 * i + 2 * k + 2)])
      const { worst, where, kolmogorov } = normality(target, rows.flat())
      expect(worst, where).toBeLessThan(4)
      expect(kolmogorov).toBeLessThan(1.95)
    }
  })
})

describe('options', () => {
  const refused: [object, RegExp][] = [
    [{ kind: 'nutz' }, /'nutz' is not known. Did you mean 'nuts'/],
    [{ kind: 'toString' }, /'toString' is not known/],
    [{ kind: 'hmc', leapfrogStep: 3 }, /hmc: option 'leapfrogStep' is not known. Did you mean 'leapfrogSteps'/],
    [{ kind: 'hmc', leapfrogSteps: 0 }, /leapfrogSteps must be an integer ≥ 1; got 0/],
    [{ kind: 'hmc', jitter: 1 }, /jitter must be ≥ 0 and < 1; got 1/],
    [{ kind: 'hmc', trajectoryLength: -1 }, /trajectoryLength must be a positive finite number; got -1/],
    [{ kind: 'mala', stepSize: 0 }, /stepSize must be a positive finite number; got 0/],
    [{ kind: 'mala', scale: [1, -2] }, /scale must hold finite numbers > 0; got -2/],
    [{ kind: 'mala', targetAcceptance: 1 }, /targetAcceptance must be > 0 and < 1; got 1/],
    [{ kind: 'rwm', bounds: [1, 0] }, /bounds must be \[low, high\] with low < high; got \[1, 0\]/],
    [{ kind: 'rwm', warmup: 0 }, /warmup must be an integer ≥ 1; got 0/],
    [{ kind: 'nuts', maxDepth: 13 }, /maxDepth must be at most 12; got 13/],
    [{ kind: 'nuts', bounds: [0, 1] }, /option 'bounds' is not known/],
    [{ kind: 'ula', stepSize: Number.NaN }, /stepSize must be a positive finite number; got NaN/],
    [{ kind: 'underdamped', integrator: 'boaab' }, /integrator 'boaab' is not known. Did you mean 'baoab'/],
    [{ kind: 'underdamped', friction: 0 }, /friction must be a positive finite number; got 0/],
    [{ kind: 'preconditionedLangevin', decay: 1 }, /decay must be ≥ 0 and < 1; got 1/],
    [{ kind: 'preconditionedLangevin', preconditioner: 'rms' }, /preconditioner 'rms' is not known/],
  ]
  test.each(refused)('%j', (options, message) => {
    expect(() => makeSampler(options as SamplerOptions)).toThrow(message)
  })

  test('scales of another length than an example are refused when it is known', () => {
    const sampler = makeSampler({ kind: 'mala', scale: [1, 2, 3] })
    const key = ops.input('key', [4], 'int32')
    expect(() => sampler.init({ logDensity: (x) => x.sum(1) }, ops.input('x', [4, 2]), key, 0)).toThrow(
      /scale must be one number or 2 numbers for examples \[2\]; got 3/,
    )
  })

  test('a nuts step from x alone says what to do', () => {
    const key = ops.input('key', [4], 'int32')
    const sampler = makeSampler({ kind: 'nuts' })
    expect(() => sampler.step({ logDensity: (x) => x.sum(1) }, { x: ops.input('x', [4, 2]) }, key, 0)).toThrow(
      /nuts: a step needs the whole state .* use hmc/,
    )
  })

  test('undefined options take their defaults, and resolved options make the same sampler', () => {
    for (const kind of samplerKinds) {
      const sampler = makeSampler({ kind } as SamplerOptions)
      expect(makeSampler(sampler.options).options).toEqual(sampler.options)
      expect(makeSampler({ kind, steps: undefined } as unknown as SamplerOptions).steps).toBe(sampler.steps)
    }
  })

  test('a trajectory length sets the number of leapfrog steps', () => {
    expect(makeSampler({ kind: 'hmc', stepSize: 0.1, trajectoryLength: 1.5 }).gradientsPerStep).toBe(15)
    expect(makeSampler({ kind: 'hmc', stepSize: 0.4, trajectoryLength: 1 }).gradientsPerStep).toBe(3)
  })
})
