/** Foreign ONNX files for the tests of the import, written by hand: nodes, weights, an input and outputs. */
import { create, toBinary } from '@bufbuild/protobuf'
import type { HostTensor } from '../../lib/graph/host-tensor.ts'
import {
  type AttributeProto,
  AttributeProtoSchema,
  ModelProtoSchema,
  type TensorProto,
  TensorProtoSchema,
} from '../../lib/onnx/gen/onnx_pb.ts'
import { pattern } from '../golden/pattern.ts'

/** An attribute: an integer, a list of integers, text, `{ float }`, `{ floats }`, or a tensor. */
export type Attr =
  | number
  | readonly number[]
  | string
  | { readonly float: number }
  | { readonly floats: readonly number[] }
  | TensorProto

export interface ForeignNode {
  readonly op: string
  readonly in: readonly string[]
  readonly out?: readonly string[]
  readonly attr?: Readonly<Record<string, Attr>>
  readonly name?: string
  readonly domain?: string
}

export interface ForeignFile {
  readonly opset?: number
  /** Name, dims (a string is open) and element type of the inputs; default `x` float32. */
  readonly inputs: readonly {
    readonly name?: string
    readonly dims: readonly (number | string)[] | undefined
    readonly type?: number
  }[]
  readonly nodes: readonly ForeignNode[]
  readonly tensors?: Readonly<Record<string, TensorProto>>
  readonly outputs: readonly string[]
  readonly metadata?: Readonly<Record<string, string>>
}

export function floats(t: HostTensor): TensorProto {
  const { data } = t
  return create(TensorProtoSchema, {
    dataType: 1,
    dims: t.shape.map(BigInt),
    rawData: new Uint8Array(data.buffer, data.byteOffset, data.byteLength),
  })
}

/** Float32 numbers by formula; see test/golden/pattern.ts. */
export function weights(shape: readonly number[], seed = 1, scale = 1, offset = 0): TensorProto {
  return floats(pattern(shape, seed, scale, offset))
}

/** A float32 scalar or list. */
export function numbers(values: readonly number[], shape: readonly number[] = [values.length]): TensorProto {
  return create(TensorProtoSchema, { dataType: 1, dims: shape.map(BigInt), floatData: [...values] })
}

export function ints(values: readonly number[], shape: readonly number[] = [values.length]): TensorProto {
  return create(TensorProtoSchema, { dataType: 7, dims: shape.map(BigInt), int64Data: values.map((v) => BigInt(v)) })
}

export function bools(values: readonly boolean[], shape: readonly number[] = [values.length]): TensorProto {
  return create(TensorProtoSchema, { dataType: 9, dims: shape.map(BigInt), int32Data: values.map(Number) })
}

function attribute(name: string, v: Attr): AttributeProto {
  if (typeof v === 'number') return create(AttributeProtoSchema, { name, type: 2, i: BigInt(v) })
  if (typeof v === 'string') return create(AttributeProtoSchema, { name, type: 3, s: new TextEncoder().encode(v) })
  if (Array.isArray(v)) return create(AttributeProtoSchema, { name, type: 7, ints: (v as number[]).map(BigInt) })
  if ('float' in v) return create(AttributeProtoSchema, { name, type: 1, f: v.float })
  if ('floats' in v) return create(AttributeProtoSchema, { name, type: 6, floats: [...v.floats] })
  return create(AttributeProtoSchema, { name, type: 4, t: v as TensorProto })
}

/** The file's bytes. A node's output is called like its op where nothing is said. */
export function foreignFile(file: ForeignFile): Uint8Array {
  const dim = (d: number | string) => ({
    value:
      typeof d === 'number' ? { case: 'dimValue' as const, value: BigInt(d) } : { case: 'dimParam' as const, value: d },
  })
  const { opset = 17 } = file
  return toBinary(
    ModelProtoSchema,
    create(ModelProtoSchema, {
      irVersion: 8n,
      opsetImport: [{ domain: '', version: BigInt(opset) }],
      metadataProps: Object.entries(file.metadata ?? {}).map(([key, value]) => ({ key, value })),
      graph: {
        name: 'foreign',
        node: file.nodes.map((n, i) => ({
          name: n.name ?? `${n.op}_${i}`,
          opType: n.op,
          domain: n.domain ?? '',
          input: [...n.in],
          output: [...(n.out ?? [n.op])],
          attribute: Object.entries(n.attr ?? {}).map(([k, v]) => attribute(k, v)),
        })),
        initializer: Object.entries(file.tensors ?? {}).map(([name, t]) => ({ ...t, name })),
        input: file.inputs.map(({ name = 'x', dims, type = 1 }) => ({
          name,
          type: {
            value: {
              case: 'tensorType' as const,
              value: { elemType: type, ...(dims && { shape: { dim: dims.map(dim) } }) },
            },
          },
        })),
        output: file.outputs.map((name) => ({
          name,
          type: { value: { case: 'tensorType' as const, value: { elemType: 1 } } },
        })),
      },
    }),
  )
}
