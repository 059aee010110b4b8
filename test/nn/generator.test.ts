/** Generators: PyTorch's numbers and gradients, shapes and names, the learned noise, and a generator with numbers: draws, files, refusals. */

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { grad } from '../../lib/autodiff/index.ts'
import { type HostTensor, hostTensor } from '../../lib/graph/host-tensor.ts'
import type { Tensor } from '../../lib/graph/tensor.ts'
import {
  buildGenerator,
  convGenerator,
  type Generator,
  type GeneratorNoise,
  mlpGenerator,
} from '../../lib/nn/generator.ts'
import { GeneratorModel } from '../../lib/nn/generator-model.ts'
import { mlp } from '../../lib/nn/models.ts'
import { type Pass, Variables } from '../../lib/nn/variables.ts'
import * as ops from '../../lib/ops/index.ts'
import { compileGraph } from '../../lib/runtime/compile.ts'
import { writeSafetensors } from '../../lib/runtime/safetensors.ts'
import { keyFromSeed } from '../../lib/runtime/state.ts'
import { testDevice } from '../device.ts'
import { temporaryFolder } from '../dist.ts'
import { pattern, relativeError } from '../golden/pattern.ts'

const folder = temporaryFolder()
const names = (g: Generator) => g.variables.map((v) => `${v.name} [${v.shape.join(',')}]`)

/** Runs a graph of the generator's variables and inputs. */
async function run(
  g: Generator,
  values: ReadonlyMap<string, HostTensor>,
  inputs: readonly HostTensor[],
  graph: (inputs: readonly Tensor[], pass: Pass) => readonly Tensor[],
): Promise<HostTensor[]> {
  const given = inputs.map((t, i) => ops.input(`in${i}`, t.shape, t.dtype))
  const weights = new Map(g.variables.map((v) => [v.name, ops.input(v.name, v.shape)]))
  const pass: Pass = { variables: new Variables((v) => weights.get(v.name) as Tensor), norm: 'running' }
  const outputs = graph(given, pass).map((tensor) => ({ tensor }))
  const plan = await compileGraph(testDevice, [...given, ...weights.values()], outputs)
  const out = await plan.call([...inputs, ...g.variables.map((v) => values.get(v.name) as HostTensor)])
  plan.dispose()
  return out
}

describe('convolutional generators', () => {
  const golden = JSON.parse(readFileSync(new URL('../golden/generator.json', import.meta.url), 'utf8')) as {
    names: string[]
    shapes: number[][]
    x: number[]
    gradients: Record<string, number[]>
  }
  const g = convGenerator({ latent: 3, shape: [2, 5, 6], channels: [4, 3] })

  test('names and shapes are those of the PyTorch module', () => {
    const want = golden.names.map((n, i) => `${n} [${(golden.shapes[i] as number[]).join(',')}]`)
    expect(names(g).sort()).toEqual([...want, 'noise []'].sort())
  })

  test('values and gradients are PyTorch’s', async () => {
    const base = (n: string) => (n.startsWith('norm') && n.endsWith('weight') ? 1 : 0)
    const values = new Map(
      golden.names.map((n, k) => [n, pattern(golden.shapes[k] as number[], k, 0.4, base(n))] as const),
    )
    values.set('noise', hostTensor(new Float32Array([0]), []))
    const [x, ...gradients] = await run(g, values, [pattern([2, 3], 50)], ([z], pass) => {
      const made = g.generate(z as Tensor, pass)
      const weight = ops.constant(pattern([2, 2, 5, 6], 60).data, made.shape)
      const loss = ops.sum(ops.mul(ops.square(made), weight))
      const wanted = golden.names.map((n) => pass.variables.tensor(n))
      return [made, ...grad(loss, wanted)]
    })
    expect(relativeError((x as HostTensor).data, golden.x)).toBeLessThan(1e-5)
    for (const [i, n] of golden.names.entries())
      expect(relativeError((gradients[i] as HostTensor).data, golden.gradients[n] as number[]), n).toBeLessThan(2e-5)
  })

  test('images of any size, from one feature map to many; tanh holds them in [-1, 1]', async () => {
    for (const [shape, channels] of [
      [
        [1, 28, 28],
        [8, 8, 8],
      ],
      [
        [3, 7, 5],
        [8, 4],
      ],
      [[1, 4, 4], [8]],
    ] as const) {
      const model = new GeneratorModel(convGenerator({ latent: 2, shape, channels, norm: 'layer' }), { seed: 3 })
      const x = await model.sample({ count: 3, noise: false })
      expect(x.shape).toEqual([3, ...shape])
      expect(x.data.every((v) => Math.abs(v) <= 1)).toBe(true)
      expect(new Set(x.data).size).toBeGreaterThan(10)
      await model.dispose()
    }
  })
})

describe('MLP generators', () => {
  test('is the plain network of the same numbers', async () => {
    const g = mlpGenerator({ latent: 3, shape: [4], hidden: [5] })
    expect(names(g)).toEqual(['0.weight [5,3]', '0.bias [5]', '2.weight [4,5]', '2.bias [4]', 'noise []'])
    const network = mlp({ inputs: 3, hidden: [5], classes: 4, seed: 7 })
    const values = new Map([...network.stateDict(), ['noise', hostTensor(new Float32Array([0]), [])] as const])
    const z = pattern([6, 3], 1)
    const x = await new GeneratorModel(g, { values }).generate(z)
    expect(relativeError(x.data, [...(await network.logits(z)).data])).toBeLessThan(1e-6)
  })

  test('shift and scale map the output; kaiming begins spread out', async () => {
    const plain = { latent: 3, shape: [2], hidden: [5] }
    const z = pattern([4, 3], 2)
    const x = await new GeneratorModel(mlpGenerator(plain), { seed: 1 }).generate(z)
    const moved = mlpGenerator({ ...plain, scale: [2, 3], shift: [10, -1] })
    const y = await new GeneratorModel(moved, { seed: 1 }).generate(z)
    const want = Array.from(x.data, (v, i) => (i % 2 === 0 ? 2 * v + 10 : 3 * v - 1))
    expect(relativeError(y.data, want)).toBeLessThan(1e-6)
    const spread = async (init: 'fanIn' | 'kaiming') => {
      const g = mlpGenerator({ latent: 2, shape: [2], init, activation: 'relu' })
      const drawn = await new GeneratorModel(g).sample({ count: 2000, noise: false })
      return Math.sqrt(Array.from(drawn.data).reduce((s, v) => s + v * v, 0) / drawn.data.length)
    }
    expect(await spread('fanIn')).toBeLessThan(0.5)
    expect(await spread('kaiming')).toBeGreaterThan(0.7)
  })

  test('gives examples of any shape', () => {
    const g = mlpGenerator({ latent: 2, shape: [1, 2, 3], hidden: [4], output: 'tanh' })
    expect(g.generate(ops.input('z', [5, 2]), { variables: new Variables(), norm: 'running' }).shape).toEqual([
      5, 1, 2, 3,
    ])
  })
})

describe('the learned noise', () => {
  const of = (noise: GeneratorNoise) => mlpGenerator({ latent: 2, shape: [2], hidden: [], noise })
  const sigma = async (g: Generator, raw?: number) => {
    const values = new Map(new GeneratorModel(g).stateDict())
    if (raw !== undefined) values.set('noise', hostTensor(new Float32Array([raw]), []))
    const [s, slope] = await run(g, values, [], (_, pass) => {
      const value = g.sigma(pass)
      return [value, grad(value, [pass.variables.tensor('noise')])[0] as Tensor]
    })
    return { value: s?.data[0] as number, slope: slope?.data[0] as number }
  }

  test('starts where it is told and stays within its bounds, with a gradient that points inside', async () => {
    expect((await sigma(of({}))).value).toBeCloseTo(Math.sqrt(0.003), 6)
    expect((await sigma(of({ smallest: 0.1, largest: 0.5, initial: 0.4 }))).value).toBeCloseTo(0.4, 6)
    const bounded = of({ smallest: 0.1, largest: 0.5 })
    for (const raw of [-8, 0, 8]) {
      const { value, slope } = await sigma(bounded, raw)
      expect(value).toBeGreaterThan(0.0999)
      expect(value).toBeLessThan(0.5001)
      expect(slope).toBeGreaterThan(0)
    }
  })

  test('equal bounds fix it', async () => {
    const g = of({ smallest: 0.2, largest: 0.2 })
    expect(names(g)).not.toContain('noise []')
    expect(await new GeneratorModel(g).sigma()).toBeCloseTo(0.2, 6)
  })

  test('draws are g(z) + σε: their moments about g(z), and z standard normal', async () => {
    const g = of({ smallest: 0.2, largest: 0.2 })
    const model = new GeneratorModel(g, { seed: 2 })
    const [x, z, means] = (await run(g, model.stateDict(), [keyFromSeed(4)], ([key], pass) => {
      const drawn = g.sample(key as Tensor, 20_000, 5, pass)
      return [drawn.x, drawn.z, g.generate(drawn.z, pass)]
    })) as [HostTensor, HostTensor, HostTensor]
    const variance = (v: ArrayLike<number>) => Array.from(v).reduce((s, a) => s + a * a, 0) / v.length
    const noise = Float64Array.from(x.data, (v, i) => v - (means.data[i] as number))
    expect(variance(noise)).toBeCloseTo(0.04, 2)
    expect(Math.abs(variance(noise) / 0.04 - 1)).toBeLessThan(0.03)
    expect(Math.abs(variance(z.data) - 1)).toBeLessThan(0.03)
    // ε is not z.
    const both = Array.from(noise).reduce((s, v, i) => s + v * (z.data[i] as number), 0) / noise.length
    expect(Math.abs(both)).toBeLessThan(0.005)
  })
})

describe('a generator with numbers', () => {
  const g = mlpGenerator({ latent: 2, shape: [3], hidden: [4] })

  test('saves and opens: the same config, values and draws', async () => {
    const path = join(folder, 'generator.safetensors')
    const model = new GeneratorModel(g, { seed: 9 })
    await model.save(path)
    const again = await GeneratorModel.open(path)
    expect(again.generator.config).toEqual(g.config)
    expect(again.stateDict()).toEqual(model.stateDict())
    const options = { count: 10, seed: 3 }
    const x = await model.sample(options)
    expect(await again.sample(options)).toEqual(x)
    expect((await again.sample({ ...options, seed: 4 })).data).not.toEqual(x.data)
    await writeSafetensors(path, model.stateDict(), {})
    await expect(GeneratorModel.open(path)).rejects.toMatchObject({ code: 'E_CHECKPOINT' })
  })

  test('batches: more draws than a batch are all different, a larger count begins alike', async () => {
    const model = new GeneratorModel(g)
    const x = await model.sample({ count: 7, batch: 3 })
    expect(new Set(x.data).size).toBe(21)
    expect([...(await model.sample({ count: 5, batch: 3 })).data]).toEqual([...x.data.slice(0, 15)])
    const z = pattern([7, 2], 3)
    const [parts, whole] = [await model.generate(z, { batch: 3 }), await model.generate(z)]
    expect(relativeError(parts.data, [...whole.data])).toBeLessThan(1e-6)
    expect((await model.sample({ count: 0 })).shape).toEqual([0, 3])
  })

  test('a config rebuilds it', () => {
    for (const made of [g, convGenerator({ latent: 2, shape: [1, 4, 4], channels: [8], noise: { largest: 0.1 } })]) {
      const again = buildGenerator(JSON.parse(JSON.stringify(made.config)))
      expect(again.config).toEqual(made.config)
      expect(again.variables).toEqual(made.variables)
    }
  })

  test('what does not fit is refused by name', async () => {
    const model = new GeneratorModel(g)
    await expect(model.generate(pattern([2, 3], 1))).rejects.toMatchObject({
      code: 'E_SHAPE',
      message: expect.stringContaining('[n,2]'),
    })
    await expect(model.sample({ count: -1 })).rejects.toThrow(/count must be an integer ≥ 0; got -1/)
    await expect(model.sample({ count: 1, batch: 0 })).rejects.toThrow(/batch must be an integer ≥ 1; got 0/)
    await expect(model.sample({ count: 1, signal: AbortSignal.abort() })).rejects.toThrow()
    expect(() => new GeneratorModel(g, { values: new Map() })).toThrow(/'0.weight' must be float32\[4,2\]; got nothing/)
    expect(() => buildGenerator({ kind: 'cnov', latent: 2 })).toThrow(/'cnov' is not known.*conv/)
    expect(() => convGenerator({ latent: 2, shape: [1, 4, 4], norm: 'batch' })).toThrow(
      /statistic of batches.*norm 'group'/,
    )
    expect(() => convGenerator({ latent: 2, shape: [1, 4, 4], channels: [] })).toThrow(/at least one feature map/)
    expect(() => mlpGenerator({ latent: 0, shape: [2] })).toThrow(/latent must be a positive integer; got 0/)
    expect(() => mlpGenerator({ latent: 1, shape: [2], noise: { smallest: 0.4 } })).toThrow(
      /0 < smallest ≤ largest; got 0.4 and 0.3/,
    )
    expect(() => mlpGenerator({ latent: 1, shape: [2], noise: { initial: 0.3 } })).toThrow(
      /initial must lie between 0.01 and 0.3/,
    )
    expect(() => mlpGenerator({ latent: 1, shape: [2], scale: [1] })).toThrow(/scale needs one number or 2.*got 1/)
    expect(() => mlpGenerator({ latent: 1, shape: [2], scale: 0 })).toThrow(/scale must be positive and finite; got 0/)
    expect(() => mlpGenerator({ latent: 1, shape: [2], shift: Number.NaN })).toThrow(/shift must be finite; got NaN/)
    expect(() => mlpGenerator({ latent: 1, shape: [2], output: 'tnah' as 'tanh' })).toThrow(/'tnah' is not known.*tanh/)
  })
})
