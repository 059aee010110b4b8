/** Samplers: moments of known targets, PYLD's fused form against its true inner loop, seeds, thread counts, divergence, cancelling. */
import { afterEach, describe, expect, test } from 'vitest'
import type { HostTensor } from '../../lib/graph/host-tensor.ts'
import { defineEnergy, wideResNet } from '../../lib/nn/models.ts'
import { addonInfo, setThreads } from '../../lib/runtime/addon.ts'
import { Chains, type ChainsOptions } from '../../lib/samplers/chains.ts'
import type { SamplerOptions } from '../../lib/samplers/samplers.ts'

const threads = addonInfo().threads
afterEach(() => setThreads(threads))

/** E(x) = Σ (x_i - m_i)² / (2 s_i²). */
const gaussian = (means: number[], scales: number[]) =>
  defineEnergy({ shape: [means.length] }, (x) => {
    const columns = means.map((m, i) =>
      x
        .slice([0, i], [x.shape[0] as number, i + 1])
        .sub(m)
        .square()
        .mul(0.5 / (scales[i] as number) ** 2),
    )
    return columns.reduce((a, b) => a.add(b)).sum(-1)
  })

function moments(x: HostTensor) {
  const [n = 0, d = 0] = x.shape
  return Array.from({ length: d }, (_, j) => {
    const column = Array.from({ length: n }, (_, i) => x.data[i * d + j] as number)
    const mean = column.reduce((a, b) => a + b, 0) / n
    const variance = column.reduce((a, b) => a + (b - mean) ** 2, 0) / (n - 1)
    return { mean, variance }
  })
}

async function draw(options: ChainsOptions, steps: number, model = gaussian([1, -2], [1, 0.5])): Promise<HostTensor> {
  const chains = await Chains.start(model, options)
  const info = await chains.advance(steps)
  expect(info.divergent).toBe(0)
  const x = await chains.read()
  chains.dispose()
  return x
}

describe('SGLD as unadjusted Langevin', () => {
  test('reaches the moments of a Gaussian, with the variance that its step size implies', async () => {
    const stepSize = 0.05
    const n = 8000
    const x = await draw({ chains: n, seed: 3, sampler: { kind: 'sgld', stepSize, noise: 'langevin' } }, 300)
    const scales = [1, 0.5]
    moments(x).forEach(({ mean, variance }, j) => {
      // x ← (1 - h/s²)(x - m) + m + √(2h) ε has stationary variance s² / (1 - h / (2 s²)).
      const s2 = (scales[j] as number) ** 2
      const want = s2 / (1 - stepSize / (2 * s2))
      expect(Math.abs(mean - ([1, -2][j] as number))).toBeLessThan(4 * Math.sqrt(want / n))
      expect(Math.abs(variance - want)).toBeLessThan(4 * want * Math.sqrt(2 / n))
    })
  })

  test('noise apart from the step gives the variance of that noise', async () => {
    const n = 8000
    const x = await draw({ chains: n, seed: 5, sampler: { kind: 'sgld', stepSize: 0.1, noise: 0.2 } }, 200)
    const [first] = moments(x)
    const want = 0.04 / (1 - 0.9 ** 2)
    expect(Math.abs((first?.variance ?? 0) - want)).toBeLessThan(4 * want * Math.sqrt(2 / n))
  })
})

describe('proximal SGLD', () => {
  test('moves at most by the clamped step and stays in its bounds', async () => {
    const model = gaussian([100, -100], [0.1, 0.1])
    const sampler: SamplerOptions = { kind: 'proximalSgld', stepSize: 0.25 }
    const start = { dtype: 'float32', shape: [1, 2], data: new Float32Array([0, 0]) } as const
    const chains = await Chains.start(model, { sampler, start })
    const seen: number[][] = []
    for (let i = 0; i < 5; i++) {
      await chains.advance(1)
      seen.push([...(await chains.read()).data])
    }
    expect(seen).toEqual([
      [0.25, -0.25],
      [0.5, -0.5],
      [0.75, -0.75],
      [1, -1],
      [1, -1],
    ])
    chains.dispose()
  })
})

describe('PYLD', () => {
  const model = () => wideResNet({ depth: 10, width: 1, channels: 1, size: 8, seed: 4 })
  const run = (sampler: SamplerOptions) => draw({ chains: 6, seed: 7, norm: 'batch', sampler }, 3, model())

  test('fused update equals the true inner loop to 1e-5 with an affine first stage', async () => {
    const fused = await run({ kind: 'pyld', outer: 3, inner: 5, stepSize: 0.2 })
    const loop = await run({ kind: 'pyld', outer: 3, inner: 5, stepSize: 0.2, fuse: false })
    const differences = fused.data.map((v, i) => Math.abs(v - (loop.data[i] as number)))
    expect(Math.max(...differences)).toBeLessThan(1e-5)
    expect(new Set(fused.data).size).toBeGreaterThan(50)
  })

  test('a first stage with a nonlinearity runs the inner loop, which differs from one long step', async () => {
    const loop = await run({ kind: 'pyld', outer: 3, inner: 5, stepSize: 0.2, firstStage: 2 })
    const long = await run({ kind: 'pyld', outer: 3, inner: 1, stepSize: 1, firstStage: 2 })
    const largest = Math.max(...loop.data.map((v, i) => Math.abs(v - (long.data[i] as number))))
    expect(largest).toBeGreaterThan(1e-3)
  })

  test('noise inside the inner loop is drawn anew in each inner step', async () => {
    const flat = defineEnergy({ shape: [1] }, (x, scope) =>
      x.mul(scope.parameter('unused', [1], { kind: 'constant', value: 0 })).sum(-1),
    )
    await expect(Chains.start(flat, { sampler: { kind: 'pyld', noise: 0.1 } })).rejects.toThrow(
      /needs a network with stages/,
    )
    const quiet = await run({ kind: 'pyld', outer: 1, inner: 2, stepSize: 0.2 })
    const noisy = await run({ kind: 'pyld', outer: 1, inner: 2, stepSize: 0.2, noise: 0.05 })
    expect(Math.max(...quiet.data.map((v, i) => Math.abs(v - (noisy.data[i] as number))))).toBeGreaterThan(0.01)
  })
})

describe('seeds and threads', () => {
  const options = { chains: 500, sampler: { kind: 'sgld', stepSize: 0.05, noise: 'langevin' } } as const

  test('the same seed repeats bit for bit, another does not', async () => {
    const [a, b, c] = [
      await draw({ ...options, seed: 1 }, 20),
      await draw({ ...options, seed: 1 }, 20),
      await draw({ ...options, seed: 2 }, 20),
    ]
    expect(a.data).toEqual(b.data)
    expect(a.data).not.toEqual(c.data)
  })

  test('chains of an elementwise energy are the same on one and two threads', async () => {
    setThreads(1)
    const one = await draw({ ...options, seed: 1 }, 20)
    setThreads(2)
    const two = await draw({ ...options, seed: 1 }, 20)
    expect(one.data).toEqual(two.data)
  })

  test('a run in two parts equals one run', async () => {
    const whole = await draw({ ...options, seed: 9 }, 30)
    const chains = await Chains.start(gaussian([1, -2], [1, 0.5]), { ...options, seed: 9 })
    await chains.advance(11)
    await chains.advance(19)
    expect((await chains.read()).data).toEqual(whole.data)
    chains.dispose()
  })
})

describe('info', () => {
  test('energies fall from a far start, and trajectories are kept on request', async () => {
    const start = { dtype: 'float32', shape: [64, 2], data: new Float32Array(128).fill(5) } as const
    const chains = await Chains.start(gaussian([0, 0], [1, 1]), {
      start,
      sampler: { kind: 'sgld', stepSize: 0.1, noise: 'langevin' },
    })
    const { energy, trajectory, steps, acceptance } = await chains.advance(40, { record: 10 })
    expect(energy).toHaveLength(40)
    expect(energy[0]).toBeCloseTo(25, 4)
    expect(energy[39]).toBeLessThan(3)
    expect(trajectory).toHaveLength(4)
    expect([steps, acceptance]).toEqual([40, 1])
    chains.dispose()
  })

  test('chains that leave the finite numbers are counted', async () => {
    const repulsive = defineEnergy({ shape: [1] }, (x) => x.square().square().mul(-1).sum(-1))
    const chains = await Chains.start(repulsive, { chains: 10, sampler: { kind: 'sgld', stepSize: 10, noise: 1 } })
    expect((await chains.advance(50)).divergent).toBe(10)
    chains.dispose()
  })

  test('impossible options are refused by name and value', async () => {
    const model = gaussian([0], [1])
    await expect(Chains.start(model, { chains: 0 })).rejects.toThrow(/chains must be an integer ≥ 1; got 0/)
    await expect(Chains.start(model, { sampler: { kind: 'sgld', stepSize: Number.NaN } })).rejects.toThrow(
      /stepSize must be a finite number ≥ 0; got NaN/,
    )
    await expect(Chains.start(model, { sampler: { kind: 'sgdl' } as unknown as SamplerOptions })).rejects.toThrow(
      /'sgdl' is not known. Did you mean 'sgld'/,
    )
    await expect(Chains.start(model, { class: 1 })).rejects.toThrow(/needs a classifier/)
  })
})
