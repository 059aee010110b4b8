/**
 * The two-sample test by nearest neighbours (Schilling 1986; Lopez-Paz & Oquab 2017, section 4.3): in the pooled samples, how often is
 * a point's nearest other point of its own sample? Nothing is trained. The test by a trained classifier is in two-sample.ts.
 */

import type { HostTensor } from '../graph/host-tensor.ts'
import * as ops from '../ops/index.ts'
import type { DeviceOption } from '../runtime/devices.ts'
import { HostRandom } from '../runtime/host-random.ts'
import { checkCount } from './checks.ts'
import { pooledCentred, sameRow, squaredDistances, twoSamples } from './pairs.ts'
import { overRows, rowRun } from './row-blocks.ts'

export interface NearestNeighbourOptions extends DeviceOption {
  /** Random relabellings for the p-value. Default 1000. */
  readonly permutations?: number
  /** Default 0. */
  readonly seed?: number
  /** Stops between blocks with the signal's reason. */
  readonly signal?: AbortSignal
}

export interface NearestNeighbourTest {
  /** Leave-one-out accuracy of the nearest-neighbour rule over both samples: about ½ for equal distributions of equal counts. */
  readonly accuracy: number
  /** The same over x alone: low where y has copies of x's points or x is covered by y. */
  readonly accuracyX: number
  /** The same over y alone: high where y keeps to few modes. */
  readonly accuracyY: number
  /** (1 + relabellings at least as accurate) / (1 + permutations): small where the distributions differ. */
  readonly pValue: number
}

/**
 * Nearest-neighbour test between x [n, ...] and y [m, ...] (float32, n, m >= 2, flattened). Accuracy well below ½ says that points of the
 * samples come in pairs: the samples copy the data. The p-value conditions on the pooled points. O((n + m)² d), native.
 * Throws LangevinError E_SHAPE, E_DTYPE, E_DATA; RangeError for an option.
 */
export async function nearestNeighbourTest(
  x: HostTensor,
  y: HostTensor,
  options: NearestNeighbourOptions = {},
): Promise<NearestNeighbourTest> {
  const { permutations = 1000, seed = 0, signal } = options
  checkCount('nearestNeighbourTest: permutations', permutations, 1)
  const both = twoSamples('nearestNeighbourTest', x, y)
  const { n, m } = both
  const total = n + m
  const work = { ...rowRun(options), tensors: { z: pooledCentred(both) }, rows: total, columns: total }
  const { nearest } = await overRows(work, (index, read) => {
    const squared = squaredDistances(ops.gather(read('z'), index), read('z'))
    return { nearest: ops.argmax(ops.select(sameRow(index, total), -Infinity, ops.neg(squared))) }
  })
  const label = Uint8Array.from({ length: total }, (_, i) => (i < n ? 1 : 0))
  const right = Array.from(label, (own, i) => own === label[nearest.data[i]!])
  const count = (from: number, to: number) => right.slice(from, to).filter((r) => r).length
  const hits = count(0, total)
  const random = new HostRandom(seed)
  let atLeast = 0
  for (let p = 0; p < permutations; p++) {
    signal?.throwIfAborted()
    const order = random.permutation(total)
    let agreed = 0
    for (let i = 0; i < total; i++) if (label[order[i]!] === label[order[nearest.data[i]!]!]) agreed++
    if (agreed >= hits) atLeast++
  }
  return {
    accuracy: hits / total,
    accuracyX: count(0, n) / n,
    accuracyY: count(n, total) / m,
    pValue: (1 + atLeast) / (1 + permutations),
  }
}
