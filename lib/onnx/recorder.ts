/**
 * Runs an op's ONNX rule once for each traced batch size and writes down what it asks for. Comparing the recordings shows which numbers depend
 * on the batch, so rules are written for concrete shapes and need to know nothing of dynamic ones. Nothing is emitted here.
 */
import { internalError } from '../graph/errors.ts'
import { type DType, type Shape, sizeOf } from '../graph/shape.ts'
import type { OnnxAttr, OnnxEmitter } from '../ops/define.ts'

/** What a rule asked for. Values that the recording itself makes are named `\0entry:output`. */
export type Entry =
  | {
      readonly kind: 'node'
      readonly opType: string
      readonly inputs: readonly string[]
      readonly attributes: Readonly<Record<string, OnnxAttr>>
      readonly outputs: number
    }
  | { readonly kind: 'floats' | 'ints'; readonly data: readonly number[]; readonly shape: Shape }
  | { readonly kind: 'cast'; readonly value: string; readonly to: DType | 'int64' }

const mark = '\0'

/** Name of an output of a recorded entry. */
export function localName(entry: number, output: number): string {
  return `${mark}${entry}:${output}`
}

/** Which entry and output a local name stands for; undefined for names from outside of the rule. */
export function parseLocal(name: string): { entry: number; output: number } | undefined {
  if (!name.startsWith(mark)) return undefined
  const [entry, output] = name.slice(mark.length).split(':').map(Number)
  return { entry: entry as number, output: output as number }
}

export class Recorder implements OnnxEmitter {
  readonly opset: number
  readonly entries: Entry[] = []

  constructor(opset: number) {
    this.opset = opset
  }

  node(opType: string, inputs: readonly string[], attrs: Record<string, OnnxAttr> = {}, outputs = 1): string[] {
    const at = this.add({ kind: 'node', opType, inputs: [...inputs], attributes: attrs, outputs })
    return Array.from({ length: outputs }, (_, i) => localName(at, i))
  }

  floats(data: readonly number[], shape: Shape = [data.length]): string {
    return this.numbers('floats', data, shape)
  }

  ints(data: readonly number[], shape: Shape = [data.length]): string {
    return this.numbers('ints', data, shape)
  }

  shape(_key: string, shape: Shape): string {
    return this.numbers('ints', shape, [shape.length])
  }

  cast(value: string, to: DType | 'int64'): string {
    return localName(this.add({ kind: 'cast', value, to }), 0)
  }

  private numbers(kind: 'floats' | 'ints', data: readonly number[], shape: Shape): string {
    if (sizeOf(shape) !== data.length) {
      throw internalError(`an ONNX rule gives ${data.length} numbers for an initializer of shape [${shape.join(',')}]`)
    }
    return localName(this.add({ kind, data: [...data], shape: [...shape] }), 0)
  }

  private add(entry: Entry): number {
    this.entries.push(entry)
    return this.entries.length - 1
  }
}
