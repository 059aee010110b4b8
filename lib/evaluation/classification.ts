/**
 * How good the class probabilities of logits are: accuracy, negative log-likelihood, Brier score, confusion.
 * Everything is computed in float64 from log-softmax, so huge logits stay finite. Calibration is in calibration.ts.
 */
import type { HostTensor } from '../graph/host-tensor.ts'
import { checkLabels, checkLogits, type Numbers, type Rows } from './checks.ts'

/** Figures of a classifier on labelled data. */
export interface ClassificationFigures {
  /** Rows evaluated. */
  readonly count: number
  /** Share of rows whose largest logit (first of equals) is the label's; 0..1. */
  readonly accuracy: number
  /** Mean of -log p(y|x), in nats. */
  readonly nll: number
  /** Mean over rows of the sum over classes of (p_k - [k = y])²; 0..2 (Brier 1950, the form for several classes). */
  readonly brier: number
  /** confusion[y][k]: rows of true class y that were predicted as k. */
  readonly confusion: readonly (readonly number[])[]
  /** Accuracy within each true class; null where the data has no row of it. */
  readonly perClassAccuracy: readonly (number | null)[]
}

/** Row-wise log-softmax in float64, flat [n, k]: x - max - log Σ exp(x - max), finite for every finite input. */
export function logSoftmax(logits: HostTensor): Float64Array {
  const x = checkLogits(logits)
  const out = new Float64Array(x.rows * x.columns)
  for (let i = 0; i < x.rows; i++) {
    const at = i * x.columns
    const max = x.data[at + argmaxRow(x, i)]!
    let sum = 0
    for (let k = 0; k < x.columns; k++) sum += Math.exp(x.data[at + k]! - max)
    const logSum = Math.log(sum)
    for (let k = 0; k < x.columns; k++) out[at + k] = x.data[at + k]! - max - logSum
  }
  return out
}

/** The predicted class of each row: the largest logit, the first of equals. */
export function predictions(logits: HostTensor): Int32Array {
  const x = checkLogits(logits)
  return Int32Array.from({ length: x.rows }, (_, i) => argmaxRow(x, i))
}

/**
 * log max_y p(y|x) of each row, as float64. Written as -log(1 + Σ over the other classes of exp(l_k - l_max)), which still tells apart
 * rows whose probability rounds to 1: so it ranks confident rows that max p itself would tie.
 */
export function logMaxProbability(logits: HostTensor): Float64Array {
  const x = checkLogits(logits)
  const out = new Float64Array(x.rows)
  for (let i = 0; i < x.rows; i++) {
    const at = i * x.columns
    const best = argmaxRow(x, i)
    let others = 0
    for (let k = 0; k < x.columns; k++) if (k !== best) others += Math.exp(x.data[at + k]! - x.data[at + best]!)
    out[i] = -Math.log1p(others)
  }
  return out
}

/**
 * Accuracy, NLL, Brier score and confusion of logits [n, k] against labels [n] in 0..k-1.
 * Throws LangevinError E_SHAPE (shapes), E_DATA (NaN or infinite logits, with counts), RangeError (a label out of range).
 */
export function classificationFigures(logits: HostTensor, labels: Numbers): ClassificationFigures {
  const x = checkLogits(logits)
  checkLabels(labels, x.rows, x.columns)
  const logP = logSoftmax(logits)
  const confusion = Array.from({ length: x.columns }, () => new Array<number>(x.columns).fill(0))
  let nll = 0
  let brier = 0
  for (let i = 0; i < x.rows; i++) {
    const y = labels[i]!
    confusion[y]![argmaxRow(x, i)]!++
    nll -= logP[i * x.columns + y]!
    for (let k = 0; k < x.columns; k++) {
      const d = Math.exp(logP[i * x.columns + k]!) - (k === y ? 1 : 0)
      brier += d * d
    }
  }
  const right = confusion.reduce((n, row, y) => n + row[y]!, 0)
  return {
    count: x.rows,
    accuracy: right / x.rows,
    nll: nll / x.rows,
    brier: brier / x.rows,
    confusion,
    perClassAccuracy: confusion.map((row, y) => {
      const total = row.reduce((a, b) => a + b, 0)
      return total === 0 ? null : row[y]! / total
    }),
  }
}

function argmaxRow(x: Rows, row: number): number {
  let best = 0
  for (let k = 1; k < x.columns; k++) {
    if (x.data[row * x.columns + k]! > x.data[row * x.columns + best]!) best = k
  }
  return best
}
