/**
 * The training steps that the benchmark times, as methods of the shared engine (lib/trainers/engine.ts): the same program, guards and
 * update that a trainer runs, on one fixed batch and without a buffer, as the peers' scripts do. Not for training.
 */
import { grad } from '../autodiff/index.ts'
import { LangevinError } from '../graph/errors.ts'
import { type HostTensor, hostTensor } from '../graph/host-tensor.ts'
import { type Shape, sizeOf } from '../graph/shape.ts'
import type { Tensor } from '../graph/tensor.ts'
import type { Network } from '../nn/network.ts'
import { energyNetwork } from '../nn/networks.ts'
import { Variables } from '../nn/variables.ts'
import { jemLoss } from '../objectives/jem.ts'
import { slicedWith } from '../objectives/score-matching.ts'
import * as ops from '../ops/index.ts'
import { HostRandom } from '../runtime/host-random.ts'
import type { Recorder, State } from '../runtime/state.ts'
import type { Sampler } from '../samplers/sampler.ts'
import { makeSampler } from '../samplers/samplers.ts'
import { networkTarget } from '../samplers/target.ts'
import {
  type ChainRound,
  type Method,
  type ModuleVariables,
  type Objective,
  type Phase,
  type SamplingCode,
  type Segment,
  singlePhase,
} from '../trainers/method.ts'
import type { EnergyWorkload, JemWorkload } from './workloads.ts'

const DATA = 'batch/data'
const LABELLED = 'batch/labelled'
const LABELS = 'batch/labels'
const CHAIN = 'chain/marginal'
const START = 'start/marginal'
const KEY = 'rng/train'
const CHAIN_KEY = 'rng/chain'
const STREAM_NOISE = 1
const STREAM_CHAIN = 1000
/** Weight of a batch in the running statistics: PyTorch's default, which the peers' networks have. */
const STATISTICS_MOMENTUM = 0.1

/** The loss over the variables; it may read the data and the step's key. */
type Loss = (network: Network, variables: Variables, r: Recorder) => Tensor

/** Standard normal or uniform numbers in [low, high). */
export function randomTensor(shape: Shape, seed: number, range?: readonly [number, number]): HostTensor {
  const random = new HostRandom(seed)
  const data = new Float32Array(sizeOf(shape))
  for (let i = 0; i < data.length; i++) {
    data[i] = range === undefined ? random.normal() : range[0] + (range[1] - range[0]) * random.uniform()
  }
  return hostTensor(data, shape)
}

/** A method from a loss: fixed data, no chains. */
class LossMethod implements Method, Phase {
  readonly name = ''
  protected readonly network: Network
  protected readonly batch: number
  private readonly loss: Loss

  constructor(network: Network, batch: number, loss: Loss) {
    this.network = network
    this.batch = batch
    this.loss = loss
  }

  async setup(state: State): Promise<void> {
    await state.put(DATA, randomTensor([this.batch, ...this.network.shape], 1), false)
  }

  draw(_: Recorder): void {}

  chains(): readonly ChainRound[] {
    return []
  }

  objective(r: Recorder, of: ModuleVariables): Objective {
    const variables = of()
    return { loss: this.loss(this.network, variables, r), metrics: {} }
  }

  after(_: Recorder): void {}

  async reinitialize(_state: State, _seed: number): Promise<void> {}

  segments(): readonly Segment[] {
    return singlePhase(this)
  }

  async sampling(): Promise<SamplingCode> {
    throw new LangevinError('E_INTERNAL', 'internal: a benchmark draws no samples')
  }
}

/** Persistent contrastive divergence: `k` Langevin steps of chains that begin at the data and go on from step to step. */
class ContrastiveMethod extends LossMethod {
  private readonly sampler: Sampler

  constructor(network: Network, batch: number, sampler: Sampler) {
    super(network, batch, contrastiveLoss)
    this.sampler = sampler
  }

  override async setup(state: State): Promise<void> {
    await super.setup(state)
    await state.put(CHAIN, randomTensor([this.batch, ...this.network.shape], 2))
  }

  override chains(): readonly ChainRound[] {
    return [chainRound(this.network, this.sampler, 'running')]
  }
}

/** JEM++ without buffer and augmentation: each step's chains begin at the same points, as in the peers' script. */
class JemBenchMethod implements Method, Phase {
  readonly name = ''
  private readonly network: Network
  private readonly batch: number
  private readonly sampler: Sampler

  constructor(network: Network, batch: number, sampler: Sampler) {
    this.network = network
    this.batch = batch
    this.sampler = sampler
  }

  async setup(state: State): Promise<void> {
    const shape = [this.batch, ...this.network.shape]
    for (const [i, name] of [DATA, LABELLED, START].entries())
      await state.put(name, randomTensor(shape, i + 1, [-1, 1]), false)
    const random = new HostRandom(4)
    const labels = Int32Array.from({ length: this.batch }, () => random.int(this.network.classes))
    await state.put(LABELS, hostTensor(labels, [this.batch]), false)
  }

  draw(r: Recorder): void {
    r.write(CHAIN, r.read(START))
  }

  chains(): readonly ChainRound[] {
    return [chainRound(this.network, this.sampler, 'batch')]
  }

  objective(r: Recorder, of: ModuleVariables): Objective {
    const variables = of()
    const sets: Map<string, Tensor>[] = []
    const pass = () => {
      const statistics = new Map<string, Tensor>()
      sets.push(statistics)
      return { variables, norm: 'batch' as const, statistics }
    }
    const batches = {
      data: r.read(DATA),
      negatives: r.read(CHAIN),
      labelled: r.read(LABELLED),
      labels: r.read(LABELS),
    }
    const weights = { px: 1, pyx: 1, pxy: 0, energyPenalty: 0 }
    const { loss, ...metrics } = jemLoss(this.network, pass, batches, weights)
    return { loss, metrics, statistics: running(variables, sets), guards: [] }
  }

  after(_: Recorder): void {}

  async reinitialize(_state: State, _seed: number): Promise<void> {}

  segments(): readonly Segment[] {
    return singlePhase(this)
  }

  async sampling(): Promise<SamplingCode> {
    throw new LangevinError('E_INTERNAL', 'internal: a benchmark draws no samples')
  }
}

/** Running statistics after the step's passes, one after another: s ← (1 - m)·s + m·batch. */
function running(variables: Variables, sets: readonly Map<string, Tensor>[]): Map<string, Tensor> {
  const out = new Map<string, Tensor>()
  for (const set of sets) {
    for (const [name, batch] of set) {
      const before = out.get(name) ?? variables.tensor(name)
      out.set(name, ops.add(ops.mul(before, 1 - STATISTICS_MOMENTUM), ops.mul(batch, STATISTICS_MOMENTUM)))
    }
  }
  return out
}

function chainRound(network: Network, sampler: Sampler, norm: 'batch' | 'running'): ChainRound {
  const names = { x: CHAIN, key: CHAIN_KEY, energy: `${CHAIN}Energy` }
  return { name: 'marginal', steps: sampler.steps, record: (r) => recordChainStep(r, network, sampler, norm, names) }
}

/** One step of the sampler over the state tensors of the given names; the energy is the mean before the step. */
export function recordChainStep(
  r: Recorder,
  network: Network,
  sampler: Sampler,
  norm: 'batch' | 'running',
  names: { readonly x: string; readonly key: string; readonly energy: string },
): void {
  const variables = new Variables((v) => r.read(v.name))
  const target = networkTarget(network, { variables, norm }, { firstStage: sampler.firstStage })
  const step = sampler.step(target, { x: r.read(names.x) }, r.read(names.key), STREAM_CHAIN)
  r.write(names.x, step.state.x)
  r.write(names.key, step.key)
  r.write(names.energy, ops.mean(step.info.energy))
}

/** mean E(x⁺) - mean E(x⁻) (Hinton 2002; Tieleman 2008). */
const contrastiveLoss: Loss = (network, variables, r) =>
  jemLoss(
    network,
    () => ({ variables, norm: 'batch' }),
    { data: r.read(DATA), negatives: r.read(CHAIN) },
    { px: 1, pyx: 0, pxy: 0, energyPenalty: 0 },
  ).loss

/** ½ mean ‖σ s(x + σε) + ε‖² (Vincent 2011), s = -∇E. */
function denoisingLoss(sigma: number): Loss {
  return (network, variables, r) => {
    const data = r.read(DATA)
    const noise = ops.normal(r.read(KEY), data.shape, STREAM_NOISE)
    const x = ops.add(data, ops.mul(noise, sigma))
    const [gradient] = grad(ops.sum(network.energy(x, { variables, norm: 'batch' })), [x])
    const residual = ops.sub(noise, ops.mul(gradient as Tensor, sigma))
    return ops.mul(ops.sum(ops.square(residual)), 0.5 / (data.shape[0] as number))
  }
}

/** mean[ vᵀ(∇s)v + ½‖s‖² ] with v standard normal (Song et al. 2019). */
const slicedLoss: Loss = (network, variables, r) => {
  const x = r.read(DATA)
  const v = ops.normal(r.read(KEY), x.shape, STREAM_NOISE)
  const energy = (p: Tensor) => network.energy(p, { variables, norm: 'batch' })
  return slicedWith(energy, x, ops.unsqueeze(v, 0)).loss
}

/** Logistic regression of data against standard normal noise, one draw a datum (Gutmann & Hyvärinen 2010); the network's energy includes log Z. */
const contrastiveNoiseLoss: Loss = (network, variables, r) => {
  const data = r.read(DATA)
  const [n, d] = [data.shape[0] as number, sizeOf(network.shape)]
  const x = ops.concat([data, ops.normal(r.read(KEY), data.shape, STREAM_NOISE)], 0)
  const logNoise = ops.add(ops.mul(ops.sum(ops.square(x), 1), -0.5), -0.5 * d * Math.log(2 * Math.PI))
  const logit = ops.sub(ops.neg(network.energy(x, { variables, norm: 'batch' })), logNoise)
  const part = (from: number) => ops.slice(logit, [from], [from + n])
  return ops.add(ops.mean(ops.softplus(ops.neg(part(0)))), ops.mean(ops.softplus(part(n))))
}

/** E(x) + log Z with log Z a parameter `log_z`, as noise-contrastive estimation trains it. */
function withLogZ(inner: Network): Network {
  return energyNetwork({ shape: inner.shape, name: 'with log Z' }, (x, scope) =>
    ops.add(inner.energy(x, scope.pass), scope.parameter('log_z', [], { kind: 'constant', value: 0 })),
  )
}

/** The network and the method of an energy row, by the workload's name: pcd_*, dsm_*, ssm_*, nce_*. */
export function energyMethod(
  name: string,
  w: EnergyWorkload,
  network: Network,
): { readonly network: Network; readonly method: Method } {
  const kind = name.split('_')[0]
  const by = (loss: Loss) => ({ network, method: new LossMethod(network, w.batch, loss) })
  switch (kind) {
    case 'pcd': {
      const sampler = makeSampler({ kind: 'sgld', steps: need(name, 'k', w.k), stepSize: 0.01, noise: 0.1 })
      return { network, method: new ContrastiveMethod(network, w.batch, sampler) }
    }
    case 'dsm':
      return by(denoisingLoss(need(name, 'sigma', w.sigma)))
    case 'ssm':
      return by(slicedLoss)
    case 'nce': {
      const extended = withLogZ(network)
      return { network: extended, method: new LossMethod(extended, w.batch, contrastiveNoiseLoss) }
    }
    default:
      throw new LangevinError(
        'E_CONFIG',
        `workload '${name}': its name must begin with langevin_, pcd_, dsm_, ssm_, nce_ or jempp_`,
      )
  }
}

/** The method of a jempp_* row. */
export function jemBenchMethod(w: JemWorkload, network: Network): Method {
  const { M: outer, N: inner, pyld_lr: stepSize, eps: gradientClamp } = w
  return new JemBenchMethod(network, w.batch, makeSampler({ kind: 'pyld', outer, inner, stepSize, gradientClamp }))
}

function need(name: string, field: string, value: number | undefined): number {
  if (value === undefined) throw new LangevinError('E_CONFIG', `workload '${name}' lacks '${field}'`)
  return value
}
