/** Facts of the ONNX format that the schema leaves as numbers: element types, attribute types, versions. No graph here. */
/** `TensorProto.DataType` of what we write. */
export const elementType = { float32: 1, uint8: 2, int32: 6, int64: 7, bool: 9 } as const
export type ElementType = keyof typeof elementType

/** `AttributeProto.AttributeType` of what we write. */
export const attributeType = { float: 1, int: 2, string: 3, graph: 5, floats: 6, ints: 7 } as const

/** `TensorProto.DataLocation`: the bytes stand in another file. */
export const externalLocation = 1

/** The oldest IR version that may hold an opset (the table in ONNX's versioning page). */
const irVersions: ReadonlyMap<number, number> = new Map([
  [17, 8],
  [18, 8],
  [19, 9],
  [20, 9],
  [21, 10],
])

/** The opsets we write. 17 is the first with everything the op rules use; random ops exist in runtimes up to 21. */
export const opsets: readonly number[] = [...irVersions.keys()]

/** IR version for an opset; RangeError if we do not write that opset. */
export function irVersionOf(opset: number): number {
  const version = irVersions.get(opset)
  if (version === undefined) {
    throw new RangeError(
      `opset must be an integer from 17 to 21; got ${opset}. Leave it out for 17, which most runtimes take`,
    )
  }
  return version
}

/** Ops that give another result each time: equal nodes of these must stay apart. */
export const randomOps: ReadonlySet<string> = new Set([
  'RandomNormal',
  'RandomNormalLike',
  'RandomUniform',
  'RandomUniformLike',
  'Bernoulli',
  'Multinomial',
])

/** A dimension of a value: fixed, or a name that is bound when the model runs. */
export type Dimension = number | string

/** Element type and dimensions of a value, as a model declares them. */
export interface ValueType {
  readonly dtype: ElementType
  readonly dims: readonly Dimension[]
}

/** Little-endian bytes of int64 numbers. */
export function int64Bytes(values: readonly number[]): Uint8Array {
  const data = BigInt64Array.from(values, (v) => BigInt(v))
  return new Uint8Array(data.buffer)
}

/** The bytes behind a typed array, not copied. All platforms Node runs on that we support are little-endian, as the format is. */
export function bytesOfArray(data: Float32Array | Int32Array | Uint8Array): Uint8Array {
  return new Uint8Array(data.buffer, data.byteOffset, data.byteLength)
}
