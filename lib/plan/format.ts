/**
 * The serialised plan as types: what `makePlan` writes, native code reads, and the interpreter runs (docs/architecture.md, "Plan").
 * Nothing here computes; the limits are those that native loop kernels are built for.
 */
import type { DType } from '../graph/shape.ts'

/** `[op, operand registers...]`, `["const", v]`, `["const_int", v]`, `["iota", axis]`. */
export type LoopEntry = readonly [string, ...number[]]

/** A register stored whole, or reduced over the loop's axes. */
export interface LoopOutput {
  readonly register: number
  readonly reduce?: ReduceName
}
export type ReduceName = 'sum' | 'max' | 'min'

/** Attributes of a `loop` instruction: one fused kernel over an iteration shape. */
export interface LoopAttr {
  readonly shape: readonly number[]
  readonly program: readonly LoopEntry[]
  readonly outputs: readonly LoopOutput[]
  readonly axes: readonly number[]
}

export type PlanAttr = { readonly [name: string]: unknown }

export interface PlanInstruction {
  readonly op: string
  readonly in: readonly number[]
  readonly out: readonly number[]
  readonly attr: PlanAttr | LoopAttr
}

export interface PlanValue {
  readonly dtype: DType
  readonly shape: readonly number[]
}

/** The whole plan; value ids are indices into `values`. */
/**
 * What products and convolutions multiply: float32, or operands rounded to bfloat16 with float32 sums. Everything else is float32 either way,
 * but for intermediates between them that native code may keep in bfloat16.
 */
export type Precision = 'float32' | 'bfloat16'

export const precisions: readonly Precision[] = ['float32', 'bfloat16']

export interface PlanJson {
  readonly version: 1
  /** Left out: float32. */
  readonly precision?: Precision
  readonly values: readonly PlanValue[]
  readonly inputs: readonly number[]
  readonly constants: readonly { readonly value: number; readonly offset: number }[]
  readonly outputs: readonly { readonly value: number; readonly alias: number | null }[]
  readonly code: readonly PlanInstruction[]
}

/** What crosses into native code: JSON text and the constants' bytes. `text` is for people (and snapshot tests). */
export interface SerializedPlan {
  readonly json: string
  readonly constants: Uint8Array
  readonly text: string
}

/** Bounds of one loop kernel; a group beyond them is split. */
export const limits = { inputs: 16, outputs: 16, liveRegisters: 64, program: 256 } as const

/** Structured kernels of native/ops/ops.def (`loop` and `copy` are the plan's own). A test compares the two lists. */
export const kernels: ReadonlySet<string> = new Set([
  'conv2d',
  'conv2d_input_grad',
  'conv2d_weight_grad',
  'matmul',
  'transpose',
  'slice',
  'pad',
  'concat',
  'gather',
  'scatter_add',
  'scatter_rows',
  'avgpool2d',
  'avgpool2d_grad',
  'maxpool2d',
  'maxpool2d_grad',
  'maxpool2d_select',
  'resize2d',
  'resize2d_grad',
  'argmax',
  'normal',
  'uniform',
  'random_int',
  'shuffle_index',
  'crop_flip',
  'gaussian_rows',
])

/** Narrows an instruction to a loop. */
export function isLoop(i: PlanInstruction): i is PlanInstruction & { readonly attr: LoopAttr } {
  return i.op === 'loop'
}
