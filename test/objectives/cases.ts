/** The graphs that test/golden/objectives.py has the numbers of: each case builds a loss and names what its gradient is taken by. */
import { grad } from '../../lib/autodiff/index.ts'
import { type HostTensor, hostTensor } from '../../lib/graph/host-tensor.ts'
import type { Shape } from '../../lib/graph/shape.ts'
import type { Tensor } from '../../lib/graph/tensor.ts'
import { flowGeneratorLoss, gradientPenalty, variationalBound, veraWith } from '../../lib/objectives/adversarial.ts'
import { crossEntropy } from '../../lib/objectives/classification.ts'
import { contrastiveDivergence, klTerm } from '../../lib/objectives/contrastive-divergence.ts'
import {
  pseudoLikelihood,
  pseudoLikelihoodWith,
  ratioMatching,
  ratioMatchingWith,
} from '../../lib/objectives/discrete.ts'
import { areaUnderCurve, contrastiveLogistic } from '../../lib/objectives/dual-adversarial.ts'
import { flowContrastive } from '../../lib/objectives/flow-contrastive.ts'
import { noiseContrastive } from '../../lib/objectives/noise-contrastive.ts'
import {
  denoisingWith,
  exactScoreMatching,
  finiteDifferenceWith,
  multiscaleWith,
  slicedWith,
} from '../../lib/objectives/score-matching.ts'
import * as ops from '../../lib/ops/index.ts'
import { pattern } from '../golden/pattern.ts'

const [N, D, H] = [4, 4, 8]

/** A graph under construction: inputs with the numbers that they are fed, and those of them that are trained. */
export class Bench {
  readonly feeds = new Map<Tensor, HostTensor>()
  readonly trained = new Map<string, Tensor>()

  fed(value: HostTensor): Tensor {
    const t = ops.input(`in${this.feeds.size}`, value.shape, value.dtype)
    this.feeds.set(t, value)
    return t
  }

  data(shape: Shape, seed: number, scale = 1, offset = 0): Tensor {
    return this.fed(pattern(shape, seed, scale, offset))
  }

  numbers(data: readonly number[], shape: Shape = []): Tensor {
    return this.fed(hostTensor(Float32Array.from(data), shape))
  }

  train(name: string, t: Tensor): Tensor {
    this.trained.set(name, t)
    return t
  }
}

/** E(x) = a·tanh(W x + b) + ¼|x|², the last addend only for x [n, d]; sigma is one more column of x. */
export function energy(b: Bench, extra = 0, trained = true) {
  const parameter = (name: string, t: Tensor) => (trained ? b.train(name, t) : t)
  const w = parameter('w', b.data([H, D + extra], 1))
  const bias = parameter('b', b.data([H], 2, 0.5))
  const a = parameter('a', b.data([H], 3))
  const hidden = (x: Tensor) => ops.tanh(ops.add(ops.matmul(x, w, { transposeB: true }), bias))
  const head = (x: Tensor) => ops.sum(ops.mul(hidden(x), a), 1)
  const bowl = (x: Tensor) => ops.mul(ops.sum(ops.square(x), 1), 0.25)
  return {
    plain: (x: Tensor) => ops.add(head(x), bowl(x)),
    noisy: (x: Tensor, sigma: Tensor) => ops.add(head(ops.concat([x, ops.unsqueeze(sigma, 1)], 1)), bowl(x)),
    oneHot: (x: Tensor) => head(ops.flatten(x)),
  }
}

function convEnergy(b: Bench) {
  const w = b.train('w', b.data([2, 1, 3, 3], 1))
  const bias = b.train('b', b.data([2], 2, 0.5))
  const a = b.train('a', b.data([2], 3))
  return (x: Tensor) => {
    const h = ops.tanh(ops.add(ops.conv2d(x, w, { padding: 1 }), ops.reshape(bias, [2, 1, 1])))
    return ops.add(ops.sum(ops.mul(ops.sum(h, [2, 3]), a), 1), ops.mul(ops.sum(ops.square(x), [1, 2, 3]), 0.25))
  }
}

/** log N(x; mu, exp(logScale)²), with log 2π as the tests' float32 constant. */
export function normalLogDensity(x: Tensor, mu: Tensor, logScale: Tensor): Tensor {
  const z = ops.mul(ops.sub(x, mu), ops.exp(ops.neg(logScale)))
  const each = ops.add(ops.add(ops.mul(ops.square(z), 0.5), logScale), 0.5 * Math.log(2 * Math.PI))
  return ops.neg(ops.sum(each, 1))
}

const rows = (b: Bench) => b.data([N, D], 20)

function scoreMatching(): Record<string, (b: Bench) => Tensor> {
  const sliced = (varianceReduced: boolean) => (b: Bench) =>
    slicedWith(energy(b).plain, rows(b), b.data([2, N, D], 22, 2), { varianceReduced }).loss
  const denoised = (options: object) => (b: Bench) =>
    denoisingWith(energy(b).plain, rows(b), b.data([N, D], 21, 2), { sigma: 0.25, ...options }).loss
  return {
    exact: (b) => exactScoreMatching(energy(b).plain, rows(b)).loss,
    exactImages: (b) => exactScoreMatching(convEnergy(b), b.data([2, 1, 4, 4], 23)).loss,
    sliced: sliced(false),
    slicedReduced: sliced(true),
    slicedImages: (b) => slicedWith(convEnergy(b), b.data([2, 1, 4, 4], 23), b.data([2, 2, 1, 4, 4], 24, 2)).loss,
    finiteDifference: (b) =>
      finiteDifferenceWith(energy(b).plain, rows(b), b.data([2, N, D], 22, 2), { epsilon: 0.25 }).loss,
    denoising: denoised({ antithetic: false }),
    denoisingPairs: denoised({}),
    denoisingOne: denoised({ weighting: 'one' }),
    multiscale: (b) =>
      multiscaleWith(energy(b, 1).noisy, rows(b), b.data([N, D], 21, 2), b.numbers([1, 0.5, 0.25, 0.5], [N])).loss,
  }
}

function contrastiveDensities(b: Bench, noise: Tensor, mu: Tensor, logScale: Tensor) {
  const e = energy(b).plain
  const c = b.train('c', b.numbers([0.375]))
  const x = rows(b)
  const model = (y: Tensor) => ops.neg(ops.add(e(y), c))
  return {
    logModelData: model(x),
    logModelNoise: model(noise),
    logNoiseData: normalLogDensity(x, mu, logScale),
    logNoiseNoise: normalLogDensity(noise, mu, logScale),
  }
}

function flow(b: Bench) {
  const mu = b.train('mu', b.data([D], 30))
  const scale = b.train('scale', b.data([D], 31, 0.5))
  return { mu, scale, made: ops.add(mu, ops.mul(ops.exp(scale), b.data([N, D], 32, 1.5))) }
}

function contrastive(): Record<string, (b: Bench) => Tensor> {
  return {
    noiseContrastive: (b) => {
      const noise = b.data([2 * N, D], 25, 1.5)
      const densities = contrastiveDensities(b, noise, ops.zeros([D]), ops.zeros([D]))
      return noiseContrastive({ ...densities, ratio: 2 }).loss
    },
    flowValue: (b) => {
      const { mu, scale, made } = flow(b)
      return flowContrastive(contrastiveDensities(b, made, mu, scale)).flowLoss
    },
    flowGenerator: (b) => {
      const { mu, scale, made } = flow(b)
      return flowGeneratorLoss({
        energy: energy(b, 0, false).plain(made),
        logDensity: normalLogDensity(made, mu, scale),
      }).loss
    },
    variationalBound: (b) => {
      const e = energy(b).plain
      const [energyData, energyModel] = [e(rows(b)), e(b.data([2 * N, D], 25, 1.5))]
      return variationalBound({ energyData, energyModel, entropy: b.numbers([1.5]) }).loss
    },
    gradientPenalty: (b) => gradientPenalty(energy(b).plain, rows(b), 0.125).loss,
  }
}

function vera(b: Bench) {
  const A = b.train('A', b.data([D, 4], 11))
  const B = b.train('B', b.data([4, 2], 12))
  const sigma = b.train('sigma', b.numbers([0.5]))
  const eta = b.train('eta', b.numbers([0.25, 0.5], [2]))
  const generator = (z: Tensor) => ops.matmul(ops.tanh(ops.matmul(z, B, { transposeB: true })), A, { transposeB: true })
  const z0 = b.data([N, 2], 40, 1.5)
  const x = ops.add(generator(z0), ops.mul(sigma, b.data([N, D], 42, 1.5)))
  return veraWith({ generator, x, z0, eta, sigma, epsilon: b.data([4, N, 2], 41, 1.5) })
}

function divergence(b: Bench, references: boolean): Tensor {
  const e = energy(b).plain
  let chain: Tensor = b.data([N, D], 50)
  for (let i = 0; i < 2; i++) {
    const [g] = grad(ops.sum(e(chain)), [chain]) as [Tensor]
    chain = ops.sub(chain, ops.mul(g, 0.25))
  }
  const near = references ? { references: b.data([8, D], 51), entropyWeight: 0.5 } : {}
  return klTerm({ energy: e, chain, ...near }).loss
}

function discrete(): Record<string, (b: Bench) => Tensor> {
  const bits = (b: Bench) => ops.cast(ops.gt(b.data([N, D], 60), 0), 'float32')
  const oneHot = (b: Bench) => ops.oneHot(ops.cast(b.data([N, 2], 61, 2, 2), 'int32'), 4)
  const sites = (b: Bench) => b.fed(hostTensor(Int32Array.from([0, 3, 1, 2, 2, 1, 3, 3]), [2, N]))
  return {
    pseudoLikelihood: (b) => pseudoLikelihood(energy(b).plain, bits(b)).loss,
    pseudoLikelihoodSites: (b) => pseudoLikelihoodWith(energy(b).plain, bits(b), sites(b)).loss,
    pseudoLikelihoodOneHot: (b) => pseudoLikelihood(energy(b, 4).oneHot, oneHot(b)).loss,
    ratioMatching: (b) => ratioMatching(energy(b).plain, bits(b)).loss,
    ratioMatchingSites: (b) => ratioMatchingWith(energy(b).plain, bits(b), sites(b)).loss,
    ratioMatchingOneHot: (b) => ratioMatching(energy(b, 4).oneHot, oneHot(b)).loss,
  }
}

function dualAdversarial(): Record<string, (b: Bench) => Tensor> {
  const energies = (b: Bench, trained = true) => {
    const e = energy(b, 0, trained).plain
    return { energyData: e(rows(b)), energyNegatives: e(b.data([2 * N, D], 25, 1.5)) }
  }
  return {
    contrastiveLogistic: (b) => contrastiveLogistic(energies(b)).loss,
    areaUnderCurve: (b) => {
      const { energyData, energyNegatives } = energies(b, false)
      return areaUnderCurve(ops.neg(energyData), ops.neg(energyNegatives))
    },
  }
}

function labelled(smoothing: number) {
  return (b: Bench): Tensor => {
    const logits = b.train('logits', b.data([N, 4], 70, 2))
    return crossEntropy(logits, b.fed(hostTensor(Int32Array.from([3, 0, 2, 2]), [N])), { smoothing }).loss
  }
}

/** The graph of every case of objectives.json, by its name there. */
export const cases: Readonly<Record<string, (b: Bench) => Tensor>> = {
  ...scoreMatching(),
  ...contrastive(),
  veraSurrogate: (b) => vera(b).surrogate,
  veraPosterior: (b) => vera(b).posteriorLoss,
  veraEntropy: (b) => vera(b).entropy,
  contrastiveDivergence: (b) => {
    const e = energy(b).plain
    const [energyData, energyNegatives] = [e(rows(b)), e(b.data([N, D], 50))]
    return contrastiveDivergence({ energyData, energyNegatives, energyPenalty: 0.125 }).loss
  },
  klTerm: (b) => divergence(b, false),
  klTermEntropy: (b) => divergence(b, true),
  ...discrete(),
  ...dualAdversarial(),
  crossEntropy: labelled(0),
  crossEntropySmooth: labelled(0.25),
}
