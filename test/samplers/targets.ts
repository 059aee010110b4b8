/**
 * Targets whose distribution is known exactly: the energy as a graph, exact draws, and the map that turns a draw into independent standard
 * normals. A sampler is right if those are standard normal, coordinate by coordinate and together.
 */
import type { Tensor } from '../../lib/graph/tensor.ts'
import * as ops from '../../lib/ops/index.ts'
import { erfReference } from '../../lib/ops/ref.ts'
import type { HostRandom } from '../../lib/runtime/host-random.ts'
import type { Energy } from './rig.ts'

export interface KnownTarget {
  readonly name: string
  readonly d: number
  readonly energy: Energy
  draw(r: HostRandom): number[]
  /** Independent standard normals if x is a draw. */
  whiten(x: readonly number[]): number[]
}

const at = (x: readonly number[], i: number): number => x[i] as number
const columnOf = (x: Tensor, i: number): Tensor => ops.reshape(ops.sliceAxis(x, 1, i, i + 1), [x.shape[0] as number])
const normals = (r: HostRandom, d: number): number[] => Array.from({ length: d }, () => r.normal())

/** N(0, Σ) in two dimensions with unit variances and correlation rho. */
export function correlated(rho = 0.9): KnownTarget {
  const rest = Math.sqrt(1 - rho * rho)
  return {
    name: `Gaussian, correlation ${rho}`,
    d: 2,
    energy: (x) => {
      const [a, b] = [columnOf(x, 0), columnOf(x, 1)]
      const other = b.sub(a.mul(rho)).mul(1 / rest)
      return a.square().add(other.square()).mul(0.5)
    },
    draw: (r) => {
      const [a, b] = normals(r, 2) as [number, number]
      return [a, rho * a + rest * b]
    },
    whiten: (x) => [at(x, 0), (at(x, 1) - rho * at(x, 0)) / rest],
  }
}

/** Independent normals with standard deviations from 0.1 to 10. */
export function scaled(d = 10): KnownTarget {
  const scales = Array.from({ length: d }, (_, i) => 10 ** (-1 + (2 * i) / (d - 1)))
  return {
    name: `Gaussian, scales 0.1 to 10`,
    d,
    energy: (x) =>
      x
        .mul(
          ops.constant(
            scales.map((s) => 1 / s),
            [d],
          ),
        )
        .square()
        .sum(1)
        .mul(0.5),
    draw: (r) => normals(r, d).map((z, i) => z * at(scales, i)),
    whiten: (x) => x.map((v, i) => v / at(scales, i)),
  }
}

/** Independent standard normals. */
export function standard(d: number): KnownTarget {
  return {
    name: `N(0, I), d = ${d}`,
    d,
    energy: (x) => x.square().sum(1).mul(0.5),
    draw: (r) => normals(r, d),
    whiten: (x) => [...x],
  }
}

/** x₁ ~ N(0, 1), x₂ ~ N(b·(x₁² - 1), s²) (Haario's banana). */
export function banana(b = 1, s = 0.5): KnownTarget {
  return {
    name: 'banana',
    d: 2,
    energy: (x) => {
      const a = columnOf(x, 0)
      const off = columnOf(x, 1)
        .sub(a.square().sub(1).mul(b))
        .mul(1 / s)
      return a.square().add(off.square()).mul(0.5)
    },
    draw: (r) => {
      const [a, e] = normals(r, 2) as [number, number]
      return [a, b * (a * a - 1) + s * e]
    },
    whiten: (x) => [at(x, 0), (at(x, 1) - b * (at(x, 0) ** 2 - 1)) / s],
  }
}

/** Neal's funnel: v ~ N(0, width²), x_i ~ N(0, eᵛ); Neal's width is 3. */
export function funnel(d = 3, width = 3): KnownTarget {
  return {
    name: `funnel, d = ${d}, width ${width}`,
    d,
    energy: (x) => {
      const v = columnOf(x, 0)
      const rest = ops.sliceAxis(x, 1, 1, d).square().sum(1)
      return v
        .square()
        .mul(0.5 / width ** 2)
        .add(rest.mul(v.neg().exp()).mul(0.5))
        .add(v.mul((d - 1) / 2))
    },
    draw: (r) => {
      const [z, ...e] = normals(r, d) as [number, ...number[]]
      const v = width * z
      return [v, ...e.map((w) => w * Math.exp(v / 2))]
    },
    whiten: (x) => [at(x, 0) / width, ...x.slice(1).map((w) => w * Math.exp(-at(x, 0) / 2))],
  }
}

/** 0.3·N(-1.5, 0.7²) + 0.7·N(1, 1): two modes that overlap. */
export function mixture(): KnownTarget {
  const parts = [
    { share: 0.3, mean: -1.5, std: 0.7 },
    { share: 0.7, mean: 1, std: 1 },
  ]
  return {
    name: 'mixture of two normals',
    d: 1,
    energy: (x) => {
      const terms = parts.map(({ share, mean, std }) =>
        columnOf(x, 0)
          .sub(mean)
          .mul(1 / std)
          .square()
          .mul(-0.5)
          .add(Math.log(share / std)),
      )
      return ops.logsumexp(ops.stack(terms, 1), 1).neg()
    },
    draw: (r) => {
      const part = parts[r.uniform() < 0.3 ? 0 : 1] as (typeof parts)[0]
      return [part.mean + part.std * r.normal()]
    },
    whiten: (x) => {
      const f = parts.reduce((sum, p) => sum + p.share * normalCdf((at(x, 0) - p.mean) / p.std), 0)
      return [normalQuantile(f)]
    },
  }
}

export function normalCdf(z: number): number {
  return 0.5 * (1 + erfReference(z / Math.SQRT2))
}

/** By bisection: slow and certain. */
export function normalQuantile(p: number): number {
  let [low, high] = [-9, 9]
  for (let i = 0; i < 45; i++) {
    const middle = (low + high) / 2
    if (normalCdf(middle) < p) low = middle
    else high = middle
  }
  return (low + high) / 2
}
