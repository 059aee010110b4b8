/** NUTS against an independent recursion: the length of its trajectories, its acceptance and its draws, as distributions. */
import { describe, expect, test } from 'vitest'
import { HostRandom } from '../../lib/runtime/host-random.ts'
import { makeSampler } from '../../lib/samplers/samplers.ts'
import { type HostTarget, nutsTransition } from './nuts-reference.ts'
import { estimate, meanOf, Rig, startPoints } from './rig.ts'
import { banana, correlated, type KnownTarget, standard } from './targets.ts'

const CHAINS = 6000
const at = (x: readonly number[], i: number): number => x[i] as number

const cases: { target: KnownTarget; host: HostTarget; stepSize: number; maxDepth: number; from?: number[] }[] = [
  {
    target: standard(5),
    host: { energy: (x) => x.reduce((s, v) => s + v * v, 0) / 2, gradient: (x) => [...x] },
    stepSize: 0.3,
    maxDepth: 8,
  },
  {
    target: correlated(0.9),
    host: {
      energy: (x) => at(x, 0) ** 2 / 2 + (at(x, 1) - 0.9 * at(x, 0)) ** 2 / 2 / 0.19,
      gradient: (x) => {
        const off = (at(x, 1) - 0.9 * at(x, 0)) / 0.19
        return [at(x, 0) - 0.9 * off, off]
      },
    },
    stepSize: 0.25,
    maxDepth: 8,
  },
  {
    // All chains from one point in the tail, with a depth that is often reached.
    target: banana(),
    host: {
      energy: (x) => at(x, 0) ** 2 / 2 + 2 * (at(x, 1) - at(x, 0) ** 2 + 1) ** 2,
      gradient: (x) => {
        const off = 4 * (at(x, 1) - at(x, 0) ** 2 + 1)
        return [at(x, 0) - 2 * at(x, 0) * off, off]
      },
    },
    stepSize: 0.1,
    maxDepth: 5,
    from: [1.5, 0.2],
  },
]

/** How many standard errors the means of two independent samples are apart. */
function apart(a: ArrayLike<number>, b: ArrayLike<number>): number {
  const [p, q] = [estimate(a), estimate(b)]
  return Math.abs(p.mean - q.mean) / Math.hypot(p.error, q.error)
}

/** The share of values equal to v, for each v in either list. */
function shares(a: ArrayLike<number>, b: ArrayLike<number>): { value: number; off: number }[] {
  const values = new Set([...Array.from(a), ...Array.from(b)])
  return [...values]
    .map((value) => ({
      value,
      a: Array.from(a).filter((v) => v === value).length,
      b: Array.from(b).filter((v) => v === value).length,
    }))
    .filter((s) => s.a + s.b > 40)
    .map((s) => ({ value: s.value, off: Math.abs(s.a - s.b) / Math.sqrt(s.a + s.b) }))
}

describe.each(cases)('$target.name', ({ target, host, stepSize, maxDepth, from }) => {
  test('one transition is distributed as that of the recursion', async () => {
    const start = startPoints(CHAINS, target.d, 31, (r) => from ?? target.draw(r))
    const rig = await Rig.start(makeSampler({ kind: 'nuts', stepSize, maxDepth }), target.energy, start)
    const got = await rig.transitions(1)
    rig.dispose()
    const random = new HostRandom(99)
    const want = Array.from({ length: CHAINS }, () =>
      nutsTransition(host, from ?? target.draw(random), stepSize, maxDepth, random),
    )
    const leapfrogs = want.map((w) => w.leapfrogs)
    expect(meanOf(leapfrogs)).toBeGreaterThan(4)
    expect(apart(got.leapfrogs, leapfrogs)).toBeLessThan(4)
    const counts = shares(got.leapfrogs, leapfrogs)
    expect(counts.length).toBeGreaterThan(2)
    for (const { value, off } of counts) expect(off, `${value} leapfrogs`).toBeLessThan(4)
    expect(
      apart(
        got.acceptance,
        want.map((w) => w.acceptance),
      ),
    ).toBeLessThan(4)
    for (let j = 0; j < target.d; j++) {
      const mine = Array.from({ length: CHAINS }, (_, i) => got.x[i * target.d + j] as number)
      const theirs = want.map((w) => at(w.x, j))
      expect(apart(mine, theirs), `x${j}`).toBeLessThan(4)
      expect(
        apart(
          mine.map((v) => v * v),
          theirs.map((v) => v * v),
        ),
        `x${j}²`,
      ).toBeLessThan(4)
      expect(apart(mine.map(Math.abs), theirs.map(Math.abs)), `|x${j}|`).toBeLessThan(4)
    }
  })
})

describe('trajectories', () => {
  test('of depth one are single leapfrog steps', async () => {
    const rig = await Rig.start(
      makeSampler({ kind: 'nuts', stepSize: 0.5, maxDepth: 1 }),
      standard(2).energy,
      startPoints(200, 2, 1, (r) => [r.normal(), r.normal()]),
    )
    await rig.advance(7)
    expect(new Set(await rig.read('transitions'))).toEqual(new Set([7]))
    expect(new Set(await rig.read('leapfrogs'))).toEqual(new Set([1]))
    rig.dispose()
  })

  test('of short steps reach the greatest depth, 2^depth - 1 leapfrogs, and no more', async () => {
    const rig = await Rig.start(
      makeSampler({ kind: 'nuts', stepSize: 1e-3, maxDepth: 4 }),
      standard(2).energy,
      startPoints(200, 2, 1, (r) => [r.normal(), r.normal()]),
    )
    await rig.advance(15)
    expect(new Set(await rig.read('transitions'))).toEqual(new Set([1]))
    expect(new Set(await rig.read('leapfrogs'))).toEqual(new Set([15]))
    expect(meanOf(await rig.read('acceptance'))).toBeCloseTo(1, 3)
    rig.dispose()
  })

  test('of chains with different lengths do not wait for each other', async () => {
    // Energies of different widths by chain cannot be said to a target, but starts far out make long trajectories.
    const rig = await Rig.start(
      makeSampler({ kind: 'nuts', stepSize: 0.4 }),
      correlated(0.9).energy,
      startPoints(500, 2, 1, (r) => correlated(0.9).draw(r)),
    )
    await rig.advance(100)
    const made = await rig.read('transitions')
    expect(made.reduce((a, b) => Math.max(a, b))).toBeGreaterThan(made.reduce((a, b) => Math.min(a, b)) + 3)
    rig.dispose()
  })

  test('run on examples of any shape', async () => {
    const x = { dtype: 'float32', shape: [300, 1, 2, 3], data: new Float32Array(1800) } as const
    const rig = await Rig.start(
      makeSampler({ kind: 'nuts', stepSize: 0.6 }),
      (t) => t.square().sum([1, 2, 3]).mul(0.5),
      x,
    )
    const got = await rig.transitions(6)
    rig.dispose()
    const squares = Array.from({ length: 300 }, (_, i) =>
      got.x.subarray(6 * i, 6 * i + 6).reduce((s, v) => s + v * v, 0),
    )
    const { mean, error } = estimate(squares)
    expect(Math.abs(mean - 6)).toBeLessThan(4 * error)
  })
})
