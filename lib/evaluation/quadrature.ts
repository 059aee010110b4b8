/**
 * log Z, divergences and densities by quadrature on a grid, for energies of one to three dimensions: as good as exact where the box holds
 * the mass and the grid is finer than the energy's features. The energy is evaluated natively in batches; sums are float64.
 * For more dimensions there is annealed importance sampling (ais.ts).
 */

import { LangevinError } from '../graph/errors.ts'
import { type HostTensor, hostTensor } from '../graph/host-tensor.ts'
import { type Shape, sameShape, showShape, sizeOf } from '../graph/shape.ts'
import type { Tensor } from '../graph/tensor.ts'
import { Model } from '../nn/model.ts'
import * as ops from '../ops/index.ts'
import { compileGraph } from '../runtime/compile.ts'
import { chosenDevice, type Device, type DeviceOption } from '../runtime/devices.ts'
import { checkCount } from './checks.ts'
import { logSumExp } from './log-weights.ts'

/** One number for all dimensions, or one for each (in the order of the flattened example). */
export type PerDimension = number | readonly number[]

export interface BoxOptions extends DeviceOption {
  readonly low: PerDimension
  readonly high: PerDimension
  /** Points a dimension; default 1000 in 1-D, 256 in 2-D, 64 in 3-D; one more for Simpson's rule. */
  readonly points?: PerDimension
  /**
   * 'midpoint' (default): cell centres, spectrally accurate for smooth densities that vanish at the edge. 'simpson': for those that do
   * not; takes the edge itself, and odd numbers of points (3 or more).
   */
  readonly rule?: 'midpoint' | 'simpson'
  /** Points per native call; default 16384. */
  readonly batch?: number
  readonly signal?: AbortSignal
}

/** An unnormalised log density: a model (-E), or a graph x [n, ...shape] -> [n]. */
export type LogDensity = Model | ((x: Tensor) => Tensor)

export interface QuadratureResult {
  /** log of the integral over the box, nats. */
  readonly logZ: number
  /** Greatest density at the outermost points against the greatest anywhere: near 0 where the box holds the mass. */
  readonly edgeRatio: number
  /** edgeRatio > 1e-4: mass lies beyond the box, which is too small. */
  readonly reachesEdge: boolean
  /** Energy evaluations. */
  readonly evaluations: number
}

/**
 * log Z of a model with one to three values an example: log ∫_box exp(-E).
 * @throws LangevinError E_CONFIG (more than three values), E_DATA (energies that are NaN); RangeError (box, points)
 * @example await quadratureLogZ(model, { low: -4, high: 4 })
 */
export async function quadratureLogZ(model: Model, box: BoxOptions): Promise<QuadratureResult> {
  const grid = gridOf(model.network.shape, box)
  const values = await valuesOf('quadratureLogZ', model, grid, box)
  return { logZ: logIntegral(values, grid), ...edgeOf(values, grid), evaluations: grid.total }
}

export interface DensityGrid {
  /** Coordinates of the points along each dimension. */
  readonly axes: readonly Float64Array[]
  /** Normalised log density, row-major: the last dimension runs fastest. Nats. */
  readonly logDensity: Float64Array
  readonly shape: Shape
  readonly logZ: number
  readonly edgeRatio: number
  readonly reachesEdge: boolean
}

/** The density on a grid, normalised over the box; for pictures and for sums over states. @throws as {@link quadratureLogZ} */
export async function densityGrid(model: Model, box: BoxOptions): Promise<DensityGrid> {
  const grid = gridOf(model.network.shape, box)
  const values = await valuesOf('densityGrid', model, grid, box)
  const logZ = logIntegral(values, grid)
  return {
    axes: grid.axes.map((a) => a.points),
    logDensity: values.map((v) => v - logZ),
    shape: grid.axes.map((a) => a.points.length),
    logZ,
    ...edgeOf(values, grid),
  }
}

export interface QuadratureKl {
  /** KL(p ‖ p_θ) = ∫ p (log p - log p_θ), nats: what maximum likelihood minimises. */
  readonly forward: number
  /** KL(p_θ ‖ p), nats; Infinity where the model has mass and p has none. */
  readonly reverse: number
  /** log normaliser of each over the box: for a normalised p that the box holds, `logZTarget` is 0. */
  readonly logZTarget: number
  readonly logZModel: number
  readonly reachesEdge: boolean
}

/** Both divergences between a density p and a model, each normalised over the box. @throws as {@link quadratureLogZ} */
export async function quadratureKl(target: LogDensity, model: Model, box: BoxOptions): Promise<QuadratureKl> {
  const grid = gridOf(model.network.shape, box)
  if (target instanceof Model && !sameShape(target.network.shape, model.network.shape)) {
    throw new LangevinError(
      'E_SHAPE',
      `quadratureKl: both models must take one shape; got ${showShape(target.network.shape)} and ${showShape(model.network.shape)}`,
    )
  }
  const p = await valuesOf('quadratureKl: target', target, grid, box)
  const q = await valuesOf('quadratureKl: model', model, grid, box)
  const [logZTarget, logZModel] = [logIntegral(p, grid), logIntegral(q, grid)]
  let forward = 0
  let reverse = 0
  for (let i = 0; i < grid.total; i++) {
    const [logP, logQ] = [p[i]! - logZTarget, q[i]! - logZModel]
    const weight = Math.exp(logWeightAt(grid, i))
    const [massP, massQ] = [weight * Math.exp(logP), weight * Math.exp(logQ)]
    // Where a density is 0 its term is 0, whatever the other is.
    if (massP > 0) forward += massP * (logP - logQ)
    if (massQ > 0) reverse += massQ * (logQ - logP)
  }
  const reachesEdge = edgeOf(p, grid).reachesEdge || edgeOf(q, grid).reachesEdge
  return { forward, reverse, logZTarget, logZModel, reachesEdge }
}

interface Axis {
  readonly points: Float64Array
  /** log of the quadrature weight of each point. */
  readonly logWeights: Float64Array
}

interface Grid {
  /** Shape of one example. */
  readonly shape: Shape
  readonly axes: readonly Axis[]
  readonly total: number
}

const defaultPoints = [1000, 256, 64]
const mostPoints = 2 ** 26

function gridOf(shape: Shape, box: BoxOptions): Grid {
  const d = sizeOf(shape)
  if (d < 1 || d > 3) {
    throw new LangevinError(
      'E_CONFIG',
      `quadrature takes models with one to three values an example; this one has ${d}. Use annealedImportanceSampling`,
      { dimensions: d },
    )
  }
  const low = perDimension('low', box.low, d)
  const high = perDimension('high', box.high, d)
  const rule = box.rule ?? 'midpoint'
  const usual = (defaultPoints[d - 1] as number) + (rule === 'simpson' ? 1 : 0)
  const points = perDimension('points', box.points ?? usual, d)
  if (rule !== 'midpoint' && rule !== 'simpson')
    throw new LangevinError('E_CONFIG', `quadrature: rule must be 'midpoint' or 'simpson'; got '${String(rule)}'`)
  const axes = low.map((l, i) => axisOf(l, high[i]!, points[i]!, rule))
  const total = points.reduce((a, b) => a * b, 1)
  if (total > mostPoints)
    throw new RangeError(`quadrature: at most ${mostPoints} points; got ${points.join(' x ')}. Take fewer a dimension`)
  return { shape, axes, total }
}

function perDimension(name: string, value: PerDimension, d: number): number[] {
  const list = typeof value === 'number' ? new Array<number>(d).fill(value) : [...value]
  if (list.length !== d || !list.every(Number.isFinite)) {
    throw new RangeError(`quadrature: ${name} must be a finite number or ${d} of them; got ${JSON.stringify(value)}`)
  }
  return list
}

function axisOf(low: number, high: number, count: number, rule: 'midpoint' | 'simpson'): Axis {
  if (!(low < high)) throw new RangeError(`quadrature: low must be below high; got [${low}, ${high}]`)
  checkCount('quadrature: points', count, rule === 'simpson' ? 3 : 2)
  if (rule === 'midpoint') {
    const step = (high - low) / count
    return {
      points: Float64Array.from({ length: count }, (_, i) => low + (i + 0.5) * step),
      logWeights: new Float64Array(count).fill(Math.log(step)),
    }
  }
  if (count % 2 === 0) throw new RangeError(`quadrature: Simpson's rule takes an odd number of points; got ${count}`)
  const step = (high - low) / (count - 1)
  const factor = (i: number): number => (i === 0 || i === count - 1 ? 1 : i % 2 === 1 ? 4 : 2)
  return {
    points: Float64Array.from({ length: count }, (_, i) => low + i * step),
    logWeights: Float64Array.from({ length: count }, (_, i) => Math.log((factor(i) * step) / 3)),
  }
}

/** The position of a point along each axis, last axis fastest; written to `at`, which is returned. */
function indexAt(grid: Grid, point: number, at: number[]): number[] {
  let rest = point
  for (let k = grid.axes.length - 1; k >= 0; k--) {
    const n = grid.axes[k]!.points.length
    at[k] = rest % n
    rest = Math.floor(rest / n)
  }
  return at
}

const scratch: number[] = []

function logWeightAt(grid: Grid, point: number): number {
  const at = indexAt(grid, point, scratch)
  let sum = 0
  for (let k = 0; k < grid.axes.length; k++) sum += grid.axes[k]!.logWeights[at[k]!]!
  return sum
}

function logIntegral(values: Float64Array, grid: Grid): number {
  return logSumExp(values.map((v, i) => v + logWeightAt(grid, i)))
}

function edgeOf(values: Float64Array, grid: Grid): { readonly edgeRatio: number; readonly reachesEdge: boolean } {
  let top = Number.NEGATIVE_INFINITY
  let edge = Number.NEGATIVE_INFINITY
  for (let i = 0; i < grid.total; i++) {
    top = Math.max(top, values[i]!)
    const at = indexAt(grid, i, scratch)
    if (grid.axes.some((a, k) => at[k] === 0 || at[k] === a.points.length - 1)) edge = Math.max(edge, values[i]!)
  }
  const edgeRatio = top === Number.NEGATIVE_INFINITY ? 0 : Math.exp(edge - top)
  return { edgeRatio, reachesEdge: edgeRatio > 1e-4 }
}

/** Log density at every point of the grid, in order. */
async function valuesOf(what: string, density: LogDensity, grid: Grid, options: BoxOptions): Promise<Float64Array> {
  const { batch: wanted = 16384, signal } = options
  checkCount('quadrature: batch', wanted, 1)
  const batch = Math.min(wanted, grid.total)
  const evaluator = await evaluatorOf(what, density, grid, batch, options.device)
  const out = new Float64Array(grid.total)
  try {
    for (let start = 0; start < grid.total; start += batch) {
      signal?.throwIfAborted()
      const values = await evaluator.call(pointsFrom(grid, start, batch))
      out.set(values.subarray(0, Math.min(batch, grid.total - start)), start)
    }
  } finally {
    evaluator.dispose()
  }
  checkValues(what, out)
  return out
}

function checkValues(what: string, values: Float64Array): void {
  const bad = values.reduce((n, v) => (Number.isNaN(v) || v === Number.POSITIVE_INFINITY ? n + 1 : n), 0)
  const positive = values.some((v) => v > Number.NEGATIVE_INFINITY)
  if (bad === 0 && positive) return
  const why = bad > 0 ? `${bad} are NaN or +infinite` : 'all are -infinite'
  throw new LangevinError(
    'E_DATA',
    `${what}: of ${values.length} log densities on the grid ${why}; check the model and the box`,
    {
      bad,
    },
  )
}

/** `count` points from `start` on; beyond the end the last point stands, so that every batch has one shape. */
function pointsFrom(grid: Grid, start: number, count: number): HostTensor {
  const d = grid.axes.length
  const data = new Float32Array(count * d)
  for (let i = 0; i < count; i++) {
    const at = indexAt(grid, Math.min(start + i, grid.total - 1), scratch)
    for (let k = 0; k < d; k++) data[i * d + k] = grid.axes[k]!.points[at[k]!]!
  }
  return hostTensor(data, [count, ...grid.shape])
}

interface Evaluator {
  call(x: HostTensor): Promise<Float32Array>
  dispose(): void
}

async function evaluatorOf(
  what: string,
  density: LogDensity,
  grid: Grid,
  batch: number,
  device: Device | undefined,
): Promise<Evaluator> {
  if (density instanceof Model) {
    return { call: async (x) => (await density.energy(x, { batch })).map((e) => -e), dispose: () => {} }
  }
  const x = ops.input('x', [batch, ...grid.shape])
  const tensor = density(x)
  if (!sameShape(tensor.shape, [batch]) || tensor.dtype !== 'float32') {
    throw new LangevinError(
      'E_SHAPE',
      `${what}: a log density must give float32 [n] for x [n,${grid.shape.join(',')}]; got ${tensor.dtype}${showShape(tensor.shape)} for n = ${batch}`,
    )
  }
  const plan = await compileGraph(chosenDevice(device), [x], [{ tensor }])
  return { call: async (points) => (await plan.call([points]))[0]?.data as Float32Array, dispose: () => plan.dispose() }
}
