/**
 * Toys that are mixtures of equal round Gaussians: clusters, and curves blurred by noise. A curve is held by points one noise deviation
 * apart: the density then ripples by less than 1e-8 along it (Poisson summation: 2 exp(-2π²)), and draws and density agree exactly.
 */
import type { Tensor } from '../graph/tensor.ts'
import * as ops from '../ops/index.ts'
import type { ToyShape } from './toy-shape.ts'

type Point = readonly [x: number, y: number]
type Curve = (t: number) => Point

/** Each group of points is a class; classes have equal shares, and so have the points of a class. */
function pointMixture(groups: readonly (readonly Point[])[], noise: number): ToyShape {
  const points = groups.flat()
  const weights = groups.flatMap((g) => g.map(() => 1 / (groups.length * g.length)))
  const mean = [0, 1].map((j) => points.reduce((s, p, i) => s + (weights[i] as number) * (p[j] as number), 0))
  const centred = (p: Point, j: number): number => (p[j] as number) - (mean[j] as number)
  const covariance = [0, 1].map((j) =>
    [0, 1].map((k) =>
      points.reduce((s, p, i) => s + (weights[i] as number) * centred(p, j) * centred(p, k), j === k ? noise ** 2 : 0),
    ),
  )
  const box = [0, 1].map((j) => {
    const values = points.map((p) => p[j] as number)
    return [Math.min(...values) - 5 * noise, Math.max(...values) + 5 * noise] as const
  })
  return {
    dimensions: 2,
    classes: groups.length,
    mean,
    covariance,
    box,
    draw: (random, row) => {
      const label = random.int(groups.length)
      const group = groups[label] as readonly Point[]
      const [x, y] = group[random.int(group.length)] as Point
      row[0] = x + noise * random.normal()
      row[1] = y + noise * random.normal()
      return label
    },
    logDensity: (x) => mixtureLogDensity(x, points, weights, noise),
  }
}

function mixtureLogDensity(x: Tensor, points: readonly Point[], weights: readonly number[], noise: number): Tensor {
  const n = x.shape[0] as number
  const m = points.length
  const centres = ops.constant(points.flat(), [1, m, 2])
  const offsets = ops.constant(
    weights.map((w) => Math.log(w) - Math.log(2 * Math.PI * noise * noise)),
    [1, m],
  )
  const squares = x.reshape([n, 1, 2]).sub(centres).square().sum(-1)
  return squares
    .mul(-0.5 / (noise * noise))
    .add(offsets)
    .logsumexp(1)
}

/** Most points of one curve: with very little noise it becomes a row of dots, in draws and density alike. */
const mostPoints = 2048

/** Points evenly by arc length on a curve, in the middle of equal pieces no longer than `spacing`. */
function along(curve: Curve, from: number, to: number, spacing: number): Point[] {
  const steps = 4096
  const at = (i: number): Point => curve(from + ((to - from) * i) / steps)
  const lengths = [0]
  for (let i = 1; i <= steps; i++) {
    const [a, b] = [at(i - 1), at(i)]
    lengths.push((lengths[i - 1] as number) + Math.hypot(b[0] - a[0], b[1] - a[1]))
  }
  const total = lengths[steps] as number
  const pieces = Math.min(mostPoints, Math.ceil(total / spacing))
  const out: Point[] = []
  let i = 1
  for (let k = 0; k < pieces; k++) {
    const target = ((k + 0.5) * total) / pieces
    while ((lengths[i] as number) < target) i++
    const [before, after] = [lengths[i - 1] as number, lengths[i] as number]
    const share = (target - before) / (after - before)
    const [a, b] = [at(i - 1), at(i)]
    out.push([a[0] + share * (b[0] - a[0]), a[1] + share * (b[1] - a[1])])
  }
  return out
}

/** Two interleaved half circles of radius 1, as in scikit-learn. */
export function twoMoons({ noise }: { readonly noise: number }): ToyShape {
  const moon = (curve: Curve): Point[] => along(curve, 0, Math.PI, noise)
  return pointMixture(
    [moon((t) => [Math.cos(t), Math.sin(t)]), moon((t) => [1 - Math.cos(t), 0.5 - Math.sin(t)])],
    noise,
  )
}

/** Circles around the origin. */
export function rings({ radii, noise }: { readonly radii: readonly number[]; readonly noise: number }): ToyShape {
  const ring = (r: number): Point[] =>
    along((t) => [r * Math.cos(t), r * Math.sin(t)], 0, 2 * Math.PI, Math.min(noise, r))
  return pointMixture(radii.map(ring), noise)
}

/** Gaussians evenly on a circle, the first on the positive x axis. */
export function gaussians8(options: {
  readonly modes: number
  readonly radius: number
  readonly noise: number
}): ToyShape {
  const { modes, radius, noise } = options
  const centre = (i: number): Point => {
    const angle = (2 * Math.PI * i) / modes
    return [radius * Math.cos(angle), radius * Math.sin(angle)]
  }
  return pointMixture(
    Array.from({ length: modes }, (_, i) => [centre(i)]),
    noise,
  )
}

/** Gaussians on a square grid around the origin. */
export function gaussians25(options: {
  readonly side: number
  readonly spacing: number
  readonly noise: number
}): ToyShape {
  const { side, spacing, noise } = options
  const at = (i: number): number => (i - (side - 1) / 2) * spacing
  return pointMixture(
    Array.from({ length: side * side }, (_, i) => [[at(Math.floor(i / side)), at(i % side)] as const]),
    noise,
  )
}

/** Two Archimedean spirals from the origin, opposite to one another; a full turn leads 2π/3 outwards. */
export function spirals({ turns, noise }: { readonly turns: number; readonly noise: number }): ToyShape {
  const arm = (sign: number): Point[] =>
    along((t) => [(sign * t * Math.cos(t)) / 3, (sign * t * Math.sin(t)) / 3], 0, 2 * Math.PI * turns, noise)
  return pointMixture([arm(1), arm(-1)], noise)
}

/** One spiral with a hollow centre: the section of scikit-learn's swiss roll, divided by 4. */
export function swissRoll({ noise }: { readonly noise: number }): ToyShape {
  const curve: Curve = (t) => [(t * Math.cos(t)) / 4, (t * Math.sin(t)) / 4]
  return { ...pointMixture([along(curve, 1.5 * Math.PI, 4.5 * Math.PI, noise)], noise), classes: 0 }
}
