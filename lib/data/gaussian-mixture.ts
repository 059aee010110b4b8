/**
 * A mixture of Gaussians with full covariances fitted by EM (Dempster, Laird & Rubin 1977) in model units. Responsibilities and moments
 * are a native graph over blocks of rows; factors and the M step's division are made here. Its graph form is `gaussianMixture` in lib/samplers.
 */
import { LangevinError } from '../graph/errors.ts'
import { type HostTensor, hostTensor } from '../graph/host-tensor.ts'
import { sameShape, showShape } from '../graph/shape.ts'
import * as ops from '../ops/index.ts'
import { chosenDevice, type Device, type DeviceOption } from '../runtime/devices.ts'
import { HostRandom } from '../runtime/host-random.ts'
import { makeProgram, type Program } from '../runtime/program.ts'
import { Recorder, runStage, State } from '../runtime/state.ts'
import { invertLower } from '../samplers/distributions.ts'
import type { Dataset } from './dataset.ts'
import { defaultJitter } from './gaussian-fit.ts'
import { type Clusters, kMeans } from './kmeans.ts'
import { cholesky, Pace } from './linear-algebra.ts'

/** The numbers of a mixture. */
export interface MixtureParameters {
  /** float32 [k], summing to 1. */
  readonly weights: HostTensor
  /** float32 [k, ...shape]. */
  readonly means: HostTensor
  /** float32 [k, d, d], lower triangular: factor factorᵀ = covariance. */
  readonly factors: HostTensor
}

export interface GaussianMixtureFit extends MixtureParameters {
  /** Mean log likelihood a row in nats: of the start, then after each iteration; the last belongs to the parameters returned. */
  readonly logLikelihood: readonly number[]
  /** Whether the last gain was below the tolerance, not the iterations spent. */
  readonly converged: boolean
}

export interface GaussianMixtureOptions extends DeviceOption {
  readonly components: number
  /** Most iterations. Default 100. */
  readonly iterations?: number | undefined
  /** For the start. Default 0. */
  readonly seed?: number | undefined
  /** Stops when an iteration gains less than this, in nats a row. Default 1e-4. */
  readonly tolerance?: number | undefined
  /** Added to every variance in every iteration, in squared model units. Default 1e-4 of the mean variance. */
  readonly jitter?: number | undefined
  /** Parameters to begin with. Default: k-means on a sample of the rows. */
  readonly start?: MixtureParameters | undefined
  /** Gets iterations done and the likelihood after each. */
  readonly progress?: ((iteration: number, logLikelihood: number) => void) | undefined
  readonly signal?: AbortSignal | undefined
}

/**
 * Fits a mixture. The likelihood rises with every iteration, but for what jitter and float32 take.
 * Memory: the rows as float32, and 4·k·d² bytes three times.
 * @throws RangeError for an option out of range; LangevinError E_DATA for a covariance that is not positive definite, E_CANCELLED.
 * @example const { weights, means, factors } = await fitGaussianMixture(data, { components: 8 })
 */
export async function fitGaussianMixture(data: Dataset, options: GaussianMixtureOptions): Promise<GaussianMixtureFit> {
  const { components: k, iterations = 100, tolerance = 1e-4, jitter = defaultJitter(data), signal } = options
  checkOptions(data, { k, iterations, tolerance, jitter })
  const pace = new Pace(1, undefined, signal)
  const x = data.normalized()
  const step = await Expectation.make(
    hostTensor(x.data, [data.count, data.dimensions]),
    k,
    chosenDevice(options.device),
  )
  try {
    let mixture =
      options.start === undefined ? await begin(x, data, options, jitter, pace) : given(options.start, data, k)
    const logLikelihood: number[] = []
    for (let i = 0; ; i++) {
      if (signal?.aborted) throw new LangevinError('E_CANCELLED', 'fitGaussianMixture: the computation was cancelled')
      const sums = await step.run(mixture)
      const gain = sums.logLikelihood - (logLikelihood.at(-1) ?? -Infinity)
      logLikelihood.push(sums.logLikelihood)
      options.progress?.(i, sums.logLikelihood)
      const converged = gain < tolerance
      if (converged || i === iterations) return { ...asTensors(mixture, data), logLikelihood, converged }
      mixture = await maximise(mixture, sums, data, jitter, pace)
    }
  } finally {
    step.dispose()
  }
}

/** Working parameters, float64, row-major [k], [k, d], [k, d, d]. */
interface Working {
  readonly weights: Float64Array
  readonly means: Float64Array
  readonly factors: Float64Array
}

interface Sums {
  /** Responsibilities [k]; of rows minus the mean [k, d]; of their products [k, d, d]. */
  readonly total: Float32Array
  readonly first: Float32Array
  readonly second: Float32Array
  readonly logLikelihood: number
}

/** Numbers that one block's intermediates may have. */
const blockNumbers = 2 ** 22

/** The E step and the sums of the M step, block by block of rows, as a native program. */
class Expectation {
  readonly #state: State
  readonly #program: Program
  readonly #blocks: number
  readonly #rows: number
  readonly #dispose: () => void

  private constructor(state: State, program: Program, blocks: number, rows: number, dispose: () => void) {
    this.#state = state
    this.#program = program
    this.#blocks = blocks
    this.#rows = rows
    this.#dispose = dispose
  }

  static async make(x: HostTensor, k: number, device: Device): Promise<Expectation> {
    const [n = 0, d = 0] = x.shape
    const block = Math.max(1, Math.min(n, 8192, Math.floor(blockNumbers / (k * d))))
    const state = new State(device)
    await state.put('x', x)
    state.create('offset', [], 'int32')
    for (const [name, shape] of parameterShapes(k, d)) state.create(name, shape)
    const r = new Recorder(state)
    const rows = ops.iota([block], 0).add(r.read('offset'))
    const real = rows.lt(n)
    // Beyond the last row gather repeats it; its responsibilities are then 0.
    const given = r.read('x').gather(rows, { axis: 0 })
    const centred = given.reshape([1, block, d]).sub(r.read('mean').reshape([k, 1, d]))
    const white = ops.matmul(centred, r.read('inverse'), { transposeB: true })
    const joint = white
      .square()
      .sum(-1)
      .mul(-0.5)
      .add(r.read('constant').reshape([k, 1]))
    const evidence = joint.logsumexp(0)
    const share = ops.select(real.reshape([1, block]), joint.sub(evidence.reshape([1, block])).exp(), 0)
    const weighted = centred.mul(share.reshape([k, block, 1]))
    r.write('log', ops.select(real, evidence, 0).sum())
    r.write('total', r.read('total').add(share.sum(1)))
    r.write('first', r.read('first').add(weighted.sum(1)))
    r.write('second', r.read('second').add(ops.matmul(weighted, centred, { transposeA: true })))
    r.write('offset', r.read('offset').add(block))
    const stage = await r.compile('expectation')
    const program = makeProgram([runStage(stage), { do: 'record', tensors: [state.get('log')] }])
    return new Expectation(state, program, Math.ceil(n / block), n, () => {
      stage.plan.dispose()
      state.dispose()
    })
  }

  async run({ weights, means, factors }: Working): Promise<Sums> {
    const k = weights.length
    const d = means.length / k
    const inverse = new Float32Array(k * d * d)
    const constant = Float32Array.from(weights, (w, c) => {
      const one = invertLower('fitGaussianMixture', factors.subarray(c * d * d, (c + 1) * d * d), d)
      inverse.set(one.inverse, c * d * d)
      return Math.log(w) - one.logDeterminant - 0.5 * d * Math.log(2 * Math.PI)
    })
    const zero = (length: number): Float32Array => new Float32Array(length)
    const values: Record<string, Float32Array> = {
      mean: Float32Array.from(means),
      inverse,
      constant,
      total: zero(k),
      first: zero(k * d),
      second: zero(k * d * d),
    }
    for (const [name, shape] of parameterShapes(k, d)) {
      await this.#state.get(name).write(hostTensor(values[name] as Float32Array, shape))
    }
    await this.#state.get('offset').write(hostTensor(new Int32Array(1), []))
    const { metrics } = await this.#program.run(this.#blocks)
    const read = async (name: string) => (await this.#state.get(name).read()).data as Float32Array
    const logLikelihood = metrics.reduce((sum, v) => sum + v / this.#rows, 0)
    return { total: await read('total'), first: await read('first'), second: await read('second'), logLikelihood }
  }

  dispose(): void {
    this.#dispose()
  }
}

function parameterShapes(k: number, d: number): (readonly [string, readonly number[]])[] {
  return [
    ['mean', [k, d]],
    ['inverse', [k, d, d]],
    ['constant', [k]],
    ['total', [k]],
    ['first', [k, d]],
    ['second', [k, d, d]],
  ]
}

/**
 * Weights, means and covariances from the sums. These are taken about the means before, as float32 they had in the graph, so that
 * nothing cancels: mean' = mean + first / total, covariance' = second / total - shift shiftᵀ + jitter I.
 */
async function maximise(before: Working, sums: Sums, data: Dataset, jitter: number, pace: Pace): Promise<Working> {
  const k = before.weights.length
  const d = before.means.length / k
  // A component that has lost all rows keeps its place with a share of next to nothing.
  const total = Float64Array.from(sums.total, (t) => Math.max(t, 1e-6))
  const all = total.reduce((a, b) => a + b, 0)
  const shift = Float64Array.from(sums.first, (v, i) => v / (total[Math.floor(i / d)] as number))
  const means = shift.map((v, i) => Math.fround(before.means[i] as number) + v)
  const factors = new Float64Array(k * d * d)
  for (let c = 0; c < k; c++) {
    const matrix = factors.subarray(c * d * d, (c + 1) * d * d)
    for (let i = 0; i < d; i++) {
      for (let j = 0; j <= i; j++) {
        const square = (sums.second[(c * d + i) * d + j] as number) / (total[c] as number)
        const moved = (shift[c * d + i] as number) * (shift[c * d + j] as number)
        matrix[i * d + j] = square - moved + (i === j ? jitter : 0)
      }
    }
    const bad = await cholesky(pace, matrix, d, d)
    if (bad !== undefined) {
      throw new LangevinError(
        'E_DATA',
        `fitGaussianMixture: the covariance of component ${c} on ${data} is not positive definite (pivot ${bad.row} is ${bad.pivot}): ` +
          `raise jitter (${jitter}), or take fewer components`,
        { component: c, jitter },
      )
    }
  }
  return { weights: total.map((t) => t / all), means, factors }
}

/** Clusters as a mixture: their shares and centres, and one diagonal covariance, that of the rows about their centres. */
async function begin(
  x: HostTensor,
  data: Dataset,
  options: GaussianMixtureOptions,
  jitter: number,
  pace: Pace,
): Promise<Working> {
  const { components: k, seed = 0 } = options
  const d = data.dimensions
  const clusters: Clusters = await kMeans(x.data as Float32Array, d, k, new HostRandom(seed), pace)
  const factors = new Float64Array(k * d * d)
  for (let c = 0; c < k; c++) {
    for (let j = 0; j < d; j++) {
      factors[(c * d + j) * d + j] = Math.sqrt((clusters.spread[j] as number) + jitter)
    }
  }
  const shares = clusters.shares.map((s) => Math.max(s, 1e-3))
  const all = shares.reduce((a, b) => a + b, 0)
  return { weights: shares.map((s) => s / all), means: clusters.centres, factors }
}

function given(start: MixtureParameters, data: Dataset, k: number): Working {
  const d = data.dimensions
  const want = { weights: [k], means: [k, ...data.shape], factors: [k, d, d] }
  for (const name of ['weights', 'means', 'factors'] as const) {
    if (sameShape(start[name].shape, want[name])) continue
    throw new LangevinError(
      'E_SHAPE',
      `fitGaussianMixture: start.${name} must be float32${showShape(want[name])} for ${k} components on ${data}; got ${showShape(start[name].shape)}`,
    )
  }
  const [weights, means, factors] = [start.weights, start.means, start.factors].map((t) => Float64Array.from(t.data))
  const all = (weights as Float64Array).reduce((a, b) => a + b, 0)
  return {
    weights: (weights as Float64Array).map((w) => w / all),
    means: means as Float64Array,
    factors: factors as Float64Array,
  }
}

function asTensors({ weights, means, factors }: Working, data: Dataset): MixtureParameters {
  const k = weights.length
  const d = data.dimensions
  return {
    weights: hostTensor(Float32Array.from(weights), [k]),
    means: hostTensor(Float32Array.from(means), [k, ...data.shape]),
    factors: hostTensor(Float32Array.from(factors), [k, d, d]),
  }
}

function checkOptions(
  data: Dataset,
  { k, iterations, tolerance, jitter }: { k: number; iterations: number; tolerance: number; jitter: number },
): void {
  const refuse = (name: string, want: string, got: number): never => {
    throw new RangeError(`fitGaussianMixture: ${name} must be ${want}; got ${got}`)
  }
  if (!Number.isInteger(k) || k < 1 || k > data.count)
    refuse('components', `a whole number in 1..${data.count} (rows)`, k)
  if (!Number.isInteger(iterations) || iterations < 0) refuse('iterations', 'a whole number of at least 0', iterations)
  if (!(tolerance >= 0)) refuse('tolerance', 'at least 0', tolerance)
  if (!(jitter >= 0 && jitter < Infinity)) refuse('jitter', 'at least 0 and finite', jitter)
}
