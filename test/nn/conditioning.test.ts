/** Noise-conditioned networks: the energy of each level, its derivatives, PYLD's split, what is refused, and the exported file. */
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { grad, vjp } from '../../lib/autodiff/index.ts'
import { type HostTensor, hostTensor } from '../../lib/graph/host-tensor.ts'
import type { Tensor } from '../../lib/graph/tensor.ts'
import { sigmaFeatures } from '../../lib/nn/conditioning.ts'
import { activation, flatten, linear } from '../../lib/nn/layer.ts'
import { film } from '../../lib/nn/layers.ts'
import type { Model } from '../../lib/nn/model.ts'
import { convEnergy, defineEnergy, mlp, sequential, wideResNet } from '../../lib/nn/models.ts'
import type { Network } from '../../lib/nn/network.ts'
import { buildNetwork } from '../../lib/nn/networks.ts'
import { Variables } from '../../lib/nn/variables.ts'
import { exportOnnx } from '../../lib/onnx/export-model.ts'
import { openOnnx } from '../../lib/onnx/verify.ts'
import { evaluateReference, type RefArray } from '../../lib/ops/evaluate.ts'
import * as ops from '../../lib/ops/index.ts'
import { makeOptimizer } from '../../lib/optim/optimizers.ts'
import { makeProgram } from '../../lib/runtime/program.ts'
import { keyFromSeed, Recorder, State } from '../../lib/runtime/state.ts'
import { Chains } from '../../lib/samplers/chains.ts'
import { networkTarget } from '../../lib/samplers/target.ts'
import { temporaryFolder } from '../dist.ts'
import { pattern, relativeError } from '../golden/pattern.ts'

const folder = temporaryFolder()
const sigma = { smallest: 0.05 }
const architectures: Record<string, () => Model> = {
  mlp: () => mlp({ inputs: 3, hidden: [6, 5], sigma, seed: 2 }),
  'mlp with classes on images': () => mlp({ shape: [1, 4, 4], hidden: [6], classes: 3, sigma, seed: 2 }),
  convEnergy: () => convEnergy({ shape: [2, 8, 6], channels: [4, 6], sigma, seed: 2 }),
  'convEnergy with norm': () => convEnergy({ shape: [2, 8, 6], channels: [4, 8], norm: 'group', sigma, seed: 2 }),
  wideResNet: () => wideResNet({ depth: 10, width: 1, channels: 1, size: 8, classes: 4, sigma, seed: 2 }),
  'an energy of its own': () =>
    defineEnergy({ shape: [2], sigma }, (x, scope) => {
      const a = scope.parameter('a', [2], { kind: 'uniform', bound: 1 })
      return x.sub(a).square().sum(-1).div(scope.sigma().square().add(1)).mul(0.5)
    }),
  'layers of its own': () =>
    sequential([1, 2, 2], [flatten(), film(linear(8)), activation('tanh'), linear(1)], { sigma, seed: 2 }),
}
const batch = (m: Model, n: number) => pattern([n, ...m.network.shape], 7, 0.9)
const levels = (values: number[]) => hostTensor(Float32Array.from(values), [values.length])

const asRef = (t: HostTensor): RefArray => ({ shape: t.shape, data: Float64Array.from(t.data) })

/** Inputs of a network in the float64 interpreter. */
function traced(model: Model) {
  const feeds = new Map<Tensor, RefArray>()
  const feed = (name: string, value: HostTensor): Tensor => {
    const t = ops.input(name, value.shape, 'float32')
    feeds.set(t, asRef(value))
    return t
  }
  return { feeds, feed, variables: new Variables((v) => feed(v.name, model.value(v.name))) }
}

describe('energies', () => {
  test('mlp: E(x, σ) = net(x c, σ)/(c σ), hidden layers scaled and shifted by linear functions of the features', async () => {
    const data = 0.5
    const m = mlp({ inputs: 2, hidden: [3], sigma: { smallest: 0.1, features: 4, data }, activation: 'tanh', seed: 4 })
    const [x, s] = [batch(m, 3), [0.1, 0.7, 20]]
    const w = (name: string) => m.value(name).data as Float32Array
    const row = (name: string, i: number, v: readonly number[]) =>
      v.reduce(
        (sum, a, j) => sum + a * (w(`${name}.weight`)[i * v.length + j] as number),
        w(`${name}.bias`)[i] as number,
      )
    const want = s.map((level, n) => {
      const c = 1 / Math.sqrt(level ** 2 + data ** 2)
      const angles = [0.25, 4].map((rate) => rate * Math.log(level))
      const features = [...angles.map(Math.cos), ...angles.map(Math.sin)]
      const input = [0, 1].map((j) => c * (x.data[2 * n + j] as number))
      const hidden = [0, 1, 2].map((i) =>
        Math.tanh(row('0', i, input) * (1 + row('0.sigma', i, features)) + row('0.sigma', i + 3, features)),
      )
      return row('2', 0, hidden) / (c * level)
    })
    expect(relativeError(await m.energy(x, { sigma: levels(s) }), want)).toBeLessThan(1e-5)
  })

  for (const [name, make] of Object.entries(architectures)) {
    test(`${name}: without a level the smallest holds; one for all is that of each; levels differ`, async () => {
      const m = make()
      const x = batch(m, 5)
      const at = (options: object) => m.energy(x, { ...options, batch: 2 })
      const smallest = [...(await at({}))]
      // Alike but for float32: a level that is known when the graph is built is folded into its constants.
      expect(relativeError(await at({ sigma: sigma.smallest }), smallest)).toBeLessThan(1e-5)
      const mixed = await at({ sigma: levels([0.05, 0.2, 1, 3, 0.05]) })
      const same = [...(await at({ sigma: levels([1, 1, 1, 1, 1]) }))]
      expect([...(await at({ sigma: 1 }))]).toEqual(same)
      const [first, , third, fourth, fifth] = mixed as unknown as [number, number, number, number, number]
      expect(relativeError([first, fifth], [smallest[0] as number, smallest[4] as number])).toBeLessThan(1e-5)
      expect(relativeError([third], [same[2] as number])).toBeLessThan(1e-5)
      expect(Math.abs(fourth - (smallest[3] as number))).toBeGreaterThan(1e-3)
      await m.dispose()
    })

    test(`${name}: the score is the slope of -E at each example's level`, async () => {
      const m = make()
      const x = batch(m, 3)
      const { feeds, feed, variables } = traced(m)
      const [tx, ts] = [feed('x', x), feed('sigma', levels([0.05, 0.4, 2]))]
      const energy = ops.sum(m.network.energy(tx, { variables, norm: 'running', sigma: ts }))
      const direction = pattern(x.shape, 12)
      const along = (t: number) => {
        const moved = {
          shape: x.shape,
          data: Float64Array.from(x.data, (v, i) => v + t * (direction.data[i] as number)),
        }
        const [e] = evaluateReference([energy], new Map([...feeds, [tx, moved]])) as [RefArray]
        return e.data[0] as number
      }
      const score = await m.score(x, { sigma: levels([0.05, 0.4, 2]) })
      const inner = [...score.data].reduce((sum, v, i) => sum + v * (direction.data[i] as number), 0)
      // Piecewise linear activations have kinks, so the step is small.
      const slope = (along(1e-6) - along(-1e-6)) / 2e-6
      expect(Math.abs(inner + slope)).toBeLessThan(1e-4 * Math.max(1, Math.abs(slope)))
      await m.dispose()
    })
  }

  test('features are bounded, and the same for equal levels', () => {
    const s = ops.input('s', [3], 'float32')
    const [f] = evaluateReference(
      [sigmaFeatures(s, 6)],
      new Map([[s, { shape: [3], data: Float64Array.of(1e-3, 1e-3, 50) }]]),
    ) as [RefArray]
    expect(f.shape).toEqual([3, 6])
    expect([...f.data].every((v) => Math.abs(v) <= 1)).toBe(true)
    expect([...f.data.slice(0, 6)]).toEqual([...f.data.slice(6, 12)])
    expect([...f.data.slice(12)]).not.toEqual([...f.data.slice(6, 12)])
  })
})

describe('derivatives', () => {
  test.each(['mlp', 'convEnergy with norm'])(
    '%s: the gradient of a denoising loss in every parameter is its slope (float64)',
    (name) => {
      const m = (architectures[name] as () => Model)()
      const { feeds, feed, variables } = traced(m)
      const x = feed('x', batch(m, 3))
      const s = feed('sigma', levels([0.05, 0.4, 2]))
      const noise = feed('noise', pattern([3, ...m.network.shape], 31))
      const energy = ops.sum(m.network.energy(x, { variables, norm: 'running', sigma: s }))
      const [slope] = grad(energy, [x]) as [Tensor]
      const scaled = ops.mul(slope, ops.reshape(s, [3, ...m.network.shape.map(() => 1)]))
      const loss = ops.sum(ops.square(ops.sub(scaled, noise)))
      const names = variables.names('parameter')
      const wrt = names.map((n) => variables.tensor(n))
      const gradients = evaluateReference(grad(loss, wrt), feeds)
      for (const [i, t] of wrt.entries()) {
        const value = feeds.get(t) as RefArray
        const direction = pattern(t.shape, 3 + i)
        const at = (h: number) => {
          const moved = value.data as Float64Array
          const next = Float64Array.from(moved, (v, j) => v + h * (direction.data[j] as number))
          return (evaluateReference([loss], new Map([...feeds, [t, { shape: t.shape, data: next }]])) as [RefArray])[0]
            .data[0] as number
        }
        const want = (at(1e-5) - at(-1e-5)) / 2e-5
        const got = [...(gradients[i] as RefArray).data].reduce((a, v, j) => a + v * (direction.data[j] as number), 0)
        expect(Math.abs(got - want), names[i] as string).toBeLessThan(1e-5 * Math.max(1, Math.abs(want)))
      }
      // A bias of the last layer shifts energies but no score; every other parameter must matter.
      const still = names.filter((_, i) => [...(gradients[i] as RefArray).data].every((v) => v === 0))
      expect(still).toEqual(names.filter((n) => n === 'head.bias' || n === '4.bias'))
    },
  )
})

describe('training', () => {
  test('denoising at a ladder of levels gives the score of the smoothed data at each', async () => {
    const m = mlp({ inputs: 1, hidden: [16, 16], sigma: { smallest: 0.1 }, seed: 1 })
    const ladder = [0.1, 0.5, 2.5]
    const [n, spread, rate, steps] = [192, 0.5, 0.01, 1000]
    const state = new State(m.device)
    for (const v of m.network.variables) await state.put(v.name, m.value(v.name))
    await state.put('key', keyFromSeed(3))
    await state.put('step', hostTensor(Float32Array.of(1), []))
    await state.put('sigma', levels(Array.from({ length: n }, (_, i) => ladder[i % 3] as number)))
    const optimizer = makeOptimizer({ kind: 'adam', learningRate: rate })
    for (const v of m.network.variables) for (const slot of optimizer.slots) state.create(`${slot}/${v.name}`, v.shape)
    const r = new Recorder(state)
    const variables = new Variables((v) => r.read(v.name))
    const [key, s, count] = [r.read('key'), r.read('sigma'), r.read('step')]
    const [noise, column] = [ops.normal(key, [n, 1], 1), ops.reshape(s, [n, 1])]
    const x = ops.add(ops.mul(ops.normal(key, [n, 1], 0), spread), ops.mul(noise, column))
    const energy = m.network.energy(x, { variables, norm: 'running', sigma: s })
    const [slope] = grad(ops.sum(energy), [x]) as [Tensor]
    const loss = ops.mean(ops.square(ops.sub(ops.mul(slope, column), noise)))
    const names = variables.names('parameter')
    const gradients = grad(
      loss,
      names.map((v) => variables.tensor(v)),
    )
    const learningRate = ops.mul(ops.sub(1, ops.div(count, steps + 1)), rate)
    names.forEach((name, i) => {
      const slots = optimizer.slots.map((k) => `${k}/${name}`)
      const at = { learningRate, count }
      const next = optimizer.update(
        r.read(name),
        gradients[i] as Tensor,
        slots.map((k) => r.read(k)),
        at,
      )
      r.write(name, next.parameter)
      slots.forEach((k, j) => {
        r.write(k, next.slots[j] as Tensor)
      })
    })
    r.write('key', ops.nextKey(key))
    r.write('step', ops.add(count, 1))
    const stage = await r.compile('step')
    await makeProgram([{ do: 'run', plan: stage.plan, inputs: stage.inputs, outputs: stage.outputs }]).run(steps)
    const trained = new Map<string, HostTensor>()
    for (const v of m.network.variables) trained.set(v.name, (await state.get(v.name).read()) as HostTensor)
    await m.setValues(trained)
    for (const level of ladder) {
      const variance = spread ** 2 + level ** 2
      const points = levels([-1.5, -1, -0.5, 0, 0.5, 1, 1.5].map((v) => v * Math.sqrt(variance)))
      const { data } = await m.score(hostTensor(points.data, [7, 1]), { sigma: level })
      const want = [...points.data].map((v) => -v / variance)
      expect(relativeError(data, want), `level ${level}`).toBeLessThan(0.1)
    }
    stage.plan.dispose()
    state.dispose()
  })
})

describe('stages and targets', () => {
  for (const name of ['mlp', 'mlp with classes on images', 'convEnergy', 'wideResNet']) {
    test(`${name}: PYLD's split is the whole; the first stage is affine in x`, () => {
      const m = (architectures[name] as () => Model)()
      const { feeds, feed, variables } = traced(m)
      const [x, s] = [feed('x', batch(m, 2)), feed('sigma', levels([0.3, 2]))]
      const target = networkTarget(m.network, { variables, norm: 'running', sigma: s })
      const split = target.split
      if (split === undefined) throw new Error('no split')
      expect(split.affine).toBe(true)
      const h = split.first(x)
      const direct = ops.neg(m.network.energy(x, { variables, norm: 'running', sigma: s }))
      const cotangent = ops.constant([...pattern(h.shape, 5).data], h.shape)
      const slopes = [x, ops.mul(x, 3)].map((at) => vjp([split.first(at)], [cotangent], [at])[0] as Tensor)
      const [whole, parts, want, a, b] = evaluateReference(
        [target.logDensity(x), split.rest(h), direct, ...slopes],
        feeds,
      ) as RefArray[]
      expect(whole).toEqual(want)
      expect(parts).toEqual(want)
      expect(relativeError(a?.data as Float64Array, [...(b?.data ?? [])])).toBeLessThan(1e-12)
    })
  }

  test('samplers take the smallest level where none is given', async () => {
    const chains = await Chains.start(mlp({ inputs: 2, hidden: [8], sigma }), {
      sampler: { kind: 'pyld' },
      chains: 4,
    })
    expect(await chains.advance(3)).toMatchObject({ divergent: 0 })
    chains.dispose()
  })
})

describe('config and names', () => {
  test('a conditioned network is rebuilt from its config; an unconditioned one has the names it had', () => {
    for (const [name, make] of Object.entries(architectures).slice(0, 5)) {
      const { network } = make()
      const again = buildNetwork(JSON.parse(JSON.stringify(network.config)) as { kind: string })
      expect(again.variables, name).toEqual(network.variables)
      expect([again.conditioned, again.smallestSigma]).toEqual([true, 0.05])
      const plain = buildNetwork({ ...network.config, sigma: undefined })
      const names = (n: Network) => n.variables.map((v) => v.name)
      expect(names(plain)).toEqual(names(network).filter((v) => !v.includes('sigma')))
      expect([plain.conditioned, 'sigma' in plain.config]).toEqual([false, false])
    }
  })

  test('mlp on images has the names of an mlp on rows, and its energies', async () => {
    const [a, b] = [mlp({ shape: [2, 3, 2], hidden: [4], seed: 3 }), mlp({ inputs: 12, hidden: [4], seed: 3 })]
    expect(a.network.variables).toEqual(b.network.variables)
    const x = batch(a, 4)
    expect(await a.energy(x)).toEqual(await b.energy(hostTensor(x.data, [4, 12])))
    expect(buildNetwork(JSON.parse(JSON.stringify(a.network.config)) as { kind: string }).shape).toEqual([2, 3, 2])
    expect(a.network.firstStagesAffine(1)).toBe(true)
  })
})

describe('what is refused', () => {
  const plain = mlp({ inputs: 2 })
  const conditioned = mlp({ inputs: 2, sigma })
  const x = pattern([3, 2], 1)
  test.each<[string, () => unknown, RegExp]>([
    [
      'smallest',
      () => mlp({ inputs: 2, sigma: { smallest: 0 } }),
      /sigma\.smallest must be a positive finite number; got 0/,
    ],
    [
      'data',
      () => mlp({ inputs: 2, sigma: { smallest: 1, data: -1 } }),
      /sigma\.data must be a positive finite number; got -1/,
    ],
    [
      'features',
      () => convEnergy({ shape: [1, 8, 8], sigma: { smallest: 1, features: 3 } }),
      /even integer ≥ 2; got 3/,
    ],
    ['a number', () => wideResNet({ depth: 10, width: 1, sigma: 0.1 as never }), /wideResNet: sigma must be an object/],
    ['inputs and shape', () => mlp({ inputs: 2, shape: [2] }), /either inputs .* or shape; got both/],
    ['neither', () => mlp({ hidden: [4] }), /either inputs .* or shape; got neither/],
    ['shape', () => mlp({ shape: [2, 0] }), /shape must be a positive integer; got 0/],
    [
      'no declaration',
      () => defineEnergy({ shape: [2] }, (h, s) => h.sum(-1).mul(s.sigma())),
      /not noise-conditioned; declare it/,
    ],
    [
      'a wrong length',
      () =>
        conditioned.network.energy(ops.input('x', [3, 2]), {
          variables: new Variables(),
          norm: 'running',
          sigma: ops.input('s', [2]),
        }),
      /sigma must be float32 \[batch\] = \[3\] or a scalar; got float32\[2\]/,
    ],
  ])('%s', (_what, make, message) => {
    expect(make).toThrow(message)
  })

  test('levels that do not fit an evaluation', async () => {
    await expect(plain.energy(x, { sigma: 0.1 })).rejects.toThrow(
      /needs a noise-conditioned network; 'mlp' takes no noise level/,
    )
    await expect(conditioned.energy(x, { sigma: 0 })).rejects.toThrow(/sigma must be a positive finite number; got 0/)
    await expect(conditioned.score(x, { sigma: levels([1, 2]) })).rejects.toThrow(/float32 \[3\].*got float32\[2\]/)
    await expect(exportOnnx(plain, join(folder, 'no.onnx'), { sigma: 'input' })).rejects.toMatchObject({
      code: 'E_CONFIG',
    })
    await expect(exportOnnx(conditioned, join(folder, 'no.onnx'), { sigma: -1 })).rejects.toThrow(
      /positive finite number; got -1/,
    )
  })
})

describe('ONNX', () => {
  for (const [name, make] of Object.entries(architectures)) {
    test(`${name}: at the smallest level, at another, and with the level as an input`, async () => {
      const m = make()
      for (const [i, level] of ([undefined, 0.5, 'input'] as const).entries()) {
        const path = join(folder, `${name.replaceAll(' ', '-')}-${i}.onnx`)
        const { verification } = await exportOnnx(m, path, level === undefined ? {} : { sigma: level })
        expect(verification?.ok).toBe(true)
        const session = await openOnnx(path, 1)
        expect(session.inputs).toEqual(level === 'input' ? ['x', 'sigma'] : ['x'])
        await session.release()
      }
      await m.dispose()
    })
  }
})
