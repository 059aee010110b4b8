/**
 * Data sets from a configuration: one typed description, checked, and the loader behind it.
 * The loaders themselves stand in their own files; command line and trainers need only this one.
 */
import { resolve } from 'node:path'
import { z } from 'zod'
import { LangevinError } from '../graph/errors.ts'
import { type DataSplit, Dataset, type Range } from './dataset.ts'
import { idxDataset } from './idx.ts'
import { imageFolder } from './image-folder.ts'
import { npyDataset, npzDataset } from './npy.ts'
import { banknote, cifar10, digits, mnist } from './standard.ts'
import { standardize } from './standardize.ts'
import { table } from './table.ts'
import { type ToyName, toy, toyNames } from './toys.ts'

/** What every description may say. */
export interface CommonSpec {
  /** Only the first rows of the training part, after the hold-out: the test part does not depend on it. */
  readonly limit?: number | undefined
  /**
   * What to hold out of the training part: rows (the last ones; of a table random ones) or a fraction in (0, 1); or a second description,
   * read whole. Default: the standard test part of mnist and cifar10 (which a number here replaces), none for the others.
   */
  readonly test?: number | DataSpec | undefined
}

interface ArraySpec {
  readonly range?: Range | 'data' | null | undefined
  readonly classes?: number | undefined
  readonly classNames?: readonly string[] | undefined
}

/** A toy (lib/data/toys.ts). Rows are independent, so that the last ones are as good a test part as any. */
export interface ToySpec {
  readonly kind: 'toy'
  readonly name: ToyName
  readonly count: number
  /** Default 0. */
  readonly seed?: number | undefined
  /** Keep the classes as labels. Default true. */
  readonly labels?: boolean | undefined
  /** The toy's own options, as `noise`. */
  readonly options?: Readonly<Record<string, number | readonly number[]>> | undefined
}

/** A table: a file, or by name the one that ships with the package. */
export interface TableSpec {
  readonly kind: 'table'
  readonly path?: string | undefined
  readonly name?: 'banknote' | undefined
  /** Default: all but the label. */
  readonly columns?: readonly string[] | undefined
  /** Column of the classes; null for none. Default none; the shipped table's own, which null leaves out altogether (unless `columns` names it). */
  readonly label?: string | null | undefined
  readonly classNames?: readonly string[] | undefined
  /** Mean 0 and variance 1 by the training part. Default true. */
  readonly standardize?: boolean | undefined
  /** Which rows a number in `test` holds out. Default 0. */
  readonly seed?: number | undefined
}

/** A data set in a configuration. Relative paths are resolved against the configuration's folder. */
export type DataSpec = CommonSpec &
  (
    | ToySpec
    | TableSpec
    | { readonly kind: 'digits' }
    | { readonly kind: 'mnist'; readonly path: string }
    | { readonly kind: 'cifar10'; readonly path: string }
    | { readonly kind: 'cifar100'; readonly path: string; readonly labels?: 'fine' | 'coarse' | undefined }
    | ({ readonly kind: 'idx' | 'npy'; readonly images: string; readonly labels?: string | undefined } & ArraySpec)
    | ({
        readonly kind: 'npz'
        readonly path: string
        readonly images?: string | undefined
        readonly labels?: string | null | undefined
      } & ArraySpec)
    | {
        readonly kind: 'folder'
        readonly path: string
        readonly channels?: 1 | 3 | undefined
        readonly background?: 'white' | 'black' | 'ignore' | undefined
      }
  )

const path = z.string().min(1)
const arrays = {
  range: z.union([z.tuple([z.number(), z.number()]), z.literal('data'), z.null()]).optional(),
  classes: z.int().min(1).optional(),
  classNames: z.array(z.string()).optional(),
}
const common = {
  limit: z.int().min(1).optional(),
  test: z.union([z.number().positive(), z.lazy(() => dataSpec)]).optional(),
}

const tableShape = z
  .strictObject({
    kind: z.literal('table'),
    path: path.optional(),
    name: z.literal('banknote').optional(),
    columns: z.array(z.string()).min(1).optional(),
    label: z.string().nullish(),
    classNames: z.array(z.string()).optional(),
    standardize: z.boolean().optional(),
    seed: z.int().optional(),
    ...common,
  })
  .refine((t) => (t.path === undefined) !== (t.name === undefined), {
    error: "a table needs either a path, or the name of the one that ships: 'banknote'",
  })

/** Checks a description from outside, for configurations to build on. */
export const dataSpec: z.ZodType<DataSpec> = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('digits'), ...common }),
  z.strictObject({ kind: z.literal('mnist'), path, ...common }),
  z.strictObject({ kind: z.literal('cifar10'), path, ...common }),
  z.strictObject({ kind: z.literal('cifar100'), path, labels: z.enum(['fine', 'coarse']).optional(), ...common }),
  z.strictObject({ kind: z.literal('idx'), images: path, labels: path.optional(), ...arrays, ...common }),
  z.strictObject({ kind: z.literal('npy'), images: path, labels: path.optional(), ...arrays, ...common }),
  z.strictObject({
    kind: z.literal('npz'),
    path,
    images: path.optional(),
    labels: path.nullish(),
    ...arrays,
    ...common,
  }),
  z.strictObject({
    kind: z.literal('folder'),
    path,
    channels: z.union([z.literal(1), z.literal(3)]).optional(),
    background: z.enum(['white', 'black', 'ignore']).optional(),
    ...common,
  }),
  z.strictObject({
    kind: z.literal('toy'),
    name: z.enum(toyNames as readonly [ToyName, ...ToyName[]]),
    count: z.int().min(1),
    seed: z.int().optional(),
    labels: z.boolean().optional(),
    options: z.record(z.string(), z.union([z.number(), z.array(z.number())])).optional(),
    ...common,
  }),
  tableShape,
])

export interface LoadOptions {
  /** Folder that relative paths start from. Default: the working folder. */
  readonly base?: string | undefined
}

/**
 * Loads a described data set.
 * @example const { train, test } = await loadDataset({ kind: 'digits', test: 360 })
 * @throws LangevinError E_CONFIG for a description that is not one, E_DATA and E_IO for what is on disk.
 */
export async function loadDataset(spec: DataSpec, options: LoadOptions = {}): Promise<DataSplit> {
  const checked = dataSpec.safeParse(spec)
  if (!checked.success) {
    throw new LangevinError(
      'E_CONFIG',
      `the description of the data is not valid:\n${z.prettifyError(checked.error)}`,
      { spec },
    )
  }
  const data = checked.data
  const whole = await load(data, (p) => resolve(options.base ?? '.', p))
  const { train, test } = await holdOut(whole, data, options)
  if (test !== undefined) checkPair(train, test)
  const split = { train: data.limit === undefined ? train : train.take(data.limit), test }
  return data.kind === 'table' && data.standardize !== false ? standardize(split) : split
}

async function load(spec: DataSpec, at: (path: string) => string): Promise<DataSplit> {
  const alone = async (data: Promise<Dataset>): Promise<DataSplit> => ({ train: await data, test: undefined })
  switch (spec.kind) {
    case 'digits':
      return alone(digits())
    case 'mnist':
      return mnist(at(spec.path))
    case 'cifar10':
      return cifar10(at(spec.path))
    case 'cifar100':
      return cifar10(at(spec.path), { variant: 'cifar100', labels: spec.labels })
    case 'npz':
      return alone(npzDataset(at(spec.path), spec))
    case 'folder':
      return alone(imageFolder(at(spec.path), spec))
    case 'toy':
      return alone(Promise.resolve(drawToy(spec)))
    case 'table':
      return alone(readTable(spec, at))
    default: {
      const files = {
        ...spec,
        images: at(spec.images),
        labels: spec.labels === undefined ? undefined : at(spec.labels),
      }
      return alone(spec.kind === 'idx' ? idxDataset(files) : npyDataset(files))
    }
  }
}

function drawToy({ name, count, seed = 0, labels = true, options }: ToySpec): Dataset {
  try {
    return toy(name, { ...(options as object), count, seed, labels })
  } catch (cause) {
    throw new LangevinError('E_CONFIG', (cause as Error).message, { name, options }, cause)
  }
}

async function readTable(spec: TableSpec, at: (path: string) => string): Promise<Dataset> {
  const { path: file, columns, label, classNames } = spec
  if (file !== undefined) return table(at(file), { columns, label: label ?? undefined, classNames })
  if (label !== null) return banknote({ columns, label: label ?? 'class', classNames })
  if (columns !== undefined) return banknote({ columns, label: undefined })
  // Left out, the classes are no number either.
  const { name, features, range, columns: numbers } = await banknote()
  return new Dataset({ name, features, range, columns: numbers })
}

async function holdOut(whole: DataSplit, spec: DataSpec, options: LoadOptions): Promise<DataSplit> {
  const { test } = spec
  if (test === undefined) return whole
  if (typeof test !== 'number') {
    return { train: whole.train, test: (await loadDataset(asTestOf(whole.train, spec, test), options)).train }
  }
  // Tables tend to be sorted by what matters.
  const rows = spec.kind === 'table' ? { test, shuffle: true, seed: spec.seed } : { test }
  try {
    return whole.train.split(rows)
  } catch (cause) {
    throw new LangevinError(
      'E_CONFIG',
      `the test part cannot be held out: ${(cause as Error).message}`,
      { test },
      cause,
    )
  }
}

/** A table's test table has the same columns and classes, and is standardised by the training part, not by itself. */
function asTestOf(train: Dataset, spec: DataSpec, test: DataSpec): DataSpec {
  if (spec.kind !== 'table' || test.kind !== 'table') return test
  const { columns } = train
  const classes = train.labels === undefined ? {} : { label: spec.label, classNames: train.classNames }
  return { ...classes, columns, ...test, standardize: false }
}

function checkPair(train: Dataset, test: Dataset): void {
  if (String(train.shape) !== String(test.shape)) {
    throw new LangevinError('E_DATA', `test part ${test} and training part ${train} differ in the shape of an example`)
  }
  if (test.labels !== undefined && train.labels !== undefined && test.classes > train.classes) {
    throw new LangevinError(
      'E_DATA',
      `test part ${test} has ${test.classes} classes, training part ${train} only ${train.classes}`,
    )
  }
}
