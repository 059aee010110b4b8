/** A tensor of numbers in JavaScript memory: what goes into and comes out of devices and files. */
import { internalError } from './errors.ts'
import { type DType, type Shape, showShape, sizeOf } from './shape.ts'

export type TypedArray = Float32Array | Int32Array | Uint8Array

/** Row-major numbers with a shape; `data.length` equals the product of the dimensions. */
export interface HostTensor {
  readonly dtype: DType
  readonly shape: Shape
  readonly data: TypedArray
}

/** Wraps row-major data; float32 from Float32Array, int32 from Int32Array, uint8 from Uint8Array unless `dtype` says bool. */
export function hostTensor(data: TypedArray, shape: Shape, dtype?: DType): HostTensor {
  const own = data instanceof Float32Array ? 'float32' : data instanceof Int32Array ? 'int32' : 'uint8'
  const type = dtype ?? own
  if (data.length !== sizeOf(shape)) {
    throw new RangeError(
      `hostTensor: shape ${showShape(shape)} holds ${sizeOf(shape)} elements; data has ${data.length}`,
    )
  }
  if (type !== own && !(type === 'bool' && own === 'uint8')) throw internalError(`${own} data given as ${type}`)
  return { dtype: type, shape, data }
}

/** An array of `n` zeros of the dtype. */
export function zeros(dtype: DType, n: number): TypedArray {
  return dtype === 'float32' ? new Float32Array(n) : dtype === 'int32' ? new Int32Array(n) : new Uint8Array(n)
}
