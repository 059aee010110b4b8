/**
 * How samples compare with data by the tests that need no network of one's own: maximum mean discrepancy, precision and recall, nearest
 * neighbours, a classifier, and for few dimensions the Stein discrepancy from the model itself. The tests stand one a file; here they are run together.
 */

import type { HostTensor } from '../graph/host-tensor.ts'
import type { Model } from '../nn/model.ts'
import type { DeviceOption } from '../runtime/devices.ts'
import { mmd } from './mmd.ts'
import { nearestNeighbourTest } from './nearest-neighbour.ts'
import { takeRows } from './pairs.ts'
import { type PrecisionRecall, precisionRecall } from './precision-recall.ts'
import { kernelSteinDiscrepancy } from './stein.ts'
import { classifierTwoSampleTest } from './two-sample.ts'

export interface SampleQualityOptions extends DeviceOption {
  /** Rows of either set that are compared, evenly spaced where there are more; default 1000 (cost grows with the square). */
  readonly most?: number
  /** For the Stein discrepancy of the samples from the model; left out it is not computed. */
  readonly model?: Model
  /** Default 0. */
  readonly seed?: number
  readonly signal?: AbortSignal
}

/** In evaluation.json. A small p-value says that the samples are not the data's distribution. */
export interface SampleQuality {
  readonly samples: number
  readonly reference: number
  /** Squared maximum mean discrepancy (Gaussian kernel, median width), unbiased, and its permutation test. */
  readonly mmd: { readonly squared: number; readonly standardError: number; readonly pValue: number }
  readonly precisionRecall?: PrecisionRecall
  /** Leave-one-out accuracy of the nearest-neighbour rule: ½ for equal distributions. */
  readonly nearestNeighbour: { readonly accuracy: number; readonly pValue: number }
  /** Accuracy of a trained network on held-out points: ½ for equal distributions. */
  readonly classifier?: { readonly accuracy: number; readonly pValue: number; readonly heldOut: number }
  /** Kernel Stein discrepancy of the samples from the model: whether the chains have converged, not whether the model is right. */
  readonly stein?: { readonly ksd: number; readonly pValue: number }
}

/** Rows that a classifier needs for its two halves to mean something. */
const leastForClassifier = 40
/** Relabellings and bootstrap replicates. */
const replicates = 200

/**
 * Compares samples [n, ...] with data [m, ...], n and m at least 2.
 * @throws LangevinError E_SHAPE, E_DATA for sets that cannot be compared; the signal's reason
 */
export async function sampleQuality(
  samples: HostTensor,
  reference: HostTensor,
  options: SampleQualityOptions = {},
): Promise<SampleQuality> {
  const { most = 1000, model, seed = 0, signal, device } = options
  const [x, y] = [evenRows(samples, most), evenRows(reference, most)]
  const [n, m] = [x.shape[0] as number, y.shape[0] as number]
  const where = { device, ...(signal && { signal }) }
  const run = { seed, ...where }
  const { squared, standardError, pValue = 1 } = await mmd(x, y, { ...run, permutations: replicates })
  const near = await nearestNeighbourTest(x, y, run)
  const balls = Math.min(n, m) > 5 ? await precisionRecall(y, x, { k: 5, ...where }) : undefined
  const told = Math.min(n, m) >= leastForClassifier ? await classifierTwoSampleTest(x, y, run) : undefined
  const stein = model && (await kernelSteinDiscrepancy(x, model, { ...run, bootstrap: replicates }))
  return {
    samples: n,
    reference: m,
    mmd: { squared, standardError, pValue },
    ...(balls ? { precisionRecall: balls } : {}),
    nearestNeighbour: { accuracy: near.accuracy, pValue: near.pValue },
    ...(told ? { classifier: { accuracy: told.accuracy, pValue: told.pValue, heldOut: told.heldOut } } : {}),
    ...(stein ? { stein: { ksd: stein.ksd, pValue: stein.pValue ?? 1 } } : {}),
  }
}

function evenRows(x: HostTensor, most: number): HostTensor {
  const n = x.shape[0] as number
  if (n <= most) return x
  return takeRows(
    x,
    Int32Array.from({ length: most }, (_, i) => Math.floor((i * n) / most)),
  )
}
