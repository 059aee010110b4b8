/** Outputs beyond energy and logits, natively: each against another way to the same number, and refusals by name. */
import { afterAll, describe, expect, it } from 'vitest'
import { type HostTensor, hostTensor } from '../../lib/graph/host-tensor.ts'
import { conditional, mixtureOfEnergies, productOfExperts, restrict, shifted, withLogZ } from '../../lib/nn/compose.ts'
import { FlowModel } from '../../lib/nn/flow-model.ts'
import { affineCouplingFlow, imageFlow } from '../../lib/nn/flows.ts'
import { activation, flatten, layer, linear, sequence } from '../../lib/nn/layers.ts'
import type { Model } from '../../lib/nn/model.ts'
import { convEnergy, defineEnergy, mlp, sequential, wideResNet } from '../../lib/nn/models.ts'
import { buildNetwork } from '../../lib/nn/networks.ts'
import { inputsOf, type ModelOutput, modelOutputs, outputsOf } from '../../lib/nn/outputs.ts'
import { rbm } from '../../lib/nn/rbm.ts'

const models: Model[] = []
const keep = <T extends Model>(m: T): T => {
  models.push(m)
  return m
}
afterAll(async () => {
  for (const m of models) await m.dispose()
})

const waves = (shape: readonly number[], seed = 1): HostTensor =>
  hostTensor(
    Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) => Math.sin(1.7 * i + 0.31 * i * i + seed)),
    shape,
  )
const classifier = () => keep(mlp({ inputs: 3, hidden: [8, 5], classes: 4 }))

/** W h + b in float64, of the head's variables. */
function head(m: Model, name: string, h: HostTensor): number[][] {
  const [w, b] = [m.value(`${name}.weight`), m.value(`${name}.bias`)]
  const [out, d] = w.shape as [number, number]
  return Array.from({ length: h.shape[0] as number }, (_, i) =>
    Array.from({ length: out }, (_, o) =>
      Array.from({ length: d }).reduce<number>(
        (s, _, k) => s + (w.data[o * d + k] as number) * (h.data[i * d + k] as number),
        b.data[o] as number,
      ),
    ),
  )
}

const close = (got: ArrayLike<number>, want: readonly number[], digits = 5): void => {
  expect(got.length).toBe(want.length)
  want.forEach((v, i) => {
    expect(got[i] as number).toBeCloseTo(v, digits)
  })
}

describe('features', () => {
  const cases: Record<string, { make: () => Model; head: string; width: number }> = {
    mlp: { make: classifier, head: '4', width: 5 },
    'mlp without hidden layers': {
      make: () => keep(mlp({ shape: [1, 2, 3], hidden: [], classes: 3 })),
      head: '0',
      width: 6,
    },
    convEnergy: {
      make: () => keep(convEnergy({ shape: [1, 8, 8], channels: [4, 6], classes: 3 })),
      head: 'head',
      width: 24,
    },
    wideResNet: { make: () => keep(wideResNet({ depth: 10, width: 1, size: 8 })), head: 'head', width: 64 },
    sequential: {
      make: () => keep(sequential([2, 3], [flatten(), sequence([linear(7), activation('tanh'), linear(2)])])),
      head: '1.2',
      width: 7,
    },
  }
  for (const [name, c] of Object.entries(cases)) {
    it(`of ${name} are what its head turns into logits`, async () => {
      const m = c.make()
      const x = waves([3, ...m.network.shape])
      const h = await m.features(x)
      expect(h.shape).toEqual([3, c.width])
      close((await m.logits(x)).data, head(m, c.head, h).flat(), 4)
    })
  }

  it('of a noise-conditioned network follow the level', async () => {
    const m = keep(mlp({ inputs: 3, hidden: [8], sigma: { smallest: 0.1 } }))
    const x = waves([2, 3])
    const [low, same, high] = [
      await m.features(x),
      await m.features(x, { sigma: 0.1 }),
      await m.features(x, { sigma: 2 }),
    ]
    close(low.data, Array.from(same.data))
    expect(high.data).not.toEqual(low.data)
    // E = net(cx, σ)·√(σ² + 1)/σ
    const scale = Math.sqrt(4 + 1) / 2
    close(
      await m.energy(x, { sigma: 2 }),
      head(m, '2', high).map(([v]) => (v as number) * scale),
    )
  })

  it('of a composition of one part, and of an energy with a reference, are the inner ones', async () => {
    const m = classifier()
    const x = waves([2, 3])
    expect(await keep(conditional(m, 2)).features(x)).toEqual(await m.features(x))
    expect(await keep(restrict(m, [-1, 1])).features(x)).toEqual(await m.features(x))
    const plain = keep(mlp({ inputs: 3, hidden: [8] }))
    const referred = keep(mlp({ inputs: 3, hidden: [8], reference: 2 }))
    expect(await referred.features(x)).toEqual(await plain.features(x))
  })

  it.each([
    ['a flow', () => new FlowModel(affineCouplingFlow({ inputs: 2 }))],
    ['a product', () => productOfExperts([mlp({ inputs: 2 }), mlp({ inputs: 2 })])],
    ['an RBM', () => rbm({ visible: 2, hidden: 3 })],
    ['a function', () => defineEnergy({ shape: [2] }, (x) => x.square().sum(-1))],
    ['layers that go on after it', () => sequential([2], [linear(3), layer('sum', (x) => x.sum(-1))])],
  ])('are refused for %s', async (_, make) => {
    const m = keep(make())
    expect(outputsOf(m.network)).not.toContain('features')
    await expect(m.features(waves([1, 2]))).rejects.toMatchObject({
      code: 'E_CONFIG',
      message: expect.stringMatching(/features needs a network that ends in a linear layer.*ends in '/),
    })
  })
})

describe('log_prob_unnormalized and log_prob', () => {
  it('are minus the energy', async () => {
    const m = classifier()
    const x = waves([3, 3])
    const energy = await m.energy(x)
    close(
      (await m.evaluate('log_prob_unnormalized', x)).data as Float32Array,
      Array.from(energy, (e) => -e),
    )
    const flow = keep(new FlowModel(affineCouplingFlow({ inputs: 2 })))
    const z = waves([3, 2])
    close((await flow.evaluate('log_prob', z)).data as Float32Array, Array.from(await flow.logDensity(z)))
  })

  it('log_prob needs log Z: flows, mixtures and models with log Z have it, and what is made of them has not', async () => {
    const m = mlp({ inputs: 2 })
    const normalised: Model[] = [
      new FlowModel(affineCouplingFlow({ inputs: 2 })),
      withLogZ(m, 1.5),
      mixtureOfEnergies([m, m], { logZ: [1, 2] }),
      defineEnergy({ shape: [2], normalised: true }, (x) =>
        x
          .square()
          .sum(-1)
          .mul(0.5)
          .add(Math.log(2 * Math.PI)),
      ),
    ]
    for (const n of normalised.map(keep)) {
      expect(n.network.normalised).toBe(true)
      close(
        (await n.evaluate('log_prob', waves([2, 2]))).data as Float32Array,
        Array.from(await n.energy(waves([2, 2])), (e) => -e),
      )
    }
    const rebuilt = buildNetwork((normalised[1] as Model).network.config)
    expect([rebuilt.normalised, buildNetwork(m.network.config).normalised]).toEqual([true, false])
    const levels = mlp({ inputs: 2, sigma: { smallest: 0.1 } })
    for (const n of [m, shifted(withLogZ(m, 1.5), 1), withLogZ(levels, 1)].map(keep)) {
      await expect(n.evaluate('log_prob', waves([1, 2]))).rejects.toMatchObject({
        code: 'E_CONFIG',
        message: expect.stringMatching(/log_prob needs a normalised model.*withLogZ.*log_prob_unnormalized/),
      })
    }
  })
})

describe('class_score', () => {
  it('is the gradient of one logit: finite differences, and the conditional composition', async () => {
    const m = classifier()
    const x = waves([4, 3])
    const y = hostTensor(Int32Array.from([0, 3, 1, 1]), [4])
    const got = (await m.score(x, { classes: y, batch: 3 })).data as Float32Array
    const h = 1e-2
    const want: number[] = []
    for (let i = 0; i < 12; i++) {
      const at = async (step: number): Promise<number> => {
        const moved = Float32Array.from(x.data)
        moved[i] = (moved[i] as number) + step
        const { data } = await m.logits(hostTensor(moved, [4, 3]))
        const row = Math.floor(i / 3)
        return data[4 * row + (y.data[row] as number)] as number
      }
      want.push(((await at(h)) - (await at(-h))) / (2 * h))
    }
    close(got, want, 3)
    const one = (await m.score(x, { classes: 1 })).data as Float32Array
    close(one, Array.from((await keep(conditional(m, 1)).score(x)).data))
    close(got.slice(6), Array.from(one.slice(6)))
    expect(Array.from(one)).not.toEqual(Array.from((await m.score(x)).data))
  })

  it('refuses classes that do not fit, by name', async () => {
    const m = classifier()
    const x = waves([2, 3])
    await expect(m.score(x, { classes: 4 })).rejects.toThrow(/class_score: classes must be in 0\.\.3; got 4/)
    await expect(m.score(x, { classes: 0.5 })).rejects.toThrow(/got 0\.5/)
    const short = hostTensor(Int32Array.from([1]), [1])
    await expect(m.score(x, { classes: short })).rejects.toMatchObject({ code: 'E_SHAPE' })
    await expect(m.evaluate('class_score', x)).rejects.toThrow(/needs classes/)
    await expect(m.evaluate('energy', x, { classes: 1 })).rejects.toThrow(/takes no classes/)
    const plain = keep(mlp({ inputs: 3 }))
    await expect(plain.score(x, { classes: 0 })).rejects.toMatchObject({
      code: 'E_CONFIG',
      message: expect.stringMatching(/class_score needs a classifier/),
    })
  })
})

describe('sample', () => {
  it.each([
    ['vectors', () => affineCouplingFlow({ inputs: 2, layers: 2 })],
    ['images, whose base has another shape', () => imageFlow({ shape: [1, 4, 4], levels: 1, steps: 1, channels: 4 })],
  ])('of %s is the inverse of the flow', async (_, make) => {
    const flow = keep(new FlowModel(make()))
    const z = waves([3, ...flow.flow.latentShape])
    const x = await flow.evaluate('sample', z)
    expect(x.shape).toEqual([3, ...flow.network.shape])
    expect(x).toEqual((await flow.inverse(z)).x)
  })

  it('is refused where there are no exact draws, and for noise of another shape', async () => {
    const m = classifier()
    await expect(m.evaluate('sample', waves([1, 3]))).rejects.toThrow(/sample needs exact draws, which flows have/)
    const flow = keep(new FlowModel(affineCouplingFlow({ inputs: 2 })))
    await expect(flow.evaluate('sample', waves([1, 3]))).rejects.toThrow(/Model\.sample: z must be float32 \[n,2\]/)
  })
})

describe('outputs', () => {
  it('of networks, their inputs, and names that are none', async () => {
    expect(outputsOf(classifier().network)).toEqual(modelOutputs.filter((o) => o !== 'log_prob' && o !== 'sample'))
    expect(outputsOf(rbm({ visible: 2, hidden: 2 }).network)).toEqual(['log_prob_unnormalized', 'energy', 'score'])
    expect(outputsOf(affineCouplingModel().network)).toEqual([
      ...['log_prob_unnormalized', 'energy', 'score', 'log_prob', 'sample'],
    ])
    expect(modelOutputs.map((o) => inputsOf(o).join())).toEqual(['x', 'x', 'x', 'x', 'x,y', 'x', 'x', 'z'])
    await expect(classifier().evaluate('scores' as ModelOutput, waves([1, 3]))).rejects.toThrow(/Did you mean 'score'/)
  })

  it('of no examples have the shapes of some', async () => {
    const m = classifier()
    const none = hostTensor(new Float32Array(0), [0, 3])
    const shape = async (o: ModelOutput, classes?: number) =>
      (await m.evaluate(o, none, classes === undefined ? {} : { classes })).shape
    expect(await shape('logits')).toEqual([0, 4])
    expect(await shape('features')).toEqual([0, 5])
    expect(await shape('energy')).toEqual([0])
    expect(await shape('class_score', 1)).toEqual([0, 3])
  })
})

function affineCouplingModel(): FlowModel {
  return keep(new FlowModel(affineCouplingFlow({ inputs: 2 })))
}
