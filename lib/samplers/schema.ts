/** Samplers and starts as plain data: what a configuration file or a checkpoint may hold. Ranges of values are the samplers' own to check. */
import { z } from 'zod'
import { amount, count, positive } from '../runtime/check-options.ts'
import type { SamplerOptions } from './samplers.ts'

const bounds = z.union([z.tuple([z.number(), z.number()]), z.null()]).optional()
const gradientClamp = z.union([positive, z.null()]).optional()
const scale = z.union([positive, z.array(positive).min(1)]).optional()
const steps = count.optional()
const stepSize = positive.optional()
const bool = z.boolean().optional()

const sgld = {
  steps,
  stepSize: amount.optional(),
  noise: z.union([amount, z.literal('langevin')]).optional(),
  gradientClamp,
  bounds,
}
const tuned = {
  steps,
  stepSize,
  scale,
  targetAcceptance: positive.optional(),
  adaptScale: bool,
  warmup: count.optional(),
}
const walled = { ...tuned, bounds }
/** Sigmas. */
export const sigmasSchema = z.union([
  z.strictObject({ largest: positive, smallest: positive, levels: count }),
  z.array(positive).min(1),
])
const sigmas = sigmasSchema.optional()

const hmc = {
  ...walled,
  leapfrogSteps: count.optional(),
  trajectoryLength: z.union([positive, z.null()]).optional(),
  jitter: amount.optional(),
}

const inner = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('rwm'), ...walled }),
  z.strictObject({ kind: z.literal('mala'), ...walled }),
  z.strictObject({ kind: z.literal('hmc'), ...hmc }),
])

/** The options of every kind; a kind without an entry does not compile. */
const fields = {
  sgld,
  proximalSgld: sgld,
  pyld: {
    outer: count.optional(),
    inner: count.optional(),
    stepSize: amount.optional(),
    noise: amount.optional(),
    gradientClamp,
    bounds,
    firstStage: count.optional(),
    fuse: bool,
  },
  ula: { steps, stepSize, bounds },
  preconditionedLangevin: {
    steps,
    stepSize,
    preconditioner: z.enum(['fixed', 'rmsprop']).optional(),
    scale,
    decay: amount.optional(),
    epsilon: positive.optional(),
    bounds,
  },
  underdamped: {
    steps,
    stepSize,
    friction: positive.optional(),
    integrator: z.enum(['baoab', 'obabo', 'sghmc']).optional(),
    scale,
    bounds,
  },
  rwm: walled,
  mala: walled,
  hmc,
  nuts: { ...tuned, maxDepth: count.optional() },
  annealedLangevin: {
    sigmas,
    stepsPerLevel: count.optional(),
    stepSize: z.union([positive, z.null()]).optional(),
    denoise: bool,
    bounds,
  },
  predictorCorrector: { sigmas, correctorSteps: z.int().min(0).optional(), snr: positive.optional() },
  probabilityFlow: { sigmas, method: z.enum(['heun', 'rk4']).optional(), denoise: bool },
  parallelTempering: {
    inner: inner.optional(),
    temperatures: z.union([z.strictObject({ count, max: positive }), z.array(positive).min(2)]).optional(),
    scaleSteps: z.union([z.boolean(), z.literal('auto')]).optional(),
  },
  gibbsWithGradients: { form: z.enum(['binary', 'oneHot']).optional(), flips: count.optional(), steps },
  blockGibbs: { steps },
} satisfies Record<SamplerOptions['kind'], z.core.$ZodLooseShape>

const alternatives = Object.entries(fields).map(([kind, shape]) => z.strictObject({ kind: z.literal(kind), ...shape }))
type Alternatives = readonly [z.ZodObject, ...z.ZodObject[]]

/** SamplerOptions. */
export const samplerSchema = z.discriminatedUnion('kind', alternatives as unknown as Alternatives)

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
