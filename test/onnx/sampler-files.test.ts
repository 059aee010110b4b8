/** What stands in a sampler's file: parameters once, the loop's body without what never changes, every opset, half precision, metadata. */
import { readdir, readFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { describe, expect, it } from 'vitest'
import type { Model } from '../../lib/nn/model.ts'
import { mlp as mlpModel, wideResNet } from '../../lib/nn/models.ts'
import { type ExportSamplerOptions, exportSampler } from '../../lib/onnx/export-sampler.ts'
import type { GraphProto } from '../../lib/onnx/gen/onnx_pb.ts'
import { readOnnxMetadata } from '../../lib/onnx/metadata.ts'
import { checkWithPython, parse, python } from './helpers.ts'
import { gaussianStart, mlp, scratch } from './samplers.ts'

interface File {
  readonly bytes: Uint8Array
  readonly graph: GraphProto
  readonly body: GraphProto
  readonly path: string
}

async function fileOf(model: Model, options: ExportSamplerOptions): Promise<File> {
  const path = join(await scratch(), 'sampler.onnx')
  await exportSampler(model, path, options)
  const bytes = await readFile(path)
  const graph = parse(bytes).graph as GraphProto
  const body = graph.node.find((n) => n.opType === 'Loop')?.attribute[0]?.g as GraphProto
  return { bytes, graph, body, path }
}

const types = (g: GraphProto): string[] => g.node.map((n) => n.opType)
const quick = { verify: false } as const

describe('a file', () => {
  it('holds each parameter once, outside, and computes once what depends on parameters alone', async () => {
    const model = mlpModel({ inputs: 3, hidden: [8, 8], spectralNorm: true, seed: 1 })
    const { graph, body } = await fileOf(model, { ...quick, sampler: { kind: 'sgld', noise: 0 } })
    expect(body.initializer).toEqual([])
    const weights = graph.initializer.map((t) => t.name).filter((n) => n.endsWith('weight'))
    expect(new Set(weights).size).toBe(weights.length)
    expect(weights.sort()).toEqual(
      model.network.variables
        .map((v) => v.name)
        .filter((n) => n.endsWith('weight'))
        .sort(),
    )
    // Forward through two layers and back; the last one's gradient is the same for every x. No quotient by a spectral norm is among them.
    expect(types(body).filter((t) => t === 'MatMul')).toHaveLength(4)
    const outside = new Set(graph.node.flatMap((n) => n.output))
    const read = body.node.filter((n) => n.opType === 'MatMul').flatMap((n) => n.input)
    expect(read.filter((n) => outside.has(n)).length).toBeGreaterThanOrEqual(4)
    expect(types(graph)).toContain('Div')
    expect(types(body)).not.toContain('Div')
    await model.dispose()
  })

  it('folds batch norms outside and names nodes after modules', async () => {
    const model = wideResNet({ depth: 10, width: 1, size: [8, 8], channels: 1, classes: 3, norm: 'batch', seed: 4 })
    const { graph, body } = await fileOf(model, { ...quick, sampler: { kind: 'pyld' } })
    expect(types(body)).not.toContain('Sqrt')
    expect(types(graph).filter((t) => t === 'Sqrt').length).toBeGreaterThan(0)
    expect(body.node.some((n) => n.name.startsWith('blocks.0.conv1/'))).toBe(true)
    // PYLD without noise: no random numbers, no key, one fused update.
    expect(body.input.map((i) => i.name)).toHaveLength(3)
    expect(types(body)).not.toContain('BitShift')
    await model.dispose()
  })

  it('carries only what the outputs need', async () => {
    const model = mlp(2)
    const names = async (options: ExportSamplerOptions) =>
      (await fileOf(model, { ...quick, ...options })).body.input.slice(2).map((i) => i.name)
    expect(await names({ sampler: { kind: 'mala' } })).toEqual(['x', 'energy', 'score', 'key', 'acceptances'])
    expect(await names({ sampler: { kind: 'mala' }, random: 'runtime' })).toEqual([
      'x',
      'energy',
      'score',
      'acceptances',
    ])
    expect(await names({ sampler: { kind: 'ula' } })).toEqual(['x', 'key'])
    await model.dispose()
  })

  it('says what it is', async () => {
    const model = mlp(2)
    const start = gaussianStart(model, 2)
    const path = join(await scratch(), 'sampler.onnx')
    const sampler = { kind: 'pyld', outer: 7, noise: 0.25, stepSize: 0.5 } as const
    await exportSampler(model, path, {
      ...quick,
      sampler,
      start,
      class: 'input',
      metadata: { 'langevin.method': 'jempp' },
    })
    const metadata = await readOnnxMetadata(path)
    expect(metadata['langevin.kind']).toBe('sampler')
    expect(metadata['langevin.method']).toBe('jempp')
    expect(JSON.parse(metadata['langevin.network'] as string)).toEqual(JSON.parse(JSON.stringify(model.network.config)))
    expect(JSON.parse(metadata['langevin.export'] as string)).toEqual({
      sampler: { ...sampler, inner: 5, gradientClamp: 1, bounds: [-1, 1], firstStage: 1, fuse: true },
      start: { options: { kind: 'classGaussians' }, classes: 2, bounded: false },
      random: 'seed',
      class: 'input',
      norm: 'running',
      sigma: null,
      temperature: 1,
      trajectory: false,
      opset: 18,
      precision: 'float32',
      inputs: ['y', 'step_size', 'noise_scale', 'steps', 'seed'],
      outputs: ['samples', 'energies'],
      defaults: { steps: 70, step_size: 0.5, noise_scale: 0.25 },
    })
    await model.dispose()
  })

  it('may keep its weights in a file of their own', async () => {
    const model = mlpModel({ inputs: 3, hidden: [32, 32], seed: 1 })
    const { graph, path } = await fileOf(model, { sampler: { kind: 'pyld' }, externalData: true })
    expect(graph.initializer.filter((t) => t.dataLocation === 1).map((t) => t.name)).toEqual(['2.weight'])
    expect(await readdir(dirname(path))).toHaveLength(2)
    await model.dispose()
  })

  it('of float16 agrees as far as half precision goes, its weights in half', async () => {
    const model = wideResNet({ depth: 10, width: 1, size: [8, 8], channels: 1, classes: 3, seed: 4 })
    const sampler = { kind: 'sgld', stepSize: 0.5, noise: 0.05 } as const
    const { graph, body } = await fileOf(model, { sampler, precision: 'float16' })
    expect(graph.initializer.find((t) => t.name.includes('conv1.weight'))?.dataType).toBe(10)
    const x = body.input[2]?.type?.value
    expect(x?.case === 'tensorType' && x.value.elemType).toBe(1)
    await model.dispose()
  })
})

describe('every opset', () => {
  const model = mlp(2)
  const files: Uint8Array[] = []
  for (const opset of [17, 18, 19, 20, 21]) {
    it(`agrees with the native chain at ${opset}`, async () => {
      const modes = opset === 17 ? (['noise', 'runtime'] as const) : (['seed', 'noise', 'runtime'] as const)
      for (const random of modes) {
        const file = await fileOf(model, { sampler: { kind: 'sgld', stepSize: 0.2, noise: 0.1 }, random, opset })
        expect(parse(file.bytes).opsetImport[0]?.version).toBe(BigInt(opset))
        files.push(file.bytes)
      }
    })
  }

  it.skipIf(python === undefined)('passes the full ONNX checker, and so does every form of state', async () => {
    // int32, float scalars and vectors, stacks of momenta; conditions and trip counts.
    const samplers = [
      { kind: 'nuts', maxDepth: 3 },
      { kind: 'annealedLangevin', sigmas: { largest: 1, smallest: 0.1, levels: 3 } },
      { kind: 'parallelTempering', temperatures: [1, 2] },
    ] as const
    for (const sampler of samplers) files.push((await fileOf(model, { ...quick, sampler })).bytes)
    const start = gaussianStart(model, 2)
    files.push((await fileOf(model, { ...quick, sampler: { kind: 'hmc' }, start, trajectory: true })).bytes)
    expect(files.length).toBeGreaterThanOrEqual(18)
    checkWithPython(files)
  })
})
