/**
 * A workload made ready to be timed: network, state, compiled stages and one program, with the reset that brings it back to its start.
 * Chains run as Chains runs them, training steps as the trainers' engine runs them. Timing is measure.ts's.
 */
import { Dataset } from '../data/dataset.ts'
import { LangevinError } from '../graph/errors.ts'
import { type HostTensor, hostTensor, zeros } from '../graph/host-tensor.ts'
import { sizeOf } from '../graph/shape.ts'
import { Model } from '../nn/model.ts'
import type { Network } from '../nn/network.ts'
import { convEnergyNetwork, mlpNetwork, wideResNetNetwork } from '../nn/networks.ts'
import type { Precision } from '../runtime/compile.ts'
import type { Device } from '../runtime/devices.ts'
import { makeProgram, type Program } from '../runtime/program.ts'
import { keyFromSeed, Recorder, runStage, type Stage, State } from '../runtime/state.ts'
import { makeSampler } from '../samplers/samplers.ts'
import { disposeStages, Engine } from '../trainers/engine.ts'
import type { Method } from '../trainers/method.ts'
import { energyMethod, jemBenchMethod, randomTensor, recordChainStep } from './methods.ts'
import type { ChainWorkload, EnergyWorkload, JemWorkload, Workload } from './workloads.ts'

/** A compiled workload. One call of it is one step of `program`. */
export interface Prepared {
  readonly name: string
  /** Units (chain steps or training steps) in a call. */
  readonly units: number
  readonly program: Program
  readonly stages: readonly Stage[]
  readonly state: State
  /** Names of the float32 scalars that each call records. */
  readonly metrics: readonly string[]
  /** Back to the initial numbers, so that every repeat does the same work. */
  reset(): Promise<void>
  dispose(): void
}

/** Builds and compiles a workload; initial numbers follow from `seed`. @throws LangevinError E_DEVICE where the processor lacks the precision */
export function prepare(
  name: string,
  w: Workload,
  device: Device,
  seed = 0,
  precision: Precision = 'float32',
): Promise<Prepared> {
  const state = new State(device, precision)
  if (w.net === 'wrn') return prepareJem(name, w, seed, state)
  return 'chains' in w ? prepareChains(name, w, seed, state) : prepareEnergy(name, w, seed, state)
}

function energyNet(w: ChainWorkload | EnergyWorkload): Network {
  if (w.net === 'conv') return convEnergyNetwork({ shape: w.shape, channels: w.channels, activation: w.act })
  const [inputs, ...rest] = w.dims
  if (inputs === undefined || rest.at(-1) !== 1)
    throw new LangevinError('E_CONFIG', `workload: dims must be [inputs, ..., 1]; got [${w.dims}]`)
  return mlpNetwork({ inputs, hidden: rest.slice(0, -1), activation: w.act })
}

async function prepareChains(name: string, w: ChainWorkload, seed: number, state: State): Promise<Prepared> {
  const network = energyNet(w)
  await putVariables(state, new Model(network, { seed, device: state.device }))
  const start = randomTensor([w.chains, ...network.shape], seed + 1)
  await state.put('start', start)
  await state.put('x', start)
  await state.put('key', keyFromSeed(seed))
  const sampler = makeSampler({ kind: 'sgld', steps: w.steps, stepSize: w.step_size, noise: w.noise })
  const r = new Recorder(state)
  recordChainStep(r, network, sampler, 'running', { x: 'x', key: 'key', energy: 'energy' })
  const stage = await r.compile('chain')
  const step = runStage(stage)
  const program = makeProgram([
    { do: 'copy', from: [state.get('start')], to: [state.get('x')] },
    { do: 'repeat', count: sampler.steps, body: [step] },
    { do: 'record', tensors: [state.get('energy')] },
  ])
  return {
    name,
    units: sampler.steps,
    program,
    stages: [stage],
    state,
    metrics: ['energy'],
    reset: async () => {},
    dispose: () => {
      stage.plan.dispose()
      state.dispose()
    },
  }
}

function prepareEnergy(name: string, w: EnergyWorkload, seed: number, state: State): Promise<Prepared> {
  const { network, method } = energyMethod(name, w, energyNet(w))
  return prepareTraining(name, network, method, { kind: 'adam', learningRate: w.lr }, seed, state)
}

function prepareJem(name: string, w: JemWorkload, seed: number, state: State): Promise<Prepared> {
  const network = wideResNetNetwork({ depth: w.depth, width: w.width })
  const optimizer = { kind: 'sgd', learningRate: w.lr, momentum: 0.9, weightDecay: 4e-4 } as const
  return prepareTraining(name, network, jemBenchMethod(w, network), optimizer, seed, state)
}

async function prepareTraining(
  name: string,
  network: Network,
  method: Method,
  optimizer: ConstructorParameters<typeof Engine>[3]['optimizer'] & object,
  seed: number,
  state: State,
): Promise<Prepared> {
  const plan = { stepsPerEpoch: 1, totalSteps: 1 }
  const model = new Model(network, { seed, device: state.device })
  const engine = new Engine(state, model, method, { optimizer, seed })
  await engine.setup(noData(network), plan)
  const reset = await resetOf(state, model)
  const { program, stages, metrics } = await engine.compile(plan)
  return {
    name,
    units: 1,
    program,
    stages,
    state,
    metrics,
    reset,
    dispose: () => {
      disposeStages(stages)
      state.dispose()
    },
  }
}

/** Writes the present contents of the state again. Keeps no second copy of what the model has, nor of zeros: they are most of a large state. */
async function resetOf(state: State, model: Model): Promise<() => Promise<void>> {
  const variables = new Set(model.network.variables.map((v) => v.name))
  const kept = new Map<string, HostTensor>()
  for (const name of state.names(true)) {
    if (variables.has(name)) continue
    const value = await state.get(name).read()
    if (value.data.some((v) => v !== 0)) kept.set(name, value)
  }
  return async () => {
    for (const name of state.names(true)) {
      const tensor = state.get(name)
      const value = variables.has(name) ? model.value(name) : kept.get(name)
      await tensor.write(value ?? hostTensor(zeros(tensor.dtype, tensor.size), tensor.shape, tensor.dtype))
    }
  }
}

async function putVariables(state: State, model: Model): Promise<void> {
  for (const v of model.network.variables) await state.put(v.name, model.value(v.name))
}

/** The benchmarks' methods bring their own batch; the engine asks for data all the same. */
function noData(network: Network): Dataset {
  return new Dataset({
    name: 'none',
    features: hostTensor(new Float32Array(sizeOf(network.shape)), [1, ...network.shape]),
  })
}
