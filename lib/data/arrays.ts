/** From arrays as files hold them to a data set: what idx.ts and npy.ts share. No file access. */
import { type HostTensor, hostTensor } from '../graph/host-tensor.ts'
import { showShape } from '../graph/shape.ts'
import { dataError } from './content.ts'
import { Dataset, type Range } from './dataset.ts'

export interface ArrayOptions {
  /** Raw values that become -1 and 1; 'data' takes the least and the greatest value, null leaves values as they are (points, tables). Default [0, 255] for bytes, [-1, 1] else. */
  readonly range?: Range | 'data' | null | undefined
  /** Default: the highest label plus one. */
  readonly classes?: number | undefined
  readonly classNames?: readonly string[] | undefined
  /** Default: the path of the images. */
  readonly name?: string | undefined
}

interface Parts extends ArrayOptions {
  readonly features: HostTensor
  /** Path for messages, and the name where none is given. */
  readonly source: string
  readonly labels: HostTensor | undefined
  readonly labelSource: string | undefined
}

/** A data set of arrays as files hold them: [n, h, w] gets a channel, integers become float32, labels int32. */
export function datasetOf(parts: Parts): Dataset {
  const { source, labels, classes, classNames, name = source } = parts
  let { features } = parts
  if (features.shape.length < 2 || features.shape.length > 4) {
    throw dataError(
      source,
      `examples must be [n, d], [n, h, w] or [n, c, h, w]; got shape ${showShape(features.shape)}`,
    )
  }
  if (features.shape.length === 3)
    features = { ...features, shape: [features.shape[0] as number, 1, ...features.shape.slice(1)] }
  if (features.dtype === 'bool') features = { ...features, dtype: 'uint8' }
  if (features.dtype === 'int32') features = hostTensor(Float32Array.from(features.data), features.shape)
  const usual: Range = features.dtype === 'uint8' ? [0, 255] : [-1, 1]
  const range = parts.range === 'data' ? rangeOf(features) : parts.range === undefined ? usual : parts.range
  const rows = labels === undefined ? undefined : labelsOf(parts.labelSource ?? source, labels)
  return new Dataset({ name, features, labels: rows, classes, classNames, range })
}

function labelsOf(path: string, labels: HostTensor): Int32Array {
  const [n = 0, ...rest] = labels.shape
  if (labels.shape.length === 0 || rest.some((d) => d !== 1)) {
    throw dataError(path, `labels must be one whole number a row, [n]; got shape ${showShape(labels.shape)}`)
  }
  const out = new Int32Array(n)
  for (let i = 0; i < n; i++) {
    out[i] = labels.data[i] as number
    if (out[i] !== labels.data[i])
      throw dataError(path, `the label of row ${i} is ${labels.data[i]}; expected a whole number`)
  }
  return out
}

/** Least and greatest finite value; a constant data set gets a range of width 1. */
function rangeOf(features: HostTensor): Range {
  let [low, high] = [Infinity, -Infinity]
  for (const x of features.data) {
    if (x < low) low = x
    if (x > high) high = x
  }
  return low < high ? [low, high] : [low, low + 1]
}
