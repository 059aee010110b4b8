/**
 * The sampler q of adversarial training: a flow, whose entropy is exact, or a generator, whose entropy gradient is VERA's estimate. What q is
 * made of, how it is drawn from, and the phases of a step that train it against an energy; the energy's own phase is adversarial.ts's.
 */
import { checkInteger } from '../graph/checks.ts'
import { LangevinError, suggestion } from '../graph/errors.ts'
import type { Tensor } from '../graph/tensor.ts'
import type { Flow } from '../nn/flow.ts'
import {
  buildGenerator,
  type ConvGeneratorOptions,
  type Generator,
  type GeneratorConfig,
  type GeneratorNoise,
  type MlpGeneratorOptions,
} from '../nn/generator.ts'
import { type VariableSpec, Variables } from '../nn/variables.ts'
import { flowGeneratorLoss, variationalBound, veraEntropySurrogate } from '../objectives/adversarial.ts'
import * as ops from '../ops/index.ts'
import type { OptimizerOptions } from '../optim/optimizers.ts'
import type { Recorder } from '../runtime/state.ts'
import type { DataDescription } from './checkpoint.ts'
import { stateName } from './engine.ts'
import { FLOW, type FlowSource, flowModule } from './flow-module.ts'
import type { Module, ModuleVariables, Objective, Phase } from './method.ts'
import { STREAM } from './streams.ts'

/**
 * q is a normalizing flow: exact entropy, exact density. Let it begin wider than the data (its `scale` at their standard deviation or above): one that
 * begins narrow can collapse onto a few modes, which it never leaves. configs/toys/adversarial-flow.json reaches 0.04 nats on eight Gaussians.
 */
export interface FlowSampler {
  readonly kind: 'flow'
  /** Its config (`inputs` or `shape` may be left to the data), a flow built in code, or one with weights; default spline couplings, `image` for images. */
  readonly flow?: FlowSource
  /** Default Adam 1e-3 with betas (0.5, 0.9). */
  readonly optimizer?: OptimizerOptions
}

/**
 * q is a generator x = g(z) + σε (VERA, Grathwohl 2021): an MLP for vectors, convolutions for images. The entropy's gradient is local: it sees latents
 * within about η of those that made x, so it does not feel that far latents give the same x, nor how much mass each of several modes has. Expect
 * `entropy` too high and mode weights off by tens of percent; configs/toys/vera.json has 0.14 nats on eight Gaussians where a flow has 0.04.
 */
export interface GeneratorSampler
  extends Partial<
      Pick<MlpGeneratorOptions, 'latent' | 'hidden' | 'activation' | 'output' | 'init' | 'scale' | 'shift'>
    >,
    Pick<ConvGeneratorOptions, 'channels' | 'norm'> {
  readonly kind: 'generator'
  /** Default convolutions where the data are images [channels, height, width] and no `hidden` widths are given. */
  readonly network?: 'mlp' | 'conv'
  /** Bounds and start of σ, in units of x; default [0.01, 0.3] as published. */
  readonly noise?: GeneratorNoise
  /** Start of η, the standard deviations of the posterior N(z₀, diag η²) over z; default 0.1 as published. */
  readonly eta?: number
  /** K, importance samples an example for the entropy's gradient; default 20 as published. */
  readonly samples?: number
  /**
   * M, latents from the prior that all of a batch's examples share as further importance samples; default 0, as published. They see where g folds over itself,
   * which samples about each example's own latent do not: worth it for a latent of a few numbers.
   */
  readonly sharedSamples?: number
  /** Factor λ of the entropy in q's loss; 1 (default) is the bound itself; smaller for sharper samples of images. */
  readonly entropyWeight?: number
  /** Default Adam 1e-3 with betas (0, 0.9), as published. */
  readonly optimizer?: OptimizerOptions
  /** Of η; default Adam 0.02 with betas (0.9, 0.999), as published. */
  readonly posteriorOptimizer?: OptimizerOptions
}

export type SamplerQ = FlowSampler | GeneratorSampler

/** What q plays against. */
export interface Opponent {
  readonly batch: number
  /** Updates of q for one of the energy. */
  readonly steps: number
  /** E over the model's variables, for samples of q and data alike; no statistics are kept. */
  energy(model: Variables, x: Tensor): Tensor
}

/** Name of a generator's module. */
export const GENERATOR = 'generator'

/** State names of a step: q's draws, and the latents that made a generator's. */
export const NEGATIVES = 'batch/negatives'
const LATENTS = 'batch/latents'

/** A q in a run. */
export interface Q {
  /** What it is a distribution by. */
  readonly network: Flow | Generator
  readonly modules: readonly Module[]
  /** `count` independent draws [count, ...shape]; uses streams `stream` and `stream + 1`. */
  sample(of: ModuleVariables, key: Tensor, count: number, stream: number): Tensor
  /** Records the energy's negatives of a step in {@link NEGATIVES}. */
  draw(r: Recorder, key: Tensor, count: number): void
  /** Phases that train q, after the energy's. */
  phases(opponent: Opponent): readonly Phase[]
}

/** Variables as they stand in the state. */
export function stateVariables(r: Recorder): ModuleVariables {
  return (module = '') => new Variables((spec) => r.read(stateName(module, spec.name)))
}

const kinds = ['flow', 'generator']

/** The q that the options describe, for examples of the data's shape. @throws LangevinError E_CONFIG, RangeError */
export function makeQ(options: SamplerQ, data: DataDescription): Q {
  switch (options.kind) {
    case 'flow':
      return new FlowQ(options, data)
    case 'generator':
      return new GeneratorQ(options, data)
    default: {
      const kind = String((options as { kind: unknown }).kind)
      throw new LangevinError('E_CONFIG', `q: kind '${kind}' is not known.${suggestion(kind, kinds)}`)
    }
  }
}

/** The generator that the options describe. */
function generatorOf(options: GeneratorSampler, { shape, range }: Pick<DataDescription, 'shape' | 'range'>): Generator {
  const image = shape.length === 3
  const { network = image && options.hidden === undefined ? 'conv' : 'mlp' } = options
  const { latent = image ? 128 : 2 * (shape[0] ?? 1), output = range === null ? 'identity' : 'tanh' } = options
  const { hidden, channels, norm, activation, noise, init, scale, shift } = options
  const parts: Record<string, unknown> = { hidden, channels, norm, activation, noise, init, scale, shift }
  const given = Object.fromEntries(Object.entries(parts).filter(([, v]) => v !== undefined))
  const foreign = (network === 'conv' ? ['hidden', 'init', 'scale', 'shift'] : ['channels', 'norm']).find(
    (n) => n in given,
  )
  if (foreign !== undefined)
    throw new LangevinError(
      'E_CONFIG',
      `q: a generator with network '${network}' has no option '${foreign}'; leave it out, or choose network '${network === 'conv' ? 'mlp' : 'conv'}'`,
    )
  return buildGenerator({ kind: network, latent, shape, output, ...given } as GeneratorConfig)
}

/** A phase without draws or chains of its own. */
function phase(parts: Pick<Phase, 'name' | 'repeat' | 'optimizer'> & Pick<Phase, 'objective'>): Phase {
  return { ...parts, trains: [parts.name], draw: () => {}, chains: () => [], after: () => {} } as Phase
}

/** `bound` of the mean log likelihood: of this step's data, by the energy as it is and q before the update. */
function boundOf(data: Tensor, samples: Tensor, entropy: Tensor): Tensor {
  return variationalBound({ energyData: data, energyModel: samples, entropy }).metrics.bound as Tensor
}

class FlowQ implements Q {
  readonly modules: readonly Module[]
  readonly network: Flow
  private readonly options: FlowSampler

  constructor(options: FlowSampler, data: DataDescription) {
    const { flow, module } = flowModule(options.flow, data.shape)
    this.network = flow
    this.modules = [module]
    this.options = options
  }

  sample(of: ModuleVariables, key: Tensor, count: number, stream: number): Tensor {
    return this.network.sample(key, count, stream, { variables: of(FLOW), norm: 'running' }).x
  }

  draw(r: Recorder, key: Tensor, count: number): void {
    r.write(NEGATIVES, this.sample(stateVariables(r), key, count, STREAM.noise))
  }

  phases({ batch, steps, energy }: Opponent): readonly Phase[] {
    const { optimizer = { kind: 'adam', learningRate: 1e-3, betas: [0.5, 0.9] } } = this.options
    const objective = (r: Recorder, of: ModuleVariables, key: Tensor): Objective => {
      const pass = { variables: of(FLOW), norm: 'running' as const }
      const { x, logDensity } = this.network.sample(key, batch, STREAM.objective, pass)
      const energies = energy(of(), x)
      const { loss, metrics } = flowGeneratorLoss({ energy: energies, logDensity })
      const entropy = metrics.entropy as Tensor
      return { loss, metrics: { bound: boundOf(energy(of(), r.read('batch/data')), energies, entropy), entropy } }
    }
    return [phase({ name: FLOW, repeat: steps, optimizer, objective })]
  }
}

class GeneratorQ implements Q {
  readonly modules: readonly Module[]
  readonly network: Generator
  private readonly options: GeneratorSampler
  private readonly eta: VariableSpec

  constructor(options: GeneratorSampler, data: DataDescription) {
    const generator = generatorOf(options, data)
    const { eta = 0.1, samples = 20, entropyWeight = 1 } = options
    if (!(Number.isFinite(eta) && eta > 0)) throw new RangeError(`q.eta must be a positive number; got ${eta}`)
    if (!(Number.isFinite(entropyWeight) && entropyWeight >= 0))
      throw new RangeError(`q.entropyWeight must be a finite number ≥ 0; got ${entropyWeight}`)
    checkInteger('q.samples', samples, 1)
    checkInteger('q.sharedSamples', options.sharedSamples ?? 0, 0)
    this.network = generator
    this.options = options
    const init = { kind: 'constant', value: Math.log(eta) } as const
    this.eta = { name: 'log_eta', shape: [generator.latent], init, role: 'parameter' }
    this.modules = [
      { name: GENERATOR, variables: generator.variables },
      { name: 'posterior', variables: [this.eta] },
    ]
  }

  sample(of: ModuleVariables, key: Tensor, count: number, stream: number): Tensor {
    return this.network.sample(key, count, stream, { variables: of(GENERATOR), norm: 'running' }).x
  }

  draw(r: Recorder, key: Tensor, count: number): void {
    const variables = stateVariables(r)(GENERATOR)
    const { x, z } = this.network.sample(key, count, STREAM.noise, { variables, norm: 'running' })
    r.write(NEGATIVES, x)
    r.write(LATENTS, z)
  }

  phases(opponent: Opponent): readonly Phase[] {
    const { optimizer = { kind: 'adam', learningRate: 1e-3, betas: [0, 0.9] } } = this.options
    const { posteriorOptimizer = { kind: 'adam', learningRate: 0.02 } } = this.options
    // The energy's negatives are draws of the generator as it is before its update, so η can learn from them.
    return [
      phase({
        name: 'posterior',
        optimizer: posteriorOptimizer,
        objective: (r, of, key) => this.posterior(r, of, key),
      }),
      phase({
        name: GENERATOR,
        repeat: opponent.steps,
        optimizer,
        objective: (r, of, key) => this.adversary(opponent, r, of, key),
      }),
    ]
  }

  private vera(
    of: ModuleVariables,
    x: Tensor,
    z0: Tensor,
    draws: { noise: { key: Tensor; stream: number }; samples: number; sharedSamples?: number },
  ) {
    const pass = { variables: of(GENERATOR), norm: 'running' as const }
    const generator = (z: Tensor) => this.network.generate(z, pass)
    const eta = ops.exp(of('posterior').get(this.eta))
    const sigma = this.network.sigma(pass)
    return { eta, sigma, ...veraEntropySurrogate({ generator, x, z0, eta, sigma, ...draws }) }
  }

  /** η ascends the ELBO of log q(x), with one draw an example as published. */
  private posterior(r: Recorder, of: ModuleVariables, key: Tensor): Objective {
    const noise = { key, stream: STREAM.objective2 }
    const { posteriorLoss, eta } = this.vera(of, r.read(NEGATIVES), r.read(LATENTS), { noise, samples: 1 })
    return { loss: posteriorLoss, metrics: { eta: ops.mean(eta) } }
  }

  /** The generator descends E_q[E] - λH(q). The value is that, by the entropy's estimate; the gradient of H is the surrogate's. */
  private adversary({ batch, energy }: Opponent, r: Recorder, of: ModuleVariables, key: Tensor): Objective {
    const { samples = 20, sharedSamples = 0, entropyWeight = 1 } = this.options
    const noise = { key, stream: STREAM.objective + 2 }
    const { x, z } = this.network.sample(key, batch, STREAM.objective, { variables: of(GENERATOR), norm: 'running' })
    const { surrogate, entropy, metrics, sigma } = this.vera(of, x, z, { noise, samples, sharedSamples })
    const energies = energy(of(), x)
    const h = ops.add(entropy, ops.sub(surrogate, ops.stopGradient(surrogate)))
    const bound = boundOf(energy(of(), r.read('batch/data')), energies, entropy)
    return { loss: ops.sub(ops.mean(energies), ops.mul(h, entropyWeight)), metrics: { bound, ...metrics, sigma } }
  }
}
