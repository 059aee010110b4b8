import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { autocovariance, fourierTransform } from '../../lib/evaluation/autocovariance.ts'
import {
  autocorrelation,
  effectiveSampleSize,
  splitRhat,
  stackDraws,
  summarizeDraws,
} from '../../lib/evaluation/mcmc-diagnostics.ts'
import { normalQuantile } from '../../lib/evaluation/ranks.ts'
import { type HostTensor, hostTensor } from '../../lib/graph/host-tensor.ts'
import { pattern } from '../golden/pattern.ts'
import { normals } from './random.ts'

interface ChainFigures {
  readonly bulk: number
  readonly tail: number
  readonly mean: number
  readonly rhat: number
  readonly first: readonly number[]
}
const golden = JSON.parse(readFileSync(new URL('../golden/diagnostics.json', import.meta.url), 'utf8')) as {
  readonly chains: readonly ChainFigures[]
  readonly quantiles: Readonly<Record<string, number>>
}

/** The draws of diagnostics.py. */
function goldenDraws(): HostTensor {
  const noise = pattern([4, 101, 4], 7).data
  const out = new Float64Array(noise.length)
  for (let c = 0; c < 4; c++) {
    for (let t = 0; t < 101; t++) {
      for (const [k, a] of [0.7, 0, 0.3, -0.6].entries()) {
        const at = (c * 101 + t) * 4 + k
        out[at] = t === 0 ? noise[at]! : a * out[at - 4]! + noise[at]!
      }
    }
  }
  const shaped = out.map((v, i) => {
    const [c, k] = [Math.floor(i / 404), i % 4]
    if (k === 1) return noise[i]! / (1.02 - Math.abs(noise[i]!))
    return k === 2 && c === 3 ? v + 1.5 : v
  })
  return hostTensor(Float32Array.from(shaped), [4, 101, 4])
}

/** AR(1) chains of unit variance with correlation `rho`, [chains, draws, 1]. */
function autoregressive(
  chains: number,
  length: number,
  rho: number,
  seed: number,
  shift: (c: number) => number = () => 0,
) {
  const next = normals(seed)
  const data = new Float32Array(chains * length)
  for (let c = 0; c < chains; c++) {
    let x = next()
    for (let t = 0; t < length; t++) {
      data[c * length + t] = x + shift(c)
      x = rho * x + Math.sqrt(1 - rho * rho) * next()
    }
  }
  return hostTensor(data, [chains, length, 1])
}

describe('against numpy and scipy', () => {
  const draws = goldenDraws()
  test('the draws are those of the script', () => {
    golden.chains.forEach((g, k) => {
      g.first.forEach((v, t) => {
        expect(draws.data[(101 + t) * 4 + k]).toBeCloseTo(v, 7)
      })
    })
  })

  test.each(['bulk', 'tail', 'mean'] as const)('effective sample size, %s', (kind) => {
    const got = effectiveSampleSize(draws, { kind })
    golden.chains.forEach((g, k) => {
      expect(got[k]! / g[kind]).toBeCloseTo(1, 8)
    })
  })

  test('R-hat', () => {
    const got = splitRhat(draws)
    golden.chains.forEach((g, k) => {
      expect(got[k]).toBeCloseTo(g.rhat, 9)
    })
  })

  test('normal quantiles', () => {
    for (const [p, z] of Object.entries(golden.quantiles)) expect(normalQuantile(Number(p))).toBeCloseTo(z, 8)
  })
})

describe('known answers', () => {
  test('the effective sample size of AR(1) chains is n(1-ρ)/(1+ρ)', () => {
    for (const rho of [0, 0.5, 0.9]) {
      const [ess] = effectiveSampleSize(autoregressive(4, 20000, rho, 3), { kind: 'mean' })
      const want = (80000 * (1 - rho)) / (1 + rho)
      expect(Math.abs(ess! / want - 1)).toBeLessThan(0.12)
    }
  })

  test('antithetic chains are worth more than independent draws', () => {
    const [ess] = effectiveSampleSize(autoregressive(4, 4000, -0.5, 5), { kind: 'mean' })
    expect(ess! / (16000 * 3)).toBeGreaterThan(0.8)
    expect(ess! / (16000 * 3)).toBeLessThan(1.2)
  })

  test('R-hat is near 1 for chains that agree, above 1.1 for a shifted and for a wider one', () => {
    expect(splitRhat(autoregressive(4, 2000, 0.3, 7))[0]).toBeLessThan(1.01)
    expect(splitRhat(autoregressive(4, 500, 0.3, 7, (c) => (c === 0 ? 1.5 : 0)))[0]).toBeGreaterThan(1.1)
    const wide = autoregressive(4, 500, 0.3, 9)
    for (let t = 0; t < 500; t++) wide.data[t]! *= 4
    expect(splitRhat(wide)[0]).toBeGreaterThan(1.1)
  })

  test('a chain that drifts is found by its halves alone', () => {
    const drift = autoregressive(1, 1000, 0, 11)
    for (let t = 0; t < 1000; t++) drift.data[t]! += t / 250
    expect(splitRhat(drift)[0]).toBeGreaterThan(1.1)
  })

  test('autocorrelation of AR(1) is ρ^t, and 1 at lag 0', () => {
    const { lags, values } = autocorrelation(autoregressive(4, 20000, 0.8, 13), { maxLag: 5 })
    expect(lags).toBe(6)
    expect(values[0]).toBe(1)
    for (let t = 1; t < 6; t++) expect(Math.abs(values[t]! - 0.8 ** t)).toBeLessThan(0.04)
  })

  test('the summary has the mean within its standard error, and agrees with its parts', () => {
    const draws = autoregressive(4, 5000, 0.7, 17, () => 3)
    const [s] = summarizeDraws(draws)
    expect(Math.abs(s!.mean - 3)).toBeLessThan(4 * s!.standardError)
    expect(s!.standardDeviation).toBeCloseTo(1, 1)
    expect(s!.essBulk).toBe(effectiveSampleSize(draws)[0])
    expect(s!.rhat).toBe(splitRhat(draws)[0])
  })

  test('a dimension that never changes gives NaN, and the others their figures', () => {
    const moving = autoregressive(2, 100, 0, 19).data
    const draws = hostTensor(
      Float32Array.from({ length: 400 }, (_, i) => (i % 2 === 0 ? 0.1 : moving[i >> 1]!)),
      [2, 100, 2],
    )
    expect(effectiveSampleSize(draws, { kind: 'mean' })[0]).toBeNaN()
    expect(splitRhat(draws)[0]).toBeNaN()
    expect(effectiveSampleSize(draws, { kind: 'mean' })[1]).toBeGreaterThan(50)
  })
})

describe('autocovariance', () => {
  test('equals the direct sum', () => {
    const x = Float64Array.from({ length: 37 }, normals(23))
    const mean = x.reduce((s, v) => s + v, 0) / 37
    const got = autocovariance(x)
    for (let t = 0; t < 37; t++) {
      let want = 0
      for (let i = 0; i + t < 37; i++) want += ((x[i]! - mean) * (x[i + t]! - mean)) / 37
      expect(got[t]).toBeCloseTo(want, 12)
    }
  })

  test('the transform of a cosine is one pair of lines, and lengths are powers of two', () => {
    const re = Float64Array.from({ length: 16 }, (_, i) => Math.cos((2 * Math.PI * 3 * i) / 16))
    const im = new Float64Array(16)
    fourierTransform(re, im, -1)
    for (let k = 0; k < 16; k++) expect(Math.hypot(re[k]!, im[k]!)).toBeCloseTo(k === 3 || k === 13 ? 8 : 0, 10)
    expect(() => fourierTransform(new Float64Array(6), new Float64Array(6), 1)).toThrow(RangeError)
  })
})

describe('arguments', () => {
  test('stackDraws turns a trajectory around', () => {
    const at = (v: number) => hostTensor(Float32Array.of(v, v + 1, v + 2, v + 3), [2, 2])
    const stacked = stackDraws([at(0), at(10), at(20)])
    expect(stacked.shape).toEqual([2, 3, 2])
    expect([...stacked.data]).toEqual([0, 1, 10, 11, 20, 21, 2, 3, 12, 13, 22, 23])
    expect(() => stackDraws([])).toThrow(/at least one/)
    expect(() => stackDraws([at(0), hostTensor(new Float32Array(2), [2, 1])])).toThrow(/draw 1 has \[2,1\]/)
  })

  test('bad draws are refused with typed errors', () => {
    const short = hostTensor(new Float32Array(6), [2, 3])
    expect(() => splitRhat(short)).toThrow(/at least 4 draws; got \[2,3\]/)
    const broken = hostTensor(new Float32Array(8).fill(Number.NaN), [2, 4])
    expect(() => effectiveSampleSize(broken)).toThrow(expect.objectContaining({ code: 'E_DATA' }))
    const fine = autoregressive(2, 10, 0, 1)
    expect(() => effectiveSampleSize(fine, { kind: 'bulc' as 'bulk' })).toThrow(/Did you mean 'bulk'/)
    expect(() => autocorrelation(fine, { maxLag: 10 })).toThrow(RangeError)
  })
})
