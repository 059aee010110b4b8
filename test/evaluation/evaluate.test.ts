import { describe, expect, it } from 'vitest'
import { type EvaluatedModel, type EvaluationProgress, evaluateModel } from '../../lib/evaluation/evaluate.ts'
import { frechetBetween } from '../../lib/evaluation/frechet.ts'
import { quantile } from '../../lib/evaluation/histogram.ts'
import { type HostTensor, hostTensor } from '../../lib/graph/host-tensor.ts'
import { floats, normals } from './random.ts'

/** E(x) = ½‖x‖², score -x; logits by the first coordinate's sign, ±10·x₀: a model whose figures are known. */
const bowl: EvaluatedModel & { largest: number } = {
  shape: [2],
  classes: 2,
  largest: 0,
  async energy(x) {
    this.largest = Math.max(this.largest, x.shape[0] ?? 0)
    return Float32Array.from({ length: x.shape[0] ?? 0 }, (_, i) => (x.data[2 * i]! ** 2 + x.data[2 * i + 1]! ** 2) / 2)
  },
  async score(x) {
    return hostTensor(
      Float32Array.from(x.data, (v) => -v),
      x.shape,
    )
  },
  async logits(x) {
    const n = x.shape[0] ?? 0
    return hostTensor(
      Float32Array.from({ length: 2 * n }, (_, i) => (i % 2 === 0 ? -10 : 10) * x.data[i - (i % 2)]!),
      [n, 2],
    )
  },
}
const { logits: _, ...energyOnly } = bowl

function cloud(n: number, scale: number, seed: number): HostTensor {
  const next = normals(seed)
  return hostTensor(
    floats(2 * n, () => scale * next()),
    [n, 2],
  )
}

const x = cloud(300, 0.5, 1)
const labels = Int32Array.from({ length: 300 }, (_, i) => (x.data[2 * i]! > 0 ? 1 : 0))

describe('evaluateModel', () => {
  it('gathers every figure', async () => {
    bowl.largest = 0
    const samples = cloud(200, 0.5, 2)
    const ood = new Map([
      ['far', cloud(100, 5, 3)],
      ['same', cloud(250, 0.5, 4)],
    ])
    const e = await evaluateModel(bowl, { test: { x, labels }, ood, samples, batch: 64, features: async (t) => t })
    expect(bowl.largest).toBe(64)
    expect(e.count).toBe(300)
    expect(e.accuracy).toBe(1)
    expect(e.nll).toBeGreaterThan(0)
    expect(e.ece).toBe(e.reliability?.ece)
    expect(e.reliability?.bins).toHaveLength(15)
    expect(e.confusion?.[0]?.[1]).toBe(0)
    expect(Object.keys(e.ood)).toEqual(['far', 'same'])
    expect(Object.keys(e.ood.far ?? {})).toEqual(['log_px', 'max_py', 'score_norm'])
    expect(e.ood.far?.log_px?.auroc).toBeGreaterThan(0.95)
    // -‖x‖ orders as -½‖x‖² does.
    expect(e.ood.far?.score_norm?.auroc).toBeCloseTo(e.ood.far?.log_px?.auroc ?? 0, 3)
    expect(Math.abs((e.ood.same?.log_px?.auroc ?? 0) - 0.5)).toBeLessThan(0.1)
    // The classifier is surer far out: max p(y|x) ranks foreign inputs above the known ones.
    expect(e.ood.far?.max_py?.auroc).toBeLessThan(0.3)
    expect(Object.keys(e.energies)).toEqual(['test', 'far', 'same', 'samples'])
    expect(e.energies.test?.mean).toBeCloseTo(0.25, 1)
    for (const h of Object.values(e.energies)) {
      expect(h.low).toBe(e.energies.test?.low)
      expect(h.counts.reduce((a, b) => a + b, 0) + h.below + h.above).toBe(h.count)
    }
    expect(e.frechet).toEqual({
      pixels: frechetBetween(samples, x),
      features: frechetBetween(samples, x),
      samples: 200,
      reference: 300,
    })
    expect(e.peakRssBytes).toBeGreaterThan(10e6)
    expect(JSON.parse(JSON.stringify(e))).toEqual(e)
  })

  it('does not depend on the batch size', async () => {
    const ood = new Map([['far', cloud(33, 2, 5)]])
    const strip = async (batch: number) => {
      const { seconds: _s, peakRssBytes: _p, ...rest } = await evaluateModel(bowl, { test: { x, labels }, ood, batch })
      return rest
    }
    expect(await strip(7)).toEqual(await strip(1000))
  })

  it('does without labels, logits, foreign sets and samples', async () => {
    const e = await evaluateModel(energyOnly, { test: { x } })
    expect(Object.keys(e)).toEqual(['count', 'ood', 'energies', 'seconds', 'peakRssBytes'])
    const f = await evaluateModel(energyOnly, {
      test: { x },
      ood: new Map([['far', cloud(9, 5, 1)]]),
      scores: ['log_px'],
    })
    expect(Object.keys(f.ood.far ?? {})).toEqual(['log_px'])
    const g = await evaluateModel(energyOnly, { test: { x }, samples: cloud(1, 1, 1) })
    expect(g.frechet).toBeUndefined()
    const h = await evaluateModel(energyOnly, { test: { x }, samples: cloud(5, 1, 1), pixels: false })
    expect(h.frechet).toEqual({ samples: 5, reference: 300 })
  })

  it('reports progress and stops when asked', async () => {
    const seen: EvaluationProgress[] = []
    await evaluateModel(bowl, { test: { x, labels }, batch: 200, onProgress: (p) => seen.push(p) })
    expect(seen).toEqual([
      { stage: 'test', done: 200, total: 300 },
      { stage: 'test', done: 300, total: 300 },
    ])
    const controller = new AbortController()
    const stopped = evaluateModel(bowl, {
      test: { x },
      batch: 10,
      signal: controller.signal,
      onProgress: (p) => p.done === 50 && controller.abort(new Error('stop at 50')),
    })
    await expect(stopped).rejects.toThrow('stop at 50')
  })

  it('says what is wrong', async () => {
    const fails = (model: EvaluatedModel, options: object) =>
      expect(evaluateModel(model, { test: { x }, ...options })).rejects
    await fails(bowl, { scores: ['log_p'] }).toThrow(/unknown out-of-distribution score 'log_p'. Did you mean 'log_px'/)
    await fails(energyOnly, { scores: ['max_py'] }).toThrow(/needs a model with logits/)
    await fails(energyOnly, { test: { x, labels } }).toThrow(/leave the labels out/)
    await fails(bowl, { ood: new Map([['wide', hostTensor(new Float32Array(6), [2, 3])]]) }).toThrow(
      /ood set 'wide' must be float32 \[n,2\].*\[2,3\]/,
    )
    await fails(bowl, { ood: new Map([['test', x]]) }).toThrow(/cannot be called 'test'/)
    await fails(bowl, { test: { x, labels: labels.map((y) => y * 2) } }).toThrow(/labels must be integers in 0..1/)
    await fails(bowl, { samples: hostTensor(Float32Array.from([NaN, 1]), [1, 2]) }).toThrow(
      /samples must be finite; of 2 values 1/,
    )
    const broken: EvaluatedModel = { ...bowl, energy: async (t) => new Float32Array(t.shape[0] ?? 0).fill(Infinity) }
    await fails(broken, {}).toThrow(/energies of 'test' must be finite; of 300 values 0 are NaN and 300 infinite/)
    const short: EvaluatedModel = { ...bowl, energy: async () => new Float32Array(1) }
    await fails(short, {}).toThrow(/the model's energy must have shape \[128\]; got \[1\]/)
  })
})

describe('quantile', () => {
  it('is linear between order statistics', () => {
    expect([0, 0.25, 0.5, 1].map((q) => quantile([1, 2, 4, 8], q))).toEqual([1, 1.75, 3, 8])
    expect(quantile([3], 0.7)).toBe(3)
    expect(() => quantile([], 0.5)).toThrow(RangeError)
  })
})
