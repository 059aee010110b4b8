/** Gibbs with gradients against exact distributions by enumeration: Ising and Potts models small enough to count all their states. */
import { describe, expect, test } from 'vitest'
import type { HostTensor } from '../../lib/graph/host-tensor.ts'
import type { Tensor } from '../../lib/graph/tensor.ts'
import * as ops from '../../lib/ops/index.ts'
import { Chains } from '../../lib/samplers/chains.ts'
import type { GibbsWithGradientsOptions } from '../../lib/samplers/gibbs-with-gradients.ts'
import type { SamplerOptions } from '../../lib/samplers/samplers.ts'
import { energyTarget } from '../../lib/samplers/target.ts'

const CHAINS = 3000
const field = [0.4, -0.2, 0.7, 0, -0.5]
const bonds: readonly (readonly [number, number, number])[] = [
  [0, 1, 1],
  [1, 2, -0.8],
  [2, 3, 0.6],
  [3, 4, 0.9],
  [4, 0, -0.5],
]

/** x of 0 and 1, s = 2x - 1: E = -Σ J s s' - Σ h s - 0.6 s₀s₁s₂; the last term makes the first-order estimate inexact. */
function ising(x: Tensor): Tensor {
  const s = x.mul(2).sub(1)
  const site = (i: number) => s.sliceAxis(1, i, i + 1).reshape([x.shape[0] as number])
  const couplings = new Float32Array(25)
  for (const [i, j, strength] of bonds) couplings[5 * i + j] = strength
  const pairs = s
    .matmul(ops.constant(couplings, [5, 5]))
    .add(ops.constant(field, [5]))
    .mul(s)
    .sum(1)
  return pairs.add(site(0).mul(site(1)).mul(site(2)).mul(0.6)).neg()
}

function isingEnergy(bits: readonly number[]): number {
  const s = bits.map((b) => 2 * b - 1) as [number, number, number, number, number]
  const pairs = bonds.reduce((sum, [i, j, strength]) => sum + strength * (s[i] as number) * (s[j] as number), 0)
  const single = field.reduce((sum, h, i) => sum + h * (s[i] as number), 0)
  return -(pairs + single + 0.6 * s[0] * s[1] * s[2])
}

const COLOURS = 3
const SITES = 3
const preference = [0.5, 0, -0.3]

/** One-hot x [n, 3, 3]: E = -0.9 (neighbours alike) - preference of the first site, and a term of all three. */
function potts(x: Tensor): Tensor {
  const site = (i: number) => x.sliceAxis(1, i, i + 1).reshape([x.shape[0] as number, COLOURS])
  const alike = site(0)
    .mul(site(1))
    .add(site(1).mul(site(2)))
    .sum(1)
    .mul(0.9)
  const all = site(0).mul(site(1)).mul(site(2)).sum(1).mul(0.7)
  return alike
    .add(all)
    .add(
      site(0)
        .mul(ops.constant(preference, [COLOURS]))
        .sum(1),
    )
    .neg()
}

function pottsEnergy([a = 0, b = 0, c = 0]: readonly number[]): number {
  const same = (i: number, j: number) => (i === j ? 1 : 0)
  return -(0.9 * (same(a, b) + same(b, c)) + 0.7 * same(a, b) * same(b, c) + (preference[a] as number))
}

/** p of every state, numbered with the first site as the highest digit. */
function exact(sites: number, values: number, energy: (s: number[]) => number): number[] {
  const states = Array.from({ length: values ** sites }, (_, code) =>
    Array.from({ length: sites }, (_, i) => Math.floor(code / values ** (sites - 1 - i)) % values),
  )
  const weights = states.map((s) => Math.exp(-energy(s)))
  const total = weights.reduce((a, b) => a + b, 0)
  return weights.map((w) => w / total)
}

function isingCodes(x: HostTensor): number[] {
  return Array.from({ length: x.shape[0] as number }, (_, r) =>
    field.reduce((code, _, i) => 2 * code + (x.data[r * field.length + i] as number), 0),
  )
}

function pottsCodes(x: HostTensor): number[] {
  const colour = (r: number, i: number) =>
    Array.from(x.data.subarray((r * SITES + i) * COLOURS, (r * SITES + i + 1) * COLOURS)).indexOf(1)
  return Array.from({ length: x.shape[0] as number }, (_, r) =>
    Array.from({ length: SITES }, (_, i) => colour(r, i)).reduce((code, c) => COLOURS * code + c, 0),
  )
}

/** χ² of counts against the exact probabilities, in standard deviations above its mean (the number of states less one). */
function excess(codes: readonly number[], p: readonly number[]): number {
  const counts = p.map(() => 0)
  for (const c of codes) counts[c] = (counts[c] as number) + 1
  const chi = p.reduce((sum, q, i) => sum + ((counts[i] as number) - codes.length * q) ** 2 / (codes.length * q), 0)
  return (chi - (p.length - 1)) / Math.sqrt(2 * (p.length - 1))
}

function totalVariation(codes: readonly number[], p: readonly number[]): number {
  return p.reduce((sum, q, i) => sum + Math.abs(codes.filter((c) => c === i).length / codes.length - q) / 2, 0)
}

async function run(options: Omit<GibbsWithGradientsOptions, 'kind'>, steps: number, seed = 1) {
  const binary = options.form !== 'oneHot'
  const target = binary ? energyTarget(ising, { shape: [5] }) : energyTarget(potts, { shape: [SITES, COLOURS] })
  const sampler: SamplerOptions = { kind: 'gibbsWithGradients', ...options }
  const chains = await Chains.start(target, { chains: CHAINS, sampler, seed })
  const info = await chains.advance(steps)
  const x = await chains.read()
  chains.dispose()
  return { x, info }
}

describe('binary x', () => {
  const p = exact(5, 2, isingEnergy)
  const cases = [
    [1, 60, 1],
    [2, 50, 1],
    [3, 60, 2],
  ] as const

  test.each(cases)('%i flips a step reach the distribution of an Ising model', async (flips, steps, seed) => {
    const { x, info } = await run({ flips }, steps, seed)
    const codes = isingCodes(x)
    expect(codes.every((c) => Number.isInteger(c) && c >= 0 && c < 32)).toBe(true)
    expect(Math.abs(excess(codes, p))).toBeLessThan(4)
    // The mean of |counts - np| over 32 states of 3000 draws gives a total variation of about 0.03.
    expect(totalVariation(codes, p)).toBeLessThan(0.05)
    expect(info.acceptance).toBeGreaterThan(0.2)
    expect(info.acceptance).toBeLessThan(1)
    expect(info.divergences).toBe(0)
  })

  test('begins with fair coins, which are far from the target: the test above can fail', async () => {
    const { x } = await run({}, 0)
    expect(excess(isingCodes(x), p)).toBeGreaterThan(50)
  })

  test('chains started at exact draws stay there', async () => {
    const cumulative = p.map((_, i) => p.slice(0, i + 1).reduce((a, b) => a + b, 0))
    const states = Array.from({ length: CHAINS }, (_, r) => cumulative.findIndex((c) => (r + 0.5) / CHAINS < c))
    const data = Float32Array.from(states.flatMap((code) => field.map((_, i) => (code >> (4 - i)) & 1)))
    const start = { dtype: 'float32', shape: [CHAINS, 5], data } as const
    const chains = await Chains.start(energyTarget(ising), { start, sampler: { kind: 'gibbsWithGradients', flips: 2 } })
    for (const steps of [1, 2, 7]) {
      await chains.advance(steps)
      expect(Math.abs(excess(isingCodes(await chains.read()), p))).toBeLessThan(4)
    }
    chains.dispose()
  })
})

describe('one-hot x', () => {
  const p = exact(SITES, COLOURS, pottsEnergy)

  test.each([1, 2])('%i changes a step reach the distribution of a Potts model', async (flips) => {
    const { x, info } = await run({ form: 'oneHot', flips }, 50, 3)
    const codes = pottsCodes(x)
    expect(codes.every((c) => c >= 0)).toBe(true)
    expect(Math.abs(excess(codes, p))).toBeLessThan(4)
    expect(info.acceptance).toBeGreaterThan(0.1)
    expect(info.acceptance).toBeLessThan(1)
  })
})

describe('options', () => {
  test('impossible ones are refused', async () => {
    const start = (sampler: object, shape = [5]) =>
      Chains.start(
        energyTarget((x) => x.sum(-1), { shape }),
        { sampler: sampler as SamplerOptions },
      )
    await expect(start({ kind: 'gibbsWithGradient' })).rejects.toThrow(/Did you mean 'gibbsWithGradients'/)
    await expect(start({ kind: 'gibbsWithGradients', form: 'onehot' })).rejects.toThrow(/Did you mean 'oneHot'/)
    await expect(start({ kind: 'gibbsWithGradients', flips: 0 })).rejects.toThrow(RangeError)
    await expect(start({ kind: 'gibbsWithGradients', form: 'oneHot' })).rejects.toThrow(
      /needs x \[n, ..., categories\]/,
    )
  })
})
