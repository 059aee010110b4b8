/** The golden figures of test/golden/evaluation.py and the samples they belong to. */
import { readFileSync } from 'node:fs'
import { type HostTensor, hostTensor } from '../../lib/graph/host-tensor.ts'
import { pattern } from '../golden/pattern.ts'
import { floats, normals } from './random.ts'

interface Estimate {
  readonly squared: number
  readonly standardError: number
}

export interface GoldenPair {
  readonly n: number
  readonly m: number
  readonly d: number
  readonly seed: number
  readonly median: number
  readonly rbf: Estimate
  readonly rbfList: Estimate
  readonly imq: Estimate
  readonly polynomial: Estimate
  readonly quadratic: Estimate
  readonly precisionRecall: readonly Readonly<Record<'k' | 'precision' | 'recall' | 'density' | 'coverage', number>>[]
  readonly nearest: Readonly<Record<'accuracy' | 'accuracyX' | 'accuracyY', number>>
}

export interface Golden {
  readonly pairs: readonly GoldenPair[]
  readonly inception: readonly { readonly splits: number; readonly mean: number; readonly std: number }[]
  readonly binomial: readonly { readonly n: number; readonly least: number; readonly p: number }[]
}

export const golden: Golden = JSON.parse(readFileSync(new URL('../golden/evaluation.json', import.meta.url), 'utf8'))

/** x and y of a golden pair. */
export function samplesOf({ n, m, d, seed }: GoldenPair): [HostTensor, HostTensor] {
  return [pattern([n, d], seed), pattern([m, d], seed + 1, 1.3, 0.25)]
}

/** n draws of N(mean, scale²) in d dimensions. */
export function gaussian(n: number, d: number, seed: number, mean = 0, scale = 1): HostTensor {
  const next = normals(seed)
  return hostTensor(
    floats(n * d, () => mean + scale * next()),
    [n, d],
  )
}
