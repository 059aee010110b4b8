/** Chains: what is drawn and when, draws by transitions (NUTS), warm-up, information per chain, sources and their options, cancelling, refusals. */
import { describe, expect, test } from 'vitest'
import { type HostTensor, hostTensor } from '../../lib/graph/host-tensor.ts'
import { convEnergy, defineEnergy } from '../../lib/nn/models.ts'
import * as ops from '../../lib/ops/index.ts'
import { HostRandom } from '../../lib/runtime/host-random.ts'
import { Chains, type ChainsOptions } from '../../lib/samplers/chains.ts'
import { sample } from '../../lib/samplers/sample.ts'
import type { SamplerOptions } from '../../lib/samplers/samplers.ts'
import type { DensitySource } from '../../lib/samplers/source.ts'
import { energyTarget } from '../../lib/samplers/target.ts'

const standard = energyTarget((x) => x.square().sum(1).mul(0.5), { shape: [1] })
const floats = (values: readonly number[], shape: readonly number[]): HostTensor =>
  hostTensor(Float32Array.from(values), shape)

/** x ← x/2 without noise: where a chain is tells how many steps it made. */
const halving: SamplerOptions = { kind: 'sgld', stepSize: 0.5, noise: 0 }

async function withChains<T>(
  source: DensitySource,
  options: ChainsOptions,
  use: (c: Chains) => Promise<T>,
): Promise<T> {
  const chains = await Chains.start(source, options)
  try {
    return await use(chains)
  } finally {
    chains.dispose()
  }
}

function normals(n: number, seed: number): HostTensor {
  const random = new HostRandom(seed)
  return floats(
    Array.from({ length: n }, () => random.normal()),
    [n, 1],
  )
}

const mean = (v: ArrayLike<number>) => Array.from(v).reduce((a, b) => a + b, 0) / v.length

describe('draw', () => {
  const start = floats([64, -32, 16], [3, 1])

  test('keeps every thin-th point of every chain, chain by chain', async () => {
    await withChains(standard, { sampler: halving, start }, async (chains) => {
      const { draws, steps, energy, gradients } = await chains.draw({ draws: 3, thin: 2 })
      expect(draws.shape).toEqual([3, 3, 1])
      expect([...draws.data]).toEqual([16, 4, 1, -8, -2, -0.5, 4, 1, 0.25])
      expect([steps, gradients]).toEqual([6, 6])
      expect(energy).toHaveLength(6)
      expect(energy[0]).toBeCloseTo((64 ** 2 + 32 ** 2 + 16 ** 2) / 6, 2)
      const more = await chains.draw({ draws: 1 })
      expect([...more.draws.data]).toEqual([0.5, -0.25, 0.125])
      expect(more.steps).toBe(7)
    })
  })

  test('is the trajectory that advance records', async () => {
    const options = { sampler: { kind: 'mala', stepSize: 0.5 }, chains: 7, seed: 11 } as const
    const { draws } = await withChains(standard, options, (c) => c.draw({ draws: 4, thin: 3 }))
    const { trajectory } = await withChains(standard, options, (c) => c.advance(12, { record: 3 }))
    for (const [k, x] of trajectory.entries()) {
      expect(Array.from({ length: 7 }, (_, i) => draws.data[4 * i + k])).toEqual([...x.data])
    }
  })

  test('a schedule begins anew for each draw, at the given points or at new ones', async () => {
    const conditioned = energyTarget((x) => x.square().sum(1), {
      shape: [1],
      energyAt: (x, sigma) => x.square().sum(1).div(sigma.square().add(1).mul(2)),
    })
    const sampler = { kind: 'probabilityFlow', sigmas: { largest: 4, smallest: 0.1, levels: 6 } } as const
    const same = await withChains(conditioned, { sampler, start: floats([1, 2], [2, 1]) }, (c) => c.draw({ draws: 2 }))
    expect(same.draws.data[0]).toBe(same.draws.data[1])
    expect(same.draws.data[2]).toBe(same.draws.data[3])
    expect(same.steps).toBe(12)
    const fresh = await withChains(conditioned, { sampler, chains: 2 }, (c) => c.draw({ draws: 2 }))
    expect(new Set(fresh.draws.data).size).toBe(4)
  })
})

describe('draws by transitions (nuts)', () => {
  /** Trajectories are long where x is wide: a draw at a fixed number of leapfrogs would favour that. */
  const sampler: SamplerOptions = { kind: 'nuts', stepSize: 0.4 }
  const n = 1500

  test('every chain makes exactly as many transitions as asked for, and the draws are those', async () => {
    await withChains(standard, { sampler, start: normals(20, 3), seed: 2 }, async (chains) => {
      const { draws } = await chains.draw({ draws: 3, thin: 4 })
      expect([...(await chains.readState('transitions')).data]).toEqual(new Array(20).fill(12))
      expect(Array.from({ length: 20 }, (_, i) => draws.data[3 * i + 2])).toEqual([...(await chains.read()).data])
      await chains.advance(5)
      expect([...(await chains.readState('transitions')).data]).toEqual(new Array(20).fill(17))
      expect((await chains.read()).data).not.toEqual(draws.data)
    })
  })

  test('draws of chains begun at exact draws have the moments of the target, each of them', async () => {
    const { draws, divergences } = await withChains(
      standard,
      { sampler, start: normals(n, 5), seed: 7 },
      async (chains) => {
        await chains.draw({ draws: 2 })
        return chains.draw({ draws: 4 })
      },
    )
    expect(divergences).toBe(0)
    for (let k = 0; k < 4; k++) {
      const x = Array.from({ length: n }, (_, i) => draws.data[4 * i + k] as number)
      expect(Math.abs(mean(x))).toBeLessThan(4 / Math.sqrt(n))
      expect(Math.abs(mean(x.map((v) => v * v)) - 1)).toBeLessThan(4 * Math.sqrt(2 / n))
      expect(Math.abs(mean(x.map((v) => v ** 4)) - 3)).toBeLessThan(4 * Math.sqrt(96 / n))
    }
  })

  test('warms up by transitions too', async () => {
    await withChains(standard, { sampler: { ...sampler, warmup: 60 }, chains: 30 }, async (chains) => {
      const { stepSize, acceptance } = await chains.warmup()
      expect(stepSize).toBeGreaterThan(0.4)
      expect(acceptance).toBeGreaterThan(0.5)
      expect(mean((await chains.readState('transitions')).data)).toBeGreaterThanOrEqual(60)
    })
  })
})

describe('warm-up', () => {
  test('tunes the step size, fixes it, and counts no divergences', async () => {
    const options = { sampler: { kind: 'mala', stepSize: 30, warmup: 120 }, chains: 200, seed: 1 } as const
    await withChains(standard, options, async (chains) => {
      const tuned = await chains.warmup()
      expect(tuned.stepSize).toBeLessThan(10)
      expect(tuned.steps).toBe(120)
      const after = await chains.advance(60)
      expect(after.stepSize).toBe(tuned.stepSize)
      expect(Math.abs(after.acceptance - 0.574)).toBeLessThan(0.06)
      expect(after.divergences).toBe(0)
    })
  })

  test('is a plain burn-in for samplers that do not adapt, and its length must then be said', async () => {
    await withChains(standard, { sampler: halving, start: floats([8], [1, 1]) }, async (chains) => {
      await expect(chains.warmup()).rejects.toThrow(/does not adapt; give the number of burn-in steps/)
      const { steps } = await chains.warmup(2)
      expect(steps).toBe(2)
      expect([...(await chains.read()).data]).toEqual([2])
    })
  })
})

describe('info', () => {
  test('acceptance chain by chain', async () => {
    // A wall-like energy: chains inside the flat part always accept, those near the cliff do not.
    const cliff = energyTarget((x) => ops.select(x.sum(1).gt(3), 50, 0), { shape: [1] })
    const options = { sampler: { kind: 'rwm', stepSize: 0.05 }, start: floats([-90, 2.9], [2, 1]) } as const
    await withChains(cliff, options, async (chains) => {
      const { acceptancePerChain, acceptance } = await chains.advance(200)
      expect(acceptancePerChain[0]).toBe(1)
      expect(acceptancePerChain[1]).toBeLessThan(0.99)
      expect(acceptance).toBeCloseTo(mean(acceptancePerChain), 5)
      const again = await chains.advance(1)
      expect(again.acceptancePerChain[0]).toBe(1)
    })
  })

  test('divergences per step and in total', async () => {
    const steep = energyTarget((x) => x.square().square().sum(1), { shape: [1] })
    const options = {
      sampler: { kind: 'hmc', stepSize: 3, leapfrogSteps: 5 },
      start: floats([3, 4, 5], [3, 1]),
    } as const
    await withChains(steep, options, async (chains) => {
      const first = await chains.advance(4)
      expect([...first.divergencesPerStep]).toEqual([3, 3, 3, 3])
      expect(first.divergent).toBe(0)
      const second = await chains.advance(2)
      expect(second.divergences).toBe(18)
      expect(second.divergencesPerStep).toHaveLength(2)
    })
  })

  test('step size, gradients, nothing done', async () => {
    const options = { sampler: { kind: 'hmc', stepSize: 0.2, leapfrogSteps: 6 }, chains: 3 } as const
    await withChains(standard, options, async (chains) => {
      const none = await chains.advance(0)
      expect(none).toMatchObject({ steps: 0, divergent: 0, gradients: 0 })
      expect(none.acceptance).toBeNaN()
      const some = await chains.advance(5)
      expect(some.gradients).toBe(30)
      expect(some.stepSize).toBeCloseTo(0.2, 6)
    })
  })
})

describe('what chains run on', () => {
  const spread = async (source: DensitySource, options: ChainsOptions) => {
    const sampler = { kind: 'mala', stepSize: 0.5, warmup: 60 } as const
    const { draws } = await sample(source, { sampler, chains: 1500, draws: 1, warmup: 150, ...options })
    const centre = mean(draws.data)
    return { centre, variance: mean(Array.from(draws.data, (v) => (v - centre) ** 2)) }
  }
  const tolerance = 4 * Math.sqrt(2 / 1500)

  test('temperature flattens the density', async () => {
    const { variance } = await spread(standard, { temperature: 3 })
    expect(Math.abs(variance / 3 - 1)).toBeLessThan(tolerance)
  })

  test('a noise level', async () => {
    const conditioned = energyTarget((x) => x.square().sum(1).mul(0.5), {
      shape: [1],
      energyAt: (x, sigma) => x.square().sum(1).div(sigma.square().add(1).mul(2)),
    })
    const { variance } = await spread(conditioned, { sigma: 2 })
    expect(Math.abs(variance / 5 - 1)).toBeLessThan(tolerance)
    await expect(Chains.start(standard, { sigma: 1 })).rejects.toThrow(/give energyTarget an energyAt/)
  })

  test('one class of a classifier, also with tempering', async () => {
    const centres = [-4, 4]
    const classifier = defineEnergy({ shape: [1] }, (x) =>
      ops.concat(
        centres.map((c) => x.sub(c).square().mul(-0.5)),
        1,
      ),
    )
    const inner = { kind: 'mala', stepSize: 0.5 } as const
    for (const sampler of [inner, { kind: 'parallelTempering', inner, temperatures: [1, 2] } as const]) {
      const { centre, variance } = await spread(classifier, { class: 1, sampler, start: { kind: 'normal' } })
      expect(Math.abs(centre - 4)).toBeLessThan(4 / Math.sqrt(1500))
      expect(Math.abs(variance - 1)).toBeLessThan(tolerance)
    }
    await expect(Chains.start(classifier, { class: 2 })).rejects.toThrow(/integer in 0\.\.1; got 2/)
    await expect(Chains.start(standard, { class: 0 })).rejects.toThrow(/a plain target has no classes/)
  })

  test('a plain energy needs a shape or points, and one energy an example', async () => {
    const shapeless = energyTarget((x) => x.square().sum(1))
    await expect(Chains.start(shapeless)).rejects.toThrow(/give energyTarget a shape, or starting points/)
    await withChains(shapeless, { start: floats([1, 2], [1, 2]), sampler: halving }, async (chains) => {
      await chains.advance(1)
      expect([...(await chains.read()).data]).toEqual([0, 0])
    })
    const wrong = energyTarget((x) => x.square(), { shape: [2] })
    await expect(Chains.start(wrong)).rejects.toThrow(/must be \[100\], one an example; got \[100,2\]/)
    expect(() => energyTarget(3 as never)).toThrow(TypeError)
  })
})

describe('running', () => {
  const options = { sampler: { kind: 'mala', stepSize: 0.4 }, chains: 30, seed: 9 } as const

  test('sample() without a sampler is NUTS; a misspelled option names the right one', async () => {
    const { draws, stepSize } = await sample(standard, { chains: 2, draws: 3, warmup: 20 })
    const nuts = await sample(standard, { sampler: { kind: 'nuts' }, chains: 2, draws: 3, warmup: 20 })
    expect(draws).toEqual(nuts.draws)
    expect(stepSize).toBeGreaterThan(0)
    const wrong = { smapler: { kind: 'mala' } } as object
    await expect(sample(standard, wrong)).rejects.toThrow(/'smapler' is not known. Did you mean 'sampler'/)
  })

  test('sample() is start, warm-up and draw', async () => {
    const sampler = { kind: 'mala', warmup: 40 } as const
    const progress: [number, number][] = []
    const onProgress = (done: number, total: number) => progress.push([done, total])
    const { draws, steps } = await sample(standard, { ...options, sampler, draws: 25, thin: 2, onProgress })
    expect(draws.shape).toEqual([30, 25, 1])
    expect(steps).toBe(40 + 50)
    expect(progress).toContainEqual([40, 40])
    expect(progress.at(-1)).toEqual([25, 25])
    const again = await sample(standard, { ...options, sampler, draws: 25, thin: 2 })
    expect(again.draws.data).toEqual(draws.data)
    const other = await sample(standard, { ...options, sampler, draws: 25, thin: 2, seed: 10 })
    expect(other.draws.data).not.toEqual(draws.data)
  })

  test('cancelling a draw leaves the chains usable, at a step', async () => {
    await withChains(standard, options, async (chains) => {
      const stop = new AbortController()
      const run = chains.draw({ draws: 1000, thin: 2, signal: stop.signal, onProgress: () => stop.abort() })
      await expect(run).rejects.toMatchObject({ code: 'E_CANCELLED' })
      const { steps } = await chains.advance(0)
      expect(steps).toBeGreaterThan(0)
      expect(steps).toBeLessThan(2000)
      const want = await withChains(standard, options, async (c) => {
        await c.advance(steps)
        return c.read()
      })
      expect((await chains.read()).data).toEqual(want.data)
    })
  })

  test('impossible requests are refused by name', async () => {
    await withChains(standard, options, async (chains) => {
      await expect(chains.draw({ draws: 0 })).rejects.toThrow(/draw: draws must be an integer ≥ 1; got 0/)
      await expect(chains.draw({ thin: 1.5 })).rejects.toThrow(/draw: thin must be an integer ≥ 1; got 1.5/)
      await expect(chains.advance(-1)).rejects.toThrow(/advance: steps must be an integer ≥ 0; got -1/)
      await expect(chains.advance(1, { record: 0 })).rejects.toThrow(/advance: record/)
      await expect(chains.readState('momentum')).rejects.toThrow(/mala carries no 'momentum'; it carries .*energy/)
    })
    await expect(Chains.start(standard, { temperature: 0 })).rejects.toThrow(/temperature must be a positive/)
    await expect(Chains.start(standard, { start: { kind: 'data' } })).rejects.toThrow(/needs a data set/)
    const misfit = { start: floats([1, 2], [1, 2]) }
    await expect(Chains.start(standard, misfit)).rejects.toMatchObject({ code: 'E_SHAPE' })
  })
})

describe('convolutional energies on images', () => {
  const shape = [5, 1, 8, 8]
  const plain = convEnergy({ shape: [1, 8, 8], channels: [4, 4], seed: 2 })
  const conditioned = convEnergy({ shape: [1, 8, 8], channels: [4, 4], sigma: { smallest: 0.1 }, seed: 2 })
  const sigmas = { largest: 1, smallest: 0.1, levels: 4 }

  test.each([
    { kind: 'parallelTempering', temperatures: [1, 2, 4], inner: { kind: 'mala', stepSize: 0.3 } },
    { kind: 'gibbsWithGradients', flips: 3 },
  ] as const)('$kind: the energies it keeps are those of its points', async (sampler) => {
    await withChains(plain, { sampler, chains: 5, seed: 3 }, async (chains) => {
      const { acceptance } = await chains.advance(12)
      expect(acceptance).toBeGreaterThan(0.05)
      const x = await chains.read()
      expect(x.shape).toEqual(shape)
      const kept = (await chains.readState('energy')).data.subarray(0, 5)
      const energy = await plain.energy(x)
      for (const [i, e] of energy.entries()) expect(kept[i]).toBeCloseTo(e, 4)
      if (sampler.kind === 'gibbsWithGradients') expect(new Set(x.data)).toEqual(new Set([0, 1]))
    })
  })

  test.each([
    { kind: 'annealedLangevin', sigmas, stepsPerLevel: 3 },
    { kind: 'predictorCorrector', sigmas },
    { kind: 'probabilityFlow', sigmas },
  ] as const)('$kind draws finite images', async (sampler) => {
    const { draws, divergences } = await sample(conditioned, { sampler, chains: 5, seed: 3 })
    expect(draws.shape).toEqual([5, 1, 1, 8, 8])
    expect(divergences).toBe(0)
    expect(new Set(draws.data).size).toBe(5 * 64)
  })
})
