/** Exported samplers against `Chains` beyond their kind: classes, temperature, norms, noise levels, starts, settings of the run; and what is refused. */
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { type HostTensor, hostTensor } from '../../lib/graph/host-tensor.ts'
import { ising } from '../../lib/nn/discrete.ts'
import { defineEnergy, mlp as mlpModel, wideResNet } from '../../lib/nn/models.ts'
import { type ExportSamplerOptions, exportSampler } from '../../lib/onnx/export-sampler.ts'
import { readOnnxMetadata } from '../../lib/onnx/metadata.ts'
import { type SamplerDescription, samplerDescriptionSchema } from '../../lib/onnx/sampler-description.ts'
import { openSampler } from '../../lib/onnx/sampler-session.ts'
import { compareOutputs } from '../../lib/onnx/verify.ts'
import { verifySampler } from '../../lib/onnx/verify-sampler.ts'
import { Chains } from '../../lib/samplers/chains.ts'
import type { StartOptions } from '../../lib/samplers/starts.ts'
import { expectClose, exported, gaussianStart, mlp, native, scratch, startOf } from './samplers.ts'

describe('with a seed, a file draws what Chains draws', () => {
  it('over class-conditional densities, at a temperature', async () => {
    const model = mlp(3)
    const x0 = startOf(model, 4)
    const sampler = { kind: 'mala', stepSize: 0.3 } as const
    const one = await exported(model, { sampler, class: 1, temperature: 2 }, { x0, steps: 20 })
    expectClose(one.samples, await native(model, { sampler, start: x0, class: 1, temperature: 2 }, 20))
    const y = hostTensor(Int32Array.of(1, 0, 1, 0), [4])
    const each = await exported(model, { sampler, class: 'input', temperature: 2 }, { x0, y, steps: 20 })
    const both = [await native(model, { sampler, start: x0, class: 0, temperature: 2 }, 20), one.samples]
    const rows = [...y.data].flatMap((c, i) => [...(both[c] as HostTensor).data.slice(3 * i, 3 * i + 3)])
    expectClose(each.samples, hostTensor(Float32Array.from(rows), [4, 3]))
    await model.dispose()
  })

  it("with batch norms' own statistics, and at a noise level", async () => {
    const normed = wideResNet({ depth: 10, width: 1, size: [4, 4], channels: 1, classes: 2, norm: 'batch', seed: 4 })
    const x0 = startOf(normed, 6)
    const sampler = { kind: 'sgld', stepSize: 0.1 } as const
    const batch = await exported(normed, { sampler, norm: 'batch', verify: false }, { x0, steps: 5 })
    expectClose(batch.samples, await native(normed, { sampler, start: x0, norm: 'batch' }, 5))
    const model = mlpModel({ inputs: 3, hidden: [16], sigma: { smallest: 0.1 }, seed: 2 })
    const noisy = await exported(model, { sampler, sigma: 0.7 }, { x0: startOf(model, 3), steps: 20 })
    expectClose(noisy.samples, await native(model, { sampler, start: startOf(model, 3), sigma: 0.7 }, 20))
    await normed.dispose()
    await model.dispose()
  })

  const starts: readonly StartOptions[] = [
    { kind: 'uniform', low: 0.5, high: 2 },
    { kind: 'normal', mean: -1, std: 0.5 },
    {
      kind: 'mixture',
      parts: [
        { share: 1, start: { kind: 'uniform' } },
        { share: 3, start: { kind: 'normal', mean: 4 } },
      ],
    },
  ]
  for (const options of starts) {
    it(`from a start of its own: ${options.kind}`, async () => {
      const model = mlp(3)
      const sampler = { kind: 'underdamped', stepSize: 0.2 } as const
      const y = hostTensor(new Int32Array(6).fill(-1), [6])
      const { samples } = await exported(model, { sampler, start: { options } }, { y, steps: 20 })
      expectClose(samples, await native(model, { sampler, start: options, chains: 6 }, 20))
      await model.dispose()
    })
  }

  const other = { largest: 2, smallest: 0.1, levels: 4 }
  const settled = [
    { kind: 'pyld', noise: 0.2 },
    { kind: 'ula' },
    { kind: 'preconditionedLangevin' },
    { kind: 'underdamped', integrator: 'baoab' },
    { kind: 'underdamped', integrator: 'obabo' },
    { kind: 'underdamped', integrator: 'sghmc' },
    { kind: 'annealedLangevin', sigmas: other, stepsPerLevel: 3 },
    { kind: 'hmc', leapfrogSteps: 2 },
  ] as const
  for (const sampler of settled) {
    it(`with the step size of the run: ${sampler.kind} ${'integrator' in sampler ? sampler.integrator : ''}`, async () => {
      const model = mlp(3)
      const x0 = startOf(model, 3)
      const stepSize = sampler.kind === 'annealedLangevin' ? 0.005 : 0.35
      const given = { sampler, verify: false } as const
      const { samples } = await exported(model, given, { x0, steps: 8, step_size: stepSize })
      const before = await native(model, { sampler, start: x0 }, 8)
      expectClose(samples, await native(model, { sampler: { ...sampler, stepSize }, start: x0 }, 8))
      expect(compareOutputs(samples, before).maxRel).toBeGreaterThan(1e-3)
      await model.dispose()
    })
  }

  it('with the step size and the noise of the run, and with seeds of 64 bits', async () => {
    const model = mlp(3)
    const path = join(await scratch(), 'sampler.onnx')
    await exportSampler(model, path, { sampler: { kind: 'sgld', stepSize: 1, noise: 0.01 } })
    const session = await openSampler(path, 1)
    const x0 = startOf(model, 4)
    for (const seed of [0, 2 ** 31, 2 ** 32 + 5, -1, -(2 ** 40), Number.MAX_SAFE_INTEGER]) {
      const all = await session.run({ x0, steps: 5, step_size: 0.2, noise_scale: 0.5, seed })
      const sampler = { kind: 'sgld', stepSize: 0.2, noise: 0.5 } as const
      expectClose(all.get('samples') as HostTensor, await native(model, { sampler, start: x0, seed }, 5))
    }
    const none = await session.run({ x0, steps: 0, step_size: 0.2, noise_scale: 0.5, seed: 1 })
    expect(none.get('samples')?.data).toEqual(x0.data)
    await session.release()
    await model.dispose()
  })
})

describe('starts of class Gaussians', () => {
  const model = mlpModel({ inputs: 2, hidden: [4], classes: 3, seed: 1 })
  const n = 4000

  async function draw(classes: Int32Array, options: ExportSamplerOptions): Promise<Float32Array> {
    const start = gaussianStart(model, 3)
    const ran = await exported(
      model,
      { sampler: { kind: 'sgld' }, start, verify: false, ...options },
      { y: hostTensor(classes, [n]), steps: 0 },
    )
    return ran.samples.data as Float32Array
  }

  for (const random of ['seed', 'runtime'] as const) {
    it(`have each class's mean and covariance (${random})`, async () => {
      const start = gaussianStart(model, 3)
      const [mean, factor] = ['mean', 'factor'].map((k) => start.tensors?.get(k)?.data as Float32Array)
      const x = await draw(
        Int32Array.from({ length: n }, (_, i) => i % 3),
        { random },
      )
      for (let c = 0; c < 3; c++) {
        const rows = Array.from({ length: n }, (_, i) => i).filter((i) => i % 3 === c)
        const [a = 0, b = 0] = mean?.slice(2 * c) ?? []
        const [l00 = 0, , l10 = 0, l11 = 0] = factor?.slice(4 * c) ?? []
        const want = [l00 * l00, l00 * l10, l10 * l10 + l11 * l11]
        const centred = rows.map((i) => [(x[2 * i] as number) - a, (x[2 * i + 1] as number) - b] as const)
        const average = (f: (p: readonly [number, number]) => number) =>
          centred.reduce((t, p) => t + f(p), 0) / rows.length
        const got = [average((p) => p[0] ** 2), average((p) => p[0] * p[1]), average((p) => p[1] ** 2)]
        const error = 4 * Math.sqrt(2 / rows.length) * Math.max(...want)
        got.forEach((g, k) => {
          expect(Math.abs(g - (want[k] as number))).toBeLessThan(error)
        })
        expect(Math.abs(average((p) => p[0]))).toBeLessThan(4 * Math.sqrt((want[0] as number) / rows.length))
        expect(Math.abs(average((p) => p[1]))).toBeLessThan(4 * Math.sqrt((want[2] as number) / rows.length))
      }
    })
  }

  it('draw classes at random where y is negative, keep to one class, and clamp to [-1, 1]', async () => {
    const negative = new Int32Array(n).fill(-1)
    const start = { ...gaussianStart(model, 3), bounded: true }
    // Far apart and narrow, so that a point tells its class.
    const mean = hostTensor(Float32Array.of(-0.9, 0, 0, 0, 0.9, 3), [3, 2])
    const factor = hostTensor(new Float32Array(12).fill(0.01), [3, 2, 2])
    const tensors = new Map([
      ['mean', mean],
      ['factor', factor],
    ])
    const x = await draw(negative, { start: { ...start, tensors } })
    const shares = [0, 0, 0]
    for (let i = 0; i < n; i++)
      shares[Math.round((x[2 * i] as number) / 0.9) + 1] =
        (shares[Math.round((x[2 * i] as number) / 0.9) + 1] as number) + 1
    for (const s of shares) expect(Math.abs(s / n - 1 / 3)).toBeLessThan(4 * Math.sqrt(2 / 9 / n))
    expect(Math.max(...x)).toBe(1)
    const two = await draw(negative, { start: { ...start, tensors }, class: 2 })
    expect(Math.min(...two)).toBeGreaterThan(0.8)
  })

  it('are verified with the tensors of the file', async () => {
    const path = join(await scratch(), 'sampler.onnx')
    await exportSampler(model, path, { sampler: { kind: 'ula' }, start: gaussianStart(model, 3), class: 'input' })
    const description = await describeFile(path)
    expect((await verifySampler(path, model, description, { steps: 3 })).ok).toBe(true)
    const other = mlpModel({ inputs: 2, hidden: [4], classes: 3, seed: 2 })
    const wrong = await verifySampler(path, other, description, { steps: 3 })
    expect(wrong.ok).toBe(false)
    expect(wrong.outputs.find((o) => o.name === 'energies')?.ok).toBe(false)
    await other.dispose()
  })
})

async function describeFile(path: string): Promise<SamplerDescription> {
  const metadata = await readOnnxMetadata(path)
  expect(metadata['langevin.kind']).toBe('sampler')
  return samplerDescriptionSchema.parse(JSON.parse(metadata['langevin.export'] as string))
}

describe('noise as an input', () => {
  it('is what each step adds, in the order of the draws', async () => {
    const model = mlp(3)
    const x0 = startOf(model, 4)
    const path = join(await scratch(), 'sampler.onnx')
    const made = await exportSampler(model, path, {
      sampler: { kind: 'sgld', stepSize: 0, noise: 0.5 },
      random: 'noise',
    })
    expect(made.inputs).toEqual(['x0', 'step_size', 'noise_scale', 'steps', 'noise'])
    expect(made.opset).toBe(17)
    const session = await openSampler(path, 1)
    const noise = hostTensor(
      Float32Array.from({ length: 24 }, (_, i) => i / 7),
      [2, 4, 3],
    )
    const { defaults } = made
    const samples = (await session.run({ ...defaults, x0, steps: 2, noise })).get('samples')
    const want = x0.data.map((v, i) => v + 0.5 * (i / 7 + (i + 12) / 7))
    expectClose(samples as typeof x0, hostTensor(Float32Array.from(want), [4, 3]), 1e-6)
    await session.release()
    await model.dispose()
  })

  const several = [
    { kind: 'pyld', noise: 0.1, inner: 3 },
    { kind: 'underdamped', integrator: 'obabo' },
    { kind: 'preconditionedLangevin' },
  ] as const
  for (const sampler of several) {
    it(`holds several draws of a step, and of the start: ${sampler.kind}`, async () => {
      const model = mlp(3)
      const path = join(await scratch(), 'sampler.onnx')
      const made = await exportSampler(model, path, { sampler, random: 'noise', trajectory: true })
      expect(made.verification?.ok).toBe(true)
      expect(made.inputs.includes('init_noise')).toBe(sampler.kind === 'underdamped')
      expect(made.verification?.outputs.map((o) => o.name)).toContain('trajectory')
      await model.dispose()
    })
  }
})

describe("the runtime's own random numbers", () => {
  it('sample a Gaussian: mean and variance within four standard errors', async () => {
    const model = defineEnergy({ shape: [2] }, (x) =>
      x
        .square()
        .sum(-1)
        .mul(0.5 / 0.64),
    )
    const n = 3000
    const h = 0.05
    for (const sampler of [
      { kind: 'ula', stepSize: h },
      { kind: 'mala', stepSize: 0.5 },
    ] as const) {
      const x0 = hostTensor(new Float32Array(2 * n), [n, 2])
      const { samples } = await exported(
        model,
        { sampler, random: 'runtime' },
        { x0, steps: sampler.kind === 'ula' ? 60 : 40 },
      )
      // The stationary variance of the discretised chain; 60 steps of rate h/s² leave e^-9 of the start.
      const variance = sampler.kind === 'ula' ? 0.64 / (1 - h / (2 * 0.64)) : 0.64
      const data = samples.data as Float32Array
      const mean = data.reduce((a, b) => a + b, 0) / data.length
      const got = data.reduce((a, b) => a + (b - mean) ** 2, 0) / data.length
      expect(Math.abs(mean)).toBeLessThan(4 * Math.sqrt(variance / data.length))
      expect(Math.abs(got - variance)).toBeLessThan(4 * variance * Math.sqrt(2 / data.length))
    }
    await model.dispose()
  })

  it('draw integers, coins and categories too', async () => {
    const model = ising({ shape: [2, 3], initial: { field: 0.4 } })
    const x0 = hostTensor(new Float32Array(6000), [1000, 2, 3])
    const sampler = { kind: 'blockGibbs' } as const
    const { samples } = await exported(model, { sampler, random: 'runtime' }, { x0, steps: 2 })
    // Spins without couplings: p(1) = 1/(1 + e^(-2·0.4)).
    const p = 1 / (1 + Math.exp(-0.8))
    const share = (samples.data as Float32Array).reduce((a, b) => a + b, 0) / 6000
    expect(Math.abs(share - p)).toBeLessThan(4 * Math.sqrt((p * (1 - p)) / 6000))
    const path = join(await scratch(), 'sampler.onnx')
    const start = { options: { kind: 'uniform', low: 0, high: 1 }, classes: 5 } as const
    await exportSampler(model, path, { sampler: { kind: 'gibbsWithGradients', flips: 2 }, random: 'runtime', start })
    await model.dispose()
  })
})

describe('outputs', () => {
  it('trajectory and energy_trace are each step of the chain', async () => {
    const model = mlp(3)
    const x0 = startOf(model, 2)
    const sampler = { kind: 'hmc', leapfrogSteps: 2 } as const
    const { all, samples } = await exported(model, { sampler, trajectory: true }, { x0, steps: 4 })
    const trajectory = all.get('trajectory') as typeof x0
    expect(trajectory.shape).toEqual([4, 2, 3])
    for (const k of [1, 4]) {
      const at = hostTensor(trajectory.data.slice(6 * (k - 1), 6 * k), [2, 3])
      expectClose(at, await native(model, { sampler, start: x0 }, k))
      const energies = hostTensor(all.get('energy_trace')?.data.slice(2 * (k - 1), 2 * k) as Float32Array, [2])
      expectClose(energies, hostTensor(await model.energy(at), [2]))
    }
    expect(trajectory.data.slice(18)).toEqual(samples.data)
    await model.dispose()
  })

  it('acceptance is that of Chains', async () => {
    const model = mlp(3)
    const x0 = startOf(model, 5)
    for (const sampler of [
      { kind: 'rwm', stepSize: 2 },
      { kind: 'nuts', stepSize: 1.5, maxDepth: 3 },
    ] as const) {
      const { all } = await exported(model, { sampler, verify: false }, { x0, steps: 5 })
      const chains = await Chains.start(model, { sampler, start: x0, seed: 9 })
      const info = await chains.advance(5)
      expectClose(all.get('acceptance') as typeof x0, hostTensor(info.acceptancePerChain, [5]))
      chains.dispose()
    }
    await model.dispose()
  })
})

it('tuned options of chains are what an exported chain steps with', async () => {
  const model = defineEnergy({ shape: [2] }, (x) => x.square().sum(-1).mul(50))
  for (const sampler of [
    { kind: 'hmc', warmup: 60 },
    { kind: 'parallelTempering', inner: { kind: 'rwm', warmup: 60 } },
  ] as const) {
    const chains = await Chains.start(model, { sampler, chains: 20 })
    await chains.warmup()
    const tuned = await chains.tunedOptions()
    const stepSize = (await chains.readState('stepSize')).data[0] as number
    const path = join(await scratch(), 'sampler.onnx')
    const { defaults } = await exportSampler(model, path, { sampler: tuned })
    expect(defaults.step_size).toBe(stepSize)
    const again = await Chains.start(model, { sampler: tuned, chains: 2 })
    expect((await again.readState('scale')).data).toEqual((await chains.readState('scale')).data)
    chains.dispose()
    again.dispose()
  }
  const plain = await Chains.start(model, { sampler: { kind: 'ula' } })
  expect(await plain.tunedOptions()).toEqual(plain.sampler.options)
  plain.dispose()
  await model.dispose()
})

describe('refuses', () => {
  const model = mlp(2)
  const refusals: readonly (readonly [string, ExportSamplerOptions, RegExp])[] = [
    [
      'noise for what draws uniforms',
      { sampler: { kind: 'mala' }, random: 'noise' },
      /sampler mala draws 'uniform'.*random: 'seed'/,
    ],
    [
      'noise with a start of its own',
      { random: 'noise', start: { options: { kind: 'uniform' } } },
      /starting points as x0/,
    ],
    ['a seed at opset 17', { opset: 17 }, /random 'seed' needs opset 18 to 21/],
    ['an opset that is none', { random: 'runtime', opset: 22 }, /opset must be an integer from 17 to 21; got 22/],
    [
      'a misspelled option',
      { sampelr: { kind: 'ula' } } as ExportSamplerOptions,
      /option 'sampelr' is not known.*'sampler'/,
    ],
    ['a misspelled mode', { random: 'sed' as 'seed' }, /random 'sed' is not known.*'seed'/],
    ['a trajectory of nuts', { trajectory: true }, /nuts has no trajectory/],
    ['data as a start', { start: { options: { kind: 'data' } } }, /start 'data' draws training examples/],
    ['Gaussians without their tensors', { start: { options: { kind: 'classGaussians' } } }, /needs the tensor 'mean'/],
    ['a class that is none', { class: 7 }, /class must be an integer in 0\.\.1; got 7/],
    ['a noise level of a model without', { sigma: 1 }, /needs a noise-conditioned network/],
    ['an impossible temperature', { temperature: 0 }, /temperature must be a positive finite number; got 0/],
    [
      'block Gibbs without conditionals',
      { sampler: { kind: 'blockGibbs' } },
      /needs a network with exact conditionals/,
    ],
    [
      'predictor-corrector without levels',
      { sampler: { kind: 'predictorCorrector' } },
      /conditioned on the noise level/,
    ],
    ['an unknown precision', { precision: 'float17' as 'float16' }, /precision 'float17' is not known/],
  ]
  for (const [what, options, message] of refusals) {
    it(what, async () => {
      await expect(exportSampler(model, join(await scratch(), 's.onnx'), options)).rejects.toThrow(message)
    })
  }

  it('real-valued samplers of discrete energies, and y where there are no classes', async () => {
    const spins = ising({ shape: [4] })
    const path = join(await scratch(), 's.onnx')
    await expect(exportSampler(spins, path)).rejects.toThrow(/this sampler moves in real numbers/)
    const sampler = { kind: 'blockGibbs' } as const
    await expect(exportSampler(spins, path, { sampler, class: 'input' })).rejects.toThrow(/needs a classifier/)
    await spins.dispose()
  })
})
