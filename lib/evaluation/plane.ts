/**
 * What a picture of a density on the plane is made of: the grid, the values on it made a density over the box, points that lie in the
 * box. Drawing is in density-picture.ts (PNG) and scatter.ts (SVG).
 */
import { LangevinError } from '../graph/errors.ts'
import { type HostTensor, hostTensor } from '../graph/host-tensor.ts'
import { showShape } from '../graph/shape.ts'
import { type Axis, niceAxis, tightAxis } from './chart-scale.ts'
import { checkCount } from './checks.ts'

/** A part of the plane. */
export interface PlaneBox {
  readonly x: readonly [low: number, high: number]
  readonly y: readonly [low: number, high: number]
}

/** A learned density beside the data and samples of it. */
export interface PlaneInput {
  /** log p up to a constant at the middles of equal cells of the box: float32 [rows, columns], row 0 at the lowest y. */
  readonly logDensity: HostTensor
  readonly box: PlaneBox
  /** Points of the data [n, 2]. */
  readonly data?: HostTensor
  /** Points drawn from the model [m, 2]. */
  readonly samples?: HostTensor
  /** Colours follow the density (default) or its logarithm, of which the `range` nats below the top are told apart. */
  readonly scale?: 'density' | 'log'
  /** Default 10. */
  readonly range?: number
}

/** The middles of columns x rows equal cells of the box as points [rows·columns, 2], row by row from the lowest y. */
export function gridPoints(box: PlaneBox, columns: number, rows = columns): HostTensor {
  checkBox(box)
  checkCount('gridPoints: columns', columns, 1)
  checkCount('gridPoints: rows', rows, 1)
  const out = new Float32Array(2 * rows * columns)
  const middle = ([low, high]: readonly [number, number], i: number, n: number) => low + ((i + 0.5) / n) * (high - low)
  for (let r = 0; r < rows; r++) {
    for (let c = 0; c < columns; c++) {
      out[2 * (r * columns + c)] = middle(box.x, c, columns)
      out[2 * (r * columns + c) + 1] = middle(box.y, r, rows)
    }
  }
  return hostTensor(out, [rows * columns, 2])
}

export interface GridOptions {
  /** Cells across; default 200. */
  readonly columns?: number
  /** Cells upwards; default as many as make them square. */
  readonly rows?: number
}

/**
 * -E on a grid over the box, for {@link PlaneInput.logDensity}: [rows, columns].
 * @param energy energies [n] of points [n, 2]
 * @example await logDensityGrid((x) => model.energy(x), { x: [-2, 2], y: [-2, 2] })
 */
export async function logDensityGrid(
  energy: (x: HostTensor) => Promise<Float32Array>,
  box: PlaneBox,
  options: GridOptions = {},
): Promise<HostTensor> {
  checkBox(box)
  const { columns = 200 } = options
  const aspect = (box.y[1] - box.y[0]) / (box.x[1] - box.x[0])
  const rows = options.rows ?? Math.min(4 * columns, Math.max(1, Math.round(columns * aspect)))
  const points = gridPoints(box, columns, rows)
  const energies = await energy(points)
  if (energies.length !== rows * columns) {
    throw new LangevinError(
      'E_SHAPE',
      `logDensityGrid: energy must give one value for each of ${rows * columns} points; got ${energies.length}`,
    )
  }
  return hostTensor(
    Float32Array.from(energies, (e) => -e),
    [rows, columns],
  )
}

/** A checked picture: colour values and what the legend says of them. */
export interface Plane {
  readonly rows: number
  readonly columns: number
  /** 0..1 for each cell, or NaN; row 0 at the lowest y. */
  readonly shade: Float64Array
  /** The values that shades 0 and 1 stand for: density per unit of area over the box, or its logarithm. */
  readonly low: number
  readonly high: number
  readonly unit: string
  /** Middle of the densest cell. */
  readonly peak: readonly [number, number]
  /** Cells that are NaN. */
  readonly bad: number
  readonly xAxis: Axis
  readonly yAxis: Axis
}

/**
 * Normalises log p over the box (its integral there is 1) and shades it.
 * Throws LangevinError E_SHAPE, E_DTYPE, E_DATA (+infinity, or nothing finite); RangeError for box, scale or range.
 */
export function planeOf(input: PlaneInput): Plane {
  const { logDensity, box, scale = 'density', range = 10 } = input
  checkBox(box)
  const [rows = 0, columns = 0] = logDensity.shape
  if (logDensity.dtype !== 'float32' || logDensity.shape.length !== 2 || rows * columns === 0) {
    throw new LangevinError(
      'E_SHAPE',
      `density picture: logDensity must be float32 [rows, columns]; got ${logDensity.dtype}${showShape(logDensity.shape)}`,
      { shape: logDensity.shape },
    )
  }
  if (scale !== 'density' && scale !== 'log') {
    throw new RangeError(`density picture: scale must be 'density' or 'log'; got ${JSON.stringify(scale)}`)
  }
  if (!(range > 0 && Number.isFinite(range)))
    throw new RangeError(`density picture: range must be positive; got ${range}`)
  const values = logDensity.data
  const area = ((box.x[1] - box.x[0]) / columns) * ((box.y[1] - box.y[0]) / rows)
  let top = -Infinity
  for (const v of values) if (v > top) top = v
  if (!Number.isFinite(top)) {
    throw new LangevinError('E_DATA', `density picture: logDensity must have a finite largest value; got ${top}`)
  }
  let sum = 0
  let bad = 0
  for (const v of values) {
    if (Number.isNaN(v)) bad++
    else sum += Math.exp(v - top)
  }
  const shade = Float64Array.from(values, (v) =>
    scale === 'density' ? Math.exp(v - top) : Math.min(1, Math.max(0, 1 + (v - top) / range)),
  )
  const highest = -Math.log(sum * area)
  const at = values.indexOf(top)
  return {
    rows,
    columns,
    shade,
    low: scale === 'density' ? 0 : highest - range,
    high: scale === 'density' ? Math.exp(highest) : highest,
    unit: scale === 'density' ? 'density' : 'log density, nats',
    peak: [
      box.x[0] + (((at % columns) + 0.5) / columns) * (box.x[1] - box.x[0]),
      box.y[0] + ((Math.floor(at / columns) + 0.5) / rows) * (box.y[1] - box.y[0]),
    ],
    bad,
    xAxis: tightAxis(...box.x),
    yAxis: tightAxis(...box.y),
  }
}

/** The ticks of the colour legend, within the shown values. */
export function legendTicks({ low, high }: Plane): Axis['ticks'] {
  return niceAxis(low, high, 4).ticks.filter((t) => t.value >= low && t.value <= high)
}

/** Points of the box to draw. */
export interface Points {
  readonly name: string
  /** x, y, x, y, ... */
  readonly at: Float32Array
  /** All points, those beyond the box among them. */
  readonly count: number
  readonly outside: number
}

/** Points in one drawing: more would be a blot, and the picture large. */
const mostPoints = 3000

/** The points [n, 2] within the box; every n-th where they are many. Throws LangevinError E_SHAPE. */
export function pointsOf(name: string, points: HostTensor, { x, y }: PlaneBox): Points {
  const [count = 0, two] = points.shape
  if (points.dtype !== 'float32' || points.shape.length !== 2 || two !== 2 || count === 0) {
    throw new LangevinError(
      'E_SHAPE',
      `density picture: ${name} must be float32 [n, 2] with n >= 1; got ${points.dtype}${showShape(points.shape)}`,
      { shape: points.shape },
    )
  }
  const inside: number[] = []
  for (let i = 0; i < count; i++) {
    const [a = NaN, b = NaN] = [points.data[2 * i], points.data[2 * i + 1]]
    if (a >= x[0] && a <= x[1] && b >= y[0] && b <= y[1]) inside.push(a, b)
  }
  const [found, stride] = [inside.length / 2, Math.ceil(inside.length / 2 / mostPoints)]
  const kept = stride > 1 ? inside.filter((_, i) => (i >> 1) % stride === 0) : inside
  return { name, at: Float32Array.from(kept), count, outside: count - found }
}

/** Data and samples, those that are there. */
export function pointSets({ data, samples, box }: PlaneInput): Points[] {
  const sets = [data && pointsOf('data', data, box), samples && pointsOf('samples', samples, box)]
  return sets.filter((s) => s !== undefined)
}

function checkBox({ x, y }: PlaneBox): void {
  for (const [name, [low, high]] of [['x', x] as const, ['y', y] as const]) {
    if (!(Number.isFinite(low) && Number.isFinite(high) && high > low)) {
      throw new RangeError(`density picture: box.${name} must be [low, high] with low < high; got [${low}, ${high}]`)
    }
  }
}
