import { describe, expect, it } from 'vitest'
import { aupr, auroc, fprAtTpr, oodFigures } from '../../lib/evaluation/ood.ts'
import { normals, uniforms } from './random.ts'

function countPairs(inside: readonly number[], outside: readonly number[]): number {
  let wins = 0
  for (const a of inside) for (const b of outside) wins += a > b ? 1 : a === b ? 0.5 : 0
  return wins / inside.length / outside.length
}

describe('out-of-distribution figures', () => {
  it('AUROC equals counting pairs, ties included', () => {
    for (let seed = 0; seed < 20; seed++) {
      const u = uniforms(seed)
      const levels = 2 + Math.floor(u() * 30)
      const draw = (n: number) => Array.from({ length: n }, () => Math.floor(u() * levels))
      const inside = draw(1 + Math.floor(u() * 60))
      const outside = draw(1 + Math.floor(u() * 60))
      expect(auroc(inside, outside)).toBeCloseTo(countPairs(inside, outside), 12)
      expect(auroc(outside, inside)).toBeCloseTo(1 - auroc(inside, outside), 12)
    }
  })

  it('equals hand computations', () => {
    // Thresholds from high: 4 in, 3 out, 2 in, 1 out. AP = ½·1 + ½·(2/3).
    const f = oodFigures([4, 2], [3, 1])
    expect(f.auroc).toBe(0.75)
    expect(f.aupr).toBeCloseTo(0.5 + 1 / 3, 12)
    expect(f.fpr95).toBe(0.5)
    // One tie of everything: one threshold, precision is the base rate.
    expect(oodFigures([1, 1], [1, 1, 1])).toEqual({ auroc: 0.5, aupr: 0.4, fpr95: 1 })
    expect(oodFigures([5, 6], [1, 2])).toEqual({ auroc: 1, aupr: 1, fpr95: 0 })
  })

  it('FPR95 takes the highest threshold that keeps 95% of the known', () => {
    const inside = Array.from({ length: 20 }, (_, i) => i) // 19 of 20 pass from score 1 upwards
    expect(fprAtTpr(inside, [0.5, 1, 3, 30])).toBe(0.75)
    expect(fprAtTpr(inside, [0.5, 1, 3, 30], 1)).toBe(1)
    expect(fprAtTpr(inside, [0.5, 1, 3, 30], 0.5)).toBe(0.25)
  })

  it('does not change with a monotone map of the scores', () => {
    const next = normals(2)
    const inside = Float64Array.from({ length: 200 }, () => next() + 1)
    const outside = Float64Array.from({ length: 300 }, next)
    const map = (v: number) => Math.exp(v / 2) * 1e6 - 3
    expect(oodFigures(inside.map(map), outside.map(map))).toEqual(oodFigures(inside, outside))
  })

  it('finds the closed form for two unit normals: Φ(δ/√2)', () => {
    const next = normals(9)
    const inside = Float64Array.from({ length: 20_000 }, () => next() + 1)
    const outside = Float64Array.from({ length: 20_000 }, next)
    expect(Math.abs(auroc(inside, outside) - 0.76025)).toBeLessThan(0.01)
    // AP of an uninformative score is the base rate.
    expect(Math.abs(aupr(outside, inside.map((v) => v - 1).slice(0, 5000)) - 0.8)).toBeLessThan(0.01)
  })

  it('counts what is not a number', () => {
    expect(() => auroc([1, Number.NaN, Infinity, -Infinity], [1])).toThrow(/of 4 values 1 are NaN and 2 infinite/)
    expect(() => auroc([1], [])).toThrow(/out-of-distribution scores must hold at least one/)
    expect(() => fprAtTpr([1], [1], 0)).toThrow(/tpr must lie in/)
  })
})
