/**
 * A network: named stages from an example's shape to logits [n, classes] or an energy [n].
 * Stateless: it knows shapes, names and initial values; numbers live in a Model. The shipped architectures stand in networks.ts.
 */
import { LangevinError, shapeError } from '../graph/errors.ts'
import { type Shape, showShape } from '../graph/shape.ts'
import type { Tensor } from '../graph/tensor.ts'
import * as ops from '../ops/index.ts'
import type { Layer } from './layer.ts'
import { type Pass, Scope, type VariableSpec, Variables } from './variables.ts'

/** Stages and their names; a stage named '' prefixes nothing. */
export interface Stage {
  readonly name: string
  readonly layer: Layer
}

/** Plain data from which `buildNetwork` makes the network again; `custom` networks can only be rebuilt by their own code. */
export type NetworkConfig = { readonly kind: string } & { readonly [option: string]: unknown }

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

  constructor(config: NetworkConfig, shape: Shape, stages: readonly Stage[]) {
    this.config = config
    this.shape = shape
    this.stages = stages
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

  /** Runs stages `from` to `to` (exclusive; default all) on `x`. */
  forward(x: Tensor, pass: Pass, from = 0, to = this.stages.length): Tensor {
    if (from === 0) this.checkInput(x)
    const root = new Scope('', pass)
    return this.stages.slice(from, to).reduce((h, s) => s.layer.apply(h, s.name === '' ? root : root.child(s.name)), x)
  }

  /** Class logits [n, classes] of a classifier. */
  logits(x: Tensor, pass: Pass): Tensor {
    this.needClasses('logits')
    return this.forward(x, pass)
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

  private checkInput(x: Tensor): void {
    const fits = x.rank === this.shape.length + 1 && this.shape.every((d, i) => d === x.shape[i + 1])
    if (!fits) throw shapeError('Network', `takes [batch,${this.shape.join(',')}]; got ${showShape(x.shape)}`)
  }
}
