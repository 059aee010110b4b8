/** Pooling and resizing on the device that is tested, and plans of them that are refused. */
import { describe, expect, test } from 'vitest'
import { testDevice } from '../device.ts'
import { testPooling } from './cases/pool.ts'
import { compileRaw, f32 } from './plan-json.ts'

testPooling(testDevice)

describe('malformed pooling', () => {
  const attr = { kernel: [2, 2], stride: [2, 2], padding: [0, 0, 0, 0] }
  const wrong: Record<string, [Record<string, unknown>, number[]]> = {
    'window larger than the image': [{ kernel: [5, 5] }, [1, 1, 1, 1]],
    'other output': [{}, [1, 1, 3, 3]],
    'kernel 0': [{ kernel: [0, 2] }, [1, 1, 2, 2]],
    'two paddings': [{ padding: [0, 0] }, [1, 1, 2, 2]],
  }
  for (const [name, [changed, out]] of Object.entries(wrong)) {
    test(`refuses: ${name}`, async () => {
      const plan = {
        version: 1,
        values: [f32(1, 1, 4, 4), f32(...out)],
        inputs: [0],
        constants: [],
        outputs: [{ value: 1, alias: null }],
        code: [{ op: 'maxpool2d', in: [0], out: [1], attr: { ...attr, ...changed } }],
      }
      await expect(compileRaw(plan)).rejects.toMatchObject({ code: 'E_PLAN' })
    })
  }
})
