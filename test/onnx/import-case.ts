/** What a case of the import's operator tests is, and the short form of one with a single node. */
import type { TensorProto } from '../../lib/onnx/gen/onnx_pb.ts'
import type { Attr, ForeignNode } from './foreign.ts'

export interface ImportCase {
  readonly name: string
  /** Shape of one example. */
  readonly shape: readonly number[]
  /** The last node's first output is compared; `x` is the input. */
  readonly nodes: readonly ForeignNode[]
  readonly tensors?: Readonly<Record<string, TensorProto>>
  readonly opset?: number
}

type Attrs = Readonly<Record<string, Attr>>

/** A node over x and tensors t1, t2, ... */
export function one(
  op: string,
  shape: readonly number[],
  {
    attr = {},
    with: more = [],
    opset,
  }: { readonly attr?: Attrs; readonly with?: readonly (TensorProto | null)[]; readonly opset?: number } = {},
): ImportCase {
  const names = more.map((t, i) => (t === null ? '' : `t${i + 1}`))
  const tensors = Object.fromEntries(more.flatMap((t, i) => (t === null ? [] : [[`t${i + 1}`, t]])))
  const shown = Object.entries(attr).map(
    ([k, v]) => `${k}=${typeof v === 'object' && 'float' in v ? v.float : Array.isArray(v) ? `[${v}]` : v}`,
  )
  return {
    name: [
      op,
      ...shown,
      ...(opset ? [`opset ${opset}`] : []),
      `[${shape}]`,
      ...(more.length ? [`${more.length} more`] : []),
    ].join(' '),
    shape,
    nodes: [{ op, in: ['x', ...names], attr }],
    tensors,
    ...(opset && { opset }),
  }
}

export const f = (float: number): Attr => ({ float })
export const image = [3, 7, 6] as const
