/** The measuring scripts of the repository run, briefly, and say what is wrong with their options. Their figures are not judged here. */
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { beforeAll, describe, expect, test } from 'vitest'
import { buildDist } from '../dist.ts'

const root = fileURLToPath(new URL('../../', import.meta.url))

function run(script: string, ...args: string[]) {
  return spawnSync(process.execPath, [join(root, 'scripts', script), ...args], { encoding: 'utf8' })
}

beforeAll(buildDist, 120_000)

describe('measuring scripts', () => {
  test('scaling.mjs: a curve with its fit, and threads', () => {
    const { status, stdout, stderr } = run(
      'scaling.mjs',
      '--only',
      'images,langevin_mlp',
      '--rounds',
      '1',
      '--seconds',
      '0.01',
    )
    expect(status, stderr).toBe(0)
    expect(stdout).toMatch(/\| 128 \| [\d.]+ \|/)
    expect(stdout).toMatch(/Slope in log-log/)
    expect(stdout).toMatch(/\| langevin_mlp \| [\d.]+ \| [\d.]+ \| [\d.]+x/)
  })

  test('winograd-error.mjs: a row a direction', () => {
    const { status, stdout, stderr } = run('winograd-error.mjs', '--only', '32 x 64x64', '--samples', '50')
    expect(status, stderr).toBe(0)
    const rows = stdout.split('\n').filter((l) => l.startsWith('| 32 x 64x64'))
    expect(rows.map((r) => r.split(' | ')[1])).toEqual(['forward', 'input gradient', 'weight gradient'])
    for (const row of rows) expect(Number(/(\d\.\de-\d), /.exec(row)?.[1])).toBeLessThan(1e-5)
  })

  test.each(['scaling.mjs', 'winograd-error.mjs', 'bench-peers.mjs'])('%s: options', (script) => {
    const [wrong, none, help] = [run(script, '--sped', '3'), run(script, '--threads', '0'), run(script, '--help')]
    expect([wrong.status, none.status, help.status]).toEqual([2, 2, 0])
    expect(wrong.stderr).toContain("Unknown option '--sped'")
    expect(none.stderr).toContain("--threads takes a positive integer; got '0'")
    expect(help.stdout).toMatch(/^usage: node scripts/)
  })
})
