/** Pseudo-likelihood and ratio matching by enumeration: consistent at the truth, unbiased over random sites. */
import { describe, expect, test } from 'vitest'
import { grad } from '../../lib/autodiff/index.ts'
import type { Tensor } from '../../lib/graph/tensor.ts'
import { pseudoLikelihood, ratioMatching } from '../../lib/objectives/discrete.ts'
import type { Terms } from '../../lib/objectives/terms.ts'
import * as ops from '../../lib/ops/index.ts'
import { Bench, energy } from './cases.ts'
import { estimate, exactly, expectMean } from './monte-carlo.ts'

/** Every example of `sites` sites with `values` values, one after another. */
function enumerate(sites: number, values: number): number[][] {
  return Array.from({ length: values ** sites }, (_, i) =>
    Array.from({ length: sites }, (__, j) => Math.floor(i / values ** j) % values),
  )
}

interface Family {
  readonly states: readonly number[][]
  readonly encode: (state: readonly number[]) => number[]
  readonly shape: readonly number[]
  /** True couplings and fields. */
  readonly truth: readonly number[]
  readonly energy: (parameters: Tensor) => (x: Tensor) => Tensor
}

/** E(x) = -½ sᵀJ s - hᵀs with s = 2x - 1: parameters J [4, 4], then h [4]. */
const ising: Family = {
  states: enumerate(4, 2),
  encode: (state) => [...state],
  shape: [4],
  truth: Array.from({ length: 20 }, (_, i) => ((i * 7) % 9) / 8 - 0.5),
  energy: (p) => (x) => {
    const s = ops.sub(ops.mul(x, 2), 1)
    const J = ops.reshape(ops.slice(p, [0], [16]), [4, 4])
    const pairs = ops.mul(ops.sum(ops.mul(ops.matmul(s, J), s), 1), 0.5)
    return ops.neg(ops.add(pairs, ops.sum(ops.mul(s, ops.slice(p, [16], [20])), 1)))
  },
}

/** Three sites of three values: E(x) = -½ yᵀJ y, y the flattened one-hot rows. */
const potts: Family = {
  states: enumerate(3, 3),
  encode: (state) => state.flatMap((v) => [0, 1, 2].map((c) => (c === v ? 1 : 0))),
  shape: [3, 3],
  truth: Array.from({ length: 81 }, (_, i) => ((i * 11) % 17) / 8 - 1),
  energy: (p) => (x) => {
    const y = ops.flatten(x)
    return ops.mul(ops.sum(ops.mul(ops.matmul(y, ops.reshape(p, [9, 9])), y), 1), -0.5)
  },
}

/** E_truth[∇ loss] at `parameters`, every example weighted by its true probability: [parameters]. */
function expectedGradient(f: Family, objective: typeof pseudoLikelihood, parameters: readonly number[]): number[] {
  const b = new Bench()
  const p = b.numbers(parameters, [parameters.length])
  const truth = b.numbers(f.truth, [f.truth.length])
  const xs = f.states.map((s) => b.numbers(f.encode(s), [1, ...f.shape]))
  const gradients = xs.map((x) => grad(objective(f.energy(p), x).loss, [p])[0] as Tensor)
  const energies = xs.map((x) => f.energy(truth)(x))
  const values = exactly(b, ...energies, ...gradients)
  const weights = values.slice(0, xs.length).map((e) => Math.exp(-(e[0] as number)))
  const total = weights.reduce((a, w) => a + w, 0)
  return f.truth.map((_, i) =>
    weights.reduce((sum, w, s) => sum + (w / total) * (values[xs.length + s]?.[i] as number), 0),
  )
}

const largest = (values: readonly number[]): number => Math.max(...values.map(Math.abs))

describe.each([
  ['pseudo-likelihood', pseudoLikelihood],
  ['ratio matching', ratioMatching],
] as const)('%s', (_, objective) => {
  test.each([
    ['an Ising model', ising],
    ['a Potts model', potts],
  ] as const)('is stationary at the true parameters of %s, and only there', (__, family) => {
    expect(largest(expectedGradient(family, objective, family.truth))).toBeLessThan(1e-9)
    const wrong = family.truth.map((v, i) => v + (i % 3) / 8)
    expect(largest(expectedGradient(family, objective, wrong))).toBeGreaterThan(0.01)
  })

  test('over random sites has the mean of all sites', async () => {
    const bits = (b: Bench): Tensor => ops.cast(ops.gt(b.data([8, 4], 60), 0), 'float32')
    const b = new Bench()
    const [all] = exactly(b, objective(energy(b).plain, bits(b)).loss)
    for (const sites of [1, 3]) {
      const [some] = await estimate(
        (bench, key) => [objective(energy(bench).plain, bits(bench), { sites, noise: { key, stream: 0 } }).loss],
        400,
      )
      expectMean(some?.[0], all?.[0] as number)
    }
  })

  test('as many random sites as there are is all of them, each once', async () => {
    const [difference] = await estimate((b, key) => {
      const e = energy(b).plain
      const x = ops.cast(ops.gt(b.data([8, 4], 60), 0), 'float32')
      return [ops.sub(objective(e, x, { sites: 4, noise: { key, stream: 0 } }).loss, objective(e, x).loss)]
    }, 10)
    expect(Math.abs(difference?.[0]?.mean as number)).toBeLessThan(1e-6)
  })
})

test('binary images and one-hot grids keep their shape for the energy', () => {
  const seen: string[] = []
  const e = (x: Tensor): Tensor => {
    seen.push(x.shape.join())
    return ops.sum(ops.flatten(x), 1)
  }
  pseudoLikelihood(e, ops.input('image', [2, 1, 3, 3]))
  pseudoLikelihood(e, ops.input('grid', [2, 3, 3, 5]), { kind: 'oneHot' })
  pseudoLikelihood(e, ops.input('lattice', [2, 3, 3]), { kind: 'binary' })
  // n·(1 + sites·(values - 1))
  expect(seen).toEqual(['20,1,3,3', '74,3,3,5', '20,3,3'])
})

test('the accuracy is the share of sites whose value is the likeliest', () => {
  const b = new Bench()
  // E(x) = -x₀ + x₁: the first site wants 1, the second 0.
  const e = (x: Tensor) => ops.sum(ops.mul(x, ops.constant([-1, 1], [2])), 1)
  const x = b.numbers([1, 0, 1, 1], [2, 2])
  const terms: Terms = pseudoLikelihood(e, x)
  const [accuracy, loss] = exactly(b, terms.metrics.accuracy as Tensor, terms.loss) as [number[], number[]]
  expect(accuracy[0]).toBe(0.75)
  const [right, wrong] = [Math.log(1 + Math.exp(-1)), Math.log(1 + Math.E)]
  expect(loss[0]).toBeCloseTo((3 * right + wrong) / 2, 6)
})

test('impossible settings are refused', () => {
  const x = ops.input('x', [2, 4])
  const e = (t: Tensor) => ops.sum(t, 1)
  const key = ops.input('key', [4], 'int32')
  expect(() => pseudoLikelihood(e, x, { sites: 2 })).toThrow(/need a source of noise/)
  expect(() => ratioMatching(e, x, { sites: 5, noise: { key, stream: 0 } })).toThrow(/must not exceed the 4/)
  expect(() => pseudoLikelihood(e, x, { kind: 'oneHot' })).toThrow(/one-hot x must be/)
  expect(() => pseudoLikelihood(e, x, { kind: 'onehot' as 'oneHot' })).toThrow(/Did you mean 'oneHot'/)
})
