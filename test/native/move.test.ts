/** transpose, slice, pad and concat on the device that is tested, and plans of them that are refused. */
import { describe, expect, test } from 'vitest'
import { testDevice } from '../device.ts'
import { testMoves } from './cases/move.ts'
import { compileRaw, f32 } from './plan-json.ts'

testMoves(testDevice)

describe('malformed moves', () => {
  const wrong: [string, Record<string, unknown>, readonly number[]][] = [
    ['transpose', { perm: [0, 0] }, [2, 2]],
    ['transpose', { perm: [0] }, [2, 3]],
    ['transpose', { perm: [1, 0] }, [2, 3]],
    ['slice', { start: [0, 0], stop: [2, 4], step: [1, 1] }, [2, 4]],
    ['slice', { start: [2, 0], stop: [1, 3], step: [1, 1] }, [1, 3]],
    ['slice', { start: [0, 0], stop: [2, 3], step: [0, 1] }, [2, 3]],
    ['pad', { low: [-1, 0], high: [0, 0], interior: [0, 0], value: 0 }, [1, 3]],
    ['pad', { low: [0, 0], high: [0, 0], interior: [0, 0], value: 0 }, [2, 4]],
    ['concat', { axis: 2 }, [2, 3]],
    ['concat', { axis: 0 }, [4, 3]],
  ]
  test.each(wrong)('%s %j', async (op, attr, shape) => {
    const plan = {
      version: 1,
      values: [f32(2, 3), f32(...shape)],
      inputs: [0],
      constants: [],
      outputs: [{ value: 1, alias: null }],
      code: [{ op, in: [0], out: [1], attr }],
    }
    await expect(compileRaw(plan)).rejects.toMatchObject({ code: 'E_PLAN' })
  })
})
