/** Parallel tempering: mixes what its inner sampler alone cannot, keeps the target exactly, swaps as often as theory says, repeats from a seed. */
import { afterEach, describe, expect, test } from 'vitest'
import { hostTensor } from '../../lib/graph/host-tensor.ts'
import { addonInfo, setThreads } from '../../lib/runtime/addon.ts'
import { HostRandom } from '../../lib/runtime/host-random.ts'
import { Chains } from '../../lib/samplers/chains.ts'
import type { SamplerOptions } from '../../lib/samplers/samplers.ts'
import { energyTarget } from '../../lib/samplers/target.ts'
import type { ParallelTemperingOptions } from '../../lib/samplers/tempering.ts'
import { type Mixture, modes, plainMixture } from './multimodal.ts'

const threads = addonInfo().threads
afterEach(() => setThreads(threads))

/** Modes ten standard deviations apart, of unequal weight. */
const mixture: Mixture = {
  weights: [0.3, 0.7],
  means: [
    [-2.5, 0],
    [2.5, 0],
  ],
  std: 0.5,
}
const N = 1000
const temperatures = { count: 5, max: 30 }
/** All chains in the lighter mode. */
const inLeft = hostTensor(
  Float32Array.from({ length: 2 * N }, (_, i) => (i % 2 === 0 ? -2.5 : 0)),
  [N, 2],
)
/** Standard error of the share of a mode, and of a variance, among N independent chains. */
const shareError = Math.sqrt(0.21 / N)

async function run(sampler: SamplerOptions, steps: number) {
  const chains = await Chains.start(plainMixture(mixture), { sampler, start: inLeft, seed: 2 })
  const info = await chains.advance(steps)
  const x = await chains.read()
  chains.dispose()
  return { info, found: modes(x.data, mixture) }
}

describe('a mixture with far modes', () => {
  const mala = { kind: 'mala', stepSize: 0.15 } as const

  test('mala alone stays in the mode it began in', async () => {
    const { found } = await run(mala, 150)
    expect(found.shares[0]).toBeGreaterThan(0.99)
  })

  test.each([
    ['mala', mala, 150],
    ['hmc', { kind: 'hmc', stepSize: 0.3, leapfrogSteps: 3, jitter: 0.3 }, 200],
    ['rwm', { kind: 'rwm', stepSize: 0.8 }, 250],
  ] as const)('tempered %s finds the weights of the modes, and the moments within', async (_, inner, steps) => {
    const { found, info } = await run({ kind: 'parallelTempering', inner, temperatures }, steps)
    expect(Math.abs((found.shares[0] as number) - 0.3)).toBeLessThan(4 * shareError)
    for (const v of found.variances) expect(Math.abs(v / 0.25 - 1)).toBeLessThan(4 * Math.sqrt(2 / (2 * 0.3 * N)))
    for (const o of found.offsets.flat()) expect(Math.abs(o)).toBeLessThan(4 * (0.5 / Math.sqrt(0.3 * N)))
    expect(info.details.swapAcceptance).toHaveLength(4)
    for (const a of info.details.swapAcceptance ?? []) expect(a).toBeGreaterThan(0.15)
    expect(info.acceptance).toBeGreaterThan(0.2)
    expect(info.divergences).toBe(0)
  })
})

describe('exactness', () => {
  const standard = energyTarget((x) => x.square().sum(1).mul(0.5), { shape: [2] })
  const random = new HostRandom(8)
  const exact = hostTensor(
    Float32Array.from({ length: 8000 }, () => random.normal()),
    [4000, 2],
  )

  test('neighbours exchange as often as the overlap of their energies says', async () => {
    // In two dimensions E is exponential with mean T, and the mean acceptance is 2 P(E₁ > E₂) = 2 T₁/(T₁ + T₂).
    const ladder = [1, 2, 5]
    const sampler: SamplerOptions = {
      kind: 'parallelTempering',
      temperatures: ladder,
      inner: { kind: 'hmc', stepSize: 0.5, leapfrogSteps: 3 },
    }
    const chains = await Chains.start(standard, { sampler, start: exact, seed: 4 })
    await chains.advance(30)
    const { details } = await chains.advance(30)
    expect(details.swapAcceptance?.[0]).toBeCloseTo(2 / 3, 2)
    expect(details.swapAcceptance?.[1]).toBeCloseTo(4 / 7, 2)
    const replicas = await chains.readState('replicas')
    expect(replicas.shape).toEqual([12000, 2])
    chains.dispose()
    // In scaled coordinates every temperature has unit variance.
    for (const k of [0, 1, 2]) {
      const rows = Array.from(replicas.data.subarray(8000 * k, 8000 * (k + 1)))
      const variance = rows.reduce((s, v) => s + v * v, 0) / rows.length
      expect(Math.abs(variance - 1)).toBeLessThan(4 * Math.sqrt(2 / rows.length))
    }
  })

  test.each([true, false])('chains begun at exact draws keep their moments (scaleSteps %s)', async (scaleSteps) => {
    const sampler: SamplerOptions = {
      kind: 'parallelTempering',
      temperatures: [1, 1.5, 3],
      scaleSteps,
      inner: { kind: 'mala', stepSize: 0.8 },
    }
    const chains = await Chains.start(standard, { sampler, start: exact, seed: 6 })
    await chains.advance(40)
    const { data } = await chains.read()
    const moment = (f: (v: number) => number) => (data as Float32Array).reduce((s, v) => s + f(v), 0) / data.length
    expect(Math.abs(moment((v) => v))).toBeLessThan(4 / Math.sqrt(data.length))
    expect(Math.abs(moment((v) => v * v) - 1)).toBeLessThan(4 * Math.sqrt(2 / data.length))
    expect(Math.abs(moment((v) => v ** 4) - 3)).toBeLessThan(4 * Math.sqrt(96 / data.length))
    chains.dispose()
  })

  test('kept energies are those of the points, after many exchanges', async () => {
    const sampler: SamplerOptions = { kind: 'parallelTempering', temperatures, inner: { kind: 'mala', stepSize: 0.3 } }
    const chains = await Chains.start(standard, { sampler, chains: 50, seed: 1 })
    await chains.advance(60)
    const [y, energy, score] = await Promise.all(['replicas', 'energy', 'score'].map((n) => chains.readState(n)))
    chains.dispose()
    // The density of y = x/√T at temperature T is that of a standard normal: energy |y|²/2, score -y.
    for (let r = 0; r < 250; r++) {
      const [a, b] = [y?.data[2 * r] as number, y?.data[2 * r + 1] as number]
      expect(energy?.data[r]).toBeCloseTo((a * a + b * b) / 2, 4)
      expect(score?.data[2 * r]).toBeCloseTo(-a, 4)
    }
  })
})

describe('running', () => {
  const options = { kind: 'parallelTempering', temperatures } as const
  const draw = async (seed: number) => {
    const chains = await Chains.start(plainMixture(mixture), { sampler: options, chains: 40, seed })
    const { draws } = await chains.draw({ draws: 10 })
    chains.dispose()
    return draws.data
  }

  test('a seed repeats bit for bit, on one thread as on two', async () => {
    setThreads(1)
    const one = await draw(3)
    setThreads(2)
    expect(await draw(3)).toEqual(one)
    expect(await draw(4)).not.toEqual(one)
  })

  test('warm-up tunes the inner sampler for all temperatures', async () => {
    const sampler: SamplerOptions = { ...options, inner: { kind: 'mala', stepSize: 5, adaptScale: false, warmup: 80 } }
    const standard = energyTarget((x) => x.square().sum(1).mul(0.5), { shape: [3] })
    const chains = await Chains.start(standard, { sampler, chains: 50, seed: 1 })
    const { stepSize } = await chains.warmup()
    expect(stepSize).toBeLessThan(3)
    const { acceptance } = await chains.advance(50)
    expect(Math.abs(acceptance - 0.574)).toBeLessThan(0.08)
    chains.dispose()
  })

  test('cancelled midway, the chains stand at a step and go on as if nothing had been', async () => {
    const start = { sampler: options, chains: 20, seed: 5 }
    const [a, b] = [await Chains.start(plainMixture(mixture), start), await Chains.start(plainMixture(mixture), start)]
    const stop = new AbortController()
    const cancelled = a.advance(400, { signal: stop.signal, onProgress: (done) => done >= 100 && stop.abort() })
    await expect(cancelled).rejects.toMatchObject({ code: 'E_CANCELLED' })
    const { steps } = await a.advance(0)
    expect(steps).toBeGreaterThanOrEqual(100)
    expect(steps).toBeLessThan(400)
    await a.advance(10)
    await b.advance(steps + 10)
    expect((await a.read()).data).toEqual((await b.read()).data)
    a.dispose()
    b.dispose()
  })
})

describe('options', () => {
  const start = (options: object) =>
    Chains.start(plainMixture(mixture), {
      sampler: { kind: 'parallelTempering', ...options } as ParallelTemperingOptions,
    })

  test('impossible ones are refused by name', async () => {
    await expect(start({ inner: { kind: 'nuts' } })).rejects.toThrow(/inner 'nuts' cannot run inside/)
    await expect(start({ inner: { kind: 'maal' } })).rejects.toThrow(/Did you mean 'mala'/)
    await expect(start({ temperatures: [1, 3, 2] })).rejects.toThrow(/begin with 1 and rise; got \[1, 3, 2\]/)
    await expect(start({ temperatures: [2, 3] })).rejects.toThrow(/begin with 1/)
    await expect(start({ temperatures: { count: 1, max: 3 } })).rejects.toThrow(/count must be an integer ≥ 2; got 1/)
    await expect(start({ temperature: [1, 2] })).rejects.toThrow(/Did you mean 'temperatures'/)
    const walled = { inner: { kind: 'rwm', bounds: [-4, 4] } }
    await expect(start({ ...walled, scaleSteps: true })).rejects.toThrow(/scaleSteps cannot be true with bounds/)
    const chains = await start(walled)
    await chains.advance(20)
    expect((await chains.readState('replicas')).data.every((v: number) => Math.abs(v) <= 4)).toBe(true)
    chains.dispose()
  })
})
