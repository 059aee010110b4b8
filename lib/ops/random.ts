/**
 * Random draws as pure functions of a key (int32 [4]: seed low, seed high, step low, step high) and a stream number.
 * The same key and stream give the same numbers on any number of threads and on any device. Nothing flows back through them.
 */
import { shapeError } from '../graph/errors.ts'
import { checkShape, type Shape, showShape, sizeOf, type TensorType } from '../graph/shape.ts'
import type { Tensor } from '../graph/tensor.ts'
import { expectInteger, operand } from './check.ts'
import { defineOp, type OnnxRule, type RefArray } from './define.ts'
import { add, cast, eq, lt, mul, sub } from './elementwise.ts'
import { argmax } from './gather.ts'
import { one } from './onnx.ts'
import { normalsOf, shuffled, uniformOf, wordsOf } from './philox.ts'
import { onnxNormals, onnxRandomInt, onnxUniforms } from './philox-onnx.ts'
import { at, foldRef, refArray } from './ref.ts'
import { slice } from './shape.ts'
import { constant } from './source.ts'
import { log, neg } from './unary.ts'

type DrawAttrs = { readonly shape: Shape; readonly stream: number }

function expectKey(op: string, inputs: readonly TensorType[], i: number): void {
  const key = operand(op, inputs, i, 'int32')
  if (showShape(key.shape) !== '[4]') {
    throw shapeError(op, `the key must be int32[4] (see seedKey and nextKey); got ${showShape(key.shape)}`, {
      shape: key.shape,
    })
  }
}

function expectStream(op: string, stream: number): void {
  expectInteger(op, 'stream', stream, 0)
  if (stream >= 2 ** 32) throw new RangeError(`[${op}] stream must be below 2^32; got ${stream}`)
}

function drawOp(
  name: string,
  values: (key: RefArray, stream: number, n: number) => Float64Array,
  onnx: OnnxRule<DrawAttrs>,
) {
  return defineOp<DrawAttrs>({
    name,
    kind: 'structured',
    infer: (inputs, { shape, stream }) => {
      expectKey(name, inputs, 0)
      expectStream(name, stream)
      checkShape(name, shape)
      return { shape, dtype: 'float32' }
    },
    gradient: 'none',
    reference: (inputs, { shape, stream }) => refArray(shape, values(at(inputs, 0), stream, sizeOf(shape))),
    onnx,
  })
}

const normalOp = drawOp('normal', (key, stream, n) => normalsOf(key.data, stream, n), onnxNormals)
const uniformOp = drawOp(
  'uniform',
  (key, stream, n) => Float64Array.from(wordsOf(key.data, stream, n), uniformOf),
  onnxUniforms,
)

/** Independent standard normals, float32. Draws that must differ within a step take different streams (default 0). */
export function normal(key: Tensor, shape: Shape, stream = 0): Tensor {
  return normalOp([key], { shape: [...shape], stream })
}

/** Independent uniforms in the open interval (0, 1), float32, multiples of 2^-24. */
export function uniform(key: Tensor, shape: Shape, stream = 0): Tensor {
  return uniformOp([key], { shape: [...shape], stream })
}

const randomIntOp = defineOp<DrawAttrs & { readonly bound: number }>({
  name: 'random_int',
  kind: 'structured',
  infer: (inputs, { shape, stream, bound }) => {
    expectKey('random_int', inputs, 0)
    expectStream('random_int', stream)
    expectInteger('random_int', 'bound', bound, 1)
    if (bound >= 2 ** 31) throw new RangeError(`[random_int] bound must be below 2^31; got ${bound}`)
    checkShape('random_int', shape)
    return { shape, dtype: 'int32' }
  },
  gradient: 'none',
  reference: (inputs, { shape, stream, bound }) => {
    const words = wordsOf(at(inputs, 0).data, stream, sizeOf(shape))
    const drawn = Array.from(words, (w) => Number((BigInt(w) * BigInt(bound)) >> 32n))
    return refArray(shape, drawn)
  },
  onnx: onnxRandomInt,
})

/** Independent integers, uniform in 0..bound-1 (to within bound/2^32), int32. */
export function randomInt(
  key: Tensor,
  shape: Shape,
  { bound, stream = 0 }: { readonly bound: number; readonly stream?: number },
): Tensor {
  return randomIntOp([key], { shape: [...shape], stream, bound })
}

const shuffleIndexOp = defineOp<{ readonly n: number; readonly count: number; readonly stream: number }>({
  name: 'shuffle_index',
  kind: 'structured',
  infer: (inputs, { n, count, stream }) => {
    expectKey('shuffle_index', inputs, 0)
    expectStream('shuffle_index', stream)
    expectInteger('shuffle_index', 'n', n, 1)
    expectInteger('shuffle_index', 'count', count, 1)
    if (count > n || n >= 2 ** 31) {
      throw new RangeError(`[shuffle_index] needs count ≤ n < 2^31; got count ${count}, n ${n}`)
    }
    return { shape: [count], dtype: 'int32' }
  },
  gradient: 'none',
  reference: (inputs, { n, count, stream }) => {
    const [low, high, stepLow, stepHigh] = Array.from(at(inputs, 0).data, (v) => v >>> 0) as [
      number,
      number,
      number,
      number,
    ]
    const step = BigInt(stepLow) + (BigInt(stepHigh) << 32n)
    const perEpoch = BigInt(Math.floor(n / count))
    const first = Number(step % perEpoch) * count
    const epoch = Number(BigInt.asUintN(32, step / perEpoch))
    return refArray(
      [count],
      Array.from({ length: count }, (_, i) => shuffled(first + i, n, epoch, stream, [low, high])),
    )
  },
  onnx: { unsupported: 'the order of training data has no place in an exported model' },
})

/**
 * The rows of this step's batch: int32 [count] of 0..n-1. The key's step walks through a fresh permutation of the rows an epoch
 * (floor(n / count) steps), without repeats within it.
 */
export function shuffleIndex(
  key: Tensor,
  { n, count, stream = 0 }: { readonly n: number; readonly count: number; readonly stream?: number },
): Tensor {
  return shuffleIndexOp([key], { n, count, stream })
}

const bernoulliOp = defineOp<{ readonly stream: number }>({
  name: 'bernoulli',
  kind: 'composite',
  gradient: 'none',
  infer: (inputs, { stream }) => {
    expectKey('bernoulli', inputs, 0)
    expectStream('bernoulli', stream)
    return { shape: operand('bernoulli', inputs, 1, 'float32').shape, dtype: 'bool' }
  },
  decompose: (inputs, { stream }) => {
    const [key, p] = [at(inputs, 0), at(inputs, 1)]
    return lt(uniform(key, p.shape, stream), p)
  },
  reference: (inputs, { stream }, output) => {
    const words = wordsOf(at(inputs, 0).data, stream, sizeOf(output.shape))
    return refArray(
      output.shape,
      Array.from(words, (w, i) => (uniformOf(w) < at(at(inputs, 1).data, i) ? 1 : 0)),
    )
  },
  onnx: (c) =>
    one(c, 'Less', [onnxUniforms({ ...c, attrs: { shape: c.output.shape, stream: c.attrs.stream } }), at(c.inputs, 1)]),
})

/** True with probability p, independently: bool of p's shape. */
export function bernoulli(key: Tensor, p: Tensor, stream = 0): Tensor {
  return bernoulliOp([key, p], { stream })
}

const categoricalOp = defineOp<{ readonly stream: number }>({
  name: 'categorical',
  kind: 'composite',
  gradient: 'none',
  infer: (inputs, { stream }) => {
    expectKey('categorical', inputs, 0)
    expectStream('categorical', stream)
    const logits = operand('categorical', inputs, 1, 'float32')
    if (logits.shape.length === 0 || at(logits.shape, logits.shape.length - 1) === 0) {
      throw shapeError('categorical', `logits need a last axis of classes; got ${showShape(logits.shape)}`)
    }
    return { shape: logits.shape.slice(0, -1), dtype: 'int32' }
  },
  // Gumbel-max: argmax(logits - log(-log u)) is distributed as softmax(logits).
  decompose: (inputs, { stream }) => {
    const [key, logits] = [at(inputs, 0), at(inputs, 1)]
    return argmax(sub(logits, log(neg(log(uniform(key, logits.shape, stream))))), -1)
  },
  reference: (inputs, { stream }, output) => {
    const [key, logits] = [at(inputs, 0), at(inputs, 1)]
    const words = wordsOf(key.data, stream, logits.data.length)
    const noisy = Float64Array.from(logits.data, (v, i) => v - Math.log(-Math.log(uniformOf(at(words, i)))))
    const classes = at(logits.shape, logits.shape.length - 1)
    const last = logits.shape.length - 1
    const best = foldRef({ shape: logits.shape, data: noisy }, [last], output.shape, Number.NEGATIVE_INFINITY, Math.max)
    return refArray(
      output.shape,
      Array.from(best.data, (v, row) => noisy.subarray(row * classes, (row + 1) * classes).indexOf(v)),
    )
  },
  onnx: (c) => {
    const shape = at(c.types, 1).shape
    const u = onnxUniforms({ ...c, attrs: { shape, stream: c.attrs.stream } })
    const gumbel = one(c, 'Log', [one(c, 'Neg', [one(c, 'Log', [u])])])
    const best = one(c, 'ArgMax', [one(c, 'Sub', [at(c.inputs, 1), gumbel])], {
      axis: { int: shape.length - 1 },
      keepdims: { int: 0 },
    })
    return c.emit.cast(best, 'int32')
  },
})

/** A class of each row with probability softmax(logits): logits [..., classes] to int32 [...]. */
export function categorical(key: Tensor, logits: Tensor, stream = 0): Tensor {
  return categoricalOp([key, logits], { stream })
}

/** The key of the next step: the 64-bit step counter plus one. */
export function nextKey(key: Tensor): Tensor {
  const carry = cast(eq(slice(key, [2], [3]), -1), 'int32')
  const unit = (i: number) =>
    constant(
      Int32Array.from([0, 1, 2, 3], (j) => (i === j ? 1 : 0)),
      [4],
    )
  return add(add(key, unit(2)), mul(unit(3), carry))
}

/**
 * The contents of a key: seed (0 ≤ seed < 2^64, a bigint above 2^53) and step.
 * @returns Int32Array [4] to write to the key's tensor, or to make a constant of
 */
export function seedKey(seed: number | bigint, step: number | bigint = 0): Int32Array {
  return Int32Array.from([...twoWords('seed', seed), ...twoWords('step', step)])
}

function twoWords(what: string, value: number | bigint): [number, number] {
  const valid = typeof value === 'bigint' ? value >= 0n && value < 1n << 64n : Number.isSafeInteger(value) && value >= 0
  if (!valid)
    throw new RangeError(`[seedKey] ${what} must be an integer from 0 to 2^64-1 (a bigint above 2^53); got ${value}`)
  const wide = BigInt(value)
  return [Number(BigInt.asIntN(32, wide)), Number(BigInt.asIntN(32, wide >> 32n))]
}
