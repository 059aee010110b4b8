import { describe, test } from 'vitest'
import { expectPlanEqualsGraph } from './check.ts'
import { adam, batchNormNet, langevinStep } from './nets.ts'
import { randomGraph } from './random-graphs.ts'

describe('a plan computes what its graph says', () => {
  test('random graphs with gradients', () => {
    for (let seed = 1; seed <= 400; seed++) expectPlanEqualsGraph(randomGraph(seed, 10 + (seed % 60)), seed)
  })

  test('random graphs without and with much recomputation', () => {
    for (let seed = 1000; seed <= 1100; seed++) {
      expectPlanEqualsGraph(randomGraph(seed), seed, { recomputeBudget: 0 })
      expectPlanEqualsGraph(randomGraph(seed), seed, { recomputeBudget: 100 })
    }
  })

  test('training steps', () => {
    expectPlanEqualsGraph(langevinStep(6, 8), 1)
    expectPlanEqualsGraph(batchNormNet(2, 3, 4, 4), 2)
    expectPlanEqualsGraph(batchNormNet(3, 3, 4, 4, true), 3)
    expectPlanEqualsGraph(adam([[4, 3], [4, 3], [5], [], [1]]), 4)
  })
})
