/**
 * Out-of-distribution detection by one number an input: how well does a score tell the data that a model knows from other data?
 * The in-distribution set is the **positive** class and a **higher** score must mean "known". Scores of a model are made in evaluate.ts.
 */
import { checkFinite, type Numbers } from './checks.ts'

/** Figures of one score on one pair of sets. */
export interface OodFigures {
  /** P(score of a known input > score of a foreign one) + ½ P(equal): the area under the ROC curve; ½ is chance. */
  readonly auroc: number
  /** Average precision with the known set as positive: Σ (R_k - R_(k-1)) P_k over the distinct thresholds from high to low. */
  readonly aupr: number
  /** Share of foreign inputs that pass the highest threshold that still lets at least 95% of the known ones pass (score >= threshold). */
  readonly fpr95: number
}

/**
 * AUROC, AUPR and FPR at 95% TPR of the scores of known (`inside`) against foreign (`outside`) inputs; any lengths >= 1.
 * Throws LangevinError E_DATA with counts if a score is NaN or infinite, E_SHAPE if a set is empty.
 */
export function oodFigures(inside: Numbers, outside: Numbers): OodFigures {
  const thresholds = descendingThresholds(inside, outside)
  return {
    auroc: areaUnderRoc(thresholds, inside.length, outside.length),
    aupr: averagePrecision(thresholds, inside.length),
    fpr95: falsePositiveRate(thresholds, inside.length, outside.length, 0.95),
  }
}

/** Area under the ROC curve with ties counted half (the normalised Mann-Whitney U, same as midranks). */
export function auroc(inside: Numbers, outside: Numbers): number {
  return areaUnderRoc(descendingThresholds(inside, outside), inside.length, outside.length)
}

/** Average precision, the known set as positive; its chance level is the share of known inputs. */
export function aupr(inside: Numbers, outside: Numbers): number {
  return averagePrecision(descendingThresholds(inside, outside), inside.length)
}

/** Share of foreign inputs that pass where at least `tpr` (default 0.95) of the known inputs pass. */
export function fprAtTpr(inside: Numbers, outside: Numbers, tpr = 0.95): number {
  if (!(tpr > 0 && tpr <= 1)) throw new RangeError(`tpr must lie in (0, 1]; got ${tpr}`)
  return falsePositiveRate(descendingThresholds(inside, outside), inside.length, outside.length, tpr)
}

/** How many of each set have exactly this score. */
interface Threshold {
  readonly score: number
  positives: number
  negatives: number
}

/** The distinct scores from high to low: all that the three figures need, and where ties are settled once. */
function descendingThresholds(inside: Numbers, outside: Numbers): Threshold[] {
  checkFinite('in-distribution scores', inside)
  checkFinite('out-of-distribution scores', outside)
  const a = Float64Array.from(inside).sort()
  const b = Float64Array.from(outside).sort()
  const out: Threshold[] = []
  let i = a.length - 1
  let j = b.length - 1
  while (i >= 0 || j >= 0) {
    const score = Math.max(i >= 0 ? a[i]! : -Infinity, j >= 0 ? b[j]! : -Infinity)
    const at: Threshold = { score, positives: 0, negatives: 0 }
    for (; i >= 0 && a[i] === score; i--) at.positives++
    for (; j >= 0 && b[j] === score; j--) at.negatives++
    out.push(at)
  }
  return out
}

function areaUnderRoc(thresholds: readonly Threshold[], positives: number, negatives: number): number {
  // Each foreign score loses against the known scores above it and half-loses against equal ones.
  let above = 0
  let wins = 0
  for (const t of thresholds) {
    wins += t.negatives * (above + t.positives / 2)
    above += t.positives
  }
  return wins / positives / negatives
}

function averagePrecision(thresholds: readonly Threshold[], positives: number): number {
  let tp = 0
  let fp = 0
  let area = 0
  for (const t of thresholds) {
    tp += t.positives
    fp += t.negatives
    area += (t.positives / positives) * (tp / (tp + fp))
  }
  return area
}

function falsePositiveRate(
  thresholds: readonly Threshold[],
  positives: number,
  negatives: number,
  tpr: number,
): number {
  let tp = 0
  let fp = 0
  // Counted in whole rows: 0.95 · 20 is 19 and not 18.999... or 19.000...04.
  const needed = Math.ceil(tpr * positives - 1e-9 * positives)
  for (const t of thresholds) {
    tp += t.positives
    fp += t.negatives
    if (tp >= needed) break
  }
  return fp / negatives
}
