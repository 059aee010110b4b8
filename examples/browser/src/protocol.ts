/** What the page and its worker tell each other. */

export type TensorData = Float32Array | Int32Array | BigInt64Array

/** A tensor as it travels: float32, int32 or int64 by the kind of its array. */
export interface PlainTensor {
  readonly data: TensorData
  readonly dims: readonly number[]
}

export type Feeds = Readonly<Record<string, PlainTensor>>
export type Outputs = Readonly<Record<string, PlainTensor>>

export interface RunRequest {
  readonly id: number
  /** Address of the ONNX file; sessions are kept by it. */
  readonly url: string
  readonly feeds: Feeds
  /** Names of the outputs wanted; all if left out. */
  readonly wanted?: readonly string[] | undefined
}

export type RunReply =
  | { readonly id: number; readonly outputs: Outputs; readonly milliseconds: number }
  | { readonly id: number; readonly error: string }

export const float32 = (data: ArrayLike<number>, dims: readonly number[]): PlainTensor => ({
  data: data instanceof Float32Array ? data : Float32Array.from(data),
  dims,
})

export const int32 = (data: ArrayLike<number>, dims: readonly number[]): PlainTensor => ({
  data: Int32Array.from(data),
  dims,
})

/** A scalar of type int64. */
export const int64 = (value: number | bigint): PlainTensor => ({ data: BigInt64Array.of(BigInt(value)), dims: [] })

/** A scalar of type float32. */
export const scalar = (value: number): PlainTensor => ({ data: Float32Array.of(value), dims: [] })
