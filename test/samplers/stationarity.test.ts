/**
 * Metropolis samplers leave their target as it is, however large the step: thousands of chains start at exact draws and are still exact
 * draws after some steps. A wrong accept step fails this; so does unadjusted Langevin, by its known bias, which is the control.
 */
import { describe, expect, test } from 'vitest'
import { makeSampler, type SamplerOptions } from '../../lib/samplers/samplers.ts'
import { normality } from './normality.ts'
import { column, deviation, estimate, meanOf, Rig, startPoints } from './rig.ts'
import { banana, correlated, funnel, type KnownTarget, mixture, scaled, standard } from './targets.ts'

const CHAINS = 6000
const scales = Array.from({ length: 10 }, (_, i) => 10 ** (-1 + (2 * i) / 9))

/** Draws after `steps` steps (or transitions) from exact draws, and the mean acceptance. */
async function drawsAfter(target: KnownTarget, options: SamplerOptions, steps: number, seed = 3) {
  const rig = await Rig.start(
    makeSampler(options),
    target.energy,
    startPoints(CHAINS, target.d, seed, (r) => target.draw(r)),
  )
  try {
    if (options.kind === 'nuts') {
      const { x, acceptance } = await rig.transitions(steps)
      return { x, acceptance: meanOf(acceptance), rig }
    }
    const { acceptance } = await rig.advance(steps)
    return { x: await rig.read('x'), acceptance: meanOf(acceptance), rig }
  } finally {
    rig.dispose()
  }
}

const cases: [KnownTarget, SamplerOptions[]][] = [
  [
    correlated(),
    [
      { kind: 'rwm', stepSize: 0.8 },
      { kind: 'mala', stepSize: 0.2 },
      { kind: 'hmc', stepSize: 0.5, leapfrogSteps: 5 },
      { kind: 'nuts', stepSize: 0.5 },
    ],
  ],
  [
    scaled(),
    [
      { kind: 'rwm', stepSize: 0.8, scale: scales },
      { kind: 'mala', stepSize: 0.8, scale: scales },
      { kind: 'hmc', stepSize: 1.2, leapfrogSteps: 3, scale: scales },
      { kind: 'nuts', stepSize: 1.2, scale: scales },
    ],
  ],
  [
    banana(),
    [
      { kind: 'rwm', stepSize: 0.8 },
      { kind: 'mala', stepSize: 0.15 },
      { kind: 'hmc', stepSize: 0.4, leapfrogSteps: 5 },
      { kind: 'nuts', stepSize: 0.4 },
    ],
  ],
  [
    funnel(3),
    [
      { kind: 'rwm', stepSize: 1 },
      { kind: 'mala', stepSize: 0.3 },
      { kind: 'hmc', stepSize: 0.4, leapfrogSteps: 5, jitter: 0.5 },
      { kind: 'nuts', stepSize: 0.4, maxDepth: 6 },
    ],
  ],
  [
    mixture(),
    [
      { kind: 'rwm', stepSize: 2.5 },
      { kind: 'mala', stepSize: 1 },
      { kind: 'hmc', stepSize: 1.2, leapfrogSteps: 2 },
      { kind: 'nuts', stepSize: 1.2 },
    ],
  ],
]

for (const [target, samplers] of cases) {
  describe(target.name, () => {
    for (const options of samplers) {
      test(`${options.kind} leaves it as it is`, async () => {
        const { x, acceptance } = await drawsAfter(target, options, options.kind === 'nuts' ? 3 : 8)
        const { worst, where, kolmogorov } = normality(target, x)
        // The steps are large: there is something to accept or to refuse.
        expect(acceptance).toBeGreaterThan(0.15)
        expect(acceptance).toBeLessThan(0.97)
        expect(worst, where).toBeLessThan(4)
        expect(kolmogorov).toBeLessThan(1.95)
      })
    }
  })
}

describe('controls', () => {
  test('unadjusted Langevin with such a step goes to the variance 1/(1 - h/2), not to 1', async () => {
    const { x } = await drawsAfter(standard(1), { kind: 'ula', stepSize: 0.5 }, 40)
    const squares = Array.from(x, (v) => v * v)
    expect(deviation(squares, 1 / (1 - 0.25))).toBeLessThan(4)
    expect(deviation(squares, 1)).toBeGreaterThan(8)
    const { worst, kolmogorov } = normality(standard(1), x)
    expect(worst).toBeGreaterThan(8)
    expect(kolmogorov).toBeGreaterThan(2.5)
  })

  test('mala with that step does not', async () => {
    const { x, acceptance } = await drawsAfter(standard(1), { kind: 'mala', stepSize: 0.5 }, 40)
    expect(normality(standard(1), x).worst).toBeLessThan(4)
    expect(acceptance).toBeLessThan(0.99)
  })

  test('nuts read at a fixed number of leapfrog steps favours points with long trajectories', async () => {
    // The same chains, two ways to read them: only the one by transitions is exact.
    const target = funnel(2, 2)
    const options = { kind: 'nuts', stepSize: 0.4, maxDepth: 6 } as const
    const rig = await Rig.start(
      makeSampler(options),
      target.energy,
      startPoints(CHAINS, 2, 3, (r) => target.draw(r)),
    )
    await rig.advance(40)
    const bySteps = await rig.read('x')
    rig.dispose()
    const { x } = await drawsAfter(target, options, 3)
    expect(normality(target, bySteps).worst).toBeGreaterThan(8)
    const v = column(x, 2, 0)
    expect(deviation(v, 0)).toBeLessThan(4)
    expect(Math.abs(estimate(column(bySteps, 2, 0)).mean)).toBeGreaterThan(0.2)
  })
})
