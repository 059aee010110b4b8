import { describe, expect, it } from 'vitest'
import { reliability, reliabilityOf } from '../../lib/evaluation/calibration.ts'
import { hostTensor } from '../../lib/graph/host-tensor.ts'
import { uniforms } from './random.ts'

describe('reliability', () => {
  it('equals a hand computation with two bins', () => {
    // (0, 0.5]: 0.4 wrong, 0.5 right -> confidence 0.45, accuracy 0.5; (0.5, 1]: 0.9 right, 0.7 wrong -> 0.8, 0.5.
    const r = reliability([0.4, 0.9, 0.5, 0.7], [0, 1, 1, 0], { bins: 2 })
    expect(r.bins.map((b) => b.count)).toEqual([2, 2])
    expect(r.ece).toBeCloseTo(0.5 * 0.05 + 0.5 * 0.3, 12)
    expect(r.mce).toBeCloseTo(0.3, 12)
  })

  it('puts an edge into the bin that it closes', () => {
    const edges = Array.from({ length: 16 }, (_, k) => k / 15)
    const r = reliability(
      edges,
      edges.map(() => 1),
    )
    expect(r.bins.map((b) => b.count)).toEqual([2, ...new Array(14).fill(1)])
    expect(
      reliability([0.2, 0.2 + 1e-12], [1, 1])
        .bins.map((b) => b.count)
        .slice(2, 4),
    ).toEqual([1, 1])
  })

  it('is small for a calibrated set and right for a miscalibrated one', () => {
    const u = uniforms(5)
    const confidence = Float64Array.from({ length: 60_000 }, () => 0.1 + 0.9 * u())
    const calibrated = confidence.map((c) => (u() < c ? 1 : 0))
    for (const binning of ['width', 'mass'] as const) {
      expect(reliability(confidence, calibrated, { binning }).ece).toBeLessThan(0.01)
      // Always right: the gap of each bin is 1 - confidence, so the ECE is 1 - the mean confidence for any bins.
      const mean = confidence.reduce((a, b) => a + b, 0) / confidence.length
      expect(
        reliability(
          confidence,
          confidence.map(() => 1),
          { binning },
        ).ece,
      ).toBeCloseTo(1 - mean, 9)
    }
  })

  it('makes adaptive bins of equal count that never part equal confidences', () => {
    const u = uniforms(6)
    const confidence = Float64Array.from({ length: 1000 }, u)
    const r = reliability(confidence, new Uint8Array(1000), { bins: 10, binning: 'mass' })
    expect(r.bins.map((b) => b.count)).toEqual(new Array(10).fill(100))
    const tied = reliability([0.5, 0.5, 0.5, 0.5, 0.9], [1, 0, 1, 0, 1], { bins: 5, binning: 'mass' })
    expect(tied.bins.map((b) => b.count)).toEqual([4, 1])
    expect(tied.ece).toBeCloseTo(0.1 / 5, 12)
  })

  it('leaves empty bins empty and does not depend on the order', () => {
    const r = reliability([0.95, 0.97], [1, 0])
    expect(r.bins[0]).toEqual({ low: 0, high: 1 / 15, count: 0, confidence: null, accuracy: null })
    const u = uniforms(7)
    const c = Array.from({ length: 300 }, () => Math.round(u() * 20) / 20)
    const y = c.map((v) => (u() < v ? 1 : 0))
    for (const binning of ['width', 'mass'] as const) {
      const there = reliability(c, y, { binning }).ece
      expect(reliability([...c].reverse(), [...y].reverse(), { binning }).ece).toBeCloseTo(there, 12)
    }
  })

  it('reads logits', () => {
    const x = hostTensor(Float32Array.from([0, Math.log(3), Math.log(4), 0]), [2, 2])
    const r = reliabilityOf(x, [1, 1], { bins: 1 })
    expect(r.bins[0]?.confidence).toBeCloseTo((0.75 + 0.8) / 2, 6)
    expect(r.bins[0]?.accuracy).toBe(0.5)
  })

  it('says what is wrong', () => {
    expect(() => reliability([1.1], [1])).toThrow(/confidence\[0\] is 1.1/)
    expect(() => reliability([0.5], [1], { bins: 0 })).toThrow(/bins must be an integer ≥ 1; got 0/)
    expect(() => reliability([0.5], [1, 0])).toThrow(/one entry a confidence/)
    expect(() => reliability([], [])).toThrow(/at least one value/)
  })
})
