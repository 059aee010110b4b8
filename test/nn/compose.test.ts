/** Compositions: the arithmetic of their energies, what they can be used for, and what is refused. */
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { hostTensor } from '../../lib/graph/host-tensor.ts'
import {
  conditional,
  guided,
  mixtureOfEnergies,
  productOfExperts,
  restrict,
  shifted,
  temper,
  withLogZ,
} from '../../lib/nn/compose.ts'
import type { Model } from '../../lib/nn/model.ts'
import { defineEnergy, mlp, wideResNet } from '../../lib/nn/models.ts'
import { buildNetwork } from '../../lib/nn/networks.ts'
import { exportOnnx } from '../../lib/onnx/export-model.ts'
import { Chains } from '../../lib/samplers/chains.ts'
import { temporaryFolder } from '../dist.ts'
import { pattern, relativeError } from '../golden/pattern.ts'

const folder = temporaryFolder()
const a = mlp({ inputs: 3, hidden: [6], seed: 1 })
const b = mlp({ inputs: 3, hidden: [5, 4], activation: 'tanh', seed: 2 })
const classifier = mlp({ inputs: 3, hidden: [7], classes: 4, seed: 3 })
const x = pattern([6, 3], 9, 0.9)

const zip = (p: ArrayLike<number>, q: ArrayLike<number>, f: (u: number, v: number) => number) =>
  Array.from(p, (u, i) => f(u, q[i] as number))
/** Column of the logits of x. */
async function logit(k: number): Promise<number[]> {
  const { data } = await classifier.logits(x)
  return Array.from({ length: 6 }, (_, i) => data[4 * i + k] as number)
}
const logAdd = (u: number, v: number) => Math.log(Math.exp(u) + Math.exp(v))

/** Every composition with its energies at x, computed from the parts' in double precision. */
const cases: Record<string, { make: () => Model; want: () => Promise<number[]> }> = {
  'product of experts': {
    make: () => productOfExperts([a, b]),
    want: async () => zip(await a.energy(x), await b.energy(x), (u, v) => u + v),
  },
  'weighted, one of them negated': {
    make: () => productOfExperts([a, b], [2, -0.5]),
    want: async () => zip(await a.energy(x), await b.energy(x), (u, v) => 2 * u - 0.5 * v),
  },
  mixture: {
    make: () => mixtureOfEnergies([a, b], { logZ: [0.3, -1], weights: [3, 1] }),
    want: async () =>
      zip(await a.energy(x), await b.energy(x), (u, v) => -logAdd(Math.log(0.75) - u - 0.3, Math.log(0.25) - v + 1)),
  },
  tempered: {
    make: () => temper(classifier, 4),
    want: async () => Array.from(await classifier.energy(x), (v) => v / 4),
  },
  'one class': { make: () => conditional(classifier, 2), want: async () => (await logit(2)).map((v) => -v) },
  'two classes': {
    make: () => conditional(classifier, [3, 1]),
    want: async () => zip(await logit(1), await logit(3), (u, v) => -logAdd(u, v)),
  },
  'all classes': {
    make: () => conditional(classifier, [0, 1, 2, 3]),
    want: async () => [...(await classifier.energy(x))],
  },
  guided: {
    make: () => guided(conditional(classifier, 1), classifier, 2.5),
    want: async () => zip(await logit(1), await classifier.energy(x), (u, v) => -3.5 * u - 2.5 * v),
  },
  shifted: { make: () => shifted(a, -3), want: async () => Array.from(await a.energy(x), (v) => v - 3) },
  'with log Z': { make: () => withLogZ(a, 1.25), want: async () => Array.from(await a.energy(x), (v) => v + 1.25) },
  restricted: {
    make: () => restrict(a, [-0.7, 0.8]),
    want: async () =>
      Array.from(await a.energy(x), (v, i) =>
        x.data.subarray(3 * i, 3 * i + 3).every((u) => u >= -0.7 && u <= 0.8) ? v : Number.POSITIVE_INFINITY,
      ),
  },
  'a composition of compositions': {
    make: () => productOfExperts([temper(a, 2), mixtureOfEnergies([b, shifted(a, 1)], { logZ: [0, 0] })]),
    want: async () =>
      zip(await a.energy(x), await b.energy(x), (u, v) => u / 2 - logAdd(Math.log(0.5) - v, Math.log(0.5) - u - 1)),
  },
}

describe('every composition', () => {
  for (const [name, { make, want }] of Object.entries(cases)) {
    test(`${name}: energies, score, config, ONNX`, async () => {
      const m = make()
      expect(m.network.classes).toBe(0)
      const energies = [...(await m.energy(x))]
      const wanted = await want()
      const inside = wanted.map((v, i) => ({ v, i })).filter(({ v }) => Number.isFinite(v))
      expect(energies.map(Number.isFinite)).toEqual(wanted.map(Number.isFinite))
      expect(inside.length).toBeGreaterThan(1)
      expect(
        relativeError(
          inside.map(({ i }) => energies[i] as number),
          inside.map(({ v }) => v),
        ),
      ).toBeLessThan(1e-5)
      await checkScore(m)
      const again = buildNetwork(JSON.parse(JSON.stringify(m.network.config)) as { kind: string })
      expect([again.variables, again.config]).toEqual([m.network.variables, m.network.config])
      const outputs = ['log_prob_unnormalized', 'energy', 'score', ...(m.network.normalised ? ['log_prob'] : [])]
      const { verification } = await exportOnnx(m, join(folder, `${name.replaceAll(' ', '-')}.onnx`))
      expect(verification?.outputs.map((o) => [o.name, o.ok])).toEqual([...outputs, ...outputs].map((o) => [o, true]))
      await m.dispose()
    })
  }

  /** Against differences of the energy at points where it is finite. */
  async function checkScore(m: Model): Promise<void> {
    const { data } = await m.score(x)
    const h = 5e-3
    const at = (j: number, by: number) =>
      m.energy(
        hostTensor(
          Float32Array.from(x.data, (v, i) => (i % 3 === j ? v + by : v)),
          [6, 3],
        ),
      )
    let compared = 0
    for (let j = 0; j < 3; j++) {
      const [up, down] = [await at(j, h), await at(j, -h)]
      for (let i = 0; i < 6; i++) {
        const slope = -((up[i] as number) - (down[i] as number)) / (2 * h)
        const score = data[3 * i + j] as number
        expect(Number.isFinite(score)).toBe(true)
        if (!Number.isFinite(slope)) continue
        expect(Math.abs(score - slope)).toBeLessThan(2e-3 * Math.max(1, Math.abs(slope)))
        compared++
      }
    }
    expect(compared).toBeGreaterThan(5)
  }
})

describe('parts', () => {
  test('variables are those of the parts under 0., 1., ...; values are copies', async () => {
    const part = mlp({ inputs: 3, hidden: [6], seed: 1 })
    const m = productOfExperts([part, b])
    expect(m.network.variables.map((v) => v.name)).toEqual([
      ...part.network.variables.map((v) => `0.${v.name}`),
      ...b.network.variables.map((v) => `1.${v.name}`),
    ])
    expect(m.value('1.0.weight').data).toEqual(b.value('0.weight').data)
    const before = await m.energy(x)
    await part.setValues(mlp({ inputs: 3, hidden: [6], seed: 8 }).stateDict())
    expect(await m.energy(x)).toEqual(before)
    const saved = join(folder, 'parts.safetensors')
    await m.save(saved)
    const loaded = productOfExperts([mlp({ inputs: 3, hidden: [6], seed: 5 }), b])
    expect(await loaded.energy(x)).not.toEqual(before)
    await loaded.load(saved)
    expect(await loaded.energy(x)).toEqual(before)
  })

  test('a part with running statistics keeps them', async () => {
    const net = wideResNet({ depth: 10, width: 1, channels: 1, size: 8, seed: 1 })
    const images = pattern([2, 1, 8, 8], 4)
    const m = temper(net, 2)
    expect(m.network.variables.filter((v) => v.role === 'statistic').map((v) => v.name)).toContain('0.bn.running_var')
    const want = [...(await net.energy(images))].map((v) => v / 2)
    expect(relativeError(await m.energy(images), want)).toBeLessThan(1e-5)
  })

  test('the noise level goes to the parts that take one; the default is the largest of the smallest', async () => {
    const [fine, coarse] = [0.01, 0.1].map((smallest) => mlp({ inputs: 3, hidden: [4], sigma: { smallest }, seed: 6 }))
    const m = productOfExperts([fine as Model, coarse as Model, a])
    expect(m.network.smallestSigma).toBe(0.1)
    for (const sigma of [0.1, 2]) {
      const parts = [await fine?.energy(x, { sigma }), await coarse?.energy(x, { sigma }), await a.energy(x)]
      const want = [0, 1, 2, 3, 4, 5].map((i) => parts.reduce((s, p) => s + (p?.[i] as number), 0))
      expect(relativeError(await m.energy(x, sigma === 0.1 ? {} : { sigma }), want)).toBeLessThan(1e-5)
    }
    const path = join(folder, 'levels.onnx')
    expect((await exportOnnx(m, path, { sigma: 'input' })).verification?.ok).toBe(true)
  })
})

describe('sampling', () => {
  test('a product of Gaussians is the Gaussian that it should be', async () => {
    const bump = (mean: number, precision: number) =>
      defineEnergy({ shape: [1] }, (h) =>
        h
          .sub(mean)
          .square()
          .mul(0.5 * precision)
          .sum(-1),
      )
    const m = productOfExperts([bump(-1, 1), bump(2, 3)])
    const chains = await Chains.start(m, {
      sampler: { kind: 'sgld', stepSize: 0.02, noise: 'langevin' },
      chains: 4000,
      seed: 1,
    })
    await chains.advance(200)
    const { data } = await chains.read()
    const mean = [...data].reduce((s, v) => s + v, 0) / 4000
    const variance = [...data].reduce((s, v) => s + (v - mean) ** 2, 0) / 4000
    // Precisions add up, means weigh by them; x ← x - h·4(x - m) + √(2h) ε has variance ¼/(1 - 4h/2).
    expect(Math.abs(mean - 5 / 4)).toBeLessThan(4 * Math.sqrt(0.25 / 4000))
    expect(Math.abs(variance - 0.25 / 0.96)).toBeLessThan(4 * 0.26 * Math.sqrt(2 / 4000))
    chains.dispose()
  })
})

describe('what is refused', () => {
  const image = mlp({ shape: [1, 3, 1] })
  test.each<[string, () => unknown, RegExp]>([
    ['shapes', () => productOfExperts([a, image]), /examples of one shape; got \[3\] and \[1,3,1\]/],
    ['no parts', () => productOfExperts([]), /at least one part/],
    ['no model', () => temper({} as never, 1), /temper: parts must be models/],
    ['too few weights', () => productOfExperts([a, b], [1]), /weights needs one number for each of 2 parts; got 1/],
    ['a weight', () => productOfExperts([a, b], [1, Number.NaN]), /weights must be finite; got NaN/],
    ['log Z', () => mixtureOfEnergies([a, b], { logZ: [0] }), /logZ needs one number for each of 2 parts; got 1/],
    [
      'proportions',
      () => mixtureOfEnergies([a, b], { logZ: [0, 0], weights: [1, 0] }),
      /weights must be positive; got 0/,
    ],
    ['temperature', () => temper(a, 0), /temperature must be a positive finite number; got 0/],
    ['no logits', () => conditional(a, 0), /conditional needs a classifier/],
    ['a class', () => conditional(classifier, 4), /a class in 0\.\.3 or a list of distinct ones; got \[4\]/],
    ['a class twice', () => conditional(classifier, [1, 1]), /distinct ones; got \[1, 1\]/],
    ['no class', () => conditional(classifier, []), /a class in 0\.\.3/],
    ['guidance', () => guided(a, b, Number.POSITIVE_INFINITY), /weight must be finite; got Infinity/],
    ['bounds', () => restrict(a, [1, 1]), /low < high; got \[1, 1\]/],
    [
      'a rule in a file',
      () => buildNetwork({ kind: 'composition', parts: [a.network.config], rule: { kind: 'summ' } }),
      /composition rule 'summ' is not known\. Did you mean 'sum'/,
    ],
    [
      'a part written in code',
      () =>
        buildNetwork({
          ...temper(
            defineEnergy({ shape: [1] }, (h) => h.sum(-1)),
            2,
          ).network.config,
        }),
      /written in code.*build it in code/,
    ],
  ])('%s', (_what, make, message) => {
    expect(make).toThrow(message)
  })
})
