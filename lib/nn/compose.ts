/**
 * Compositions: models made of trained models by arithmetic on their energies, so that they sample, evaluate, train on and export like any
 * other. Each function copies the parts' present values; later changes of a part do not show. The variables are the parts', named
 * `0.…`, `1.…`; a composition has one energy an example and no logits, and can be a part itself.
 *
 * A sum of energies is a product of unnormalised densities: nothing is known of its normalising constant, and its samples are drawn anew.
 */
import { checkPositive } from '../graph/checks.ts'
import { LangevinError, suggestion } from '../graph/errors.ts'
import { sameShape, showShape } from '../graph/shape.ts'
import type { Tensor } from '../graph/tensor.ts'
import * as ops from '../ops/index.ts'
import { layer } from './layer.ts'
import { Model } from './model.ts'
import { Network, type NetworkConfig } from './network.ts'
import type { Scope } from './variables.ts'

/** How the energies of the parts become one; what a composition's config keeps. */
export type CompositionRule =
  /** Σ weights_i E_i + constant; `normalised` where that is log Z of the rest. */
  | {
      readonly kind: 'sum'
      readonly weights: readonly number[]
      readonly constant: number
      readonly normalised?: boolean
    }
  /** -logsumexp_i(logWeights_i - E_i). */
  | { readonly kind: 'mixture'; readonly logWeights: readonly number[] }
  /** -logsumexp of the logits of these classes of the one part. */
  | { readonly kind: 'classes'; readonly classes: readonly number[] }
  /** E inside the box, +∞ outside. */
  | { readonly kind: 'box'; readonly low: number; readonly high: number }

const ruleKinds: readonly string[] = ['sum', 'mixture', 'classes', 'box'] satisfies CompositionRule['kind'][]

/**
 * Product of experts: E = Σ w_i E_i, p ∝ Π p_i^w_i (Hinton 2002, doi 10.1162/089976602760128018). With energies that each stand for a
 * concept it is their conjunction; a negative weight turns from one ("not", Du, Li & Mordatch 2020, arXiv:2004.06030), and is proper only
 * where the other experts' energies grow faster.
 * @param weights one finite number a part; default all 1
 * @throws LangevinError E_SHAPE for parts of different example shapes, RangeError for weights that do not fit
 */
export function productOfExperts(parts: readonly Model[], weights: readonly number[] = parts.map(() => 1)): Model {
  finite('productOfExperts', 'weights', weights, parts.length)
  return compose('productOfExperts', parts, { kind: 'sum', weights, constant: 0 })
}

export interface MixtureOptions {
  /** log Z of each part, exp(-E_i)/Z_i being its density: without them the proportions of a mixture mean nothing. For instance from AIS. */
  readonly logZ: readonly number[]
  /** Proportions, positive; divided by their sum. Default all the same. */
  readonly weights?: readonly number[]
}

/**
 * Mixture: E = -logsumexp_i(log w_i - E_i - log Z_i), p = Σ w_i p_i, whose own log Z is 0: the disjunction of Du, Li & Mordatch 2020.
 * @throws LangevinError E_SHAPE for parts of different example shapes, RangeError for weights or log Z's that do not fit
 */
export function mixtureOfEnergies(parts: readonly Model[], options: MixtureOptions): Model {
  const where = 'mixtureOfEnergies'
  const { logZ, weights = parts.map(() => 1) } = options ?? {}
  if (logZ === undefined)
    throw new TypeError(
      `${where}: give logZ, one of each part (by quadrature or AIS); without them proportions mean nothing`,
    )
  finite(where, 'logZ', logZ, parts.length)
  finite(where, 'weights', weights, parts.length)
  const bad = weights.find((w) => w <= 0)
  if (bad !== undefined) throw new RangeError(`${where}: weights must be positive; got ${bad}. Leave that part out.`)
  const total = weights.reduce((a, b) => a + b, 0)
  const logWeights = weights.map((w, i) => Math.log(w / total) - (logZ[i] as number))
  return compose(where, parts, { kind: 'mixture', logWeights })
}

/** E/T: sharper for T < 1, flatter for T > 1. @throws RangeError unless the temperature is positive and finite */
export function temper(model: Model, temperature: number): Model {
  checkPositive('temper: temperature', temperature)
  return compose('temper', [model], { kind: 'sum', weights: [1 / temperature], constant: 0 })
}

/**
 * E(x|y) = -f(x)[y] of a classifier (Grathwohl 2020); for several classes -logsumexp of theirs, x being of any of them. A product of
 * conditionals asks for all their classes at once, a weight below 0 for not being of one.
 * @throws LangevinError E_CONFIG when the model has no logits, RangeError for classes that it does not have
 */
export function conditional(classifier: Model, y: number | readonly number[]): Model {
  const classes = typeof y === 'number' ? [y] : y
  return compose('conditional', [classifier], { kind: 'classes', classes })
}

/**
 * Classifier-free guidance as energies: E = (1 + w) E_c - w E_u (Ho & Salimans 2022, arXiv:2207.12598); w = 0 is the conditional model itself.
 * Of a classifier: `guided(conditional(model, y), model, w)`.
 * @throws LangevinError E_SHAPE for different example shapes, RangeError unless the weight is finite
 */
export function guided(conditionalModel: Model, unconditional: Model, weight: number): Model {
  finite('guided', 'weight', [weight], 1)
  const weights = [1 + weight, -weight]
  return compose('guided', [conditionalModel, unconditional], { kind: 'sum', weights, constant: 0 })
}

/** E + constant: the same distribution. */
export function shifted(model: Model, constant: number): Model {
  finite('shifted', 'constant', [constant], 1)
  return compose('shifted', [model], { kind: 'sum', weights: [1], constant })
}

/** E + log Z, so that -E is the log density itself, in nats. `logZ` is that of the model: log ∫ exp(-E). */
export function withLogZ(model: Model, logZ: number): Model {
  finite('withLogZ', 'logZ', [logZ], 1)
  return compose('withLogZ', [model], { kind: 'sum', weights: [1], constant: logZ, normalised: true })
}

/**
 * The distribution given that every number of x is in [low, high]: E inside, +∞ outside (where the score is 0, so chains must begin inside;
 * Metropolis samplers then stay there, others need `bounds`).
 * @throws RangeError unless low < high
 */
export function restrict(model: Model, bounds: readonly [low: number, high: number]): Model {
  return compose('restrict', [model], { kind: 'box', low: bounds[0], high: bounds[1] })
}

function compose(where: string, parts: readonly Model[], rule: CompositionRule): Model {
  const wrong = parts.find((p) => !(p instanceof Model))
  if (wrong !== undefined) throw new TypeError(`${where}: parts must be models; got ${String(wrong)}`)
  const network = compositionNetwork(
    parts.map((p) => p.network),
    rule,
    where,
  )
  const device = (parts[0] as Model).device
  const other = parts.find((p) => p.device !== device)
  if (other !== undefined)
    throw new LangevinError('E_CONFIG', `${where}: parts must be on one device; got ${device} and ${other.device}`)
  const values = new Map(
    parts.flatMap((p, i) => [...p.stateDict()].map(([name, value]) => [`${i}.${name}`, value] as const)),
  )
  return new Model(network, { device, values })
}

/**
 * The network of a composition. Noise-conditioned if a part is; the level goes to the parts that take one, and the default is the largest of
 * their smallest, so that none is asked for a level it has not seen.
 * @throws LangevinError E_SHAPE, E_CONFIG, RangeError as the functions above
 */
export function compositionNetwork(parts: readonly Network[], rule: CompositionRule, where = 'composition'): Network {
  const [first] = parts
  if (first === undefined) throw new RangeError(`${where}: at least one part is needed`)
  const other = parts.find((p) => !sameShape(p.shape, first.shape))
  if (other !== undefined) {
    throw new LangevinError(
      'E_SHAPE',
      `${where}: parts must take examples of one shape; got ${showShape(first.shape)} and ${showShape(other.shape)}`,
    )
  }
  checkRule(where, parts, rule)
  const levels = parts.flatMap((p) => p.smallestSigma ?? [])
  const config: NetworkConfig = { kind: 'composition', rule, parts: parts.map((p) => p.config) }
  const combined = layer('composition', (x, scope) => combine(parts, rule, x, scope), false, partFeatures(parts))
  // log Z is given for one density; a noise level makes it another.
  const normalised = levels.length === 0 && (rule.kind === 'mixture' || (rule.kind === 'sum' && rule.normalised))
  const sigma = levels.length > 0 ? { smallest: Math.max(...levels) } : undefined
  return new Network(config, first.shape, [{ name: '', layer: combined }], { sigma, normalised })
}

/** The features of the only part, if it has any. */
function partFeatures(parts: readonly Network[]): ((x: Tensor, scope: Scope) => Tensor) | undefined {
  const [only] = parts as [Network]
  return parts.length === 1 && only.hasFeatures ? (x, scope) => only.featuresIn(x, scope.child('0')) : undefined
}

function combine(parts: readonly Network[], rule: CompositionRule, x: Tensor, scope: Scope): Tensor {
  const output = (i: number): Tensor => (parts[i] as Network).within(x, scope.child(String(i)))
  const energy = (i: number): Tensor => (parts[i] as Network).energyOf(output(i))
  switch (rule.kind) {
    case 'sum': {
      const terms = rule.weights.map((w, i) => (w === 1 ? energy(i) : ops.mul(energy(i), w)))
      const total = terms.reduce((a, b) => ops.add(a, b))
      return rule.constant === 0 ? total : ops.add(total, rule.constant)
    }
    case 'mixture':
      return logSum(rule.logWeights.map((w, i) => ops.sub(w, energy(i))))
    case 'classes': {
      const logits = output(0)
      const n = logits.shape[0] as number
      return logSum(rule.classes.map((c) => ops.reshape(ops.sliceAxis(logits, 1, c, c + 1), [n])))
    }
    case 'box': {
      const axes = x.shape.map((_, a) => a).slice(1)
      const inside = ops.logicalAnd(ops.ge(ops.min(x, axes), rule.low), ops.le(ops.max(x, axes), rule.high))
      return ops.select(inside, energy(0), Number.POSITIVE_INFINITY)
    }
  }
}

/** -log Σ exp of terms [n]. */
function logSum(terms: readonly Tensor[]): Tensor {
  const [only] = terms
  return ops.neg(terms.length === 1 ? (only as Tensor) : ops.logsumexp(ops.stack(terms, 1), -1))
}

/** A rule as a config file may hold it. */
function checkRule(where: string, parts: readonly Network[], rule: CompositionRule): void {
  if (rule.kind === 'sum') {
    finite(where, 'weights', rule.weights, parts.length)
    finite(where, 'constant', [rule.constant], 1)
  } else if (rule.kind === 'mixture') finite(where, 'logWeights', rule.logWeights, parts.length)
  else if (rule.kind === 'classes') checkClasses(where, parts[0] as Network, rule.classes)
  else if (rule.kind === 'box') {
    if (!(rule.low < rule.high))
      throw new RangeError(`${where}: bounds must be [low, high] with low < high; got [${rule.low}, ${rule.high}]`)
  } else {
    const kind = String((rule as { readonly kind: unknown }).kind)
    throw new LangevinError('E_CONFIG', `composition rule '${kind}' is not known.${suggestion(kind, ruleKinds)}`)
  }
  if ((rule.kind === 'classes' || rule.kind === 'box') && parts.length !== 1)
    throw new RangeError(`${where}: takes one part; got ${parts.length}`)
}

function checkClasses(where: string, network: Network, classes: readonly number[]): void {
  network.needClasses(where)
  const wrong = classes.find((c) => !Number.isInteger(c) || c < 0 || c >= network.classes)
  if (wrong !== undefined || classes.length === 0 || new Set(classes).size !== classes.length) {
    throw new RangeError(
      `${where}: y must be a class in 0..${network.classes - 1} or a list of distinct ones; got [${classes.join(', ')}]`,
    )
  }
}

function finite(where: string, name: string, values: readonly number[], count: number): void {
  if (values.length !== count)
    throw new RangeError(`${where}: ${name} needs one number for each of ${count} parts; got ${values.length}`)
  const wrong = values.find((v) => !Number.isFinite(v))
  if (wrong !== undefined) throw new RangeError(`${where}: ${name} must be finite; got ${String(wrong)}`)
}
