/**
 * Columns of mean 0 and variance 1, for tables: estimated on the training part, applied to both parts, and kept on the data set so that
 * samples can be put back into their units (`original`) and likelihoods compared (`logDeterminant`). Images have a range instead.
 */
import { LangevinError } from '../graph/errors.ts'
import { hostTensor } from '../graph/host-tensor.ts'
import { type DataPair, type DataSplit, Dataset, type Transform } from './dataset.ts'

/**
 * Standardises every number of an example by the training part's mean and (biased) standard deviation; the test part gets the same map.
 * @throws LangevinError E_DATA for data with a range or standardised already, and for a constant column.
 * @example const { train, test } = standardize(data.split({ test: 0.2, shuffle: true }))
 */
export function standardize(split: DataPair): DataPair
export function standardize(split: DataSplit): DataSplit
export function standardize(split: DataSplit): DataSplit {
  const { train, test } = split
  if (!(train instanceof Dataset))
    throw new TypeError(
      'standardize: takes both parts as one argument, { train, test }, as data.split() gives them; test may be left out',
    )
  for (const part of test === undefined ? [train] : [train, test]) refuseMapped(part)
  const { mean, std } = columnsOf(train)
  const constant = std.findIndex((s) => !(s > 0))
  if (constant >= 0) {
    const name = train.columns?.[constant]
    const column = name === undefined ? `column ${constant}` : `column '${name}'`
    throw new LangevinError(
      'E_DATA',
      `standardize: ${column} of ${train} is ${mean[constant]} in every row, so it has no scale: leave it out`,
      { column: constant },
    )
  }
  return { train: apply(train, { mean, std }), test: test === undefined ? undefined : apply(test, { mean, std }) }
}

function refuseMapped(part: Dataset): void {
  const why =
    part.range !== null
      ? `has the range [${part.range.join(', ')}], which maps it to [-1, 1] already; make it with range null`
      : part.transform !== undefined
        ? 'is standardised already'
        : undefined
  if (why !== undefined) throw new LangevinError('E_DATA', `standardize: ${part} ${why}`)
}

function apply(data: Dataset, transform: Transform): Dataset {
  const { name, labels, classes, classNames, range, columns, features, dimensions: d } = data
  const { mean, std } = transform
  const values = Float32Array.from(features.data, (x, i) => (x - (mean[i % d] as number)) / (std[i % d] as number))
  const standard = hostTensor(values, features.shape)
  return new Dataset({ name, features: standard, labels, classes, classNames, range, columns, transform })
}

/** Mean, biased standard deviation, least and greatest of each raw number of an example, in float64. */
export function columnsOf(data: Dataset): {
  readonly mean: Float64Array
  readonly std: Float64Array
  readonly low: Float64Array
  readonly high: Float64Array
} {
  const { count, dimensions: d } = data
  const x = data.features.data
  const [mean, std] = [new Float64Array(d), new Float64Array(d)]
  const [low, high] = [new Float64Array(d).fill(Infinity), new Float64Array(d).fill(-Infinity)]
  for (let i = 0; i < x.length; i++) {
    const j = i % d
    const v = x[i] as number
    mean[j] = (mean[j] as number) + v / count
    low[j] = Math.min(low[j] as number, v)
    high[j] = Math.max(high[j] as number, v)
  }
  for (let i = 0; i < x.length; i++) {
    const j = i % d
    std[j] = (std[j] as number) + ((x[i] as number) - (mean[j] as number)) ** 2 / count
  }
  return { mean, std: std.map(Math.sqrt), low, high }
}
