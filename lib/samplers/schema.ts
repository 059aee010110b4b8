/** Samplers and starts as plain data: what a configuration file or a checkpoint may hold. */
import { z } from 'zod'

const count = z.int().min(1)
const positive = z.number().positive()
const amount = z.number().min(0)
const bounds = z.union([z.tuple([z.number(), z.number()]), z.null()])
const gradientClamp = z.union([positive, z.null()])
const sgldFields = {
  steps: count.optional(),
  stepSize: amount.optional(),
  noise: z.union([amount, z.literal('langevin')]).optional(),
  gradientClamp: gradientClamp.optional(),
  bounds: bounds.optional(),
}

/** SamplerOptions. */
export const samplerSchema = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('sgld'), ...sgldFields }),
  z.strictObject({ kind: z.literal('proximalSgld'), ...sgldFields }),
  z.strictObject({
    kind: z.literal('pyld'),
    outer: count.optional(),
    inner: count.optional(),
    stepSize: amount.optional(),
    noise: amount.optional(),
    gradientClamp: gradientClamp.optional(),
    bounds: bounds.optional(),
    firstStage: count.optional(),
    fuse: z.boolean().optional(),
  }),
])

const simpleStart = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('uniform'), low: z.number().optional(), high: z.number().optional() }),
  z.strictObject({ kind: z.literal('normal'), mean: z.number().optional(), std: positive.optional() }),
  z.strictObject({ kind: z.literal('data') }),
  z.strictObject({
    kind: z.literal('classGaussians'),
    form: z.enum(['full', 'lowRank', 'diagonal']).optional(),
    rank: count.optional(),
    jitter: positive.optional(),
  }),
])
const mixture = z.strictObject({
  kind: z.literal('mixture'),
  parts: z
    .array(z.strictObject({ share: amount, start: simpleStart }))
    .min(1)
    .max(4),
})

/** StartOptions. */
export const startSchema = z.union([simpleStart, mixture])
