/**
 * SADA-JEM (Yang & Ji, CVPR 2023, arXiv 2209.07959): the JEM step with sharpness-aware minimisation and a p(x) stream without augmentation.
 * Method and options are JEM's (jem.ts); SAM is the engine's (sharpness.ts).
 */
import type { Model } from '../nn/model.ts'
import type { JemOptions } from './jem.ts'
import { jemDefinition } from './jem-trainers.ts'
import type { MethodDefinition } from './method.ts'
import { Trainer } from './trainer.ts'

const base = jemDefinition(
  'sadaJem',
  {
    optimizer: { kind: 'sgd', learningRate: 0.1, momentum: 0.9, weightDecay: 5e-4 },
    schedule: { kind: 'step', milestones: [60, 120, 180], gamma: 0.2, warmup: 1000 },
    sampler: { kind: 'proximalSgld', steps: 5, stepSize: 1, noise: 0, gradientClamp: 1, bounds: [-1, 1] },
    sam: { rho: 2, adaptive: true },
  },
  { kind: 'classGaussians' },
  200,
)

/**
 * SADA-JEM as its published code runs it: SGD 0.1 with momentum and decay 5e-4, warm-up over 1000 steps, × 0.2 at epochs 60, 120, 180 of 200;
 * adaptive SAM with ρ = 2; K = 5 steps of proximal SGLD of size 1 over the whole network (gradient clamped to ±1, no noise, x in [-1, 1], batch
 * norms in train mode; with an affine first stage that is PYLD(5, 5, 0.2)); class-Gaussian starts; nothing added to the images of p(x), and crops
 * and mirroring, without noise, to the labelled ones.
 */
export const sadaJemMethod: MethodDefinition<JemOptions> = {
  ...base,
  create: (context) => base.create({ ...context, options: withoutAugmentation(context.options) }),
}

/** The p(x) stream as it is, and no noise on the labelled one, unless the options say so. */
function withoutAugmentation(options: JemOptions): JemOptions {
  const { data, labelled } = options.augmentation ?? {}
  const augmentation = { data: { pad: 0, flip: false, noise: 0, ...data }, labelled: { noise: 0, ...labelled } }
  return { ...options, augmentation }
}

/**
 * SADA-JEM with its published defaults; see {@link sadaJemMethod} and JemOptions. The negatives of a step are drawn once and used in both of
 * SAM's gradients, and running statistics are those of the first. A step costs what a JEM++ step with M = 5 does and a second gradient.
 * @example new SadaJem(wideResNet({ depth: 28, width: 10, channels: 3, size: 32, classes: 10 }))
 */
export class SadaJem extends Trainer<JemOptions> {
  constructor(model: Model, options: JemOptions = {}) {
    super(sadaJemMethod, model, options)
  }
}
