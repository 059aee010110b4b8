/** Networks: PyTorch's names and shapes, what the config keeps, initial values, and what is refused. Their numbers are golden.test.ts's. */
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { hostTensor } from '../../lib/graph/host-tensor.ts'
import {
  type ActivationName,
  activation,
  activationNames,
  conv,
  flatten,
  globalMean,
  linear,
  maxPool,
} from '../../lib/nn/layer.ts'
import { Model } from '../../lib/nn/model.ts'
import { defineEnergy, mlp, sequential, wideResNet } from '../../lib/nn/models.ts'
import type { Network } from '../../lib/nn/network.ts'
import { buildNetwork, convEnergyNetwork, mlpNetwork, wideResNetNetwork } from '../../lib/nn/networks.ts'
import { defaultGroups, type NormName, norm, normNames } from '../../lib/nn/norms.ts'
import { readSafetensors, writeSafetensors } from '../../lib/runtime/safetensors.ts'
import { temporaryFolder } from '../dist.ts'

const folder = temporaryFolder()
const shapes = (n: Network) => n.variables.map((v) => `${v.name} [${v.shape.join(',')}]`)

/** What torch's state_dict() lists for this network, in its order. */
const normNamesOf = (name: string, c: number) =>
  ['weight', 'bias', 'running_mean', 'running_var'].map((p) => `${name}.${p} [${c}]`)
const convOf = (name: string, out: number, into: number, k: number) => [
  `${name}.weight [${out},${into},${k},${k}]`,
  `${name}.bias [${out}]`,
]

describe('PyTorch names', () => {
  test('wide residual network of depth 10, width 1: the whole state_dict', () => {
    const want = [
      ...convOf('stem', 16, 3, 3),
      ...normNamesOf('blocks.0.bn1', 16),
      ...convOf('blocks.0.conv1', 16, 16, 3),
      ...normNamesOf('blocks.0.bn2', 16),
      ...convOf('blocks.0.conv2', 16, 16, 3),
      ...normNamesOf('blocks.1.bn1', 16),
      ...convOf('blocks.1.conv1', 32, 16, 3),
      ...normNamesOf('blocks.1.bn2', 32),
      ...convOf('blocks.1.conv2', 32, 32, 3),
      ...convOf('blocks.1.short', 32, 16, 1),
      ...normNamesOf('blocks.2.bn1', 32),
      ...convOf('blocks.2.conv1', 64, 32, 3),
      ...normNamesOf('blocks.2.bn2', 64),
      ...convOf('blocks.2.conv2', 64, 64, 3),
      ...convOf('blocks.2.short', 64, 32, 1),
      ...normNamesOf('bn', 64),
      'head.weight [10,64]',
      'head.bias [10]',
    ]
    expect(new Set(shapes(wideResNetNetwork({ depth: 10, width: 1 })))).toEqual(new Set(want))
    expect(wideResNetNetwork({ depth: 10, width: 1 }).variables).toHaveLength(want.length)
  })

  test('depth 10, width 10 has the published number of parameters', () => {
    // Counted by hand: stem 448, blocks 287 840 + 1 489 120 + 5 944 960, last norm 1 280, head 6 410.
    const block = (i: number, o: number, short: boolean) =>
      2 * i + 9 * i * o + o + 2 * o + 9 * o * o + o + (short ? i * o + o : 0)
    const want =
      3 * 16 * 9 + 16 + block(16, 160, true) + block(160, 320, true) + block(320, 640, true) + 2 * 640 + 640 * 10 + 10
    expect(new Model(wideResNetNetwork({ depth: 10, width: 10 })).parameterCount).toBe(want)
  })

  test('norms without statistics have weight and bias only; none has nothing', () => {
    for (const n of ['layer', 'instance', 'group'] as NormName[]) {
      const names = wideResNetNetwork({ depth: 10, width: 1, norm: n }).variables.map((v) => v.name)
      expect(names).toContain('blocks.0.bn1.weight')
      expect(names.filter((v) => v.includes('running'))).toEqual([])
    }
    expect(
      wideResNetNetwork({ depth: 10, width: 1, norm: 'none' }).variables.filter((v) => v.name.includes('bn')),
    ).toEqual([])
  })

  test('mlp, convEnergy and sequential are numbered as Sequential', () => {
    expect(shapes(mlpNetwork({ inputs: 2, hidden: [4, 3] }))).toEqual([
      '0.weight [4,2]',
      '0.bias [4]',
      '2.weight [3,4]',
      '2.bias [3]',
      '4.weight [1,3]',
      '4.bias [1]',
    ])
    expect(shapes(convEnergyNetwork({ shape: [1, 8, 8], channels: [4, 6], classes: 3 }))).toEqual([
      ...convOf('body.0', 4, 1, 3),
      ...convOf('body.2', 6, 4, 3),
      'head.weight [3,24]',
      'head.bias [3]',
    ])
    const s = sequential(
      [2, 6, 6],
      [conv(4, 3, { groups: 2, bias: false }), norm('batch'), activation('relu'), maxPool(2), flatten(), linear(1)],
    )
    expect(shapes(s.network).sort()).toEqual(
      ['0.weight [4,1,3,3]', ...normNamesOf('1', 4), '5.weight [1,16]', '5.bias [1]'].sort(),
    )
  })
})

describe('config', () => {
  test('rebuilds the network, after JSON too', () => {
    for (const n of [
      wideResNetNetwork({ depth: 16, width: 2, channels: 1, size: [8, 12], norm: 'group', activation: 'silu' }),
      convEnergyNetwork({ shape: [3, 16, 8], channels: [8], norm: 'instance' }),
      mlpNetwork({ inputs: 5, hidden: [], classes: 4 }),
    ]) {
      const again = buildNetwork(JSON.parse(JSON.stringify(n.config)) as { kind: string })
      expect(again.config).toEqual(n.config)
      expect(again.variables).toEqual(n.variables)
      expect([again.shape, again.classes]).toEqual([n.shape, n.classes])
    }
  })

  test('unknown kinds and networks written in code are refused with a remedy', () => {
    expect(() => buildNetwork({ kind: 'mpl' })).toThrow(/'mpl' is not known. Did you mean 'mlp'/)
    const custom = defineEnergy({ shape: [2], name: 'ring' }, (x) => x.square().sum(-1))
    expect(() => buildNetwork(custom.network.config)).toThrow(/'ring' was written in code.*build it in code/)
  })
})

describe('what is refused', () => {
  test.each<[string, () => unknown, RegExp]>([
    ['depth', () => wideResNet({ depth: 12, width: 1 }), /depth must be 6n \+ 4 .*; got 12/],
    ['depth 4', () => wideResNet({ depth: 4, width: 1 }), /depth must be 6n \+ 4 .*; got 4/],
    ['width', () => wideResNet({ depth: 10, width: 0 }), /width must be a positive integer; got 0/],
    ['inputs', () => mlp({ inputs: 1.5 }), /inputs must be a positive integer; got 1.5/],
    ['hidden', () => mlp({ inputs: 2, hidden: [4, -1] }), /hidden must be a positive integer; got -1/],
    ['norm', () => norm('bacth' as NormName), /'bacth' is not known. Did you mean 'batch'/],
    ['init', () => mlp({ inputs: 2, init: 'kaimng' as never }), /'kaimng' is not known. Did you mean 'kaiming'/],
    ['activation', () => activation('geluu' as ActivationName), /'geluu' is not known. Did you mean 'gelu'/],
    [
      'linear on images',
      () => sequential([1, 4, 4], [linear(1)]),
      /takes \[batch, features\].*Put flatten\(\) before it/,
    ],
    ['conv on rows', () => sequential([4], [conv(2, 3)]), /takes \[batch, channels, height, width\]/],
    ['no energy', () => sequential([1, 4, 4], [conv(2, 3)]), /must give \[batch\], \[batch,1\] or \[batch, classes\]/],
    ['no layers', () => sequential([4], []), /at least one stage/],
    [
      'a name twice',
      () =>
        defineEnergy({ shape: [2] }, (x, s) =>
          x
            .mul(s.parameter('a', [2], { kind: 'constant', value: 1 }))
            .mul(s.parameter('a', [1], { kind: 'constant', value: 1 }))
            .sum(-1),
        ),
      /variable a is declared twice/,
    ],
  ])('%s', (_what, make, message) => {
    expect(make).toThrow(message)
  })
})

describe('initial values', () => {
  test("follow the seed and the name, within PyTorch's bounds", () => {
    const [a, b, c] = [
      wideResNet({ depth: 10, width: 1, seed: 1 }),
      wideResNet({ depth: 10, width: 1, seed: 1 }),
      wideResNet({ depth: 10, width: 1, seed: 2 }),
    ]
    expect(b.stateDict()).toEqual(a.stateDict())
    expect(c.value('stem.weight').data).not.toEqual(a.value('stem.weight').data)
    const data = a.value('blocks.2.conv2.weight').data as Float32Array
    const bound = 1 / Math.sqrt(64 * 9)
    const spread = Math.sqrt(data.reduce((s, v) => s + v * v, 0) / data.length)
    expect(Math.max(...data.map(Math.abs))).toBeLessThanOrEqual(bound)
    expect(spread / (bound / Math.sqrt(3))).toBeCloseTo(1, 1)
    expect([...a.value('bn.weight').data, ...a.value('bn.running_var').data].every((v) => v === 1)).toBe(true)
    expect([...a.value('bn.bias').data, ...a.value('bn.running_mean').data].every((v) => v === 0)).toBe(true)
  })

  test('kaiming and xavier have the spread that they are defined by, for convolutions and linear layers', () => {
    const spread = (data: ArrayLike<number>) => Math.sqrt(Array.from(data).reduce((s, v) => s + v * v, 0) / data.length)
    const want = {
      kaiming: { conv: Math.sqrt(2 / (64 * 9)), linear: Math.sqrt(2 / 200) },
      xavier: { conv: Math.sqrt(2 / (64 * 9 + 64 * 9)), linear: Math.sqrt(2 / 300) },
      fanIn: { conv: 1 / Math.sqrt(3 * 64 * 9), linear: 1 / Math.sqrt(3 * 200) },
    }
    for (const init of ['kaiming', 'xavier', 'fanIn'] as const) {
      const a = wideResNet({ depth: 10, width: 1, init, seed: 1 })
      const b = mlp({ inputs: 200, hidden: [100], init, seed: 1 })
      expect(spread(a.value('blocks.2.conv2.weight').data) / want[init].conv, init).toBeCloseTo(1, 1)
      expect(spread(b.value('0.weight').data) / want[init].linear, init).toBeCloseTo(1, 1)
      expect(buildNetwork(b.network.config).variables).toEqual(b.network.variables)
    }
    expect(mlp({ inputs: 200, hidden: [100], init: 'fanIn', seed: 1 }).stateDict()).toEqual(
      mlp({ inputs: 200, hidden: [100], seed: 1 }).stateDict(),
    )
  })

  test('do not change when another layer is added', () => {
    const [short, long] = [mlp({ inputs: 2, hidden: [4] }), mlp({ inputs: 2, hidden: [4, 4] })]
    expect(long.value('0.weight')).toEqual(short.value('0.weight'))
  })
})

describe('norms and activations', () => {
  test('groups are of eight channels where eight divides them', () => {
    expect([16, 24, 8, 12, 1].map(defaultGroups)).toEqual([2, 3, 1, 1, 1])
  })

  test('each activation and each norm gives a network whose energy and score are finite', async () => {
    const x = hostTensor(
      Float32Array.from({ length: 3 * 32 }, (_, i) => Math.sin(i)),
      [3, 2, 4, 4],
    )
    for (const name of activationNames) {
      const m = sequential([2, 4, 4], [conv(8, 3), activation(name), globalMean(), linear(1)])
      expect((await m.score(x)).data.every(Number.isFinite), name).toBe(true)
      await m.dispose()
    }
    for (const name of normNames) {
      const m = sequential([2, 4, 4], [conv(8, 3), norm(name), activation('silu'), globalMean(), linear(3)])
      for (const mode of ['running', 'batch'] as const)
        expect((await m.energy(x, { norm: mode })).every(Number.isFinite), name).toBe(true)
      await m.dispose()
    }
  })
})

describe('state_dict files', () => {
  const plane = (classes = 2) => mlp({ inputs: 2, hidden: [4], classes, seed: 1 })

  test("save and load go round, with PyTorch counters and a run's own tensors passed over", async () => {
    const path = join(folder, 'a.safetensors')
    const a = wideResNet({ depth: 10, width: 1, channels: 1, size: 8, seed: 1 })
    await a.save(path, { note: 'mine' })
    const { metadata } = await readSafetensors(path)
    expect(metadata).toMatchObject({ note: 'mine', network: JSON.stringify(a.network.config) })
    const b = wideResNet({ depth: 10, width: 1, channels: 1, size: 8, seed: 2 })
    const x = hostTensor(
      Float32Array.from({ length: 128 }, (_, i) => Math.cos(i)),
      [2, 1, 8, 8],
    )
    expect((await b.logits(x)).data).not.toEqual((await a.logits(x)).data)
    const counters = new Map(a.stateDict())
    counters.set('bn.num_batches_tracked', { dtype: 'int32', shape: [], data: Int32Array.of(7) })
    counters.set('optimizer/momentum/stem.weight', { dtype: 'float32', shape: [1], data: Float32Array.of(1) })
    await writeSafetensors(path, counters)
    await b.load(path)
    expect((await b.logits(x)).data).toEqual((await a.logits(x)).data)
    expect(b.stateDict()).toEqual(a.stateDict())
    await a.dispose()
    await b.dispose()
  })

  test('a file of another network is refused with names and shapes, and changes nothing', async () => {
    const path = join(folder, 'b.safetensors')
    await plane(3).save(path)
    const m = plane()
    const before = new Map(m.stateDict())
    await expect(m.load(path)).rejects.toThrow(
      expect.objectContaining({
        code: 'E_CHECKPOINT',
        message: expect.stringMatching(/'2\.weight' is float32\[3,4\], the network needs float32\[2,4\]/),
      }),
    )
    await mlp({ inputs: 2, hidden: [4, 4], classes: 2 }).save(path)
    await expect(m.load(path)).rejects.toThrow(/2\.weight/)
    await writeSafetensors(path, new Map([...before].filter(([n]) => n !== '0.bias')))
    await expect(m.load(path)).rejects.toThrow(/has no tensor '0\.bias'/)
    await writeSafetensors(
      path,
      new Map([...before, ['extra.weight', { dtype: 'float32', shape: [1], data: Float32Array.of(1) } as const]]),
    )
    await expect(m.load(path)).rejects.toThrow(/has tensors this network does not: extra\.weight/)
    expect(new Map(m.stateDict())).toEqual(before)
  })

  test('values set while the model is in use are those of the next evaluation', async () => {
    const [a, b] = [plane(), mlp({ inputs: 2, hidden: [4], classes: 2, seed: 9 })]
    const x = hostTensor(Float32Array.of(0.1, 0.2), [1, 2])
    await a.energy(x)
    await a.setValues(b.stateDict())
    expect(await a.energy(x)).toEqual(await b.energy(x))
  })
})

describe('evaluation', () => {
  const m = mlp({ inputs: 3, hidden: [5], classes: 4 })
  const x = hostTensor(
    Float32Array.from({ length: 21 }, (_, i) => Math.sin(3 * i)),
    [7, 3],
  )

  test('energy is -logsumexp of the logits; batches of any size agree', async () => {
    const logits = await m.logits(x)
    const energy = await m.energy(x)
    for (let i = 0; i < 7; i++) {
      const row = [...logits.data.subarray(4 * i, 4 * i + 4)]
      expect(energy[i]).toBeCloseTo(-Math.log(row.reduce((s, v) => s + Math.exp(v), 0)), 5)
    }
    const split = await m.energy(x, { batch: 3 })
    split.forEach((v, i) => {
      expect(v).toBeCloseTo(energy[i] as number, 5)
    })
  })

  test('the score is the slope of -E', async () => {
    const score = await m.score(x)
    const h = 1e-2
    const moved = (j: number, by: number) =>
      hostTensor(
        Float32Array.from(x.data, (v, i) => (i % 3 === j ? v + by : v)),
        x.shape,
      )
    for (let j = 0; j < 3; j++) {
      const [up, down] = [await m.energy(moved(j, h)), await m.energy(moved(j, -h))]
      for (let i = 0; i < 7; i++)
        expect(score.data[3 * i + j]).toBeCloseTo(-((up[i] as number) - (down[i] as number)) / (2 * h), 3)
    }
  })

  test('no rows give no rows; misfits are refused', async () => {
    expect(await m.energy(hostTensor(new Float32Array(0), [0, 3]))).toHaveLength(0)
    expect((await m.logits(hostTensor(new Float32Array(0), [0, 3]))).shape).toEqual([0, 4])
    expect((await m.score(hostTensor(new Float32Array(0), [0, 3]))).shape).toEqual([0, 3])
    await expect(m.energy(hostTensor(new Float32Array(4), [2, 2]))).rejects.toThrow(
      /x must be float32 \[n,3\]; got float32\[2,2\]/,
    )
    await expect(m.energy(hostTensor(new Int32Array(3), [1, 3]))).rejects.toThrow(/got int32\[1,3\]/)
    await expect(m.energy(x, { batch: 0 })).rejects.toThrow(/batch must be a positive integer; got 0/)
    await expect(mlp({ inputs: 3 }).logits(x)).rejects.toThrow(/needs a classifier/)
    await expect(m.energy(x, { signal: AbortSignal.abort(new Error('enough')) })).rejects.toThrow('enough')
  })
})
