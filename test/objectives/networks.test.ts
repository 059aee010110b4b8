/**
 * Objectives on a residual network of strided convolutions, most of which differentiate the energy's own gradient: the native gradient
 * against differences of the loss. Also the classifier's loss.
 */

import { expect, test } from 'vitest'
import { grad } from '../../lib/autodiff/index.ts'
import { type HostTensor, hostTensor } from '../../lib/graph/host-tensor.ts'
import type { Tensor } from '../../lib/graph/tensor.ts'
import { wideResNetNetwork } from '../../lib/nn/networks.ts'
import { Variables } from '../../lib/nn/variables.ts'
import { gradientPenalty } from '../../lib/objectives/adversarial.ts'
import { crossEntropy } from '../../lib/objectives/classification.ts'
import { contrastiveDivergence, klTerm } from '../../lib/objectives/contrastive-divergence.ts'
import {
  denoisingScoreMatching,
  finiteDifferenceScoreMatching,
  slicedScoreMatching,
} from '../../lib/objectives/score-matching.ts'
import type { EnergyFunction, Noise } from '../../lib/objectives/terms.ts'
import { evaluateReference, type RefArray } from '../../lib/ops/evaluate.ts'
import * as ops from '../../lib/ops/index.ts'
import { setThreads } from '../../lib/runtime/addon.ts'
import { compileGraph } from '../../lib/runtime/compile.ts'
import { testDevice } from '../device.ts'
import { pattern, patternWeights } from '../golden/pattern.ts'
import { Bench } from './cases.ts'
import { exactly } from './monte-carlo.ts'

setThreads(1)

type Build = (energy: EnergyFunction, x: Tensor, noise: Noise) => Tensor

const losses: Record<string, Build> = {
  sliced: (e, x, noise) => slicedScoreMatching(e, x, noise).loss,
  'finite differences': (e, x, noise) => finiteDifferenceScoreMatching(e, x, noise, { epsilon: 0.5 }).loss,
  denoising: (e, x, noise) => denoisingScoreMatching(e, x, noise, { sigma: 0.25 }).loss,
  'gradient penalty': (e, x) => gradientPenalty(e, x, 1).loss,
  'contrastive divergence': (e, x) => {
    const energyNegatives = e(ops.mul(x, 0.5))
    return contrastiveDivergence({ energyData: e(x), energyNegatives, energyPenalty: 0.5 }).loss
  },
}

/** The loss of a residual classifier's energy: its gradient natively, and its slope along a direction by differences in float64. */
async function slopes(build: Build): Promise<{ readonly symbolic: number; readonly numeric: number }> {
  const network = wideResNetNetwork({ depth: 10, width: 1, norm: 'none', channels: 1, size: 8 })
  const variables = new Variables()
  const x = ops.input('x', [1, 1, 8, 8])
  const key = ops.input('key', [4], 'int32')
  const loss = build((y) => network.energy(y, { variables, norm: 'running' }), x, { key, stream: 0 })
  const names = network.variables.map((v) => v.name)
  const parameters = names.map((n) => variables.tensor(n))
  const weights = patternWeights(network)
  const values = names.map((n) => weights.get(n) as HostTensor)
  const fixed = [pattern(x.shape, 500, 0.9), hostTensor(Int32Array.from([5, 0, 1, 0]), [4])]
  const directions = values.map((v, i) => Float64Array.from(pattern(v.shape, 900 + i).data))

  const plan = await compileGraph(
    testDevice,
    [x, key, ...parameters],
    grad(loss, parameters).map((tensor) => ({ tensor })),
  )
  const gradients = await plan.call([...fixed, ...values])
  plan.dispose()
  const symbolic = gradients.reduce((sum, g, i) => sum + dot(g.data, directions[i] as Float64Array), 0)

  // So small a step meets hardly a kink of the network's leaky rectifiers, where the score jumps.
  const step = 2 ** -23
  const lossAt = (sign: number): number => {
    const feeds = new Map<Tensor, RefArray>()
    ;[x, key].forEach((t, i) => {
      feeds.set(t, { shape: t.shape, data: Float64Array.from(fixed[i]?.data as Float32Array) })
    })
    parameters.forEach((t, i) => {
      const data = Float64Array.from(values[i]?.data as Float32Array)
      directions[i]?.forEach((d, j) => {
        data[j] = (data[j] as number) + sign * step * d
      })
      feeds.set(t, { shape: t.shape, data })
    })
    return evaluateReference([loss], feeds)[0]?.data[0] as number
  }
  return { symbolic, numeric: (lossAt(1) - lossAt(-1)) / (2 * step) }
}

function dot(a: ArrayLike<number>, b: Float64Array): number {
  return b.reduce((sum, v, i) => sum + v * (a[i] as number), 0)
}

test.each(Object.keys(losses))('gradient of a residual network: %s', async (name) => {
  const { symbolic, numeric } = await slopes(losses[name] as Build)
  expect(Math.abs(numeric)).toBeGreaterThan(0.01)
  expect(Math.abs(symbolic - numeric)).toBeLessThan(1e-3 * Math.abs(numeric))
})

test('the KL term keeps chain ends apart and draws them to low energy', () => {
  const b = new Bench()
  const move = b.numbers([0, 0], [2])
  const chain = ops.add(b.numbers([1, 0, 3, 0], [2, 2]), move)
  const energy: EnergyFunction = (x) => ops.mul(ops.sum(ops.square(x), 1), 0.5)
  const references = b.numbers([0, 0], [1, 2])
  const { loss, metrics } = klTerm({ energy, chain, references, entropyWeight: 3 })
  const [value, slope, klEnergy, logDistance] = exactly(
    b,
    loss,
    grad(loss, [move])[0] as Tensor,
    metrics.klEnergy as Tensor,
    metrics.logDistance as Tensor,
  ) as [number[], number[], number[], number[]]
  expect(klEnergy[0]).toBe(2.5)
  expect(logDistance[0]).toBeCloseTo(Math.log(3) / 2, 12)
  expect(value[0]).toBeCloseTo(2.5 - 1.5 * Math.log(3), 12)
  // mean x - 3·mean 1/x along the first axis: 2 - 3·(1 + ⅓)/2
  expect(slope[0]).toBeCloseTo(0, 12)
  expect(slope[1]).toBeCloseTo(0, 12)
})

test('cross entropy reports the accuracy, and refuses impossible smoothing', () => {
  const b = new Bench()
  const logits = b.numbers([4, 0, 0, 3, 1, 0], [3, 2])
  const labels = b.fed(hostTensor(Int32Array.from([0, 1, 1]), [3]))
  const { loss, metrics } = crossEntropy(logits, labels, { smoothing: 0.25 })
  const [smooth, plain, accuracy] = exactly(b, loss, metrics.crossEntropy as Tensor, metrics.accuracy as Tensor)
  expect(accuracy?.[0]).toBeCloseTo(2 / 3, 6)
  expect(smooth?.[0]).toBeGreaterThan(plain?.[0] as number)
  expect(() => crossEntropy(logits, labels, { smoothing: 1 })).toThrow(/smoothing must be below 1/)
  expect(() => crossEntropy(logits, ops.input('y', [2], 'int32'))).toThrow(/labels must have the logits' shape/)
})
