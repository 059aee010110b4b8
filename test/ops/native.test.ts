/**
 * The case table in native code, on the device that is tested: every case compiled and run, its values and the first and second derivatives against the
 * references.
 */

import { describe, expect, it } from 'vitest'
import { grad } from '../../lib/autodiff/index.ts'
import type { Tensor } from '../../lib/graph/tensor.ts'
import { evaluateReference, type RefArray } from '../../lib/ops/evaluate.ts'
import * as ops from '../../lib/ops/index.ts'
import { compileGraph } from '../../lib/runtime/compile.ts'
import { testDevice, tolerance } from '../device.ts'
import { type BuiltCase, buildCase, cases, mismatch, type OpCase } from './cases.ts'

/** Compiles the outputs into one plan and compares each, scaled by its largest element (at least 1) when `relative`. */
async function compare(c: OpCase, { inputs, data, feeds }: BuiltCase, outputs: readonly Tensor[], relative: boolean) {
  const plan = await compileGraph(
    testDevice,
    inputs,
    outputs.map((tensor) => ({ tensor })),
  )
  const got = await plan.call(data)
  const want = evaluateReference(outputs, feeds)
  outputs.forEach((o, k) => {
    const [g, w] = [got[k], want[k]] as [(typeof got)[0], RefArray]
    expect([g.shape, g.dtype]).toEqual([o.shape, o.dtype])
    const scale = relative ? w.data.reduce((m, v) => Math.max(m, Math.abs(v)), 1) : 1
    const scaled = (values: ArrayLike<number>) => (scale === 1 ? values : Array.from(values, (v) => v / scale))
    const here = { ...c, tolerance: tolerance(c.tolerance, 4e-6) }
    expect(mismatch(here, o.dtype, scaled(g.data), scaled(w.data)), `output ${k}`).toBeUndefined()
  })
}

describe('values', () => {
  it.each(cases.map((c) => [c.name, c] as const))('%s', async (_, c) => {
    const built = buildCase(c)
    await compare(c, built, [built.output], false)
  })
})

describe('first and second derivatives', () => {
  const smooth = cases.filter((c) => (c.differentiable?.length ?? 0) > 0)
  it.each(smooth.map((c) => [c.name, c] as const))('%s', async (_, c) => {
    const built = buildCase(c)
    const wrt = (c.differentiable ?? []).map((i) => built.inputs[i] as Tensor)
    const first = grad(ops.sum(ops.square(built.output)), wrt)
    const second = grad(
      first.map((g) => ops.sum(ops.square(g))).reduce((a, b) => ops.add(a, b)),
      wrt,
    )
    const float32 = { ...c, tolerance: 1e-4, reason: 'float32 through three passes, relative to the largest element' }
    await compare(float32, built, [...first, ...second], true)
  })
})
