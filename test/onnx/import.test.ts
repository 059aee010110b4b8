/** What importOnnx makes of files: inputs, outputs and heads, normalisation, channels last, types and external data, files of our own. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { create } from '@bufbuild/protobuf'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type HostTensor, hostTensor } from '../../lib/graph/host-tensor.ts'
import { FlowModel } from '../../lib/nn/flow-model.ts'
import { splineFlow } from '../../lib/nn/flows.ts'
import { defineEnergy, wideResNet } from '../../lib/nn/models.ts'
import { exportOnnx } from '../../lib/onnx/export-model.ts'
import { TensorProtoSchema } from '../../lib/onnx/gen/onnx_pb.ts'
import { importOnnx } from '../../lib/onnx/import.ts'
import { saveOnnx } from '../../lib/onnx/save.ts'
import { sample } from '../../lib/samplers/sample.ts'
import { pattern, relativeError } from '../golden/pattern.ts'
import { type ForeignFile, type ForeignNode, foreignFile, ints, numbers, weights } from './foreign.ts'
import { runOnnx } from './helpers.ts'

let folder = ''
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'langevin-import-'))
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

/** A hidden layer and a head of `columns`, with more nodes behind it. */
function head(columns: number, behind: readonly ForeignNode[] = [], more: Partial<ForeignFile> = {}): Uint8Array {
  const last = behind.at(-1)
  return foreignFile({
    inputs: [{ dims: ['batch', 4] }],
    nodes: [
      { op: 'Gemm', in: ['x', 'fc1.weight', 'fc1.bias'], out: ['h'], attr: { transB: 1 } },
      { op: 'Tanh', in: ['h'] },
      { op: 'Gemm', in: ['Tanh', 'fc2.weight', 'fc2.bias'], out: ['z'], attr: { transB: 1 } },
      ...behind,
    ],
    tensors: {
      'fc1.weight': weights([6, 4]),
      'fc1.bias': weights([6], 2),
      'fc2.weight': weights([columns, 6], 3),
      'fc2.bias': weights([columns], 4),
    },
    outputs: [last?.out?.[0] ?? last?.op ?? 'z'],
    ...more,
  })
}

const x = pattern([5, 4], 11)

/** A value of the file in ONNX Runtime. */
async function runtimeValue(bytes: Uint8Array, name: string, input: HostTensor = x): Promise<number[]> {
  const [out] = await runOnnx(bytes, { x: input })
  return Array.from(out?.get(name)?.data ?? [])
}

describe('the answer', () => {
  it('of several columns is logits, with a Softmax left out', async () => {
    const want = await runtimeValue(head(3), 'z')
    for (const op of ['Softmax', 'LogSoftmax']) {
      const notes: string[] = []
      const model = await importOnnx(head(3, [{ op, in: ['z'] }]), { onNote: (n) => notes.push(n) })
      expect(relativeError((await model.logits(x)).data, want)).toBeLessThan(1e-5)
      expect(notes.join()).toContain(`${op} '${op}_3' at the end was left out`)
      expect(model.network.config.notes).toEqual(notes)
    }
    const kept = await importOnnx(head(3, [{ op: 'Softmax', in: ['z'] }]), { dropSoftmax: false })
    const p = (await kept.logits(x)).data
    expect(p[0] as number).toBeCloseTo(
      Math.exp(want[0] as number) / want.slice(0, 3).reduce((s, v) => s + Math.exp(v), 0),
      5,
    )
  })

  it('of one column is an energy, of [batch] too', async () => {
    const want = await runtimeValue(head(1), 'z')
    const model = await importOnnx(head(1))
    expect(model.network.classes).toBe(0)
    expect(relativeError(await model.energy(x), want)).toBeLessThan(1e-5)
    const density = await importOnnx(head(1), { kind: 'logDensity' })
    expect(
      relativeError(
        await density.energy(x),
        want.map((v) => -v),
      ),
    ).toBeLessThan(1e-5)
    const row = await importOnnx(
      head(1, [{ op: 'ReduceSum', in: ['z'], attr: { keepdims: 0, axes: [1] } }], { opset: 11 }),
    )
    expect(relativeError(await row.energy(x), want)).toBeLessThan(1e-5)
  })

  it('of one column behind a Sigmoid is a classifier of two', async () => {
    const z = await runtimeValue(head(1), 'z')
    const model = await importOnnx(head(1, [{ op: 'Sigmoid', in: ['z'] }]))
    expect(model.network.classes).toBe(2)
    expect(
      relativeError(
        (await model.logits(x)).data,
        z.flatMap((v) => [0, v]),
      ),
    ).toBeLessThan(1e-5)
    expect(
      relativeError(
        await model.energy(x),
        z.map((v) => -Math.log1p(Math.exp(v))),
      ),
    ).toBeLessThan(1e-5)
    const several = await importOnnx(head(3, [{ op: 'Sigmoid', in: ['z'] }]))
    expect(Math.max(...(await several.logits(x)).data)).toBeLessThan(1)
  })

  it('may be any value of the graph, or have axes of 1 behind', async () => {
    const model = await importOnnx(head(3), { output: 'h' })
    expect(model.network.classes).toBe(6)
    expect(model.network.variables.map((v) => v.name)).toEqual(['fc1.weight', 'fc1.bias'])
    const shaped = await importOnnx(head(3, [{ op: 'Unsqueeze', in: ['z'], attr: { axes: [2, 3] } }], { opset: 11 }))
    expect(relativeError((await shaped.logits(x)).data, await runtimeValue(head(3), 'z'))).toBeLessThan(1e-5)
  })
})

describe('the input', () => {
  it('follows from x by range, means and deviations, in the first stage', async () => {
    const [mean, std] = [
      [0.5, 0.4, 0.3],
      [0.2, 0.25, 0.3],
    ] as const
    const bytes = foreignFile({
      inputs: [{ dims: ['batch', 3, 5, 5] }],
      nodes: [
        { op: 'Conv', in: ['x', 'w'] },
        { op: 'Relu', in: ['Conv'] },
        { op: 'GlobalAveragePool', in: ['Relu'] },
        { op: 'Flatten', in: ['GlobalAveragePool'] },
      ],
      tensors: { w: weights([4, 3, 3, 3]) },
      outputs: ['Flatten'],
    })
    const model = await importOnnx(bytes, { normalization: { mean, std, range: [0, 1] } })
    const ours = pattern([2, 3, 5, 5], 3)
    const theirs = Float32Array.from(ours.data, (v, i) => {
      const c = Math.floor(i / 25) % 3
      return ((v + 1) / 2 - (mean[c] as number)) / (std[c] as number)
    })
    const want = await runtimeValue(bytes, 'Flatten', hostTensor(theirs, ours.shape))
    expect(relativeError((await model.logits(ours)).data, want)).toBeLessThan(1e-5)
    expect(model.network.firstStagesAffine(1)).toBe(true)
    expect(model.network.stages.map((t) => t.layer.kind)).toEqual(['conv', 'relu', 'globalaveragepool'])
    const pixels = await importOnnx(bytes, { normalization: { range: [0, 255] } })
    const raw = hostTensor(
      Float32Array.from(ours.data, (v) => ((v + 1) / 2) * 255),
      ours.shape,
    )
    expect(relativeError((await pixels.logits(ours)).data, await runtimeValue(bytes, 'Flatten', raw))).toBeLessThan(
      1e-5,
    )
  })

  it('may be open where the shape is given', async () => {
    const bytes = head(3, [], { inputs: [{ dims: undefined }] })
    expect((await importOnnx(bytes, { shape: [4] })).network.shape).toEqual([4])
    await expect(importOnnx(bytes)).rejects.toThrow(/input 'x' with no shape; give the shape of one example/)
  })

  it('of a file with its channels last stays so; names lose what checkpoints cannot hold', async () => {
    const prefix = 'StatefulPartitionedCall/model'
    const bytes = foreignFile({
      opset: 15,
      inputs: [{ name: 'image:0', dims: ['unk__0', 8, 6, 2] }],
      nodes: [
        { op: 'Transpose', in: ['image:0'], out: ['t'], attr: { perm: [0, 3, 1, 2] } },
        {
          op: 'Conv',
          in: ['t', `${prefix}/conv/Conv2D/ReadVariableOp:0`],
          out: ['c'],
          attr: { auto_pad: 'SAME_UPPER', strides: [2, 2] },
        },
        { op: 'Add', in: ['c', `${prefix}/conv/BiasAdd:0`], out: ['b'] },
        {
          op: 'BatchNormalization',
          in: [
            'b',
            `${prefix}/bn/gamma`,
            `${prefix}/bn/beta`,
            `${prefix}/bn/moving_mean`,
            `${prefix}/bn/moving_variance`,
          ],
          out: ['n'],
          attr: { epsilon: { float: 1e-3 } },
        },
        { op: 'Relu', in: ['n'] },
        { op: 'MaxPool', in: ['Relu'], attr: { kernel_shape: [2, 2], strides: [2, 2] } },
        { op: 'Transpose', in: ['MaxPool'], out: ['back'], attr: { perm: [0, 2, 3, 1] } },
        { op: 'Reshape', in: ['back', 'flat'], out: ['r'] },
        { op: 'MatMul', in: ['r', `${prefix}/dense/MatMul/ReadVariableOp:0`], out: ['m'] },
        { op: 'Add', in: ['m', `${prefix}/dense/BiasAdd/ReadVariableOp:0`], out: ['logits'] },
        { op: 'Softmax', in: ['logits'], out: ['dense'] },
      ],
      tensors: {
        [`${prefix}/conv/Conv2D/ReadVariableOp:0`]: weights([5, 2, 3, 3]),
        [`${prefix}/conv/BiasAdd:0`]: weights([1, 5, 1, 1], 2),
        [`${prefix}/bn/gamma`]: weights([5], 3, 0.3, 1),
        [`${prefix}/bn/beta`]: weights([5], 4),
        [`${prefix}/bn/moving_mean`]: weights([5], 5),
        [`${prefix}/bn/moving_variance`]: weights([5], 6, 0.4, 1),
        flat: ints([-1, 10]),
        [`${prefix}/dense/MatMul/ReadVariableOp:0`]: weights([10, 3], 7),
        [`${prefix}/dense/BiasAdd/ReadVariableOp:0`]: weights([3], 8),
      },
      outputs: ['dense'],
    })
    const model = await importOnnx(bytes)
    expect(model.network.shape).toEqual([8, 6, 2])
    const input = pattern([3, 8, 6, 2], 9)
    const logits = (await model.logits(input)).data
    const p = Array.from({ length: 3 }, (_, i) => Array.from(logits.subarray(3 * i, 3 * i + 3), Math.exp)).flatMap(
      (e) => e.map((v) => v / e.reduce((a, b) => a + b)),
    )
    const [out] = await runOnnx(bytes, { 'image:0': input })
    expect(relativeError(p, Array.from(out?.get('dense')?.data ?? []))).toBeLessThan(1e-5)
    expect(model.network.variables.map((v) => [v.name.replace('StatefulPartitionedCall.model.', ''), v.role])).toEqual([
      ['conv.Conv2D.ReadVariableOp.0', 'parameter'],
      ['conv.BiasAdd.0', 'parameter'],
      ['bn.gamma', 'parameter'],
      ['bn.beta', 'parameter'],
      ['bn.moving_mean', 'statistic'],
      ['bn.moving_variance', 'statistic'],
      ['dense.MatMul.ReadVariableOp.0', 'parameter'],
      ['dense.BiasAdd.ReadVariableOp.0', 'parameter'],
    ])
    // Transpose, convolution and bias are one affine stage, what PYLD differentiates.
    expect(model.network.stages[0]?.layer.affine).toBe(true)
    expect(model.network.hasFeatures).toBe(true)
    const { draws } = await sample(model, {
      sampler: { kind: 'pyld', outer: 2, inner: 2 },
      chains: 3,
      draws: 1,
      start: { kind: 'uniform' },
    })
    expect(draws.shape.slice(-3)).toEqual([8, 6, 2])
    expect(draws.data.every(Number.isFinite)).toBe(true)
  })
})

describe('tensors', () => {
  it('of 16 and 64 bits become float32, which a note says', async () => {
    const halves = create(TensorProtoSchema, {
      dataType: 10,
      dims: [2n, 4n],
      int32Data: [0x3c00, 0xb800, 0, 0x0001, 0x3555, 0x4000, 0xc000, 0x7bff],
    })
    const doubles = new Float64Array([0.5, -0.25])
    const data = new Uint8Array([16, ...new Uint8Array(doubles.buffer)])
    const bias = create(TensorProtoSchema, { dataType: 11, dims: [2n] })
    bias.$unknown = [{ no: 10, wireType: 2, data }]
    const bytes = foreignFile({
      inputs: [{ dims: ['n', 4] }],
      nodes: [{ op: 'Gemm', in: ['x', 'w', 'b'], attr: { transB: 1 } }],
      tensors: { w: halves, b: bias },
      outputs: ['Gemm'],
    })
    const notes: string[] = []
    const model = await importOnnx(bytes, { onNote: (n) => notes.push(n) })
    expect(Array.from(model.value('w').data)).toEqual([1, -0.5, 0, 2 ** -24, 0.333251953125, 2, -2, 65504])
    expect(Array.from(model.value('b').data)).toEqual([0.5, -0.25])
    expect(notes).toEqual(['1 float16 tensor was converted to float32', '1 float64 tensor was converted to float32'])
  })

  it('may stand in a file beside the model', async () => {
    const bytes = head(64)
    const path = join(folder, 'external.onnx')
    const { dataPath } = await saveOnnx(path, bytes, { externalData: true })
    expect(dataPath).toBeDefined()
    const model = await importOnnx(path)
    expect(relativeError((await model.logits(x)).data, await runtimeValue(bytes, 'z'))).toBeLessThan(1e-5)
  })

  it('that prepare the input are not trained, nor are single numbers and large tables', async () => {
    const good = foreignFile({
      inputs: [{ dims: ['n', 12, 6] }],
      nodes: [
        { op: 'Sub', in: ['x', 'mean'] },
        { op: 'Add', in: ['Sub', 'table'] },
        { op: 'Flatten', in: ['Add'] },
        { op: 'MatMul', in: ['Flatten', 'weight'] },
        { op: 'Mul', in: ['MatMul', 'scale'] },
        { op: 'Div', in: ['Mul', 'gain'] },
      ],
      tensors: {
        mean: weights([12, 1]),
        table: weights([12, 6]),
        weight: weights([72, 3]),
        scale: numbers([2], []),
        gain: weights([3], 2, 0.1, 1),
      },
      outputs: ['Div'],
    })
    const model = await importOnnx(good)
    expect(model.network.variables.map((v) => [v.name, v.role])).toEqual([
      ['table', 'statistic'],
      ['weight', 'parameter'],
      ['gain', 'parameter'],
    ])
    const input = pattern([2, 12, 6], 4)
    expect(relativeError((await model.logits(input)).data, await runtimeValue(good, 'Div', input))).toBeLessThan(1e-5)
  })
})

describe('files of our own', () => {
  it('give back their network, with its batch norms', async () => {
    const model = wideResNet({ depth: 10, width: 1, channels: 1, size: 8, classes: 3, seed: 5 })
    const path = join(folder, 'own.onnx')
    await exportOnnx(model, path, { verify: false })
    const again = await importOnnx(path)
    expect(again.network.config).toEqual(model.network.config)
    for (const [name, v] of model.stateDict())
      expect(Array.from(again.value(name).data), name).toEqual(Array.from(v.data))
    // Asked for the graph, the same numbers come from it.
    const graph = await importOnnx(path, { output: 'logits' })
    expect(graph.network.config.kind).toBe('onnx')
    const input = pattern([3, 1, 8, 8], 2)
    expect(relativeError((await graph.logits(input)).data, Array.from((await model.logits(input)).data))).toBeLessThan(
      1e-5,
    )
    expect(
      graph.network.variables
        .filter((v) => v.role === 'statistic')
        .map((v) => v.name)
        .sort(),
    ).toEqual(
      model.network.variables
        .filter((v) => v.role === 'statistic')
        .map((v) => v.name)
        .sort(),
    )
  })

  it('of flows are flows, and of networks written in code are graphs', async () => {
    const flow = new FlowModel(splineFlow({ inputs: 2, layers: 2, hidden: [8] }))
    const path = join(folder, 'flow.onnx')
    await exportOnnx(flow, path, { verify: false, outputs: ['log_prob', 'energy'] })
    const again = await importOnnx(path)
    expect(again).toBeInstanceOf(FlowModel)
    const at2 = pattern([3, 2], 5)
    expect(await again.energy(at2)).toEqual(await flow.energy(at2))
    const ring = defineEnergy({ shape: [2] }, (t) => t.square().sum(-1).sqrt().sub(2).square().mul(8))
    const at = join(folder, 'ring.onnx')
    await exportOnnx(ring, at, { verify: false })
    const energy = await importOnnx(at)
    const points = pattern([4, 2], 6, 2)
    expect(relativeError(await energy.energy(points), Array.from(await ring.energy(points)))).toBeLessThan(1e-5)
    expect(relativeError((await energy.score(points)).data, Array.from((await ring.score(points)).data))).toBeLessThan(
      1e-5,
    )
  })

  it('of imported graphs agree with them, and import again', async () => {
    const model = await importOnnx(join(import.meta.dirname, '../golden/imported-resnet.onnx'))
    const path = join(folder, 'again.onnx')
    const { verification } = await exportOnnx(model, path)
    expect(verification?.ok).toBe(true)
    expect(verification?.outputs.map((o) => o.name)).toEqual(expect.arrayContaining(['logits', 'energy', 'score']))
    const again = await importOnnx(path)
    expect(again.network.config).toEqual(JSON.parse(JSON.stringify(model.network.config)))
    const input = pattern([2, 3, 12, 12], 8)
    expect((await again.logits(input)).data).toEqual((await model.logits(input)).data)
    const halved = join(folder, 'half.onnx')
    await exportOnnx(model, halved, { precision: 'float16', outputs: ['logits'], verify: false })
    const half = await importOnnx(halved)
    expect(relativeError((await half.logits(input)).data, Array.from((await model.logits(input)).data))).toBeLessThan(
      5e-3,
    )
  })
})
