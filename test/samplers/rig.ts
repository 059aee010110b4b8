/** Runs a sampler on an energy natively, for tests: state on the device, a plan for the first state, one for the step, one for warm-up. */

import { type HostTensor, hostTensor } from '../../lib/graph/host-tensor.ts'
import type { Tensor } from '../../lib/graph/tensor.ts'
import * as ops from '../../lib/ops/index.ts'
import { setThreads } from '../../lib/runtime/addon.ts'
import { HostRandom } from '../../lib/runtime/host-random.ts'
import { makeProgram } from '../../lib/runtime/program.ts'
import { keyFromSeed, Recorder, State } from '../../lib/runtime/state.ts'
import { selectRows } from '../../lib/samplers/rows.ts'
import type { Sampler, SamplerState, StepResult } from '../../lib/samplers/sampler.ts'
import type { Target } from '../../lib/samplers/target.ts'
import { testDevice } from '../device.ts'

// Small work: a second thread costs more than it gives, most of all beside other test files.
setThreads(1)

/** What `transitions` keeps of each chain. */
const captured = ['x', 'leapfrogs', 'acceptance'] as const

export type Energy = (x: Tensor) => Tensor

/** Means over the chains, for each step. */
export interface Trace {
  readonly acceptance: Float32Array
  readonly energy: Float32Array
  readonly divergent: Float32Array
}

/** A sampler with its chains. */
export class Rig {
  private readonly state = new State(testDevice)
  private readonly sampler: Sampler
  private readonly target: Target
  private names: string[] = []

  private constructor(sampler: Sampler, target: Target) {
    this.sampler = sampler
    this.target = target
  }

  static async start(sampler: Sampler, energy: Energy, x: HostTensor, seed = 1): Promise<Rig> {
    const rig = new Rig(sampler, { logDensity: (at) => ops.neg(energy(at)) })
    const { state } = rig
    await state.put('x', x)
    await state.put('key', keyFromSeed(seed))
    await state.put('goal', hostTensor(new Int32Array(x.shape[0] as number), [x.shape[0] as number]))
    const r = new Recorder(state)
    const first = sampler.init(rig.target, r.read('x'), r.read('key'), 1000)
    rig.names = Object.keys(first)
    for (const [name, t] of Object.entries(first)) r.write(name, t)
    if (sampler.transitions !== undefined)
      for (const name of captured) r.write(`captured/${name}`, first[name] as Tensor)
    r.write('key', ops.nextKey(r.read('key')))
    const stage = await r.compile('init')
    await stage.plan.run(stage.inputs, stage.outputs)
    stage.plan.dispose()
    return rig
  }

  /** Any graph over the state, run once. */
  async apply(build: (state: SamplerState) => SamplerState): Promise<void> {
    const r = new Recorder(this.state)
    const before = Object.fromEntries(this.names.map((n) => [n, r.read(n)])) as unknown as SamplerState
    for (const [name, t] of Object.entries(build(before))) r.write(name, t)
    const stage = await r.compile('apply')
    await stage.plan.run(stage.inputs, stage.outputs)
    stage.plan.dispose()
  }

  async advance(steps: number): Promise<Trace> {
    return this.run(this.sampler.step, steps)
  }

  /** Tunes for as many transitions as the windows are laid out for (for nuts, by the mean over the chains) and fixes the tuned values. */
  async warmup(): Promise<void> {
    const adaptation = this.sampler.adaptation
    if (adaptation === undefined) throw new Error(`${this.sampler.kind} has no adaptation`)
    const { steps } = adaptation
    const many = this.sampler.transitions === undefined ? steps : 100
    do await this.run((...a) => adaptation.step(...a), many)
    while (((await this.read('tune/count'))[0] as number) < steps)
    await this.apply((s) => adaptation.finish(s))
  }

  /** For nuts: the draw of each chain after `count` more transitions of its own, and how it got there. */
  async transitions(count: number): Promise<{ x: Float32Array; leapfrogs: Float32Array; acceptance: Float32Array }> {
    const goal = Int32Array.from(await this.read('transitions'), (made) => made + count)
    await this.state.get('goal').write(hostTensor(goal, [goal.length]))
    do await this.advance(20)
    while ((await this.read('transitions')).some((made, i) => made < (goal[i] as number)))
    const [x, leapfrogs, acceptance] = await Promise.all(captured.map((name) => this.read(`captured/${name}`)))
    return { x, leapfrogs, acceptance } as { x: Float32Array; leapfrogs: Float32Array; acceptance: Float32Array }
  }

  async read(name: string): Promise<Float32Array> {
    return (await this.state.get(name).read()).data as Float32Array
  }

  dispose(): void {
    this.state.dispose()
  }

  private async run(step: Sampler['step'], steps: number): Promise<Trace> {
    const r = new Recorder(this.state)
    const before = Object.fromEntries(this.names.map((n) => [n, r.read(n)])) as unknown as SamplerState
    const result: StepResult = step(this.target, before, r.read('key'), 1000)
    for (const [name, t] of Object.entries(result.state)) r.write(name, t)
    r.write('key', result.key)
    const { transitions } = result.state
    if (transitions !== undefined) {
      const reached = ops.eq(transitions, r.read('goal'))
      const now = ops.logicalAnd(reached, ops.lt(before.transitions as Tensor, r.read('goal')))
      for (const name of captured) {
        const value = result.state[name] as Tensor
        r.write(`captured/${name}`, selectRows(now, value, r.read(`captured/${name}`)))
      }
    }
    r.write('info/acceptance', ops.mean(result.info.acceptance))
    r.write('info/energy', ops.mean(result.info.energy))
    r.write('info/divergent', ops.mean(ops.cast(result.info.divergent, 'float32')))
    const stage = await r.compile('step')
    const infos = ['info/acceptance', 'info/energy', 'info/divergent'].map((n) => this.state.get(n))
    const program = makeProgram([
      { do: 'run', plan: stage.plan, inputs: stage.inputs, outputs: stage.outputs },
      { do: 'record', tensors: infos },
    ])
    const { metrics } = await program.run(steps)
    stage.plan.dispose()
    const column = (j: number) => Float32Array.from({ length: steps }, (_, i) => metrics[3 * i + j] as number)
    return { acceptance: column(0), energy: column(1), divergent: column(2) }
  }
}

/** n draws of d numbers from `draw`, as starting points. */
export function startPoints(n: number, d: number, seed: number, draw: (r: HostRandom) => number[]): HostTensor {
  const random = new HostRandom(seed)
  return hostTensor(Float32Array.from(Array.from({ length: n }, () => draw(random)).flat()), [n, d])
}

/** Column j of rows [n, d]. */
export function column(data: ArrayLike<number>, d: number, j: number): number[] {
  return Array.from({ length: data.length / d }, (_, i) => data[i * d + j] as number)
}

export function meanOf(v: ArrayLike<number>): number {
  return Array.from(v).reduce((a, b) => a + b, 0) / v.length
}

/** Mean of independent values, and the standard error of that mean. */
export function estimate(v: ArrayLike<number>): { readonly mean: number; readonly error: number } {
  const mean = meanOf(v)
  const square = Array.from(v).reduce((a, b) => a + (b - mean) ** 2, 0) / (v.length - 1)
  return { mean, error: Math.sqrt(square / v.length) }
}

/** How many standard errors the mean of independent values is from `expected`. */
export function deviation(v: ArrayLike<number>, expected: number): number {
  const { mean, error } = estimate(v)
  return Math.abs(mean - expected) / error
}
