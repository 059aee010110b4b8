/** What importOnnx makes of files that are damaged or mean harm: a typed error or a model, at once and in little memory. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { LangevinError } from '../../lib/graph/errors.ts'
import { hostTensor } from '../../lib/graph/host-tensor.ts'
import { buildNetwork } from '../../lib/nn/networks.ts'
import { importOnnx } from '../../lib/onnx/import.ts'
import { HostRandom } from '../../lib/runtime/host-random.ts'
import { type ForeignFile, type ForeignNode, foreignFile, ints, numbers, weights } from './foreign.ts'

/** A graph of x [n, 4], whose last node's first output is the file's. */
function file(nodes: readonly ForeignNode[], more: Partial<ForeignFile> = {}): Uint8Array {
  const last = nodes.at(-1)
  return foreignFile({ inputs: [{ dims: ['n', 4] }], nodes, outputs: [last?.out?.[0] ?? last?.op ?? ''], ...more })
}

async function refusal(bytes: Uint8Array): Promise<string> {
  const error: unknown = await importOnnx(bytes).then(
    () => undefined,
    (e) => e,
  )
  expect(error).toBeInstanceOf(LangevinError)
  expect((error as LangevinError).code).toBe('E_ONNX')
  return (error as LangevinError).message
}

const image = { inputs: [{ dims: ['n', 1, 4, 4] }] } as const
const huge = 2 ** 30

describe('graphs that are none', () => {
  it.each<[string, readonly ForeignNode[]]>([
    [
      'values in a circle',
      [
        { op: 'Identity', in: ['b'], out: ['a'] },
        { op: 'Identity', in: ['a'], out: ['b'] },
      ],
    ],
    [
      'a circle before a Sigmoid',
      [
        { op: 'Add', in: ['a', 'x'], out: ['a'] },
        { op: 'Sigmoid', in: ['a'] },
      ],
    ],
    [
      'a value that is made twice',
      [
        { op: 'Relu', in: ['x'], out: ['a'] },
        { op: 'Tanh', in: ['x'], out: ['a'] },
      ],
    ],
    ['a node that makes the input', [{ op: 'Relu', in: ['x'], out: ['x'] }]],
  ])('%s', async (_, nodes) => {
    expect(await refusal(file(nodes))).toMatch(/makes the value '[abx]', which is (there already|read before)/)
  })

  it('a plan with a circle off the data', () => {
    const config = {
      kind: 'onnx',
      shape: [4],
      opset: 17,
      input: 'x',
      output: 'y',
      answer: 'energy',
      nodes: [
        { op: 'Neg', name: 'first', in: ['b'], out: ['a'] },
        { op: 'Neg', name: 'second', in: ['a'], out: ['b'] },
        { op: 'Add', name: 'sum', in: ['x', 'b'], out: ['y'] },
      ],
      constants: {},
      variables: [],
    }
    expect(() => buildNetwork(config)).toThrow(/depends on itself/)
  })
})

describe('numbers that ask for gigabytes', () => {
  it.each<[string, readonly ForeignNode[], Partial<ForeignFile>]>([
    ['a shape without its data', [{ op: 'Add', in: ['x', 'w'] }], { tensors: { w: numbers([1], [huge]) } }],
    ['a negative dimension', [{ op: 'Add', in: ['x', 'w'] }], { tensors: { w: numbers([1], [-3]) } }],
    [
      'Range',
      [
        { op: 'Range', in: ['a', 'n', 'd'] },
        { op: 'Add', in: ['x', 'Range'] },
      ],
      { tensors: { a: ints([0], []), n: ints([huge], []), d: ints([1], []) } },
    ],
    [
      'ConstantOfShape',
      [
        { op: 'ConstantOfShape', in: ['n'] },
        { op: 'ReduceSum', in: ['ConstantOfShape'] },
        { op: 'Add', in: ['x', 'ReduceSum'] },
      ],
      { tensors: { n: ints([huge]) } },
    ],
    [
      'Expand of a constant',
      [
        { op: 'Expand', in: ['a', 'n'] },
        { op: 'Reshape', in: ['x', 'Expand'] },
      ],
      { tensors: { a: ints([1]), n: ints([huge]) } },
    ],
    [
      'Resize to sizes',
      [{ op: 'Resize', in: ['x', '', '', 'n'] }],
      { ...image, tensors: { n: ints([1, 1, huge, 4]) } },
    ],
    [
      'linear Resize',
      [{ op: 'Resize', in: ['x', '', 'n'], attr: { mode: 'cubic' } }],
      { ...image, tensors: { n: numbers([1, 1, 1e8, 1]) } },
    ],
    ['Pad', [{ op: 'Pad', in: ['x', 'n'], attr: { mode: 'reflect' } }], { tensors: { n: ints([0, huge, 0, huge]) } }],
    ['LRN', [{ op: 'LRN', in: ['x'], attr: { size: huge } }], image],
  ])('%s', async (_, nodes, more) => {
    const before = process.memoryUsage().rss
    await refusal(file(nodes, more))
    expect(process.memoryUsage().rss - before).toBeLessThan(2 ** 28)
  })
})

describe('graphs that are only large', () => {
  const chain = (n: number, op: string, from: string): ForeignNode[] =>
    Array.from({ length: n }, (_, i) => ({ op, in: [i === 0 ? from : `v${i - 1}`], out: [`v${i}`] }))

  it('paths without number before a Sigmoid', async () => {
    const doubling = Array.from({ length: 60 }, (_, i) => ({ op: 'Add', in: [`v${i}`, `v${i}`], out: [`v${i + 1}`] }))
    const nodes = [
      { op: 'MatMul', in: ['x', 'w'], out: ['v0'] },
      ...doubling,
      { op: 'Sigmoid', in: ['v60'], out: ['y'] },
    ]
    const model = await importOnnx(file(nodes, { tensors: { w: weights([4, 1]) } }))
    expect(model.network.classes).toBe(2)
  })

  it('thousands of nodes on the data, and thousands beside them', async () => {
    const length = 4000
    const deep = await importOnnx(file(chain(length, 'Relu', 'x'), { outputs: [`v${length - 1}`] }), {
      kind: 'classifier',
    })
    expect(deep.network.classes).toBe(4)
    const beside = await importOnnx(
      file([...chain(length, 'Neg', 'w'), { op: 'Add', in: ['x', `v${length - 1}`], out: ['y'] }], {
        tensors: { w: weights([4]) },
        outputs: ['y'],
      }),
      { kind: 'classifier' },
    )
    const x = hostTensor(new Float32Array(4), [1, 4])
    const w = new Float32Array(weights([4]).rawData.slice().buffer)
    expect([...(await beside.logits(x)).data]).toEqual([...w])
  })

  it('an error names the first fifty nodes and counts the others', async () => {
    const nodes = Array.from({ length: 60 }, (_, i) => ({
      op: 'LSTM',
      in: [i === 0 ? 'x' : `v${i - 1}`],
      out: [`v${i}`],
    }))
    const message = await refusal(file(nodes))
    expect(message).toContain('60 nodes that are not supported')
    expect(message).toContain('and 10 more')
  })
})

it('names that objects have of themselves are names like others', async () => {
  const nodes = [
    { op: 'Relu', in: ['x'], out: ['constructor'] },
    { op: 'Add', in: ['constructor', '__proto__'], out: ['toString'] },
    { op: 'Sub', in: ['toString', 'hasOwnProperty'], out: ['y'] },
  ]
  const tensors = Object.fromEntries([
    ['__proto__', numbers([1], [])],
    ['hasOwnProperty', numbers([2, 3, 4, 5])],
  ])
  const model = await importOnnx(file(nodes, { tensors }), { kind: 'classifier' })
  const kept = buildNetwork(JSON.parse(JSON.stringify(model.network.config)))
  expect(kept.classes).toBe(4)
  expect([...(await model.logits(hostTensor(Float32Array.of(1, 1, 1, 1), [1, 4]))).data]).toEqual([0, -1, -2, -3])
})

it.each([
  '{"kind":"mlp","inputs":100000,"hidden":[100000,100000]}',
  '{"kind":"mlp","hidden":"x"}',
  '{"kind":"flow"}',
  '{"kind":"onnx","nodes":5}',
  '{"kind":"composition","rule":5}',
  '{"kind":"constructor"}',
  '{"kind":7}',
  'null',
])('a plan in the metadata that is not what the file holds leaves the graph itself: %s', async (plan) => {
  const metadata = { 'langevin.kind': 'model', 'langevin.network': plan }
  const model = await importOnnx(file([{ op: 'Relu', in: ['x'] }], { metadata }))
  expect(model.network.config.kind).toBe('onnx')
})

it.each(['imported-resnet', 'imported-transformer-new'])('bytes of %s changed anywhere', async (name) => {
  const whole = readFileSync(join(import.meta.dirname, '..', 'golden', `${name}.onnx`))
  const random = new HostRandom(3)
  let taken = 0
  for (let i = 0; i < 400; i++) {
    const bytes = Uint8Array.from(whole)
    // Most of a file is weights: half of the changes go to its head, where the graph is.
    for (let k = random.int(3); k >= 0; k--) {
      const at = random.int(2) === 0 ? random.int(bytes.length) : random.int(bytes.length >> 2)
      bytes[at] = random.int(2) === 0 ? random.int(256) : (bytes[at] as number) ^ (1 << random.int(8))
    }
    try {
      await importOnnx(i % 5 === 0 ? bytes.subarray(0, random.int(bytes.length)) : bytes)
      taken++
    } catch (error) {
      expect(error).toBeInstanceOf(LangevinError)
      expect(['E_ONNX', 'E_CONFIG', 'E_SHAPE']).toContain((error as LangevinError).code)
    }
  }
  // Changed weights are weights.
  expect(taken).toBeGreaterThan(20)
})
