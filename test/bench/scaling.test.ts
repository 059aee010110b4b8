/**
 * How many kernels a chain step runs, over depth and over chains: linear in the one, the same for the other. Counts, which repeat anywhere;
 * scripts/scaling.mjs has the times.
 */

import { describe, expect, it } from 'vitest'
import { prepare } from '../../lib/bench/prepare.ts'
import type { ChainWorkload } from '../../lib/bench/workloads.ts'
import { testDevice } from '../device.ts'

const steps = { steps: 2, step_size: 0.01, noise: 0.1, act: 'silu' } as const

const mlp = (layers: number, chains: number): ChainWorkload => {
  return { net: 'mlp', dims: [2, ...Array<number>(layers).fill(32), 1], chains, ...steps }
}
const conv = (layers: number, chains: number): ChainWorkload => {
  return { net: 'conv', shape: [1, 32, 32], channels: Array<number>(layers).fill(16), chains, ...steps }
}

/** Kernels of one step: by op as compiled, and how many the program ran. */
interface Kernels {
  readonly byOp: ReadonlyMap<string, number>
  readonly ran: number
}

async function kernels(workload: ChainWorkload): Promise<Kernels> {
  const prepared = await prepare('langevin_test', workload, testDevice)
  try {
    const { kernels: ran } = await prepared.program.run(1)
    const byOp = new Map<string, number>()
    for (const { plan } of prepared.stages)
      for (const { op, count } of plan.stats.kernels) byOp.set(op, (byOp.get(op) ?? 0) + count)
    return { byOp, ran: ran / prepared.units }
  } finally {
    prepared.dispose()
  }
}

describe.each([
  ['perceptron', mlp, 'matmul', 2],
  ['convolutions', conv, 'conv2d', 1],
] as const)('kernels of a chain step: %s', (_, network, product, each) => {
  it('grow by the same few with every layer', async () => {
    const counts = await Promise.all([2, 3, 4, 5, 6].map((layers) => kernels(network(layers, 64))))
    const growth = (of: (k: Kernels) => number) => counts.slice(1).map((k, i) => of(k) - of(counts[i] as Kernels))
    expect(growth((k) => k.byOp.get(product) ?? 0)).toEqual([each, each, each, each])
    // A product forward and one backward, and a loop beside each; small images save one.
    const all = growth((k) => k.ran)
    expect(Math.min(...all), `kernels grow by ${all}`).toBeGreaterThanOrEqual(3)
    expect(Math.max(...all), `kernels grow by ${all}`).toBeLessThanOrEqual(4)
  })

  it('hardly depend on the number of chains', async () => {
    const [few, many] = await Promise.all([64, 4096].map((chains) => kernels(network(2, chains))))
    expect(many?.byOp.get(product)).toBe(few?.byOp.get(product))
    // What all chains share (a row of 128) is computed in a loop of its own where there are enough of them.
    expect(Math.abs((many?.ran ?? Number.NaN) - (few?.ran ?? Number.NaN))).toBeLessThanOrEqual(2)
  })
})
