/**
 * A network: named stages from an example's shape to logits [n, classes] or an energy [n].
 * Stateless: it knows shapes, names and initial values; numbers live in a Model. The shipped architectures stand in networks.ts.
 */
import { LangevinError, shapeError } from '../graph/errors.ts'
import { type Shape, showShape } from '../graph/shape.ts'
import type { Tensor } from '../graph/tensor.ts'
import * as ops from '../ops/index.ts'
import { checkLevel, levelsOf, showLevels } from './conditioning.ts'
import type { Layer } from './layer.ts'
import { type Pass, Scope, type VariableSpec, Variables } from './variables.ts'

/** Stages and their names; a stage named '' prefixes nothing. */
export interface Stage {
  readonly name: string
  readonly layer: Layer
}

/** Plain data from which `buildNetwork` makes the network again; `custom` networks can only be rebuilt by their own code. */
export type NetworkConfig = { readonly kind: string } & { readonly [option: string]: unknown }

export interface NetworkOptions {
  /** Declares a noise-conditioned network: its layers read the level of each example from `scope.sigma()`. */
  readonly sigma?: { readonly smallest: number } | undefined
  /** Declares that log Z = 0, so that minus the energy is the log density itself. */
  readonly normalised?: boolean | undefined
}

/** The values of discrete x: every number one of two, or one-hot along the last axis. */
export type DiscreteValues = readonly [off: number, on: number] | 'oneHot'

/** An energy-based model's function, and all that trainers, samplers and exports need to know of it. */
export class Network {
  readonly config: NetworkConfig
  /** Shape of one example, without the batch: [channels, height, width] or [features]. */
  readonly shape: Shape
  /** Number of classes; 0 for a network that gives one energy. */
  readonly classes: number
  readonly stages: readonly Stage[]
  /** Parameters and statistics in the order of declaration. */
  readonly variables: readonly VariableSpec[]
  /** The level that a noise-conditioned network is evaluated at where the pass gives none; undefined for others. */
  readonly smallestSigma: number | undefined
  /** log Z = 0: minus the energy is the log density itself, in nats. */
  readonly normalised: boolean

  constructor(config: NetworkConfig, shape: Shape, stages: readonly Stage[], options: NetworkOptions = {}) {
    this.config = config
    this.shape = shape
    this.stages = stages
    this.smallestSigma = options.sigma?.smallest
    this.normalised = options.normalised ?? false
    if (this.smallestSigma !== undefined) checkLevel(config.kind, 'sigma.smallest', this.smallestSigma)
    if (stages.length === 0) throw new RangeError('Network: at least one stage is needed')
    const variables = new Variables()
    const out = this.forward(ops.input('x', [2, ...shape], 'float32'), { variables, norm: 'running' })
    const columns = out.shape[1]
    if (out.shape[0] !== 2 || out.rank > 2 || columns === 0) {
      throw shapeError(
        'Network',
        `the last stage must give [batch], [batch,1] or [batch, classes]; got ${showShape(out.shape)} for a batch of 2`,
      )
    }
    this.classes = columns === undefined || columns === 1 ? 0 : columns
    this.variables = [...variables.specs.values()]
  }

  /** Takes a noise level an example: `Pass.sigma`. */
  get conditioned(): boolean {
    return this.smallestSigma !== undefined
  }

  /** What x may be where the energy is one of discrete x; undefined for energies over real numbers. */
  get discrete(): DiscreteValues | undefined {
    return undefined
  }

  /** Runs stages `from` to `to` (exclusive; default all) on `x`. @throws LangevinError E_CONFIG for a `sigma` that the network does not take */
  forward(x: Tensor, pass: Pass, from = 0, to = this.stages.length): Tensor {
    if (pass.sigma !== undefined) this.needSigma('a pass with sigma')
    return this.within(x, new Scope('', pass), from, to)
  }

  /** The same as a part of another network: variables are named after `scope`, whose noise level counts only if this network takes one. */
  within(x: Tensor, scope: Scope, from = 0, to = this.stages.length): Tensor {
    if (from === 0) this.checkInput(x)
    const root = this.rooted(x, scope)
    return this.stages.slice(from, to).reduce((h, s) => s.layer.apply(h, s.name === '' ? root : root.child(s.name)), x)
  }

  /** Class logits [n, classes] of a classifier. */
  logits(x: Tensor, pass: Pass): Tensor {
    this.needClasses('logits')
    return this.forward(x, pass)
  }

  /** Whether the last stage is a linear head. */
  get hasFeatures(): boolean {
    return this.stages.at(-1)?.layer.features !== undefined
  }

  /** What the last linear layer reads, [n, d]. @throws LangevinError E_CONFIG for a network that does not end in one */
  features(x: Tensor, pass: Pass): Tensor {
    if (pass.sigma !== undefined) this.needSigma('a pass with sigma')
    return this.featuresIn(x, new Scope('', pass))
  }

  /** The same as a part of another network; see `within`. */
  featuresIn(x: Tensor, scope: Scope): Tensor {
    const last = this.stages.length - 1
    const { name, layer } = this.stages[last] as Stage
    if (layer.features === undefined) {
      throw new LangevinError(
        'E_CONFIG',
        `features needs a network that ends in a linear layer; network '${this.config.kind}' ends in '${layer.kind}'`,
      )
    }
    const root = this.rooted(x, scope)
    return layer.features(this.within(x, scope, 0, last), name === '' ? root : root.child(name))
  }

  /** Energies [n] from the output of the last stage: -logsumexp of logits, or the single column itself. */
  energyOf(output: Tensor): Tensor {
    if (this.classes > 0) return ops.neg(ops.logsumexp(output, -1))
    return output.rank === 2 ? ops.reshape(output, [output.shape[0] as number]) : output
  }

  /** E(x) = -log p(x) up to a constant, per example: [n]. */
  energy(x: Tensor, pass: Pass): Tensor {
    return this.energyOf(this.forward(x, pass))
  }

  /**
   * One Gibbs sweep x -> x' over all sites, where the network has exact conditionals (rbm, ising, potts); leaves exp(-E) invariant.
   * Takes streams from `stream` on.
   */
  sweep?(x: Tensor, pass: Pass, key: Tensor, stream: number): Tensor

  /** Shape of the base noise z of one exact draw, where the network has such draws (flows). */
  readonly baseShape?: Shape

  /** The exact draws x [n, ...shape] that standard normal z [n, ...baseShape] become. */
  draw?(z: Tensor, pass: Pass): Tensor

  /** True where stages 0..count-1 together are affine in x, so that PYLD's inner loop is one fused update. */
  firstStagesAffine(count: number): boolean {
    return this.stages.slice(0, count).every((s) => s.layer.affine)
  }

  needClasses(what: string): void {
    if (this.classes === 0) {
      throw new LangevinError(
        'E_CONFIG',
        `${what} needs a classifier; network '${this.config.kind}' gives one energy an example. Build it with classes: 2 or more.`,
      )
    }
  }

  /** @throws LangevinError E_CONFIG where the network is not noise-conditioned */
  needSigma(what: string): void {
    if (!this.conditioned) {
      throw new LangevinError(
        'E_CONFIG',
        `${what} needs a noise-conditioned network; '${this.config.kind}' takes no noise level. Build it with sigma: { smallest: 0.01 }, or leave sigma out.`,
      )
    }
  }

  /** The scope of the stages of a pass over x. */
  private rooted(x: Tensor, scope: Scope): Scope {
    return new Scope(scope.path, { ...scope.pass, ...this.levels(x, scope.pass.sigma) })
  }

  /** The noise levels of a pass over x, if any. */
  private levels(x: Tensor, sigma: Tensor | undefined): { readonly sigma?: Tensor } {
    if (this.smallestSigma === undefined) return {}
    const n = x.shape[0] as number
    const given = sigma ?? ops.scalar(this.smallestSigma)
    const levels = levelsOf(given, n)
    if (levels === undefined)
      throw shapeError('Network', `sigma must be float32 [batch] = [${n}] or a scalar; got ${showLevels(given)}`)
    return { sigma: levels }
  }

  private checkInput(x: Tensor): void {
    const fits = x.rank === this.shape.length + 1 && this.shape.every((d, i) => d === x.shape[i + 1])
    if (!fits) throw shapeError('Network', `takes [batch,${this.shape.join(',')}]; got ${showShape(x.shape)}`)
  }
}
