/** Spectral norm: PyTorch's numbers and names, the true singular values, the statistics of a step, folding, and the exported file. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { grad } from '../../lib/autodiff/index.ts'
import { type HostTensor, hostTensor } from '../../lib/graph/host-tensor.ts'
import { sizeOf } from '../../lib/graph/shape.ts'
import type { Tensor } from '../../lib/graph/tensor.ts'
import { activation, conv, flatten, linear } from '../../lib/nn/layer.ts'
import type { Model } from '../../lib/nn/model.ts'
import { convEnergy, mlp, sequential, wideResNet } from '../../lib/nn/models.ts'
import { buildNetwork } from '../../lib/nn/networks.ts'
import { foldStatistics } from '../../lib/nn/statistics.ts'
import { Variables } from '../../lib/nn/variables.ts'
import { exportOnnx } from '../../lib/onnx/export-model.ts'
import { evaluateReference, type RefArray } from '../../lib/ops/evaluate.ts'
import * as ops from '../../lib/ops/index.ts'
import { makeProgram } from '../../lib/runtime/program.ts'
import { Recorder, State } from '../../lib/runtime/state.ts'
import { temporaryFolder } from '../dist.ts'
import { type Digest, digest, digestError, pattern, patternWeights, relativeError } from '../golden/pattern.ts'

interface Golden {
  readonly name: string
  readonly iterations: number
  readonly energy: Full
  readonly inputGradient: Full
  readonly gradients: Readonly<Record<string, Digest>>
  readonly vectors: Readonly<Record<string, Full>>
  readonly singularValues: Readonly<Record<string, number>>
  readonly evalEnergy: Full
  readonly laterEnergy: Full
}
interface Full {
  readonly shape: readonly number[]
  readonly data: readonly number[]
}

const golden = JSON.parse(
  readFileSync(new URL('../golden/spectral-norm.json', import.meta.url), 'utf8'),
) as readonly Golden[]
const folder = temporaryFolder()
const asRef = (t: HostTensor): RefArray => ({ shape: t.shape, data: Float64Array.from(t.data) })
const asHost = (r: RefArray): HostTensor => hostTensor(Float32Array.from(r.data), r.shape)
const goldenModel = ({ name, iterations }: Golden): Model =>
  name.startsWith('mlp')
    ? mlp({ inputs: 5, hidden: [7, 6], spectralNorm: { iterations } })
    : convEnergy({ shape: [2, 8, 6], channels: [4, 6], spectralNorm: true })

/** A pass in train mode in the float64 interpreter: energies, input gradient, gradients of the golden loss, new vectors. */
function trainPass(model: Model, x: HostTensor) {
  const feeds = new Map<Tensor, RefArray>()
  const feed = (name: string, v: HostTensor): Tensor => {
    const t = ops.input(name, v.shape, 'float32')
    feeds.set(t, { shape: v.shape, data: Float64Array.from(v.data) })
    return t
  }
  const variables = new Variables((v) => feed(v.name, model.value(v.name)))
  const at = feed('x', x)
  const statistics = new Map<string, Tensor>()
  const energy = model.network.energy(at, { variables, norm: 'batch', statistics })
  const [gx] = grad(ops.sum(energy), [at]) as [Tensor]
  const names = variables.names('parameter')
  const loss = ops.add(ops.sum(energy), ops.mul(ops.sum(ops.square(gx)), 0.5))
  const gradients = grad(
    loss,
    names.map((n) => variables.tensor(n)),
  )
  const all = evaluateReference([energy, gx, ...gradients, ...statistics.values()], feeds)
  return {
    energy: all[0] as RefArray,
    inputGradient: all[1] as RefArray,
    gradients: new Map(names.map((n, i) => [n, asHost(all[2 + i] as RefArray)])),
    vectors: new Map([...statistics.keys()].map((n, i) => [n, asHost(all[2 + names.length + i] as RefArray)])),
  }
}

describe('PyTorch', () => {
  for (const g of golden) {
    test(`${g.name}: names, a step in train mode with its derivatives, evaluation before and after more steps`, async () => {
      const m = goldenModel(g)
      await m.setValues(patternWeights(m.network))
      const x = pattern([4, ...m.network.shape], 500, 0.9)
      const names = (role: string) => m.network.variables.filter((v) => v.role === role).map((v) => v.name)
      expect(names('parameter').sort()).toEqual(Object.keys(g.gradients).sort())
      expect(names('statistic').sort()).toEqual(Object.keys(g.vectors).sort())
      const step = trainPass(m, x)
      expect(relativeError(step.energy.data as Float64Array, g.energy.data)).toBeLessThan(1e-9)
      expect(relativeError(step.inputGradient.data as Float64Array, g.inputGradient.data)).toBeLessThan(1e-9)
      for (const [name, want] of Object.entries(g.gradients)) {
        const got = step.gradients.get(name) as HostTensor
        expect(digestError(digest(got), want, sizeOf(got.shape)), name).toBeLessThan(1e-5)
      }
      for (const [name, want] of Object.entries(g.vectors))
        expect(relativeError(step.vectors.get(name)?.data ?? [], want.data), name).toBeLessThan(1e-6)
      // Natively: train mode; then evaluation with the vectors stored; then after three more steps.
      expect(relativeError(await m.energy(x, { norm: 'batch' }), g.energy.data)).toBeLessThan(1e-4)
      await m.setValues(new Map([...m.stateDict(), ...step.vectors]))
      expect(relativeError(await m.energy(x), g.evalEnergy.data)).toBeLessThan(1e-4)
      for (let i = 0; i < 3; i++) await m.setValues(new Map([...m.stateDict(), ...trainPass(m, x).vectors]))
      expect(relativeError(await m.energy(x), g.laterEnergy.data)).toBeLessThan(1e-4)
      await m.dispose()
    })

    test(`${g.name}: the vectors reach the largest singular value`, async () => {
      const m = goldenModel(g)
      await m.setValues(patternWeights(m.network))
      const x = pattern([1, ...m.network.shape], 1)
      // Where the two largest lie close together it takes long.
      for (let i = 0; i < 400; i++) await m.setValues(new Map([...m.stateDict(), ...nextVectors(m, x)]))
      for (const [name, want] of Object.entries(g.singularValues)) {
        const at = name.slice(0, name.lastIndexOf('.'))
        const got = rayleigh(m.value(name), m.value(`${at}.0._u`), m.value(`${at}.0._v`))
        expect(Math.abs(got / want - 1), name).toBeLessThan(1e-3)
      }
      await m.dispose()
    })
  }
})

/** What a pass in train mode leaves in its statistics. */
function nextVectors(model: Model, x: HostTensor): Map<string, HostTensor> {
  const variables = new Variables()
  const statistics = new Map<string, Tensor>()
  model.network.energy(ops.input('x', x.shape), { variables, norm: 'batch', statistics })
  const feeds = new Map(model.network.variables.map((v) => [variables.tensor(v.name), asRef(model.value(v.name))]))
  const values = evaluateReference([...statistics.values()], feeds)
  return new Map([...statistics.keys()].map((n, i) => [n, asHost(values[i] as RefArray)]))
}

/** uᵀWv. */
function rayleigh(w: HostTensor, u: HostTensor, v: HostTensor): number {
  const columns = v.data.length
  return [...w.data].reduce(
    (s, a, k) => s + a * (u.data[Math.floor(k / columns)] as number) * (v.data[k % columns] as number),
    0,
  )
}

describe('initial vectors', () => {
  test('follow from seed and name, are of unit length, and normalise from the first evaluation on', async () => {
    const m = mlp({ inputs: 8, hidden: [16], spectralNorm: true, seed: 5 })
    expect(m.stateDict()).toEqual(mlp({ inputs: 8, hidden: [16], spectralNorm: true, seed: 5 }).stateDict())
    // The largest singular value by 500 more iterations on the host.
    const w = m.value('0.parametrizations.weight.original')
    expect(w.data).not.toEqual(
      mlp({ inputs: 8, hidden: [16], spectralNorm: true, seed: 6 }).value('0.parametrizations.weight.original').data,
    )
    const [u, v] = ['_u', '_v'].map((n) => m.value(`0.parametrizations.weight.0.${n}`)) as [HostTensor, HostTensor]
    for (const t of [u, v]) expect(Math.hypot(...t.data)).toBeCloseTo(1, 5)
    const long = sequential([8], [linear(16, { spectralNorm: { iterations: 500 } }), activation('tanh'), linear(1)], {
      seed: 5,
    })
    await long.setValues(new Map([...long.stateDict(), ['0.parametrizations.weight.original', w]]))
    const { vectors } = trainPass(long, pattern([1, 8], 1))
    const [best, mine] = [
      rayleigh(
        w,
        vectors.get('0.parametrizations.weight.0._u') as HostTensor,
        vectors.get('0.parametrizations.weight.0._v') as HostTensor,
      ),
      rayleigh(w, u, v),
    ]
    expect(mine).toBeLessThanOrEqual(best * (1 + 1e-5))
    expect(mine).toBeGreaterThan(0.9 * best)
  })

  test('a normalised network of 1-Lipschitz activations is 1-Lipschitz', async () => {
    const m = mlp({ inputs: 6, hidden: [32, 32], activation: 'relu', spectralNorm: { iterations: 100 }, seed: 1 })
    const { vectors } = trainPass(m, pattern([1, 6], 1))
    // Weights far from normalised.
    const scaled = new Map(
      [...m.stateDict(), ...vectors].map(([n, t]) => [n, n.endsWith('original') ? times(t, 9) : t]),
    )
    await m.setValues(scaled)
    const { data } = await m.score(pattern([50, 6], 3, 2))
    const lengths = Array.from({ length: 50 }, (_, i) => Math.hypot(...data.subarray(6 * i, 6 * i + 6)))
    expect(Math.max(...lengths)).toBeLessThan(1 + 1e-4)
    expect(Math.max(...lengths)).toBeGreaterThan(1e-3)
  })
})

const times = (t: HostTensor, by: number) =>
  hostTensor(
    Float32Array.from(t.data, (v) => v * by),
    t.shape,
  )

describe('a step', () => {
  test('every pass in train mode normalises alike; only a pass with statistics leaves vectors', async () => {
    const m = mlp({ inputs: 3, hidden: [4], spectralNorm: true })
    const variables = new Variables()
    const statistics = new Map<string, Tensor>()
    const x = ops.input('x', [2, 3])
    const passes = [{}, { statistics }].map((s) => m.network.energy(x, { variables, norm: 'batch', ...s }))
    const feeds = new Map<Tensor, RefArray>([[x, asRef(pattern([2, 3], 1))]])
    for (const v of m.network.variables) feeds.set(variables.tensor(v.name), asRef(m.value(v.name)))
    const [a, b] = evaluateReference(passes, feeds)
    expect(a).toEqual(b)
    expect([...statistics.keys()].sort()).toEqual(
      m.network.variables
        .filter((v) => v.role === 'statistic')
        .map((v) => v.name)
        .sort(),
    )
    const before = statistics.size
    m.network.energy(x, { variables, norm: 'running' })
    expect(statistics.size).toBe(before)
  })

  test('trained natively, the vectors follow the weights', async () => {
    const m = mlp({ inputs: 4, hidden: [8], spectralNorm: true, seed: 2 })
    const state = new State(m.device)
    for (const v of m.network.variables) await state.put(v.name, m.value(v.name))
    await state.put('x', pattern([16, 4], 3))
    const r = new Recorder(state)
    const variables = new Variables((v) => r.read(v.name))
    const statistics = new Map<string, Tensor>()
    const energy = m.network.energy(r.read('x'), { variables, norm: 'batch', statistics })
    const loss = ops.mean(ops.square(ops.sub(energy, 1)))
    const names = variables.names('parameter')
    const gradients = grad(
      loss,
      names.map((n) => variables.tensor(n)),
    )
    names.forEach((n, i) => {
      r.write(n, ops.sub(r.read(n), ops.mul(gradients[i] as Tensor, 0.2)))
    })
    for (const [name, value] of foldStatistics(variables, [statistics], 0.1)) r.write(name, value)
    const stage = await r.compile('step')
    const program = makeProgram([{ do: 'run', plan: stage.plan, inputs: stage.inputs, outputs: stage.outputs }])
    await program.run(200)
    const read = async (n: string) => (await state.get(n).read()) as HostTensor
    for (const at of ['0', '2'].map((n) => `${n}.parametrizations.weight`)) {
      const [w, u, v] = [await read(`${at}.original`), await read(`${at}.0._u`), await read(`${at}.0._v`)]
      expect(w.data).not.toEqual(m.value(`${at}.original`).data)
      for (const t of [u, v]) expect(Math.hypot(...t.data)).toBeCloseTo(1, 5)
      const now = hostTensor(w.data, w.shape)
      const check = sequential(
        [w.shape[1] as number],
        [linear(w.shape[0] as number, { spectralNorm: { iterations: 300 } }), linear(1)],
      )
      await check.setValues(new Map([...check.stateDict(), ['0.parametrizations.weight.original', now]]))
      const { vectors } = trainPass(check, pattern([1, w.shape[1] as number], 1))
      const best = rayleigh(
        now,
        vectors.get('0.parametrizations.weight.0._u') as HostTensor,
        vectors.get('0.parametrizations.weight.0._v') as HostTensor,
      )
      expect(Math.abs(rayleigh(now, u, v) / best - 1)).toBeLessThan(1e-3)
    }
    stage.plan.dispose()
    state.dispose()
  })
})

describe('foldStatistics', () => {
  test('averages over the maps and with the running value; vectors are replaced by the last', () => {
    const variables = new Variables()
    const declare = (name: string, update?: 'replace') =>
      variables.get({
        name,
        shape: [1],
        init: { kind: 'constant', value: 0 },
        role: 'statistic',
        ...(update && { update }),
      })
    const [mean, vector] = [declare('mean'), declare('vector', 'replace')]
    const value = (v: number) => ops.constant([v], [1])
    const maps = [
      new Map([
        ['mean', value(2)],
        ['vector', value(5)],
      ]),
      new Map([
        ['mean', value(4)],
        ['vector', value(7)],
      ]),
      new Map<string, Tensor>(),
    ]
    const folded = foldStatistics(variables, maps, 0.25)
    expect([...folded.keys()]).toEqual(['mean', 'vector'])
    const one = (v: number): RefArray => ({ shape: [1], data: Float64Array.of(v) })
    const got = evaluateReference(
      [...folded.values()],
      new Map([
        [mean, one(10)],
        [vector, one(1)],
      ]),
    )
    expect(got.map((t) => t.data[0])).toEqual([0.75 * 10 + 0.25 * 3, 7])
    expect(foldStatistics(variables, [], 0.25).size).toBe(0)
  })
})

describe('config, export, refusals', () => {
  const models: Record<string, () => Model> = {
    mlp: () => mlp({ inputs: 3, hidden: [5], spectralNorm: { iterations: 2 }, sigma: { smallest: 0.1 }, seed: 1 }),
    convEnergy: () => convEnergy({ shape: [1, 6, 6], channels: [4], classes: 3, spectralNorm: true, seed: 1 }),
    wideResNet: () => wideResNet({ depth: 10, width: 1, channels: 1, size: 8, norm: 'none', spectralNorm: true }),
    layers: () =>
      sequential(
        [1, 5, 5],
        [conv(4, 3, { spectralNorm: true, bias: false }), activation('silu'), flatten(), linear(1)],
      ),
  }
  for (const [name, make] of Object.entries(models)) {
    test(`${name}: rebuilt from its config, exported`, async () => {
      const m = make()
      if (m.network.config.kind !== 'custom') {
        const again = buildNetwork(JSON.parse(JSON.stringify(m.network.config)) as { kind: string })
        expect([again.variables, again.config]).toEqual([m.network.variables, m.network.config])
      }
      expect(m.network.variables.filter((v) => v.update === 'replace').length).toBeGreaterThan(1)
      expect((await exportOnnx(m, join(folder, `${name}.onnx`))).verification?.ok).toBe(true)
      await m.dispose()
    })
  }

  test.each<[string, () => unknown, RegExp]>([
    [
      'iterations',
      () => mlp({ inputs: 2, spectralNorm: { iterations: 0 } }),
      /mlp: spectralNorm\.iterations must be a positive integer; got 0/,
    ],
    [
      'no option',
      () => convEnergy({ shape: [1, 8, 8], spectralNorm: 3 as never }),
      /convEnergy: spectralNorm must be true or/,
    ],
    [
      'of a layer',
      () => sequential([2], [linear(1, { spectralNorm: false as never })]),
      /linear: spectralNorm must be true or/,
    ],
  ])('%s', (_what, make, message) => {
    expect(make).toThrow(message)
  })
})
