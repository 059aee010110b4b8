/**
 * The No-U-Turn sampler written the plain way, as the recursion of the papers in float64 on the host: the oracle of nuts.test.ts. One chain, one
 * transition. Same choices as lib/samplers/nuts.ts (multinomial, biased progressive, U-turn by the sum of momenta less half of those of the
 * ends), none of its bookkeeping.
 */
import type { HostRandom } from '../../lib/runtime/host-random.ts'

export interface HostTarget {
  energy(x: readonly number[]): number
  gradient(x: readonly number[]): number[]
}

interface Point {
  readonly x: readonly number[]
  readonly r: readonly number[]
}

/** A stretch of trajectory, in the order in which it was walked. */
interface Stretch {
  readonly first: Point
  readonly last: Point
  readonly sum: readonly number[]
  readonly logWeight: number
  readonly chosen: readonly number[]
  /** Turned back somewhere inside, or diverged. */
  readonly failed: boolean
}

export interface Transition {
  readonly x: readonly number[]
  readonly leapfrogs: number
  readonly acceptance: number
}

const dot = (a: readonly number[], b: readonly number[]): number => a.reduce((s, v, i) => s + v * (b[i] as number), 0)
const axpy = (k: number, a: readonly number[], b: readonly number[]): number[] =>
  a.map((v, i) => k * v + (b[i] as number))
const logAddExp = (a: number, b: number): number => {
  const high = Math.max(a, b)
  return high === Number.NEGATIVE_INFINITY ? high : high + Math.log(Math.exp(a - high) + Math.exp(b - high))
}

function turned(a: Point, b: Point, sum: readonly number[]): boolean {
  const between = sum.map((v, i) => v - 0.5 * ((a.r[i] as number) + (b.r[i] as number)))
  return dot(a.r, between) <= 0 || dot(b.r, between) <= 0
}

/** One transition from x. */
export function nutsTransition(
  target: HostTarget,
  start: readonly number[],
  stepSize: number,
  maxDepth: number,
  random: HostRandom,
): Transition {
  const r0 = start.map(() => random.normal())
  const total = (p: Point): number => target.energy(p.x) + dot(p.r, p.r) / 2
  const h0 = total({ x: start, r: r0 })
  let leapfrogs = 0
  let accepted = 0

  const leap = (p: Point, direction: number): Point => {
    const half = (direction * stepSize) / 2
    const r = axpy(-half, target.gradient(p.x), p.r)
    const x = axpy(direction * stepSize, r, p.x)
    return { x, r: axpy(-half, target.gradient(x), r) }
  }

  const build = (from: Point, direction: number, depth: number): Stretch => {
    if (depth === 0) {
      const p = leap(from, direction)
      const change = h0 - total(p)
      const sound = Number.isFinite(change) && change >= -1000
      leapfrogs++
      accepted += sound ? Math.min(1, Math.exp(change)) : 0
      return {
        first: p,
        last: p,
        sum: p.r,
        logWeight: sound ? change : Number.NEGATIVE_INFINITY,
        chosen: p.x,
        failed: !sound,
      }
    }
    const a = build(from, direction, depth - 1)
    if (a.failed) return a
    const b = build(a.last, direction, depth - 1)
    const sum = axpy(1, a.sum, b.sum)
    const logWeight = logAddExp(a.logWeight, b.logWeight)
    const chosen = random.uniform() < Math.exp(b.logWeight - logWeight) ? b.chosen : a.chosen
    const failed = b.failed || turned(a.first, b.last, sum)
    return { first: a.first, last: b.last, sum, logWeight, chosen, failed }
  }

  let left: Point = { x: start, r: r0 }
  let right: Point = left
  let sum: readonly number[] = r0
  let logWeight = 0
  let x = start
  for (let depth = 0; depth < maxDepth; depth++) {
    const forward = random.uniform() < 0.5
    const branch = forward ? build(right, 1, depth) : build(left, -1, depth)
    if (branch.failed) break
    if (random.uniform() < Math.exp(branch.logWeight - logWeight)) x = branch.chosen
    if (forward) right = branch.last
    else left = branch.last
    logWeight = logAddExp(logWeight, branch.logWeight)
    sum = axpy(1, sum, branch.sum)
    if (turned(left, right, sum)) break
  }
  return { x, leapfrogs, acceptance: accepted / leapfrogs }
}
