/** config.pbtxt against the part of Triton's schema that is written down in triton-model-config.proto: by our own reader, and by Python's protobuf. */
import { execFileSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import type { Signature } from '../../lib/export/manifest.ts'
import { isBatchable, type TritonModel, tritonConfig } from '../../lib/export/triton-config.ts'
import { type Parsed, parseText, readSchema } from './triton.ts'

const schema = readSchema(fileURLToPath(new URL('triton-model-config.proto', import.meta.url)))
const parse = (text: string) => parseText(text, schema, 'ModelConfig')

const float = 1
const model: Signature = {
  inputs: [{ name: 'x', elementType: float, dims: ['batch', 1, 8, 8] }],
  outputs: [
    { name: 'logits', elementType: float, dims: ['batch', 10] },
    { name: 'energy', elementType: float, dims: ['batch'] },
  ],
}
const sampler: Signature = {
  inputs: [
    { name: 'y', elementType: 6, dims: ['batch'] },
    { name: 'steps', elementType: 7, dims: [] },
    { name: 'step_size', elementType: float, dims: [] },
  ],
  outputs: [{ name: 'samples', elementType: float, dims: ['batch', 1, 8, 8] }],
}
const parameters = { 'langevin.name': 'a "quoted" \\ name\nof two lines, é', 'langevin.input': '{"range":[0,16]}' }
const classifier: TritonModel = {
  name: 'digits',
  signature: model,
  labels: { output: 'logits', file: 'labels.txt' },
  parameters,
}
const chain: TritonModel = {
  name: 'digits_sampler',
  signature: sampler,
  warmup: new Map([['steps', 'steps']]),
  parameters: {},
}

test('the table has the schema’s fields with their numbers', () => {
  expect(schema.messages.get('ModelConfig')?.get('max_batch_size')).toEqual({
    type: 'int32',
    repeated: false,
    number: 4,
  })
  expect(schema.enums.get('ModelInstanceGroup.Kind')?.get('KIND_CPU')).toBe(2)
  expect(schema.messages.get('ModelWarmup')?.get('inputs')).toMatchObject({ mapOf: 'Input', number: 3 })
})

describe('a model whose tensors all have the batch first', () => {
  const config = parse(tritonConfig(classifier, { maxBatch: 32, queueDelay: 500, device: 'cpu', instances: 2 }))

  test('is batched: dims are of one row, and what has one number a row is [1] for clients', () => {
    expect(isBatchable(model)).toBe(true)
    expect(config).toMatchObject({
      name: 'digits',
      platform: 'onnxruntime_onnx',
      max_batch_size: 32,
      input: [{ name: 'x', data_type: 'TYPE_FP32', dims: [1, 8, 8] }],
      dynamic_batching: { preferred_batch_size: [8, 16, 32], max_queue_delay_microseconds: 500 },
      instance_group: [{ kind: 'KIND_CPU', count: 2 }],
      version_policy: { latest: { num_versions: 1 } },
    })
    expect(config.output).toEqual([
      { name: 'logits', data_type: 'TYPE_FP32', dims: [10], label_filename: 'labels.txt' },
      { name: 'energy', data_type: 'TYPE_FP32', dims: [1], reshape: { shape: [] } },
    ])
  })

  test('warms up at one row and at the most, and keeps any text in its parameters', () => {
    const warm = config.model_warmup as readonly Parsed[]
    expect(warm.map((w) => w.batch_size)).toEqual([1, 32])
    expect(warm[0]?.inputs).toEqual({ x: { data_type: 'TYPE_FP32', dims: [1, 8, 8], zero_data: true } })
    const texts = Object.entries(config.parameters as Record<string, Parsed>).map(([k, v]) => [k, v.string_value])
    expect(Object.fromEntries(texts)).toEqual(parameters)
  })
})

test('a sampler, which takes scalars, is not batched: axes of any length are -1', () => {
  const config = parse(tritonConfig(chain))
  expect(isBatchable(sampler)).toBe(false)
  expect(config).toMatchObject({
    max_batch_size: 0,
    input: [
      { name: 'y', data_type: 'TYPE_INT32', dims: [-1] },
      { name: 'steps', data_type: 'TYPE_INT64', dims: [1], reshape: { shape: [] } },
      { name: 'step_size', data_type: 'TYPE_FP32', dims: [1], reshape: { shape: [] } },
    ],
    output: [{ name: 'samples', dims: [-1, 1, 8, 8] }],
    instance_group: [{ kind: 'KIND_AUTO', count: 1 }],
  })
  expect(config.dynamic_batching).toBeUndefined()
  expect(config.model_warmup).toEqual([
    {
      name: 'batch_1',
      batch_size: 1,
      inputs: {
        y: { data_type: 'TYPE_INT32', dims: [1], zero_data: true },
        steps: { data_type: 'TYPE_INT64', dims: [1], input_data_file: 'steps' },
        step_size: { data_type: 'TYPE_FP32', dims: [1], zero_data: true },
      },
    },
  ])
})

test.each([
  ['max_batchsize: 4', /no field 'max_batchsize'/],
  ['instance_group { kind: KIND_TPU }', /'KIND_TPU' is no Kind/],
  ['input { dims: 1.5 }', /'1.5' is no int64/],
  ['name: "a" name: "b"', /not repeated/],
  ['model_warmup { inputs { key: "x" value { zero_data: true random_data: true } } }', /input_data_type is set twice/],
])('the reader refuses %s', (text, message) => {
  expect(() => parse(text)).toThrow(message)
})

test('what cannot be is refused by name', () => {
  const strange = { ...model, inputs: [{ name: 'x', elementType: 16, dims: ['batch', 2] }] }
  expect(() => tritonConfig({ ...classifier, signature: strange })).toThrow(/'x' has ONNX element type 16/)
  expect(() => tritonConfig(classifier, { maxBatch: 0 })).toThrow(/maxBatch must be an integer ≥ 1; got 0/)
  expect(() => tritonConfig(classifier, { queueDelay: -1 })).toThrow(/queueDelay .* got -1/)
})

const python = process.env.LANGEVIN_PYTHON
const checked = `
import json, sys
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory, text_format
given = json.load(sys.stdin)
file = json_format.ParseDict(given['file'], descriptor_pb2.FileDescriptorProto())
pool = descriptor_pool.DescriptorPool()
pool.Add(file)
Config = message_factory.GetMessageClass(pool.FindMessageTypeByName('inference.ModelConfig'))
print(json.dumps([json_format.MessageToDict(text_format.Parse(t, Config()), preserving_proto_field_name=True) for t in given['texts']]))
`

/** The table as a FileDescriptorProto in JSON. */
function descriptor(): object {
  const scalars: Record<string, string> = {
    ...{ string: 'TYPE_STRING', bool: 'TYPE_BOOL', int32: 'TYPE_INT32', int64: 'TYPE_INT64' },
    ...{ uint32: 'TYPE_UINT32', uint64: 'TYPE_UINT64' },
  }
  const typeOf = (scope: string, type: string) => {
    if (type in scalars) return { type: scalars[type] }
    const full = [`${scope}.${type}`, type].find((n) => schema.messages.has(n) || schema.enums.has(n)) as string
    return { type: schema.enums.has(full) ? 'TYPE_ENUM' : 'TYPE_MESSAGE', typeName: `.inference.${full}` }
  }
  const camel = (name: string) => name.replace(/(?:^|_)([a-z])/g, (_, c: string) => c.toUpperCase())
  const inside = (scope: string) => (name: string) =>
    name.startsWith(scope) && !name.slice(scope.length).includes('.') && name.length > scope.length
  const enumsOf = (scope: string) =>
    [...schema.enums.keys()].filter(inside(scope)).map((name) => ({
      name: name.slice(scope.length),
      value: [...(schema.enums.get(name) ?? [])].map(([n, number]) => ({ name: n, number })),
    }))
  const messagesOf = (scope: string): object[] =>
    [...schema.messages.keys()].filter(inside(scope)).map((name) => {
      const fields = [...(schema.messages.get(name) ?? [])]
      const oneofs = [...new Set(fields.flatMap(([, f]) => f.oneof ?? []))]
      const entry = (n: string) => `${camel(n)}Entry`
      const maps = fields.filter(([, f]) => f.mapOf !== undefined)
      return {
        name: name.slice(scope.length),
        field: fields.map(([n, f]) => ({
          name: n,
          number: f.number,
          label: f.repeated || f.mapOf ? 'LABEL_REPEATED' : 'LABEL_OPTIONAL',
          ...(f.mapOf ? { type: 'TYPE_MESSAGE', typeName: `.inference.${name}.${entry(n)}` } : typeOf(name, f.type)),
          ...(f.oneof && { oneofIndex: oneofs.indexOf(f.oneof) }),
        })),
        oneofDecl: oneofs.map((n) => ({ name: n })),
        enumType: enumsOf(`${name}.`),
        nestedType: [
          ...messagesOf(`${name}.`),
          ...maps.map(([n, f]) => ({
            name: entry(n),
            options: { mapEntry: true },
            field: [
              { name: 'key', number: 1, label: 'LABEL_OPTIONAL', type: 'TYPE_STRING' },
              { name: 'value', number: 2, label: 'LABEL_OPTIONAL', ...typeOf(name, f.mapOf as string) },
            ],
          })),
        ],
      }
    })
  return {
    name: 'model_config.proto',
    package: 'inference',
    syntax: 'proto3',
    messageType: messagesOf(''),
    enumType: enumsOf(''),
  }
}

test.skipIf(!python)('Python’s protobuf reads it as we do (needs LANGEVIN_PYTHON)', () => {
  const texts = [tritonConfig(classifier), tritonConfig(chain, { device: 'gpu' })]
  const input = JSON.stringify({ file: descriptor(), texts })
  const read = JSON.parse(execFileSync(python as string, ['-c', checked], { input, encoding: 'utf8' })) as Parsed[]
  // JSON of protobuf leaves out defaults and empty lists, and writes int64 as text.
  const plain = (v: unknown): unknown => {
    if (Array.isArray(v)) return v.map(plain)
    if (typeof v === 'object' && v !== null)
      return Object.fromEntries(
        Object.entries(v).flatMap(([k, w]) =>
          w === 0 || w === 'KIND_AUTO' || (Array.isArray(w) && w.length === 0) ? [] : [[k, plain(w)]],
        ),
      )
    return typeof v === 'string' && /^-?\d+$/.test(v) ? Number(v) : v
  }
  expect(read.map(plain)).toEqual(texts.map((t) => plain(parse(t))))
  expect(read[0]).toMatchObject({
    max_batch_size: 64,
    parameters: { 'langevin.name': { string_value: parameters['langevin.name'] } },
  })
})
