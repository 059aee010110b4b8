/** matmul against naive float64 loops: shapes that take each way through the kernel (products, few columns, batches, broadcasts, nothing at all). */
import { describe, expect, test } from 'vitest'
import { type Case, operands, sweep, table } from './cases/matmul.ts'
import { expectOp } from './one-op.ts'
import { compileRaw, f32 } from './plan-json.ts'

// At most a few hundred products of numbers below 1 a sum.
const tolerance = 2e-6

async function check(g: Case, seed = 1): Promise<void> {
  const { a, b, attr, c } = operands(g, seed)
  await expectOp('matmul', [a, b], attr, c, tolerance)
}

describe('matmul', () => {
  for (const [name, g] of Object.entries(table)) test(name, () => check(g))

  test('a seeded sweep', async () => {
    for (const [i, g] of sweep(40).entries()) await check(g, i)
  })

  const wrong: Record<string, [number[], number[], number[]]> = {
    'inner sizes differ': [
      [2, 3],
      [4, 5],
      [2, 5],
    ],
    'batches differ': [
      [2, 2, 3],
      [3, 3, 5],
      [2, 2, 5],
    ],
    'rank 1': [[3], [3, 5], [5]],
    'wrong result': [
      [2, 3],
      [3, 5],
      [5, 2],
    ],
  }
  for (const [name, [a, b, c]] of Object.entries(wrong)) {
    test(`refuses: ${name}`, async () => {
      const plan = {
        version: 1,
        values: [f32(...a), f32(...b), f32(...c)],
        inputs: [0, 1],
        constants: [],
        outputs: [{ value: 2, alias: null }],
        code: [{ op: 'matmul', in: [0, 1], out: [2], attr: { transposeA: false, transposeB: false } }],
      }
      await expect(compileRaw(plan)).rejects.toMatchObject({ code: 'E_PLAN' })
    })
  }
})
