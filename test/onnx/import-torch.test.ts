/** Classifiers as PyTorch exports them (test/golden/imported.py): logits and scores against PyTorch's, at the file's own batch and at others. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import type { HostTensor } from '../../lib/graph/host-tensor.ts'
import type { Tensor } from '../../lib/graph/tensor.ts'
import { buildNetwork } from '../../lib/nn/networks.ts'
import { Variables } from '../../lib/nn/variables.ts'
import { exportOnnx } from '../../lib/onnx/export-model.ts'
import { importOnnx } from '../../lib/onnx/import.ts'
import { input } from '../../lib/ops/source.ts'
import { pattern, relativeError } from '../golden/pattern.ts'
import { evaluate, runOnnx } from './helpers.ts'

const folder = join(import.meta.dirname, '../golden')
interface Array {
  readonly shape: readonly number[]
  readonly data: readonly number[]
}
const golden = JSON.parse(readFileSync(join(folder, 'imported.json'), 'utf8')) as Record<
  'resnet' | 'transformer',
  { readonly logits: Array; readonly score: Array; readonly parameters: number }
>

const files = [
  ['resnet', 'resnet'],
  ['resnet-folded-fixed', 'resnet'],
  ['resnet-new', 'resnet'],
  ['transformer', 'transformer'],
  ['transformer-fixed', 'transformer'],
  ['transformer-new', 'transformer'],
] as const

const x = pattern([4, 3, 12, 12], 77, 1)

describe.each(files)('%s', (name, network) => {
  const path = join(folder, `imported-${name}.onnx`)

  it("has PyTorch's logits and scores", async () => {
    const model = await importOnnx(path)
    expect(model.network.shape).toEqual([3, 12, 12])
    expect(model.network.classes).toBe(5)
    const want = golden[network]
    for (const batch of [4, 3, 1]) {
      const logits = await model.logits(x, { batch })
      expect(logits.shape).toEqual(want.logits.shape)
      expect(relativeError(logits.data, want.logits.data), `batch ${batch}`).toBeLessThan(2e-5)
      const score = await model.score(x, { batch })
      expect(relativeError(score.data, want.score.data), `batch ${batch}`).toBeLessThan(1e-4)
    }
    await model.dispose()
  })

  it('is rebuilt from its config, with features before the head', async () => {
    const model = await importOnnx(path)
    const config = JSON.parse(JSON.stringify(model.network.config)) as typeof model.network.config
    const again = buildNetwork(config)
    expect(again.variables).toEqual(model.network.variables)
    expect(again.stages.map((s) => [s.layer.kind, s.layer.affine])).toEqual(
      model.network.stages.map((s) => [s.layer.kind, s.layer.affine]),
    )
    expect(model.network.firstStagesAffine(1)).toBe(true)
    expect(model.network.stages.length).toBeGreaterThan(5)
    expect(model.network.stages.at(-1)?.layer.kind).toBe('linear')
    expect(model.network.hasFeatures).toBe(true)
  })
})

describe('cut anywhere', () => {
  it.each(['resnet-folded-fixed', 'transformer', 'transformer-fixed'])('%s is the same in two parts', async (name) => {
    const { network } = await importOnnx(join(folder, `imported-${name}.onnx`))
    const given = new Map<Tensor, HostTensor>()
    const variables = new Variables((v) => {
      const t = input(v.name, v.shape)
      given.set(t, pattern(v.shape, 3, 0.3, v.role === 'statistic' ? 1 : 0))
      return t
    })
    const pass = { variables, norm: 'running' } as const
    const t = input('x', [3, 3, 12, 12])
    given.set(t, pattern(t.shape, 4))
    const cut = (k: number) => network.forward(network.forward(t, pass, 0, k), pass, k)
    const places = [1, 2, network.stages.length >> 1, network.stages.length - 1]
    const [whole, ...parts] = evaluate([network.forward(t, pass), ...places.map(cut)], given)
    for (const part of parts) expect(part).toEqual(whole)
    expect(whole?.shape).toEqual([3, 5])
  })
})

describe('out again', () => {
  it.each(files.map(([name]) => name))('%s agrees with ONNX Runtime at batches 1 and 7', async (name) => {
    const model = await importOnnx(join(folder, `imported-${name}.onnx`))
    const out = mkdtempSync(join(tmpdir(), 'langevin-import-'))
    try {
      const { verification } = await exportOnnx(model, join(out, 'again.onnx'), {
        outputs: ['logits', 'features', 'score'],
      })
      expect(verification?.ok).toBe(true)
      expect(verification?.outputs).toHaveLength(6)
    } finally {
      rmSync(out, { recursive: true, force: true })
    }
  })
})

describe('weights', () => {
  it('keep their names; batch norms have statistics', async () => {
    const { network, parameterCount } = await importOnnx(join(folder, 'imported-resnet.onnx'))
    const names = network.variables.map((v) => v.name)
    expect(names).toEqual(expect.arrayContaining(['stem.0.weight', 'layer2.downsample.1.bias', 'fc.weight', 'fc.bias']))
    const statistics = network.variables.filter((v) => v.role === 'statistic').map((v) => v.name)
    expect(statistics).toHaveLength(12)
    for (const name of statistics) expect(name).toMatch(/running_(mean|var)/)
    expect(parameterCount).toBe(golden.resnet.parameters)
  })

  it('of a transformer are all trained, also the class token and the positions', async () => {
    const { network, parameterCount } = await importOnnx(join(folder, 'imported-transformer.onnx'))
    expect(parameterCount).toBe(golden.transformer.parameters)
    expect(network.variables.every((v) => v.role === 'parameter')).toBe(true)
    expect(network.variables.map((v) => v.name)).toEqual(expect.arrayContaining(['token', 'positions', 'head.bias']))
  })
})

it('the files give the same in ONNX Runtime', async () => {
  const [got] = await runOnnx(join(folder, 'imported-resnet.onnx'), { x })
  expect(relativeError(got?.get('logits')?.data ?? [], golden.resnet.logits.data)).toBeLessThan(2e-5)
})
