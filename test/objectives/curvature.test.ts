/** Second derivatives along a direction against Hessian-vector products, and graphs made compact before they are differentiated. */
import { describe, expect, test } from 'vitest'
import { grad, hvp } from '../../lib/autodiff/index.ts'
import type { HostTensor } from '../../lib/graph/host-tensor.ts'
import type { Tensor } from '../../lib/graph/tensor.ts'
import type { Network } from '../../lib/nn/network.ts'
import { convEnergyNetwork, mlpNetwork, wideResNetNetwork } from '../../lib/nn/networks.ts'
import { Variables } from '../../lib/nn/variables.ts'
import { compact } from '../../lib/objectives/compact.ts'
import { alongDirection } from '../../lib/objectives/curvature.ts'
import { slicedWith } from '../../lib/objectives/score-matching.ts'
import { evaluateReference, type RefArray } from '../../lib/ops/evaluate.ts'
import * as ops from '../../lib/ops/index.ts'
import { makePlan, type PlanJson } from '../../lib/plan/index.ts'
import { pattern, patternWeights } from '../golden/pattern.ts'

const networks: Record<string, Network> = {
  silu: mlpNetwork({ inputs: 3, hidden: [5, 4], activation: 'silu' }),
  softplus: mlpNetwork({ inputs: 3, hidden: [5, 4], activation: 'softplus' }),
  gelu: mlpNetwork({ inputs: 3, hidden: [4], activation: 'gelu' }),
  'leaky ReLU': mlpNetwork({ inputs: 3, hidden: [5], activation: 'leakyRelu' }),
  'a classifier': mlpNetwork({ inputs: 3, hidden: [5], activation: 'silu', classes: 3 }),
  convolutions: convEnergyNetwork({ shape: [1, 6, 6], channels: [3, 4], activation: 'silu' }),
  'instance norm': wideResNetNetwork({ depth: 10, width: 1, norm: 'instance', channels: 1, size: 4 }),
}

function over(network: Network, n: number) {
  const variables = new Variables()
  const x = ops.input('x', [n, ...network.shape])
  const v = ops.input('v', x.shape)
  const energy = (points: Tensor) => network.energy(points, { variables, norm: 'running' })
  const e = energy(x)
  const parameters = network.variables.filter((p) => p.role === 'parameter').map((p) => variables.tensor(p.name))
  const weights = patternWeights(network)
  const feeds = new Map<Tensor, RefArray>([
    [x, reference(pattern(x.shape, 3, 0.9))],
    [v, reference(pattern(x.shape, 4))],
    ...network.variables.map((p) => [variables.tensor(p.name), reference(weights.get(p.name) as HostTensor)] as const),
  ])
  return { x, v, e, energy, parameters, feeds }
}

const reference = (t: HostTensor): RefArray => ({ shape: t.shape, data: Float64Array.from(t.data as Float32Array) })

function close(a: readonly RefArray[], b: readonly RefArray[]): void {
  expect(a.length).toBe(b.length)
  a.forEach((t, i) => {
    const other = b[i] as RefArray
    const size = Math.max(...other.data.map(Math.abs), 1)
    t.data.forEach((value, j) => {
      expect(Math.abs(value - (other.data[j] as number))).toBeLessThan(1e-9 * size)
    })
  })
}

describe('alongDirection', () => {
  test.each(Object.entries(networks))('%s: slope, curvature and their gradients are those of an hvp', (_, network) => {
    const { x, v, e, parameters, feeds } = over(network, 2)
    const { slope, curvature } = alongDirection(e, x, v)
    const [g] = grad(ops.sum(e), [x]) as [Tensor]
    const [hv] = hvp(ops.sum(e), [x], [v]) as [Tensor]
    const rows = g.shape.map((_, axis) => axis).slice(1)
    const expected = [ops.sum(ops.mul(v, g), rows), ops.sum(ops.mul(v, hv))]
    const all = (a: Tensor, b: Tensor) => [a, b, ...grad(ops.add(ops.sum(ops.square(a)), b), parameters)]
    close(
      evaluateReference(all(slope, curvature), feeds),
      evaluateReference(all(expected[0] as Tensor, expected[1] as Tensor), feeds),
    )
  })

  test('an energy that is linear has none, and a quadratic one its matrix', () => {
    const x = ops.input('x', [2, 3])
    const v = ops.mul(x, 2)
    const feeds = new Map([[x, reference(pattern([2, 3], 1))]])
    const linear = alongDirection(ops.sum(ops.mul(x, 3), 1), x, v)
    expect(evaluateReference([linear.curvature], feeds)[0]?.data[0]).toBe(0)
    const quadratic = alongDirection(ops.sum(ops.square(x), 1), x, v)
    const squares = ops.mul(ops.sum(ops.square(v)), 2)
    close(evaluateReference([quadratic.curvature], feeds), evaluateReference([squares], feeds))
  })
})

describe('compact', () => {
  test('changes no value and no gradient by parameters, even by such as were computed from the data', () => {
    const { x, v, e, energy, parameters, feeds } = over(networks.silu as Network, 2)
    const points = ops.add(x, 0)
    const moved = parameters.map((p, i) => ops.add(p, ops.mul(ops.sum(e), 0.01 * (i + 1))))
    const scale = moved.reduce((a, p) => ops.add(a, ops.sum(ops.square(p))), ops.scalar(0))
    const { slope, curvature } = alongDirection(energy(points), points, v)
    const loss = ops.mul(ops.add(curvature, ops.sum(ops.mul(slope, ops.stopGradient(slope)))), scale)
    const [small] = compact([loss], [points]) as [Tensor]
    for (const by of [parameters, moved]) {
      close(evaluateReference([small, ...grad(small, by)], feeds), evaluateReference([loss, ...grad(loss, by)], feeds))
    }
  })
})

/** Products of a plan's matrices whose both operands have at least `least` elements. */
function products({ values, code }: PlanJson, least: number): number {
  const size = (id: number) => (values[id]?.shape ?? []).reduce((n, d) => n * d, 1)
  return code.filter((i) => i.op === 'matmul' && i.in.every((id) => size(id) >= least)).length
}

test('a step of sliced score matching multiplies by a hidden layer nine times', () => {
  // Energy, gradient, tangent; and for each of them one product to its operand and one to the weight.
  const network = mlpNetwork({ inputs: 2, hidden: [32, 32], activation: 'silu' })
  const { x, v, energy, parameters } = over(network, 64)
  const { loss } = slicedWith(energy, x, ops.reshape(v, [1, ...v.shape]))
  const outputs = [loss, ...grad(loss, parameters)].map((tensor) => ({ tensor }))
  const plan = JSON.parse(makePlan([x, v, ...parameters], outputs).json) as PlanJson
  expect(products(plan, 32 * 32)).toBe(9)
})

test('exact score matching of the plane shares energy and gradient between both directions', () => {
  const network = mlpNetwork({ inputs: 2, hidden: [32, 32], activation: 'silu' })
  const { x, v, energy, parameters } = over(network, 64)
  const two = ops.concat([ops.reshape(v, [1, 64, 2]), ops.reshape(ops.neg(ops.square(v)), [1, 64, 2])])
  const { loss } = slicedWith(energy, x, two)
  const outputs = [loss, ...grad(loss, parameters)].map((tensor) => ({ tensor }))
  const plan = JSON.parse(makePlan([x, v, ...parameters], outputs).json) as PlanJson
  expect(products(plan, 32 * 32)).toBe(12)
})
