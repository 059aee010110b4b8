import { afterEach, describe, expect, it, vi } from 'vitest'
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
      ['workload', 'contender', 'ms', 'min', 'max', 'n'],
      'profile',
      ['workload', 'contender', 'ms', 'min', 'max', 'n'],
      'profile',
    ])
    expect(rows.map((r) => r.workload)).toEqual(['dsm_mlp', 'dsm_mlp', 'nce_mlp', 'nce_mlp'])
  })

  it('prints a table for people', async () => {
    const text = await output('--only', 'dsm_mlp', '--profile', ...quick)
    expect(text).toMatch(/^workload +ms a step +min +max\ndsm_mlp +\d/)
    expect(text).toMatch(/gradient: .*\d+ matmul.*; \d+ reorders; arena \d/)
  })

  it('refuses wrong values', async () => {
    await expect(output('--seconds', 'fast')).rejects.toThrow(/--seconds.*fast/)
    await expect(output('--repeats', '0')).rejects.toThrow(/--repeats/)
    await expect(output('--only', 'dsm')).rejects.toThrow(/dsm/)
  })
})
