/** What importOnnx refuses, and what it says: all unsupported operators at once, damaged files, options that do not fit. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { create } from '@bufbuild/protobuf'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { LangevinError } from '../../lib/graph/errors.ts'
import { buildNetwork } from '../../lib/nn/networks.ts'
import { TensorProtoSchema } from '../../lib/onnx/gen/onnx_pb.ts'
import { type ImportOptions, importOnnx } from '../../lib/onnx/import.ts'
import { decodeOnnx, saveOnnx } from '../../lib/onnx/save.ts'
import { type ForeignFile, type ForeignNode, foreignFile, ints, numbers, weights } from './foreign.ts'

let folder = ''
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'langevin-import-'))
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

/** Nodes over x [n, 4]; the last one's output is the file's. */
function file(nodes: readonly ForeignNode[], more: Partial<ForeignFile> = {}): Uint8Array {
  const last = nodes.at(-1)
  return foreignFile({ inputs: [{ dims: ['n', 4] }], nodes, outputs: [last?.out?.[0] ?? last?.op ?? ''], ...more })
}

async function refused(source: string | Uint8Array, options: ImportOptions = {}): Promise<LangevinError> {
  try {
    await importOnnx(source, options)
  } catch (e) {
    return e as LangevinError
  }
  throw new Error('expected a refusal')
}

describe('operators', () => {
  it('that are not supported are named with their nodes, all at once', async () => {
    const bytes = file([
      { op: 'LSTM', in: ['x'], name: 'rnn' },
      { op: 'FusedConv', in: ['LSTM'], domain: 'com.microsoft', name: 'fused' },
      { op: 'Resize', in: ['FusedConv', '', 'x'], name: 'up', attr: { mode: 'lanczos' } },
      { op: 'Relu', in: ['Resize'], attr: { slope: 2 }, name: 'act' },
      { op: 'BatchNormalization', in: ['Relu', 's', 's', 's', 's'], attr: { training_mode: 1 }, name: 'bn' },
      { op: 'Tanhh', in: ['BatchNormalization'], name: 'typo' },
    ])
    const e = await refused(bytes)
    expect(e.code).toBe('E_ONNX')
    expect(e.details.unsupported).toEqual([
      { op: 'LSTM', node: 'rnn', reason: expect.any(String) },
      { op: 'com.microsoft.FusedConv', node: 'fused', reason: 'the operator is not supported' },
      { op: 'Resize', node: 'up', reason: "mode 'lanczos' is not known" },
      { op: 'Relu', node: 'act', reason: 'attribute slope is not understood' },
      { op: 'BatchNormalization', node: 'bn', reason: expect.stringContaining('evaluation mode') },
      { op: 'Tanhh', node: 'typo', reason: 'the operator is not supported (Tanh is)' },
    ])
    for (const word of ['6 nodes', "LSTM at node 'rnn'", "output: 'name of a value'"]) expect(e.message).toContain(word)
    // The same from a config, as a run folder would hold it.
    const config = {
      kind: 'onnx',
      shape: [4],
      opset: 17,
      input: 'x',
      output: 'y',
      answer: 'energy',
      nodes: [{ op: 'LSTM', name: 'rnn', in: ['x'], out: ['y'] }],
      constants: {},
      variables: [],
    }
    expect(() => buildNetwork(config)).toThrow(/LSTM at node 'rnn'/)
  })

  it('with outputs that we do not make are refused only where those are read', async () => {
    const pool = { op: 'MaxPool', in: ['x'], out: ['y', 'where'], attr: { kernel_shape: [2] }, name: 'pool' }
    const inputs = [{ dims: ['n', 2, 4] }]
    await importOnnx(file([pool, { op: 'Flatten', in: ['y'] }], { inputs }))
    const e = await refused(
      file([pool, { op: 'Cast', in: ['where'], attr: { to: 1 } }, { op: 'Flatten', in: ['Cast'] }], { inputs }),
    )
    expect(e.message).toMatch(/MaxPool at node 'pool': its output 'where' is not supported/)
  })

  it.each<[string, readonly ForeignNode[], ForeignFile['tensors'], RegExp]>([
    [
      'a shape that depends on the data',
      [
        { op: 'Cast', in: ['x'], attr: { to: 7 } },
        { op: 'Reshape', in: ['x', 'Cast'], name: 'r' },
      ],
      {},
      /node 'r' \(Reshape\): input 1 \('Cast'\) depends on the data/,
    ],
    [
      'shapes that do not fit',
      [{ op: 'MatMul', in: ['x', 'w'], name: 'fc' }],
      { w: weights([5, 3]) },
      /node 'fc' \(MatMul\): \[matmul\] columns of a \(4\) must equal rows of b \(5\)/,
    ],
    ['an input that is missing', [{ op: 'Add', in: ['x', ''], name: 'a' }], {}, /node 'a' \(Add\): input 1 is missing/],
    ['a value that nothing makes', [{ op: 'Add', in: ['x', 'ghost'] }], {}, /nothing makes the value 'ghost'/],
    [
      'an index beyond the axis',
      [{ op: 'Gather', in: ['x', 'i'], attr: { axis: 1 }, name: 'g' }],
      { i: ints([9]) },
      /node 'g' \(Gather\): index 9 is not one of 4/,
    ],
    [
      'an axis beyond the rank',
      [{ op: 'Concat', in: ['x', 'x'], attr: { axis: 4 }, name: 'c' }],
      {},
      /node 'c' \(Concat\): axis 4 is not one of 2/,
    ],
    [
      'a convolution of a vector',
      [{ op: 'Conv', in: ['x', 'w'], name: 'c' }],
      { w: weights([2, 4, 3]) },
      /node 'c' \(Conv\): takes \[batch, channels, width\]/,
    ],
    [
      'three dimensions',
      [{ op: 'MaxPool', in: ['x'], attr: { kernel_shape: [2, 2, 2] }, name: 'p' }],
      {},
      /windows of 3 dimensions are not supported/,
    ],
    [
      'dropout in training',
      [{ op: 'Dropout', in: ['x', '', 't'], name: 'd' }],
      { t: create(TensorProtoSchema, { dataType: 9, int32Data: [1] }) },
      /training_mode is true/,
    ],
    [
      'an output that is no row',
      [
        { op: 'Unsqueeze', in: ['x', 'a'] },
        { op: 'Concat', in: ['Unsqueeze', 'Unsqueeze'], attr: { axis: 2 }, out: ['z'] },
      ],
      { a: ints([2]) },
      /must be \[batch\], \[batch,1\] or \[batch, classes\]; got \[batch,4,2\]/,
    ],
    [
      'an output that does not depend on x',
      [{ op: 'Neg', in: ['w'] }],
      { w: weights([2, 3]) },
      /output 'Neg' does not depend on input 'x'/,
    ],
  ])('%s', async (_, nodes, tensors, message) => {
    const e = await refused(file(nodes, { ...(tensors && { tensors }) }))
    expect(e.message).toMatch(message)
    expect(['E_ONNX', 'E_SHAPE']).toContain(e.code)
  })
})

describe('files', () => {
  const linear = file([{ op: 'MatMul', in: ['x', 'w'] }], { tensors: { w: weights([4, 300]) } })

  it('that are no ONNX model', async () => {
    for (const bytes of [
      new Uint8Array(0),
      new TextEncoder().encode('hello, I am text'),
      new Uint8Array(100).fill(255),
    ]) {
      const e = await refused(bytes)
      expect(e.code).toBe('E_ONNX')
      expect(e.message).toMatch(/are not an ONNX model/)
    }
    expect((await refused(join(folder, 'nowhere.onnx'))).code).toBe('E_IO')
  })

  it('that are cut short, anywhere', async () => {
    for (let i = 1; i <= 12; i++) {
      const e = await refused(linear.subarray(0, Math.floor((linear.length * i) / 13)))
      expect(e.code, `${i}/13`).toBe('E_ONNX')
    }
    const w = create(TensorProtoSchema, { dataType: 1, dims: [4n, 3n], floatData: [1, 2] })
    expect((await refused(file([{ op: 'MatMul', in: ['x', 'w'] }], { tensors: { w } }))).message).toMatch(
      /tensor 'w': float32\[4,3\] takes 12 numbers; there are 2/,
    )
  })

  it('whose external data are missing, cut, elsewhere or not to be had', async () => {
    const path = join(folder, 'external.onnx')
    const { dataPath } = await saveOnnx(path, linear, { externalData: true })
    const bytes = readFileSync(path)
    expect((await refused(bytes)).message).toMatch(
      /tensor 'w': its numbers stand in the file '.*', which bytes do not have/,
    )
    const data = readFileSync(dataPath as string)
    writeFileSync(dataPath as string, data.subarray(0, 100))
    expect((await refused(path)).message).toMatch(/tensor 'w': needs 4800 bytes at 0 of '.*', which has 100/)
    rmSync(dataPath as string)
    expect((await refused(path)).code).toBe('E_IO')
    const w = create(TensorProtoSchema, {
      dataType: 1,
      dims: [4n, 3n],
      dataLocation: 1,
      externalData: [{ key: 'location', value: '../secret' }],
    })
    const outside = join(folder, 'outside.onnx')
    writeFileSync(outside, file([{ op: 'MatMul', in: ['x', 'w'] }], { tensors: { w } }))
    expect((await refused(outside)).message).toMatch(/'..\/secret'; a model may only name files in its own folder/)
  })

  it('of an old opset, with sparse or strange tensors, or that are samplers', async () => {
    expect((await refused(file([{ op: 'Relu', in: ['x'] }], { opset: 6 }))).message).toMatch(
      /is of opset 6; 7 or later is needed/,
    )
    const sparse = decodeOnnx(linear)
    if (sparse.graph) sparse.graph.$unknown = [{ no: 15, wireType: 2, data: new Uint8Array([0]) }]
    const { encodeOnnx } = await import('../../lib/onnx/exporter.ts')
    expect((await refused(encodeOnnx(sparse))).message).toMatch(/sparse weights/)
    const text = create(TensorProtoSchema, { dataType: 8, dims: [1n] })
    expect((await refused(file([{ op: 'Add', in: ['x', 'w'] }], { tensors: { w: text } }))).message).toMatch(
      /tensor 'w': element type 8/,
    )
    const sampler = file([{ op: 'Relu', in: ['x'] }], { metadata: { 'langevin.kind': 'sampler' } })
    expect((await refused(sampler)).message).toMatch(/holds a sampler, no energy/)
  })
})

describe('options', () => {
  const relu = file([{ op: 'Relu', in: ['x'], out: ['features'] }])

  it.each<[string, Uint8Array, ImportOptions, RegExp]>([
    ['an output there is not', relu, { output: 'featurs' }, /no value 'featurs'. Did you mean 'features'\?/],
    ['an input there is not', relu, { input: 'xx' }, /has no input 'xx'. Did you mean 'x'\?/],
    [
      'a kind there is not',
      relu,
      { kind: 'clasifier' as never },
      /kind 'clasifier' is not known. Did you mean 'classifier'\?/,
    ],
    ['a misspelled option', relu, { outptu: 'x' } as never, /option 'outptu' is not known\. Did you mean 'output'\?/],
    ['an energy of four columns', relu, { kind: 'energy' }, /output 'features' has 4 columns, so it is no energy/],
    [
      'two inputs',
      file([{ op: 'Add', in: ['x', 'y'] }], { inputs: [{ dims: ['n', 4] }, { name: 'y', dims: ['n', 4] }] }),
      {},
      /has 2 inputs \(x, y\); say which with input/,
    ],
    [
      'two inputs that both count',
      file([{ op: 'Add', in: ['x', 'y'] }], { inputs: [{ dims: ['n', 4] }, { name: 'y', dims: ['n', 4] }] }),
      { input: 'x' },
      /also depends on input y/,
    ],
    [
      'words',
      file([{ op: 'Relu', in: ['x'] }], { inputs: [{ dims: ['n', 4], type: 7 }] }),
      {},
      /element type 7; an energy takes real numbers/,
    ],
    [
      'open dimensions',
      file([{ op: 'Relu', in: ['x'] }], { inputs: [{ dims: ['n', 3, 'h', 'w'] }] }),
      {},
      /with \[batch, 3, \?, \?\]; give the shape of one example/,
    ],
    [
      'too many means',
      relu,
      { normalization: { mean: [1, 2, 3] } },
      /normalization has 3 means or stds, but an example is \[4\]/,
    ],
    ['a deviation of 0', relu, { normalization: { std: 0 } }, /positive stds/],
    ['a range upside down', relu, { normalization: { range: [1, 0] } }, /a range \[low, high\]/],
  ])('%s', async (_, bytes, options, message) => {
    expect((await refused(bytes, options)).message).toMatch(message)
  })

  it('a scalar constant is no weight, so numbers are taken', async () => {
    const model = await importOnnx(file([{ op: 'Mul', in: ['x', 'c'] }], { tensors: { c: numbers([2], []) } }))
    expect(model.network.variables).toEqual([])
  })
})
