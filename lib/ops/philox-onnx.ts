/**
 * The random ops in ONNX: Philox 4x32-10 written out in int64 and uint64 nodes, so that an exported sampler draws the very numbers
 * that it draws here, from a key that is a graph input. ONNX's own random ops cannot be keyed. Needs opset 18 (BitwiseXor).
 */
import { LangevinError } from '../graph/errors.ts'
import { type Shape, sizeOf } from '../graph/shape.ts'
import type { OnnxContext } from './define.ts'
import { one } from './onnx.ts'
import { at } from './ref.ts'

type Draw = OnnxContext<{ readonly shape: Shape; readonly stream: number }>

/** Arithmetic on unsigned 32-bit words that are held in uint64 tensors. */
class Words {
  readonly c: Pick<Draw, 'emit'>
  readonly mask: string
  readonly bits32: string

  constructor(c: Pick<Draw, 'emit'>) {
    this.c = c
    this.mask = this.constant(0xffffffff)
    this.bits32 = this.constant(32)
  }

  constant(value: number): string {
    return this.unsigned(this.c.emit.ints([value]))
  }

  /** From int64, bit for bit. */
  unsigned(x: string): string {
    return one(this.c, 'Cast', [x], { to: { int: 13 } })
  }

  signed(x: string): string {
    return one(this.c, 'Cast', [x], { to: { int: 7 } })
  }

  low(x: string): string {
    return one(this.c, 'BitwiseAnd', [x, this.mask])
  }

  shiftRight(x: string, by: string): string {
    return one(this.c, 'BitShift', [x, by], { direction: { string: 'RIGHT' } })
  }

  high(x: string): string {
    return this.shiftRight(x, this.bits32)
  }

  xor(a: string, b: string, c: string): string {
    return one(this.c, 'BitwiseXor', [one(this.c, 'BitwiseXor', [a, b]), c])
  }

  /** The 64-bit product, by int64 multiplication, which wraps to the same bits. */
  product(word: string, factor: number): string {
    return this.unsigned(one(this.c, 'Mul', [this.signed(word), this.c.emit.ints([factor])]))
  }

  /** word + constant modulo 2^32. */
  plus(word: string, constant: number): string {
    return this.low(this.unsigned(one(this.c, 'Add', [this.signed(word), this.c.emit.ints([constant])])))
  }
}

/** Words of elements 0..n-1 rounded up to whole blocks, as uint64 [blocks, 4]. */
function blocks(c: Draw): { words: Words; drawn: string } {
  if (c.emit.opset < 18) {
    throw new LangevinError(
      'E_ONNX',
      `random ops need opset 18 or later (BitwiseXor); the target is ${c.emit.opset}: export with opset 18 to 21, or pass noise as an input`,
      { opset: c.emit.opset },
    )
  }
  const w = new Words(c)
  const key = w.low(w.unsigned(c.emit.cast(at(c.inputs, 0), 'int64')))
  const part = (i: number) => one(c, 'Slice', [key, c.emit.ints([i]), c.emit.ints([i + 1]), c.emit.ints([0])])
  // Rounded up in the graph: elements are linear in the batch where blocks are not.
  const above = one(c, 'Add', [c.emit.shape('count', [sizeOf(c.attrs.shape)]), c.emit.ints([3])])
  const count = one(c, 'Squeeze', [one(c, 'Div', [above, c.emit.ints([4])])])
  const counter = one(c, 'Range', [c.emit.ints([0], []), count, c.emit.ints([1], [])])
  let [c0, c1, c2, c3] = [w.unsigned(counter), w.constant(c.attrs.stream), part(2), part(3)]
  let [k0, k1] = [part(0), part(1)]
  for (let round = 0; round < 10; round++) {
    const [p0, p1] = [w.product(c0, 0xd2511f53), w.product(c2, 0xcd9e8d57)]
    c0 = w.xor(w.high(p1), c1, k0)
    c2 = w.xor(w.high(p0), c3, k1)
    c1 = w.low(p1)
    c3 = w.low(p0)
    k0 = w.plus(k0, 0x9e3779b9)
    k1 = w.plus(k1, 0xbb67ae85)
  }
  // Words 1 and 3 of the last round depend on products alone; all four have the counter's length.
  const columns = [c0, c1, c2, c3].map((x) => one(c, 'Unsqueeze', [x, c.emit.ints([1])]))
  return { words: w, drawn: one(c, 'Concat', columns, { axis: { int: 1 } }) }
}

/** The first elements of a flat tensor, in the draw's shape. */
function shaped(c: Draw, x: string): string {
  const flat = one(c, 'Reshape', [x, c.emit.ints([-1])])
  const n = c.emit.shape('count', [sizeOf(c.attrs.shape)])
  const cut = one(c, 'Slice', [flat, c.emit.ints([0]), n, c.emit.ints([0])])
  return one(c, 'Reshape', [cut, c.emit.shape('shape', c.attrs.shape)], { allowzero: { int: 1 } })
}

/** ((word >> 9) + 0.5)·2^-23 as float32 [blocks, 4]. */
function uniforms(c: Draw): string {
  const { words, drawn } = blocks(c)
  const cells = c.emit.cast(words.signed(words.shiftRight(drawn, words.constant(9))), 'float32')
  return one(c, 'Mul', [one(c, 'Add', [cells, c.emit.floats([0.5], [])]), c.emit.floats([2 ** -23], [])])
}

export function onnxUniforms(c: Draw): string {
  return shaped(c, uniforms(c))
}

/** Box-Muller on words (0,1) and (2,3). */
export function onnxNormals(c: Draw): string {
  const u = uniforms(c)
  const columns = (from: number) =>
    one(c, 'Slice', [u, c.emit.ints([from]), c.emit.ints([4]), c.emit.ints([1]), c.emit.ints([2])])
  const r = one(c, 'Sqrt', [one(c, 'Mul', [one(c, 'Log', [columns(0)]), c.emit.floats([-2], [])])])
  const angle = one(c, 'Mul', [columns(1), c.emit.floats([2 * Math.PI], [])])
  const pair = ['Cos', 'Sin'].map((f) =>
    one(c, 'Unsqueeze', [one(c, 'Mul', [r, one(c, f, [angle])]), c.emit.ints([2])]),
  )
  return shaped(c, one(c, 'Concat', pair, { axis: { int: 2 } }))
}

/** (word · bound) >> 32. */
export function onnxRandomInt(
  c: OnnxContext<{ readonly shape: Shape; readonly stream: number; readonly bound: number }>,
): string {
  const { words, drawn } = blocks(c)
  return c.emit.cast(words.signed(shaped(c, words.high(words.product(drawn, c.attrs.bound)))), 'int32')
}
