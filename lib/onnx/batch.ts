/**
 * Numbers that depend on the batch, as ONNX values: constants where they do not, and otherwise arithmetic on `Shape(input)`, shared by all users.
 */
import { LangevinError } from '../graph/errors.ts'
import { type DType, type Shape, showShape } from '../graph/shape.ts'
import { type Affine, fitFloats, fitIntegers, showAffine } from './affine.ts'
import { bytesOfArray, type Dimension } from './format.ts'
import type { GraphWriter } from './writer.ts'

/** The graph input whose axis tells the batch. */
export interface BatchSource {
  readonly input: string
  readonly axis: number
}

/** Who asks, for messages: the op and the node. */
export interface Asker {
  readonly op: string
  readonly node: string
}

/** One number seen at each batch size, per trace: `data[trace][element]`, with the shape it has there. */
export interface Numbers {
  readonly data: readonly (readonly number[])[]
  readonly shapes: readonly Shape[]
}

export class BatchNumbers {
  readonly batches: readonly number[]
  private readonly writer: GraphWriter
  private readonly source: BatchSource | undefined

  constructor(writer: GraphWriter, batches: readonly number[], source: BatchSource | undefined) {
    this.writer = writer
    this.batches = batches
    this.source = source
  }

  /** A dimension for a value's declared type: a number, `batch`, or an expression of it such as `2*batch`. */
  dimension(values: readonly number[], asker: Asker): Dimension {
    const fit = this.integer(values, asker, 'a dimension')
    return fit.scale === 0 ? fit.offset : showAffine(fit)
  }

  /** How an integer depends on the batch; E_ONNX if not as a line. */
  integer(values: readonly number[], asker: Asker, what: string): Affine {
    const fit = fitIntegers(this.batches, values)
    if (fit === undefined) throw this.notAffine(what, values, asker)
    return fit
  }

  /** An int64 list or scalar. With `inferred`, one entry that depends on the batch becomes -1 (for the shape input of Reshape). */
  ints(numbers: Numbers, asker: Asker, inferred = false): string {
    const { data, shape } = this.sameSize(numbers, 'an integer list', asker)
    const columns =
      data[0]?.map((_, i) =>
        this.integer(
          data.map((d) => d[i] as number),
          asker,
          'a shape entry or index',
        ),
      ) ?? []
    const moving = columns.filter((c) => c.scale !== 0).length
    if (moving === 0) return this.writer.ints(data[0] ?? [], shape)
    if (inferred && moving === 1 && columns.every((c) => c.scale !== 0 || c.offset > 0)) {
      return this.writer.ints(columns.map((c) => (c.scale === 0 ? c.offset : -1)))
    }
    const parts: string[] = []
    for (let i = 0; i < columns.length; ) {
      const run: number[] = []
      for (let c = columns[i]; c !== undefined && c.scale === 0; c = columns[++i]) run.push(c.offset)
      if (run.length > 0) parts.push(this.writer.ints(run))
      else parts.push(this.count(columns[i++] as Affine, asker))
    }
    const flat = parts.length === 1 ? (parts[0] as string) : this.one('Concat', parts, { axis: { int: 0 } }, 'shape')
    return shape.length === 1 ? flat : this.one('Reshape', [flat, this.writer.ints(shape)], {}, 'index')
  }

  /** Numbers of a constant or of a rule: an initializer, or one number of the batch, spread over the shape if it has one. */
  values(numbers: Numbers, dtype: DType, asker: Asker): string {
    const first = numbers.data[0] ?? []
    const fixed = numbers.data.every((d) => d.length === first.length && d.every((v, i) => Object.is(v, first[i])))
    if (fixed && numbers.shapes.every((s) => s.every((d, i) => d === numbers.shapes[0]?.[i]))) {
      return this.initializer(first, numbers.shapes[0] ?? [], dtype)
    }
    if (first.length === 0 || numbers.data.some((d) => d.some((v) => !Object.is(v, d[0])))) {
      const sizes = numbers.shapes.map(showShape).join(', ')
      throw new LangevinError(
        'E_ONNX',
        `[onnx] op ${asker.op} at node '${asker.node}' holds a constant array that depends on the batch (shapes ${sizes} at batches ` +
          `${this.batches.join(', ')}). Make it an input of the model, or build it from one number by broadcasting`,
        { ...asker, shapes: numbers.shapes },
      )
    }
    const scalar = this.scalar(
      numbers.data.map((d) => d[0] as number),
      dtype,
      asker,
    )
    const rank = numbers.shapes[0]?.length ?? 0
    if (rank === 0) return scalar
    const shape = this.ints({ data: numbers.shapes, shapes: numbers.shapes.map((s) => [s.length]) }, asker)
    return this.one('Expand', [scalar, shape], {}, 'expanded')
  }

  /** A number that is a·B + b, or one over that, as a value of rank 0. */
  private scalar(values: readonly number[], dtype: DType, asker: Asker): string {
    const fit = dtype === 'float32' ? fitFloats(this.batches, values) : fitIntegers(this.batches, values)
    if (fit === undefined || (fit.scale !== 0 && dtype !== 'float32' && dtype !== 'int32')) {
      throw this.notAffine('a constant', values, asker)
    }
    if (fit.scale === 0) return this.initializer([fit.offset], [], dtype)
    const to = dtype === 'float32' ? 1 : 6
    const batch = this.one('Reshape', [this.size(asker), this.writer.ints([], [0])], {}, 'batch')
    let value = this.one('Cast', [batch], { to: { int: to } }, `batch_${dtype}`)
    const constant = (v: number): string => this.initializer([v], [], dtype)
    if (fit.scale !== 1) value = this.one('Mul', [value, constant(fit.scale)], {}, 'of_batch')
    if (fit.offset !== 0) value = this.one('Add', [value, constant(fit.offset)], {}, 'of_batch')
    return fit.reciprocal ? this.one('Reciprocal', [value], {}, 'per_batch') : value
  }

  /** scale·B + offset as an int64 list of one. */
  private count(fit: Affine, asker: Asker): string {
    let value = this.size(asker)
    if (fit.scale !== 1) value = this.one('Mul', [value, this.writer.ints([fit.scale])], {}, 'of_batch')
    if (fit.offset !== 0) value = this.one('Add', [value, this.writer.ints([fit.offset])], {}, 'of_batch')
    return value
  }

  /** The batch as an int64 list of one; opset 15 gave Shape its range. */
  private size(asker: Asker): string {
    if (this.source === undefined) {
      throw new LangevinError(
        'E_ONNX',
        `[onnx] op ${asker.op} at node '${asker.node}' depends on the batch, but no input has an axis equal to it. ` +
          'Give the model an input whose first axis is the batch',
        { ...asker },
      )
    }
    const { input, axis } = this.source
    return this.one('Shape', [input], { start: { int: axis }, end: { int: axis + 1 } }, 'batch_size')
  }

  private one(
    op: string,
    inputs: readonly string[],
    attributes: Parameters<GraphWriter['node']>[2],
    base: string,
  ): string {
    return this.writer.node(op, inputs, attributes, 1, base)[0] as string
  }

  private initializer(data: readonly number[], shape: Shape, dtype: DType): string {
    const array =
      dtype === 'float32' ? Float32Array.from(data) : dtype === 'int32' ? Int32Array.from(data) : Uint8Array.from(data)
    return this.writer.constant(dtype, shape, bytesOfArray(array))
  }

  private sameSize(
    numbers: Numbers,
    what: string,
    asker: Asker,
  ): { data: readonly (readonly number[])[]; shape: Shape } {
    const shape = numbers.shapes[0] ?? []
    if (numbers.data.some((d) => d.length !== numbers.data[0]?.length)) {
      throw new LangevinError(
        'E_ONNX',
        `[onnx] op ${asker.op} at node '${asker.node}' needs ${what} whose length depends on the batch ` +
          `(${numbers.data.map((d) => d.length).join(', ')} at batches ${this.batches.join(', ')}), which has no fixed ONNX graph`,
        { ...asker },
      )
    }
    return { data: numbers.data, shape }
  }

  private notAffine(what: string, values: readonly number[], asker: Asker): LangevinError {
    return new LangevinError(
      'E_ONNX',
      `[onnx] op ${asker.op} at node '${asker.node}': ${what} is ${values.join(', ')} at batches ${this.batches.join(', ')}; ` +
        'only numbers of the form a·batch + b (for constants also one over that) can be computed in an exported model. ' +
        'Compute it outside of the model and make it an input',
      { ...asker, values, batches: this.batches },
    )
  }
}
