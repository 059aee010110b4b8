/** Random numbers: the definition against known answers, a device's draws against the definition, and plans of draws that are refused. */
import { expect, test } from 'vitest'
import { philox } from '../../lib/ops/philox.ts'
import { testDevice } from '../device.ts'
import { drawOn, testRandom } from './cases/random.ts'

test('known answers of Random123 for philox4x32-10', () => {
  const words = (c: [number, number, number, number], k: [number, number]) =>
    philox(c, k).map((w) => w.toString(16).padStart(8, '0'))
  expect(words([0, 0, 0, 0], [0, 0])).toEqual(['6627e8d5', 'e169c58d', 'bc57ac4c', '9b00dbd8'])
  const ones = 0xffffffff
  expect(words([ones, ones, ones, ones], [ones, ones])).toEqual(['408f276d', '41c83b0e', 'a20bc7c6', '6d5451fd'])
  expect(words([0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344], [0xa4093822, 0x299f31d0])).toEqual([
    'd16cfe09',
    '94fdcceb',
    '5001e420',
    '24126ea1',
  ])
})

testRandom(testDevice)

test('malformed draws', async () => {
  await expect(drawOn(testDevice, 'normal', 4, { stream: -1 })).rejects.toMatchObject({ code: 'E_PLAN' })
  await expect(drawOn(testDevice, 'normal', 4, { shape: [5] })).rejects.toMatchObject({ code: 'E_PLAN' })
  await expect(drawOn(testDevice, 'random_int', 4, { bound: 0 })).rejects.toMatchObject({ code: 'E_PLAN' })
  await expect(drawOn(testDevice, 'shuffle_index', 4, { n: 3, count: 4 })).rejects.toMatchObject({ code: 'E_PLAN' })
})
