/**
 * A foreign graph as plain data, close to ONNX: nodes over named values, small constants, and the variables' names and shapes. It is what the
 * config of a network of kind `onnx` holds, so that a run folder needs no file but its own. Reading files is lib/onnx's part.
 */
import type { Shape } from '../../graph/shape.ts'

/** A number, or one that JSON cannot write. */
export type PlainNumber = number | 'Infinity' | '-Infinity' | 'NaN'

/** Numbers that belong to the graph: shapes, indices, scalars. int64 is held as int32, limited to its range. */
export interface ConstantRecord {
  readonly dtype: 'float32' | 'int32' | 'bool'
  readonly shape: Shape
  readonly data: readonly PlainNumber[]
}

export type AttributeValue = PlainNumber | string | readonly PlainNumber[] | readonly string[] | ConstantRecord

/** One ONNX node; `''` among the inputs stands for one that is left out. */
export interface NodeRecord {
  readonly op: string
  readonly name: string
  readonly in: readonly string[]
  readonly out: readonly string[]
  readonly attr?: Readonly<Record<string, AttributeValue>>
}

/** A value of the graph that is trained, or kept as it is (`statistic`). */
export interface VariableRecord {
  /** Its name in the graph. */
  readonly value: string
  /** Its name in the state_dict. */
  readonly name: string
  readonly shape: Shape
  readonly role: 'parameter' | 'statistic'
  /** What a fresh one is filled with; default: fan-in uniform for matrices and kernels, 0 for the rest. */
  readonly init?: number
}

/** What the output says: class logits [n, classes]; an energy [n] or [n,1]; or minus an energy. */
export type Answer = 'classifier' | 'energy' | 'logDensity'

export const answers: readonly Answer[] = ['classifier', 'energy', 'logDensity']

/** The foreign input from our x: x·scale + shift, of a shape that broadcasts against one example. */
export interface InputMap {
  readonly shape: Shape
  readonly scale: readonly number[]
  readonly shift: readonly number[]
}

/** Options of the network; with `kind: 'onnx'` its config. */
export interface ImportedOptions {
  /** Shape of one example. */
  readonly shape: Shape
  /** Version of the operators. */
  readonly opset: number
  /** The value that x (or what `inputMap` makes of it) takes the place of. */
  readonly input: string
  readonly output: string
  readonly answer: Answer
  readonly nodes: readonly NodeRecord[]
  readonly constants: Readonly<Record<string, ConstantRecord>>
  readonly variables: readonly VariableRecord[]
  /** The batch that the graph was written for, where its shapes have one literally. */
  readonly batch?: number
  readonly inputMap?: InputMap
  /** What the import changed, for people. */
  readonly notes?: readonly string[]
}

export function toNumber(v: PlainNumber): number {
  return typeof v === 'number' ? v : Number(v)
}

export function toPlain(v: number): PlainNumber {
  return Number.isFinite(v) ? v : (String(v) as PlainNumber)
}
