/** Where values enter a graph: inputs, constants, filled tensors; and the promotion of plain numbers to scalars. */
import { dtypeError, internalError } from '../graph/errors.ts'
import type { TypedArray } from '../graph/host-tensor.ts'
import { checkShape, type DType, type Shape, showShape, sizeOf } from '../graph/shape.ts'
import { Tensor } from '../graph/tensor.ts'
import { defineOp } from './define.ts'
import { broadcast } from './shape.ts'

/** What builders take for an operand: a tensor, or a number that becomes a scalar of the other operand's dtype. */
export type TensorLike = Tensor | number

const inputOp = defineOp<{ readonly name: string; readonly shape: Shape; readonly dtype: DType }>({
  name: 'input',
  kind: 'source',
  infer: (_, { shape, dtype }) => ({ shape, dtype }),
  gradient: 'none',
  reference: () => {
    throw internalError('an input has no reference; the evaluator feeds it')
  },
  onnx: { unsupported: 'graph inputs are declared by the exporter' },
})

const constantOp = defineOp<{ readonly shape: Shape; readonly dtype: DType }>({
  name: 'constant',
  kind: 'source',
  infer: (_, { shape, dtype }) => ({ shape, dtype }),
  gradient: 'none',
  reference: () => {
    throw internalError('a constant has no reference; the evaluator reads its data')
  },
  onnx: { unsupported: 'constants become initializers, written by the exporter' },
})

/** A value that is given when the graph runs: an argument or a parameter. */
export function input(name: string, shape: Shape, dtype: DType = 'float32'): Tensor {
  return inputOp([], { name, shape: [...shape], dtype }).named(name)
}

/**
 * A tensor of known contents, row-major. The dtype follows the array (Float32Array and plain numbers: float32, Int32Array: int32,
 * Uint8Array: uint8) unless given. One number fills the shape (default: a scalar).
 * @throws RangeError when `data` does not hold exactly the shape's number of elements
 */
export function constant(data: TypedArray | readonly number[] | number, shape: Shape = [], dtype?: DType): Tensor {
  if (typeof data === 'number') return broadcast(scalar(data, dtype), shape)
  const own = data instanceof Int32Array ? 'int32' : data instanceof Uint8Array ? 'uint8' : 'float32'
  const type = dtype ?? own
  checkShape('constant', shape)
  if (data.length !== sizeOf(shape)) {
    throw new RangeError(
      `[constant] shape ${showShape(shape)} holds ${sizeOf(shape)} elements; data has ${data.length}`,
    )
  }
  return new Tensor(constantOp, [], { shape: [...shape], dtype: type }, shape, type, { data: store(data, type) })
}

/** A private copy in the dtype's array type. */
function store(data: ArrayLike<number>, dtype: DType): TypedArray {
  if (dtype === 'float32') return Float32Array.from(data)
  const integers = dtype === 'int32' ? Int32Array.from(data) : Uint8Array.from(data)
  for (let i = 0; i < integers.length; i++) {
    if (integers[i] !== data[i] || (dtype === 'bool' && (integers[i] ?? 0) > 1)) {
      throw dtypeError('constant', `element ${i} is ${data[i]}, which ${dtype} cannot hold`, { value: data[i], dtype })
    }
  }
  return integers
}

/** A rank-0 constant. */
export function scalar(value: number, dtype: DType = 'float32'): Tensor {
  return constant([value], [], dtype)
}

/** A tensor unchanged; a number as a scalar of `dtype` (default float32). */
export function lift(x: TensorLike, dtype: DType = 'float32'): Tensor {
  return typeof x === 'number' ? scalar(x, dtype) : x
}

/** Both operands as tensors; a number takes the dtype of the other operand (int32 or bool beside such a tensor, else float32). */
export function liftPair(a: TensorLike, b: TensorLike): [Tensor, Tensor] {
  const dtypeFor = (other: TensorLike): DType => (typeof other === 'number' ? 'float32' : other.dtype)
  return [lift(a, dtypeFor(b)), lift(b, dtypeFor(a))]
}

/** A tensor of one repeated value. */
export function full(shape: Shape, value: number, dtype: DType = 'float32'): Tensor {
  return broadcast(scalar(value, dtype), shape)
}

export function zeros(shape: Shape, dtype: DType = 'float32'): Tensor {
  return full(shape, 0, dtype)
}

export function ones(shape: Shape, dtype: DType = 'float32'): Tensor {
  return full(shape, 1, dtype)
}

export function zerosLike(x: Tensor): Tensor {
  return zeros(x.shape, x.dtype)
}

export function onesLike(x: Tensor): Tensor {
  return ones(x.shape, x.dtype)
}
