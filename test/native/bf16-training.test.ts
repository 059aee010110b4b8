/** Training and sampling with precision bfloat16: which kernels run, that a run resumes exactly, and that it learns what float32 learns. */
import { describe, expect, test } from 'vitest'
import { prepare } from '../../lib/bench/prepare.ts'
import type { JemWorkload } from '../../lib/bench/workloads.ts'
import { digits } from '../../lib/data/standard.ts'
import { classificationFigures } from '../../lib/evaluation/classification.ts'
import { wideResNet } from '../../lib/nn/models.ts'
import { addonInfo } from '../../lib/runtime/addon.ts'
import type { Precision } from '../../lib/runtime/compile.ts'
import { Chains } from '../../lib/samplers/chains.ts'
import type { JemOptions } from '../../lib/trainers/jem.ts'
import { JemPlusPlus } from '../../lib/trainers/jem-trainers.ts'
import { checkpointOf, fitAll, folder, resNet, smallPlusPlus, someDigits } from '../trainers/tiny.ts'

const where = addonInfo().bfloat16 ? describe : describe.skip

where('bfloat16', () => {
  const workload: JemWorkload = {
    net: 'wrn',
    depth: 10,
    width: 2,
    batch: 4,
    M: 1,
    N: 2,
    pyld_lr: 0.2,
    eps: 1,
    lr: 0.01,
  }

  test('a JEM++ step runs on bfloat16 kernels wherever channels fill blocks, and its metrics are close to float32', async () => {
    const metrics: Record<string, number[]> = {}
    const kernels: Record<string, Record<string, number>> = {}
    for (const precision of ['float32', 'bfloat16'] as const) {
      const prepared = await prepare('tiny', workload, 'cpu', 0, precision)
      const result = await prepared.program.run(1)
      metrics[precision] = [...result.metrics]
      kernels[precision] = {}
      for (const { plan } of prepared.stages) {
        for (const { op, count } of plan.stats.kernels) {
          const all = kernels[precision] as Record<string, number>
          all[op] = (all[op] ?? 0) + count
        }
      }
      prepared.dispose()
    }
    const [half, full] = [kernels.bfloat16 as Record<string, number>, kernels.float32 as Record<string, number>]
    expect(Object.keys(full).filter((k) => k.includes('bf16'))).toEqual([])
    for (const op of ['conv2d', 'conv2d_input_grad', 'conv2d_weight_grad']) {
      // All but the layers that touch the image itself.
      expect(half[`${op}:bf16`] as number, op).toBeGreaterThan(2 * (half[op] ?? 0))
      expect((half[`${op}:bf16`] ?? 0) + (half[op] ?? 0), op).toBe(full[op])
    }
    for (const [i, v] of (metrics.float32 as number[]).entries()) {
      expect(Math.abs(((metrics.bfloat16 as number[])[i] as number) - v), `metric ${i}`).toBeLessThan(
        0.05 * Math.max(1, Math.abs(v)),
      )
    }
  })

  test('a run resumes exactly, and differs from the float32 run', async () => {
    const data = await someDigits()
    const options: JemOptions = { ...smallPlusPlus, precision: 'bfloat16', seed: 6 }
    const [whole, parts, full] = [folder(), folder(), folder()]
    await fitAll(new JemPlusPlus(resNet(), options), data, { steps: 8, out: whole })
    await fitAll(new JemPlusPlus(resNet(), options), data, { steps: 4, out: parts })
    await fitAll(new JemPlusPlus(resNet(77), options), data, { steps: 8, out: parts, resume: true })
    await fitAll(new JemPlusPlus(resNet(), { ...options, precision: 'float32' }), data, { steps: 8, out: full })
    const [a, b, c] = [await checkpointOf(whole), await checkpointOf(parts), await checkpointOf(full)]
    expect(b.bits).toEqual(a.bits)
    expect(c.names).toEqual(a.names)
    expect(c.bits).not.toEqual(a.bits)
  })

  test('chains take it; x and energies are those of float32 but for the rounding', async () => {
    const model = wideResNet({ depth: 10, width: 2, channels: 1, size: 8, seed: 3 })
    const options = { chains: 8, seed: 4, sampler: { kind: 'sgld', stepSize: 0.1, noise: 0.01 } } as const
    const x: Record<string, Float32Array> = {}
    for (const precision of ['float32', 'bfloat16'] as const) {
      const chains = await Chains.start(model, { ...options, precision })
      await chains.advance(5)
      x[precision] = (await chains.read()).data as Float32Array
      chains.dispose()
    }
    const [half, full] = [x.bfloat16 as Float32Array, x.float32 as Float32Array]
    const largest = half.reduce((m, v, i) => Math.max(m, Math.abs(v - (full[i] as number))), 0)
    expect(largest).toBeGreaterThan(0)
    expect(largest).toBeLessThan(2e-2)
    await expect(Chains.start(model, { precision: 'half' as Precision })).rejects.toMatchObject({ code: 'E_CONFIG' })
  })

  test('JEM++ on digits: held-out accuracy is that of float32 within 2% after short runs of three seeds', async () => {
    const { train, test: held } = (await digits()).split({ test: 360 })
    // One run's accuracy moves by a percent or two with any rounding at all.
    const seeds = [2, 3, 4]
    const accuracy: Record<string, number> = {}
    for (const precision of ['float32', 'bfloat16'] as const) {
      let sum = 0
      for (const seed of seeds) {
        const model = wideResNet({ depth: 10, width: 1, channels: 1, size: 8, seed: 1 })
        const options: JemOptions = {
          ...smallPlusPlus,
          batch: 32,
          sampler: { kind: 'pyld', outer: 1, inner: 2 },
          optimizer: { kind: 'adam', learningRate: 2e-3 },
          weights: { px: 0.2 },
          gradientClip: 1,
          schedule: { kind: 'constant' },
          precision,
          seed,
        }
        await fitAll(new JemPlusPlus(model, options), train, { steps: 120 })
        const logits = await model.logits(held.normalized())
        sum += classificationFigures(logits, held.labels as Int32Array).accuracy
      }
      accuracy[precision] = sum / seeds.length
    }
    expect(accuracy.float32).toBeGreaterThan(0.93)
    const difference = Math.abs((accuracy.bfloat16 as number) - (accuracy.float32 as number))
    expect(difference, JSON.stringify(accuracy)).toBeLessThan(0.02)
  })
})
