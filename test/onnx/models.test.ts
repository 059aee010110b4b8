/**
 * Models of lib/nn as `exportOnnx` writes them (without its own check, which needs the native addon): every norm and activation, energies of one's
 * own; the file is run in ONNX Runtime at two batches and compared with the float64 references of the model's graphs.
 */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { HostTensor } from '../../lib/graph/host-tensor.ts'
import type { Tensor } from '../../lib/graph/tensor.ts'
import { activationNames } from '../../lib/nn/layer.ts'
import type { Model, ModelOutput } from '../../lib/nn/model.ts'
import { convEnergy, defineEnergy, mlp, wideResNet } from '../../lib/nn/models.ts'
import { normNames } from '../../lib/nn/norms.ts'
import { Variables } from '../../lib/nn/variables.ts'
import { exportOnnx } from '../../lib/onnx/export-model.ts'
import { compareOutputs } from '../../lib/onnx/verify.ts'
import { input } from '../../lib/ops/source.ts'
import { checkWithPython, evaluate, opTypes, parse, python, runOnnx, waves } from './helpers.ts'

const image = [2, 8, 6] as const
const models: Record<string, () => Model> = {
  'a ring, without parameters': () =>
    defineEnergy({ shape: [2] }, (x) => x.square().sum(-1).sqrt().sub(2).square().mul(8)),
  ...Object.fromEntries(
    activationNames.map((activation) => [
      `mlp with ${activation}`,
      () => mlp({ inputs: 3, hidden: [8, 8], activation }),
    ]),
  ),
  'mlp with classes': () => mlp({ inputs: 3, hidden: [8], classes: 4 }),
  ...Object.fromEntries(
    normNames.map((norm) => [
      `convEnergy with norm ${norm}`,
      () => convEnergy({ shape: image, channels: [4, 8], norm, classes: norm === 'none' ? 0 : 3 }),
    ]),
  ),
  'wideResNet 10-1': () => wideResNet({ depth: 10, width: 1, channels: 2, size: [8, 6], classes: 3 }),
}

/** The model's outputs in float64. */
function truth(model: Model, outputs: readonly ModelOutput[], x: HostTensor): HostTensor[] {
  const given = new Map<Tensor, HostTensor>()
  const tensor = input('x', x.shape)
  given.set(tensor, x)
  const variables = new Variables((v) => {
    const t = input(v.name, v.shape)
    given.set(t, model.value(v.name))
    return t
  })
  return evaluate(
    outputs.map((o) => model.graph(o, tensor, variables)),
    given,
  )
}

let folder = ''
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'langevin-models-'))
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

describe('exported models', () => {
  for (const [name, make] of Object.entries(models)) {
    it(name, async () => {
      const model = make()
      const path = join(folder, `${name.replaceAll(' ', '-')}.onnx`)
      const outputs: ModelOutput[] = ['log_prob_unnormalized', 'energy', 'score']
      if (model.network.classes > 0) outputs.unshift('logits')
      expect((await exportOnnx(model, path, { verify: false })).outputs).toEqual(outputs)
      const feeds = [1, 3].map((b) => waves([b, ...model.network.shape], b))
      const results = await runOnnx(path, ...feeds.map((x) => ({ x })))
      feeds.forEach((x, i) => {
        for (const [k, want] of truth(model, outputs, x).entries()) {
          const got = results[i]?.get(outputs[k] as string) as HostTensor
          expect(got.shape).toEqual(want.shape)
          expect(compareOutputs(got, want).maxRel, outputs[k] as string).toBeLessThan(1e-5)
        }
      })
    })
  }

  it.skipIf(python === undefined)('pass the full ONNX checker', async () => {
    const files: Uint8Array[] = []
    for (const [i, make] of Object.values(models).entries()) {
      const path = join(folder, `check-${i}.onnx`)
      await exportOnnx(make(), path, { verify: false, opset: 17 + (i % 5) })
      files.push(readFileSync(path))
    }
    checkWithPython(files)
  })

  it('name nodes after modules and gradients after what they are of', async () => {
    const path = join(folder, 'names.onnx')
    await exportOnnx(wideResNet({ depth: 10, width: 1, channels: 1, size: 8 }), path, { verify: false })
    const nodes = parse(readFileSync(path)).graph?.node ?? []
    const names = nodes.map((n) => n.name)
    for (const name of ['stem/conv2d', 'blocks.2.bn1/leaky_relu', 'blocks.1.short/conv2d/grad', 'head/logsumexp'])
      expect(names).toContain(name)
    // Whatever is only on the way to the score says so; elsewhere nothing does.
    const first = names.findIndex((n) => n.includes('/grad'))
    expect(names.slice(first).filter((n) => !/grad(_\d+)?(\/\w+)?$|^batch_size$|^shape/.test(n))).toEqual([])
    const bare = names.filter((n) => !/[./]/.test(n))
    expect(bare.length).toBeLessThan(names.length / 20)
  })

  it('run the forward pass once for all outputs', async () => {
    const path = join(folder, 'once.onnx')
    await exportOnnx(wideResNet({ depth: 10, width: 1, size: 8 }), path, { verify: false })
    const types = opTypes(readFileSync(path))
    // Stem, three blocks of two convolutions, three shortcuts at most; as many transposed for the score.
    const forward = types.filter((t) => t === 'Conv').length
    expect(forward).toBeLessThanOrEqual(10)
    expect(types.filter((t) => t === 'ConvTranspose')).toHaveLength(forward)
  })
})
