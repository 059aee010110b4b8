/**
 * A sampler's whole chain as graphs for one batch size: where it begins, its first state, one step. Keys go as in `Chains`: a start of its own draws at
 * step 0 of the seed, then comes `init`, then the steps, one step of the key each. The exporter (sampler-trace.ts) writes these graphs
 * down; the check (verify-sampler.ts) runs the very same ones natively.
 */
import { LangevinError } from '../graph/errors.ts'
import type { HostTensor } from '../graph/host-tensor.ts'
import type { Tensor } from '../graph/tensor.ts'
import type { Model } from '../nn/model.ts'
import { Variables } from '../nn/variables.ts'
import * as ops from '../ops/index.ts'
import { completed, holdFinished, STREAM_NOISE, STREAM_START } from '../samplers/chain-stages.ts'
import type { Controls, Sampler, SamplerState } from '../samplers/sampler.ts'
import type { SamplerOptions } from '../samplers/samplers.ts'
import { densityOf } from '../samplers/source.ts'
import { drawStart, type StartOptions } from '../samplers/starts.ts'
import { type Target, tempered } from '../samplers/target.ts'
import { type NamedTensor, reachable } from './trace.ts'

/** Where the chains of a file begin, drawn in the graph. */
export interface SamplerStart {
  readonly options: StartOptions
  /** What class Gaussians need: `mean` [classes, d], `factor` [classes, d, r], `scale` [classes, d]. */
  readonly tensors?: ReadonlyMap<string, HostTensor>
  /** Classes that starts are drawn of; default the rows of `mean`, else 1. */
  readonly classes?: number
  /** Class Gaussians are clamped to [-1, 1]; default true. */
  readonly bounded?: boolean
}

/** What a chain is, whichever way it is run. */
export interface ChainSpec {
  readonly sampler: Sampler<SamplerOptions>
  readonly start: 'input' | SamplerStart
  /** p(x|y) of one class, or of the classes of input `y`. */
  readonly class: number | 'input' | undefined
  readonly norm: 'batch' | 'running'
  readonly sigma: number | undefined
  readonly temperature: number
}

/** The run-time input of each setting that a sampler takes as a tensor. */
export const controlInputs: Readonly<Record<keyof Controls, string>> = { stepSize: 'step_size', noise: 'noise_scale' }

export interface ChainGraph {
  /** x0 or y or both, then step_size and noise_scale: tensors of op `input`. */
  readonly inputs: readonly NamedTensor[]
  readonly parameters: ReadonlyMap<Tensor, { readonly name: string; readonly data: HostTensor }>
  /** int32 [4], an input: the seed at step 0. */
  readonly key: Tensor
  /** int32 [], an input: steps that will be done; transitions, for samplers that count them. */
  readonly goal: Tensor
  readonly first: { readonly state: SamplerState; readonly key: Tensor }
  /** One step: from `before`, inputs, to `after`. */
  readonly before: { readonly state: SamplerState; readonly key: Tensor }
  readonly after: { readonly state: SamplerState; readonly key: Tensor }
  /** float32 [n]: what the step adds to the sum of acceptances; undefined for samplers that accept everything. */
  readonly acceptance: Tensor | undefined
  /** E(x) of the model, [n]. */
  energyOf(x: Tensor): Tensor
}

const STREAM_CLASSES = 32

/** Prefix of a start's tensors among the initializers of a file. */
export const START_TENSOR = 'start/'

/** The graphs for a batch of n chains. Gradients are multiplied by `gradientScale` on their way through the network, for half precision; 1 is off. */
export function chainGraph(model: Model, spec: ChainSpec, n: number, gradientScale = 1): ChainGraph {
  const { network } = model
  const { sampler, sigma } = spec
  const parameters = new Map<Tensor, { readonly name: string; readonly data: HostTensor }>()
  const parameter = (name: string, data: HostTensor): Tensor => {
    const t = ops.input(name, data.shape, data.dtype)
    parameters.set(t, { name, data })
    return t
  }
  const variables = new Variables((v) => parameter(v.name, model.value(v.name)))
  const key = ops.input('key', [4], 'int32')
  const goal = ops.input('goal', [], 'int32')
  const begin = beginning(spec, { n, shape: network.shape, networkClasses: network.classes, key, parameter })
  const { sampler: _, temperature, class: wanted, ...pass } = spec
  const conditional = begin.classes === undefined ? {} : { classes: begin.classes }
  const density = densityOf(network, variables, {
    norm: pass.norm,
    firstStage: sampler.firstStage,
    ...(sigma !== undefined && { sigma }),
    ...(typeof wanted === 'number' && { class: wanted }),
    ...conditional,
  })
  const target = withScaledGradients(tempered(density, 1 / temperature), gradientScale)
  const controls = controlTensors(sampler)
  const state = { ...sampler.init(target, begin.x, begin.key, STREAM_NOISE), ...controls.state }
  const before = {
    state: inputsLike(state),
    key: ops.input('key', [4], 'int32'),
  }
  const stepped = sampler.step(target, before.state, before.key, STREAM_NOISE)
  const after = holdFinished(sampler, before.state, { ...before.state, ...stepped.state }, () => goal)
  after.x.named('x_next')
  const moving = new Set(Object.values(before.state))
  const accepts = [...reachable([stepped.info.acceptance], () => false)].some((t) => moving.has(t))
  const done = completed(sampler, before.state, after, n)
  return {
    inputs: [...begin.inputs, ...controls.inputs],
    parameters,
    key,
    goal,
    first: { state, key: ops.nextKey(begin.key) },
    before,
    after: { state: after, key: stepped.key },
    acceptance: accepts ? ops.select(ops.gt(done, 0), stepped.info.acceptance, 0) : undefined,
    energyOf: (x) =>
      model.graph('energy', x, variables, 'running', sigma === undefined ? undefined : ops.scalar(sigma)),
  }
}

/**
 * The same density, whose gradient has `factor` times its size between the output and x, and its own at x. v + (s - 1)(v - stop(v)) is v, exactly,
 * with the gradient s.
 */
function withScaledGradients(target: Target, factor: number): Target {
  if (factor === 1) return target
  const scaled = (v: Tensor, s: number) => ops.add(v, ops.mul(ops.sub(v, ops.stopGradient(v)), s - 1))
  const enter = (x: Tensor) => scaled(x, 1 / factor)
  const leave = (v: Tensor) => scaled(v, factor)
  const { split, logDensityAt } = target
  return {
    ...target,
    logDensity: (x) => leave(target.logDensity(enter(x))),
    ...(logDensityAt && { logDensityAt: (x: Tensor, sigma: Tensor) => leave(logDensityAt(enter(x), sigma)) }),
    ...(split && {
      split: { ...split, first: (x: Tensor) => split.first(enter(x)), rest: (h: Tensor) => leave(split.rest(h)) },
    }),
  }
}

/** step_size and noise_scale as inputs, and as the state that the sampler reads. */
function controlTensors({ controls = {} }: Sampler): { inputs: NamedTensor[]; state: Record<string, Tensor> } {
  const names = (Object.keys(controlInputs) as (keyof Controls)[]).filter((c) => controls[c] !== undefined)
  const made = names.map((c) => ({ name: controlInputs[c], tensor: ops.input(controlInputs[c], []) }))
  const state = Object.fromEntries(names.map((c, i) => [c, made[i]?.tensor as Tensor]))
  return { inputs: made, state }
}

/** Inputs of the types and names of a state. */
function inputsLike(state: SamplerState): SamplerState {
  const made = Object.entries(state).map(([name, t]) => [name, ops.input(name, t.shape, t.dtype)] as const)
  return Object.fromEntries(made) as unknown as SamplerState
}

interface BeginContext {
  readonly n: number
  readonly shape: readonly number[]
  readonly networkClasses: number
  readonly key: Tensor
  parameter(name: string, data: HostTensor): Tensor
}

interface Beginning {
  readonly x: Tensor
  /** The key that `init` draws from. */
  readonly key: Tensor
  /** int32 [n]: the class of each chain, where chains are of p(x|y) with y an input. */
  readonly classes: Tensor | undefined
  readonly inputs: readonly NamedTensor[]
}

function beginning(spec: ChainSpec, { n, shape, networkClasses, key, parameter }: BeginContext): Beginning {
  const { start } = spec
  const named = (name: string, dims: readonly number[], dtype: 'float32' | 'int32') => ({
    name,
    tensor: ops.input(name, dims, dtype),
  })
  const conditional = spec.class === 'input'
  const y = named('y', [n], 'int32')
  if (start === 'input') {
    const x0 = named('x0', [n, ...shape], 'float32')
    const classes = conditional ? y.tensor : undefined
    return { x: x0.tensor, key, classes, inputs: conditional ? [x0, y] : [x0] }
  }
  const known = conditional ? networkClasses : classesOf(start)
  const classes =
    typeof spec.class === 'number'
      ? ops.broadcast(ops.scalar(Math.min(spec.class, known - 1), 'int32'), [n])
      : known > 1
        ? chosenClass(y.tensor, key, known)
        : ops.zeros([n], 'int32')
  const x = drawStart(start.options, {
    count: n,
    shape,
    key,
    stream: STREAM_START,
    classes,
    mask: ops.ge(ops.iota([n], 0), 0),
    tensor: (name) => {
      const data = start.tensors?.get(name)
      if (data === undefined)
        throw new LangevinError(
          'E_CONFIG',
          `exportSampler: start '${start.options.kind}' needs the tensor '${name}'; give it in start.tensors`,
        )
      return parameter(START_TENSOR + name, data)
    },
    dataRows: () => {
      throw new LangevinError(
        'E_CONFIG',
        "exportSampler: start 'data' draws training examples, which a file does not hold; use start: 'input' and give them as x0",
      )
    },
    bounded: start.bounded ?? true,
  })
  return { x, key: ops.nextKey(key), classes: conditional ? classes : undefined, inputs: [y] }
}

/** Classes that a start draws of. */
export function classesOf(start: SamplerStart): number {
  return start.classes ?? start.tensors?.get('mean')?.shape[0] ?? 1
}

/** The classes of `y`, and random ones where it is negative. */
function chosenClass(y: Tensor, key: Tensor, known: number): Tensor {
  const drawn = ops.randomInt(key, y.shape, { stream: STREAM_CLASSES, bound: known })
  return ops.select(ops.lt(y, 0), drawn, ops.minimum(y, known - 1))
}
