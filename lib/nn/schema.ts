/** Networks and flows as plain data: what a configuration may say of them. What it leaves open (shape, classes) comes from the data; see lib/cli. */
import { z } from 'zod'
import { count, positive } from '../runtime/check-options.ts'
import { mixingNames } from './flows.ts'
import { type Answer, answers } from './imported/record.ts'
import { type ActivationName, activationNames } from './layer.ts'
import { normNames } from './norms.ts'

const activation = z.enum(activationNames as [ActivationName, ...ActivationName[]]).optional()
const norm = z.enum(normNames).optional()
const shape = z.array(count).min(1).optional()
const image = z.tuple([count, count, count]).optional()
const classes = z.int().min(0).optional()
const hidden = z.array(count).optional()
const binary = z.tuple([z.number(), z.number()]).optional()

/** SharedOptions of networks.ts. */
const shared = {
  sigma: z.strictObject({ smallest: positive, features: count.optional(), data: positive.optional() }).optional(),
  spectralNorm: z.union([z.literal(true), z.strictObject({ iterations: count.optional() })]).optional(),
  init: z.enum(['fanIn', 'kaiming', 'xavier']).optional(),
}

const perChannel = z.union([z.number(), z.array(z.number()).min(1)]).optional()
const commonFlow = {
  shift: perChannel,
  scale: perChannel,
  mixing: z.enum(mixingNames).optional(),
  actNorm: z.boolean().optional(),
  seed: z.int().optional(),
}
const spline = {
  bins: count.optional(),
  bound: positive.optional(),
  minBinWidth: positive.optional(),
  minBinHeight: positive.optional(),
  minDerivative: positive.optional(),
}
const vectorFlow = { ...commonFlow, inputs: count.optional(), layers: count.optional(), hidden, activation }

/** Options of the flows, by kind; `inputs` and `shape` may be left to the data. */
export const flowSchema = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('affineCoupling'), ...vectorFlow, maxLogScale: positive.optional() }),
  z.strictObject({ kind: z.literal('spline'), ...vectorFlow, ...spline }),
  z.strictObject({
    kind: z.literal('image'),
    ...commonFlow,
    ...spline,
    shape: image,
    coupling: z.enum(['affine', 'spline']).optional(),
    levels: z.int().min(0).optional(),
    checkerboards: z.int().min(0).optional(),
    steps: z.int().min(0).optional(),
    channels: count.optional(),
    blocks: z.int().min(0).optional(),
    activation,
    maxLogScale: positive.optional(),
    logit: z.union([positive, z.null()]).optional(),
  }),
])

const pairwise = {
  shape,
  coupling: z.enum(['shared', 'bond', 'full']).optional(),
  boundary: z.enum(['periodic', 'open']).optional(),
  field: z.enum(['none', 'shared', 'site']).optional(),
  initial: z.strictObject({ coupling: z.number().optional(), field: z.number().optional() }).optional(),
}

/** Options of the networks that a file can describe, by kind. */
export const networkSchema = z.discriminatedUnion('kind', [
  z.strictObject({
    kind: z.literal('wideResNet'),
    depth: count,
    width: count,
    channels: count.optional(),
    size: z.union([count, z.tuple([count, count])]).optional(),
    classes,
    norm,
    activation,
    ...shared,
  }),
  z.strictObject({
    kind: z.literal('convEnergy'),
    shape: image,
    channels: z.array(count).min(1).optional(),
    classes,
    norm,
    activation,
    ...shared,
  }),
  z.strictObject({
    kind: z.literal('mlp'),
    inputs: count.optional(),
    shape,
    hidden,
    classes,
    activation,
    reference: positive.optional(),
    ...shared,
  }),
  z.strictObject({ kind: z.literal('flow'), flow: flowSchema.optional() }),
  z.strictObject({
    kind: z.literal('rbm'),
    visible: count.optional(),
    shape,
    hidden: count,
    visibleKind: z.enum(['bernoulli', 'gaussian']).optional(),
    values: binary,
    variance: z.union([positive, z.literal('learned')]).optional(),
  }),
  z.strictObject({ kind: z.literal('ising'), ...pairwise, values: binary }),
  z.strictObject({ kind: z.literal('potts'), ...pairwise, states: z.int().min(2).optional() }),
  z.strictObject({
    kind: z.literal('onnx'),
    /** A path, from the configuration's folder; the rest are ImportOptions. */
    file: z.string().min(1),
    input: z.string().optional(),
    output: z.string().optional(),
    answer: z.enum(answers as [Answer, ...Answer[]]).optional(),
    dropSoftmax: z.boolean().optional(),
    normalization: z
      .strictObject({ mean: perChannel, std: perChannel, range: z.union([binary.unwrap(), z.null()]).optional() })
      .optional(),
    shape,
  }),
])

/** A network as a configuration describes it. */
export type NetworkSpec = z.infer<typeof networkSchema>
export type FlowSpec = z.infer<typeof flowSchema>
