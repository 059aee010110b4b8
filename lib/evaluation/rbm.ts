/**
 * log Z of restricted Boltzmann machines: exactly, by enumerating the smaller layer, and by annealed importance sampling with Gibbs
 * transitions (Salakhutdinov & Murray 2008). The anneal itself is ais.ts's; here are its base, its intermediate distributions and its moves.
 */
import { LangevinError } from '../graph/errors.ts'
import { type HostTensor, hostTensor } from '../graph/host-tensor.ts'
import { sameShape, showShape } from '../graph/shape.ts'
import type { Tensor } from '../graph/tensor.ts'
import type { Model } from '../nn/model.ts'
import { hiddenInput, needRbm, type RbmNetwork, visibleTerm } from '../nn/rbm.ts'
import { type Pass, Variables } from '../nn/variables.ts'
import * as ops from '../ops/index.ts'
import { Recorder, runStage } from '../runtime/state.ts'
import { customDistribution, type Distribution, diagonalGaussian } from '../samplers/distributions.ts'
import type { AnnealingTransition } from './ais-transition.ts'
import { checkFinite } from './checks.ts'
import { binaryRows, checkStates } from './enumerate.ts'
import { logSumExp } from './log-weights.ts'
import { overRows } from './row-blocks.ts'

/**
 * log Z by summing over all states of the smaller layer (the hidden one, for Gaussian units), natively, 2^units terms added in float64.
 * @throws LangevinError E_CONFIG where that layer has more than `maxUnits` (default 22), or the model is no RBM
 */
export async function rbmLogZ(
  model: Model,
  options: { readonly maxUnits?: number; readonly signal?: AbortSignal } = {},
): Promise<number> {
  const network = needRbm(model.network, 'rbmLogZ')
  const { visible, hidden, visibleKind } = network
  const overHidden = visibleKind === 'gaussian' || hidden <= visible
  const units = overHidden ? hidden : visible
  const states = checkStates('rbmLogZ', 2, units, options.maxUnits ?? 22)
  const work = {
    device: model.device,
    tensors: Object.fromEntries(model.stateDict()),
    rows: states,
    columns: visible + hidden,
    signal: options.signal,
  }
  const { term } = await overRows(work, (index, read) => {
    const pass = passOf(read)
    const rows = binaryRows(index, units)
    return { term: overHidden ? hiddenLogWeight(network, rows, pass) : visibleLogWeight(network, rows, pass) }
  })
  return logSumExp(term.data)
}

/** log Σ_v exp(-E(v, h)), or the integral: [n]. */
function hiddenLogWeight(network: RbmNetwork, h: Tensor, pass: Pass): Tensor {
  const { hiddenBias, visibleBias, variance } = network.parameters(pass)
  const input = network.visibleInput(h, pass)
  const own = ops.sum(ops.mul(h, hiddenBias), 1)
  if (variance === undefined) return ops.add(own, ops.sum(ops.softplus(input), 1))
  // ∫ exp(-(v - b)²/2σ² + v·(m - b)/σ²) dv = √(2πσ²) exp((m² - b²)/2σ²), m = b + Wᵀh
  const bend = ops.div(ops.sub(ops.square(input), ops.square(visibleBias)), ops.mul(variance, 2))
  const width = ops.mul(ops.log(ops.mul(variance, 2 * Math.PI)), 0.5)
  return ops.add(own, ops.sum(ops.add(bend, width), 1))
}

/** -F(v): [n]. */
function visibleLogWeight(network: RbmNetwork, v: Tensor, pass: Pass): Tensor {
  return ops.neg(network.energy(network.fromUnits(v), pass))
}

export interface RbmAnnealingOptions {
  /**
   * Examples [n, ...shape], n >= 2, whose mean (and variance, of Gaussian units) the base takes: the training data. Default: the model with its
   * weights left out (Gaussian units: its own means and variances).
   */
  readonly data?: HostTensor
}

/**
 * Base and transition for {@link annealedImportanceSampling}, its reverse and `bracketLogZ`: the base is a machine without weights; between
 * it and the model stand the marginals of (1-β)·base + β·model over v and h together, p_β(v) ∝ base(v)^(1-β) · e^{β b·v} · Π_j (1 + e^{β a_j(v)}) with a_j the
 * input of hidden unit j; a transition is one Gibbs sweep, so nothing is tuned and nothing refused.
 * @example await annealedImportanceSampling(model, { ...rbmAnnealing(model, { data }), chains: 500, steps: 10000 })
 * @throws LangevinError E_CONFIG for another network, E_SHAPE for data that do not fit
 */
export function rbmAnnealing(
  model: Model,
  options: RbmAnnealingOptions = {},
): { readonly base: Distribution; readonly transition: AnnealingTransition } {
  const network = needRbm(model.network, 'rbmAnnealing')
  const moments = momentsOf(model, network, options.data)
  const base =
    network.visibleKind === 'bernoulli' ? bernoulliBase(network, moments.mean) : gaussianBase(network, moments)
  return { base, transition: gibbs(network) }
}

interface Moments {
  readonly mean: Float64Array
  readonly variance: Float64Array
}

/** Means and variances of the units over the data, or of the model without its weights. Bernoulli means stay inside (0, 1). */
function momentsOf(model: Model, network: RbmNetwork, data: HostTensor | undefined): Moments {
  const { visible: d, values } = network
  const bernoulli = network.visibleKind === 'bernoulli'
  if (data === undefined) {
    const bias = Float64Array.from(model.value('visible_bias').data)
    const { variance: own } = network.config as { readonly variance?: number | 'learned' }
    const spread = own === 'learned' ? model.value('log_variance').data : undefined
    return {
      mean: bernoulli ? bias.map((b) => 1 / (1 + Math.exp(-b))) : bias,
      variance: Float64Array.from({ length: d }, (_, i) => (spread ? Math.exp(spread[i] as number) : Number(own ?? 1))),
    }
  }
  const n = data.shape[0] ?? 0
  if (data.dtype !== 'float32' || n < 2 || !sameShape(data.shape.slice(1), network.shape)) {
    throw new LangevinError(
      'E_SHAPE',
      `rbmAnnealing: data must be float32 [n,${network.shape.join(',')}] with n >= 2; got ${data.dtype}${showShape(data.shape)}`,
    )
  }
  checkFinite('rbmAnnealing: data', data.data)
  const mean = new Float64Array(d)
  const square = new Float64Array(d)
  const [off, on] = bernoulli ? values : [0, 1]
  data.data.forEach((x, i) => {
    const v = (x - off) / (on - off)
    mean[i % d] = (mean[i % d] as number) + v / n
    square[i % d] = (square[i % d] as number) + (v * v) / n
  })
  const variance = square.map((s, i) => Math.max(1e-4, s - (mean[i] as number) ** 2))
  // As if one unit more had been half on: a pixel that is always off keeps a finite logit.
  return { mean: bernoulli ? mean.map((m) => (m * n + 0.5) / (n + 1)) : mean, variance }
}

/** Independent units with these probabilities to be on. */
function bernoulliBase(network: RbmNetwork, mean: Float64Array): Distribution {
  const { visible, shape } = network
  const logit = Float32Array.from(mean, (p) => Math.log(p / (1 - p)))
  const offset = logit.reduce((s, l) => s - Math.log1p(Math.exp(l)), 0)
  return customDistribution({
    shape,
    parameters: new Map([
      ['logit', hostTensor(logit, [visible])],
      ['offset', hostTensor(Float32Array.of(offset), [])],
    ]),
    sample(key, count, stream, tensor) {
      const p = ops.broadcast(ops.sigmoid(tensor('logit')), [count, visible])
      return network.fromUnits(ops.cast(ops.bernoulli(key, p, stream), 'float32'))
    },
    logDensity: (x, tensor) => ops.add(ops.sum(ops.mul(network.toUnits(x), tensor('logit')), 1), tensor('offset')),
  })
}

function gaussianBase(network: RbmNetwork, { mean, variance }: Moments): Distribution {
  const { shape } = network
  return diagonalGaussian(
    hostTensor(Float32Array.from(mean), shape),
    hostTensor(Float32Array.from(variance, Math.sqrt), shape),
  )
}

const STREAM = { hidden: 1, visible: 2 } as const

/** Gibbs sweeps at inverse temperature β, and the ratio of two neighbouring marginals with the hidden units summed out. */
function gibbs(network: RbmNetwork): AnnealingTransition {
  const pass = (r: Recorder) => passOf((name) => r.read(name))
  return {
    stepSize: 1,
    init(r, path, x) {
      r.write('ais/logModel', path.logModel(r, x))
      r.write('ais/logBase', path.logBase(r, x))
      r.write('ais/acceptance', ops.constant(1))
    },
    increment(r, path, x, upper, lower) {
      const p = network.parameters(pass(r))
      const v = network.toUnits(x)
      const a = hiddenInput(p, v)
      // The base's own hidden units have no weights: 2^hidden states that all weigh the same.
      const alone = ops.add(ops.sub(visibleTerm(p, v), path.logBase(r, x)), network.hidden * Math.LN2)
      const hidden = ops.sum(ops.sub(ops.softplus(ops.mul(a, upper)), ops.softplus(ops.mul(a, lower))), 1)
      return ops.add(ops.mul(alone, ops.sub(upper, lower)), hidden)
    },
    async record(state) {
      const r = new Recorder(state)
      const [x, key, beta] = [r.read('ais/x'), r.read('ais/key'), r.read('ais/beta')]
      const own = pass(r)
      const on = ops.sigmoid(ops.mul(network.hiddenInput(x, own), beta))
      const h = ops.cast(ops.bernoulli(key, on, STREAM.hidden), 'float32')
      r.write('ais/x', network.fromUnits(drawVisible(network, r, own, h, key, beta)))
      r.write('ais/key', ops.nextKey(key))
      const stage = await r.compile('gibbs')
      return { stages: [stage], code: [runStage(stage)] }
    },
  }
}

/** v ~ p_β(v | h), unit values [n, visible]. */
function drawVisible(network: RbmNetwork, r: Recorder, pass: Pass, h: Tensor, key: Tensor, beta: Tensor): Tensor {
  const input = network.visibleInput(h, pass)
  const rest = ops.sub(1, beta)
  if (network.visibleKind === 'bernoulli') {
    const logit = ops.add(ops.mul(input, beta), ops.mul(r.read('base/logit'), rest))
    return ops.cast(ops.bernoulli(key, ops.sigmoid(logit), STREAM.visible), 'float32')
  }
  const flat = (t: Tensor): Tensor => ops.reshape(t, [network.visible])
  const { variance } = network.parameters(pass)
  const own = ops.div(beta, variance as Tensor)
  const base = ops.div(rest, ops.square(flat(r.read('base/scale'))))
  const precision = ops.add(own, base)
  const mean = ops.div(ops.add(ops.mul(input, own), ops.mul(flat(r.read('base/mean')), base)), precision)
  return ops.add(mean, ops.mul(ops.normal(key, mean.shape, STREAM.visible), ops.rsqrt(precision)))
}

function passOf(read: (name: string) => Tensor): Pass {
  return { variables: new Variables((v) => read(v.name)), norm: 'running' }
}
