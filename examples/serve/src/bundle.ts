/** A bundle folder as `langevin export RUN --bundle DIR` writes it: langevin.json, checked, and where its ONNX files are. Opens no model. */
import { readFile, stat } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { Fields, isNumber, isSize, isText } from './check.ts'
import { reasonOf, StartError } from './errors.ts'

/** From raw units to those of the model: a range becomes [-1, 1], or columns are standardised, or numbers are taken as they are. */
export interface InputInfo {
  readonly shape: readonly number[]
  readonly range: readonly [number, number] | null
  readonly columns: readonly string[] | undefined
  readonly transform: { readonly mean: readonly number[]; readonly std: readonly number[] } | undefined
  /** Models of discrete x: the two values of every number in the model's units, or one-hot along the last axis. */
  readonly discrete: 'oneHot' | readonly [number, number] | undefined
}

export interface FileInfo {
  /** Where the file is. */
  readonly path: string
  readonly inputs: readonly string[]
  readonly outputs: readonly string[]
}

export interface SamplerInfo extends FileInfo {
  /** What is fed where a request does not say: steps, step_size, noise_scale. */
  readonly defaults: Readonly<Record<string, number>>
  /** A generator's base noise z, an example. */
  readonly latent: readonly number[] | undefined
}

export interface OutOfDistribution {
  /** Name of the output that is compared. */
  readonly score: string
  /** An example is flagged where its score is below. */
  readonly threshold: number
  /** Share of held-out data that is flagged. */
  readonly falseAlarms: number | undefined
}

export interface Bundle {
  readonly name: string
  readonly method: string | undefined
  /** Version of the package that wrote it. */
  readonly langevin: string
  readonly input: InputInfo
  readonly classes: readonly string[]
  readonly model: FileInfo
  readonly sampler: SamplerInfo | undefined
  readonly outOfDistribution: OutOfDistribution | undefined
  /** langevin.json as it stands. */
  readonly manifest: Readonly<Record<string, unknown>>
}

const MANIFEST = 'langevin.json'

/**
 * Reads and checks a bundle. Fields of langevin.json that this service does not know are left alone.
 * @throws StartError E_BUNDLE that names file and field where something is missing, damaged or from a newer format.
 */
export async function readBundle(folder: string): Promise<Bundle> {
  const path = join(folder, MANIFEST)
  const text = await readFile(path, 'utf8').catch((cause) => {
    throw new StartError(
      'E_BUNDLE',
      `'${path}' cannot be read (${reasonOf(cause)}); expected a bundle folder. Make one with: langevin export RUN --bundle ${folder}`,
      cause,
    )
  })
  let manifest: unknown
  try {
    manifest = JSON.parse(text)
  } catch (cause) {
    throw new StartError(
      'E_BUNDLE',
      `'${path}' is damaged: ${reasonOf(cause)}. Export the bundle again with: langevin export RUN --bundle ${folder}`,
      cause,
    )
  }
  const bundle = parseManifest(manifest, folder)
  await Promise.all([bundle.model, bundle.sampler].map((file) => file && checkFile(file.path, path)))
  return bundle
}

function parseManifest(manifest: unknown, folder: string): Bundle {
  const path = join(folder, MANIFEST)
  const fields = new Fields(manifest, '', ({ what, value, expected }) => {
    const found = value === undefined ? what : `${what} is ${JSON.stringify(value)?.slice(0, 80)}`
    return new StartError('E_BUNDLE', `'${path}': ${found}${expected === undefined ? '' : `; expected ${expected}`}`)
  })
  const format = fields.integer('format', { least: 1 })
  if (format !== 1) {
    const found = format === undefined ? 'has no format' : `has format ${format}`
    throw new StartError(
      'E_BUNDLE',
      `'${path}' ${found}; this service reads format 1. Export the bundle with a langevin of this service's version`,
    )
  }
  const input = inputOf(fields.needed('input', fields.fields('input'), 'an object'))
  const classes = fields.list('classes', 'an array of names', isText) ?? []
  if (new Set(classes).size !== classes.length) throw fields.wrong('classes', 'distinct names')
  const model = fields.needed('model', fields.fields('model'), 'an object')
  const sampler = fields.fields('sampler')
  return {
    name: fields.text('name') ?? basename(folder),
    method: fields.text('method'),
    langevin: fields.text('langevin') ?? 'unknown',
    input,
    classes,
    model: fileOf(model, folder),
    sampler: sampler && {
      ...fileOf(sampler, folder),
      defaults: defaultsOf(sampler),
      latent: sampler.list('latent', 'an array of sizes of at least 1', isSize),
    },
    outOfDistribution: thresholdOf(fields.fields('outOfDistribution')),
    manifest: manifest as Record<string, unknown>,
  }
}

function inputOf(fields: Fields): InputInfo {
  const sizes = 'an array of sizes of at least 1'
  const shape = fields.needed('shape', fields.list('shape', sizes, isSize), sizes)
  const count = shape.reduce((a, b) => a * b, 1)
  const range = pairOf(fields, 'range')
  if (range !== undefined && range[0] >= range[1]) throw fields.wrong('range', 'null or [low, high] with low < high')
  const columns = fields.list('columns', 'an array of names', isText)
  if (columns !== undefined && columns.length !== count) throw fields.wrong('columns', `${count} names`)
  const transform = fields.fields('transform')
  const discrete = fields.raw('discrete') === 'oneHot' ? 'oneHot' : pairOf(fields, 'discrete')
  return { shape, range: range ?? null, columns, transform: transform && transformOf(transform, count), discrete }
}

function pairOf(fields: Fields, name: string): readonly [number, number] | undefined {
  const expected = 'null or two numbers'
  const pair = fields.list(name, expected, isNumber)
  if (pair === undefined) return undefined
  const [first, second] = pair
  if (first === undefined || second === undefined || pair.length > 2) throw fields.wrong(name, expected)
  return [first, second]
}

function transformOf(fields: Fields, count: number): { mean: readonly number[]; std: readonly number[] } {
  const read = (name: string, expected: string, fits: (v: number) => boolean) => {
    const values = fields.needed(name, fields.list(name, expected, isNumber), expected)
    if (values.length !== count || !values.every(fits)) throw fields.wrong(name, `${count} ${expected}`)
    return values
  }
  return { mean: read('mean', 'finite numbers', () => true), std: read('std', 'positive numbers', (v) => v > 0) }
}

function fileOf(fields: Fields, folder: string): FileInfo {
  const file = fields.needed('file', fields.text('file'), 'the name of an ONNX file in the bundle')
  if (file !== basename(file) || file.startsWith('.')) throw fields.wrong('file', 'a file in the bundle folder itself')
  const names = (name: string) =>
    fields.needed(name, fields.list(name, 'an array of names', isText), 'an array of names')
  return { path: join(folder, file), inputs: names('inputs'), outputs: names('outputs') }
}

function defaultsOf(sampler: Fields): Record<string, number> {
  const defaults = sampler.fields('defaults')
  const given = ['steps', 'step_size', 'noise_scale'].map((name) => [name, defaults?.number(name)] as const)
  return Object.fromEntries(given.filter((entry): entry is [string, number] => entry[1] !== undefined))
}

function thresholdOf(fields: Fields | undefined): OutOfDistribution | undefined {
  if (fields === undefined) return undefined
  return {
    score: fields.needed('score', fields.text('score'), 'the name of an output'),
    threshold: fields.needed('threshold', fields.number('threshold'), 'a finite number'),
    falseAlarms: fields.number('falseAlarms', { least: 0, most: 1 }),
  }
}

async function checkFile(path: string, manifest: string): Promise<void> {
  const found = await stat(path).catch(() => undefined)
  if (found?.isFile()) return
  throw new StartError(
    'E_BUNDLE',
    `'${path}', which '${manifest}' names, ${found ? 'is no file' : 'is missing'}. Export the bundle again`,
  )
}
