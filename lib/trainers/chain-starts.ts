/** Where a run's chains begin: what starts need of the data set (in the state `start/mean`, `start/factor`, `start/scale`), and their draw. */
import { classGaussians } from '../data/class-gaussians.ts'
import type { Dataset } from '../data/dataset.ts'
import { LangevinError } from '../graph/errors.ts'
import type { HostTensor } from '../graph/host-tensor.ts'
import type { Tensor } from '../graph/tensor.ts'
import * as ops from '../ops/index.ts'
import type { Recorder, State } from '../runtime/state.ts'
import { drawStart, partsOf, type SimpleStart, type StartOptions } from '../samplers/starts.ts'
import { DATA, normalizationOf, takeRows } from './batches.ts'
import type { DataDescription } from './checkpoint.ts'

type GaussianStart = Extract<SimpleStart, { kind: 'classGaussians' }>

/** Means and factors of class Gaussians if `start` draws from them; nothing otherwise. */
async function estimateStart(start: StartOptions, data: Dataset): Promise<Map<string, HostTensor>> {
  const gaussians = partsOf(start).filter((p): p is GaussianStart => p.kind === 'classGaussians')
  const [first, ...others] = gaussians
  if (first === undefined) return new Map()
  if (others.some((o) => JSON.stringify(o) !== JSON.stringify(first))) {
    throw new LangevinError('E_CONFIG', 'start: a mixture may hold class Gaussians once, in one form')
  }
  const { form = 'full', rank = 64, jitter = 1e-4 } = first
  const estimate = await classGaussians(data, { form: form === 'lowRank' ? { lowRank: rank } : form, jitter })
  const out = new Map<string, HostTensor>([['mean', estimate.mean]])
  if ('factor' in estimate && estimate.factor !== undefined) out.set('factor', estimate.factor)
  if ('scale' in estimate && estimate.scale !== undefined) out.set('scale', estimate.scale)
  return out
}

/** What starts must know of the data. */
export type StartData = Pick<DataDescription, 'shape' | 'classes' | 'range'>

/** Starts as data: what draws them needs no more than this. */
export interface PlainStarts {
  readonly options: StartOptions
  /** Numbers of class Gaussians: `mean` [classes, d], `factor` [classes, d, r], `scale` [classes, d]. */
  readonly tensors: ReadonlyMap<string, HostTensor>
  readonly classes: number
  /** Examples live in [-1, 1], so that class Gaussians are clamped there. */
  readonly bounded: boolean
}

/** The starts of one run. */
export class ChainStarts {
  readonly options: StartOptions
  protected readonly data: StartData
  private readonly place: string

  /** `place`: prefix of what it keeps in the state. */
  constructor(options: StartOptions, data: StartData, place = 'start/') {
    this.options = options
    this.data = data
    this.place = place
  }

  /** Classes that starts may be drawn of: 1 for unlabelled data. */
  get classes(): number {
    return Math.max(1, this.data.classes)
  }

  /** True where chains begin at training data, which a checkpoint does not hold. */
  get needsData(): boolean {
    return partsOf(this.options).some((p) => p.kind === 'data')
  }

  /** The starts as data, from the run's tensors; undefined where they need training data, a flow or a distribution that no options describe. */
  plain(tensors: ReadonlyMap<string, HostTensor>): PlainStarts | undefined {
    if (this.needsData) return undefined
    const own = [...tensors].filter(
      ([name]) => name.startsWith(this.place) && !name.slice(this.place.length).includes('/'),
    )
    return {
      options: this.options,
      tensors: new Map(own.map(([name, value]) => [name.slice(this.place.length), value])),
      classes: this.classes,
      bounded: this.data.range !== null,
    }
  }

  /** Puts what the starts need into the state, estimated from the data. */
  async setup(state: State, data: Dataset): Promise<void> {
    for (const [name, value] of await estimateStart(this.options, data)) await state.put(this.place + name, value)
  }

  /** Draws starting points for `classes` (int32 [count]); rows outside `mask` are anything finite. Uses streams `stream` to `stream + 15`. */
  draw(r: Recorder, key: Tensor, classes: Tensor, mask: Tensor, stream: number): Tensor {
    const count = classes.shape[0] as number
    const { shape, range } = this.data
    const dataRows = (at: number): Tensor => {
      if (!this.needsData)
        throw new LangevinError('E_INTERNAL', 'internal: data rows asked for by a start without data')
      const features = r.read(DATA)
      const rows = ops.randomInt(key, [count], { stream: at, bound: features.shape[0] as number })
      return takeRows(features, rows, normalizationOf(range))
    }
    const tensor = (name: string) => r.read(this.place + name)
    return drawStart(this.options, {
      count,
      shape,
      key,
      stream,
      classes,
      mask,
      tensor,
      dataRows,
      bounded: range !== null,
    })
  }
}

/**
 * Where chains begin after training: as in training, unless `start` says otherwise. Its estimates then stand apart, so that it leaves training
 * as it is.
 */
export function samplingStarts(training: ChainStarts, start: StartOptions | undefined, data: StartData): ChainStarts {
  const same = start === undefined || JSON.stringify(start) === JSON.stringify(training.options)
  return same ? training : new ChainStarts(start, data, 'start/sampling/')
}
