/**
 * Restricted Boltzmann machines: a network whose energy is the free energy F(v) = -log Σ_h exp(-E(v, h)), and the conditionals that its
 * layers have given each other. Training is lib/trainers/rbm.ts's part, log Z lib/evaluation/rbm.ts's.
 */
import { LangevinError, suggestion } from '../graph/errors.ts'
import { type Shape, sizeOf } from '../graph/shape.ts'
import type { Tensor } from '../graph/tensor.ts'
import * as ops from '../ops/index.ts'
import { layer } from './layer.ts'
import { Model } from './model.ts'
import type { InitOptions } from './models.ts'
import { type DiscreteValues, Network } from './network.ts'
import { type Pass, Scope } from './variables.ts'

/** The two values of x that stand for 0 and 1 of a binary site. */
export type BinaryValues = readonly [off: number, on: number]

export interface RbmNetworkOptions {
  /** Visible units; or give `shape`. */
  readonly visible?: number
  /** Shape of one example, such as [1, 28, 28], whose numbers are the visible units. */
  readonly shape?: Shape
  /** Hidden units, binary. */
  readonly hidden: number
  /**
   * 'bernoulli' (default): E(v, h) = -b·v - c·h - hᵀWv, v binary.
   * 'gaussian': E(v, h) = Σ_i (v_i - b_i)²/2σ_i² - c·h - Σ_ij h_j W_ji v_i/σ_i², v real (Cho, Ilin & Raiko 2011, doi
   * 10.1007/978-3-642-21735-7_2), so that p(v|h) = N(b + Wᵀh, σ²).
   */
  readonly visibleKind?: 'bernoulli' | 'gaussian'
  /**
   * Which two values of x are 0 and 1 of Bernoulli units; default [0, 1]. Data with a range (images) reach a model as [-1, 1]: give that. Between
   * the two x is read as a number in between.
   */
  readonly values?: BinaryValues
  /**
   * σ² of Gaussian units: a positive number for all (default 1), or 'learned': one a unit, as the variable `log_variance`, beginning at 0.25.
   * That is meant for data of variance 1: from a σ² of the data's own size the machine does not leave the single Gaussian.
   */
  readonly variance?: number | 'learned'
}

/** The parameters as graph tensors; `variance` [visible] or a number is there for Gaussian units only. */
export interface RbmParameters {
  /** [hidden, visible]. */
  readonly weight: Tensor
  /** [visible]. */
  readonly visibleBias: Tensor
  /** [hidden]. */
  readonly hiddenBias: Tensor
  readonly variance: Tensor | undefined
}

interface Settings {
  readonly shape: Shape
  readonly visible: number
  readonly hidden: number
  readonly kind: 'bernoulli' | 'gaussian'
  readonly values: BinaryValues
  readonly variance: number | 'learned'
}

/** See {@link rbm}. The variables are `weight` [hidden, visible], `visible_bias`, `hidden_bias` and, if learned, `log_variance` [visible]. */
export class RbmNetwork extends Network {
  /** Units of the visible layer: the numbers of an example. */
  readonly visible: number
  readonly hidden: number
  readonly visibleKind: 'bernoulli' | 'gaussian'
  readonly values: BinaryValues
  private readonly settings: Settings

  /** @throws RangeError, TypeError, LangevinError E_CONFIG for options that do not fit */
  constructor(options: RbmNetworkOptions) {
    const s = settingsOf(options)
    const takes = options.shape === undefined ? { visible: s.visible } : { shape: s.shape }
    const own = s.kind === 'bernoulli' ? { values: s.values } : { variance: s.variance }
    const config = { kind: 'rbm', ...takes, hidden: s.hidden, visibleKind: s.kind, ...own }
    super(config, s.shape, [{ name: '', layer: layer('rbm', (x, scope) => freeEnergy(s, x, scope)) }])
    this.visible = s.visible
    this.hidden = s.hidden
    this.visibleKind = s.kind
    this.values = s.values
    this.settings = s
  }

  override get discrete(): DiscreteValues | undefined {
    return this.visibleKind === 'bernoulli' ? this.values : undefined
  }

  /** The parameters of a pass. */
  parameters(pass: Pass): RbmParameters {
    return declare(this.settings, new Scope('', pass))
  }

  /** x [n, ...shape] as unit values v [n, visible]: 0 and 1 for Bernoulli units. */
  toUnits(x: Tensor): Tensor {
    return toUnits(this.settings, x)
  }

  /** Unit values [n, visible] as x [n, ...shape]. */
  fromUnits(v: Tensor): Tensor {
    const { kind, shape, values } = this.settings
    const scaled = kind === 'bernoulli' ? ops.add(ops.mul(v, values[1] - values[0]), values[0]) : v
    return ops.reshape(scaled, [v.shape[0] as number, ...shape])
  }

  /** The input of the hidden units, c + W(v/σ²): [n, hidden]; p(h = 1 | x) is its sigmoid. */
  hiddenInput(x: Tensor, pass: Pass): Tensor {
    return hiddenInput(this.parameters(pass), this.toUnits(x))
  }

  /** The input of the visible units, b + Wᵀh: [n, visible]; the logit of p(v = 1 | h), or the mean of Gaussian units. h [n, hidden]. */
  visibleInput(h: Tensor, pass: Pass): Tensor {
    const { weight, visibleBias } = this.parameters(pass)
    return ops.add(ops.matmul(h, weight), visibleBias)
  }

  /** E[x | h], [n, ...shape]. */
  visibleMean(h: Tensor, pass: Pass): Tensor {
    const input = this.visibleInput(h, pass)
    return this.fromUnits(this.visibleKind === 'bernoulli' ? ops.sigmoid(input) : input)
  }

  /** x ~ p(x | h), [n, ...shape]; takes one stream. */
  drawVisible(h: Tensor, pass: Pass, key: Tensor, stream: number): Tensor {
    const input = this.visibleInput(h, pass)
    if (this.visibleKind === 'bernoulli')
      return this.fromUnits(ops.cast(ops.bernoulli(key, ops.sigmoid(input), stream), 'float32'))
    const { variance } = this.parameters(pass)
    const noise = ops.mul(ops.normal(key, input.shape, stream), ops.sqrt(variance as Tensor))
    return this.fromUnits(ops.add(input, noise))
  }

  /** Block Gibbs: h ~ p(h | x), then x' ~ p(x | h), all units of a layer at once. Takes streams `stream` and `stream + 1`. */
  override sweep(x: Tensor, pass: Pass, key: Tensor, stream: number): Tensor {
    const p = ops.sigmoid(this.hiddenInput(x, pass))
    const h = ops.cast(ops.bernoulli(key, p, stream), 'float32')
    return this.drawVisible(h, pass, key, stream + 1)
  }
}

/**
 * A restricted Boltzmann machine (Smolensky 1986; Hinton 2002) as a model: `energy` is the free energy, so that it samples, evaluates and exports
 * as any other; sampler `blockGibbs` draws by its conditionals.
 * Weights begin at N(0, 0.01²), biases at 0 (Hinton 2010, "A practical guide to training restricted Boltzmann machines").
 * @example rbm({ visible: 64, hidden: 100 })
 * @example rbm({ shape: [1, 28, 28], hidden: 500, values: [-1, 1] })
 */
export function rbm(options: RbmNetworkOptions & InitOptions): Model {
  return new Model(new RbmNetwork(options), { seed: options.seed, device: options.device })
}

/** The RBM of a model. @throws LangevinError E_CONFIG for another network */
export function needRbm(network: Network, what: string): RbmNetwork {
  if (network instanceof RbmNetwork) return network
  throw new LangevinError(
    'E_CONFIG',
    `${what} needs a restricted Boltzmann machine; got network '${network.config.kind}'. Build it with rbm({ visible, hidden }).`,
  )
}

function freeEnergy(s: Settings, x: Tensor, scope: Scope): Tensor {
  const p = declare(s, scope)
  const v = toUnits(s, x)
  return ops.neg(ops.add(visibleTerm(p, v), ops.sum(ops.softplus(hiddenInput(p, v)), 1)))
}

/** What the visible units alone add to log p: b·v, or -Σ(v - b)²/2σ². [n]. */
export function visibleTerm({ visibleBias, variance }: RbmParameters, v: Tensor): Tensor {
  if (variance === undefined) return ops.sum(ops.mul(v, visibleBias), 1)
  return ops.mul(ops.sum(ops.div(ops.square(ops.sub(v, visibleBias)), variance), 1), -0.5)
}

/** c + W(v/σ²) of unit values v [n, visible]: [n, hidden]. */
export function hiddenInput({ weight, hiddenBias, variance }: RbmParameters, v: Tensor): Tensor {
  const scaled = variance === undefined ? v : ops.div(v, variance)
  return ops.add(ops.matmul(scaled, weight, { transposeB: true }), hiddenBias)
}

function declare({ visible, hidden, kind, variance }: Settings, scope: Scope): RbmParameters {
  const zero = { kind: 'constant', value: 0 } as const
  const small = { kind: 'constant', value: Math.log(0.25) } as const
  const parameters = {
    weight: scope.parameter('weight', [hidden, visible], { kind: 'normal', std: 0.01 }),
    visibleBias: scope.parameter('visible_bias', [visible], zero),
    hiddenBias: scope.parameter('hidden_bias', [hidden], zero),
  }
  if (kind === 'bernoulli') return { ...parameters, variance: undefined }
  if (variance !== 'learned') return { ...parameters, variance: ops.full([visible], variance) }
  return { ...parameters, variance: ops.exp(scope.parameter('log_variance', [visible], small)) }
}

function toUnits({ kind, values, visible }: Settings, x: Tensor): Tensor {
  const flat = ops.reshape(x, [x.shape[0] as number, visible])
  return kind === 'bernoulli' ? zeroOne(flat, values) : flat
}

/** x with `values` brought to 0 and 1. */
export function zeroOne(x: Tensor, [off, on]: BinaryValues): Tensor {
  return off === 0 && on === 1 ? x : ops.mul(ops.sub(x, off), 1 / (on - off))
}

/** @throws RangeError unless both are finite and differ */
export function checkValues(where: string, values: BinaryValues): BinaryValues {
  const [off, on] = values
  if (values.length !== 2 || !Number.isFinite(off) || !Number.isFinite(on) || off === on)
    throw new RangeError(`${where}: values must be two finite numbers that differ; got [${values.join(', ')}]`)
  return values
}

function settingsOf(options: RbmNetworkOptions): Settings {
  const { hidden, visibleKind: kind = 'bernoulli', values = [0, 1], variance = 1 } = options
  const kinds = ['bernoulli', 'gaussian']
  if (!kinds.includes(kind))
    throw new LangevinError('E_CONFIG', `rbm: visibleKind '${String(kind)}' is not known.${suggestion(kind, kinds)}`)
  const given = [options.visible, options.shape].filter((v) => v !== undefined).length
  if (given !== 1)
    throw new TypeError(
      `rbm: give either visible (a number of units) or shape; got ${given === 0 ? 'neither' : 'both'}`,
    )
  const shape = options.shape ?? [options.visible as number]
  for (const [name, v] of [...shape.map((d) => ['visible units', d] as const), ['hidden', hidden] as const]) {
    if (!Number.isInteger(v) || v < 1) throw new RangeError(`rbm: ${name} must be a positive integer; got ${String(v)}`)
  }
  if (kind === 'bernoulli' && options.variance !== undefined)
    throw new LangevinError('E_CONFIG', "rbm: variance belongs to visibleKind 'gaussian'; Bernoulli units have none")
  if (kind === 'gaussian' && options.values !== undefined)
    throw new LangevinError(
      'E_CONFIG',
      "rbm: values belongs to visibleKind 'bernoulli'; Gaussian units take x as it is",
    )
  if (variance !== 'learned' && !(typeof variance === 'number' && variance > 0 && Number.isFinite(variance)))
    throw new RangeError(`rbm: variance must be a positive finite number or 'learned'; got ${String(variance)}`)
  return { shape, visible: sizeOf(shape), hidden, kind, values: checkValues('rbm', values), variance }
}
