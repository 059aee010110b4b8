/** Ising and Potts networks: energies against PyTorch bond by bond, log Z by enumeration, Gibbs sweeps against the exact distribution. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { enumerateStates } from '../../lib/evaluation/enumerate.ts'
import { type HostTensor, hostTensor } from '../../lib/graph/host-tensor.ts'
import { sizeOf } from '../../lib/graph/shape.ts'
import { siteColours } from '../../lib/nn/couplings.ts'
import { ising, type PairwiseOptions, potts } from '../../lib/nn/discrete.ts'
import type { Model } from '../../lib/nn/model.ts'
import { buildNetwork } from '../../lib/nn/networks.ts'
import { exportOnnx } from '../../lib/onnx/export-model.ts'
import { setThreads } from '../../lib/runtime/addon.ts'
import { Chains } from '../../lib/samplers/chains.ts'
import { temporaryFolder } from '../dist.ts'
import { pattern } from '../golden/pattern.ts'

setThreads(1)

interface Case extends Required<Omit<PairwiseOptions, 'field' | 'initial'>> {
  readonly kind: 'ising' | 'potts'
  readonly states: number
  readonly J: readonly number[]
  /** Axis of each bond. */
  readonly axes: readonly number[]
  readonly field: readonly number[]
  readonly energy: readonly number[]
  readonly stride: number
  readonly logZ: number
}

const cases: readonly Case[] = JSON.parse(readFileSync(new URL('../golden/rbm.json', import.meta.url), 'utf8')).pairwise
const folder = temporaryFolder()
const name = (c: Case) => `${c.kind} [${c.shape}] ${c.coupling} ${c.boundary}`

/** The model of a golden case, with its couplings and fields. */
async function modelOf(c: Case): Promise<Model> {
  const { shape, coupling, boundary, states } = c
  const options = { shape, coupling, boundary, field: 'site' } as const
  const model = c.kind === 'ising' ? ising(options) : potts({ ...options, states })
  const values = new Map<string, HostTensor>()
  for (const v of model.network.variables) {
    const axis = Number(v.name.split('.')[1])
    const own =
      v.name === 'field'
        ? c.field
        : c.coupling === 'shared'
          ? c.J.slice(0, 1)
          : v.name === 'coupling'
            ? c.J
            : c.J.filter((_, i) => c.axes[i] === axis)
    expect(own.length, v.name).toBe(sizeOf(v.shape))
    values.set(v.name, hostTensor(Float32Array.from(own), v.shape))
  }
  await model.setValues(values)
  return model
}

const kindOf = (c: Case) => ({ kind: c.kind === 'ising' ? 'binary' : 'oneHot' }) as const

/** χ² of draws against the exact probabilities in standard deviations above its mean; states of small expectation are joined. */
async function excess(
  model: Model,
  draws: HostTensor,
  kind: 'binary' | 'oneHot',
  values = [0, 1] as const,
): Promise<number> {
  const { probability } = await enumerateStates(model, { kind, values })
  const { shape } = model.network
  const width = kind === 'binary' ? 1 : (shape.at(-1) as number)
  const base = kind === 'binary' ? 2 : width
  const sites = sizeOf(shape) / width
  const n = draws.shape[0] as number
  const counts = new Float64Array(probability.length)
  for (let r = 0; r < n; r++) {
    let code = 0
    for (let s = 0; s < sites; s++) {
      const at = (r * sites + s) * width
      const digit =
        kind === 'binary' ? (draws.data[at] === values[1] ? 1 : 0) : draws.data.subarray(at, at + width).indexOf(1)
      if (digit < 0) return Number.POSITIVE_INFINITY
      code = code * base + digit
    }
    counts[code] = (counts[code] as number) + 1
  }
  let [chi, cells, restP, restN] = [0, 0, 0, 0]
  probability.forEach((p, i) => {
    if (p * n >= 5) {
      chi += ((counts[i] as number) - n * p) ** 2 / (n * p)
      cells++
    } else {
      restP += p
      restN += counts[i] as number
    }
  })
  if (restP * n > 5) {
    chi += (restN - n * restP) ** 2 / (n * restP)
    cells++
  }
  return (chi - (cells - 1)) / Math.sqrt(2 * (cells - 1))
}

describe.each(cases.map((c) => [name(c), c] as const))('%s', (_, c) => {
  test('energies of all kinds of states and log Z, by PyTorch', async () => {
    const model = await modelOf(c)
    const all = await enumerateStates(model, kindOf(c))
    expect(all.logZ).toBeCloseTo(c.logZ, 4)
    expect(all.probability.reduce((a, p) => a + p, 0)).toBeCloseTo(1, 10)
    const numbers = c.energy.map((_, i) => i * c.stride)
    const energy = await model.energy(all.states(numbers))
    const worst = energy.reduce((m, e, i) => Math.max(m, Math.abs(e - (c.energy[i] as number))), 0)
    expect(worst).toBeLessThan(2e-5)
    expect(Math.max(...energy.map((e, i) => Math.abs(e - (all.energy[i * c.stride] as number))))).toBeLessThan(1e-5)
    await model.dispose()
  })

  test('Gibbs sweeps from fair coins reach the exact distribution', async () => {
    const model = await modelOf(c)
    const chains = await Chains.start(model, { chains: 4000, sampler: { kind: 'blockGibbs' }, seed: 2 })
    const before = await excess(model, await roundedStart(model, c), kindOf(c).kind)
    await chains.advance(60)
    expect(Math.abs(await excess(model, await chains.read(), kindOf(c).kind))).toBeLessThan(4)
    expect(before).toBeGreaterThan(20)
    chains.dispose()
    await model.dispose()
  })
})

/** Uniform states, which are far from the model: the χ² above can fail. */
async function roundedStart(model: Model, c: Case): Promise<HostTensor> {
  const { states, energy } = await enumerateStates(model, kindOf(c))
  const u = pattern([4000], 8).data
  return states(Array.from(u, (v) => Math.floor(((v + 1) / 2) * energy.length)))
}

describe('values and files', () => {
  test('values [-1, 1] are the same model in spins, also for its chains', async () => {
    const options = { shape: [1, 3, 3], initial: { coupling: 0.3, field: -0.2 } }
    const [bits, spins] = [ising(options), ising({ ...options, values: [-1, 1] })]
    const x = hostTensor(
      pattern([5, 1, 3, 3], 2).data.map((v) => (v > 0 ? 1 : 0)),
      [5, 1, 3, 3],
    )
    const s = hostTensor(
      x.data.map((v) => 2 * v - 1),
      x.shape,
    )
    expect(await spins.energy(s)).toEqual(await bits.energy(x))
    const run = async (model: Model) => {
      const chains = await Chains.start(model, { chains: 50, sampler: { kind: 'blockGibbs' } })
      await chains.advance(3)
      const out = await chains.read()
      chains.dispose()
      return [...new Set(out.data)].sort()
    }
    expect(await run(bits)).toEqual([0, 1])
    expect(await run(spins)).toEqual([-1, 1])
  })

  test.each([
    ['ising', ising({ shape: [4, 4], coupling: 'bond', boundary: 'open' })],
    ['potts', potts({ shape: [3], states: 4, coupling: 'full', initial: { coupling: 0.5 } })],
  ])('%s: rebuilt from its config, and exported', async (kind, model) => {
    await model.setValues(new Map(model.network.variables.map((v, i) => [v.name, pattern(v.shape, i)])))
    const again = buildNetwork(JSON.parse(JSON.stringify(model.network.config)))
    expect(again.config).toEqual(model.network.config)
    expect(again.variables).toEqual(model.network.variables)
    const exported = await exportOnnx(model, join(folder, `${kind}.onnx`), { outputs: ['energy'] })
    expect(exported.verification?.ok).toBe(true)
    await model.dispose()
  })
})

describe('lattices', () => {
  test.each([
    [[4, 4], 'periodic', 2],
    [[3, 4], 'open', 2],
    [[2, 2], 'periodic', 2],
    [[5], 'periodic', 3],
    [[3, 4], 'periodic', 6],
    [[1, 4, 1], 'open', 2],
  ] as const)('sites of %j (%s) take %i colours, neighbours different ones', (shape, boundary, count) => {
    const { colour, count: got } = siteColours(shape, boundary)
    expect(got).toBe(count)
    const stride = shape.map((_, a) => sizeOf(shape.slice(a + 1)))
    for (let site = 0; site < colour.length; site++) {
      shape.forEach((length, a) => {
        const at = Math.floor(site / (stride[a] as number)) % length
        if (length < 2 || (at === length - 1 && (boundary === 'open' || length === 2))) return
        const next = site + (at === length - 1 ? 1 - length : 1) * (stride[a] as number)
        expect(colour[next]).not.toBe(colour[site])
      })
    }
  })
})

describe('refusals', () => {
  test.each([
    [{ shape: [1] }, RangeError, /two sites or more; got \[1\]/],
    [{ shape: [3, 0] }, RangeError, /positive integers/],
    [{ shape: [3], coupling: 'bonds' }, Error, /Did you mean 'bond'/],
    [{ shape: [3], boundary: 'closed' }, Error, /boundary 'closed' is not known/],
    [{ shape: [3], initial: { coupling: Number.NaN } }, RangeError, /initial.coupling must be finite; got NaN/],
    [{ shape: [3], values: [2, 2] }, RangeError, /differ/],
  ])('%j', (options, type, message) => {
    expect(() => ising(options as never)).toThrow(type)
    expect(() => ising(options as never)).toThrow(message)
  })

  test('Potts without two states', () => {
    expect(() => potts({ shape: [3], states: 1 })).toThrow(/states must be an integer of at least 2; got 1/)
  })

  test('sweeps where every one of many sites is coupled, or at another temperature, and networks without conditionals', async () => {
    const sampler = { kind: 'blockGibbs' } as const
    await expect(Chains.start(ising({ shape: [65], coupling: 'full' }), { sampler })).rejects.toThrow(
      /at most 64 sites/,
    )
    await expect(Chains.start(ising({ shape: [4] }), { sampler, temperature: 2 })).rejects.toThrow(/at temperature 1/)
    await expect(enumerateStates(ising({ shape: [5, 5] }))).rejects.toThrow(/at most 2\^22 are enumerated/)
  })
})
