/**
 * The kernel Stein discrepancy between a sample and a density of which only the score is known, so without log Z (Liu 2016; Chwialkowski
 * 2016; Gorham & Mackey 2017). All n² pairs are computed natively, in blocks of rows by matmul; sums are float64.
 */

import { LangevinError, suggestion } from '../graph/errors.ts'
import { type HostTensor, hostTensor } from '../graph/host-tensor.ts'
import { sameShape, showShape } from '../graph/shape.ts'
import type { Tensor } from '../graph/tensor.ts'
import { Model } from '../nn/model.ts'
import * as ops from '../ops/index.ts'
import type { DeviceOption } from '../runtime/devices.ts'
import { HostRandom } from '../runtime/host-random.ts'
import { makeProgram } from '../runtime/program.ts'
import { Recorder, runStage, type Stage, State, zeroTensor } from '../runtime/state.ts'
import { checkCount, checkFinite, checkTensor } from './checks.ts'
import { medianDistance } from './pairs.ts'
import { type RowRun, rowRun } from './row-blocks.ts'

export interface SteinOptions extends DeviceOption {
  /**
   * 'imq' (default): (c² + ‖x - y‖²)^β, which detects samples that miss mass in any dimension (Gorham & Mackey 2017);
   * 'rbf': exp(-‖x - y‖² / (2c²)), which loses power as dimensions grow.
   */
  readonly kernel?: 'imq' | 'rbf'
  /** Exponent of imq, in (-1, 0); default -0.5. */
  readonly beta?: number
  /** Length scale: a number, or 'median' of the distances between points (at most 1000 of them). Default 1 for imq, 'median' for rbf. */
  readonly c?: number | 'median'
  /** Bootstrap replicates for a p-value (Liu 2016, §4); default 0, none. */
  readonly bootstrap?: number
  /** Of the bootstrap, and of the points that a median is taken over; default 0. */
  readonly seed?: number
  readonly signal?: AbortSignal
}

export interface SteinDiscrepancy {
  /** Mean of the Stein kernel over pairs i ≠ j: unbiased for KSD², zero in expectation if and only if the sample is the density's. */
  readonly uStatistic: number
  /** Mean over all pairs: never negative, biased upwards by the diagonal / n. */
  readonly vStatistic: number
  /** √vStatistic, in units of the score (1 / unit of x). */
  readonly ksd: number
  /** Of `uStatistic` where the sample is off the density; at the density it does not apply (the U-statistic is degenerate there): use `pValue`. */
  readonly standardError: number
  /** The length scale that was used. */
  readonly c: number
  /** Share of bootstrap replicates at least as large, with `bootstrap`. */
  readonly pValue?: number
}

/**
 * KSD of x [n, ...shape], n >= 2, from the density whose score is given: ∇x log p at x, of x's shape, or a model.
 * Memory: a few blocks of at most 2²¹ pairs; time O(n²·d).
 * @throws LangevinError E_SHAPE, E_DATA, E_CONFIG (unknown kernel), E_CANCELLED; RangeError
 */
export async function kernelSteinDiscrepancy(
  x: HostTensor,
  score: HostTensor | Model,
  options: SteinOptions = {},
): Promise<SteinDiscrepancy> {
  const { bootstrap = 0, seed = 0, signal } = options
  checkTensor('KSD: x', x)
  if (!(score instanceof Model)) checkTensor('KSD: the score (else give a Model)', score)
  const n = x.shape[0] ?? 0
  if (x.dtype !== 'float32' || n < 2 || x.data.length < n) {
    throw new LangevinError(
      'E_SHAPE',
      `KSD: x must be float32 [n, ...] with n >= 2; got ${x.dtype}${showShape(x.shape)}`,
    )
  }
  checkFinite('KSD: x', x.data)
  checkCount('KSD: bootstrap', bootstrap, 0)
  const s = score instanceof Model ? await score.score(x, signal ? { signal } : {}) : score
  if (!sameShape(s.shape, x.shape)) {
    throw new LangevinError(
      'E_SHAPE',
      `KSD: the score must have x's shape ${showShape(x.shape)}; got ${showShape(s.shape)}`,
    )
  }
  checkFinite('KSD: the score', s.data)
  const width = x.data.length / n
  const centred = hostTensor(centre(x.data, n, width), [n, width])
  const run = rowRun({ device: score instanceof Model ? score.device : undefined, ...options })
  const kernel = await makeKernel(options, centred, run)
  const draws = bootstrap > 0 ? bootstrapWeights(n, bootstrap, seed) : undefined
  const pairs = await sumPairs(centred, hostTensor(s.data, [n, width]), kernel, draws, run)
  return summarize(pairs, s.data, width, kernel)
}

/** k(x, y) = φ(‖x - y‖²): the function with its first two derivatives, as graphs of the squared distance and at 0. */
interface RadialKernel {
  readonly c: number
  readonly graph: (r2: Tensor) => readonly [value: Tensor, first: Tensor, second: Tensor]
  readonly atZero: readonly [value: number, first: number]
}

async function makeKernel(options: SteinOptions, x: HostTensor, run: RowRun): Promise<RadialKernel> {
  const { kernel = 'imq', beta = -0.5, seed = 0 } = options
  if (kernel !== 'imq' && kernel !== 'rbf') {
    throw new LangevinError(
      'E_CONFIG',
      `KSD: kernel '${String(kernel)}' is not known.${suggestion(kernel, ['imq', 'rbf'])}`,
    )
  }
  if (!(beta > -1 && beta < 0)) throw new RangeError(`KSD: beta must lie between -1 and 0; got ${beta}`)
  const wanted = options.c ?? (kernel === 'imq' ? 1 : 'median')
  const c = wanted === 'median' ? await medianDistance("KSD: c 'median'", x, seed, run) : wanted
  if (!(Number.isFinite(c) && c > 0)) throw new RangeError(`KSD: c must be a positive number or 'median'; got ${c}`)
  return kernel === 'imq' ? inverseMultiquadric(c, beta) : gaussian(c)
}

function inverseMultiquadric(c: number, beta: number): RadialKernel {
  return {
    c,
    graph(r2) {
      const q = ops.add(r2, c * c)
      const value = ops.exp(ops.mul(ops.log(q), beta))
      const first = ops.div(ops.mul(value, beta), q)
      return [value, first, ops.div(ops.mul(first, beta - 1), q)]
    },
    atZero: [c ** (2 * beta), beta * c ** (2 * beta - 2)],
  }
}

function gaussian(c: number): RadialKernel {
  const rate = -1 / (2 * c * c)
  return {
    c,
    graph(r2) {
      const value = ops.exp(ops.mul(r2, rate))
      return [value, ops.mul(value, rate), ops.mul(value, rate * rate)]
    },
    atZero: [1, rate],
  }
}

/** x minus its mean: distances are then computed from inner products without loss. */
function centre(data: ArrayLike<number>, n: number, width: number): Float32Array {
  const mean = new Float64Array(width)
  for (let i = 0; i < data.length; i++) mean[i % width]! += data[i]! / n
  return Float32Array.from(data, (v, i) => v - mean[i % width]!)
}

/** Multinomial weights minus 1/n, [n, replicates]. */
function bootstrapWeights(n: number, replicates: number, seed: number): HostTensor {
  const random = new HostRandom(seed)
  const data = new Float32Array(n * replicates).fill(-1 / n)
  for (let b = 0; b < replicates; b++) for (let i = 0; i < n; i++) data[random.int(n) * replicates + b]! += 1 / n
  return hostTensor(data, [n, replicates])
}

interface PairSums {
  /** Σ_{j≠i} u(x_i, x_j) for each i. */
  readonly rows: Float32Array
  /** Σ_{i≠j} w_i w_j u(x_i, x_j) of each replicate. */
  readonly replicates: Float32Array
}

/** Pairs in a block. */
const blockPairs = 2 ** 21

async function sumPairs(
  x: HostTensor,
  score: HostTensor,
  kernel: RadialKernel,
  weights: HostTensor | undefined,
  { device, signal }: RowRun,
): Promise<PairSums> {
  const n = x.shape[0] as number
  const block = Math.max(1, Math.min(n, Math.floor(blockPairs / n)))
  const state = new State(device)
  let stage: Stage | undefined
  try {
    await state.put('x', x)
    await state.put('score', score)
    await state.put('block', zeroTensor([], 'int32'))
    await state.put('rows', zeroTensor([n]))
    await state.put('replicates', zeroTensor([weights?.shape[1] ?? 0]))
    if (weights !== undefined) await state.put('weights', weights)
    stage = await recordBlock(state, kernel, block)
    const result = await makeProgram([runStage(stage)]).run(Math.ceil(n / block), { signal })
    if (result.cancelled || signal?.aborted) throw new LangevinError('E_CANCELLED', 'KSD was cancelled')
    const read = async (name: string) => (await state.get(name).read()).data as Float32Array
    return { rows: await read('rows'), replicates: await read('replicates') }
  } finally {
    stage?.plan.dispose()
    state.dispose()
  }
}

/** One block of rows against all points. In the last block rows beyond the end repeat the last one, and count nothing. */
function recordBlock(state: State, kernel: RadialKernel, block: number): Promise<Stage> {
  const r = new Recorder(state)
  const [x, s, at] = [r.read('x'), r.read('score'), r.read('block')]
  const n = x.shape[0] as number
  const position = ops.add(ops.iota([block]), ops.mul(at, block))
  const index = ops.minimum(position, n - 1)
  const pairs = steinKernel(ops.gather(x, index), ops.gather(s, index), x, s, kernel)
  const diagonal = ops.eq(ops.reshape(index, [block, 1]), ops.iota([1, n], 1))
  const others = ops.select(diagonal, 0, pairs)
  r.write('rows', ops.scatterRows(r.read('rows'), index, ops.sum(others, 1)))
  if (state.has('weights')) {
    const w = r.read('weights')
    const own = ops.select(ops.reshape(ops.lt(position, n), [block, 1]), ops.gather(w, index), 0)
    const sums = ops.sum(ops.mul(own, ops.matmul(others, w)), 0)
    r.write('replicates', ops.add(r.read('replicates'), sums))
  }
  r.write('block', ops.add(at, 1))
  return r.compile('pairs')
}

/**
 * u(x, y) = s(x)·s(y) φ - 2φ' (s(x) - s(y))·(x - y) - 2dφ' - 4‖x - y‖²φ'' for rows (x, s) [m, d] against (y, t) [n, d]: [m, n].
 * (s_x·∇_y k + s_y·∇_x k and tr ∇_x∇_y k of k = φ(‖x - y‖²), written out.)
 */
function steinKernel(x: Tensor, s: Tensor, y: Tensor, t: Tensor, kernel: RadialKernel): Tensor {
  const [m, n, d] = [x.shape[0] as number, y.shape[0] as number, x.shape[1] as number]
  const against = (a: Tensor, b: Tensor) => ops.matmul(a, b, { transposeB: true })
  const column = (a: Tensor, b: Tensor) => ops.sum(ops.mul(a, b), 1, { keepDims: true })
  const row = (a: Tensor, b: Tensor) => ops.reshape(column(a, b), [1, n])
  const r2 = ops.maximum(ops.sub(ops.add(column(x, x), row(y, y)), ops.mul(against(x, y), 2)), 0)
  const [value, first, second] = kernel.graph(r2)
  const crossed = ops.sub(ops.add(column(s, x), row(t, y)), ops.add(against(s, y), against(x, t)))
  const trace = ops.add(ops.mul(first, 2 * d), ops.mul(ops.mul(r2, second), 4))
  const u = ops.sub(ops.sub(ops.mul(against(s, t), value), ops.mul(ops.mul(first, crossed), 2)), trace)
  return ops.reshape(u, [m, n])
}

function summarize(pairs: PairSums, score: ArrayLike<number>, width: number, kernel: RadialKernel): SteinDiscrepancy {
  const n = pairs.rows.length
  const off = pairs.rows.reduce((sum, v) => sum + v, 0)
  const [value, first] = kernel.atZero
  let diagonal = -2 * width * first * n
  for (let i = 0; i < score.length; i++) diagonal += score[i]! ** 2 * value
  const uStatistic = off / (n * (n - 1))
  const vStatistic = (off + diagonal) / (n * n)
  // Hoeffding: var U ≈ 4/n · var of the projection E[u(x_i, ·)].
  let spread = 0
  for (const v of pairs.rows) spread += (v / (n - 1) - uStatistic) ** 2
  const standardError = Math.sqrt((4 * spread) / (n - 1) / n)
  const figures = { uStatistic, vStatistic, ksd: Math.sqrt(Math.max(0, vStatistic)), standardError, c: kernel.c }
  const replicates = pairs.replicates
  if (replicates.length === 0) return figures
  const above = replicates.reduce((count, v) => (v >= uStatistic ? count + 1 : count), 0)
  return { ...figures, pValue: (above + 1) / (replicates.length + 1) }
}
