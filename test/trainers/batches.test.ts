/** Batches of data with and without a range, drawn on the device. */

import { expect, test } from 'vitest'
import { hostTensor } from '../../lib/graph/host-tensor.ts'
import * as ops from '../../lib/ops/index.ts'
import { compileGraph } from '../../lib/runtime/compile.ts'
import { normalizationOf, takeRows } from '../../lib/trainers/batches.ts'
import { testDevice } from '../device.ts'

test('a range becomes [-1, 1]; without one, rows come as they are', async () => {
  const features = hostTensor(Float32Array.of(0, 10, -2.5, 1e6, 5, 7.25), [3, 2])
  const taken = async (range: readonly [number, number] | null): Promise<number[]> => {
    const [x, rows] = [ops.input('x', [3, 2]), ops.input('rows', [2], 'int32')]
    const plan = await compileGraph(testDevice, [x, rows], [{ tensor: takeRows(x, rows, normalizationOf(range)) }])
    const [out] = await plan.call([features, hostTensor(Int32Array.of(2, 1), [2])])
    plan.dispose()
    return Array.from(out?.data ?? [])
  }
  expect(await taken(null)).toEqual([5, 7.25, -2.5, 1e6])
  expect((await taken([0, 10])).slice(0, 3)).toEqual([0, 0.45, -1.5].map((v) => expect.closeTo(v, 6)))
})
