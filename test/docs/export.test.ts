/** The scripts of docs/export.md, as they stand, and its tables against the code: outputs, metadata, samplers of a mode. */
import { existsSync, readFileSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { beforeEach, describe, expect, test } from 'vitest'
import { exportCommand } from '../../lib/cli/export.ts'
import { modelOutputs } from '../../lib/nn/outputs.ts'
import { samplerKinds } from '../../lib/samplers/samplers.ts'
import { pageRunner, root } from './pages.ts'

const { place, lines: printed } = pageRunner()
// The page's scripts run ONNX Runtime themselves.
beforeEach(() => symlinkSync(join(root, 'node_modules'), join(place.folder, 'node_modules')))

const page = readFileSync(join(root, 'docs/export.md'), 'utf8')

describe('docs/export.md', () => {
  test('a model is exported, read and run', async () => {
    const [[ok, keys] = [], [energy, dims] = []] = await printed('export', 0)
    expect(ok).toBe(true)
    expect(keys).toEqual(['langevin.version', 'langevin.kind', 'langevin.network', 'langevin.export'])
    expect(energy).toHaveLength(3)
    expect(dims).toEqual([3, 2])
  })

  test('a chain in ONNX Runtime is the native one', async () => {
    const [first, [off] = []] = await printed('export', 1)
    expect(first).toEqual([
      ['y', 'step_size', 'steps', 'seed'],
      ['samples', 'energies', 'acceptance'],
      { steps: 200, step_size: 0.02 },
    ])
    expect(off).toBeLessThan(1e-4)
  })

  test('a run leaves as files, a bundle and a model repository', async () => {
    const [, chain, bundle, models] = await printed('export', 2)
    expect(chain).toEqual(['chain', { steps: 30, step_size: 0.2 }, []])
    expect(bundle).toEqual([true, expect.any(Number), 'bundles/tiny/model.onnx'])
    expect(models).toEqual([['tiny', 'tiny_sampler']])
    for (const file of ['model.onnx', 'sampler.onnx', 'bundles/tiny/langevin.json', 'models/tiny/config.pbtxt'])
      expect(existsSync(file), file).toBe(true)
  })

  test('its tables name every output, and samplers and options that exist', () => {
    const rows = page.split('\n').filter((l) => l.startsWith('| '))
    for (const output of modelOutputs) expect(rows.filter((r) => r.startsWith(`| \`${output}\` |`))).toHaveLength(1)
    const noise = rows.find((r) => r.startsWith('| `noise` | 17')) as string
    const kinds: readonly string[] = samplerKinds
    const named = [...noise.matchAll(/`(\w+)`/g)].map((m) => m[1] as string).slice(1)
    expect(named.filter((k) => !kinds.includes(k))).toEqual([])
    expect(named.length).toBe(9)
    const flags = [...page.matchAll(/langevin export [^\n#`]*|`--([a-z-]+)/g)].flatMap((m) =>
      [...m[0].matchAll(/--([a-z-]+)/g)].map((f) => f[1] as string),
    )
    expect(flags.filter((f) => !(f in exportCommand.options))).toEqual([])
  })
})
