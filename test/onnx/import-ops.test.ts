/** Every operator that importOnnx takes, as a file of its own: the import's numbers against ONNX Runtime's. */
import { describe, expect, it } from 'vitest'
import { importedOps } from '../../lib/nn/imported/rules.ts'
import { importOnnx } from '../../lib/onnx/import.ts'
import { compareOutputs } from '../../lib/onnx/verify.ts'
import { pattern } from '../golden/pattern.ts'
import { foreignFile, ints } from './foreign.ts'
import { runOnnx } from './helpers.ts'
import type { ImportCase } from './import-case.ts'
import { importCases } from './import-cases.ts'

/** The case with its result flattened to rows, which are then the logits. */
function fileOf({ shape, nodes, tensors = {}, opset }: ImportCase): Uint8Array {
  const last = nodes.at(-1)
  const value = last?.out?.[0] ?? last?.op ?? ''
  return foreignFile({
    inputs: [{ dims: ['batch', ...shape] }],
    nodes: [...nodes, { op: 'Reshape', in: [value, 'flat'], out: ['rows'] }],
    tensors: { ...tensors, flat: ints([0, -1]) },
    outputs: ['rows'],
    ...(opset && { opset }),
  })
}

/** The number of a single row is also its logit beside 0. */
function own(rows: { readonly shape: readonly number[]; readonly data: ArrayLike<number> }, columns: number): number[] {
  return Array.from(rows.data).filter((_, i) => columns > 1 || i % 2 === 1)
}

describe('operators', () => {
  it.each(importCases.map((c) => [c.name, c] as const))('%s', async (_, c) => {
    const bytes = fileOf(c)
    const model = await importOnnx(bytes, { kind: 'classifier', dropSoftmax: false })
    for (const batch of [1, 3]) {
      const x = pattern([batch, ...c.shape], 7 + batch)
      const [want] = await runOnnx(bytes, { x })
      const expected = want?.get('rows')
      if (expected === undefined) throw new Error('ONNX Runtime gave nothing')
      const columns = expected.data.length / batch
      const got = own(await model.logits(x), columns)
      const { maxRel } = compareOutputs({ ...expected, data: Float32Array.from(got) }, expected)
      expect(maxRel, `batch ${batch}`).toBeLessThan(2e-5)
    }
    await model.dispose()
  })

  it('has a case for each of them', () => {
    const covered = new Set(importCases.flatMap((c) => c.nodes.map((n) => n.op)))
    // Swish has no kernel in ONNX Runtime yet.
    expect(importedOps.filter((op) => !covered.has(op) && op !== 'Swish')).toEqual([])
  })
})
