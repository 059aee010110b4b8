/** Reading and writing by index and the data path on the device that is tested, and plans of them that are refused. */
import { describe, expect, test } from 'vitest'
import { testDevice } from '../device.ts'
import { integers, normalish, testIndices } from './cases/index.ts'
import { bytes, runInstruction, type Value } from './instruction.ts'

testIndices(testDevice)

describe('malformed', () => {
  const f = (...shape: number[]) => normalish(shape)
  const i = (...shape: number[]) => integers(shape, 0, 0)
  const bad: [string, Value[], number[], Record<string, unknown>][] = [
    ['gather', [f(4, 3), f(2)], [2, 3], { axis: 0 }],
    ['gather', [f(4, 3), i(2)], [2, 3], { axis: 2 }],
    ['gather', [f(4, 3), i(2)], [2, 4], { axis: 0 }],
    ['gather', [f(0, 3), i(2)], [2, 3], { axis: 0 }],
    ['scatter_add', [f(4, 3), i(2), f(3, 3)], [4, 3], { axis: 0 }],
    ['scatter_rows', [f(4, 3), i(2), f(2, 4)], [4, 3], {}],
    ['argmax', [f(4, 0)], [4], { axis: 1 }],
    ['crop_flip', [f(1, 1, 4, 4), i(1, 2), bytes([1], [0], 'bool')], [1, 1, 4, 4], { pad: 4 }],
    ['gaussian_rows', [bytes([2], [1, 1], 'bool'), i(2), f(3, 4), f(3, 4, 5), f(2, 6)], [2, 4], {}],
    ['copy', [f(4)], [5], {}],
  ]
  test.each(bad)('%s', async (op, inputs, shape, attr) => {
    const outputs = [{ dtype: op === 'argmax' ? ('int32' as const) : ('float32' as const), shape }]
    await expect(runInstruction({ op, inputs, outputs, attr })).rejects.toMatchObject({
      code: 'E_PLAN',
      message: expect.stringContaining(`[${op}]`),
    })
  })
})
