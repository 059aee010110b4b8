/**
 * The options of dual adversarial training: what they are, their defaults and checks, and their schema. The training is dual-adversarial.ts's.
 */
import { z } from 'zod'
import { checkChoice, checkInteger, checkNotNegative, checkPositive } from '../graph/checks.ts'
import type { OptimizerOptions } from '../optim/optimizers.ts'
import type { ScheduleOptions } from '../optim/schedules.ts'
import { amount, count, positive } from '../runtime/check-options.ts'
import { type PgdOptions, pgdFields, type ResolvedPgd, resolvePgd } from '../samplers/attacks.ts'
import { startSchema } from '../samplers/schema.ts'
import type { StartOptions } from '../samplers/starts.ts'
import type { Augmentation } from './batches.ts'
import type { DataDescription } from './checkpoint.ts'
import { type ContrastOptions, contrastSchema } from './contrast-source.ts'
import { DEFAULT_BATCH } from './engine.ts'
import { type CommonOptions, recoveryDefaults } from './options.ts'
import { augmentationSchema, commonFields, optimizerSchema, scheduleSchema } from './schema.ts'

export interface DualAdversarialOptions extends CommonOptions {
  /**
   * The attack that both stages train the classifier under, in units of the input ([-1, 1]: twice those of [0, 1] pixels). Default L2, epsilon 1,
   * 10 steps of 0.2, from the image itself: the published 0.5 and 0.1 in pixels.
   */
  readonly attack?: Partial<PgdOptions>
  /**
   * Passes over the data in stage one, adversarial training with batch norms in train mode; default 100, of the run's epochs. 0 begins with
   * stage two, from the model's weights (a classifier trained elsewhere).
   */
  readonly adversarialEpochs?: number
  /** Stage two's optimizer (default SGD 1e-3, Nesterov momentum 0.9, decay 5e-4) and schedule (default constant; counts from the run's start). */
  readonly dual?: { readonly optimizer?: OptimizerOptions; readonly schedule?: ScheduleOptions }
  /** Where contrastive samples begin: published with another set of natural images. Default class Gaussians of the data. */
  readonly contrast?: ContrastOptions
  readonly ascent?: ContrastAscentOptions
  /** Of the binary cross entropy (1), the attacked cross entropy (1), and of mean ‖∇x logsumexp f‖² on data (R1; 0). */
  readonly weights?: { readonly binary?: number; readonly crossEntropy?: number; readonly gradientPenalty?: number }
  /** Per stream. Default nothing on the p(x) stream; for colour images pad 4 and flip on the classifier's (published: AutoAugment and cutout). */
  readonly augmentation?: { readonly data?: Augmentation; readonly labelled?: Augmentation }
  /** Of batch norms in stage one; default 0.1. */
  readonly statisticsMomentum?: number
  /** How `sample` draws: start (default that of the contrastive samples), steps (default the T that training reached), their length, chains (256). */
  readonly sampling?: {
    readonly start?: StartOptions
    readonly steps?: number
    readonly stepSize?: number
    readonly chains?: number
  }
}

export interface ContrastAscentOptions {
  /** What is ascended, and judged by the AUC: logsumexp f(x) (default), or f(x)[y] of random labels, as the published code does. */
  readonly of?: 'logsumexp' | 'label'
  /** Euclidean length of a step in units of the input; default 0.2 (published 0.1 in pixels). */
  readonly stepSize?: number
  /** T at the beginning; default 0. */
  readonly first?: number
  /** Largest T; default 50 (published 40 to 50). */
  readonly most?: number
  /** AUC that T grows at; default 0.8. */
  readonly threshold?: number
  /** Examples that the running AUC is over; default 1000. */
  readonly window?: number
}

const ascents = ['logsumexp', 'label'] as const

/** Options with every default filled in. */
export interface Settings {
  readonly batch: number
  readonly attack: ResolvedPgd
  readonly ascent: Required<ContrastAscentOptions>
  readonly weights: { readonly binary: number; readonly crossEntropy: number; readonly gradientPenalty: number }
  readonly augmentation: { readonly data: Augmentation; readonly labelled: Augmentation }
  readonly statisticsMomentum: number
  readonly energyLimit: number
  readonly crossEntropyLimit: number | undefined
}

/** @throws RangeError, LangevinError E_CONFIG naming the option */
export function resolveOptions(options: DualAdversarialOptions, data: DataDescription): Settings {
  const { batch = DEFAULT_BATCH, statisticsMomentum = 0.1, adversarialEpochs = 100 } = options
  checkInteger('batch', batch, 1)
  if (!(statisticsMomentum > 0 && statisticsMomentum <= 1))
    throw new RangeError(`statisticsMomentum must be in (0, 1]; got ${statisticsMomentum}`)
  checkNotNegative('adversarialEpochs', adversarialEpochs)
  const bounds = data.range === null ? null : ([-1, 1] as const)
  const published = { norm: 'l2', epsilon: 1, steps: 10, stepSize: 0.2, randomStart: false, bounds } as const
  // Another radius or count of steps than the published ones has its own step size.
  const { epsilon, steps, norm } = options.attack ?? {}
  const { stepSize: _, ...unsized } = published
  const base = epsilon === undefined && steps === undefined && norm === undefined ? published : unsized
  const weights = { binary: 1, crossEntropy: 1, gradientPenalty: 0, ...options.weights }
  for (const [name, v] of Object.entries(weights)) checkNotNegative(`weights.${name}`, v)
  if (weights.binary + weights.crossEntropy === 0)
    throw new RangeError('weights: binary and crossEntropy are both 0, so nothing would be trained')
  const colour = data.shape.length === 3 && data.shape[0] === 3
  return {
    batch,
    attack: resolvePgd({ ...base, ...options.attack }),
    ascent: resolveAscent(options.ascent ?? {}),
    weights,
    augmentation: {
      data: { ...options.augmentation?.data },
      labelled: { ...(colour ? { pad: 4, flip: true } : {}), ...options.augmentation?.labelled },
    },
    statisticsMomentum,
    energyLimit: recoveryDefaults(options.recovery).energyLimit,
    crossEntropyLimit: options.recovery?.crossEntropyLimit,
  }
}

function resolveAscent(options: ContrastAscentOptions): Required<ContrastAscentOptions> {
  const { of = 'logsumexp', stepSize = 0.2, first = 0, most = 50, threshold = 0.8, window = 1000 } = options
  checkChoice('ascent.of:', of, ascents)
  checkInteger('ascent.first', first, 0)
  checkInteger('ascent.most', most, first)
  checkInteger('ascent.window', window, 1)
  checkPositive('ascent.stepSize', stepSize)
  if (!(threshold > 0 && threshold <= 1)) throw new RangeError(`ascent.threshold must be in (0, 1]; got ${threshold}`)
  return { of, stepSize, first, most, threshold, window }
}

/** DualAdversarialOptions. */
export const dualAdversarialSchema = z.strictObject({
  ...commonFields,
  attack: z.strictObject({ ...pgdFields, epsilon: amount.optional() }).optional(),
  adversarialEpochs: amount.optional(),
  dual: z.strictObject({ optimizer: optimizerSchema.optional(), schedule: scheduleSchema.optional() }).optional(),
  contrast: contrastSchema.optional(),
  ascent: z
    .strictObject({
      of: z.enum(ascents).optional(),
      stepSize: positive.optional(),
      first: z.int().min(0).optional(),
      most: z.int().min(0).optional(),
      threshold: positive.optional(),
      window: count.optional(),
    })
    .optional(),
  weights: z
    .strictObject({
      binary: amount.optional(),
      crossEntropy: amount.optional(),
      gradientPenalty: amount.optional(),
    })
    .optional(),
  augmentation: z
    .strictObject({ data: augmentationSchema.optional(), labelled: augmentationSchema.optional() })
    .optional(),
  statisticsMomentum: positive.optional(),
  sampling: z
    .strictObject({
      start: startSchema.optional(),
      steps: z.int().min(0).optional(),
      stepSize: positive.optional(),
      chains: count.optional(),
    })
    .optional(),
})
