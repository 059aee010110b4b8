import { afterEach, describe, expect, it } from 'vitest'
import { measure } from '../../lib/bench/measure.ts'
import { type Prepared, prepare } from '../../lib/bench/prepare.ts'
import { type JemWorkload, loadWorkloads, type Workload } from '../../lib/bench/workloads.ts'
import type { HostTensor } from '../../lib/graph/host-tensor.ts'
import { testDevice } from '../device.ts'

const table = loadWorkloads()
const row = (name: string): Workload => table.get(name) as Workload

/** Every row as it is, save that the two wide residual networks are made small: the same graph, less work. */
const rows: [string, Workload][] = [...table].map(([name, w]) => {
  if (w.net !== 'wrn') return [name, 'steps' in w ? { ...w, steps: 3 } : w]
  const small: JemWorkload = { ...w, depth: 10, width: name === 'jempp_wrn28_10' ? 2 : 1, batch: 4 }
  return [name, small]
})

let prepared: Prepared | undefined
afterEach(() => {
  prepared?.dispose()
  prepared = undefined
})

const metric = (metrics: Float32Array, p: Prepared, name: string): number[] => {
  const at = p.metrics.indexOf(name)
  return [...metrics].filter((_, i) => i % p.metrics.length === at)
}

describe('prepare', () => {
  it.each(rows)('%s: two calls, all numbers finite', async (name, w) => {
    prepared = await prepare(name, w, testDevice)
    const result = await prepared.program.run(2)
    expect(result.guard).toBeNull()
    expect(result.completed).toBe(2)
    expect(result.metrics.length).toBe(2 * prepared.metrics.length)
    expect(result.metrics.every(Number.isFinite)).toBe(true)
  })

  it.each(rows.filter(([n]) => !n.startsWith('langevin')))(
    '%s: every parameter moves, reset brings it back',
    async (name, w) => {
      prepared = await prepare(name, w, testDevice)
      const { state } = prepared
      const before = await state.read()
      await prepared.program.run(2)
      const after = await state.read()
      // A bias before a batch norm has no gradient but rounding, and SGD's decay still moves it; Adam moves whatever has a gradient.
      const still = [...before.keys()].filter((n) => !n.includes('/') && same(before, after, n))
      expect(still).toEqual(name.startsWith('nce') ? [] : withoutEffect(name))
      await prepared.reset()
      const again = await state.read()
      expect([...before.keys()].filter((n) => !same(before, again, n))).toEqual([])
    },
  )

  it.each(rows.filter(([n]) => n.startsWith('langevin')))(
    '%s: chains move with fresh noise from the same start',
    async (name, w) => {
      prepared = await prepare(name, w, testDevice)
      const { state, program } = prepared
      const start = (await state.get('start').read()).data
      await program.run(1)
      const first = (await state.get('x').read()).data
      await program.run(1)
      const second = (await state.get('x').read()).data
      expect(first).not.toEqual(start)
      expect(second).not.toEqual(first)
      expect((await state.get('start').read()).data).toEqual(start)
      const key = (await state.get('key').read()).data
      expect(key[2]).toBe(2 * prepared.units)
    },
  )

  it('noise of the chain has the asked size', async () => {
    const w = { ...row('langevin_mlp'), steps: 1, step_size: 0, chains: 4096 }
    prepared = await prepare('langevin_mlp', w, testDevice)
    await prepared.program.run(1)
    const x = (await prepared.state.get('x').read()).data as Float32Array
    const x0 = (await prepared.state.get('start').read()).data as Float32Array
    const sd = Math.sqrt(x.reduce((s, v, i) => s + (v - (x0[i] as number)) ** 2, 0) / x.length)
    // 8192 draws: the standard error of the deviation is 0.8%; four of them.
    expect(Math.abs(sd - 0.1)).toBeLessThan(0.1 * 4 * 0.0079)
  })

  // The data is 256 draws of N(0, I) in two dimensions, so the losses of the true density are known: dsm with σ = 1 ½·2·(1 - ½) = 0.5, nce
  // against the same density 2 ln 2, ssm -½·2 = -1. A network may fit these very draws better than that; ssm falls without bound on them.
  it.each([
    ['dsm_mlp', 300, 0.35, 0.6],
    ['nce_mlp', 300, 1.3, 1.45],
    ['ssm_mlp', 100, -5, -0.5],
  ] as const)('%s: the loss goes where it should', async (name, steps, low, high) => {
    prepared = await prepare(
      name,
      { ...row(name), lr: 0.005, ...(name === 'dsm_mlp' ? { sigma: 1 } : {}) } as Workload,
      testDevice,
    )
    const { metrics } = await prepared.program.run(steps)
    const loss = metric(metrics, prepared, 'loss')
    const mean = (v: number[]) => v.reduce((a, b) => a + b, 0) / v.length
    expect(Math.abs(mean(loss.slice(0, 3)) - mean(loss.slice(-20)))).toBeGreaterThan(0.05)
    expect(mean(loss.slice(-20))).toBeGreaterThan(low)
    expect(mean(loss.slice(-20))).toBeLessThan(high)
  })

  it('refuses names and tables that mean nothing', async () => {
    await expect(async () => prepare('exact_mlp', row('dsm_mlp'), testDevice)).rejects.toThrow(/exact_mlp/)
    const { sigma: _, ...without } = row('dsm_mlp') as { sigma: number } & Workload
    await expect(async () => prepare('dsm_mlp', without as Workload, testDevice)).rejects.toThrow(/sigma/)
  })
})

/** Energies are known up to a constant, so a score has no gradient for the last bias; nor has a difference of mean energies. */
function withoutEffect(name: string): string[] {
  if (name === 'dsm_conv') return ['head.bias']
  return name.endsWith('_mlp') ? ['4.bias'] : []
}

function same(a: ReadonlyMap<string, HostTensor>, b: ReadonlyMap<string, HostTensor>, name: string): boolean {
  const [x, y] = [a.get(name)?.data, b.get(name)?.data]
  return x !== undefined && y !== undefined && x.every((v, i) => v === y[i])
}

describe('measure', () => {
  it('gives the row and the profile', async () => {
    prepared = await prepare('dsm_mlp', row('dsm_mlp'), testDevice)
    const { row: timing, profile } = await measure(prepared, { repeats: 3, seconds: 0.02 })
    expect(timing).toMatchObject({ workload: 'dsm_mlp', n: 3 })
    expect(timing.contender).toMatch(/^langevin-\d+\.\d+\.\d+-cpu-\d+threads$/)
    expect(timing.min).toBeGreaterThan(0)
    expect(timing.min).toBeLessThanOrEqual(timing.ms)
    expect(timing.ms).toBeLessThanOrEqual(timing.max)
    expect(profile.nativeMs).toBeGreaterThan(0)
    expect(profile.stages.map((s) => s.stage)).toEqual(['draw', 'gradient', 'update'])
    expect(profile.kernels).toBe(profile.stages.flatMap((s) => Object.values(s.kernels)).reduce((a, b) => a + b, 0))
  })

  it('refuses impossible options', async () => {
    prepared = await prepare('dsm_mlp', row('dsm_mlp'), testDevice)
    await expect(measure(prepared, { repeats: 0 })).rejects.toThrow(RangeError)
    await expect(measure(prepared, { seconds: Number.NaN })).rejects.toThrow(RangeError)
  })

  it('says so when the numbers blow up', async () => {
    prepared = await prepare('pcd_mlp', { ...row('pcd_mlp'), lr: 1e30 } as Workload, testDevice)
    await expect(measure(prepared, { repeats: 1, seconds: 0.01 })).rejects.toMatchObject({ code: 'E_DIVERGED' })
  })

  it('stops when asked', async () => {
    prepared = await prepare('dsm_mlp', row('dsm_mlp'), testDevice)
    await expect(measure(prepared, { signal: AbortSignal.abort() })).rejects.toMatchObject({ code: 'E_CANCELLED' })
  })
})
