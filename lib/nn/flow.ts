/**
 * Normalizing flows: an invertible network z = f(x) with a standard normal base, hence an exact density
 * log q(x) = log N(f(x); 0, I) + log |det ∂f/∂x| (Dinh 2017, "Density estimation using Real NVP").
 * Here: what a bijector and a flow are, chains, and a flow as an energy. The bijectors stand in flow-bijectors.ts and flow-coupling.ts,
 * whole architectures in flows.ts, a flow with numbers in flow-model.ts.
 */
import { shapeError } from '../graph/errors.ts'
import { type Shape, sameShape, showShape, sizeOf } from '../graph/shape.ts'
import type { Tensor } from '../graph/tensor.ts'
import * as ops from '../ops/index.ts'
import { rowSum } from '../ops/rows.ts'
import { layer } from './layer.ts'
import { Network } from './network.ts'
import { type Pass, Scope, type VariableSpec, Variables } from './variables.ts'

/** A batch through a map: the result, and log |det| of the map's Jacobian per example, [n]. */
export interface Mapped {
  readonly value: Tensor
  readonly logDet: Tensor
}

/** One invertible stage. Both directions declare the same variables through the scope; `inverse` undoes `forward`. */
export interface Bijector {
  readonly kind: string
  /** From data towards the base: [n, ...in] to [n, ...out]. */
  forward(x: Tensor, scope: Scope): Mapped
  /** From the base towards data; its logDet is that of the inverse map. */
  inverse(z: Tensor, scope: Scope): Mapped
}

/** Plain data from which `buildFlow` makes the flow again; a `custom` one can only be rebuilt by its own code. */
export type FlowConfig = { readonly kind: string } & { readonly [option: string]: unknown }

/** log |det| = 0 for every example of the batch. */
export function noChange(x: Tensor): Tensor {
  return ops.zeros([x.shape[0] as number])
}

/** log N(z; 0, I) of each row: z [n, ...] to [n]. */
function standardNormalLogDensity(z: Tensor): Tensor {
  const dimensions = sizeOf(z.shape.slice(1))
  return ops.sub(ops.mul(rowSum(ops.square(z)), -0.5), 0.5 * dimensions * Math.log(2 * Math.PI))
}

/** Bijectors one after another, under their index as names. */
export function chain(bijectors: readonly Bijector[]): Bijector {
  const run = (x: Tensor, scope: Scope, direction: 'forward' | 'inverse'): Mapped => {
    const order = bijectors.map((b, i) => [b, String(i)] as const)
    if (direction === 'inverse') order.reverse()
    let value = x
    let logDet = noChange(x)
    for (const [b, name] of order) {
      const mapped = b[direction](value, scope.child(name))
      value = mapped.value
      logDet = ops.add(logDet, mapped.logDet)
    }
    return { value, logDet }
  }
  return {
    kind: 'chain',
    forward: (x, scope) => run(x, scope, 'forward'),
    inverse: (z, scope) => run(z, scope, 'inverse'),
  }
}

/** A normalizing flow's function, without numbers, as `Network` is an energy's. */
export class Flow {
  readonly config: FlowConfig
  /** Shape of one example, without the batch. */
  readonly shape: Shape
  /** Shape of one example's z; as many numbers as `shape`. */
  readonly latentShape: Shape
  /** The stages from data to base. */
  readonly bijector: Bijector
  /** Trained variables in the order of declaration. */
  readonly variables: readonly VariableSpec[]

  /** @throws LangevinError E_SHAPE when the bijectors do not take `shape`, or do not keep the number of dimensions. */
  constructor(config: FlowConfig, shape: Shape, bijectors: readonly Bijector[]) {
    this.config = config
    this.shape = [...shape]
    this.bijector = chain(bijectors)
    const variables = new Variables()
    const scope = new Scope('', { variables, norm: 'running' })
    const { value, logDet } = this.bijector.forward(ops.input('x', [2, ...shape]), scope)
    if (value.shape[0] !== 2 || value.size !== 2 * sizeOf(shape) || !sameShape(logDet.shape, [2])) {
      throw shapeError(
        'Flow',
        `a bijector must keep the batch and the number of dimensions and give logDet [batch]; a batch ${showShape([2, ...shape])} became ${showShape(value.shape)} with logDet ${showShape(logDet.shape)}`,
      )
    }
    this.latentShape = value.shape.slice(1)
    this.variables = [...variables.specs.values()]
  }

  /** Data to base: x [n, ...shape] to z [n, ...latentShape] and log |det ∂z/∂x| [n]. */
  forward(x: Tensor, pass: Pass): { readonly z: Tensor; readonly logDet: Tensor } {
    this.check('forward', x, this.shape)
    const { value, logDet } = this.bijector.forward(x, new Scope('', pass))
    return { z: value, logDet }
  }

  /** Base to data: z [n, ...latentShape] to x [n, ...shape] and log |det ∂x/∂z| [n], minus that of `forward` at x. */
  inverse(z: Tensor, pass: Pass): { readonly x: Tensor; readonly logDet: Tensor } {
    this.check('inverse', z, this.latentShape)
    const { value, logDet } = this.bijector.inverse(z, new Scope('', pass))
    return { x: value, logDet }
  }

  /** log q(x) in nats, normalised: [n]. */
  logDensity(x: Tensor, pass: Pass): Tensor {
    return this.logDensityIn(x, new Scope('', pass))
  }

  /** As `logDensity`, with the variables' names under a scope: for a flow inside a larger network. */
  logDensityIn(x: Tensor, scope: Scope): Tensor {
    this.check('logDensity', x, this.shape)
    const { value, logDet } = this.bijector.forward(x, scope)
    return ops.add(standardNormalLogDensity(value), logDet)
  }

  /**
   * `count` independent draws x [count, ...shape] and their log q(x) [count], at the price of one inverse pass.
   * Differentiable with respect to the variables (the reparametrised gradient).
   * @param key int32 [4]; the draws are a function of the key and `stream` alone
   */
  sample(key: Tensor, count: number, stream: number, pass: Pass): { readonly x: Tensor; readonly logDensity: Tensor } {
    const z = ops.normal(key, [count, ...this.latentShape], stream)
    const { x, logDet } = this.inverse(z, pass)
    return { x, logDensity: ops.sub(standardNormalLogDensity(z), logDet) }
  }

  private check(what: string, x: Tensor, shape: Shape): void {
    if (x.rank === 0 || !sameShape(x.shape.slice(1), shape))
      throw shapeError(`Flow.${what}`, `takes [batch,${shape.join(',')}]; got ${showShape(x.shape)}`)
  }
}

/**
 * The energy network whose energy is exactly -log q(x), its log normaliser being 0; names of variables are the flow's own.
 * Model, samplers, evaluation and the exporter take it like any other. The config is `{ kind: 'flow', flow: flow.config }`.
 */
export function flowNetwork(flow: Flow): Network {
  return new FlowNetwork(flow)
}

class FlowNetwork extends Network {
  override readonly baseShape: Shape
  private readonly flow: Flow

  constructor(flow: Flow) {
    const energy = layer('flow', (x, scope) => ops.neg(flow.logDensityIn(x, scope)))
    super({ kind: 'flow', flow: flow.config }, flow.shape, [{ name: '', layer: energy }], { normalised: true })
    this.flow = flow
    this.baseShape = flow.latentShape
  }

  override draw(z: Tensor, pass: Pass): Tensor {
    return this.flow.inverse(z, pass).x
  }
}

/**
 * A flow of one's own bijectors, from data to base; variables are named `0.*`, `1.*`, ... by stage.
 * @example customFlow([2], [actNorm([2]), luLinear([2])])
 */
export function customFlow(shape: Shape, bijectors: readonly Bijector[], name = 'custom'): Flow {
  return new Flow({ kind: 'custom', name }, shape, bijectors)
}
