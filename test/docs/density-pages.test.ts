/** The scripts of the pages on methods that give densities and samplers (noise, flows, adversaries, RBMs, discrete energies), as they stand. */
import { existsSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { pageRunner } from './pages.ts'

const { numbers: printed } = pageRunner()

describe('docs/noise-contrastive.md', () => {
  test('log Z is learned with the density of the moons', async () => {
    const rows = await printed('noise-contrastive')
    const [[learned, exact], [mean, kl]] = rows.slice(-2) as [[number, number], [number, number]]
    expect(rows).toHaveLength(6)
    expect(rows[3]?.[1]).toBeLessThan(rows[0]?.[1] as number)
    expect(Math.abs(learned - exact)).toBeLessThan(0.15)
    expect(mean).toBeGreaterThan(-1.5)
    expect(kl).toSatisfy((v: number) => v > 0 && v < 0.5)
    expect(existsSync('moons.onnx')).toBe(true)
  })
})

describe('docs/flow-contrastive.md', () => {
  test('the energy catches up with the fitted flow', async () => {
    const rows = await printed('flow-contrastive')
    expect(rows[0]).toHaveLength(2)
    const [early, late] = [rows[1]?.[2], rows[11]?.[2]] as [number, number]
    expect(early).toBeLessThan(-0.05)
    expect(late).toBeGreaterThan(-0.04)
    const [flow, energy] = [rows[12]?.[0], rows[13]?.[0]] as [number, number]
    for (const mean of [flow, energy]) expect(mean).toSatisfy((v: number) => v > -2.9 && v < -2.4)
  })
})

describe('docs/flows.md', () => {
  test('maximum likelihood fits the moons; draws, files and export agree', async () => {
    const rows = await printed('flows')
    const [mean, logZ, kl] = rows[3] as [number, number, number]
    expect(mean).toBeGreaterThan(-1.4)
    expect(logZ).toBe(0)
    expect(kl).toSatisfy((v: number) => v > 0 && v < 0.4)
    const [reopened, drawn] = rows[5] as [number, number]
    expect(reopened).toBeCloseTo(drawn, 3)
    expect(existsSync('moons-flow.onnx')).toBe(true)
  })
})

describe('docs/adversarial.md', () => {
  test('an energy and a flow learn the Gaussians from each other', async () => {
    const rows = await printed('adversarial')
    const [energy, flow] = rows[4] as [number, number]
    for (const mean of [energy, flow]) expect(mean).toSatisfy((v: number) => v > -3.6 && v < -2)
    expect(rows[5]).toEqual([100, 2])
  })

  test('a classifier learns digits and their density against a generator', async () => {
    const rows = await printed('adversarial', 1)
    expect(rows[2]?.[1]).toBeLessThan(rows[0]?.[1] as number)
    const [accuracy, auroc] = rows[3] as [number, number]
    expect(accuracy).toBeGreaterThan(0.5)
    expect(auroc).toBeGreaterThan(0.9)
    expect(existsSync('vera.png')).toBe(true)
  })
})

describe('docs/rbm.md', () => {
  test('persistent chains raise the likelihood; annealing finds the exact log Z', async () => {
    const rows = await printed('rbm')
    expect(rows[3]?.[1]).toBeGreaterThan(rows[0]?.[1] as number)
    expect(rows[4]?.[0]).toSatisfy((mean: number) => mean > -30 && mean < -15)
    const [exact, annealed, error] = rows[5] as [number, number, number]
    expect(Math.abs(annealed - exact)).toBeLessThan(5 * error + 0.05)
    expect(rows[6]).toEqual([64, 1, 8, 8])
    expect(existsSync('rbm.onnx')).toBe(true)
  })
})

describe('docs/discrete.md', () => {
  test('two methods find the coupling again', async () => {
    const rows = await printed('discrete')
    for (const [coupling, field] of [rows[2], rows[5]] as [number, number][]) {
      expect(Math.abs(coupling - 0.3)).toBeLessThan(0.06)
      expect(Math.abs(field)).toBeLessThan(0.05)
    }
    expect(rows[6]).toEqual([100, 10, 6, 6])
  })
})
