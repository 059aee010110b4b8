/**
 * Where the contrastive samples of dual adversarial training begin: rows of another data set (as published), or a start distribution where there
 * is none. Their ascent is lib/samplers/attacks.ts's.
 */
import { z } from 'zod'
import { Dataset } from '../data/dataset.ts'
import { type DataSpec, dataSpec, loadDataset } from '../data/load.ts'
import { LangevinError } from '../graph/errors.ts'
import { sameShape, showShape } from '../graph/shape.ts'
import type { Tensor } from '../graph/tensor.ts'
import * as ops from '../ops/index.ts'
import type { Recorder, State } from '../runtime/state.ts'
import { startSchema } from '../samplers/schema.ts'
import type { StartOptions } from '../samplers/starts.ts'
import { normalizationOf, orderedRows, takeRows } from './batches.ts'
import { ChainStarts, samplingStarts } from './chain-starts.ts'
import type { DataDescription } from './checkpoint.ts'
import { STREAM } from './streams.ts'

/**
 * A start distribution, or another data set of the same shape: itself, or by description (relative paths start from the working folder). A
 * checkpoint keeps a data set's name only; to resume, give it again.
 */
export type ContrastOptions =
  | StartOptions
  | Dataset
  | { readonly kind: 'dataset'; readonly spec?: DataSpec; readonly name?: string; readonly count?: number }

const given: unique symbol = Symbol('given')

interface Plain {
  readonly kind: 'dataset'
  readonly spec?: DataSpec
  readonly name?: string
  readonly count?: number
  readonly [given]?: Dataset
}

/** ContrastOptions as plain data. */
export const contrastSchema = z.union([
  startSchema,
  z.strictObject({
    kind: z.literal('dataset'),
    spec: dataSpec.optional(),
    name: z.string().optional(),
    count: z.int().optional(),
  }),
])

/** The options as a checkpoint keeps them; a data set that was given stays at hand. */
export function plainContrast(options: ContrastOptions): StartOptions | Plain {
  if (!(options instanceof Dataset)) return options as StartOptions | Plain
  return { kind: 'dataset', name: options.name, count: options.count, [given]: options }
}

const FEATURES = 'data/contrast'

/** The contrastive starts of one run. */
export class ContrastSource {
  /** Where samples begin after training: as in training, class Gaussians of the data where that had another data set, or where the options say. */
  readonly afterwards: ChainStarts
  /** Where contrastive samples begin, if not at rows of another data set. */
  private readonly starts: ChainStarts
  private readonly plain: Plain | undefined
  private readonly data: DataDescription
  /** Range of the other data set, once it is there. */
  private range: Dataset['range'] = null

  constructor(options: ContrastOptions | undefined, data: DataDescription, samplingStart?: StartOptions) {
    const plain = options === undefined ? undefined : plainContrast(options)
    this.plain = plain?.kind === 'dataset' ? plain : undefined
    const own =
      plain === undefined ? { kind: 'classGaussians' as const } : plain.kind === 'dataset' ? samplingStart : plain
    this.starts = new ChainStarts(own ?? { kind: 'classGaussians' }, data)
    this.afterwards = samplingStarts(this.starts, samplingStart, data)
    this.data = data
  }

  async setup(state: State, data: Dataset): Promise<void> {
    await this.starts.setup(state, data)
    if (this.afterwards !== this.starts) await this.afterwards.setup(state, data)
    if (this.plain === undefined) return
    const other = await load(this.plain)
    if (!sameShape(other.shape, data.shape) || (other.range === null) !== (data.range === null)) {
      throw new LangevinError(
        'E_DATA',
        `contrast: data set '${other.name}' has examples of ${showShape(other.shape)}${other.range === null ? ' without a range' : ''}, the training data '${data.name}' of ${showShape(data.shape)}${data.range === null ? ' without a range' : ''}; they must agree`,
      )
    }
    this.range = other.range
    await state.put(FEATURES, other.features, false)
  }

  /** Starting points [count, ...shape]; class Gaussians are drawn of the given classes, int32 [count]. */
  draw(r: Recorder, key: Tensor, classes: Tensor): Tensor {
    if (this.plain === undefined) return this.starts.draw(r, key, classes, ops.ge(classes, 0), STREAM.start)
    const features = r.read(FEATURES)
    const rows = orderedRows(key, features.shape[0] as number, classes.shape[0] as number, STREAM.contrastOrder)
    return takeRows(features, rows, normalizationOf(this.data.range === null ? null : this.range))
  }
}

async function load(plain: Plain): Promise<Dataset> {
  const have = plain[given]
  if (have !== undefined) return have
  if (plain.spec !== undefined) return (await loadDataset(plain.spec)).train
  throw new LangevinError(
    'E_CONFIG',
    `contrast: the data set '${plain.name ?? 'dataset'}' is not there; give it as a Dataset or describe it (spec: { kind: 'folder', path: ... })`,
  )
}
