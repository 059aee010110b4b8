/**
 * Programs: plans run in a fixed order, any number of steps without a return to JavaScript (docs/architecture.md, "Program").
 * This builds the addon's program from instructions that name plans and tensors directly, and runs it under an AbortSignal.
 */
import {
  addon,
  fromNative,
  type NativePlan,
  type NativeProgram,
  type NativeTensor,
  native,
  type ProgramResult,
} from './addon.ts'
import type { CompiledPlan } from './compile.ts'
import type { DeviceTensor } from './device.ts'

export type { ProgramResult } from './addon.ts'

/** Runs a plan over the tensors. */
export interface RunInstruction {
  readonly do: 'run'
  readonly plan: CompiledPlan
  readonly inputs: readonly DeviceTensor[]
  readonly outputs: readonly DeviceTensor[]
}

/** Repeats the body a fixed number of times, or as often as an int32 scalar says at that moment. At most 8 levels deep. */
export type RepeatInstruction =
  | { readonly do: 'repeat'; readonly count: number; readonly body: readonly Instruction[] }
  | { readonly do: 'repeat'; readonly countFrom: DeviceTensor; readonly body: readonly Instruction[] }

/** Stops the program before what follows when the float32 scalar is not finite or exceeds `limit` in magnitude. */
export interface GuardInstruction {
  readonly do: 'guard'
  readonly name: string
  readonly tensor: DeviceTensor
  readonly limit: number
}

/** Appends float32 scalars to the step's metrics. Not inside a repeat with `countFrom`. */
export interface RecordInstruction {
  readonly do: 'record'
  readonly tensors: readonly DeviceTensor[]
}

/** Copies tensors pairwise and in order. */
export interface CopyInstruction {
  readonly do: 'copy'
  readonly from: readonly DeviceTensor[]
  readonly to: readonly DeviceTensor[]
}

export type Instruction = RunInstruction | RepeatInstruction | GuardInstruction | RecordInstruction | CopyInstruction

export interface RunOptions {
  /** Aborting ends this and every other run of the program that has been asked for, at a step boundary. */
  readonly signal?: AbortSignal | undefined
}

/** A program over given plans and tensors, which it keeps alive. */
export class Program {
  private readonly handle: NativeProgram

  constructor(handle: NativeProgram) {
    this.handle = handle
  }

  /**
   * Runs `steps` steps and resolves with what happened: fewer steps are completed when a guard stopped the program or when it was cancelled.
   * @throws RangeError unless steps is a non-negative integer.
   */
  async run(steps: number, options: RunOptions = {}): Promise<ProgramResult> {
    const { signal } = options
    const cancel = (): void => this.handle.cancel()
    if (!signal) return native('program', () => this.handle.run(steps))
    // Too late to begin: a short run could be over before a cancel reaches it.
    if (signal.aborted) return { ...(await native('program', () => this.handle.run(0))), cancelled: true }
    const pending = native('program', () => this.handle.run(steps))
    signal.addEventListener('abort', cancel, { once: true })
    try {
      return await pending
    } finally {
      signal.removeEventListener('abort', cancel)
    }
  }

  /** Ends all runs that have been asked for so far, at a step boundary. They resolve with `cancelled: true`. Later runs are not affected. */
  cancel(): void {
    this.handle.cancel()
  }
}

/**
 * Makes a program, checking every binding.
 * @throws LangevinError E_PLAN for an impossible program, E_SHAPE and E_DTYPE where tensors do not fit a plan, E_DEVICE for disposed ones.
 */
export function makeProgram(code: readonly Instruction[]): Program {
  const plans = new Numbering<NativePlan>()
  const tensors = new Numbering<NativeTensor>()
  const tensor = (t: DeviceTensor): number => tensors.of(t.native)
  const encode = (i: Instruction): object => {
    switch (i.do) {
      case 'run':
        return {
          do: 'run',
          plan: plans.of(i.plan.native),
          inputs: i.inputs.map(tensor),
          outputs: i.outputs.map(tensor),
        }
      case 'repeat': {
        const body = i.body.map(encode)
        return 'countFrom' in i
          ? { do: 'repeat', countFrom: tensor(i.countFrom), body }
          : { do: 'repeat', count: i.count, body }
      }
      case 'guard':
        return {
          do: 'guard',
          name: i.name,
          tensor: tensor(i.tensor),
          limit: i.limit === Infinity ? 'Infinity' : i.limit,
        }
      case 'record':
        return { do: 'record', tensors: i.tensors.map(tensor) }
      case 'copy':
        return { do: 'copy', from: i.from.map(tensor), to: i.to.map(tensor) }
    }
  }
  const json = JSON.stringify({ code: code.map(encode) })
  try {
    return new Program(addon().program(json, plans.items, tensors.items))
  } catch (error) {
    throw fromNative('program', error)
  }
}

/** Numbers things in the order in which they are first met. */
class Numbering<T> {
  readonly items: T[] = []
  private readonly index = new Map<T, number>()

  of(item: T): number {
    let n = this.index.get(item)
    if (n === undefined) {
      n = this.items.length
      this.items.push(item)
      this.index.set(item, n)
    }
    return n
  }
}
