/** A configuration's network takes shape and classes from the data, and says so where it cannot. */
import { describe, expect, test } from 'vitest'
import { completeNetwork } from '../../lib/cli/network.ts'
import { Dataset } from '../../lib/data/dataset.ts'
import { digits } from '../../lib/data/standard.ts'
import { toy } from '../../lib/data/toys.ts'
import { hostTensor } from '../../lib/graph/host-tensor.ts'
import { Model } from '../../lib/nn/model.ts'
import { buildNetwork } from '../../lib/nn/networks.ts'
import { type NetworkSpec, networkSchema } from '../../lib/nn/schema.ts'

const images = (await digits()).take(20)
const points = toy('twoMoons', { count: 20 })
const onehot = new Dataset({ name: 'sites', features: hostTensor(new Float32Array(2 * 4 * 3), [2, 4, 3]), range: null })

const cases: [what: string, network: NetworkSpec, data: Dataset, expected: object][] = [
  ['an mlp on points', { kind: 'mlp', hidden: [4] }, points, { inputs: 2, classes: 2 }],
  ['an mlp on images', { kind: 'mlp', hidden: [4] }, images, { shape: [1, 8, 8], classes: 10 }],
  [
    'an energy without classes',
    { kind: 'mlp', classes: 0, sigma: { smallest: 0.1 } },
    points,
    { inputs: 2, classes: 0 },
  ],
  ['convEnergy', { kind: 'convEnergy', channels: [4], spectralNorm: true }, images, { shape: [1, 8, 8], classes: 10 }],
  ['wideResNet', { kind: 'wideResNet', depth: 10, width: 1 }, images, { channels: 1, size: [8, 8], classes: 10 }],
  ['a flow on points', { kind: 'flow' }, points, { flow: { kind: 'spline', inputs: 2 } }],
  ['a flow on images', { kind: 'flow' }, images, { flow: { kind: 'image', shape: [1, 8, 8] } }],
  [
    'a flow of a kind',
    { kind: 'flow', flow: { kind: 'affineCoupling', layers: 2 } },
    points,
    { flow: { inputs: 2, layers: 2 } },
  ],
  ['an RBM on images', { kind: 'rbm', hidden: 5 }, images, { shape: [1, 8, 8], values: [-1, 1] }],
  ['a Gaussian RBM on points', { kind: 'rbm', hidden: 5, visibleKind: 'gaussian' }, points, { shape: [2] }],
  ['an Ising model on images', { kind: 'ising' }, images, { shape: [1, 8, 8], values: [-1, 1] }],
  ['a Potts model', { kind: 'potts' }, onehot, { shape: [4], states: 3 }],
]

describe('completed from the data, a network that takes them', () => {
  for (const [what, network, data, expected] of cases) {
    test(what, async () => {
      expect(networkSchema.safeParse(network).success).toBe(true)
      const options = completeNetwork(network, data, true)
      expect(options).toMatchObject(expected)
      const model = new Model(buildNetwork(options))
      const energy = await model.energy(data.normalized())
      expect(energy).toHaveLength(data.count)
      expect(energy.every(Number.isFinite)).toBe(true)
      await model.dispose()
    })
  }
})

test('refused by name where the data do not fit', () => {
  const refused: [NetworkSpec, Dataset, RegExp][] = [
    [{ kind: 'convEnergy' }, points, /'convEnergy' takes images; data 'twoMoons' has rows of \[2\]. Use kind 'mlp'/],
    [{ kind: 'wideResNet', depth: 10, width: 1 }, points, /'wideResNet' takes images/],
    [{ kind: 'flow', flow: { kind: 'spline' } }, images, /'spline' takes rows of numbers; .*Use kind 'image'/],
    [{ kind: 'flow', flow: { kind: 'image' } }, points, /'flow' takes images/],
    [{ kind: 'potts' }, points, /'potts' takes one-hot rows/],
  ]
  for (const [network, data, message] of refused) expect(() => completeNetwork(network, data, true)).toThrow(message)
})

test('an energy alone for a method that trains no classifier, even on labelled data', () => {
  for (const kind of ['mlp', 'convEnergy'] as const)
    expect(completeNetwork({ kind }, images, false)).toMatchObject({ classes: 0 })
  expect(completeNetwork({ kind: 'mlp', classes: 3 }, points, false)).toMatchObject({ classes: 3 })
})
