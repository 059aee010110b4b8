/** Fused loops on the CPU: the cases of cases/loop.ts, and programs that are refused. */

import { describe, expect, test } from 'vitest'
import { addon } from '../../lib/runtime/addon.ts'
import { testDevice } from '../device.ts'
import { testLoops } from './cases/loop.ts'
import { meaning } from './cases/loop-reference.ts'
import { compileRaw } from './plan-json.ts'

testLoops(testDevice)

test('the addon lists the instructions', () => {
  expect(new Set(addon().info().loopOps)).toEqual(new Set([...Object.keys(meaning), 'const', 'const_int', 'iota']))
})

describe('malformed programs', () => {
  const x = { dtype: 'float32', shape: [4] }
  const bad: [string, Record<string, unknown>][] = [
    ['unknown op', { program: [['sinh', 0]] }],
    ['register not yet defined', { program: [['add', 0, 1]] }],
    ['negative register', { program: [['neg', -1]] }],
    ['fractional register', { program: [['neg', 0.5]] }],
    ['too few operands', { program: [['add', 0]] }],
    ['type error', { program: [['logical_not', 0]] }],
    ['axis of iota', { program: [['iota', 1]], outputs: [{ register: 0 }] }],
    ['no program', { program: 3 }],
    ['row that is no list', { program: ['neg'] }],
    ['const that is no number', { program: [['const', 'x']] }],
    ['output register', { outputs: [{ register: 9 }] }],
    ['no outputs', { outputs: [] }],
    ['unknown reduction', { outputs: [{ register: 0, reduce: 'product' }] }],
    ['axis twice', { outputs: [{ register: 0, reduce: 'sum' }], axes: [0, 0] }],
    ['reduced shape', { outputs: [{ register: 0, reduce: 'sum' }], axes: [0] }],
    ['shape', { shape: [5] }],
    ['huge shape', { shape: [2 ** 30, 2 ** 30, 2 ** 30] }],
    ['negative shape', { shape: [-4] }],
  ]
  test.each(bad)('%s', async (_, change) => {
    const attr = { shape: [4], program: [['neg', 0]], outputs: [{ register: 1 }], axes: [], ...change }
    const plan = {
      version: 1,
      values: [x, x],
      inputs: [0],
      constants: [],
      outputs: [{ value: 1, alias: null }],
      code: [{ op: 'loop', in: [0], out: [1], attr }],
    }
    await expect(compileRaw(plan)).rejects.toMatchObject({ code: 'E_PLAN', message: expect.stringContaining('[loop]') })
  })
})
