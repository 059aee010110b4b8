import { describe, expect, it } from 'vitest'
import {
  classificationFigures,
  logMaxProbability,
  logSoftmax,
  predictions,
} from '../../lib/evaluation/classification.ts'
import { hostTensor } from '../../lib/graph/host-tensor.ts'
import { floats, normals, uniforms } from './random.ts'

const logits = (rows: number[][]) => hostTensor(Float32Array.from(rows.flat()), [rows.length, rows[0]?.length ?? 0])

describe('classification', () => {
  it('equals a hand computation', () => {
    // softmax([0, ln 3]) = [1/4, 3/4]; softmax([0, 0]) = [1/2, 1/2], predicted as the first.
    const f = classificationFigures(
      logits([
        [0, Math.log(3)],
        [0, Math.log(3)],
        [0, 0],
        [0, 0],
      ]),
      [1, 0, 0, 1],
    )
    expect(f.count).toBe(4)
    expect(f.accuracy).toBe(0.5)
    expect(f.nll).toBeCloseTo((Math.log(4 / 3) + Math.log(4) + 2 * Math.log(2)) / 4, 6)
    expect(f.brier).toBeCloseTo((2 / 16 + 18 / 16 + 0.5 + 0.5) / 4, 6)
    expect(f.confusion).toEqual([
      [1, 1],
      [1, 1],
    ])
    expect(f.perClassAccuracy).toEqual([0.5, 0.5])
  })

  it('gives null for a class without rows', () => {
    const f = classificationFigures(
      logits([
        [3, 1, 0],
        [3, 1, 0],
      ]),
      [0, 1],
    )
    expect(f.perClassAccuracy).toEqual([1, 0, null])
    expect(f.confusion).toEqual([
      [1, 0, 0],
      [1, 0, 0],
      [0, 0, 0],
    ])
  })

  it('stays finite on huge logits', () => {
    const f = classificationFigures(
      logits([
        [3e38, -3e38],
        [1e30, 0],
      ]),
      [1, 1],
    )
    expect(f.nll).toBeGreaterThan(1e38)
    expect(Number.isFinite(f.nll)).toBe(true)
    expect(f.brier).toBe(2)
    expect(classificationFigures(logits([[1e30, 0]]), [0]).nll).toBe(0)
  })

  it('does not change with a shift of a row, and its rows are distributions', () => {
    const next = normals(1)
    const x = floats(60, next)
    const shifted = x.map((v, i) => v + (Math.floor(i / 5) - 6) * 64)
    const a = logSoftmax(hostTensor(x, [12, 5]))
    const b = logSoftmax(hostTensor(shifted, [12, 5]))
    for (let i = 0; i < a.length; i++) expect(b[i]).toBeCloseTo(a[i]!, 4)
    for (let i = 0; i < 12; i++) {
      const sum = a.slice(i * 5, i * 5 + 5).reduce((s, v) => s + Math.exp(v), 0)
      expect(sum).toBeCloseTo(1, 12)
    }
  })

  it('permutes with the rows and the classes', () => {
    const u = uniforms(3)
    const n = 40
    const x = floats(n * 3, u)
    const y = Int32Array.from({ length: n }, () => Math.floor(u() * 3))
    const f = classificationFigures(hostTensor(x, [n, 3]), y)
    const reversedRows = Float32Array.from(
      { length: n * 3 },
      (_, i) => x[(n - 1 - Math.floor(i / 3)) * 3 + (i % 3)] ?? 0,
    )
    const g = classificationFigures(hostTensor(reversedRows, [n, 3]), y.slice().reverse())
    expect(g.nll).toBeCloseTo(f.nll, 12)
    expect(g.confusion).toEqual(f.confusion)
    const mirrored = Float32Array.from({ length: n * 3 }, (_, i) => x[Math.floor(i / 3) * 3 + 2 - (i % 3)] ?? 0)
    const h = classificationFigures(
      hostTensor(mirrored, [n, 3]),
      y.map((k) => 2 - k),
    )
    expect(h.accuracy).toBe(f.accuracy)
    expect(h.brier).toBeCloseTo(f.brier, 12)
    expect(h.confusion).toEqual(f.confusion.map((row) => [...row].reverse()).reverse())
  })

  it('tells apart probabilities that round to one', () => {
    const [a = 0, b = 0, c = 0] = logMaxProbability(
      logits([
        [60, 0],
        [80, 0],
        [0, 0],
      ]),
    )
    expect(a).toBeLessThan(b)
    expect(b).toBeLessThan(0)
    expect(c).toBeCloseTo(-Math.log(2), 12)
  })

  it('predicts the first of equals', () => {
    expect([
      ...predictions(
        logits([
          [1, 1, 0],
          [0, 2, 2],
          [-1, -1, -1],
        ]),
      ),
    ]).toEqual([0, 1, 0])
  })

  it('says what is wrong', () => {
    expect(() =>
      classificationFigures(
        logits([
          [Number.NaN, 0],
          [Infinity, 0],
        ]),
        [0, 1],
      ),
    ).toThrow(/4 values 1 are NaN and 1 infinite/)
    expect(() => classificationFigures(logits([[1, 0]]), [2])).toThrow(/labels\[0\] is 2/)
    expect(() => classificationFigures(logits([[1, 0]]), [0, 1])).toThrow(/one entry a row: 1; got 2/)
    expect(() => classificationFigures(hostTensor(new Float32Array(3), [3]), [0, 1, 2])).toThrow(/shape \[n, k\]/)
    expect(() => classificationFigures(hostTensor(new Float32Array(0), [0, 3]), [])).toThrow(/n >= 1/)
  })
})
