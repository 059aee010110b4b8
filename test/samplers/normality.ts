/** Whether rows are independent standard normals: moments within standard errors, and the distribution function. */

import { meanOf } from './rig.ts'
import { type KnownTarget, normalCdf } from './targets.ts'

/** The worst of what was looked at, in standard errors (moments), and Kolmogorov's statistic √n·sup|F_n - Φ| over the coordinates. */
export interface Normality {
  readonly worst: number
  readonly where: string
  readonly kolmogorov: number
}

/** Of rows [n, d] as independent draws of the target. */
export function normality(target: KnownTarget, data: ArrayLike<number>): Normality {
  const { d } = target
  const n = data.length / d
  const rows = Array.from({ length: n }, (_, i) =>
    target.whiten(Array.from({ length: d }, (_, j) => data[i * d + j] as number)),
  )
  const column = (j: number) => rows.map((z) => z[j] as number)
  const looked: { where: string; off: number }[] = []
  /** The mean of v beside what it is for standard normals, with the variance that v has for them. */
  const look = (where: string, v: number[], expected: number, variance: number) =>
    looked.push({ where, off: Math.abs(meanOf(v) - expected) / Math.sqrt(variance / n) })
  let kolmogorov = 0
  for (let j = 0; j < d; j++) {
    const z = column(j)
    look(`mean of z${j}`, z, 0, 1)
    for (const [power, expected, variance] of [
      [2, 1, 2],
      [3, 0, 15],
      [4, 3, 96],
    ] as const) {
      look(
        `z${j}^${power}`,
        z.map((v) => v ** power),
        expected,
        variance,
      )
    }
    if (j > 0) {
      const other = column(j - 1)
      look(
        `z${j - 1}·z${j}`,
        z.map((v, i) => v * (other[i] as number)),
        0,
        1,
      )
      look(
        `z${j - 1}²·z${j}²`,
        z.map((v, i) => v * v * (other[i] as number) ** 2),
        1,
        8,
      )
    }
    kolmogorov = Math.max(kolmogorov, kolmogorovStatistic(z))
  }
  const worst = looked.reduce((a, b) => (b.off > a.off || Number.isNaN(b.off) ? b : a))
  return { worst: worst.off, where: worst.where, kolmogorov }
}

function kolmogorovStatistic(z: number[]): number {
  const sorted = Float64Array.from(z).sort()
  let most = 0
  sorted.forEach((v, i) => {
    const f = normalCdf(v)
    most = Math.max(most, Math.abs(f - i / z.length), Math.abs(f - (i + 1) / z.length))
  })
  return most * Math.sqrt(z.length)
}
