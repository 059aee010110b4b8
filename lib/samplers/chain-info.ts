/** What runs of chains take and tell: options of a run, its information, and how that is gathered from the scalars and sums that steps leave. */
import type { HostTensor } from '../graph/host-tensor.ts'
import { zeroTensor } from '../runtime/state.ts'
import * as stages from './chain-stages.ts'
import type { Sampler } from './sampler.ts'

/** What a run of chains reports. */
export interface ChainInfo {
  /** Steps done since the chains began, warm-up included. For NUTS a step is one leapfrog. */
  readonly steps: number
  /** Mean energy over the chains at each step of this run (of the point that the step left, for samplers without an accept step): float32 [steps]. */
  readonly energy: Float32Array
  /** Mean probability with which proposals of this run were accepted; 1 for samplers without an accept step, NaN where no step was done. */
  readonly acceptance: number
  /** The same, chain by chain: float32 [chains]. */
  readonly acceptancePerChain: Float32Array
  /** Chains that are not finite now. */
  readonly divergent: number
  /** Divergent transitions since the chains began, warm-up apart: chains that left the finite numbers, or the integrator's stable region. */
  readonly divergences: number
  /** Divergent chains at each step of this run: float32 [steps]. */
  readonly divergencesPerStep: Float32Array
  /** Step size as it stands, after adaptation where the sampler adapts; null for samplers without one. */
  readonly stepSize: number | null
  /** Passes through the target that each chain cost in this run. */
  readonly gradients: number
  /** Means over the steps of this run of what a sampler tells beyond this (parallelTempering: `swapAcceptance`, one number a pair of temperatures). */
  readonly details: Readonly<Record<string, Float32Array>>
}

export interface RunOptions {
  /** Aborting leaves the chains at a step boundary and throws E_CANCELLED. */
  readonly signal?: AbortSignal
  /** Called now and then with what is done of the steps (or draws) asked for. */
  readonly onProgress?: (done: number, total: number) => void
}

export interface AdvanceOptions extends RunOptions {
  /** Keeps x after every so many steps; default none. */
  readonly record?: number
}

export interface DrawOptions extends RunOptions {
  /** Draws of each chain. Default 1. */
  readonly draws?: number
  /** Steps from one draw to the next (transitions, for NUTS). Default 1. Not for schedules, whose draws are whole runs. */
  readonly thin?: number
}

/** The draws [chains, draws, ...shape], and how they came about. */
export interface Draws extends ChainInfo {
  readonly draws: HostTensor
}

/** What one call of {@link Chains} gathers. */
export class RunLog {
  readonly signal: AbortSignal | undefined
  /** Steps of this run so far. */
  steps = 0
  private readonly context: stages.ChainContext
  private readonly energy: number[] = []
  private readonly divergent: number[] = []

  private constructor(context: stages.ChainContext, signal: AbortSignal | undefined) {
    this.context = context
    this.signal = signal
  }

  /** Sets the sums over steps to zero. */
  static async begin(context: stages.ChainContext, signal: AbortSignal | undefined): Promise<RunLog> {
    const { state } = context
    const { acceptance, steps, detail } = stages.SUMS
    const sums = state.names().filter((n) => n === acceptance || n === steps || n.startsWith(detail))
    for (const name of sums) await state.get(name).write(zeroTensor(state.get(name).shape))
    return new RunLog(context, signal)
  }

  /** Takes the recorded scalars of `steps` steps; returns their divergences. */
  add(metrics: Float32Array, steps: number): number {
    this.steps += steps
    const width = stages.RECORDED.length
    let divergences = 0
    for (let i = 0; i < metrics.length; i += width) {
      this.energy.push(metrics[i] as number)
      this.divergent.push(metrics[i + 2] as number)
      divergences += metrics[i + 2] as number
    }
    return divergences
  }

  async end(sofar: { readonly steps: number; readonly divergences: number }): Promise<ChainInfo> {
    const { sampler, count } = this.context
    const none = new Float32Array(count)
    const transitions = (await this.read(stages.SUMS.steps)) ?? none
    const accepted = (await this.read(stages.SUMS.acceptance)) ?? none
    const total = (values: Float32Array) => values.reduce((a, b) => a + b, 0)
    return {
      ...sofar,
      energy: Float32Array.from(this.energy),
      acceptance: total(accepted) / total(transitions),
      acceptancePerChain: accepted.map((v, i) => v / (transitions[i] as number)),
      divergent: (await this.read(stages.NOT_FINITE))?.[0] as number,
      divergencesPerStep: Float32Array.from(this.divergent),
      stepSize: (await this.read(`${stages.CHAIN}stepSize`))?.[0] ?? stepSizeOf(sampler),
      gradients: this.steps * sampler.gradientsPerStep,
      details: await this.details(),
    }
  }

  private async details(): Promise<Record<string, Float32Array>> {
    const { detail } = stages.SUMS
    const out: Record<string, Float32Array> = {}
    for (const name of this.context.state.names().filter((n) => n.startsWith(detail))) {
      const sum = (await this.read(name)) as Float32Array
      out[name.slice(detail.length)] = sum.map((v) => v / this.steps)
    }
    return out
  }

  private async read(name: string): Promise<Float32Array | undefined> {
    const { state } = this.context
    return state.has(name) ? ((await state.get(name).read()).data as Float32Array) : undefined
  }
}

/** The option, save that a schedule's is no step size of the chain as it stands. */
function stepSizeOf(sampler: Sampler): number | null {
  const { stepSize } = sampler.options as { readonly stepSize?: unknown }
  return typeof stepSize === 'number' && !sampler.schedule ? stepSize : null
}
