import { afterEach, describe, expect, it, vi } from 'vitest'
import type { Ceilings } from '../../lib/bench/ceilings.ts'
import type { BenchProfile } from '../../lib/bench/measure.ts'
import { benchCommand } from '../../lib/cli/bench.ts'
import { runCommand } from '../../lib/cli/command.ts'

/** What the command writes to standard output. */
async function output(...args: string[]): Promise<string> {
  const lines: string[] = []
  vi.spyOn(process.stdout, 'write').mockImplementation((text) => {
    lines.push(String(text))
    return true
  })
  try {
    await runCommand(benchCommand, args, new AbortController().signal)
  } finally {
    vi.restoreAllMocks()
  }
  return lines.join('')
}

afterEach(() => {
  vi.restoreAllMocks()
})

describe('langevin bench', () => {
  const quick = ['--repeats', '1', '--seconds', '0.01']

  it("prints the peers' JSON lines, and profiles when asked", async () => {
    const lines = (await output('--json', '--only', 'dsm_mlp,nce_mlp', '--profile', ...quick)).trim().split('\n')
    const rows = lines.map((l) => JSON.parse(l) as Record<string, unknown>)
    expect(rows.map((r) => r.event ?? Object.keys(r))).toEqual([
      'ceilings',
      ['workload', 'contender', 'ms', 'min', 'max', 'n', 'peakDeviceBytes'],
      'profile',
      ['workload', 'contender', 'ms', 'min', 'max', 'n', 'peakDeviceBytes'],
      'profile',
    ])
    expect(rows.map((r) => r.workload)).toEqual([undefined, 'dsm_mlp', 'dsm_mlp', 'nce_mlp', 'nce_mlp'])
    const [{ operations, bytes }, , { stages }] = rows as unknown as [Ceilings, unknown, BenchProfile]
    expect(Math.min(operations, bytes)).toBeGreaterThan(1e8)
    const gradient = stages.find((s) => s.stage === 'gradient')?.steps ?? []
    const product = gradient.find((k) =>
      k.text.includes('float32[256,128] = matmul(float32[256,128], float32[128,128])'),
    )
    expect(product).toMatchObject({
      op: 'matmul',
      runs: 1,
      operations: 2 * 256 * 128 * 128,
      bytes: 4 * (2 * 256 * 128 + 128 * 128),
    })
    expect(product?.ms).toBeGreaterThan(0)
  })

  it('prints a table for people', async () => {
    const text = await output('--only', 'dsm_mlp', '--profile', ...quick)
    expect(text).toMatch(/^ceilings here and now: [\d.e+]+ GFLOP\/s .*\nworkload +ms a step +min +max\ndsm_mlp +\d/)
    expect(text).toMatch(/\d+\.\d% .* all matmul\n/)
    expect(text).toMatch(/gradient: .*\d+ matmul.*; \d+ reorders; arena \d/)
  })

  it('refuses wrong values', async () => {
    await expect(output('--seconds', 'fast')).rejects.toThrow(/--seconds.*fast/)
    await expect(output('--repeats', '0')).rejects.toThrow(/--repeats/)
    await expect(output('--only', 'dsm')).rejects.toThrow(/dsm/)
  })
})
