/**
 * Does a confidence of 80% mean right in 80% of cases? Expected calibration error (Naeini 2015; Guo 2017) and the bins of the
 * reliability diagram. Only the top class counts here; probability scores over all classes are in classification.ts.
 */
import type { HostTensor } from '../graph/host-tensor.ts'
import { checkCount, checkFinite, checkLabels, checkLogits, type Numbers } from './checks.ts'
import { logMaxProbability, predictions } from './classification.ts'

/** How confidences are put into bins. */
export interface BinOptions {
  /** Number of bins; default 15. */
  readonly bins?: number
  /**
   * `width` (default): equal-width bins (a, b] of [0, 1], confidence 0 in the first.
   * `mass`: adaptive bins of (nearly) equal count; rows of equal confidence are never separated.
   */
  readonly binning?: 'width' | 'mass'
}

/** One bin; `confidence` and `accuracy` are means over its rows, null in an empty bin. */
export interface ReliabilityBin {
  readonly low: number
  readonly high: number
  readonly count: number
  readonly confidence: number | null
  readonly accuracy: number | null
}

/** Bins and the gap that they sum up to. */
export interface Reliability {
  readonly binning: 'width' | 'mass'
  /** Σ over bins of count/n · |accuracy - confidence|; 0..1. It depends on the bins: compare only figures of equal bins. */
  readonly ece: number
  /** Largest |accuracy - confidence| of a bin that holds rows. */
  readonly mce: number
  readonly bins: readonly ReliabilityBin[]
}

/** Reliability of logits [n, k] against labels [n], by the confidence max softmax and the class that has it. */
export function reliabilityOf(logits: HostTensor, labels: Numbers, options: BinOptions = {}): Reliability {
  const x = checkLogits(logits)
  checkLabels(labels, x.rows, x.columns)
  const confidence = logMaxProbability(logits).map(Math.exp)
  const correct = Uint8Array.from(predictions(logits), (k, i) => (k === labels[i] ? 1 : 0))
  return reliability(confidence, correct, options)
}

/**
 * Reliability of confidences in [0, 1] and outcomes (1 right, 0 wrong), both of length n.
 * Throws LangevinError E_DATA (not finite), RangeError (outside [0, 1], lengths that differ, a bad bin count).
 */
export function reliability(confidence: Numbers, correct: Numbers, options: BinOptions = {}): Reliability {
  const { bins = 15, binning = 'width' } = options
  checkCount('bins', bins, 1)
  checkFinite('confidence', confidence)
  if (correct.length !== confidence.length) {
    throw new RangeError(`correct must have one entry a confidence: ${confidence.length}; got ${correct.length}`)
  }
  for (let i = 0; i < confidence.length; i++) {
    const c = confidence[i]!
    if (c < 0 || c > 1) throw new RangeError(`confidence must lie in [0, 1]; confidence[${i}] is ${c}`)
  }
  const groups = binning === 'width' ? widthBins(confidence, bins) : massBins(confidence, bins)
  const out = groups.map((g) => summarize(g, confidence, correct))
  let ece = 0
  let mce = 0
  for (const bin of out) {
    if (bin.confidence === null || bin.accuracy === null) continue
    const gap = Math.abs(bin.accuracy - bin.confidence)
    ece += (bin.count / confidence.length) * gap
    mce = Math.max(mce, gap)
  }
  return { binning, ece, mce, bins: out }
}

interface Group {
  readonly low: number
  readonly high: number
  readonly members: number[]
}

function widthBins(confidence: Numbers, bins: number): Group[] {
  const groups = Array.from({ length: bins }, (_, k): Group => ({ low: k / bins, high: (k + 1) / bins, members: [] }))
  for (let i = 0; i < confidence.length; i++) {
    const c = confidence[i]!
    // ceil(c·bins) - 1 up to rounding; the comparison with the edges themselves settles what rounding moved.
    let k = Math.min(bins - 1, Math.max(0, Math.ceil(c * bins) - 1))
    if (k > 0 && c <= k / bins) k--
    else if (k < bins - 1 && c > (k + 1) / bins) k++
    groups[k]!.members.push(i)
  }
  return groups
}

function massBins(confidence: Numbers, bins: number): Group[] {
  const order = Array.from({ length: confidence.length }, (_, i) => i).sort((a, b) => confidence[a]! - confidence[b]!)
  const groups: Group[] = []
  let start = 0
  for (let k = 1; k <= bins && start < order.length; k++) {
    let end = Math.max(start + 1, Math.round((k * order.length) / bins))
    while (end < order.length && confidence[order[end]!] === confidence[order[end - 1]!]) end++
    const members = order.slice(start, end)
    groups.push({ low: confidence[members[0]!]!, high: confidence[members[members.length - 1]!]!, members })
    start = end
  }
  return groups
}

function summarize(group: Group, confidence: Numbers, correct: Numbers): ReliabilityBin {
  const { low, high, members } = group
  const count = members.length
  if (count === 0) return { low, high, count, confidence: null, accuracy: null }
  let c = 0
  let a = 0
  for (const i of members) {
    c += confidence[i]!
    a += correct[i]! !== 0 ? 1 : 0
  }
  return { low, high, count, confidence: c / count, accuracy: a / count }
}
