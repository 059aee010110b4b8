/** A foreign classifier with batch norms goes on as an energy: JEM++ fine-tunes it, its run is opened again without the file, sampled and evaluated. */
import { rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { networkModel } from '../../lib/cli/network.ts'
import { networkSchema } from '../../lib/nn/schema.ts'
import { importOnnx } from '../../lib/onnx/import.ts'
import { Jem, JemPlusPlus } from '../../lib/trainers/jem-trainers.ts'
import { openRun } from '../../lib/trainers/run.ts'
import { evaluate } from '../../lib/trainers/run-folder.ts'
import { blobs, fitAll, folder, small, smallPlusPlus, someDigits } from '../trainers/tiny.ts'
import { foreignFile, weights } from './foreign.ts'

const bn = (name: string, c: number, seed: number) => ({
  [`${name}.weight`]: weights([c], seed, 0.2, 1),
  [`${name}.bias`]: weights([c], seed + 1, 0.1),
  [`${name}.running_mean`]: weights([c], seed + 2, 0.1),
  [`${name}.running_var`]: weights([c], seed + 3, 0.2, 1),
})

/** A classifier of digits [1,8,8] with pixels in [0, 1], as if exported elsewhere. */
const digitsFile = foreignFile({
  inputs: [{ name: 'pixels', dims: [1, 1, 8, 8] }],
  nodes: [
    { op: 'Conv', in: ['pixels', 'conv.weight'], attr: { pads: [1, 1, 1, 1], strides: [2, 2] } },
    { op: 'BatchNormalization', in: ['Conv', 'bn.weight', 'bn.bias', 'bn.running_mean', 'bn.running_var'] },
    { op: 'Relu', in: ['BatchNormalization'] },
    { op: 'Flatten', in: ['Relu'] },
    { op: 'Gemm', in: ['Flatten', 'fc.weight', 'fc.bias'], attr: { transB: 1 } },
    { op: 'Softmax', in: ['Gemm'] },
  ],
  tensors: {
    'conv.weight': weights([8, 1, 3, 3], 1, 0.4),
    ...bn('bn', 8, 2),
    'fc.weight': weights([10, 128], 8, 0.1),
    'fc.bias': weights([10], 9, 0.1),
  },
  outputs: ['Softmax'],
})

describe('fine-tuning', () => {
  it('by JEM++ lowers the loss, moves the statistics, and its run is opened again', async () => {
    const data = await someDigits(200)
    const model = await importOnnx(digitsFile, { normalization: { range: [0, 1] } })
    const before = Array.from(model.value('bn.running_mean').data)
    const trainer = new JemPlusPlus(model, {
      ...smallPlusPlus,
      batch: 32,
      optimizer: { kind: 'adam', learningRate: 0.01 },
      schedule: { kind: 'constant' },
    })
    const out = folder()
    const { rows } = await fitAll(trainer, data, { steps: 60, reportEvery: 15, out })
    expect(rows.at(-1)?.crossEntropy as number).toBeLessThan(0.5 * (rows[0]?.crossEntropy as number))
    await trainer.model.dispose()
    const run = await openRun(out)
    expect(run.model.network.config.kind).toBe('onnx')
    const x = data.take(20).normalized()
    expect((await run.model.logits(x)).data).toEqual((await trainer.model.logits(x)).data)
    expect(Array.from(run.model.value('bn.running_mean').data)).not.toEqual(before)
    const draws = await run.sample({ count: 4 })
    expect(draws.shape).toEqual([4, 1, 8, 8])
    const { accuracy, ood } = await evaluate(run, data, { ood: ['uniform'], samples: 0 })
    expect(accuracy).toBeGreaterThan(0.5)
    expect(ood.uniform?.log_px?.auroc).toBeGreaterThan(0)
  })

  it('begins from a file that a configuration names', async () => {
    const base = folder()
    writeFileSync(join(base, 'digits.onnx'), digitsFile)
    const data = await someDigits(20)
    const network = networkSchema.parse({ kind: 'onnx', file: 'digits.onnx', normalization: { range: [0, 1] } })
    const options = { classifier: true, base, seed: 1, device: 'cpu' as const }
    const model = await networkModel(network, data, options)
    const same = await importOnnx(digitsFile, { normalization: { range: [0, 1] } })
    const x = data.normalized()
    expect((await model.logits(x)).data).toEqual((await same.logits(x)).data)
    await expect(networkModel(network, blobs(), options)).rejects.toThrow(
      /takes examples of \[1,8,8\]; data 'blobs' has \[2\]/,
    )
    expect(networkSchema.safeParse({ kind: 'onnx' }).success).toBe(false)
    rmSync(join(base, 'digits.onnx'))
    await expect(networkModel(network, data, options)).rejects.toMatchObject({ code: 'E_IO' })
  })

  it('keeps large tables as they are', async () => {
    const bytes = foreignFile({
      inputs: [{ dims: ['n', 2] }],
      nodes: [
        { op: 'MatMul', in: ['x', 'basis.running_mean'], out: ['projected'] },
        { op: 'Tanh', in: ['projected'] },
        { op: 'MatMul', in: ['Tanh', 'weight'] },
      ],
      tensors: { 'basis.running_mean': weights([2, 50], 1, 2), weight: weights([50, 2], 2, 0.1) },
      outputs: ['MatMul'],
    })
    const model = await importOnnx(bytes)
    const table = Array.from(model.value('basis.running_mean').data)
    const trained = Array.from(model.value('weight').data)
    const trainer = new Jem(model, small)
    await fitAll(trainer, blobs(), { steps: 5 })
    expect(Array.from(trainer.model.value('basis.running_mean').data)).toEqual(table)
    expect(Array.from(trainer.model.value('weight').data)).not.toEqual(trained)
  })
})
