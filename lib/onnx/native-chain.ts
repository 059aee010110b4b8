/**
 * The very graphs of an exported chain, run natively: what a file is compared with. Every step's points can be seen, and the normal draws of each,
 * which a file with a `noise` input is then fed. For everyday sampling there is `Chains`.
 */
import { type HostTensor, hostTensor } from '../graph/host-tensor.ts'
import type { Tensor } from '../graph/tensor.ts'
import type { Model } from '../nn/model.ts'
import { type CompiledPlan, compileGraph } from '../runtime/compile.ts'
import { DeviceTensor } from '../runtime/device.ts'
import { keyFromSeed } from '../runtime/state.ts'
import { type SamplerSpec, type TracedSampler, traceSampler } from './sampler-trace.ts'

/** Values of the chain's inputs: x0, y, step_size, noise_scale. */
export type ChainFeeds = ReadonlyMap<string, HostTensor>

export interface NativeRun {
  /** [n, ...shape]. */
  readonly samples: HostTensor
  /** float32 [n]: mean over the steps; undefined for samplers that accept everything. */
  readonly acceptance: HostTensor | undefined
  /** The points after each step; for samplers that count transitions, after each of their smaller steps. */
  readonly trajectory: readonly HostTensor[]
  /** What the inputs `noise` and `init_noise` would be; undefined where nothing is drawn, or not for `random: 'noise'`. */
  readonly noise: HostTensor | undefined
  readonly initNoise: HostTensor | undefined
}

/** Chains of a spec for one batch size. */
export class NativeChain {
  private readonly traced: TracedSampler
  private readonly spec: SamplerSpec
  private readonly tensors: ReadonlyMap<Tensor, DeviceTensor>
  private readonly outputs: Outputs
  private readonly plans: { readonly begin: CompiledPlan; readonly step: CompiledPlan }
  private readonly inputs: readonly Tensor[]

  private constructor(
    traced: TracedSampler,
    spec: SamplerSpec,
    tensors: ReadonlyMap<Tensor, DeviceTensor>,
    outputs: Outputs,
    plans: { readonly begin: CompiledPlan; readonly step: CompiledPlan },
    inputs: readonly Tensor[],
  ) {
    this.traced = traced
    this.spec = spec
    this.tensors = tensors
    this.outputs = outputs
    this.plans = plans
    this.inputs = inputs
  }

  static async make(model: Model, spec: SamplerSpec, n: number): Promise<NativeChain> {
    const traced = traceSampler(model, spec, n)
    const { graph, draws } = traced
    const inputs = [...graph.inputs.map((i) => i.tensor), ...graph.parameters.keys(), graph.key, graph.goal]
    const outputs = outputsOf(traced)
    const begin = await compileGraph(
      model.device,
      inputs,
      [...outputs.first, ...draws.init.map((d) => d[0] as Tensor)].map((tensor) => ({ tensor })),
    )
    const state = outputs.before
    const step = await compileGraph(
      model.device,
      [...inputs, ...state],
      [
        ...outputs.after.map((tensor, i) => ({ tensor, alias: inputs.length + i })),
        ...outputs.told.map((tensor) => ({ tensor })),
      ],
    )
    const tensors = new Map<Tensor, DeviceTensor>()
    const told = [...outputs.told, ...draws.init.map((d) => d[0] as Tensor)]
    for (const t of [...inputs, ...state, ...told]) tensors.set(t, DeviceTensor.empty(model.device, t.dtype, t.shape))
    for (const [t, { data }] of graph.parameters) await tensors.get(t)?.write(data)
    return new NativeChain(traced, spec, tensors, outputs, { begin, step }, inputs)
  }

  /** Whether the chain draws random numbers. */
  get random(): boolean {
    return this.traced.random
  }

  /** Runs `steps` steps (transitions, where those are counted). `nudge` changes the first state's points before the first step. */
  async run(
    feeds: ChainFeeds,
    seed: number,
    steps: number,
    nudge: (x: HostTensor) => HostTensor = (x) => x,
  ): Promise<NativeRun> {
    const { graph, draws } = this.traced
    for (const { name, tensor } of graph.inputs) await this.at(tensor).write(feeds.get(name) as HostTensor)
    await this.at(graph.key).write(keyFromSeed(seed))
    await this.at(graph.goal).write(hostTensor(Int32Array.of(steps), []))
    const all = (list: readonly Tensor[]): DeviceTensor[] => list.map((t) => this.at(t))
    const init = draws.init.map((d) => d[0] as Tensor)
    const { before, told } = this.outputs
    await this.plans.begin.run(all(this.inputs), all([...before, ...init]))
    const x = this.at(graph.before.state.x)
    await x.write(nudge(await x.read()))
    const trajectory: HostTensor[] = []
    const noise: HostTensor[] = []
    let accepted: Float32Array | undefined
    while (!(await this.done(trajectory.length, steps))) {
      await this.plans.step.run(all([...this.inputs, ...before]), all([...before, ...told]))
      trajectory.push(await x.read())
      for (const d of draws.step) noise.push(await this.at(d[0] as Tensor).read())
      if (graph.acceptance === undefined) continue
      const { data } = await this.at(graph.acceptance).read()
      accepted = Float32Array.from(data, (v, i) => v + (accepted?.[i] ?? 0))
    }
    return {
      samples: await x.read(),
      acceptance:
        accepted &&
        hostTensor(
          accepted.map((v) => v / Math.max(1, steps)),
          [accepted.length],
        ),
      trajectory,
      noise: stacked(noise, draws.step.length > 1 ? [steps, draws.step.length] : [steps]),
      initNoise: stacked(await Promise.all(init.map((t) => this.at(t).read())), init.length > 1 ? [init.length] : []),
    }
  }

  dispose(): void {
    this.plans.begin.dispose()
    this.plans.step.dispose()
    for (const t of this.tensors.values()) t.dispose()
  }

  private at(t: Tensor): DeviceTensor {
    return this.tensors.get(t) as DeviceTensor
  }

  private async done(count: number, steps: number): Promise<boolean> {
    const { transitions } = this.spec.sampler
    if (transitions === undefined) return count >= steps
    const made = await this.at(this.traced.graph.before.state[transitions] as Tensor).read()
    return made.data.every((v) => v >= steps)
  }
}

/** Positions in these lists belong together: the state, its key last. */
interface Outputs {
  readonly first: readonly Tensor[]
  readonly before: readonly Tensor[]
  readonly after: readonly Tensor[]
  /** What a step tells besides: acceptance, draws. */
  readonly told: readonly Tensor[]
}

function outputsOf({ graph, draws }: TracedSampler): Outputs {
  const names = Object.keys(graph.before.state)
  const of = (side: { state: Readonly<Record<string, Tensor>>; key: Tensor }) => [
    ...names.map((n) => side.state[n] as Tensor),
    side.key,
  ]
  const told = [...(graph.acceptance === undefined ? [] : [graph.acceptance]), ...draws.step.map((d) => d[0] as Tensor)]
  return { first: of(graph.first), before: of(graph.before), after: of(graph.after), told }
}

/** Tensors of one shape as one, after leading dimensions; undefined for none. */
export function stacked(list: readonly HostTensor[], leading: readonly number[]): HostTensor | undefined {
  const [first] = list
  if (first === undefined) return undefined
  const data = new Float32Array(list.length * first.data.length)
  list.forEach((t, i) => {
    data.set(t.data, i * first.data.length)
  })
  return hostTensor(data, [...leading, ...first.shape])
}
