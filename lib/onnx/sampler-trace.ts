/**
 * The trace of a sampler's chain: a Loop of as many steps as the input `steps` says, its random numbers from a seed, from an input, or from
 * the runtime. The graphs are sampler-graph.ts's, files are export-sampler.ts's part.
 */
import { LangevinError } from '../graph/errors.ts'
import { sameShape } from '../graph/shape.ts'
import type { Tensor } from '../graph/tensor.ts'
import type { Model } from '../nn/model.ts'
import * as ops from '../ops/index.ts'
import type { Dimension } from './format.ts'
import { drawOps } from './random.ts'
import { type ChainGraph, type ChainSpec, chainGraph } from './sampler-graph.ts'
import { type Bound, type Carried, type LoopTrace, liveTensors, type PlainInput, type Trace } from './trace.ts'

/**
 * Where random numbers come from: `seed`, an int64 input of which every number follows as it does natively; `noise`, an input that holds the normal draws;
 * `runtime`, the runtime's own generator.
 */
export type RandomMode = 'seed' | 'noise' | 'runtime'

export interface SamplerSpec extends ChainSpec {
  readonly random: RandomMode
  readonly trajectory: boolean
}

/** What a step draws, in the order of the `noise` input. */
export interface Draws {
  /** Normal draws at the start of the chain (the momentum of `underdamped`): the input `init_noise`. */
  readonly init: readonly (readonly Tensor[])[]
  /** Normal draws of each step. Tensors of one entry are the same numbers. */
  readonly step: readonly (readonly Tensor[])[]
}

/** The chain's graphs and its trace, for one batch size. */
export interface TracedSampler {
  readonly graph: ChainGraph
  readonly trace: Trace
  /** Whether anything is drawn at all: PYLD without noise from given points draws nothing. */
  readonly random: boolean
  /** For `noise`; empty in the other modes. */
  readonly draws: Draws
}

const noDraws: Draws = { init: [], step: [] }

/** For n chains; `gradientScale` as of `chainGraph`. @throws LangevinError E_CONFIG for a sampler that cannot take noise as an input */
export function traceSampler(model: Model, spec: SamplerSpec, n: number, gradientScale = 1): TracedSampler {
  const graph = chainGraph(model, spec, n, gradientScale)
  const plain = loopOf(graph, spec)
  const drawing = [...liveTensors(plain)].filter((t) => drawOps.has(t.op.name))
  const steps: PlainInput = { name: 'steps', dtype: 'int64', dims: [] }
  const bound = new Map<Tensor, Bound>([[graph.goal, toInt32('steps')]])
  if (drawing.length === 0) return { graph, random: false, draws: noDraws, trace: { ...plain, plain: [steps], bound } }
  const within = (loop: ReadonlyMap<Tensor, Bound>): LoopTrace => ({ ...(plain.loop as LoopTrace), bound: loop })
  if (spec.random === 'seed') {
    bound.set(graph.key, keyOfSeed)
    const seed: PlainInput = { name: 'seed', dtype: 'int64', dims: [] }
    return { graph, random: true, draws: noDraws, trace: { ...plain, plain: [steps, seed], bound } }
  }
  const loop = new Map<Tensor, Bound>()
  if (spec.random === 'runtime') {
    // The runtime's generators read no key.
    for (const t of drawing) {
      const key = t.inputs[0] as Tensor
      ;(key === graph.before.key ? loop : bound).set(key, () => '')
    }
    return {
      graph,
      random: true,
      draws: noDraws,
      trace: withoutKey({ ...plain, plain: [steps], bound, loop: within(loop) }),
    }
  }
  const draws = drawsOf(drawing, graph, spec)
  const inputs = [steps]
  const dims = ['batch', ...model.network.shape]
  bindNoise({ name: 'noise', dims: ['steps'], draws: draws.step, each: dims, bound: loop, inputs })
  bindNoise({ name: 'init_noise', dims: [], draws: draws.init, each: dims, bound, inputs })
  return { graph, random: true, draws, trace: withoutKey({ ...plain, plain: inputs, bound, loop: within(loop) }) }
}

/** The loop over the chain's state, as if its key were given. */
function loopOf(graph: ChainGraph, spec: SamplerSpec): Trace {
  const { first, before, after, goal, acceptance } = graph
  const carried: Carried[] = Object.keys(before.state).map((name) => {
    const body = before.state[name] as Tensor
    const last = ops.input(name, body.shape, body.dtype)
    return { name, first: first.state[name] as Tensor, body, next: after.state[name] as Tensor, last }
  })
  const last = Object.fromEntries(carried.map((c) => [c.name, c.last]))
  const x = last.x as Tensor
  carried.push({
    name: 'key',
    first: first.key,
    body: before.key,
    next: after.key,
    last: ops.input('key', [4], 'int32'),
  })
  const outputs = [
    { name: 'samples', tensor: x },
    { name: 'energies', tensor: graph.energyOf(x) },
  ]
  if (acceptance !== undefined) {
    const sum = () => ops.input('acceptances', acceptance.shape)
    const [body, total] = [sum(), sum()]
    carried.push({
      name: 'acceptances',
      first: ops.zeros(acceptance.shape),
      body,
      next: ops.add(body, acceptance),
      last: total,
    })
    outputs.push({ name: 'acceptance', tensor: ops.div(total, ops.maximum(ops.cast(goal, 'float32'), 1)) })
  }
  const scanned = spec.trajectory
    ? [
        { name: 'trajectory', tensor: after.state.x },
        { name: 'energy_trace', tensor: graph.energyOf(after.state.x) },
      ]
    : []
  const counted = spec.sampler.transitions
  const ends =
    counted === undefined
      ? { trips: 'steps' }
      : { while: { first: ops.gt(goal, 0), next: anyBelow(after.state[counted] as Tensor, goal) } }
  const loop: LoopTrace = { carried, scanned, iterations: 'steps', bound: new Map(), ...ends }
  return { inputs: graph.inputs, outputs, parameters: graph.parameters, loop }
}

function anyBelow(count: Tensor, goal: Tensor): Tensor {
  return ops.gt(ops.sum(ops.cast(ops.lt(count, goal), 'float32')), 0)
}

function withoutKey(trace: Trace): Trace {
  const loop = trace.loop as LoopTrace
  return { ...trace, loop: { ...loop, carried: loop.carried.filter((c) => c.name !== 'key') } }
}

const toInt32 =
  (name: string): Bound =>
  ({ node }) =>
    node('Cast', [name], { to: { int: 6 } })

/** int32 [4] of the int64 `seed`: its low and its high word, bit for bit, and step 0. Casts of what does not fit are left to no runtime. */
const keyOfSeed: Bound = ({ node, ints }) => {
  const range = ints([2 ** 32], [])
  const low = node('Mod', ['seed', range])
  const high = node('Div', [node('Sub', ['seed', low]), range])
  const wraps = node('Cast', [node('GreaterOrEqual', [low, ints([2 ** 31], [])])], { to: { int: 7 } })
  const signed = node('Sub', [low, node('Mul', [wraps, range])])
  const words = [signed, high].map((w) => node('Unsqueeze', [w, ints([0])]))
  return node('Cast', [node('Concat', [...words, ints([0, 0])], { axis: { int: 0 } })], { to: { int: 6 } })
}

/** The normal draws of init and step, by stream. @throws LangevinError E_CONFIG for any other draw */
function drawsOf(drawing: readonly Tensor[], graph: ChainGraph, { sampler }: SamplerSpec): Draws {
  const { x } = graph.before.state
  const groups = (wanted: boolean): Tensor[][] => {
    const byStream = new Map<number, Tensor[]>()
    for (const t of drawing.filter((d) => (d.inputs[0] === graph.before.key) === wanted)) {
      const stream = t.attrs.stream as number
      byStream.set(stream, [...(byStream.get(stream) ?? []), t])
    }
    return [...byStream].sort(([a], [b]) => a - b).map(([, tensors]) => tensors)
  }
  const other = drawing.find((t) => t.op.name !== 'normal' || !sameShape(t.shape, x.shape))
  if (other !== undefined) {
    const what = other.op.name === 'normal' ? "normal numbers of another shape than x's" : `'${other.op.name}'`
    throw new LangevinError(
      'E_CONFIG',
      `exportSampler: random 'noise' takes normal draws of the shape of x alone, and sampler ${sampler.kind} draws ${what} ` +
        `(stream ${String(other.attrs.stream)}); use random: 'seed' or 'runtime'`,
      { sampler: sampler.kind, draw: other.op.name },
    )
  }
  return { init: groups(false), step: groups(true) }
}

interface NoiseInput {
  readonly name: string
  /** Leading dimensions, before the draws and those of each. */
  readonly dims: readonly Dimension[]
  readonly each: readonly Dimension[]
  readonly draws: Draws['step']
  readonly bound: Map<Tensor, Bound>
  readonly inputs: PlainInput[]
}

/** Declares an input of draws and binds them to it: [steps, (draws,) batch, ...shape]; the axis of draws only where there are several. */
function bindNoise({ name, dims, each, draws, bound, inputs }: NoiseInput): void {
  if (draws.length === 0) return
  const several = draws.length > 1
  inputs.push({ name, dtype: 'float32', dims: [...dims, ...(several ? [draws.length] : []), ...each] })
  const axis = { axis: { int: 0 } }
  draws.forEach((tensors, k) => {
    const make: Bound = ({ node, ints, iteration }) => {
      const now = iteration === '' ? name : node('Gather', [name, iteration], axis)
      return several ? node('Gather', [now, ints([k], [])], axis) : now
    }
    for (const t of tensors) bound.set(t, make)
  })
}
