/** A Model's evaluation as users call it: several outputs at once, before anything is on the device. */
import { describe, expect, test } from 'vitest'
import { hostTensor, wideResNet } from '../../lib/index.ts'

const images = hostTensor(
  Float32Array.from({ length: 3 * 64 }, (_, i) => Math.sin(i * 1.7)),
  [3, 1, 8, 8],
)
const outputs = ['logits', 'energy', 'score'] as const

function model() {
  return wideResNet({ depth: 10, width: 1, channels: 1, size: 8, seed: 3 })
}

describe('Model.evaluate', () => {
  test('outputs asked for at once are those asked for one by one', async () => {
    const together = model()
    const concurrent = await Promise.all(outputs.map((o) => together.evaluate(o, images)))
    const alone = model()
    for (const [i, o] of outputs.entries()) {
      expect(concurrent[i]?.data, o).toEqual((await alone.evaluate(o, images)).data)
    }
    await together.dispose()
    await alone.dispose()
  })

  test('a disposed model uploads its values again', async () => {
    const m = model()
    const before = await m.energy(images)
    await m.dispose()
    expect(await m.energy(images)).toEqual(before)
    await m.dispose()
  })
})
