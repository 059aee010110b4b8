/** Samplers without an accept step, held against the stationary variances that their steps have on Gaussians, in closed form. */
import { describe, expect, test } from 'vitest'
import * as ops from '../../lib/ops/index.ts'
import { makeSampler, type SamplerOptions } from '../../lib/samplers/samplers.ts'
import { column, deviation, type Energy, estimate, Rig, startPoints } from './rig.ts'
import { scaled, standard } from './targets.ts'

const CHAINS = 8000
const normalStart = startPoints(CHAINS, 1, 11, (r) => [r.normal()])

/** x² of the chains at the end. */
async function squares(options: SamplerOptions, steps: number): Promise<number[]> {
  const rig = await Rig.start(makeSampler(options), standard(1).energy, normalStart)
  await rig.advance(steps)
  const x = await rig.read('x')
  rig.dispose()
  return Array.from(x, (v) => v * v)
}

describe('ula', () => {
  test.each([0.1, 0.5, 1])('has variance 1/(1 - h/2) on N(0, 1) for h = %s', async (stepSize) => {
    const v = await squares({ kind: 'ula', stepSize }, 60)
    expect(deviation(v, 1 / (1 - stepSize / 2))).toBeLessThan(4)
  })

  test('is sgld with noise langevin, bit for bit', async () => {
    const run = async (options: SamplerOptions) => {
      const rig = await Rig.start(makeSampler(options), standard(1).energy, normalStart, 5)
      await rig.advance(3)
      const x = await rig.read('x')
      rig.dispose()
      return x
    }
    const a = await run({ kind: 'ula', stepSize: 0.125 })
    expect(a).toEqual(await run({ kind: 'sgld', stepSize: 0.125, noise: 'langevin' }))
    expect(a).not.toEqual(normalStart.data)
  })
})

describe('preconditioned Langevin', () => {
  const target = scaled(5)
  const start = startPoints(4000, 5, 12, (r) => target.draw(r))
  const scale = Array.from({ length: 5 }, (_, i) => 10 ** (-1 + i / 2))
  const whitened = async (options: SamplerOptions, steps: number) => {
    const rig = await Rig.start(makeSampler(options), target.energy, start)
    await rig.advance(steps)
    const x = await rig.read('x')
    rig.dispose()
    return scale.map((s, j) => column(x, 5, j).map((v) => (v / s) ** 2))
  }

  test('with the right fixed scales has the variance s²/(1 - h/2) in each coordinate', async () => {
    for (const v of await whitened(
      { kind: 'preconditionedLangevin', preconditioner: 'fixed', scale, stepSize: 0.4 },
      40,
    ))
      expect(deviation(v, 1 / (1 - 0.2))).toBeLessThan(4)
  })

  test('with scales by RMSprop one step size serves narrow and wide coordinates, where ula is unstable', async () => {
    const [narrow, wide] = [0.1, 1]
    const energy: Energy = (x) =>
      x
        .mul(ops.constant([1 / narrow, 1 / wide], [2]))
        .square()
        .sum(1)
        .mul(0.5)
    const spread = async (options: SamplerOptions, steps: number) => {
      const rig = await Rig.start(
        makeSampler(options),
        energy,
        startPoints(1000, 2, 9, (r) => [narrow * r.normal(), wide * r.normal()]),
      )
      await rig.advance(steps)
      const x = await rig.read('x')
      rig.dispose()
      return [narrow, wide].map((s, j) => estimate(column(x, 2, j).map((v) => (v / s) ** 2)))
    }
    // √V is near 1/s, so G is near s: the step's own bias is 1/(1 - h/(2s)), 5% at most; that of G's moving as much again.
    for (const { mean, error } of await spread({ kind: 'preconditionedLangevin', stepSize: 0.01, decay: 0.999 }, 5000))
      expect(Math.abs(mean - 1)).toBeLessThan(0.1 + 4 * error)
    const [plain] = await spread({ kind: 'ula', stepSize: 0.025 }, 100)
    expect(plain?.mean).not.toBeLessThan(100)
  })

  test('rmsprop follows its recursion', async () => {
    const one = startPoints(1, 5, 3, () => [0.1, 0.2, 0.3, 0.4, 0.5])
    const options = { kind: 'preconditionedLangevin', stepSize: 0.05, decay: 0.75, epsilon: 0.5 } as const
    const rig = await Rig.start(makeSampler(options), target.energy, one)
    const gradientSquares = async () => (await rig.read('x')).map((v, i) => (v / (scale[i] as number) ** 2) ** 2)
    let want = await gradientSquares()
    for (let i = 0; i < 4; i++) {
      const now = await gradientSquares()
      want = want.map((v, j) => 0.75 * v + 0.25 * (now[j] as number))
      await rig.advance(1)
      const got = await rig.read('squares')
      expect(got.every((v, j) => Math.abs(v / (want[j] as number) - 1) < 1e-4)).toBe(true)
    }
    expect(want[0]).not.toBeCloseTo((await gradientSquares())[0] as number, 3)
    rig.dispose()
  })
})

describe('underdamped Langevin', () => {
  const common = { kind: 'underdamped', stepSize: 0.8, friction: 1 } as const

  test('baoab has no bias in x on a Gaussian, whatever the step', async () => {
    expect(deviation(await squares({ ...common, integrator: 'baoab' }, 60), 1)).toBeLessThan(4)
  })

  test('obabo has the variance 1/(1 - h²/4) of its leapfrog', async () => {
    const v = await squares({ ...common, integrator: 'obabo' }, 60)
    expect(deviation(v, 1 / (1 - 0.16))).toBeLessThan(4)
    expect(deviation(v, 1)).toBeGreaterThan(6)
  })

  test('sghmc has the variance of its recursion', async () => {
    const [h, friction] = [0.4, 1]
    // r' = (1 - fh) r - h x + √(2fh) ξ, x' = x + h r': iterate the covariance (xx, xr, rr).
    let [xx, xr, rr] = [1, 0, 1]
    for (let i = 0; i < 500; i++) {
      const [a, b] = [1 - friction * h, -h]
      const nextRr = a * a * rr + 2 * a * b * xr + b * b * xx + 2 * friction * h
      const withOld = a * xr + b * xx
      ;[xx, xr, rr] = [xx + 2 * h * withOld + h * h * nextRr, withOld + h * nextRr, nextRr]
    }
    expect(Math.abs(xx - 1)).toBeGreaterThan(0.04)
    expect(deviation(await squares({ ...common, stepSize: h, integrator: 'sghmc' }, 80), xx)).toBeLessThan(4)
  })

  test.each(['baoab', 'obabo'] as const)(
    '%s without friction is the leapfrog: energy and memory stay',
    async (integrator) => {
      const start = startPoints(500, 1, 4, (r) => [r.normal()])
      const options = { kind: 'underdamped', integrator, stepSize: 0.05, friction: 1e-9 } as const
      const rig = await Rig.start(makeSampler(options), standard(1).energy, start)
      const total = async () => {
        const [x, r] = [await rig.read('x'), await rig.read('momentum')]
        return Array.from(x, (v, i) => 0.5 * (v * v + (r[i] as number) ** 2))
      }
      const before = await total()
      await rig.advance(126)
      const now = await total()
      expect(Math.max(...now.map((e, i) => Math.abs(e - (before[i] as number)) / (1 + e)))).toBeLessThan(2e-3)
      rig.dispose()
    },
  )

  test('scale is a mass: with the right ones the widest coordinate is as fast as the narrowest', async () => {
    const target = scaled(5)
    const scale = Array.from({ length: 5 }, (_, i) => 10 ** (-1 + i / 2))
    const rig = await Rig.start(
      makeSampler({ kind: 'underdamped', scale, stepSize: 0.5 }),
      target.energy,
      startPoints(4000, 5, 12, () => [0, 0, 0, 0, 0]),
    )
    await rig.advance(60)
    const x = await rig.read('x')
    rig.dispose()
    for (const [j, s] of scale.entries()) {
      const v = column(x, 5, j).map((w) => (w / s) ** 2)
      expect(deviation(v, 1)).toBeLessThan(4)
    }
  })
})
