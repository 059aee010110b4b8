/** The configuration file of `langevin train`: its schema, and errors that name the place, the value and the nearest right word. */
import { dirname, resolve } from 'node:path'
import { z } from 'zod'
import { type DataSpec, dataSpec } from '../data/load.ts'
import { oodNames } from '../data/ood.ts'
import { LangevinError, suggestion } from '../graph/errors.ts'
import { readWholeFile } from '../runtime/files.ts'

const activation = z.enum(['relu', 'leakyRelu', 'silu', 'gelu', 'elu', 'softplus', 'tanh', 'sigmoid', 'identity'])
const norm = z.enum(['none', 'batch', 'layer', 'instance', 'group'])
const count = z.int().min(1)
const positive = z.number().positive()
const amount = z.number().min(0)

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

const bounds = z.union([z.tuple([z.number(), z.number()]), z.null()])
const gradientClamp = z.union([positive, z.null()])
const sgldFields = {
  steps: count.optional(),
  stepSize: amount.optional(),
  noise: z.union([amount, z.literal('langevin')]).optional(),
  gradientClamp: gradientClamp.optional(),
  bounds: bounds.optional(),
}
const sampler = z.discriminatedUnion('kind', [
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

const optimizer = z.discriminatedUnion('kind', [
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

const warmup = z.int().min(0).optional()
const schedule = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('constant'), warmup }),
  z.strictObject({ kind: z.literal('step'), milestones: z.array(amount), gamma: positive.optional(), warmup }),
  z.strictObject({ kind: z.literal('cosine'), floor: amount.optional(), warmup }),
])

const augmentation = z.strictObject({
  pad: z.int().min(0).optional(),
  flip: z.boolean().optional(),
  noise: amount.optional(),
})

const trainer = z.strictObject({
  batch: count.optional(),
  optimizer: optimizer.optional(),
  schedule: schedule.optional(),
  gradientClip: z.union([positive, z.null()]).optional(),
  ema: z.union([amount, z.null()]).optional(),
  seed: z.int().optional(),
  sampler: sampler.optional(),
  buffer: z
    .strictObject({
      size: count.optional(),
      reinit: amount.optional(),
      start: z.union([simpleStart, mixture]).optional(),
    })
    .optional(),
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
  augmentation: z.strictObject({ data: augmentation.optional(), labelled: augmentation.optional() }).optional(),
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
})

const evaluation = z.strictObject({
  ood: z.array(z.union([z.enum(oodNames), dataSpec])).optional(),
  samples: z.int().min(0).optional(),
  features: z.string().optional(),
})

const schema = z.strictObject({
  $schema: z.string().optional(),
  method: z.enum(['jem', 'jempp']),
  data: dataSpec,
  network,
  trainer: trainer.optional(),
  epochs: positive.optional(),
  steps: count.optional(),
  reportEvery: count.optional(),
  checkpointEvery: count.optional(),
  evaluation: evaluation.optional(),
})

/** A checked configuration. */
export type TrainConfig = z.infer<typeof schema>

/** Checks a configuration. @throws LangevinError E_CONFIG with every fault, each with its place. */
export function parseConfig(value: unknown, source: string): TrainConfig {
  const result = schema.safeParse(value)
  if (result.success) return result.data
  const faults = result.error.issues.flatMap((issue) => describeIssue(issue as Issue, value))
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

/** What this file reads of a zod issue. */
interface Issue {
  readonly code: string
  readonly path: readonly PropertyKey[]
  readonly message: string
  readonly keys?: readonly string[]
  readonly values?: readonly unknown[]
  readonly errors?: readonly (readonly Issue[])[]
  /** What the discriminator of a union may be. */
  readonly options?: readonly unknown[]
}

function describeIssue(issue: Issue, root: unknown): string[] {
  const place = issue.path.length === 0 ? 'the configuration' : issue.path.join('.')
  if (issue.code === 'unrecognized_keys') {
    return (issue.keys ?? []).map(
      (key) => `${place}: unknown key '${key}'.${suggestion(key, keysAt(issue.path, root))}`,
    )
  }
  const got = valueAt(issue.path, root)
  const allowed = issue.values ?? issue.options
  if (allowed !== undefined && got === undefined) return [`${place}: is missing; give one of ${allowed.join(', ')}`]
  if (allowed !== undefined && typeof got === 'string')
    return [`${place}: '${got}' is not allowed.${suggestion(got, allowed.map(String))}`]
  if (issue.code === 'invalid_union') {
    const alternatives = issue.errors ?? []
    const kinds = alternatives.map((list) => list.find((i) => i.path.join() === 'kind' && (i.values ?? i.options)))
    if (kinds.length > 0 && kinds.every((k) => k !== undefined)) {
      const options = kinds.flatMap((k) => k.values ?? k.options ?? [])
      return describeIssue({ code: 'invalid_value', message: '', options, path: [...issue.path, 'kind'] }, root)
    }
    const words = alternatives.find((list) => typeof got === 'string' && list[0]?.values && list[0].path.length === 0)
    const nested = words ?? [...alternatives].sort((a, b) => a.length - b.length || deepest(b) - deepest(a))[0]
    if (nested !== undefined)
      return nested.flatMap((n) => describeIssue({ ...n, path: [...issue.path, ...n.path] }, root))
  }
  if (got === undefined) return [`${place}: is missing; ${inWords(issue.message)}`]
  return [`${place}: ${inWords(issue.message)}; got ${show(got)}`]
}

/** Zod's message without what is said beside it. */
function inWords(message: string): string {
  return message
    .replace(/^Invalid input: /, '')
    .replace(/, received .*$/, '')
    .replace(/^Too (?:small|big): expected number to be /, 'expected a number ')
    .replace(/^Too (?:small|big): /, '')
    .replace('>=', '≥ ')
    .replace('<=', '≤ ')
}

function deepest(issues: readonly Issue[]): number {
  return Math.max(0, ...issues.map((i) => i.path.length))
}

function valueAt(path: readonly PropertyKey[], root: unknown): unknown {
  return path.reduce<unknown>(
    (v, key) => (typeof v === 'object' && v !== null ? (v as Record<PropertyKey, unknown>)[key] : undefined),
    root,
  )
}

/** Keys that the schema allows where an unknown one was found. */
function keysAt(path: readonly PropertyKey[], root: unknown): string[] {
  let at: z.core.$ZodType | undefined = schema
  for (let depth = 0; ; depth++) {
    at = resolveSchema(at, valueAt(path.slice(0, depth), root))
    if (depth === path.length) break
    const key = path[depth] as string
    at =
      at instanceof z.ZodArray
        ? at.element
        : at instanceof z.ZodObject
          ? (at.shape as Record<string, z.core.$ZodType>)[key]
          : undefined
  }
  return at instanceof z.ZodObject ? Object.keys(at.shape) : []
}

/** Unwraps optionals and picks the alternative of a union that the value's `kind` names. */
function resolveSchema(schemaAt: z.core.$ZodType | undefined, value: unknown): z.core.$ZodType | undefined {
  let at = schemaAt
  if (at instanceof z.ZodOptional || at instanceof z.ZodNullable) at = resolveSchema(at.unwrap(), value)
  if (at instanceof z.ZodUnion) {
    const kind = typeof value === 'object' && value !== null ? (value as { kind?: unknown }).kind : undefined
    const options = at.options.map((o) => resolveSchema(o as z.core.$ZodType, value))
    return (
      options.find(
        (o) =>
          o instanceof z.ZodObject &&
          o.shape.kind !== undefined &&
          z.safeParse(o.shape.kind as z.ZodType, kind).success,
      ) ?? options[0]
    )
  }
  return at
}

function show(value: unknown): string {
  const text = JSON.stringify(value) ?? 'nothing'
  return text.length > 80 ? `${text.slice(0, 80)}...` : text
}

export type { DataSpec }
