/** Means of random scalars over many keys, run natively, with their standard errors. */

import { expect } from 'vitest'
import { hostTensor } from '../../lib/graph/host-tensor.ts'
import type { Tensor } from '../../lib/graph/tensor.ts'
import { evaluateReference, type RefArray } from '../../lib/ops/evaluate.ts'
import * as ops from '../../lib/ops/index.ts'
import { setThreads } from '../../lib/runtime/addon.ts'
import { compileGraph } from '../../lib/runtime/compile.ts'
import { testDevice } from '../device.ts'
import { Bench } from './cases.ts'

setThreads(1)

export interface Estimate {
  readonly mean: number
  /** Of the mean. */
  readonly error: number
  /** Of one run. */
  readonly variance: number
}

/** Estimates of scalar (or vector: every element) outputs over `runs` keys. Each run should itself hold many draws. */
export async function estimate(
  build: (b: Bench, key: Tensor) => readonly Tensor[],
  runs = 40,
): Promise<readonly (readonly Estimate[])[]> {
  const bench = new Bench()
  const key = ops.input('key', [4], 'int32')
  const outputs = build(bench, key)
  const inputs = [...bench.feeds.keys()]
  const plan = await compileGraph(
    testDevice,
    [key, ...inputs],
    outputs.map((tensor) => ({ tensor })),
  )
  const values = outputs.map((o) => Array.from({ length: o.size }, () => [] as number[]))
  for (let run = 0; run < runs; run++) {
    const keyValue = hostTensor(Int32Array.from([977, 0, run, 0]), [4])
    const results = await plan.call([keyValue, ...bench.feeds.values()])
    results.forEach((r, o) => {
      r.data.forEach((v, i) => {
        values[o]?.[i]?.push(v)
      })
    })
  }
  plan.dispose()
  return values.map((elements) => elements.map(summary))
}

function summary(draws: readonly number[]): Estimate {
  const mean = draws.reduce((a, b) => a + b, 0) / draws.length
  const variance = draws.reduce((a, b) => a + (b - mean) ** 2, 0) / (draws.length - 1)
  return { mean, variance, error: Math.sqrt(variance / draws.length) }
}

/** The mean is `value` within four standard errors (and `bias`, of an estimator that has one). */
export function expectMean(e: Estimate | undefined, value: number, bias = 0): void {
  expect(e?.error).toBeGreaterThan(0)
  expect(Math.abs((e?.mean ?? Number.NaN) - value)).toBeLessThan(4 * (e?.error ?? 0) + bias)
}

/** A graph's numbers in float64. */
export function exactly(bench: Bench, ...outputs: readonly Tensor[]): number[][] {
  const feeds = new Map<Tensor, RefArray>()
  for (const [t, v] of bench.feeds) feeds.set(t, { shape: v.shape, data: Float64Array.from(v.data) })
  return evaluateReference(outputs, feeds).map((r) => [...r.data])
}
