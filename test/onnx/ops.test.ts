/**
 * Every op alone: exported at fixed shapes, run in ONNX Runtime and compared with its float64 reference, special values included.
 * The last test asserts that no op is missing here. Free batches are in dynamic.test.ts.
 */
import { describe, expect, it } from 'vitest'
import type { HostTensor } from '../../lib/graph/host-tensor.ts'
import { type Tensor, topologicalOrder } from '../../lib/graph/tensor.ts'
import { exportGraph, type Trace } from '../../lib/onnx/exporter.ts'
import { compareOutputs } from '../../lib/onnx/verify.ts'
import { allOps } from '../../lib/ops/define.ts'
import { input } from '../../lib/ops/source.ts'
import { checkWithPython, evaluate, python, runOnnx } from './helpers.ts'
import { cases, type OpCase } from './op-cases.ts'

function trace({ inputs, f }: OpCase): Trace {
  const tensors = inputs.map((t, i) => input(`x${i}`, t.shape, t.dtype))
  return {
    inputs: tensors.map((tensor, i) => ({ name: `x${i}`, tensor })),
    outputs: [{ name: 'y', tensor: f(...tensors) }],
    parameters: new Map(),
  }
}

const exported = (c: OpCase, opset = c.opset): Uint8Array => exportGraph({ build: () => trace(c), opset })

/** Largest |a - b| / max(|b|, floor), element by element; infinite where special values differ. */
function elementError(got: HostTensor, want: HostTensor, floor: number): number {
  let worst = 0
  for (let i = 0; i < want.data.length; i++) {
    const [a, b] = [got.data[i] as number, want.data[i] as number]
    if (Object.is(a, b) || a === b) continue
    worst = Math.max(
      worst,
      Number.isFinite(a - b) ? Math.abs(a - b) / Math.max(Math.abs(b), floor) : Number.POSITIVE_INFINITY,
    )
  }
  return worst
}

describe('ONNX Runtime agrees with the float64 reference', () => {
  for (const c of cases) {
    it(c.name, async () => {
      const { inputs, outputs } = trace(c)
      const given = new Map(inputs.map(({ tensor }, i) => [tensor, c.inputs[i] as HostTensor]))
      const [want] = evaluate([outputs[0]?.tensor as Tensor], given) as [HostTensor]
      const feeds = Object.fromEntries(c.inputs.map((t, i) => [`x${i}`, t]))
      for (const opset of c.opset === 17 ? [17, 18, 21] : [c.opset, 21]) {
        const [result] = await runOnnx(exported(c, opset), feeds)
        const got = result?.get('y') as HostTensor
        expect(got.dtype).toBe(want.dtype)
        expect(got.shape).toEqual(want.shape)
        const error = c.floor === undefined ? compareOutputs(got, want).maxRel : elementError(got, want, c.floor)
        expect(
          error,
          `opset ${opset}: got ${got.data.slice(0, 30)}; want ${want.data.slice(0, 30)}`,
        ).toBeLessThanOrEqual(c.tolerance)
      }
    })
  }

  it.skipIf(python === undefined)('and the full ONNX checker passes', () => {
    checkWithPython(cases.flatMap((c) => [c.opset, 19, 20, 21].filter((o) => o >= c.opset).map((o) => exported(c, o))))
  })
})

it('every op is tested here or says why it has no ONNX form', () => {
  const tested = new Set(
    cases.flatMap((c) => topologicalOrder(trace(c).outputs.map((o) => o.tensor)).map((t) => t.op.name)),
  )
  const sources = ['input', 'constant']
  const missing = allOps().filter(
    (d) => typeof d.onnx === 'function' && !tested.has(d.name) && !sources.includes(d.name),
  )
  expect(missing.map((d) => d.name)).toEqual([])
  for (const d of allOps()) {
    if (typeof d.onnx !== 'function') expect(d.onnx.unsupported.length).toBeGreaterThan(10)
  }
})
