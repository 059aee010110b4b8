/** Writes the smallest ONNX models that the feature tests need, byte by byte, so that they depend on no exporter. */

function varint(n: number): number[] {
  return n < 128 ? [n] : [(n & 127) | 128, ...varint(n >>> 7)]
}
const integer = (field: number, value: number): number[] => [...varint(field << 3), ...varint(value)]
const bytes = (field: number, value: number[]): number[] => [
  ...varint((field << 3) | 2),
  ...varint(value.length),
  ...value,
]
const text = (field: number, value: string): number[] => bytes(field, [...new TextEncoder().encode(value)])

/** ValueInfoProto of a float tensor: name, type.tensor_type{elem_type 1, shape{dim{dim_value | dim_param}}}. */
function valueInfo(name: string, dims: (number | string)[]): number[] {
  const shape = dims.flatMap((d) => bytes(1, typeof d === 'number' ? integer(1, d) : text(2, d)))
  return [...text(1, name), ...bytes(2, bytes(1, [...integer(1, 1), ...bytes(2, shape)]))]
}

/** One node of a model: its op, its inputs and its single output. */
export interface TinyNode {
  op: string
  inputs: string[]
  output: string
}

/** A model of float nodes without attributes, opset 17; all outputs have shape [n, d...] given per output. */
export function tinyOnnx(
  inputs: Record<string, (number | string)[]>,
  nodes: TinyNode[],
  outputs: Record<string, (number | string)[]>,
): Uint8Array {
  const graph = [
    ...nodes.flatMap((n) => bytes(1, [...n.inputs.flatMap((i) => text(1, i)), ...text(2, n.output), ...text(4, n.op)])),
    ...text(2, 'tiny'),
    ...Object.entries(inputs).flatMap(([name, dims]) => bytes(11, valueInfo(name, dims))),
    ...Object.entries(outputs).flatMap(([name, dims]) => bytes(12, valueInfo(name, dims))),
  ]
  return Uint8Array.from([...integer(1, 8), ...bytes(7, graph), ...bytes(8, integer(2, 17))])
}
