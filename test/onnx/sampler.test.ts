/**
 * Exported samplers against `Chains`: the same seed and start give the same chain for every kind of sampler, over classifiers, images,
 * noise-conditioned and discrete energies. What else may be set is sampler-options.test.ts's part.
 */
import { describe, expect, it } from 'vitest'
import { type HostTensor, hostTensor } from '../../lib/graph/host-tensor.ts'
import { ising, potts } from '../../lib/nn/discrete.ts'
import type { Model } from '../../lib/nn/model.ts'
import { convEnergy, mlp as mlpModel, wideResNet } from '../../lib/nn/models.ts'
import { rbm } from '../../lib/nn/rbm.ts'
import { compareOutputs } from '../../lib/onnx/verify.ts'
import { type SamplerOptions, samplerKinds } from '../../lib/samplers/samplers.ts'
import { waves } from './helpers.ts'
import { expectClose, exported, mlp, native, startOf } from './samplers.ts'

const sigmas = { largest: 2, smallest: 0.1, levels: 5 }

/** A model for each kind, and options small enough that 20 steps say much. */
const conditioned = () => mlpModel({ inputs: 3, hidden: [16], sigma: { smallest: 0.1 }, seed: 2 })
const kinds: Readonly<Record<SamplerOptions['kind'], readonly { of: () => Model; sampler: SamplerOptions }[]>> = {
  sgld: [
    { of: () => mlp(3), sampler: { kind: 'sgld', stepSize: 0.3, noise: 0.1, gradientClamp: 0.2, bounds: [-1, 1] } },
    { of: () => mlp(3), sampler: { kind: 'sgld', stepSize: 0.05, noise: 'langevin' } },
    {
      of: () => convEnergy({ shape: [1, 8, 8], channels: [4, 8], seed: 1 }),
      sampler: { kind: 'sgld', noise: 0.05 },
    },
  ],
  proximalSgld: [{ of: () => mlp(3), sampler: { kind: 'proximalSgld', noise: 0.02 } }],
  pyld: [
    { of: () => mlp(3), sampler: { kind: 'pyld' } },
    { of: () => mlp(3), sampler: { kind: 'pyld', noise: 0.05, inner: 3 } },
    {
      of: () => wideResNet({ depth: 10, width: 1, size: [8, 8], channels: 1, classes: 3, seed: 4 }),
      sampler: { kind: 'pyld', firstStage: 2, inner: 2 },
    },
  ],
  ula: [{ of: () => mlp(3), sampler: { kind: 'ula', stepSize: 0.1 } }],
  preconditionedLangevin: [
    { of: () => mlp(3), sampler: { kind: 'preconditionedLangevin' } },
    {
      of: () => mlp(3),
      sampler: { kind: 'preconditionedLangevin', preconditioner: 'fixed', scale: [0.5, 1, 2], stepSize: 0.1 },
    },
  ],
  underdamped: (['baoab', 'obabo', 'sghmc'] as const).map((integrator) => ({
    of: () => mlp(3),
    sampler: { kind: 'underdamped', integrator, stepSize: 0.3 },
  })),
  rwm: [{ of: () => mlp(3), sampler: { kind: 'rwm', bounds: [-2, 2] } }],
  mala: [{ of: () => mlp(3), sampler: { kind: 'mala', stepSize: 0.5, scale: [1, 2, 1] } }],
  hmc: [{ of: () => mlp(3), sampler: { kind: 'hmc', stepSize: 0.5, leapfrogSteps: 3, jitter: 0.3 } }],
  nuts: [{ of: () => mlp(3), sampler: { kind: 'nuts', stepSize: 0.8, maxDepth: 3 } }],
  annealedLangevin: [
    { of: conditioned, sampler: { kind: 'annealedLangevin', sigmas, stepsPerLevel: 3 } },
    { of: () => mlp(3), sampler: { kind: 'annealedLangevin', sigmas, stepsPerLevel: 3 } },
  ],
  predictorCorrector: [{ of: conditioned, sampler: { kind: 'predictorCorrector', sigmas, correctorSteps: 2 } }],
  probabilityFlow: [
    { of: conditioned, sampler: { kind: 'probabilityFlow', sigmas } },
    { of: conditioned, sampler: { kind: 'probabilityFlow', sigmas, method: 'rk4', denoise: false } },
  ],
  parallelTempering: [
    { of: () => mlp(3), sampler: { kind: 'parallelTempering', temperatures: { count: 3, max: 9 } } },
    { of: () => mlp(3), sampler: { kind: 'parallelTempering', inner: { kind: 'rwm' }, temperatures: [1, 3] } },
  ],
  gibbsWithGradients: [
    {
      of: () => discrete(ising({ shape: [3, 4], coupling: 'bond' })),
      sampler: { kind: 'gibbsWithGradients', flips: 2 },
    },
    {
      of: () => discrete(potts({ shape: [5], states: 3, coupling: 'full' })),
      sampler: { kind: 'gibbsWithGradients', form: 'oneHot' },
    },
  ],
  blockGibbs: [
    { of: () => discrete(rbm({ visible: 6, hidden: 4, seed: 1 })), sampler: { kind: 'blockGibbs' } },
    { of: () => discrete(ising({ shape: [3, 4], coupling: 'bond' })), sampler: { kind: 'blockGibbs' } },
    { of: () => discrete(potts({ shape: [5], states: 3, coupling: 'full' })), sampler: { kind: 'blockGibbs' } },
  ],
}

/** The model with couplings that are not all alike. */
function discrete(model: Model): Model {
  const values = new Map(model.network.variables.map((v, i) => [v.name, waves(v.shape, i)]))
  void model.setValues(values)
  return model
}

describe('with a seed, a file draws what Chains draws', () => {
  it('covers every kind', () => {
    expect(Object.keys(kinds)).toEqual(samplerKinds)
  })
  for (const [kind, list] of Object.entries(kinds)) {
    for (const [i, { of, sampler }] of list.entries()) {
      it(`${kind} ${i}`, async () => {
        const model = of()
        const x0 = startOf(model, 5)
        const steps = kind === 'nuts' ? 6 : 20
        const { samples, all } = await exported(model, { sampler, verify: false }, { x0, steps })
        const want = await native(model, { sampler, start: x0 }, steps)
        expect(compareOutputs(samples, x0).maxRel).toBeGreaterThan(1e-3)
        expectClose(samples, want)
        expectClose(all.get('energies') as HostTensor, hostTensor(await model.energy(samples), [5]))
        await model.dispose()
      })
    }
  }
})
