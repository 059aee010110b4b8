/** The configuration file of `langevin train`: its schema, and errors that name the place, the value and the nearest right word. */
import { dirname, resolve } from 'node:path'
import { z } from 'zod'
import { type DataSpec, dataSpec } from '../data/load.ts'
import { oodNames } from '../data/ood.ts'
import { LangevinError } from '../graph/errors.ts'
import { faultsOf } from '../runtime/check-options.ts'
import { readWholeFile } from '../runtime/files.ts'
import { methods } from '../trainers/methods.ts'
import type { CommonOptions } from '../trainers/options.ts'

const activation = z.enum(['relu', 'leakyRelu', 'silu', 'gelu', 'elu', 'softplus', 'tanh', 'sigmoid', 'identity'])
const norm = z.enum(['none', 'batch', 'layer', 'instance', 'group'])
const count = z.int().min(1)
const positive = z.number().positive()

const network = z.discriminatedUnion('kind', [
  z.strictObject({
    kind: z.literal('wideResNet'),
    depth: count,
    width: count,
    channels: count.optional(),
    size: z.union([count, z.tuple([count, count])]).optional(),
    classes: z.int().min(0).optional(),
    norm: norm.optional(),
    activation: activation.optional(),
  }),
  z.strictObject({
    kind: z.literal('convEnergy'),
    shape: z.tuple([count, count, count]).optional(),
    channels: z.array(count).min(1).optional(),
    classes: z.int().min(0).optional(),
    norm: norm.optional(),
    activation: activation.optional(),
  }),
  z.strictObject({
    kind: z.literal('mlp'),
    inputs: count.optional(),
    hidden: z.array(count).optional(),
    classes: z.int().min(0).optional(),
    activation: activation.optional(),
  }),
])

const evaluation = z.strictObject({
  ood: z.array(z.union([z.enum(oodNames), dataSpec])).optional(),
  samples: z.int().min(0).optional(),
  features: z.string().optional(),
})

const schema = z.strictObject({
  $schema: z.string().optional(),
  method: z.enum([...methods.keys()] as [string, ...string[]]),
  data: dataSpec,
  network,
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
  if (method !== undefined && options !== undefined && typeof options === 'object')
    faults.push(...faultsOf(method.schema, options, 'trainer'))
  if (faults.length === 0) return value as TrainConfig
  throw new LangevinError(
    'E_CONFIG',
    `${source} is not a valid configuration:\n${faults.map((f) => `  ${f}`).join('\n')}`,
    { source, faults },
  )
}

/** Reads a JSON configuration; relative paths in it start from its own folder. */
export async function readConfig(path: string): Promise<{ config: TrainConfig; base: string }> {
  const text = new TextDecoder().decode(await readWholeFile(path))
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (cause) {
    throw new LangevinError('E_CONFIG', `${path} is not JSON: ${(cause as Error).message}`, { path }, cause)
  }
  return { config: parseConfig(value, path), base: dirname(resolve(path)) }
}

export type { DataSpec }
