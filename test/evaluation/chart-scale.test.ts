import { describe, expect, it } from 'vitest'
import {
  niceAxis,
  robustRange,
  showDuration,
  showNumber,
  showPercent,
  tightAxis,
} from '../../lib/evaluation/chart-scale.ts'
import { downsample } from '../../lib/evaluation/downsample.ts'
import { normals, uniforms } from './random.ts'

const texts = (low: number, high: number, percent = false) => niceAxis(low, high, 5, percent).ticks.map((t) => t.text)

describe('axes', () => {
  it('has round ticks that hold the range', () => {
    expect(texts(0, 1)).toEqual(['0.0', '0.2', '0.4', '0.6', '0.8', '1.0'])
    expect(texts(-3.2, 7)).toEqual(['−4', '−2', '0', '2', '4', '6', '8'])
    expect(texts(0, 48_000)).toEqual(['0', '10k', '20k', '30k', '40k', '50k'])
    expect(texts(0, 0.5, true)).toEqual(['0%', '10%', '20%', '30%', '40%', '50%'])
    expect(texts(0, 4e-6)).toEqual(['0', '1e−6', '2e−6', '3e−6', '4e−6'])
    expect(texts(1e-4, 1.04e-4)).toEqual(['1.00e−4', '1.01e−4', '1.02e−4', '1.03e−4', '1.04e−4'])
    const u = uniforms(1)
    for (let i = 0; i < 500; i++) {
      const low = (u() - 0.5) * 10 ** (u() * 14 - 7)
      const high = low + u() * 10 ** (u() * 14 - 7)
      const axis = niceAxis(low, high)
      expect(axis.low).toBeLessThanOrEqual(low + Math.abs(low) * 1e-9 + (high - low) * 1e-6)
      expect(axis.high).toBeGreaterThanOrEqual(high - Math.abs(high) * 1e-9 - (high - low) * 1e-6)
      expect(axis.ticks.length).toBeGreaterThan(1)
      expect(axis.ticks.length).toBeLessThan(12)
      expect(new Set(axis.ticks.map((t) => t.text)).size).toBe(axis.ticks.length)
    }
  })

  it('takes a range of one value', () => {
    for (const v of [0, 5, -1e9, 1e-9]) {
      const axis = niceAxis(v, v)
      expect(axis.low).toBeLessThan(v)
      expect(axis.high).toBeGreaterThan(v)
      expect(tightAxis(v, v).low).toBeLessThan(v)
    }
  })

  it('keeps a tight axis tight', () => {
    const axis = tightAxis(1, 500)
    expect([axis.low, axis.high]).toEqual([1, 500])
    expect(axis.ticks.map((t) => t.text)).toEqual(['100', '200', '300', '400', '500'])
  })

  it('leaves out a spike but not a long tail', () => {
    const next = normals(3)
    const values = Array.from({ length: 1000 }, next)
    expect(robustRange(values)?.outside).toBe(0)
    const spiked = robustRange([...values, 1e8, NaN])
    expect(spiked?.outside).toBeGreaterThan(0)
    expect(spiked?.high).toBeLessThan(10)
    expect(robustRange([NaN, Infinity])).toBeUndefined()
    expect(robustRange([1, 1e9])).toEqual({ low: 1, high: 1e9, outside: 0 })
  })
})

describe('numbers for people', () => {
  it('writes them', () => {
    expect([0, 1, -1.23456, 12345.6, 1e-7, 2.5e12, NaN, -Infinity].map((v) => showNumber(v))).toEqual([
      '0',
      '1',
      '−1.235',
      '12,346',
      '1e−7',
      '2.5e12',
      'not a number',
      '−infinite',
    ])
    expect([0.93121, -0.5, 1].map(showPercent)).toEqual(['93.1%', '−50.0%', '100.0%'])
    expect([2.44, 59, 185, 3720].map(showDuration)).toEqual(['2.4 s', '59 s', '3 min 05 s', '1 h 02 min'])
  })
})

describe('downsample', () => {
  it('keeps short curves whole', () => {
    const b = downsample([1, 2, 3], [4, NaN, 6], 3)
    expect(b.map((v) => [v.x, v.mean, v.count, v.bad])).toEqual([
      [1, 4, 1, 0],
      [2, NaN, 0, 1],
      [3, 6, 1, 0],
    ])
    expect(downsample([], [])).toEqual([])
  })

  it('keeps counts, extremes and the overall mean of long ones', () => {
    const next = normals(2)
    const n = 9973
    const x = Array.from({ length: n }, (_, i) => i * 3)
    const y = x.map((_, i) => (i % 100 === 7 ? NaN : next()))
    const b = downsample(x, y, 200)
    expect(b.length).toBeLessThanOrEqual(200)
    expect(b.reduce((s, v) => s + v.count + v.bad, 0)).toBe(n)
    const finite = y.filter(Number.isFinite)
    expect(Math.max(...b.map((v) => v.max))).toBe(Math.max(...finite))
    expect(Math.min(...b.map((v) => v.min))).toBe(Math.min(...finite))
    const mean = finite.reduce((s, v) => s + v, 0) / finite.length
    expect(b.reduce((s, v) => s + v.mean * v.count, 0) / finite.length).toBeCloseTo(mean, 10)
    for (let i = 1; i < b.length; i++) expect(b[i]!.x).toBeGreaterThan(b[i - 1]!.x)
  })

  it('takes clustered x', () => {
    const x = [...Array.from({ length: 50 }, (_, i) => i), 1e6]
    expect(downsample(x, x, 10).map((v) => v.count)).toEqual([50, 1])
    expect(downsample([5, 5, 5], [1, 2, 3], 2)).toEqual([{ x: 5, mean: 2, min: 1, max: 3, count: 3, bad: 0 }])
  })
})
