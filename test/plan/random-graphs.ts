/** Seeded random graphs for the property test: every op kind that planning treats specially, in shapes that broadcast and collide. */
import { grad } from '../../lib/autodiff/index.ts'
import type { Tensor } from '../../lib/graph/tensor.ts'
import * as ops from '../../lib/ops/index.ts'
import type { PlanOutput } from '../../lib/plan/index.ts'
import type { TestGraph } from './nets.ts'

/** Uniform numbers in [0, 1), a function of the seed (mulberry32). */
export function generator(seed: number): () => number {
  let s = seed >>> 0
  return () => {
    s = (s + 0x6d2b79f5) >>> 0
    let t = Math.imul(s ^ (s >>> 15), s | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
}

const shapes = [
  [],
  [1],
  [3],
  [4, 3],
  [4, 1],
  [1, 3],
  [2, 4, 3],
  [2, 1, 3],
  [2, 3, 4, 4],
  [1, 3, 1, 1],
  [3, 1, 1],
  [4, 4],
]

class Random {
  private readonly next: () => number
  constructor(seed: number) {
    this.next = generator(seed)
  }
  chance(p: number): boolean {
    return this.next() < p
  }
  below(n: number): number {
    return Math.floor(this.next() * n)
  }
  pick<T>(list: readonly T[]): T {
    return list[this.below(list.length)] as T
  }
  value(): number {
    return Math.round((this.next() * 4 - 2) * 16) / 16
  }
}

function fits(a: Tensor, b: Tensor): boolean {
  const n = Math.min(a.rank, b.rank)
  return Array.from({ length: n }, (_, i) => [a.shape[a.rank - 1 - i], b.shape[b.rank - 1 - i]]).every(
    ([p, q]) => p === q || p === 1 || q === 1,
  )
}

type Grow = (r: Random, x: Tensor, y: Tensor) => Tensor | undefined

const smooth = [ops.neg, ops.abs, ops.tanh, ops.sigmoid, ops.square, ops.relu, ops.softplus, ops.sin] as const
const combine = [ops.add, ops.sub, ops.mul, ops.maximum, ops.minimum] as const

const growers: readonly Grow[] = [
  (r, x) => r.pick(smooth)(x),
  (_r, x) => ops.leakyRelu(x, 0.2),
  (_r, x) => ops.clamp(x, -0.5, 0.75),
  (r, x) => ops.mul(x, r.value()),
  (r, x) => r.pick([ops.add(x, 0), ops.mul(x, 1), ops.sub(0, x), ops.div(x, 4), ops.div(x, 3)]),
  (r, x, y) => (fits(x, y) ? r.pick(combine)(x, y) : undefined),
  (r, x, y) => (fits(x, y) ? r.pick(combine)(x, y) : undefined),
  (r, x, y) => (fits(x, y) ? ops.select(ops.gt(x, r.value()), x, y) : undefined),
  (_r, x, y) => (fits(x, y) ? ops.div(x, ops.add(ops.square(y), 1)) : undefined),
  (r, x) => (x.rank === 0 ? undefined : ops.sum(x, r.below(x.rank), { keepDims: r.chance(0.5) })),
  (r, x) => (x.rank < 2 ? undefined : ops.mean(x, [0, x.rank - 1], { keepDims: r.chance(0.5) })),
  (r, x) => (x.rank === 0 ? undefined : r.pick([ops.max, ops.min])(x, -1, { keepDims: r.chance(0.5) })),
  (_r, x) => (x.rank < 2 ? undefined : ops.normalize(x, [x.rank - 1])),
  (_r, x) => (x.rank === 4 ? ops.normalize(x, [0, 2, 3]) : undefined),
  (_r, x) => (x.rank === 0 ? undefined : ops.softmax(x)),
  (_r, x) => ops.stopGradient(x),
  (_r, x) => ops.reshape(x, [x.size]),
  (_r, x) => ops.reshape(x, [1, ...x.shape, 1]),
  (_r, x) => (x.size % 6 === 0 ? ops.reshape(x, [x.size / 6, 6]) : undefined),
  (_r, x) => ops.transpose(x),
  (_r, x) => (x.rank < 5 ? ops.broadcast(x, [2, ...x.shape]) : undefined),
  (_r, x) => (x.rank >= 2 ? ops.matmul(x, ops.matrixTranspose(x)) : undefined),
  (_r, x) => (x.rank >= 2 ? ops.matmul(x, x, { transposeA: true }) : undefined),
  (_r, x) => (x.rank === 0 ? undefined : ops.concat([x, ops.neg(x)], -1)),
  (_r, x) => (x.rank === 0 || (x.shape[0] as number) < 2 ? undefined : ops.sliceAxis(x, 0, 1, x.shape[0] as number)),
  (r, x) => ops.add(x, ops.iota([x.size], 0, 'float32').reshape(x.shape)).mul(r.value()),
  (_r, x) => (x.rank === 2 ? ops.add(x, ops.cast(ops.iota(x.shape, 1), 'float32')) : undefined),
  (_r, x) => ops.cast(ops.logicalNot(ops.gt(x, 0)), 'float32'),
  (r, x) =>
    ops.add(
      x,
      ops.constant(
        Float32Array.from({ length: x.size }, () => r.value()),
        x.shape,
      ),
    ),
  (_r, x) => ops.add(x, ops.ones(x.shape)),
]

/** About `size` nodes over a few inputs; some outputs alias inputs of their type. */
export function randomGraph(seed: number, size = 40): TestGraph {
  const r = new Random(seed)
  const inputs = Array.from({ length: 5 }, (_, i) => ops.input(`x${i}`, r.pick(shapes)))
  const pool: Tensor[] = [...inputs]
  for (let tries = 0; pool.length < size && tries < size * 10; tries++) {
    // Mostly recent values, so that graphs become deep.
    const x = r.chance(0.6) ? (pool[pool.length - 1 - r.below(Math.min(6, pool.length))] as Tensor) : r.pick(pool)
    const made = r.pick(growers)(r, x, r.pick(pool))
    if (made !== undefined && made.size <= 400 && made.rank <= 6) pool.push(made)
  }
  const results = Array.from({ length: 4 }, () => r.pick(pool)).concat(pool.slice(-2))
  if (r.chance(0.7)) {
    const y = ops.sum(ops.tanh(pool[pool.length - 1] as Tensor))
    results.push(...grad(y, inputs))
  }
  return { inputs, outputs: withAliases(r, inputs, results) }
}

function withAliases(r: Random, inputs: readonly Tensor[], results: readonly Tensor[]): PlanOutput[] {
  const free = new Set(inputs.keys())
  return results.map((tensor) => {
    const alias = [...free].find((i) => inputs[i]?.shape.join() === tensor.shape.join())
    if (alias === undefined || r.chance(0.5)) return { tensor }
    free.delete(alias)
    return { tensor, alias }
  })
}
