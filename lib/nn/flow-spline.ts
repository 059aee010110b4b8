/**
 * Monotone rational-quadratic splines with linear tails (Durkan 2019, "Neural Spline Flows", and Gregory & Delbourgo 1982): elementwise
 * maps of [-bound, bound] onto itself, the identity outside. Pure graph functions; who supplies their parameters stands in flow-coupling.ts.
 * Bins are found by comparison with the knots and one-hot sums, so that all is elementwise or a reduction, with derivatives of any order
 * (the map is once continuously differentiable; a score is continuous up to the knots, where it may jump).
 */
import type { Tensor } from '../graph/tensor.ts'
import * as ops from '../ops/index.ts'

export interface SplineOptions {
  /** Bins K ≥ 2; default 8. */
  readonly bins?: number
  /** The spline acts on [-bound, bound]; default 3. */
  readonly bound?: number
  /** Least width of a bin as a share of the interval; default 1e-3. */
  readonly minBinWidth?: number
  /** Least height of a bin as a share of the interval; default 1e-3. */
  readonly minBinHeight?: number
  /** Least derivative at a knot; default 1e-3. */
  readonly minDerivative?: number
}

/** @throws RangeError naming the option that is out of range. */
export function splineOptions(options: SplineOptions): Required<SplineOptions> {
  const { bins = 8, bound = 3, minBinWidth = 1e-3, minBinHeight = 1e-3, minDerivative = 1e-3 } = options
  if (!Number.isInteger(bins) || bins < 2) throw new RangeError(`spline: bins must be an integer ≥ 2; got ${bins}`)
  if (!(bound > 0 && Number.isFinite(bound))) throw new RangeError(`spline: bound must be positive; got ${bound}`)
  for (const [name, value] of Object.entries({ minBinWidth, minBinHeight })) {
    if (!(value > 0 && value * bins < 1)) {
      throw new RangeError(`spline: ${name} must lie between 0 and 1/bins = ${1 / bins}; got ${value}`)
    }
  }
  if (!(minDerivative > 0 && minDerivative < 1))
    throw new RangeError(`spline: minDerivative must lie between 0 and 1; got ${minDerivative}`)
  return { bins, bound, minBinWidth, minBinHeight, minDerivative }
}

/** Parameters of one element: K widths, K heights, K - 1 derivatives at the inner knots (those at the ends are 1, as the tails'). */
export function splineParameterCount(bins: number): number {
  return 3 * bins - 1
}

/** The knots' coordinates and sizes of the bins along one axis, [..., K], as shares of the interval. */
interface Knots {
  readonly start: Tensor
  readonly size: Tensor
}

/** Sizes: min + (1 - min·K) softmax(raw); starts: their exclusive running sum, as one product with a triangle of ones. */
function knots(raw: Tensor, least: number): Knots {
  const k = raw.shape[raw.rank - 1] as number
  const size = ops.add(ops.mul(ops.softmax(raw), 1 - least * k), least)
  const before = ops.constant(
    Float32Array.from({ length: k * k }, (_, i) => (Math.floor(i / k) < i % k ? 1 : 0)),
    [k, k],
  )
  return { start: ops.matmul(size, before), size }
}

/** Derivatives at both ends of every bin, [..., K] each: min + softplus, with 1 where the raw value is 0, and 1 at the outer ends. */
function derivatives(raw: Tensor, least: number): { readonly left: Tensor; readonly right: Tensor } {
  const inner = ops.add(ops.softplus(ops.add(raw, Math.log(Math.expm1(1 - least)))), least)
  const none = inner.shape.map(() => 0)
  const one = inner.shape.map((_, i) => (i === inner.rank - 1 ? 1 : 0))
  return {
    left: ops.pad(inner, { low: one, high: none, value: 1 }),
    right: ops.pad(inner, { low: none, high: one, value: 1 }),
  }
}

/** 1 in the bin that holds u in [0, 1], 0 elsewhere: [..., K]. Counting the starts passed leaves no gap and no overlap to rounding. */
function binOf(u: Tensor, start: Tensor): Tensor {
  const passed = ops.cast(ops.ge(ops.unsqueeze(u, -1), start), 'float32')
  const index = ops.sub(ops.sum(passed, -1, { keepDims: true }), 1)
  return ops.cast(ops.eq(ops.iota(start.shape, start.rank - 1, 'float32'), index), 'float32')
}

/** The selected bin of each element: x0, w of the horizontal axis, y0, h of the vertical one, derivatives d0, d1 at its ends. */
interface Bin {
  readonly x0: Tensor
  readonly w: Tensor
  readonly y0: Tensor
  readonly h: Tensor
  readonly d0: Tensor
  readonly d1: Tensor
}

function lookUp(u: Tensor, raw: Tensor, direction: 'forward' | 'inverse', options: Required<SplineOptions>): Bin {
  const { bins, minBinWidth, minBinHeight, minDerivative } = options
  const axis = raw.rank - 1
  const widths = knots(ops.sliceAxis(raw, axis, 0, bins), minBinWidth)
  const heights = knots(ops.sliceAxis(raw, axis, bins, 2 * bins), minBinHeight)
  const ends = derivatives(ops.sliceAxis(raw, axis, 2 * bins, 3 * bins - 1), minDerivative)
  const chosen = binOf(u, (direction === 'forward' ? widths : heights).start)
  const pick = (of: Tensor): Tensor => ops.sum(ops.mul(of, chosen), -1)
  return {
    x0: pick(widths.start),
    w: pick(widths.size),
    y0: pick(heights.start),
    h: pick(heights.size),
    d0: pick(ends.left),
    d1: pick(ends.right),
  }
}

/** Value and log derivative at ξ in [0, 1] of a bin (Durkan 2019, equations 4 and 5), with s = h/w. */
function evaluateBin(xi: Tensor, { y0, h, w, d0, d1 }: Bin): { readonly y: Tensor; readonly logSlope: Tensor } {
  const s = ops.div(h, w)
  const rest = ops.sub(1, xi)
  const t = ops.mul(xi, rest)
  const curvature = ops.sub(ops.add(d0, d1), ops.mul(s, 2))
  const denominator = ops.add(s, ops.mul(curvature, t))
  const numerator = ops.mul(h, ops.add(ops.mul(s, ops.square(xi)), ops.mul(d0, t)))
  const slope = ops.add(ops.add(ops.mul(d1, ops.square(xi)), ops.mul(ops.mul(s, t), 2)), ops.mul(d0, ops.square(rest)))
  const logSlope = ops.sub(ops.add(ops.mul(ops.log(s), 2), ops.log(slope)), ops.mul(ops.log(denominator), 2))
  return { y: ops.add(y0, ops.div(numerator, denominator)), logSlope }
}

/** ξ of a given height (Durkan 2019, equations 6 to 8): the root of aξ² + bξ + c in the form that does not cancel. */
function solveBin(u: Tensor, { y0, h, w, d0, d1 }: Bin): Tensor {
  const s = ops.div(h, w)
  const rise = ops.sub(u, y0)
  const bend = ops.mul(rise, ops.sub(ops.add(d0, d1), ops.mul(s, 2)))
  const a = ops.add(ops.mul(h, ops.sub(s, d0)), bend)
  const b = ops.sub(ops.mul(h, d0), bend)
  const c = ops.neg(ops.mul(s, rise))
  const discriminant = ops.maximum(ops.sub(ops.square(b), ops.mul(ops.mul(a, c), 4)), 0)
  return ops.div(ops.mul(c, -2), ops.add(b, ops.sqrt(discriminant)))
}

/**
 * The spline at every element: x [...], raw parameters [..., 3K - 1] (any real numbers; zeros give the identity), whose leading axes
 * broadcast against x.
 * @returns the result and the log derivative of the map that was asked for, both of x's shape; beyond the bound x and 0
 */
export function rationalQuadraticSpline(
  x: Tensor,
  raw: Tensor,
  direction: 'forward' | 'inverse',
  options: Required<SplineOptions>,
): { readonly value: Tensor; readonly logDet: Tensor } {
  const { bound } = options
  const inside = ops.logicalAnd(ops.ge(x, -bound), ops.le(x, bound))
  // Clamped before and selected after, so that elements in the tails stay finite in every derivative.
  const u = ops.div(ops.add(ops.clamp(x, -bound, bound), bound), 2 * bound)
  const bin = lookUp(u, raw, direction, options)
  const xi = direction === 'forward' ? ops.div(ops.sub(u, bin.x0), bin.w) : solveBin(u, bin)
  const { y, logSlope } = evaluateBin(xi, bin)
  const result = direction === 'forward' ? y : ops.add(bin.x0, ops.mul(xi, bin.w))
  return {
    value: ops.select(inside, ops.sub(ops.mul(result, 2 * bound), bound), x),
    logDet: ops.select(inside, direction === 'forward' ? logSlope : ops.neg(logSlope), 0),
  }
}
