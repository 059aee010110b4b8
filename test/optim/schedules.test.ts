/** Schedules against their formulas, the global norm, clipping, moving averages: as compiled. */

import { describe, expect, test } from 'vitest'
import { hostTensor } from '../../lib/graph/host-tensor.ts'
import type { Tensor } from '../../lib/graph/tensor.ts'
import * as ops from '../../lib/ops/index.ts'
import {
  clipFactor,
  globalNorm,
  movingAverage,
  type ScheduleOptions,
  scheduleFactor,
} from '../../lib/optim/schedules.ts'
import { compileGraph } from '../../lib/runtime/compile.ts'
import { testDevice } from '../device.ts'

/** f of float32 scalars, for each row of arguments. */
async function evaluate(f: (args: Tensor[]) => Tensor, rows: number[][]): Promise<number[]> {
  const inputs = (rows[0] as number[]).map((_, i) => ops.input(`a${i}`, [], 'float32'))
  const plan = await compileGraph(testDevice, inputs, [{ tensor: f(inputs) }])
  const out: number[] = []
  for (const row of rows) {
    const [r] = await plan.call(row.map((v) => hostTensor(Float32Array.of(v), [])))
    out.push(r?.data[0] as number)
  }
  plan.dispose()
  return out
}

const STEPS_PER_EPOCH = 7
const TOTAL = 70
const steps = Array.from({ length: 90 }, (_, s) => s)

async function factors(options: ScheduleOptions): Promise<number[]> {
  const plan = { stepsPerEpoch: STEPS_PER_EPOCH, totalSteps: TOTAL }
  // The input is used even where the schedule is constant.
  return evaluate(
    ([step]) => ops.add(scheduleFactor(options, { step: step as Tensor, ...plan }), ops.mul(step as Tensor, 0)),
    steps.map((s) => [s]),
  )
}

const warm = (s: number, warmup: number) => Math.min(1, (s + 1) / warmup)

describe('schedules', () => {
  test.each<[ScheduleOptions, (s: number) => number]>([
    [{ kind: 'constant' }, () => 1],
    [{ kind: 'constant', warmup: 10 }, (s) => warm(s, 10)],
    [{ kind: 'step', milestones: [2, 5] }, (s) => 0.2 ** ((s >= 14 ? 1 : 0) + (s >= 35 ? 1 : 0))],
    [{ kind: 'step', milestones: [1.5], gamma: 0.5, warmup: 4 }, (s) => warm(s, 4) * (s >= Math.round(10.5) ? 0.5 : 1)],
    [{ kind: 'step', milestones: [] }, () => 1],
    [{ kind: 'cosine' }, (s) => 0.5 * (1 + Math.cos((Math.PI * Math.min(s, TOTAL)) / TOTAL))],
    [
      { kind: 'cosine', floor: 0.1, warmup: 5 },
      (s) => warm(s, 5) * (0.1 + 0.9 * 0.5 * (1 + Math.cos((Math.PI * Math.min(s, TOTAL)) / TOTAL))),
    ],
  ])('%j', async (options, want) => {
    const got = await factors(options)
    for (const s of steps) expect(Math.abs((got[s] as number) - want(s)), `step ${s}`).toBeLessThan(1e-6)
  })

  test('JEM++: a warm-up of 1000 steps rises from a thousandth', async () => {
    const [first, second] = await factors({ kind: 'step', milestones: [50, 100, 125], warmup: 1000 })
    expect(first).toBeCloseTo(0.001, 7)
    expect(second).toBeCloseTo(0.002, 7)
  })

  test('an unknown kind is refused with the nearest', () => {
    const options = { kind: 'cosin' } as unknown as ScheduleOptions
    const step = ops.input('s', [], 'float32')
    expect(() => scheduleFactor(options, { step, stepsPerEpoch: 1, totalSteps: 1 })).toThrow(
      /'cosin' is not known. Did you mean 'cosine'/,
    )
  })
})

describe('gradients', () => {
  test('the global norm is over all tensors', async () => {
    const rows = [
      [3, 4, 12],
      [0, 0, 0],
      [1e-3, -2, 0.5],
    ]
    const got = await evaluate(
      ([a, b, c]) => globalNorm([ops.reshape(a as Tensor, [1]), b as Tensor, ops.reshape(c as Tensor, [1, 1])]),
      rows,
    )
    rows.forEach((r, i) => {
      expect(got[i]).toBeCloseTo(Math.hypot(...r), 5)
    })
  })

  test('clipping brings a larger norm down to the limit and leaves a smaller one', async () => {
    const norms = [0, 0.5, 2, 2.5, 1000]
    const got = await evaluate(
      ([n]) => clipFactor(n as Tensor, 2),
      norms.map((n) => [n]),
    )
    norms.forEach((n, i) => {
      expect((got[i] as number) * n).toBeCloseTo(Math.min(n, 2), 4)
    })
    expect(got[0]).toBe(1)
  })

  test('a moving average', async () => {
    const [got] = await evaluate(([a, w]) => movingAverage(a as Tensor, w as Tensor, 0.9), [[2, -1]])
    expect(got).toBeCloseTo(1.7, 6)
  })
})
