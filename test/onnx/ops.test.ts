/**
 * Every op alone: the shared case table (test/ops/cases.ts) and a few cases that matter to ONNX alone (op-cases.ts), exported at fixed shapes,
 * run in ONNX Runtime at the lowest and the highest opset, and compared with the float64 references. Free batches are in dynamic.test.ts.
 */
import { describe, expect, it } from 'vitest'
import type { HostTensor } from '../../lib/graph/host-tensor.ts'
import { topologicalOrder } from '../../lib/graph/tensor.ts'
import { exportGraph, type Trace } from '../../lib/onnx/exporter.ts'
import { allOps, type RefArray } from '../../lib/ops/define.ts'
import { evaluateReference } from '../../lib/ops/evaluate.ts'
import { buildCase, cases, mismatch, type OpCase } from '../ops/cases.ts'
import { checkWithPython, python, runOnnx } from './helpers.ts'
import { onnxCases } from './op-cases.ts'

function trace(c: OpCase): Trace {
  const { inputs, output } = buildCase(c)
  return {
    inputs: inputs.map((tensor, i) => ({ name: `x${i}`, tensor })),
    outputs: [{ name: 'y', tensor: output }],
    parameters: new Map(),
  }
}

const exported = (c: OpCase, opset: number): Uint8Array => exportGraph({ build: () => trace(c), opset })
const all: readonly OpCase[] = [...cases, ...onnxCases]
const exportable = all.filter((c) => c.onnx === undefined)

describe('ONNX Runtime agrees with the float64 reference', () => {
  it.each(exportable.map((c) => [c.name, c] as const))('%s', async (_, c) => {
    const { output, feeds, data } = buildCase(c)
    const [want] = evaluateReference([output], feeds) as [RefArray]
    const named = Object.fromEntries(data.map((d, i) => [`x${i}`, d]))
    for (const opset of [c.minOpset ?? 17, 21]) {
      const [result] = await runOnnx(exported(c, opset), named)
      const got = result?.get('y') as HostTensor
      expect(got.dtype).toBe(output.dtype)
      expect(got.shape).toEqual(output.shape)
      expect(mismatch(c, output.dtype, got.data, want.data), `opset ${opset}`).toBeUndefined()
    }
  })

  it.skipIf(python === undefined)('and the full ONNX checker passes at every opset', () => {
    const models = exportable.flatMap((c) => {
      return [17, 18, 19, 20, 21].filter((o) => o >= (c.minOpset ?? 17)).map((o) => exported(c, o))
    })
    checkWithPython(models)
  })
})

it('every op is compared here or says why it has no ONNX form', () => {
  const compared = new Set(exportable.flatMap((c) => topologicalOrder([buildCase(c).output]).map((t) => t.op.name)))
  const missing = allOps().filter((d) => d.kind !== 'source' && typeof d.onnx === 'function' && !compared.has(d.name))
  expect(missing.map((d) => d.name)).toEqual([])
  for (const d of allOps()) {
    if (typeof d.onnx !== 'function') expect(d.onnx.unsupported.length).toBeGreaterThan(10)
  }
})
