/**
 * langevin.json, the description beside exported models (`langevin export RUN --bundle DIR`): checked as far as the page uses it, and the scaling of raw
 * values to what the network sees. No page elements here: load.ts fetches it.
 */

export interface Bundle {
  readonly name: string
  readonly shape: readonly number[]
  /** Raw values that are -1 and 1; undefined: as they are. */
  readonly range: readonly [number, number] | undefined
  readonly classes: readonly string[]
  readonly model: { readonly url: string; readonly outputs: readonly string[] }
  /** Draws its own starting points. */
  readonly sampler: { readonly url: string; readonly inputs: readonly string[] } | undefined
  /** Examples with log p below are out of distribution; undefined where the bundle has no threshold. */
  readonly threshold: number | undefined
  readonly falseAlarms: number | undefined
}

type Json = { readonly [key: string]: unknown }

/** A parsed langevin.json; addresses of its files start from `base`. @throws Error that names what is wrong */
export function readBundle(json: unknown, base: URL): Bundle {
  const root = object(json, 'langevin.json')
  if (root.format !== 1)
    throw new Error(
      `langevin.json: format is ${String(root.format)}; this page reads format 1. Build page and bundle of one version.`,
    )
  const input = object(root.input, 'input')
  const model = object(root.model, 'model')
  const given = root.sampler == null ? undefined : object(root.sampler, 'sampler')
  // A generator draws in one go: nothing to watch.
  const sampler = given?.kind === 'generator' ? undefined : given
  const ood = root.outOfDistribution == null ? undefined : object(root.outOfDistribution, 'outOfDistribution')
  const range = input.range == null ? undefined : numbers(input.range, 'input.range')
  if (range !== undefined && range.length !== 2) throw new Error('langevin.json: input.range must hold two numbers')
  return {
    name: text(root.name, 'name'),
    shape: numbers(input.shape, 'input.shape'),
    range: range && [range[0] as number, range[1] as number],
    classes: texts(root.classes, 'classes'),
    model: {
      url: new URL(text(model.file, 'model.file'), base).href,
      outputs: texts(model.outputs, 'model.outputs'),
    },
    sampler: sampler && {
      url: new URL(text(sampler.file, 'sampler.file'), base).href,
      inputs: texts(sampler.inputs, 'sampler.inputs'),
    },
    threshold: ood && number(ood.threshold, 'outOfDistribution.threshold'),
    falseAlarms: ood && number(ood.falseAlarms, 'outOfDistribution.falseAlarms'),
  }
}

/** Raw values as the network sees them: [low, high] becomes [-1, 1]. */
export function normalise(bundle: Pick<Bundle, 'range'>, raw: ArrayLike<number>): Float32Array<ArrayBuffer> {
  const { range } = bundle
  if (range === undefined) return Float32Array.from(raw)
  const [low, high] = range
  return Float32Array.from(raw, (v) => ((v - low) / (high - low)) * 2 - 1)
}

function object(value: unknown, name: string): Json {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Json
  throw wrong(name, 'an object', value)
}

function text(value: unknown, name: string): string {
  if (typeof value === 'string') return value
  throw wrong(name, 'a text', value)
}

function number(value: unknown, name: string): number {
  if (typeof value === 'number' && Number.isFinite(value)) return value
  throw wrong(name, 'a number', value)
}

function texts(value: unknown, name: string): readonly string[] {
  if (Array.isArray(value)) return value.map((v, i) => text(v, `${name}[${i}]`))
  throw wrong(name, 'a list', value)
}

function numbers(value: unknown, name: string): readonly number[] {
  if (Array.isArray(value)) return value.map((v, i) => number(v, `${name}[${i}]`))
  throw wrong(name, 'a list', value)
}

function wrong(name: string, expected: string, value: unknown): Error {
  return new Error(
    `langevin.json: ${name} must be ${expected}; got ${JSON.stringify(value) ?? 'nothing'}. Export the bundle again.`,
  )
}
