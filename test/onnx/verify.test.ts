import { describe, expect, it } from 'vitest'
import { type HostTensor, hostTensor } from '../../lib/graph/host-tensor.ts'
import { exportGraph, type Trace } from '../../lib/onnx/exporter.ts'
import { compareOutputs, type Feeds, openOnnx, verifyOnnx } from '../../lib/onnx/verify.ts'
import { mul } from '../../lib/ops/elementwise.ts'
import { sum } from '../../lib/ops/reduce.ts'
import { input } from '../../lib/ops/source.ts'
import { square } from '../../lib/ops/unary.ts'
import { waves } from './helpers.ts'

/** energy = Σ x², score = -2x: small enough to be written down again here. */
const bytes = exportGraph({
  build: (b): Trace => {
    const x = input('x', [b, 3])
    return {
      inputs: [{ name: 'x', tensor: x }],
      outputs: [
        { name: 'energy', tensor: sum(square(x), 1) },
        { name: 'score', tensor: mul(x, -2) },
      ],
      parameters: new Map(),
    }
  },
})
const feeds = (batch: number): Feeds => new Map([['x', waves([batch, 3], batch)]])

function truth(given: Feeds, scale = 1): Map<string, HostTensor> {
  const x = given.get('x') as HostTensor
  const n = x.shape[0] as number
  const energy = Float32Array.from({ length: n }, (_, i) =>
    Array.from(x.data.slice(3 * i, 3 * i + 3)).reduce((s, v) => s + v * v, 0),
  )
  const score = Float32Array.from(x.data, (v) => -2 * v * scale)
  return new Map([
    ['energy', hostTensor(energy, [n])],
    ['score', hostTensor(score, [n, 3])],
  ])
}

describe('verifyOnnx', () => {
  it('passes a right model, at batches that were not traced', async () => {
    const v = await verifyOnnx(bytes, { feeds, expected: async (f) => truth(f), threads: 1 })
    expect(v.ok).toBe(true)
    expect(v.outputs.map((o) => [o.name, o.batch, o.tolerance, o.ok])).toEqual([
      ['energy', 1, 1e-4, true],
      ['score', 1, 1e-3, true],
      ['energy', 7, 1e-4, true],
      ['score', 7, 1e-3, true],
    ])
  })

  it('fails a wrong one, and says by how much', async () => {
    const v = await verifyOnnx(bytes, { feeds, expected: async (f) => truth(f, 1.01), batches: [4], threads: 1 })
    expect(v.ok).toBe(false)
    expect(v.outputs.map((o) => o.ok)).toEqual([true, false])
    expect(v.outputs[1]?.maxRel).toBeCloseTo(0.01 / 1.01, 4)
    const loose = { feeds, expected: async (f: Feeds) => truth(f, 1.01), batches: [4], threads: 1 }
    expect((await verifyOnnx(bytes, { ...loose, tolerance: { default: 1e-4, score: 0.02 } })).ok).toBe(true)
  })

  it('measures the typical example where it is asked to: one that is all wrong counts in the largest difference alone', async () => {
    const expected = async (given: Feeds) => {
      const want = truth(given)
      const score = want.get('score') as HostTensor
      score.data.set(
        Array.from(score.data.slice(0, 3), (v) => -v),
        0,
      )
      return want
    }
    const shared = { feeds, expected, batches: [5], threads: 1 }
    const [plain, typical] = [
      await verifyOnnx(bytes, shared),
      await verifyOnnx(bytes, { ...shared, typical: ['score'] }),
    ]
    expect([plain.ok, typical.ok]).toEqual([false, true])
    expect(plain.outputs[1]?.maxRel).toBeGreaterThan(0.5)
    expect(typical.outputs.map((o) => o.typicalRel)).toEqual([undefined, expect.closeTo(0, 6)])
    const all = { ...shared, expected: async (f: Feeds) => truth(f, 1.1), typical: ['score'] }
    const wrong = await verifyOnnx(bytes, all)
    expect([wrong.ok, wrong.outputs[1]?.typicalRel]).toEqual([false, expect.closeTo(0.1 / 1.1, 5)])
    const limits = (batch: number) => ({ default: 1e-4, score: batch < 4 ? 0.5 : 1e-3 })
    const byBatch = await verifyOnnx(bytes, { ...all, batches: [2, 5], tolerance: limits })
    expect(byBatch.outputs.map((o) => o.ok)).toEqual([true, true, true, false])
  })

  it('does not pass when nothing was compared', async () => {
    expect((await verifyOnnx(bytes, { feeds, expected: async () => new Map(), threads: 1 })).ok).toBe(false)
  })

  it('explains a missing output, wrong feeds and files that are no models', async () => {
    const missing = async () => new Map([['logits', hostTensor(new Float32Array(1), [1])]])
    await expect(verifyOnnx(bytes, { feeds, expected: missing, threads: 1 })).rejects.toMatchObject({
      code: 'E_ONNX',
      message: expect.stringMatching(/no output 'logits'; it has 'energy', 'score'/),
    })
    const wide = () => new Map([['x', waves([2, 4])]])
    await expect(verifyOnnx(bytes, { feeds: wide, expected: missing, threads: 1 })).rejects.toMatchObject({
      code: 'E_ONNX',
    })
    await expect(openOnnx(new Uint8Array([1, 2, 3]))).rejects.toMatchObject({
      code: 'E_ONNX',
      message: expect.stringContaining('refuses the model'),
    })
  })
})

describe('compareOutputs', () => {
  const t = (...values: number[]) => hostTensor(Float32Array.from(values), [values.length])

  it('is relative to the largest magnitude', () => {
    expect(compareOutputs(t(0.001, 10), t(0, 10)).maxRel).toBeCloseTo(1e-4, 8)
    expect(compareOutputs(t(0), t(0))).toEqual({ maxAbs: 0, maxRel: 0 })
    expect(compareOutputs(t(1e-6), t(0), 1e-3).maxRel).toBeCloseTo(1e-3, 8)
  })

  it('takes equal non-finite values and no others', () => {
    const [inf, nan] = [Number.POSITIVE_INFINITY, Number.NaN]
    expect(compareOutputs(t(inf, nan, 1), t(inf, nan, 1)).maxRel).toBe(0)
    expect(compareOutputs(t(inf), t(-inf)).maxRel).toBe(inf)
    expect(compareOutputs(t(1), t(nan)).maxRel).toBe(inf)
    expect(compareOutputs(t(nan), t(1)).maxRel).toBe(inf)
    expect(compareOutputs(hostTensor(new Float32Array(2), [2, 1]), t(0, 0)).maxRel).toBe(inf)
    expect(compareOutputs(hostTensor(new Int32Array(1), [1]), t(0)).maxRel).toBe(inf)
  })
})
