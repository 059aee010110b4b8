/** Trainer options as plain data: the parts that all methods share, to build their schemas from. */
import { z } from 'zod'
import { precisions } from '../plan/index.ts'
import { amount, count, positive } from '../runtime/check-options.ts'
import { samplerSchema, startSchema } from '../samplers/schema.ts'

const warmup = z.int().min(0).optional()

/** OptimizerOptions. */
export const optimizerSchema = z.discriminatedUnion('kind', [
  z.strictObject({
    kind: z.literal('sgd'),
    learningRate: amount.optional(),
    momentum: amount.optional(),
    weightDecay: amount.optional(),
    nesterov: z.boolean().optional(),
  }),
  z.strictObject({
    kind: z.enum(['adam', 'adamw']),
    learningRate: amount.optional(),
    betas: z.tuple([amount, amount]).optional(),
    epsilon: positive.optional(),
    weightDecay: amount.optional(),
  }),
])

/** ScheduleOptions. */
export const scheduleSchema = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('constant'), warmup }),
  z.strictObject({ kind: z.literal('step'), milestones: z.array(amount), gamma: positive.optional(), warmup }),
  z.strictObject({ kind: z.literal('cosine'), floor: amount.optional(), warmup }),
])

/** CommonOptions. */
export const commonFields = {
  batch: count.optional(),
  optimizer: optimizerSchema.optional(),
  schedule: scheduleSchema.optional(),
  gradientClip: z.union([positive, z.null()]).optional(),
  ema: z.union([amount, z.null()]).optional(),
  sam: z.union([z.strictObject({ rho: positive, adaptive: z.boolean().optional() }), z.null()]).optional(),
  seed: z.int().optional(),
  precision: z.enum(precisions).optional(),
  recovery: z
    .strictObject({
      tries: z.int().min(0).optional(),
      rateFactor: positive.optional(),
      lossLimit: positive.optional(),
      energyLimit: positive.optional(),
      crossEntropyLimit: positive.optional(),
      snapshotEvery: count.optional(),
    })
    .optional(),
}

/** Augmentation. */
export const augmentationSchema = z.strictObject({
  pad: z.int().min(0).optional(),
  flip: z.boolean().optional(),
  noise: amount.optional(),
})

/** EnergyOptions. */
export const energyFields = {
  ...commonFields,
  augmentation: augmentationSchema.optional(),
  norm: z.enum(['batch', 'running']).optional(),
  statisticsMomentum: positive.optional(),
  sampling: z
    .strictObject({
      sampler: samplerSchema.optional(),
      start: startSchema.optional(),
      steps: count.optional(),
      chains: count.optional(),
    })
    .optional(),
}

/** ReplayOptions. */
export const replaySchema = z.strictObject({
  size: count.optional(),
  reinit: amount.optional(),
  start: startSchema.optional(),
})

/** JemOptions. */
export const jemSchema = z.strictObject({
  ...commonFields,
  sampler: samplerSchema.optional(),
  buffer: replaySchema.optional(),
  weights: z
    .strictObject({
      px: amount.optional(),
      pyx: amount.optional(),
      pxy: amount.optional(),
      energyPenalty: amount.optional(),
    })
    .optional(),
  classConditional: z.boolean().optional(),
  chainNorm: z.enum(['batch', 'running']).optional(),
  statisticsMomentum: positive.optional(),
  augmentation: z
    .strictObject({ data: augmentationSchema.optional(), labelled: augmentationSchema.optional() })
    .optional(),
})
