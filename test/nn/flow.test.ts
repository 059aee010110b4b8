/** Whole flows: normalisation by quadrature, inverses of image flows, scores and curvatures by differences, configs, and what is refused. */
import { describe, expect, test } from 'vitest'
import { grad, hvp } from '../../lib/autodiff/index.ts'
import { hostTensor } from '../../lib/graph/host-tensor.ts'
import type { Tensor } from '../../lib/graph/tensor.ts'
import { customFlow, type Flow, type FlowConfig, flowNetwork } from '../../lib/nn/flow.ts'
import { actNorm, permutation, squeeze2x2 } from '../../lib/nn/flow-bijectors.ts'
import { FlowModel } from '../../lib/nn/flow-model.ts'
import { affineCouplingFlow, buildFlow, type ImageFlowOptions, imageFlow, splineFlow } from '../../lib/nn/flows.ts'
import { buildNetwork, energyNetwork } from '../../lib/nn/networks.ts'
import { Variables } from '../../lib/nn/variables.ts'
import type { RefArray } from '../../lib/ops/evaluate.ts'
import * as ops from '../../lib/ops/index.ts'
import { seedKey } from '../../lib/ops/random.ts'
import { pattern } from '../golden/pattern.ts'
import { at, largestDifference, reference, refPattern } from './flow-cases.ts'

const running = 'running' as const
const small = { hidden: [8, 8] }

const flows: Record<string, Flow> = {
  'affine, LU': affineCouplingFlow({ inputs: 2, layers: 4, ...small }),
  'affine, permutations, shifted': affineCouplingFlow({
    inputs: 2,
    layers: 3,
    mixing: 'permute',
    shift: [0.5, -1],
    scale: [2, 0.5],
    ...small,
  }),
  'spline, LU': splineFlow({ inputs: 2, layers: 3, bins: 5, ...small }),
  'spline, reversals, no actnorm': splineFlow({ inputs: 2, layers: 2, mixing: 'reverse', actNorm: false, ...small }),
}

/** The weights of the formula, ±`scale`, in a model. */
async function modelOf(flow: Flow, scale: number): Promise<FlowModel> {
  const model = new FlowModel(flow)
  const names = flow.variables.map((v) => v.name).sort()
  const values = flow.variables.map((v) => [v.name, pattern(v.shape, 100 + names.indexOf(v.name), scale)] as const)
  await model.setValues(new Map(values))
  return model
}

/** exp(log q) on a grid of cells over ±`span`, summed. */
async function integral(flow: Flow, span: number, cells: number): Promise<number> {
  const d = flow.shape[0] as number
  const width = (2 * span) / cells
  const n = cells ** d
  const data = Float32Array.from({ length: n * d }, (_, i) => {
    const cell = Math.floor(i / d)
    const along = d === 1 ? cell : i % 2 === 0 ? Math.floor(cell / cells) : cell % cells
    return -span + (along + 0.5) * width
  })
  const model = await modelOf(flow, 0.5)
  const density = await model.logDensity(hostTensor(data, [n, d]), { batch: 4800 })
  await model.dispose()
  return density.reduce((sum, v) => sum + Math.exp(v), 0) * width ** d
}

describe('densities are normalised', () => {
  for (const [name, flow] of Object.entries(flows)) {
    test(`${name}: the integral over the plane is 1`, async () => {
      expect(await integral(flow, 16, 480)).toBeCloseTo(1, 3)
    })
  }

  test('a spline flow of one dimension: the integral over the line is 1', async () => {
    const flow = splineFlow({ inputs: 1, layers: 3, bins: 6 })
    expect(flow.variables.map((v) => v.name)).toContain('2.spline')
    expect(await integral(flow, 30, 30000)).toBeCloseTo(1, 4)
  })
})

const images: Record<string, ImageFlowOptions> = {
  'affine, 2 levels, a logit': { shape: [1, 4, 4], steps: 2, channels: 4, logit: 0.05 },
  'spline, 2 levels': { shape: [1, 4, 4], coupling: 'spline', bins: 4, steps: 1, channels: 3, checkerboards: 1 },
  'affine, colours, permutations': { shape: [3, 2, 4], steps: 2, channels: 3, mixing: 'permute', shift: [0, 0.1, 0.2] },
  'affine, odd, no levels': { shape: [2, 3, 3], channels: 3, checkerboards: 3 },
}

describe('flows on images', () => {
  for (const [name, options] of Object.entries(images)) {
    test(`${name}: the inverse undoes it, determinants cancel, z has all dimensions`, () => {
      const flow = imageFlow(options)
      expect(flow.latentShape).toEqual([options.shape.reduce((a, b) => a * b, 1)])
      const input = refPattern([2, ...options.shape], 5, 0.9)
      const [x, there, back] = reference(
        input,
        (t, variables) => {
          const pass = { variables, norm: running }
          const { z, logDet } = flow.forward(t, pass)
          const inverse = flow.inverse(z, pass)
          return [inverse.x, logDet, inverse.logDet]
        },
        0.3,
      ) as [RefArray, RefArray, RefArray]
      expect(x.shape).toEqual(input.shape)
      expect(largestDifference(x.data, input.data)).toBeLessThan(1e-6)
      expect(
        largestDifference(
          there.data,
          back.data.map((v) => -v),
        ),
      ).toBeLessThan(1e-5)
      expect(Math.abs(at(there.data, 0))).toBeGreaterThan(1e-3)
    })
  }
})

describe('draws', () => {
  test('the log density of a draw is that of its point, and streams differ', () => {
    for (const flow of Object.values(flows)) {
      const [drawn, again, other, x] = reference(
        { shape: [1], data: Float64Array.from([0]) },
        (unused, variables) => {
          const pass = { variables, norm: running }
          const key = ops.constant(seedKey(5), [4])
          const a = flow.sample(key, 6, 0, pass)
          const b = flow.sample(key, 6, 1, pass)
          return [ops.add(a.logDensity, ops.mul(unused, 0)), flow.logDensity(a.x, pass), b.logDensity, a.x]
        },
        0.5,
      ) as [RefArray, RefArray, RefArray, RefArray]
      expect(x.shape).toEqual([6, 2])
      expect(largestDifference(drawn.data, again.data)).toBeLessThan(1e-6)
      expect(largestDifference(drawn.data, other.data)).toBeGreaterThan(0.1)
    }
  })

  test('gradients reach the variables through a draw', () => {
    const flow = flows['spline, LU'] as Flow
    const gradients = reference(
      { shape: [1], data: Float64Array.from([0]) },
      (_, variables) => {
        const { x, logDensity } = flow.sample(ops.constant(seedKey(1), [4]), 8, 0, { variables, norm: running })
        const loss = ops.mean(ops.add(ops.sum(ops.square(x), 1), logDensity))
        return grad(
          loss,
          flow.variables.map((v) => variables.get(v)),
        )
      },
      0.5,
    )
    for (const [i, g] of gradients.entries()) {
      // The strict triangles of the LU factors have entries that do not count; all others must move.
      expect(
        g.data.some((v) => v !== 0),
        flow.variables[i]?.name,
      ).toBe(true)
      expect(g.data.every(Number.isFinite)).toBe(true)
    }
  })
})

describe('derivatives of the energy', () => {
  const smooth = {
    ...flows,
    image: imageFlow({ shape: [1, 2, 2], coupling: 'spline', bins: 4, channels: 3, steps: 1 }),
  }
  for (const [name, flow] of Object.entries(smooth)) {
    test(`${name}: the score and the curvature along a direction, by differences`, () => {
      const d = flow.shape.reduce((a, b) => a * b, 1)
      const network = flowNetwork(flow)
      const point = refPattern([1, ...flow.shape], 3, 1.2)
      const direction = refPattern([1, ...flow.shape], 4, 1)
      const step = 1e-5
      const moved = (sign: number): RefArray => ({
        shape: point.shape,
        data: point.data.map((v, i) => v + sign * step * at(direction.data, i)),
      })
      const along = (x: RefArray): [number, RefArray, RefArray] => {
        const results = reference(x, (t, variables) => {
          const energy = ops.sum(network.energy(t, { variables, norm: running }))
          const v = ops.constant(Float32Array.from(direction.data), direction.shape)
          return [energy, ...grad(energy, [t]), ...hvp(energy, [t], [v])] as Tensor[]
        }) as [RefArray, RefArray, RefArray]
        return [at(results[0].data, 0), results[1], results[2]]
      }
      const [, slope, curved] = along(point)
      const [above, slopeAbove] = along(moved(1))
      const [below, slopeBelow] = along(moved(-1))
      const directional = slope.data.reduce((s, v, i) => s + v * at(direction.data, i), 0)
      expect(directional).toBeCloseTo((above - below) / (2 * step), 5)
      for (let i = 0; i < d; i++) {
        expect(at(curved.data, i)).toBeCloseTo((at(slopeAbove.data, i) - at(slopeBelow.data, i)) / (2 * step), 3)
      }
    })
  }
})

describe('configs', () => {
  const all: Flow[] = [
    ...Object.values(flows),
    ...Object.values(images).map(imageFlow),
    affineCouplingFlow({ inputs: 70, layers: 1 }),
  ]
  test('a flow is rebuilt from its config as text', () => {
    for (const flow of all) {
      const config = JSON.parse(JSON.stringify(flow.config)) as FlowConfig
      const again = buildFlow(config)
      expect(again.config).toEqual(flow.config)
      expect(again.variables).toEqual(flow.variables)
      const network = buildNetwork({ kind: 'flow', flow: config })
      expect(network.config).toEqual({ kind: 'flow', flow: flow.config })
      expect(network.variables).toEqual(flow.variables)
    }
  })

  test('LU mixing is for few channels, unless it is asked for', () => {
    expect(affineCouplingFlow({ inputs: 64, layers: 1 }).config.mixing).toBe('lu')
    expect(affineCouplingFlow({ inputs: 65, layers: 1 }).config.mixing).toBe('permute')
    expect(affineCouplingFlow({ inputs: 65, layers: 1, mixing: 'lu' }).config.mixing).toBe('lu')
  })

  test('permutations follow from the seed', () => {
    const through = (seed: number): Float64Array => {
      const flow = affineCouplingFlow({ inputs: 8, layers: 5, mixing: 'permute', seed, ...small })
      const [z] = reference(refPattern([1, 8], 1, 1), (x, variables) => [
        flow.forward(x, { variables, norm: running }).z,
      ]) as [RefArray]
      return z.data
    }
    expect(through(0)).toEqual(through(0))
    expect(through(0)).not.toEqual(through(1))
  })

  test('at the initial weights a flow is its input map and a permutation', () => {
    const flow = splineFlow({ inputs: 3, shift: 1, scale: 2, mixing: 'permute' })
    const x = refPattern([4, 3], 2, 1.5)
    const [z, logDet] = reference(
      x,
      (t, variables) => {
        const { z, logDet } = flow.forward(t, { variables, norm: running })
        return [z, logDet]
      },
      0,
    ) as [RefArray, RefArray]
    for (const l of logDet.data) expect(l).toBeCloseTo(-3 * Math.log(2), 5)
    for (let row = 0; row < 4; row++) {
      const want = [...x.data.slice(3 * row, 3 * row + 3)].map((v) => (v - 1) / 2).sort((a, b) => a - b)
      const got = [...z.data.slice(3 * row, 3 * row + 3)].sort((a, b) => a - b)
      expect(largestDifference(got, want)).toBeLessThan(1e-6)
    }
  })
})

describe('what is refused', () => {
  const x = ops.input('x', [2, 3])
  const pass = { variables: new Variables(), norm: running }
  const refusals: [string, () => unknown, RegExp][] = [
    ['affine couplings in one dimension', () => affineCouplingFlow({ inputs: 1 }), /at least 2; got 1.*use splineFlow/],
    ['no layers', () => splineFlow({ inputs: 2, layers: 0 }), /layers must be an integer ≥ 1; got 0/],
    ['a width of 0', () => splineFlow({ inputs: 2, hidden: [0] }), /hidden must be an integer ≥ 1/],
    ['a misspelled mixing', () => splineFlow({ inputs: 2, mixing: 'permut' as 'permute' }), /Did you mean 'permute'/],
    ['too many levels', () => imageFlow({ shape: [1, 4, 6], levels: 2 }), /divisible by 2\^levels = 4/],
    ['an image without channels', () => imageFlow({ shape: [4, 4] as never }), /takes images/],
    ['scales for other channels', () => imageFlow({ shape: [1, 4, 4], scale: [1, 2] }), /scale must be .* 1 of them/],
    ['a misspelled kind', () => buildFlow({ kind: 'splin' }), /Did you mean 'spline'/],
    ['a kind from the prototype', () => buildFlow({ kind: 'toString' }), /flow kind 'toString' is not known/],
    ['a flow written in code', () => buildFlow({ kind: 'custom', name: 'mine' }), /flow 'mine' was written in code/],
    ['no config', () => buildNetwork({ kind: 'flow' }), /config is an object with a kind/],
    ['another shape', () => (flows['spline, LU'] as Flow).logDensity(x, pass), /takes \[batch,2\]; got \[2,3\]/],
    ['a bijector for another shape', () => customFlow([2], [squeeze2x2([1, 2, 2])]), /\[reshape\]/],
    ['a bijector that loses dimensions', () => customFlow([4], [permutation([1, 0])]), /keep .* dimensions/],
  ]
  for (const [name, build, message] of refusals) {
    test(name, () => expect(build).toThrow(message))
  }
})

describe('flows of one’s own', () => {
  test('a flow within a larger network has its variables under the scope', () => {
    const flow = splineFlow({ inputs: 1, layers: 1 })
    const mixture = energyNetwork({ shape: [1] }, (t, scope) => {
      const parts = ['a', 'b'].map((name) => flow.logDensityIn(t, scope.child(name)))
      return ops.neg(ops.logsumexp(ops.stack(parts, 1), 1))
    })
    const names = flow.variables.map((v) => v.name)
    expect(mixture.variables.map((v) => v.name)).toEqual(['a', 'b'].flatMap((p) => names.map((n) => `${p}.${n}`)))
  })

  test('have a config that only says their name', () => {
    expect(customFlow([2], [actNorm([2]), permutation([1, 0])], 'mine').config).toEqual({
      kind: 'custom',
      name: 'mine',
    })
  })
})
