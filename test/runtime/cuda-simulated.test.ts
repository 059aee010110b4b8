/**
 * The library on device 'cuda' through the simulator, from TypeScript down: what CUDA is found, models, chains, training steps, a checkpoint that goes from
 * one device to the other, memory. Small, since a simulated GPU is slow; kernels have tests of their own (test/native), and a real GPU scripts/gpu-check.sh.
 * LANGEVIN_CUDA=HOST npm run build:native builds the simulator; skipped without.
 */
import { describe, expect, test } from 'vitest'
import { Dataset } from '../../lib/data/dataset.ts'
import { mmd } from '../../lib/evaluation/mmd.ts'
import { type HostTensor, hostTensor } from '../../lib/graph/host-tensor.ts'
import { convEnergy, mlp } from '../../lib/nn/models.ts'
import { availableDevices, cudaInfo, type Device, deviceMemory } from '../../lib/runtime/devices.ts'
import { Chains } from '../../lib/samplers/chains.ts'
import { openRun } from '../../lib/trainers/run.ts'
import { ScoreMatching } from '../../lib/trainers/score-matching.ts'
import { temporaryFolder } from '../dist.ts'
import { simulated } from '../native/simulated.ts'

const where = simulated ? describe : describe.skip
// Float32 against float32.
if (simulated) process.env.LANGEVIN_TF32 = '0'

/** Numbers that look random, the same everywhere. */
function points(shape: readonly number[]): HostTensor {
  const count = shape.reduce((a, b) => a * b, 1)
  return hostTensor(
    Float32Array.from({ length: count }, (_, i) => Math.sin(12.9898 * (i + 1)) * 1.5),
    shape,
  )
}

/** Relative to the largest. */
function expectNear(got: ArrayLike<number>, want: ArrayLike<number>, tolerance: number): void {
  expect(got.length).toBe(want.length)
  const scale = Array.from(want).reduce((m, v) => Math.max(m, Math.abs(v)), 1e-6)
  const worst = Array.from(want).reduce((m, v, i) => Math.max(m, Math.abs((got[i] as number) - v)), 0)
  expect(worst / scale).toBeLessThanOrEqual(tolerance)
}

async function onBoth<T>(run: (device: Device) => Promise<T>): Promise<readonly [cpu: T, cuda: T]> {
  return [await run('cpu'), await run('cuda')]
}

where('device cuda, simulated', () => {
  test('is found, with its libraries', () => {
    const { available, devices: found, libraries } = cudaInfo()
    expect(available).toBe(true)
    expect(found?.[0]).toMatchObject({ name: expect.any(String), capability: expect.stringMatching(/^\d+\.\d$/) })
    for (const name of ['nvrtc', 'cublasLt', 'cudnn'])
      expect(libraries?.[name]).toMatchObject({
        version: expect.any(String),
        path: expect.stringContaining('simulator'),
      })
    expect(availableDevices()).toContain('cuda:0')
  })

  test('energies and scores of a perceptron and of convolutions', async () => {
    for (const [make, shape] of [
      [(device: Device) => mlp({ inputs: 3, hidden: [16, 16], device }), [3]],
      [(device: Device) => convEnergy({ shape: [1, 8, 8], channels: [8, 8], device }), [1, 8, 8]],
    ] as const) {
      const x = points([5, ...shape])
      const [cpu, cuda] = await onBoth(async (device) => {
        const model = make(device)
        expect(model.device).toBe(device)
        const result = { energy: await model.energy(x), score: await model.score(x) }
        await model.dispose()
        return result
      })
      expectNear(cuda.energy, cpu.energy, 1e-5)
      expectNear(cuda.score.data, cpu.score.data, 1e-4)
    }
  })

  test.each(['sgld', 'mala', 'hmc'] as const)('chains of %s', async (kind) => {
    const [cpu, cuda] = await onBoth(async (device) => {
      const model = mlp({ inputs: 2, hidden: [8], device })
      const step = kind === 'sgld' ? { noise: 'langevin' as const } : {}
      const chains = await Chains.start(model, { chains: 6, sampler: { kind, stepSize: 0.05, ...step }, seed: 3 })
      const { energy } = await chains.advance(4)
      const x = await chains.read()
      chains.dispose()
      return { energy, x }
    })
    expectNear(cuda.x.data, cpu.x.data, 1e-4)
    expectNear(cuda.energy, cpu.energy, 1e-4)
  })

  test('training steps; a run that was trained on one device goes on on the other', async () => {
    const data = new Dataset({ name: 'points', features: points([32, 2]), range: null })
    const out = temporaryFolder()
    const train = async (device: Device, steps: number, folder: string, resume: boolean) => {
      const model = mlp({ inputs: 2, hidden: [8], device })
      const trainer = new ScoreMatching(model, { batch: 8, estimator: { kind: 'denoising', sigma: 0.5 } })
      const losses: number[] = []
      for await (const row of trainer.fit(data, { steps, out: folder, resume, reportEvery: 1 })) losses.push(row.loss)
      trainer.dispose()
      return { losses, weights: [...model.stateDict().values()].flatMap((v) => [...v.data]) }
    }
    const [cpu, cuda] = await onBoth((device) => train(device, 4, `${out}/${device}`, false))
    expectNear(cuda.losses, cpu.losses, 1e-4)
    expectNear(cuda.weights, cpu.weights, 1e-4)
    const run = await openRun(`${out}/cuda`, { device: 'cpu' })
    expect(run.model.device).toBe('cpu')
    const [straight, resumed] = [await train('cpu', 8, `${out}/cpu`, true), await train('cpu', 8, `${out}/cuda`, true)]
    expectNear(resumed.weights, straight.weights, 1e-4)
  })

  test('computations on plain numbers', async () => {
    const [x, y] = [
      points([12, 2]),
      hostTensor(
        points([12, 2]).data.map((v) => v + 0.5),
        [12, 2],
      ),
    ]
    const [cpu, cuda] = await onBoth((device) => mmd(x, y, { device, permutations: 20 }))
    expect(cuda.squared).toBeCloseTo(cpu.squared, 5)
    expect(cuda.pValue).toBe(cpu.pValue)
  })

  test('memory is told and given back', async () => {
    const model = mlp({ inputs: 2, hidden: [256, 256], device: 'cuda' })
    await model.energy(points([4, 2]))
    const held = await deviceMemory('cuda')
    expect(held.used).toBeGreaterThan(4 * 256 * 256)
    await model.dispose()
    await expect.poll(async () => (await deviceMemory('cuda')).used).toBeLessThan(held.used)
    expect((await deviceMemory('cuda')).peak).toBeGreaterThanOrEqual(held.used)
  })
})
