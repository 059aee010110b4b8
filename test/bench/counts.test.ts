/**
 * What each benchmark step runs, in kernels: a change that splits a loop or repeats a product shows here, on any machine, whatever else it does.
 * Bounds, not exact numbers: fewer is welcome, and then the table says so.
 */
import { describe, expect, it } from 'vitest'
import { prepare } from '../../lib/bench/prepare.ts'
import { loadWorkloads, type Workload } from '../../lib/bench/workloads.ts'

/** Most kernels of a stage: products (matmul, convolutions and their adjoints), loops, all others together, and reorders of layouts. */
interface Bound {
  readonly products: number
  readonly loops: number
  readonly others: number
  readonly reorders?: number
  /** Scratch memory; any by default. */
  readonly mebibytes?: number
}

const mlpUpdate: Bound = { products: 0, loops: 5, others: 1 }
const bounds: { readonly [workload: string]: { readonly [stage: string]: Bound } } = {
  // Forward and backward of three layers, where the last layer's backward is part of a loop; one draw; the carry of the key.
  langevin_mlp: { chain: { products: 5, loops: 7, others: 2 } },
  langevin_mlp_wide: { chain: { products: 5, loops: 7, others: 2 } },
  pcd_mlp: {
    draw: { products: 0, loops: 0, others: 0 },
    'chain marginal': { products: 5, loops: 7, others: 2 },
    gradient: { products: 6, loops: 8, others: 1 },
    update: mlpUpdate,
  },
  dsm_mlp: {
    draw: { products: 0, loops: 0, others: 0 },
    gradient: { products: 11, loops: 12, others: 1 },
    update: mlpUpdate,
  },
  ssm_mlp: {
    draw: { products: 0, loops: 0, others: 0 },
    gradient: { products: 24, loops: 18, others: 1 },
    update: mlpUpdate,
  },
  nce_mlp: {
    draw: { products: 0, loops: 0, others: 0 },
    gradient: { products: 6, loops: 10, others: 3 },
    update: mlpUpdate,
  },
  langevin_conv: { chain: { products: 9, loops: 12, others: 2, reorders: 2 } },
  dsm_conv: {
    draw: { products: 0, loops: 0, others: 0 },
    gradient: { products: 23, loops: 27, others: 1, reorders: 1 },
    update: { products: 0, loops: 10, others: 1 },
  },
  // Sixteen convolutions and their adjoints; two loops a norm forward and two backward, with the additions of the residuals inside them. The
  // gradient's three passes follow one another so that each has the memory to itself; 287 loops of a few channels are the price.
  jempp_wrn16_2: {
    draw: { products: 0, loops: 0, others: 1 },
    'chain marginal': { products: 34, loops: 93, others: 17, reorders: 16 },
    gradient: { products: 150, loops: 510, others: 52, reorders: 48, mebibytes: 110 },
    update: { products: 0, loops: 33, others: 1 },
  },
}

const product = /^(matmul|conv2d)/

describe('kernels of a benchmark step', () => {
  const table = loadWorkloads()

  it.each(Object.entries(bounds))('%s', async (name, stages) => {
    const prepared = await prepare(name, table.get(name) as Workload, 'cpu')
    try {
      const found = Object.fromEntries(
        prepared.stages.map(({ name: stage, plan: { stats } }) => {
          const sum = (wanted: (op: string) => boolean) =>
            stats.kernels.reduce((n, { op, count }) => n + (wanted(op) ? count : 0), 0)
          const [products, loops] = [sum((op) => product.test(op)), sum((op) => op.startsWith('loop'))]
          const others = sum(() => true) - products - loops
          const mebibytes = stats.arenaBytes / 2 ** 20
          return [stage, { products, loops, others, reorders: stats.reorders, mebibytes }]
        }),
      )
      expect(Object.keys(found)).toEqual(Object.keys(stages))
      for (const [stage, bound] of Object.entries(stages)) {
        const have = found[stage] as Required<Bound>
        for (const [what, most] of Object.entries({ reorders: 0, ...bound })) {
          const count = have[what as keyof Bound]
          expect(count, `${stage}: ${what} (${JSON.stringify(have)})`).toBeLessThanOrEqual(most)
        }
      }
    } finally {
      prepared.dispose()
    }
  })
})
