/**
 * Data sets from a configuration: one typed description, checked, and the loader behind it.
 * The loaders themselves stand in their own files; command line and trainers need only this one.
 */
import { resolve } from 'node:path'
import { z } from 'zod'
import { LangevinError } from '../graph/errors.ts'
import type { DataSplit, Dataset, Range } from './dataset.ts'
import { idxDataset } from './idx.ts'
import { imageFolder } from './image-folder.ts'
import { npyDataset, npzDataset } from './npy.ts'
import { cifar10, digits, mnist } from './standard.ts'

/** What every description may say. */
export interface CommonSpec {
  /** Only the first rows of the training part, after the hold-out: the test part does not depend on it. */
  readonly limit?: number | undefined
  /**
   * What to hold out of the training part: rows (the last ones) or a fraction in (0, 1); or a second description, read whole.
   * Default: the standard test part of mnist and cifar10 (which a number here replaces), none for the others.
   */
  readonly test?: number | DataSpec | undefined
}

interface ArraySpec {
  readonly range?: Range | 'data' | undefined
  readonly classes?: number | undefined
  readonly classNames?: readonly string[] | undefined
}

/** A data set in a configuration. Relative paths are resolved against the configuration's folder. */
export type DataSpec = CommonSpec &
  (
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
  range: z.union([z.tuple([z.number(), z.number()]), z.literal('data')]).optional(),
  classes: z.int().min(1).optional(),
  classNames: z.array(z.string()).optional(),
}
const common = {
  limit: z.int().min(1).optional(),
  test: z.union([z.number().positive(), z.lazy(() => dataSpec)]).optional(),
}

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
  const whole = await load(checked.data, (p) => resolve(options.base ?? '.', p))
  const { train, test } = await holdOut(whole, checked.data.test, options)
  if (test !== undefined) checkPair(train, test)
  return { train: spec.limit === undefined ? train : train.take(spec.limit), test }
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

async function holdOut(
  whole: DataSplit,
  test: number | DataSpec | undefined,
  options: LoadOptions,
): Promise<DataSplit> {
  if (test === undefined) return whole
  if (typeof test !== 'number') return { train: whole.train, test: (await loadDataset(test, options)).train }
  try {
    return whole.train.split({ test })
  } catch (cause) {
    throw new LangevinError(
      'E_CONFIG',
      `the test part cannot be held out: ${(cause as Error).message}`,
      { test },
      cause,
    )
  }
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
