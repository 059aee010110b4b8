/**
 * A data set in memory: images, points or table rows with optional labels, checked once when it is made.
 * Holds numbers (uint8 or float32) and the range that maps them to [-1, 1], or none: then models see them as they are.
 * Loaders stand beside it, batches are drawn on the device.
 */
import { LangevinError } from '../graph/errors.ts'
import { type HostTensor, hostTensor } from '../graph/host-tensor.ts'
import { type Shape, sameShape, showShape, sizeOf } from '../graph/shape.ts'
import { HostRandom } from '../runtime/host-random.ts'

/** Lowest and highest raw value: they become -1 and 1. */
export type Range = readonly [low: number, high: number]

/** Standardised columns: `features = (original - mean) / std`, a mean and a standard deviation for each number of an example. */
export interface Transform {
  readonly mean: Float64Array
  /** Positive. */
  readonly std: Float64Array
}

/** What a data set is made of. */
export interface DatasetInit {
  /** Shown in reports and messages. */
  readonly name: string
  /** uint8 or float32, [n, ...example]: images are [n, channels, height, width], table rows [n, d]. */
  readonly features: HostTensor
  /** One class a row, in 0..classes-1. */
  readonly labels?: Int32Array | undefined
  /** Default: the names' number, or the highest label plus one; 0 without labels. */
  readonly classes?: number | undefined
  /** Default '0', '1', ... */
  readonly classNames?: readonly string[] | undefined
  /** Default [0, 255] for uint8, [-1, 1] for float32. null: values are taken as they are, not mapped to [-1, 1] (points, tables). */
  readonly range?: Range | null | undefined
  /** Names of the numbers of an example, for tables. */
  readonly columns?: readonly string[] | undefined
  /** What has been done to the columns (see standardize); only with range null. */
  readonly transform?: Transform | undefined
}

/** A training part and what is held out of it. */
export interface DataSplit {
  readonly train: Dataset
  readonly test: Dataset | undefined
}

/** Both parts. */
export interface DataPair {
  readonly train: Dataset
  readonly test: Dataset
}

export interface SplitOptions {
  /** Rows to hold out: a whole number, or a fraction in (0, 1). */
  readonly test: number
  /** Take random rows instead of the last ones: right for tables, which are often sorted. Default: only if a seed is given. */
  readonly shuffle?: boolean | undefined
  /** Which random rows. Default 0. */
  readonly seed?: number | undefined
}

/** Parts of a checked data set need no second look. */
const derived = Symbol('derived')

export class Dataset {
  readonly name: string
  /** Shape of one example: [channels, height, width] or [d]. */
  readonly shape: Shape
  /** Number of rows. */
  readonly count: number
  /** uint8 or float32, [count, ...shape], raw values within `range` (finite, where that is null). */
  readonly features: HostTensor
  readonly labels: Int32Array | undefined
  /** Number of classes; 0 without labels. */
  readonly classes: number
  readonly classNames: readonly string[]
  /** What becomes -1 and 1; null where values are taken as they are. */
  readonly range: Range | null
  /** Names of a table's columns. */
  readonly columns: readonly string[] | undefined
  /** What standardize has done to the columns; {@link original} undoes it. */
  readonly transform: Transform | undefined

  /** @throws LangevinError E_DATA that names the row and the value where something does not fit. */
  constructor(init: DatasetInit, origin?: typeof derived) {
    const { name, features, labels } = init
    this.name = name
    this.features = features
    this.labels = labels
    this.count = features.shape[0] ?? 0
    this.shape = features.shape.slice(1)
    this.range = init.range === undefined ? (features.dtype === 'uint8' ? [0, 255] : [-1, 1]) : init.range
    this.columns = init.columns
    this.transform = init.transform
    if (origin !== derived) {
      this.#checkFeatures()
      this.#checkColumns()
    }
    this.classes = init.classes ?? init.classNames?.length ?? highest(labels) + 1
    if (origin !== derived) this.#checkLabels()
    this.classNames = init.classNames ?? Array.from({ length: this.classes }, (_, i) => String(i))
    if (this.classNames.length !== this.classes) {
      throw this.#error(`${this.classes} classes, but ${this.classNames.length} class names`)
    }
  }

  /** Numbers in one example. */
  get dimensions(): number {
    return sizeOf(this.shape)
  }

  /** Holds out rows: the last ones, or with `shuffle` random ones (by `seed`). Both parts keep the order of the rows. */
  split(options: SplitOptions): DataPair {
    const { test, seed, shuffle = seed !== undefined } = options
    const rows = test > 0 && test < 1 ? Math.max(1, Math.round(test * this.count)) : test
    if (!Number.isInteger(rows) || rows < 1 || rows >= this.count) {
      const most = this.count - 1
      throw new RangeError(
        `split: test must be a whole number in 1..${most}, or a fraction in (0, 1), of ${this}; got ${test}`,
      )
    }
    const kept = this.count - rows
    if (!shuffle) return { train: this.#rows(0, kept), test: this.#rows(kept, this.count) }
    const order = new HostRandom(seed ?? 0).permutation(this.count)
    return { train: this.subset(order.slice(0, kept).sort()), test: this.subset(order.slice(kept).sort()) }
  }

  /** The first `n` rows (all, if there are fewer). Shares memory. */
  take(n: number): Dataset {
    if (!Number.isInteger(n) || n < 1) throw new RangeError(`take: n must be a whole number of at least 1; got ${n}`)
    return n >= this.count ? this : this.#rows(0, n)
  }

  /** A copy of the rows at `indices`, in that order. */
  subset(indices: ArrayLike<number>): Dataset {
    const d = this.dimensions
    const { data } = this.features
    const out = data instanceof Float32Array ? new Float32Array(indices.length * d) : new Uint8Array(indices.length * d)
    const labels = this.labels === undefined ? undefined : new Int32Array(indices.length)
    for (let i = 0; i < indices.length; i++) {
      const row = this.#checkIndex(indices[i])
      out.set(data.subarray(row * d, (row + 1) * d), i * d)
      if (labels !== undefined && this.labels !== undefined) labels[i] = this.labels[row] as number
    }
    return this.#with(hostTensor(out, [indices.length, ...this.shape]), labels)
  }

  /** The rows (all, or those at `indices`) as models see them: float32 in [-1, 1], `(x - low) / (high - low) * 2 - 1`; as they are, where the range is null. */
  normalized(indices?: ArrayLike<number>): HostTensor {
    const d = this.dimensions
    const n = indices === undefined ? this.count : indices.length
    const out = new Float32Array(n * d)
    const { data } = this.features
    const map = this.#normalizer()
    for (let i = 0; i < n; i++) {
      const from = (indices === undefined ? i : this.#checkIndex(indices[i])) * d
      for (let j = 0; j < d; j++) out[i * d + j] = map(data[from + j] as number)
    }
    return hostTensor(out, [n, ...this.shape])
  }

  /** Undoes {@link normalized} and the {@link transform}: a model's samples [n, ...shape] in the units the data came in, float32. */
  original(x: HostTensor): HostTensor {
    const d = this.dimensions
    if (!sameShape(x.shape.slice(1), this.shape) || x.dtype !== 'float32') {
      throw new LangevinError(
        'E_SHAPE',
        `original: expected float32[n,${this.shape.join(',')}] as ${this} has; got ${x.dtype}${showShape(x.shape)}`,
        { shape: x.shape },
      )
    }
    const { mean, std } = this.#inverse()
    const out = Float32Array.from(x.data, (v, i) => v * (std[i % d] as number) + (mean[i % d] as number))
    return hostTensor(out, x.shape)
  }

  /** log |det| of the map from original to model units: `log p(original) = log p(normalized) + logDeterminant`, in nats. */
  get logDeterminant(): number {
    return this.#inverse().std.reduce((sum, s) => sum - Math.log(s), 0)
  }

  /** Every example with its pixels (all channels together; or table columns) in one and the same random order. */
  shuffledPixels(seed: number): Dataset {
    const plane = this.shape.length === 3 ? sizeOf(this.shape.slice(1)) : this.dimensions
    const order = new HostRandom(seed).permutation(plane)
    return this.#rearranged('shuffled', (j) => j - (j % plane) + (order[j % plane] as number))
  }

  /** Every image mirrored left to right (the last axis reversed). */
  flipped(): Dataset {
    const width = this.shape.at(-1) ?? 1
    return this.#rearranged('flipped', (j) => j + width - 1 - 2 * (j % width))
  }

  /** Light for dark: `low + high - x`. @throws LangevinError E_DATA where the range is null: such values have no opposite. */
  inverted(): Dataset {
    if (this.range === null) throw this.#error('inverted: the range is null, so values have no opposite; give a range')
    const sum = this.range[0] + this.range[1]
    const data = this.features.data.map((x: number) => sum - x)
    return this.#with(hostTensor(data, this.features.shape), this.labels, 'inverted')
  }

  /** Rows of each class; empty without labels. */
  classCounts(): number[] {
    const counts = new Array<number>(this.classes).fill(0)
    for (const label of this.labels ?? []) counts[label] = (counts[label] as number) + 1
    return counts
  }

  toString(): string {
    return `'${this.name}' (${this.count} rows of ${showShape(this.shape)})`
  }

  /** Rows start..stop-1 as views. */
  #rows(start: number, stop: number): Dataset {
    const d = this.dimensions
    const data = this.features.data.subarray(start * d, stop * d)
    return this.#with(hostTensor(data, [stop - start, ...this.shape]), this.labels?.subarray(start, stop))
  }

  #rearranged(what: string, source: (j: number) => number): Dataset {
    const d = this.dimensions
    const from = Int32Array.from({ length: d }, (_, j) => source(j))
    const { data } = this.features
    const out = data.slice()
    for (let at = 0; at < out.length; at += d) {
      for (let j = 0; j < d; j++) out[at + j] = data[at + (from[j] as number)] as number
    }
    return this.#with(hostTensor(out, this.features.shape), this.labels, what)
  }

  #with(features: HostTensor, labels: Int32Array | undefined, what?: string): Dataset {
    const { classes, classNames, range, columns, transform } = this
    const name = what === undefined ? this.name : `${this.name} ${what}`
    return new Dataset({ name, features, labels, classes, classNames, range, columns, transform }, derived)
  }

  /** original = model units · std + mean, for each number of an example. */
  #inverse(): Transform {
    if (this.transform !== undefined) return this.transform
    const [low, high] = this.range ?? [-1, 1]
    const d = this.dimensions
    return { mean: new Float64Array(d).fill((low + high) / 2), std: new Float64Array(d).fill((high - low) / 2) }
  }

  #normalizer(): (x: number) => number {
    if (this.range === null) return (x) => x
    const [low, high] = this.range
    const width = high - low
    return (x) => ((x - low) / width) * 2 - 1
  }

  #checkIndex(index: number | undefined): number {
    if (index !== undefined && Number.isInteger(index) && index >= 0 && index < this.count) return index
    throw new RangeError(`row ${index} of data set ${this} does not exist; expected 0..${this.count - 1}`)
  }

  #checkFeatures(): void {
    const { features, range } = this
    const { dtype, data } = features
    if (dtype !== 'uint8' && dtype !== 'float32') throw this.#error(`features must be uint8 or float32; got ${dtype}`)
    if (features.shape.length < 2 || this.dimensions < 1 || this.count < 1) {
      throw this.#error(`features must be [rows, ...example] with at least one row; got ${showShape(features.shape)}`)
    }
    if (data.length !== sizeOf(features.shape)) {
      throw this.#error(`features of shape ${showShape(features.shape)} have ${data.length} numbers`)
    }
    const [low, high] = range ?? [-Number.MAX_VALUE, Number.MAX_VALUE]
    if (!Number.isFinite(low) || !Number.isFinite(high) || low >= high) {
      throw this.#error(`range must be [low, high], finite and low < high; got [${low}, ${high}]`)
    }
    if (dtype === 'uint8' && low <= 0 && high >= 255) return
    // Written so that NaN fails too.
    for (let i = 0; i < data.length; i++) {
      const x = data[i] as number
      if (x >= low && x <= high) continue
      const [row, at] = [Math.floor(i / this.dimensions), i % this.dimensions]
      if (!Number.isFinite(x))
        throw this.#error(`row ${row} holds ${x} (number ${at} of the row): every value must be finite`)
      throw this.#error(
        `row ${row} holds ${x} (number ${at} of the row), outside the range [${low}, ${high}]: give the range of the raw values`,
      )
    }
  }

  #checkColumns(): void {
    const { columns, transform, dimensions } = this
    if (columns !== undefined && columns.length !== dimensions) {
      throw this.#error(`${dimensions} numbers a row, but ${columns.length} column names`)
    }
    if (transform === undefined) return
    if (this.range !== null) throw this.#error('a transform needs range null: there is one map to model units')
    const { mean, std } = transform
    const fits = mean.length === dimensions && std.length === dimensions
    if (!fits || !mean.every(Number.isFinite) || !std.every((s) => s > 0 && s < Infinity)) {
      throw this.#error(`transform must hold ${dimensions} finite means and ${dimensions} positive standard deviations`)
    }
  }

  #checkLabels(): void {
    const { labels, classes, count } = this
    if (!Number.isInteger(classes) || classes < 0) throw this.#error(`classes must be a whole number; got ${classes}`)
    if (labels === undefined) {
      if (classes > 0) throw this.#error(`${classes} classes, but no labels`)
      return
    }
    if (labels.length !== count) throw this.#error(`${count} rows, but ${labels.length} labels: they must agree`)
    const row = labels.findIndex((label) => label < 0 || label >= classes)
    if (row >= 0) throw this.#error(`the label of row ${row} is ${labels[row]}; expected 0..${classes - 1}`)
  }

  #error(what: string): LangevinError {
    return new LangevinError('E_DATA', `data set '${this.name}': ${what}`, { name: this.name })
  }
}

function highest(labels: Int32Array | undefined): number {
  return labels === undefined ? -1 : labels.reduce((most, label) => Math.max(most, label), 0)
}

/** The data sets one after another; they must agree in shape, type, range and classes. */
export function concatDatasets(name: string, parts: readonly Dataset[]): Dataset {
  const first = parts[0]
  if (first === undefined) throw new RangeError('concatDatasets: at least one data set is needed')
  const count = parts.reduce((n, p) => n + p.count, 0)
  const { dtype } = first.features
  const data =
    dtype === 'float32' ? new Float32Array(count * first.dimensions) : new Uint8Array(count * first.dimensions)
  const labels = first.labels === undefined ? undefined : new Int32Array(count)
  let at = 0
  for (const part of parts) {
    if (
      !sameShape(part.shape, first.shape) ||
      part.features.dtype !== dtype ||
      String(part.range) !== String(first.range) ||
      !sameTransform(part.transform, first.transform)
    ) {
      throw new LangevinError('E_DATA', `${part} does not fit ${first}: shape, type, range and transform must agree`)
    }
    if ((part.labels === undefined) !== (labels === undefined) || part.classes !== first.classes) {
      throw new LangevinError(
        'E_DATA',
        `${part} has ${part.classes} classes and ${first} ${first.classes}: they must agree`,
      )
    }
    data.set(part.features.data, at * first.dimensions)
    if (part.labels !== undefined) labels?.set(part.labels, at)
    at += part.count
  }
  const { classes, classNames, range, columns, transform } = first
  const features = hostTensor(data, [count, ...first.shape])
  return new Dataset({ name, features, labels, classes, classNames, range, columns, transform }, derived)
}

function sameTransform(a: Transform | undefined, b: Transform | undefined): boolean {
  return String(a?.mean) === String(b?.mean) && String(a?.std) === String(b?.std)
}
