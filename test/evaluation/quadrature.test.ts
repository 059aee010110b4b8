import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { densityGrid, quadratureKl, quadratureLogZ } from '../../lib/evaluation/quadrature.ts'
import { defineEnergy } from '../../lib/nn/models.ts'
import * as ops from '../../lib/ops/index.ts'

const golden = JSON.parse(readFileSync(new URL('../golden/diagnostics.json', import.meta.url), 'utf8')) as {
  readonly integrals: { readonly ring: number; readonly cut: number }
}
const halfLogTau = 0.5 * Math.log(2 * Math.PI)

/** N(mean, std²) in d dimensions, with an energy that is off by a constant. */
const gaussian = (d: number, mean: number, std: number, constant = 0) =>
  defineEnergy({ shape: [d] }, (x) => x.sub(mean).div(std).square().sum(-1).mul(0.5).add(constant))

const ring = defineEnergy({ shape: [2] }, (x) => {
  const radius = x.square().sum(-1).sqrt()
  const first = ops.reshape(ops.sliceAxis(x, 1, 0, 1), [x.shape[0] as number])
  return radius.sub(2).square().mul(8).add(first.mul(0.3))
})
/** Does not vanish at the edge of [-1, 2]. */
const cut = defineEnergy({ shape: [1] }, (x) => {
  const flat = ops.reshape(x, [x.shape[0] as number])
  return flat.abs().pow(1.5).add(flat.mul(2).cos())
})

describe('log Z', () => {
  test.each([1, 2, 3])('of a Gaussian in %i dimensions', async (d) => {
    const q = await quadratureLogZ(gaussian(d, 0.3, 0.8, 2), { low: -6, high: 7 })
    expect(q.logZ).toBeCloseTo(d * (halfLogTau + Math.log(0.8)) - 2, 5)
    expect(q.reachesEdge).toBe(false)
    expect(q.evaluations).toBe([1000, 256 ** 2, 64 ** 3][d - 1])
  })

  test('as scipy integrates a ring, with either rule', async () => {
    const box = { low: -4, high: 4 }
    expect((await quadratureLogZ(ring, box)).logZ).toBeCloseTo(golden.integrals.ring, 5)
    const simpson = await quadratureLogZ(ring, { ...box, rule: 'simpson', points: [301, 201] })
    expect(simpson.logZ).toBeCloseTo(golden.integrals.ring, 4)
    const usual = await quadratureLogZ(ring, { ...box, rule: 'simpson' })
    expect(usual.logZ).toBeCloseTo(golden.integrals.ring, 4)
    expect(usual.evaluations).toBe(257 ** 2)
  })

  test("where the density is cut off Simpson's rule is the better, and the edge is reported", async () => {
    const box = { low: -1, high: 2 }
    const simpson = await quadratureLogZ(cut, { ...box, rule: 'simpson', points: 121 })
    const midpoint = await quadratureLogZ(cut, { ...box, points: 121 })
    expect(Math.abs(simpson.logZ - golden.integrals.cut)).toBeLessThan(5e-5)
    expect(Math.abs(midpoint.logZ - golden.integrals.cut)).toBeGreaterThan(
      2 * Math.abs(simpson.logZ - golden.integrals.cut),
    )
    expect(simpson.reachesEdge).toBe(true)
    expect(simpson.edgeRatio).toBeGreaterThan(0.01)
  })

  test('does not depend on the batch, and takes a box for each dimension', async () => {
    const model = defineEnergy({ shape: [1, 1, 2] }, (x) => {
      const scaled = ops.reshape(x, [x.shape[0] as number, 2]).div(ops.constant([1, 3], [2]))
      return scaled.square().sum(-1).mul(0.5)
    })
    const box = { low: [-6, -18], high: [6, 18], points: [100, 120] }
    const one = await quadratureLogZ(model, box)
    const many = await quadratureLogZ(model, { ...box, batch: 777 })
    expect(one.logZ).toBeCloseTo(2 * halfLogTau + Math.log(3), 5)
    expect(many.logZ).toBe(one.logZ)
  })
})

describe('density on a grid', () => {
  test('is normalised, in the order of the axes', async () => {
    const g = await densityGrid(gaussian(2, 1, 0.5), { low: [-2, -1], high: [4, 3], points: [90, 60] })
    expect(g.shape).toEqual([90, 60])
    const cell = (6 / 90) * (4 / 60)
    expect(g.logDensity.reduce((s, v) => s + Math.exp(v) * cell, 0)).toBeCloseTo(1, 10)
    const [i, j] = [40, 25]
    const z = ((g.axes[0]![i]! - 1) / 0.5) ** 2 + ((g.axes[1]![j]! - 1) / 0.5) ** 2
    expect(g.logDensity[i * 60 + j]).toBeCloseTo(-z / 2 - 2 * (halfLogTau + Math.log(0.5)), 3)
  })
})

describe('divergences', () => {
  test('between Gaussians in closed form, both ways', async () => {
    const box = { low: -12, high: 12, points: 2000 }
    const kl = await quadratureKl(gaussian(1, 0.5, 1, 7), gaussian(1, -0.5, 1.5), box)
    const closed = (m: number, s: number, m2: number, s2: number) =>
      Math.log(s2 / s) + (s * s + (m - m2) ** 2) / (2 * s2 * s2) - 0.5
    expect(kl.forward).toBeCloseTo(closed(0.5, 1, -0.5, 1.5), 5)
    expect(kl.reverse).toBeCloseTo(closed(-0.5, 1.5, 0.5, 1), 5)
    expect(kl.reachesEdge).toBe(false)
  })

  test('a density as a graph; zero from itself, and its normaliser is 0', async () => {
    const logDensity = (x: ReturnType<typeof ops.input>) =>
      x
        .square()
        .sum(-1)
        .mul(-0.5)
        .sub(2 * halfLogTau)
    const kl = await quadratureKl(logDensity, gaussian(2, 0, 1, 3), { low: -7, high: 7 })
    expect(Math.abs(kl.forward)).toBeLessThan(1e-6)
    expect(Math.abs(kl.reverse)).toBeLessThan(1e-6)
    expect(kl.logZTarget).toBeCloseTo(0, 5)
    expect(kl.logZModel).toBeCloseTo(2 * halfLogTau - 3, 5)
  })

  test('a model with mass where the density has none: infinite one way only', async () => {
    const halfLine = (x: ReturnType<typeof ops.input>) => {
      const flat = ops.reshape(x, [x.shape[0] as number])
      return ops.select(flat.gt(0), flat.neg(), Number.NEGATIVE_INFINITY)
    }
    const kl = await quadratureKl(halfLine, gaussian(1, 0, 1), { low: -8, high: 20, points: 4000 })
    expect(kl.reverse).toBe(Infinity)
    expect(kl.forward).toBeGreaterThan(0)
    expect(kl.forward).toBeLessThan(3)
  })
})

describe('bad input', () => {
  const one = gaussian(1, 0, 1)
  test.each([
    [{ low: 1, high: 0 }, /low must be below high/],
    [{ low: [0, 1], high: 2 }, /low must be a finite number or 1 of them/],
    [{ low: 0, high: Number.NaN }, /high must be a finite number/],
    [{ low: 0, high: 1, points: 1 }, /points must be an integer ≥ 2/],
    [{ low: 0, high: 1, points: 10, rule: 'simpson' as const }, /odd number of points/],
    [{ low: 0, high: 1, rule: 'simpsn' as 'simpson' }, /'midpoint' or 'simpson'/],
    [{ low: 0, high: 1, batch: 0 }, /batch must be/],
  ])('%j', async (box, message) => {
    await expect(quadratureLogZ(one, box)).rejects.toThrow(message)
  })

  test('too many dimensions or points', async () => {
    await expect(quadratureLogZ(gaussian(4, 0, 1), { low: 0, high: 1 })).rejects.toMatchObject({ code: 'E_CONFIG' })
    await expect(quadratureLogZ(gaussian(2, 0, 1), { low: 0, high: 1, points: 20000 })).rejects.toThrow(/at most/)
  })

  test('energies that are NaN, densities of the wrong shape, an aborted signal', async () => {
    const broken = defineEnergy({ shape: [1] }, (x) => x.sum(-1).log())
    await expect(quadratureLogZ(broken, { low: -1, high: 1 })).rejects.toMatchObject({ code: 'E_DATA' })
    await expect(quadratureKl((x) => x, one, { low: -1, high: 1 })).rejects.toMatchObject({ code: 'E_SHAPE' })
    await expect(quadratureKl(gaussian(2, 0, 1), one, { low: -1, high: 1 })).rejects.toThrow(/must take one shape/)
    const stopped = quadratureLogZ(one, { low: -1, high: 1, signal: AbortSignal.abort() })
    await expect(stopped).rejects.toThrow(/abort/)
  })
})
