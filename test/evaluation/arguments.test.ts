/** What a measure says to arguments of another kind or in another order. */
import { describe, expect, test } from 'vitest'
import { toy } from '../../lib/data/toys.ts'
import { fisherDivergence } from '../../lib/evaluation/fisher.ts'
import { mmd } from '../../lib/evaluation/mmd.ts'
import { precisionRecall } from '../../lib/evaluation/precision-recall.ts'
import { kernelSteinDiscrepancy } from '../../lib/evaluation/stein.ts'
import { mixtureOfEnergies } from '../../lib/nn/compose.ts'
import { mlp } from '../../lib/nn/models.ts'

const moons = toy('twoMoons', { count: 40 })
const x = moons.normalized()
const model = mlp({ inputs: 2, hidden: [4] })
type Tensor = typeof x

describe('what is no tensor', () => {
  test('a data set is told to be taken as numbers', async () => {
    const set = moons as unknown as Tensor
    await expect((async () => mmd(set, x))()).rejects.toThrow(/got Dataset: of a data set take \.normalized\(\)/)
    await expect((async () => precisionRecall(x, set))()).rejects.toThrow(/got Dataset/)
    await expect(kernelSteinDiscrepancy(set, model)).rejects.toThrow(/KSD: x must be a tensor .*got Dataset/)
  })

  test('a model in the place of its draws', async () => {
    const wrong = model as unknown as Tensor
    await expect(kernelSteinDiscrepancy(wrong, x as never)).rejects.toThrow(/KSD: x must be a tensor .*got Model/)
    await expect(fisherDivergence(model, wrong, x)).rejects.toThrow(/fisherDivergence: x must be a tensor .*got Model/)
    await expect(kernelSteinDiscrepancy(x, undefined as never)).rejects.toThrow(/\(else give a Model\).*got undefined/)
  })
})

test('a mixture without log Z says why it needs them', () => {
  const without = mixtureOfEnergies as unknown as (parts: readonly unknown[]) => unknown
  expect(() => without([model, model])).toThrow(/give logZ, one of each part/)
})
