/** The scripts of the pages on methods that fit an energy, as they stand: what they print must be what the page says they do. */
import { existsSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { pageRunner } from './pages.ts'

const { lines: printed } = pageRunner()

describe('docs/score-matching.md', () => {
  test('the sliced estimator learns the moons, and the model is sampled and exported', async () => {
    const [first, , last, divergence, samples] = await printed('score-matching', 0)
    expect((last as number[])[1]).toBeLessThan((first as number[])[1] as number)
    expect(divergence?.[1]).toSatisfy((kl: number) => kl > 0 && kl < 0.15)
    expect(samples).toEqual([[200, 2]])
    expect(existsSync('moons.onnx')).toBe(true)
  })

  test('a multiscale model is sampled down its levels to samples like the data', async () => {
    const rows = await printed('score-matching', 1)
    expect(rows.slice(0, 2).every(([, loss]) => (loss as number) < 1)).toBe(true)
    for (const [shape, , squared] of rows.slice(2)) {
      expect((shape as number[])[0]).toBe(256)
      expect(squared).toBeLessThan(0.02)
    }
  })
})

describe('docs/contrastive-divergence.md', () => {
  test('persistent chains teach the moons, and the model is sampled and exported', async () => {
    const [, , last, divergence, samples] = await printed('contrastive-divergence', 0)
    expect(Math.abs((last as number[])[1] as number)).toBeLessThan(1)
    expect(divergence?.[1]).toSatisfy((kl: number) => kl > 0 && kl < 0.3)
    expect(samples).toEqual([[200, 2]])
    expect(existsSync('moons.onnx')).toBe(true)
  })

  test('an energy of bits learns that the last half echoes the first', async () => {
    const [, , agreement] = await printed('contrastive-divergence', 1)
    expect(agreement?.[1]).toSatisfy((p: number) => Math.abs(p - 0.9) < 0.06)
  })
})
