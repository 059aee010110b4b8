/** Restricted Boltzmann machines as networks: free energy and conditionals against enumeration and PyTorch, files, export, refusals. */

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { grad } from '../../lib/autodiff/index.ts'
import { type HostTensor, hostTensor } from '../../lib/graph/host-tensor.ts'
import { sizeOf } from '../../lib/graph/shape.ts'
import type { Tensor } from '../../lib/graph/tensor.ts'
import type { Model } from '../../lib/nn/model.ts'
import { buildNetwork } from '../../lib/nn/networks.ts'
import { RbmNetwork, type RbmNetworkOptions, rbm } from '../../lib/nn/rbm.ts'
import { Variables } from '../../lib/nn/variables.ts'
import { exportOnnx } from '../../lib/onnx/export-model.ts'
import { evaluateReference } from '../../lib/ops/evaluate.ts'
import * as ops from '../../lib/ops/index.ts'
import { compileGraph } from '../../lib/runtime/compile.ts'
import { testDevice } from '../device.ts'
import { temporaryFolder } from '../dist.ts'
import { pattern } from '../golden/pattern.ts'

const folder = temporaryFolder()
const golden = JSON.parse(readFileSync(new URL('../golden/rbm.json', import.meta.url), 'utf8'))
const [V, H] = [5, 4]

const goldenValues = new Map<string, HostTensor>([
  ['weight', pattern([H, V], 1, 1.5)],
  ['visible_bias', pattern([V], 2)],
  ['hidden_bias', pattern([H], 3)],
  ['log_variance', pattern([V], 4, 0.5)],
])

const kinds = {
  bernoulli: { visible: V, hidden: H },
  gaussian: { visible: V, hidden: H, visibleKind: 'gaussian', variance: 'learned' },
} as const satisfies Record<string, RbmNetworkOptions>

async function goldenModel(options: RbmNetworkOptions): Promise<Model> {
  const model = rbm(options)
  const names = new Set(model.network.variables.map((v) => v.name))
  await model.setValues(new Map([...goldenValues].filter(([name]) => names.has(name))))
  return model
}

const rows = (data: readonly number[], width: number) =>
  hostTensor(Float32Array.from(data), [data.length / width, width])

/** Values of graph outputs in float64, with the golden parameters; `build` gets the network and a pass. */
function reference(
  options: RbmNetworkOptions,
  build: (n: RbmNetwork, x: Tensor, v: Variables) => readonly Tensor[],
  x: HostTensor,
) {
  const network = new RbmNetwork(options)
  const variables = new Variables()
  const input = ops.input('x', x.shape)
  const outputs = build(network, input, variables)
  const feeds = new Map([[input, { shape: x.shape, data: Float64Array.from(x.data) }]])
  for (const name of variables.names()) {
    const value = goldenValues.get(name) as HostTensor
    feeds.set(variables.tensor(name), { shape: value.shape, data: Float64Array.from(value.data) })
  }
  return evaluateReference(outputs, feeds).map((r) => [...r.data])
}

const far = (a: ArrayLike<number>, b: ArrayLike<number>) =>
  Array.from(a).reduce((m, v, i) => Math.max(m, Math.abs(v - (b[i] as number))), a.length === b.length ? 0 : Infinity)

describe.each(['bernoulli', 'gaussian'] as const)('%s units', (kind) => {
  const options = kinds[kind]
  const want = golden[kind]
  const x = rows(want.x, V)

  test('free energy is -log Σ_h exp(-E(v, h)), p(h | v) its posterior, in float64', () => {
    const [free, hidden] = reference(
      options,
      (n, input, variables) => {
        const pass = { variables, norm: 'running' } as const
        return [n.energy(input, pass), ops.sigmoid(n.hiddenInput(input, pass))]
      },
      x,
    )
    expect(far(free as number[], want.freeEnergy)).toBeLessThan(1e-12)
    expect(far(hidden as number[], want.hidden)).toBeLessThan(1e-12)
  })

  test('the gradient of the gap of free energies is that of the enumerated sums', () => {
    const chain = rows(want.chain, V)
    const both = hostTensor(Float32Array.from([...x.data, ...chain.data]), [16, V])
    const names: string[] = []
    const [loss, ...gradients] = reference(
      options,
      (n, input, variables) => {
        const energy = n.energy(input, { variables, norm: 'running' })
        const gap = ops.sub(ops.mean(ops.slice(energy, [0], [8])), ops.mean(ops.slice(energy, [8], [16])))
        names.push(...variables.names())
        return [
          gap,
          ...grad(
            gap,
            names.map((name) => variables.tensor(name)),
          ),
        ]
      },
      both,
    )
    expect(loss?.[0]).toBeCloseTo(want.cd, 12)
    expect(names.sort()).toEqual(Object.keys(want.cdGradient).sort())
    const order =
      kind === 'gaussian'
        ? ['weight', 'visible_bias', 'hidden_bias', 'log_variance']
        : ['weight', 'visible_bias', 'hidden_bias']
    order.forEach((name, i) => {
      expect(far(gradients[i] as number[], want.cdGradient[name]), name).toBeLessThan(1e-12)
    })
  })

  test('natively the same', async () => {
    const model = await goldenModel(options)
    expect(far(await model.energy(x), want.freeEnergy)).toBeLessThan(2e-5)
    await model.dispose()
  })

  test('rebuilt from its config, saved, loaded and exported', async () => {
    const model = await goldenModel(options)
    const path = join(folder, `${kind}.safetensors`)
    await model.save(path)
    const again = buildNetwork(model.network.config)
    expect(again).toBeInstanceOf(RbmNetwork)
    expect(again.config).toEqual(model.network.config)
    expect(again.variables).toEqual(model.network.variables)
    const other = rbm(options)
    await other.load(path)
    expect(await other.energy(x)).toEqual(await model.energy(x))
    const exported = await exportOnnx(model, join(folder, `${kind}.onnx`))
    expect(exported.outputs).toEqual(['log_prob_unnormalized', 'energy', 'score'])
    expect(exported.verification?.ok).toBe(true)
    await model.dispose()
    await other.dispose()
  })
})

/** Draws of a graph of a key, for 'count' keys. */
async function drawn(
  model: Model,
  count: number,
  build: (key: Tensor, variables: Variables) => Tensor,
): Promise<HostTensor> {
  const key = ops.input('key', [4], 'int32')
  const variables = new Variables((v) => ops.constant(model.value(v.name).data, v.shape))
  const tensor = build(key, variables)
  const plan = await compileGraph(testDevice, [key], [{ tensor }])
  const [out] = await plan.call([hostTensor(Int32Array.from([7, 0, count, 0]), [4])])
  plan.dispose()
  return out as HostTensor
}

describe('conditionals', () => {
  const N = 40_000

  test('Bernoulli: a sweep has the transition probabilities Σ_h p(v′|h) p(h|v), by enumeration', async () => {
    const model = await goldenModel({ visible: V, hidden: H, values: [-1, 1] })
    const network = model.network as RbmNetwork
    const from = [1, -1, -1, 1, 1]
    const out = await drawn(model, 1, (key, variables) => {
      const x = ops.broadcast(ops.constant(from, [1, V]), [N, V])
      return network.sweep(x, { variables, norm: 'running' }, key, 3)
    })
    const [W, b, c] = ['weight', 'visible_bias', 'hidden_bias'].map((n) => model.value(n).data) as [
      Float32Array,
      Float32Array,
      Float32Array,
    ]
    const sigmoid = (t: number) => 1 / (1 + Math.exp(-t))
    const on = from.map((v) => (v + 1) / 2)
    const p = new Float64Array(32)
    for (let h = 0; h < 16; h++) {
      const bit = (j: number) => (h >> j) & 1
      let ph = 1
      for (let j = 0; j < H; j++) {
        const q = sigmoid((c[j] as number) + on.reduce((s, v, i) => s + v * (W[j * V + i] as number), 0))
        ph *= bit(j) === 1 ? q : 1 - q
      }
      for (let v = 0; v < 32; v++) {
        let pv = 1
        for (let i = 0; i < V; i++) {
          const q = sigmoid((b[i] as number) + [0, 1, 2, 3].reduce((s, j) => s + bit(j) * (W[j * V + i] as number), 0))
          pv *= ((v >> i) & 1) === 1 ? q : 1 - q
        }
        p[v] = (p[v] as number) + ph * pv
      }
    }
    expect(out.data.every((v) => Math.abs(v) === 1)).toBe(true)
    const counts = new Float64Array(32)
    for (let r = 0; r < N; r++) {
      let code = 0
      for (let i = 0; i < V; i++) {
        if (out.data[r * V + i] === 1) code += 1 << i
      }
      counts[code] = (counts[code] as number) + 1
    }
    const chi = counts.reduce((s, k, i) => s + (k - N * (p[i] as number)) ** 2 / (N * (p[i] as number)), 0)
    expect(p.reduce((a, v) => a + v, 0)).toBeCloseTo(1, 10)
    // χ² with 31 degrees of freedom.
    expect(chi).toBeLessThan(31 + 4 * Math.sqrt(62))
    await model.dispose()
  })

  test('Gaussian: v given h is N(b + Wᵀh, σ²)', async () => {
    const model = await goldenModel(kinds.gaussian)
    const network = model.network as RbmNetwork
    const h = [1, 0, 1, 1]
    const out = await drawn(model, 1, (key, variables) =>
      network.drawVisible(ops.broadcast(ops.constant(h, [1, H]), [N, H]), { variables, norm: 'running' }, key, 3),
    )
    for (let i = 0; i < V; i++) {
      const column = Float64Array.from({ length: N }, (_, r) => out.data[r * V + i] as number)
      const mean = column.reduce((a, v) => a + v, 0) / N
      const variance = column.reduce((a, v) => a + (v - mean) ** 2, 0) / (N - 1)
      const s2 = Math.exp(model.value('log_variance').data[i] as number)
      const want = h.reduce(
        (s, on, j) => s + on * (model.value('weight').data[j * V + i] as number),
        model.value('visible_bias').data[i] as number,
      )
      expect(Math.abs(mean - want)).toBeLessThan(4 * Math.sqrt(s2 / N))
      expect(Math.abs(variance / s2 - 1)).toBeLessThan(4 * Math.sqrt(2 / N))
    }
    await model.dispose()
  })
})

describe('options', () => {
  test('images and other values are the same machine in other units', async () => {
    const plain = await goldenModel({ visible: 4, hidden: H }).catch(() => undefined)
    expect(plain).toBeUndefined()
    const [a, b] = [
      rbm({ visible: 64, hidden: 3, seed: 4 }),
      rbm({ shape: [1, 8, 8], hidden: 3, values: [-1, 1], seed: 4 }),
    ]
    const bits = Float32Array.from(pattern([5, 64], 3).data, (v) => (v > 0 ? 1 : 0))
    const one = await a.energy(hostTensor(bits, [5, 64]))
    const two = await b.energy(
      hostTensor(
        bits.map((v) => 2 * v - 1),
        [5, 1, 8, 8],
      ),
    )
    expect(far(one, two)).toBeLessThan(1e-6)
    expect(b.network.variables.map((v) => [v.name, sizeOf(v.shape)])).toEqual([
      ['weight', 192],
      ['visible_bias', 64],
      ['hidden_bias', 3],
    ])
    expect(a.parameterCount).toBe(64 * 3 + 64 + 3)
  })

  test('a fixed variance is no variable', () => {
    const fixed = rbm({ visible: 3, hidden: 2, visibleKind: 'gaussian', variance: 0.25 })
    expect(fixed.network.variables.map((v) => v.name)).toEqual(['weight', 'visible_bias', 'hidden_bias'])
    expect(fixed.network.config).toMatchObject({ kind: 'rbm', visible: 3, hidden: 2, variance: 0.25 })
  })

  test.each([
    [{ hidden: 3 }, TypeError, /either visible .* or shape; got neither/],
    [{ visible: 3, shape: [3], hidden: 3 }, TypeError, /got both/],
    [{ visible: 0, hidden: 3 }, RangeError, /visible units must be a positive integer; got 0/],
    [{ visible: 3, hidden: 1.5 }, RangeError, /hidden must be a positive integer; got 1.5/],
    [{ visible: 3, hidden: 3, visibleKind: 'gausian' }, Error, /Did you mean 'gaussian'/],
    [{ visible: 3, hidden: 3, values: [1, 1] }, RangeError, /two finite numbers that differ; got \[1, 1\]/],
    [{ visible: 3, hidden: 3, variance: 2 }, Error, /belongs to visibleKind 'gaussian'/],
    [
      { visible: 3, hidden: 3, visibleKind: 'gaussian', variance: -1 },
      RangeError,
      /positive finite number or 'learned'; got -1/,
    ],
    [{ visible: 3, hidden: 3, visibleKind: 'gaussian', values: [0, 1] }, Error, /belongs to visibleKind 'bernoulli'/],
  ])('%j is refused', (options, type, message) => {
    expect(() => rbm(options as never)).toThrow(type)
    expect(() => rbm(options as never)).toThrow(message)
  })
})
