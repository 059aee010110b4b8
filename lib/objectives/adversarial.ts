/**
 * Adversarial (variational) training: log Z = max_q E_q[-E] + H(q), with q a flow (exact entropy) or a generator x = g(z) + σε whose
 * entropy gradient is estimated by importance sampling (VERA). Loss graphs of both players; sampling q is the trainer's part.
 */
import { shapeError } from '../graph/errors.ts'
import { sameShape, showShape } from '../graph/shape.ts'
import type { Tensor } from '../graph/tensor.ts'
import * as ops from '../ops/index.ts'
import { rowSum } from '../ops/rows.ts'
import {
  batchOf,
  dimensionOf,
  type EnergyFunction,
  energyAndGradient,
  expectVector,
  type Noise,
  notNegative,
  positiveCount,
  reattach,
  type Terms,
  throughPoints,
} from './terms.ts'

/**
 * The energy's loss: minus the bound, mean_data E - mean_q E + H(q), where the bound, mean_data[-E] - (mean_q[-E] + H(q)), is not less
 * than the mean log likelihood and equal to it when q is the model. The gradient is contrastive divergence with q's samples.
 * Metrics: `bound` (nats), `energyData`, `energyModel`, `energyGap` = energyModel - energyData, `entropy`. Cost: 6 passes.
 * @param options energyData [n]; energyModel [m], of samples of q; entropy H(q), a scalar (no gradient flows into it)
 */
export function variationalBound(options: {
  readonly energyData: Tensor
  readonly energyModel: Tensor
  readonly entropy: Tensor
}): Terms {
  const entropy = ops.stopGradient(ops.reshape(options.entropy, []))
  const energyData = meanOf('variationalBound', 'energyData', options.energyData)
  const energyModel = meanOf('variationalBound', 'energyModel', options.energyModel)
  const energyGap = ops.sub(energyModel, energyData)
  const bound = ops.sub(energyGap, entropy)
  return { loss: ops.neg(bound), metrics: { bound, energyData, energyModel, energyGap, entropy } }
}

/**
 * A flow's loss as the sampler of an energy: mean(E(x) + log q(x)) = E_q[E] - H(q), for samples x of q made by reparametrisation. Its
 * negative is a lower bound of log Z (`logZBound`), tight when q is the model. Metrics: `logZBound`, `energyModel`, `entropy`.
 * The gradient must be taken with respect to the flow's parameters only. Cost: 3 passes of the energy and the flow's own.
 * @param options energy and logDensity [n], both at the samples
 */
export function flowGeneratorLoss(options: { readonly energy: Tensor; readonly logDensity: Tensor }): Terms {
  const n = batchOf('flowGeneratorLoss', options.energy)
  expectVector('flowGeneratorLoss', 'energy', options.energy, n)
  expectVector('flowGeneratorLoss', 'logDensity', options.logDensity, n)
  const energyModel = ops.mean(options.energy)
  const entropy = ops.neg(ops.mean(options.logDensity))
  const loss = ops.mean(ops.add(options.energy, options.logDensity))
  return { loss, metrics: { logZBound: ops.neg(loss), energyModel, entropy } }
}

/** What {@link veraEntropySurrogate} needs. n examples of shape [...shape], latents of dimension l. */
export interface VeraOptions {
  /** g: latents [m, l] to means [m, ...shape]; applied to samples·n latents at once, each by itself. */
  readonly generator: (z: Tensor) => Tensor
  /** The samples x = g(z₀) + σ·ε, [n, ...shape], as a graph of the generator's parameters and σ. */
  readonly x: Tensor
  /** The latents that made them, N(0, I): [n, l]. */
  readonly z0: Tensor
  /** η, standard deviations of the proposal N(z₀, diag η²): [l] or a scalar, positive. */
  readonly eta: Tensor
  /** σ, the generator's noise: a positive scalar. */
  readonly sigma: Tensor
  readonly noise: Noise
  /** K, importance samples an example; default 20. */
  readonly samples?: number
  /** M, latents drawn from the prior that all examples share beside their own; default 0, as published. See {@link veraEntropySurrogate}. */
  readonly sharedSamples?: number
}

export interface VeraTerms {
  /** A scalar whose gradient, by the parameters that x depends on, estimates that of H(q). Its value means nothing. */
  readonly surrogate: Tensor
  /** Minus the ELBO of the posterior proposal; its gradient reaches η alone. */
  readonly posteriorLoss: Tensor
  /** An estimate of H(q) in nats (too high by a bias that falls with K); no gradient. */
  readonly entropy: Tensor
  /** `entropy`, `elbo` (a lower bound of mean log q(x)), `effectiveSamples` = mean 1/Σ w², of K. */
  readonly metrics: Readonly<Record<string, Tensor>>
}

/**
 * The entropy of a generator x = g(z₀) + σε with z₀, ε standard normal (VERA: Grathwohl, Kelly, Hashemi, Norouzi, Swersky & Duvenaud 2021,
 * arXiv 2010.04230). ∇φ H = -E[ ∇x log q(x)ᵀ ∇φ x ] and -∇x log q(x) = E_{q(z|x)}[ (x - g(z))/σ² ], so the surrogate is
 * mean_i ⟨stop(c), x⟩ with c = Σ_k w_k (x - g(z_k))/σ², z_k = z₀ + η·e_k, w the self-normalised weights q(x, z_k)/ξ(z_k).
 * η descends minus the ELBO, mean_k[ log q(x, z_k) - log ξ(z_k) ]. H(q) itself is estimated by -mean log (1/K) Σ_k q(x, z_k)/ξ(z_k).
 * Proposals about z₀ alone do not see other latents that g maps near x: where g folds, or its sheets meet, the entropy comes out too high. With
 * `sharedSamples` the proposal is the mixture (K·ξ + M·N(0, I))/(K + M), stratified (Veach & Guibas 1995's balance heuristic), its M latents shared by the
 * batch: M further generator passes of single latents and n·M distances, worth it where the latent space is small enough for M to cover it.
 * The generator descends mean E(x) - weight·surrogate (see {@link pathwiseEnergy} for one gradient over both players).
 * Cost: 2·K passes of the generator (forward, and backward to z for η). Uses stream `noise.stream`.
 */
export function veraEntropySurrogate(options: VeraOptions): VeraTerms {
  const { noise, samples = 20, sharedSamples = 0, ...rest } = options
  positiveCount('veraEntropySurrogate', 'samples', samples)
  if (sharedSamples !== 0) positiveCount('veraEntropySurrogate', 'sharedSamples', sharedSamples)
  const epsilon = ops.normal(noise.key, [samples, ...rest.z0.shape], noise.stream)
  if (sharedSamples === 0) return veraWith({ ...rest, epsilon })
  const shared = ops.normal(noise.key, [sharedSamples, ...rest.z0.shape.slice(1)], noise.stream + 1)
  return veraWith({ ...rest, epsilon, shared })
}

/** {@link veraEntropySurrogate} with given standard normal noise of the proposal: [K, n, l], and shared latents [M, l]. */
export function veraWith(
  options: Omit<VeraOptions, 'noise' | 'samples' | 'sharedSamples'> & {
    readonly epsilon: Tensor
    readonly shared?: Tensor
  },
): VeraTerms {
  const { generator, z0, eta, epsilon } = options
  const [samples, n, latent] = checkVera(options)
  const x = ops.reshape(options.x, [n, options.x.size / n])
  const xFixed = ops.stopGradient(x)
  const sigma = ops.stopGradient(ops.reshape(options.sigma, []))
  const proposals = ops.reshape(ops.add(ops.stopGradient(z0), ops.mul(eta, epsilon)), [samples * n, latent])
  const z = ops.stopGradient(proposals)
  const means = ops.reshape(generatedMeans(generator, z, options.x), [samples, n, x.shape[1] as number])
  const joint = reattach(ops.reshape(jointLogDensity(z, means, xFixed, sigma), [samples * n]), z, proposals)
  const logProposal = proposalLogDensity(eta, epsilon)
  const local: Weighted = {
    logWeights: ops.stopGradient(ops.sub(ops.reshape(joint, [samples, n]), logProposal)),
    means,
  }
  const parts = options.shared === undefined ? [local] : withShared(local, z, logProposal, options, { xFixed, sigma })
  const logWeights = parts.length === 1 ? local.logWeights : ops.concat(parts.map((p) => p.logWeights))
  const weights = ops.softmax(logWeights, 0)
  // c = Σ_k w_k (x - g(z_k)) / σ²
  const nearby = weightedMeans(weights, parts)
  const c = ops.div(ops.sub(xFixed, nearby), ops.square(sigma))
  const surrogate = ops.mean(rowSum(ops.mul(ops.stopGradient(c), x)))
  const entropy = ops.sub(Math.log(weights.shape[0] as number), ops.mean(ops.logsumexp(logWeights, 0)))
  const elbo = ops.sub(ops.mean(joint), ops.mean(logProposal))
  const effectiveSamples = ops.mean(ops.reciprocal(ops.sum(ops.square(weights), 0)))
  return {
    surrogate,
    posteriorLoss: ops.neg(elbo),
    entropy,
    metrics: { entropy, elbo: ops.stopGradient(elbo), effectiveSamples },
  }
}

/** Importance samples: log weights [k, n], and the means [k, n, d], or [k, 1, d] where all examples share them. */
interface Weighted {
  readonly logWeights: Tensor
  readonly means: Tensor
}

/** Own and shared samples, weighed against the mixture that both were drawn from. */
function withShared(
  local: Weighted,
  z: Tensor,
  logProposal: Tensor,
  { generator, z0, eta, x, shared }: Omit<VeraOptions, 'noise'> & { readonly shared?: Tensor },
  { xFixed, sigma }: { readonly xFixed: Tensor; readonly sigma: Tensor },
): readonly Weighted[] {
  const prior = ops.stopGradient(shared as Tensor)
  const [k, n] = local.logWeights.shape as readonly [number, number]
  const [m, latent] = prior.shape as readonly [number, number]
  const own = Math.log(k / (k + m))
  const common = Math.log(m / (k + m))
  const fixedEta = ops.stopGradient(eta)
  const mixed = (logOwn: Tensor, logPrior: Tensor): Tensor => logAddExp(ops.add(logOwn, own), ops.add(logPrior, common))
  // log ξᵢ(z_j) of the shared latents: [m, n].
  const offsets = ops.div(ops.sub(ops.unsqueeze(prior, 1), ops.stopGradient(ops.unsqueeze(z0, 0))), fixedEta)
  const logScale = ops.sum(ops.broadcast(ops.log(fixedEta), [latent]))
  const logXi = ops.sub(ops.mul(ops.sum(ops.square(offsets), 2), -0.5), ops.add(logScale, (latent / 2) * LOG_2PI))
  const logPriorShared = ops.reshape(standardNormal(prior), [m, 1])
  const means = ops.stopGradient(ops.unsqueeze(ops.flatten(generatedMeans(generator, prior, x)), 1))
  const d = means.shape[2] as number
  const error = ops.sum(ops.square(ops.div(ops.sub(ops.unsqueeze(xFixed, 0), means), sigma)), 2)
  const logLikelihood = ops.sub(ops.mul(error, -0.5), ops.add(ops.mul(ops.log(sigma), d), (d / 2) * LOG_2PI))
  const joint = ops.add(logLikelihood, logPriorShared)
  const logPriorLocal = ops.reshape(standardNormal(z), [k, n])
  // The own samples' weights change by their proposal's density: ξ becomes the mixture.
  const ownWeights = ops.add(local.logWeights, ops.sub(logProposal, mixed(logProposal, logPriorLocal)))
  return [
    { logWeights: ops.stopGradient(ownWeights), means: local.means },
    { logWeights: ops.stopGradient(ops.sub(joint, mixed(logXi, logPriorShared))), means },
  ]
}

/** Σ w·g over all samples: weights [k, n] over the parts' rows to [n, d]. */
function weightedMeans(weights: Tensor, parts: readonly Weighted[]): Tensor {
  const n = weights.shape[1] as number
  let at = 0
  const sums = parts.map(({ means }) => {
    const k = means.shape[0] as number
    const part = ops.slice(weights, [at, 0], [at + k, n])
    at += k
    return ops.sum(ops.mul(ops.unsqueeze(part, 2), ops.stopGradient(means)), 0)
  })
  return sums.reduce((a, b) => ops.add(a, b))
}

/** log N(z; 0, I) of rows: [k, l] to [k]. */
function standardNormal(z: Tensor): Tensor {
  return ops.sub(ops.mul(rowSum(ops.square(z)), -0.5), ((z.shape[1] as number) / 2) * LOG_2PI)
}

/** log(eᵃ + eᵇ), broadcasting. */
function logAddExp(a: Tensor, b: Tensor): Tensor {
  return ops.add(ops.maximum(a, b), ops.softplus(ops.neg(ops.abs(ops.sub(a, b)))))
}

function generatedMeans(generator: (z: Tensor) => Tensor, z: Tensor, x: Tensor): Tensor {
  const means = generator(z)
  const expected = [z.shape[0] as number, ...x.shape.slice(1)]
  if (!sameShape(means.shape, expected)) {
    throw shapeError(
      'veraEntropySurrogate',
      `the generator must map latents ${showShape(z.shape)} to ${showShape(expected)}, as x; got ${showShape(means.shape)}`,
    )
  }
  return means
}

const LOG_2PI = Math.log(2 * Math.PI)

/** log q(x, z) = log N(z; 0, I) + log N(x; g(z), σ²I): [K, n], of z [K·n, l], means g(z) [K, n, d] and x [n, d]. */
function jointLogDensity(z: Tensor, means: Tensor, x: Tensor, sigma: Tensor): Tensor {
  const [samples, n, d] = means.shape as readonly [number, number, number]
  const latent = z.shape[1] as number
  const error = ops.sum(ops.square(ops.div(ops.sub(x, means), sigma)), 2)
  const square = ops.add(ops.reshape(ops.sum(ops.square(z), 1), [samples, n]), error)
  const constant = ops.add(ops.mul(ops.log(sigma), d), ((d + latent) / 2) * LOG_2PI)
  return ops.sub(ops.mul(square, -0.5), constant)
}

/** log N(z₀ + η·e; z₀, diag η²): [K, n]. */
function proposalLogDensity(eta: Tensor, epsilon: Tensor): Tensor {
  const l = epsilon.shape[2] as number
  const logScale = ops.sum(ops.broadcast(ops.log(eta), [l]))
  return ops.sub(ops.mul(ops.sum(ops.square(epsilon), 2), -0.5), ops.add(logScale, (l / 2) * LOG_2PI))
}

/** Samples, examples and latent dimension. */
function checkVera(
  options: Omit<VeraOptions, 'noise' | 'samples' | 'sharedSamples'> & { readonly epsilon: Tensor },
): readonly [samples: number, examples: number, latent: number] {
  const { x, z0, eta, sigma, epsilon } = options
  const name = 'veraEntropySurrogate'
  dimensionOf(name, x)
  const latent = z0.shape[1]
  if (z0.rank !== 2 || z0.shape[0] !== x.shape[0] || latent === undefined) {
    throw shapeError(name, `z0 must be [${x.shape[0]}, latent], one row for each of x; got ${showShape(z0.shape)}`)
  }
  if (eta.size !== 1 && !sameShape(eta.shape, [latent])) {
    throw shapeError(name, `eta must be a scalar or [${latent}], as the latents; got ${showShape(eta.shape)}`)
  }
  if (sigma.size !== 1) throw shapeError(name, `sigma must be a scalar; got ${showShape(sigma.shape)}`)
  if (epsilon.rank !== 3 || !sameShape(epsilon.shape.slice(1), z0.shape)) {
    throw shapeError(name, `epsilon must be [samples, ...z0]; got ${showShape(epsilon.shape)}`)
  }
  return [epsilon.shape[0] as number, x.shape[0] as number, latent]
}

/**
 * mean E(x) for samples x of a generator, with a gradient that flows through x alone and not into the energy's parameters: so the
 * generator's loss and the energy's can be one sum with one gradient over all parameters. Cost: 2 passes, and the generator's backward.
 */
export function pathwiseEnergy(energy: EnergyFunction, x: Tensor): Tensor {
  return ops.mean(throughPoints(energy, x))
}

/**
 * weight·mean ‖∇x E(x)‖², the regularizer that keeps an adversarially trained energy smooth (on data, weight 0.1 in VERA; R1 in
 * Mescheder 2018 is half of it). Metrics: `gradientPenalty` = mean ‖∇x E‖², before the weight. Cost: 6 passes.
 * @param x [n, ...shape]
 */
export function gradientPenalty(energy: EnergyFunction, x: Tensor, weight: number): Terms {
  notNegative('gradientPenalty', 'weight', weight)
  const { gradient } = energyAndGradient('gradientPenalty', energy, x)
  const square = ops.mean(rowSum(ops.square(gradient)))
  return { loss: ops.mul(square, weight), metrics: { gradientPenalty: square } }
}

function meanOf(objective: string, name: string, energies: Tensor): Tensor {
  return ops.mean(expectVector(objective, name, energies, batchOf(objective, energies)))
}
