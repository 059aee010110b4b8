/** The public trainers of joint energy-based models: Jem and JemPlusPlus, one method with two sets of published defaults. */
import type { Model } from '../nn/model.ts'
import type { StartOptions } from '../samplers/starts.ts'
import { JemMethod, type JemOptions, resolveJem } from './jem.ts'
import type { MethodDefinition } from './method.ts'
import { jemSchema } from './schema.ts'
import { Trainer } from './trainer.ts'

/** A definition of the JEM method: options, where chains start unless the options say so, and epochs. */
export function jemDefinition(
  name: string,
  defaults: JemOptions,
  start: StartOptions,
  epochs: number,
): MethodDefinition<JemOptions> {
  return {
    name,
    defaults,
    epochs,
    classifier: true,
    schema: jemSchema,
    create({ network, options, data }) {
      const settings = resolveJem(options, network, data, options.buffer?.start ?? start)
      return new JemMethod(network, settings, data)
    },
  }
}

/** JEM: Adam 1e-4, × 0.3 at epochs 160 and 180 of 200, SGLD K = 20 with step 1 and noise 0.01, U(-1, 1) starts, input noise 0.03. */
export const jemMethod = jemDefinition(
  'jem',
  {
    optimizer: { kind: 'adam', learningRate: 1e-4 },
    schedule: { kind: 'step', milestones: [160, 180], gamma: 0.3, warmup: 1000 },
    sampler: { kind: 'sgld', steps: 20, stepSize: 1, noise: 0.01 },
  },
  { kind: 'uniform' },
  200,
)

/** JEM++: SGD 0.1 with momentum and decay 4e-4, warm-up, × 0.2 at epochs 50, 100, 125 of 150, PYLD(10, 5, 0.2), class-Gaussian starts. */
export const jemPlusPlusMethod = jemDefinition(
  'jempp',
  {
    optimizer: { kind: 'sgd', learningRate: 0.1, momentum: 0.9, weightDecay: 4e-4 },
    schedule: { kind: 'step', milestones: [50, 100, 125], gamma: 0.2, warmup: 1000 },
    sampler: { kind: 'pyld', outer: 10, inner: 5, stepSize: 0.2, gradientClamp: 1 },
  },
  { kind: 'classGaussians' },
  150,
)

/** JEM (Grathwohl et al., ICLR 2020) with its published defaults; see {@link jemMethod} and JemOptions. */
export class Jem extends Trainer<JemOptions> {
  constructor(model: Model, options: JemOptions = {}) {
    super(jemMethod, model, options)
  }
}

/** JEM++ (Yang & Ji, ICCV 2021) with its published defaults; see {@link jemPlusPlusMethod} and JemOptions. */
export class JemPlusPlus extends Trainer<JemOptions> {
  constructor(model: Model, options: JemOptions = {}) {
    super(jemPlusPlusMethod, model, options)
  }
}
