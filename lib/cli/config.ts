/** The configuration file of `langevin train`: its schema, and errors that name the place, the value and the nearest right word. */
import { dirname, resolve } from 'node:path'
import { z } from 'zod'
import { type DataSpec, dataSpec } from '../data/load.ts'
import { oodNames } from '../data/ood.ts'
import { attackSchema } from '../evaluation/robustness.ts'
import { LangevinError } from '../graph/errors.ts'
import { networkSchema } from '../nn/schema.ts'
import { count, faultsOf, positive } from '../runtime/check-options.ts'
import { readWholeFile } from '../runtime/files.ts'
import { samplerSchema, startSchema } from '../samplers/schema.ts'
import { methods } from '../trainers/methods.ts'
import type { CommonOptions } from '../trainers/options.ts'
import { parseJson } from './files.ts'

const perDimension = z.union([z.number(), z.array(z.number()).min(1)])
const stepSize = z.union([positive, z.literal('adapt')]).optional()

/** LikelihoodOptions: the value of `logZ` says which they are. */
const likelihood = z.union([
  z.literal(false),
  z.strictObject({ logZ: z.number(), standardError: z.number().min(0).optional() }),
  z.strictObject({
    logZ: z.literal('quadrature'),
    low: perDimension.optional(),
    high: perDimension.optional(),
    points: z.union([count, z.array(count).min(1)]).optional(),
    rule: z.enum(['midpoint', 'simpson']).optional(),
    batch: count.optional(),
  }),
  z.strictObject({ logZ: z.literal('exact') }),
  z.strictObject({
    logZ: z.literal('ais'),
    bracket: z.boolean().optional(),
    chains: z.int().min(2).optional(),
    steps: count.optional(),
    schedule: z.union([z.enum(['sigmoid', 'linear']), z.array(positive).min(1)]).optional(),
    transition: z
      .discriminatedUnion('kind', [
        z.strictObject({ kind: z.literal('hmc'), leapfrog: count.optional(), stepSize }),
        z.strictObject({ kind: z.literal('mala'), stepSize }),
      ])
      .optional(),
    transitions: count.optional(),
  }),
])

/** ChainCheckOptions. */
const chains = z.strictObject({
  sampler: samplerSchema.optional(),
  chains: count.optional(),
  draws: count.optional(),
  warmup: z.int().min(0).optional(),
  thin: count.optional(),
  start: startSchema.optional(),
  temperature: positive.optional(),
})

const evaluation = z.strictObject({
  ood: z.array(z.union([z.enum(oodNames), dataSpec])).optional(),
  samples: z.int().min(0).optional(),
  features: z.string().optional(),
  classifier: z.string().optional(),
  likelihood: likelihood.optional(),
  quality: z.boolean().optional(),
  chains: chains.optional(),
  attacks: z.array(attackSchema).optional(),
})

const schema = z.strictObject({
  $schema: z.string().optional(),
  method: z.enum([...methods.keys()] as [string, ...string[]]),
  data: dataSpec,
  network: networkSchema,
  /** Checked by the method's own schema. */
  trainer: z.record(z.string(), z.unknown()).optional(),
  epochs: positive.optional(),
  steps: count.optional(),
  reportEvery: count.optional(),
  checkpointEvery: count.optional(),
  evaluation: evaluation.optional(),
})

/** A checked configuration; `trainer` holds the options of its method. */
export type TrainConfig = Omit<z.infer<typeof schema>, 'trainer'> & { readonly trainer?: CommonOptions | undefined }

/** Checks a configuration. @throws LangevinError E_CONFIG with every fault, each with its place. */
export function parseConfig(value: unknown, source: string): TrainConfig {
  const plain = value as { readonly method?: unknown; readonly trainer?: unknown } | null | undefined
  const method = methods.get(String(plain?.method))
  const options = plain?.trainer
  const faults = faultsOf(schema, value)
  if (method !== undefined && options !== undefined && typeof options === 'object' && !Array.isArray(options))
    faults.push(...faultsOf(method.schema, options, 'trainer'))
  if (faults.length === 0) return value as TrainConfig
  throw new LangevinError(
    'E_CONFIG',
    `${source} is not a valid configuration:\n${faults.map((f) => `  ${f}`).join('\n')}`,
    { source, faults },
  )
}

/** Checks the `evaluation` part by itself. @throws LangevinError E_CONFIG with every fault */
export function parseEvaluation(value: unknown, source: string): TrainConfig['evaluation'] {
  const faults = faultsOf(evaluation, value, 'evaluation')
  if (faults.length === 0) return value as TrainConfig['evaluation']
  throw new LangevinError('E_CONFIG', `${source}: ${faults.join('; ')}`, { source, faults })
}

/** Reads a JSON configuration; relative paths in it start from its own folder. */
export async function readConfig(path: string): Promise<{ config: TrainConfig; base: string }> {
  const value = parseJson(new TextDecoder().decode(await readWholeFile(path)), path)
  return { config: parseConfig(value, path), base: dirname(resolve(path)) }
}

export type { DataSpec }
