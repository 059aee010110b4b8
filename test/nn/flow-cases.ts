/** What the flow tests share: the bijectors under test, and their graphs in the float64 interpreter at weights made by formula. */
import type { Shape } from '../../lib/graph/shape.ts'
import type { Tensor } from '../../lib/graph/tensor.ts'
import { type Bijector, chain } from '../../lib/nn/flow.ts'
import {
  actNorm,
  fixedAffine,
  flattenBijector,
  logit,
  luLinear,
  multiScaleSplit,
  permutation,
  reversal,
  squeeze2x2,
} from '../../lib/nn/flow-bijectors.ts'
import { affineMap, checkerboard, coupling, elementwiseSpline, halves, splineMap } from '../../lib/nn/flow-coupling.ts'
import { Scope, Variables } from '../../lib/nn/variables.ts'
import { evaluateReference, type RefArray } from '../../lib/ops/evaluate.ts'
import { input } from '../../lib/ops/index.ts'
import { pattern } from '../golden/pattern.ts'

export interface BijectorCase {
  readonly name: string
  readonly shape: Shape
  readonly bijector: Bijector
  /** Inputs are drawn from ± this; default 2.5. */
  readonly range?: number
}

const net = { hidden: [6], channels: 3, blocks: 1 }
const spline = { bins: 5, bound: 2 }
const image = [2, 4, 4]

/** Every bijector there is, and a chain of several. */
export const bijectorCases: readonly BijectorCase[] = [
  { name: 'fixed affine', shape: [3], bijector: fixedAffine([3], { shift: [1, -2, 0.5], scale: [0.5, 2, 3] }) },
  { name: 'fixed affine, images', shape: image, bijector: fixedAffine(image, { shift: 0.3, scale: [0.5, 2] }) },
  { name: 'actnorm', shape: [4], bijector: actNorm([4]) },
  { name: 'actnorm, images', shape: image, bijector: actNorm(image) },
  { name: 'permutation', shape: [4], bijector: permutation([2, 0, 3, 1]) },
  { name: 'reversal', shape: [3], bijector: reversal(3) },
  { name: 'LU mixing', shape: [5], bijector: luLinear([5], [3, 0, 4, 1, 2]) },
  { name: 'LU mixing without a permutation', shape: [2], bijector: luLinear([2]) },
  { name: 'invertible 1x1 convolution', shape: [3, 2, 2], bijector: luLinear([3, 2, 2], [2, 0, 1]) },
  { name: 'logit', shape: [1, 2, 2], bijector: logit(0.05), range: 0.98 },
  { name: 'squeeze', shape: image, bijector: squeeze2x2(image) },
  { name: 'flatten', shape: image, bijector: flattenBijector(image) },
  { name: 'affine coupling', shape: [4], bijector: coupling(halves([4]), affineMap(2), net) },
  { name: 'affine coupling, odd', shape: [3], bijector: coupling(halves([3]), affineMap(), net) },
  { name: 'spline coupling', shape: [4], bijector: coupling(halves([4]), splineMap(spline), net) },
  { name: 'elementwise spline', shape: [3], bijector: elementwiseSpline([3], spline) },
  { name: 'affine coupling, channels', shape: [2, 2, 3], bijector: coupling(halves([2, 2, 3]), affineMap(), net) },
  {
    name: 'spline coupling, channels',
    shape: [3, 2, 2],
    bijector: coupling(halves([3, 2, 2]), splineMap(spline), net),
  },
  {
    name: 'affine checkerboard',
    shape: [1, 3, 4],
    bijector: coupling(checkerboard([1, 3, 4], 0), affineMap(), net),
  },
  {
    name: 'spline checkerboard',
    shape: [2, 2, 2],
    bijector: coupling(checkerboard([2, 2, 2], 1), splineMap(spline), net),
  },
  {
    name: 'multi-scale split',
    shape: [3, 2, 2],
    bijector: multiScaleSplit([3, 2, 2], chain([actNorm([2, 2, 2]), luLinear([2, 2, 2]), flattenBijector([2, 2, 2])])),
  },
  {
    name: 'chain',
    shape: [2],
    bijector: chain([actNorm([2]), luLinear([2], [1, 0]), coupling(halves([2]), splineMap(spline), net)]),
  },
]

/** Float64 numbers of a formula, ± scale. */
export function refPattern(shape: Shape, seed: number, scale: number, offset = 0): RefArray {
  return { shape, data: Float64Array.from(pattern(shape, seed, scale, offset).data) }
}

/** Outputs of a graph over x in float64; variables take pattern values ±`scale`, by the order of their names. */
export function reference(
  x: RefArray,
  build: (x: Tensor, variables: Variables) => readonly Tensor[],
  scale = 0.6,
): RefArray[] {
  const at = input('x', x.shape)
  const variables = new Variables()
  const outputs = build(at, variables)
  const feeds = new Map([[at, x]])
  for (const [i, name] of variables.names().sort().entries()) {
    const t = variables.tensor(name)
    feeds.set(t, refPattern(t.shape, 100 + i, scale))
  }
  return evaluateReference(outputs, feeds)
}

export function run(bijector: Bijector, direction: 'forward' | 'inverse', x: RefArray): [RefArray, RefArray] {
  const [value, logDet] = reference(x, (t, variables) => {
    const mapped = bijector[direction](t, new Scope('', { variables, norm: 'running' }))
    return [mapped.value, mapped.logDet]
  })
  return [value as RefArray, logDet as RefArray]
}

/** log |det| of the Jacobian at the example `x` [d] by central differences in float64. */
export function numericalLogDet(f: (x: RefArray) => RefArray, x: Float64Array, shape: Shape, step = 1e-5): number {
  const d = x.length
  const rows = new Float64Array(2 * d * d)
  for (let j = 0; j < d; j++) {
    for (const [k, sign] of [1, -1].entries()) {
      rows.set(x, (2 * j + k) * d)
      rows[(2 * j + k) * d + j] = (x[j] as number) + sign * step
    }
  }
  const { data } = f({ shape: [2 * d, ...shape], data: rows })
  const jacobian = Array.from({ length: d }, (_, j) =>
    Array.from({ length: d }, (_, i) => (at(data, 2 * j * d + i) - at(data, (2 * j + 1) * d + i)) / (2 * step)),
  )
  return logAbsDet(jacobian)
}

/** By Gaussian elimination with pivoting. */
function logAbsDet(m: number[][]): number {
  let sum = 0
  for (let k = 0; k < m.length; k++) {
    let pivot = k
    for (let i = k; i < m.length; i++) if (Math.abs(cell(m, i, k)) > Math.abs(cell(m, pivot, k))) pivot = i
    const top = m[pivot] as number[]
    m[pivot] = m[k] as number[]
    m[k] = top
    sum += Math.log(Math.abs(at(top, k)))
    for (let i = k + 1; i < m.length; i++) {
      const factor = cell(m, i, k) / at(top, k)
      m[i] = (m[i] as number[]).map((v, j) => v - factor * at(top, j))
    }
  }
  return sum
}

function cell(m: readonly number[][], i: number, j: number): number {
  return at(m[i] as number[], j)
}

export function at(a: ArrayLike<number>, i: number): number {
  return a[i] as number
}

/** max |a - b|. */
export function largestDifference(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let worst = a.length === b.length ? 0 : Number.POSITIVE_INFINITY
  for (let i = 0; i < a.length; i++) worst = Math.max(worst, Math.abs(at(a, i) - at(b, i)))
  return worst
}
