/** The option `reference` of mlp: what it adds to energies and logits, and that the network is otherwise the same. */
import { expect, test } from 'vitest'
import { hostTensor } from '../../lib/graph/host-tensor.ts'
import { Model } from '../../lib/nn/model.ts'
import { mlp } from '../../lib/nn/models.ts'
import { buildNetwork } from '../../lib/nn/networks.ts'

const x = hostTensor(Float32Array.of(1, 2, -2, 0.5, -1, 0, 3, 0, 0), [3, 3])
/** ‖x‖²/2s² for s = 2. */
const terms = [9 / 8, 1.25 / 8, 9 / 8]

const close = (a: ArrayLike<number>, b: readonly number[]) =>
  Array.from(a).forEach((v, i) => {
    expect(v).toBeCloseTo(b[i] as number, 5)
  })

test.each([0, 4])('%i classes: the energy grows by the square, everything else stays', async (classes) => {
  const options = { inputs: 3, hidden: [8, 8], classes, seed: 3 } as const
  const plain = mlp(options)
  const referred = mlp({ ...options, reference: 2 })
  expect([...referred.stateDict().keys()]).toEqual([...plain.stateDict().keys()])
  await referred.setValues(plain.stateDict())
  close(
    await referred.energy(x),
    Array.from(await plain.energy(x), (e, i) => e + (terms[i] as number)),
  )
  const score = (await plain.score(x)).data
  close(
    (await referred.score(x)).data,
    Array.from(score, (s, i) => s - (x.data[i] as number) / 4),
  )
  const again = new Model(buildNetwork(referred.network.config))
  await again.setValues(referred.stateDict())
  expect(await again.energy(x)).toEqual(await referred.energy(x))
})

test('takes examples of any shape and noise levels; refuses what is no width', async () => {
  const images = mlp({ shape: [1, 2, 2], hidden: [4], reference: 1, sigma: { smallest: 0.1 }, seed: 1 })
  const plain = mlp({ shape: [1, 2, 2], hidden: [4], sigma: { smallest: 0.1 }, seed: 1 })
  const ones = hostTensor(new Float32Array(8).fill(1), [2, 1, 2, 2])
  close(
    await images.energy(ones),
    Array.from(await plain.energy(ones), (e) => e + 2),
  )
  expect(() => mlp({ inputs: 2, reference: 0 })).toThrow(/reference must be a positive finite number; got 0/)
})
