/** The scripts of the pages on samplers, compositions, evaluation and data, as they stand: what they print must be what the pages say. */
import { existsSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { pageRunner } from './pages.ts'

const { numbers: printed } = pageRunner()

/** A row by its place; what is missing fails the test where it is used. */
const at = (rows: number[][], i: number): number[] => rows[i] ?? []

describe('docs/samplers.md', () => {
  test('tempered chains cross between modes, and R-hat tells that plain ones do not', async () => {
    const rows = await printed('samplers', 0)
    const [plainSd, plainRhat] = at(rows, 1)
    const [sd, rhat, effective] = at(rows, 3)
    expect(Math.abs((sd as number) - 1.436)).toBeLessThan(0.15)
    expect(rhat).toBeLessThan(1.05)
    expect(effective).toBeGreaterThan(100)
    expect(plainRhat).toBeGreaterThan(1.3)
    expect(plainSd).toBeGreaterThan(0)
  })

  test('NUTS draws from a function, by hand', async () => {
    const rows = await printed('samplers', 1)
    const [a = 9, b = 9, errorA = 0, errorB = 0] = at(rows, 1)
    expect(Math.abs(a)).toBeLessThan(5 * errorA)
    expect(Math.abs(b - 1)).toBeLessThan(5 * errorB)
    expect(Math.max(errorA, errorB)).toBeLessThan(0.5)
  })

  test('Gibbs with gradients has the right means', async () => {
    const [acceptance = 0, ...rest] = at(await printed('samplers', 2), 0)
    expect(acceptance).toBeGreaterThan(0.5)
    for (let i = 0; i < 4; i++) expect(rest[i]).toBeCloseTo(rest[i + 4] as number, 1)
  })
})

describe('docs/compositions.md', () => {
  test('products, mixtures and boxes have the constants that they should have', async () => {
    const rows = await printed('compositions', 0)
    expect(at(rows, 1)[0]).toBeCloseTo(0, 4)
    expect(at(rows, 1)[1]).toBeCloseTo(0, 4)
    expect(at(rows, 2)[0]).toBeCloseTo(0.25, 4)
    expect(at(rows, 3).slice(0, 3)).toEqual([100, 20, 2])
    expect(existsSync('both.onnx')).toBe(true)
  })

  test('conditionals and guidance move the mean', async () => {
    const means = (await printed('compositions', 1)).map((row) => row[0] as number)
    expect(means[0]).toBeCloseTo(1, 0)
    expect(means[1]).toBeGreaterThan(means[0] as number)
    expect(Math.abs(means[2] as number)).toBeLessThan(0.2)
  })
})

describe('docs/evaluation.md', () => {
  test('a run is evaluated, and its density drawn', async () => {
    const rows = await printed('evaluation', 0)
    const [likelihood = 0] = at(rows, 2)
    const [forward = 9, reverse = 9] = at(rows, 3)
    expect(likelihood).toSatisfy((v: number) => v < -1 && v > -3)
    expect(forward).toSatisfy((v: number) => v > 0 && v < 0.3)
    expect(reverse).toSatisfy((v: number) => v > 0 && v < 0.6)
    expect(at(rows, 4)).toHaveLength(3)
    expect(existsSync('density.png')).toBe(true)
  })

  test('annealing finds the log Z that is known', async () => {
    const rows = await printed('evaluation', 1)
    const [lower, upper, estimate] = at(rows, 0)
    for (const v of [lower, upper, estimate]) expect(Math.abs(v as number)).toBeLessThan(0.1)
    expect(at(rows, 1)[0]).toBeCloseTo(-3.8, 0)
  })

  test('two-sample tests see the widths that differ', async () => {
    const [same = [], wide = []] = await printed('evaluation', 2)
    expect(Math.min(same[2] as number, same[3] as number)).toBeGreaterThan(0.01)
    expect(Math.max(wide[2] as number, wide[3] as number)).toBeLessThan(0.01)
    expect(wide[4]).toBeLessThan(same[4] as number)
  })
})

describe('docs/data.md', () => {
  test('toys know their densities', async () => {
    const rows = await printed('data', 0)
    expect(rows).toHaveLength(4)
    const [forward, logZ] = at(rows, 3)
    expect(forward).toSatisfy((v: number) => v > 0.1 && v < 1)
    expect(logZ).toBeCloseTo(0, 5)
  })

  test('a table is standardised, and a mixture fits it better than one Gaussian', async () => {
    const [, [single = 0] = [], [several = 0] = []] = await printed('data', 1)
    expect(several).toBeGreaterThan(single + 0.5)
  })
})
