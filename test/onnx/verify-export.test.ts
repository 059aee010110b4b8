/** `verifyExport`: the file alone says what to compare; other weights, networks and kinds are told apart; outputs are chosen and refused by name. */
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { create, fromBinary, toBinary } from '@bufbuild/protobuf'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { hostTensor } from '../../lib/graph/host-tensor.ts'
import { FlowModel } from '../../lib/nn/flow-model.ts'
import { affineCouplingFlow } from '../../lib/nn/flows.ts'
import { mlpGenerator } from '../../lib/nn/generator.ts'
import { GeneratorModel } from '../../lib/nn/generator-model.ts'
import type { ModelOutput } from '../../lib/nn/model.ts'
import { mlp } from '../../lib/nn/models.ts'
import { exportOnnx } from '../../lib/onnx/export-model.ts'
import { exportSampler } from '../../lib/onnx/export-sampler.ts'
import { ModelProtoSchema } from '../../lib/onnx/gen/onnx_pb.ts'
import { readOnnxMetadata } from '../../lib/onnx/metadata.ts'
import { verifyExport } from '../../lib/onnx/verify-export.ts'
import { runOnnx, waves } from './helpers.ts'

let folder = ''
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'langevin-verify-'))
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))
const at = (name: string): string => join(folder, name)

const classifier = (seed = 0) => mlp({ inputs: 2, hidden: [6], classes: 3, seed })
const conditioned = () => mlp({ inputs: 2, hidden: [6], sigma: { smallest: 0.1 } })

describe('verifyExport', () => {
  it('rebuilds from the file what it computes: outputs, batches, a level fixed or given', async () => {
    const model = classifier()
    const outputs: ModelOutput[] = ['class_score', 'features']
    await exportOnnx(model, at('some.onnx'), { outputs, verify: false })
    const found = await verifyExport(at('some.onnx'), model, { batches: [4], seed: 1, threads: 1 })
    expect(found.outputs.map((o) => [o.name, o.batch, o.ok])).toEqual([
      ['class_score', 4, true],
      ['features', 4, true],
    ])
    const levels = conditioned()
    for (const sigma of ['input', 0.7, undefined] as const) {
      await exportOnnx(levels, at('level.onnx'), { ...(sigma && { sigma }), verify: false })
      expect((await verifyExport(at('level.onnx'), levels)).ok, String(sigma)).toBe(true)
    }
    await Promise.all([model.dispose(), levels.dispose()])
  })

  it('finds a level that is another, weights that are others, and numbers that were changed', async () => {
    const levels = conditioned()
    await exportOnnx(levels, at('fixed.onnx'), { sigma: 0.7, verify: false })
    const message = fromBinary(ModelProtoSchema, readFileSync(at('fixed.onnx')))
    for (const p of message.metadataProps) p.value = p.value.replace('"sigma":0.7', '"sigma":0.2')
    writeFileSync(at('fixed.onnx'), toBinary(ModelProtoSchema, create(ModelProtoSchema, message)))
    expect((await verifyExport(at('fixed.onnx'), levels)).ok).toBe(false)

    await exportOnnx(classifier(1), at('seed1.onnx'))
    const other = await verifyExport(at('seed1.onnx'), classifier(2))
    expect([other.ok, Math.max(...other.outputs.map((o) => o.maxRel)) > 0.01]).toEqual([false, true])
    const loose = await verifyExport(at('seed1.onnx'), classifier(2), { tolerance: { default: 1e3 } })
    expect(loose.ok).toBe(true)
  })

  it('names the difference between networks, and the kind of a file', async () => {
    await exportOnnx(classifier(), at('m.onnx'), { verify: false })
    const wide = mlp({ inputs: 2, hidden: [9], classes: 3 })
    await expect(verifyExport(at('m.onnx'), wide)).rejects.toMatchObject({
      code: 'E_ONNX',
      message: expect.stringMatching(/of another network: network\.hidden\.0 is 6 in the file and 9 in the model/),
    })
    const reference = mlp({ inputs: 2, hidden: [6], classes: 3, reference: 1 })
    await expect(verifyExport(at('m.onnx'), reference)).rejects.toThrow(
      /network\.reference is absent in the file and 1/,
    )
    const generator = new GeneratorModel(mlpGenerator({ latent: 2, shape: [2] }))
    await expect(verifyExport(at('m.onnx'), generator)).rejects.toThrow(/holds a model, not a generator/)
    await exportOnnx(generator, at('g.onnx'), { verify: false })
    await expect(verifyExport(at('g.onnx'), classifier())).rejects.toThrow(/holds a generator, not a model/)
  })

  it('checks samplers too', async () => {
    const model = classifier()
    await exportSampler(model, at('s.onnx'), { sampler: { kind: 'sgld' }, verify: false })
    const found = await verifyExport(at('s.onnx'), model, { batches: [3] })
    expect([found.ok, found.outputs.some((o) => o.name === 'samples')]).toEqual([true, true])
    expect((await verifyExport(at('s.onnx'), classifier(1), { batches: [3] })).ok).toBe(false)
    await model.dispose()
  })

  it('works with weights outside, and says when they are missing', async () => {
    const model = mlp({ inputs: 32, hidden: [32] })
    const done = await exportOnnx(model, at('out.onnx'), { externalData: true })
    expect(done.verification?.ok).toBe(true)
    expect((await verifyExport(at('out.onnx'), model)).ok).toBe(true)
    const data = readdirSync(folder).filter((f) => f.startsWith('out.onnx.'))
    expect(data).toHaveLength(1)
    rmSync(at(data[0] as string))
    expect(await readOnnxMetadata(at('out.onnx'))).toMatchObject({ 'langevin.kind': 'model' })
    await expect(verifyExport(at('out.onnx'), model)).rejects.toMatchObject({ code: 'E_ONNX' })
    await model.dispose()
  })

  it('stops when it is told to', async () => {
    const model = classifier()
    await exportOnnx(model, at('stop.onnx'), { verify: false })
    await expect(verifyExport(at('stop.onnx'), model, { signal: AbortSignal.abort() })).rejects.toThrow(/abort/i)
    await model.dispose()
  })
})

describe('exportOnnx', () => {
  it('writes all that needs x alone by default, and any subset that is asked for', async () => {
    const model = classifier()
    const flow = new FlowModel(affineCouplingFlow({ inputs: 2, layers: 2, hidden: [4] }))
    expect((await exportOnnx(model, at('d.onnx'))).outputs).toEqual([
      ...['logits', 'log_prob_unnormalized', 'energy', 'score'],
    ])
    expect((await exportOnnx(flow, at('d.onnx'))).outputs).toEqual([
      ...['log_prob_unnormalized', 'energy', 'score', 'log_prob'],
    ])
    const sample = await exportOnnx(flow, at('z.onnx'), { outputs: ['sample'] })
    expect([sample.inputs, sample.outputs, sample.verification?.ok]).toEqual([['z'], ['sample'], true])
    const both = await exportOnnx(flow, at('xz.onnx'), { outputs: ['log_prob', 'sample'] })
    expect(both.inputs).toEqual(['x', 'z'])
    const [x, z] = [waves([4, 2], 1), waves([4, 2], 2)]
    const [got] = await runOnnx(at('xz.onnx'), { x, z })
    const drawn = await flow.inverse(z)
    drawn.x.data.forEach((v, i) => {
      expect(got?.get('sample')?.data[i]).toBeCloseTo(v, 5)
    })
    expect(got?.get('log_prob')?.shape).toEqual([4])
    await Promise.all([model.dispose(), flow.dispose()])
  })

  it('of a generator gives its draws, or with noise: false its means', async () => {
    const model = new GeneratorModel(mlpGenerator({ latent: 2, shape: [3], hidden: [4] }))
    const mean = await exportOnnx(model, at('mean.onnx'), { noise: false })
    expect([mean.inputs, mean.verification?.ok]).toEqual([['z'], true])
    const drawn = await exportOnnx(model, at('drawn.onnx'))
    expect(drawn.inputs).toEqual(['z', 'epsilon'])
    const [z, epsilon] = [waves([2, 2]), waves([2, 3], 2)]
    const sigma = await model.sigma()
    const [[m], [d]] = [await runOnnx(at('mean.onnx'), { z }), await runOnnx(at('drawn.onnx'), { z, epsilon })]
    const means = m?.get('sample')?.data as Float32Array
    d?.get('sample')?.data.forEach((v, i) => {
      expect(v).toBeCloseTo((means[i] as number) + sigma * (epsilon.data[i] as number), 5)
    })
    await model.dispose()
  })

  it('refuses outputs by name: unknown ones, twice the same, none, and what the model has not', async () => {
    const model = mlp({ inputs: 2, hidden: [4] })
    const ask = (...outputs: string[]) => exportOnnx(model, at('no.onnx'), { outputs: outputs as ModelOutput[] })
    await expect(ask('scores')).rejects.toThrow(/distinct names among logits, .*got \[scores\]\. Did you mean 'score'/)
    await expect(ask('energy', 'energy')).rejects.toThrow(RangeError)
    await expect(ask()).rejects.toThrow(RangeError)
    for (const [output, why] of [
      ['logits', /exportOnnx: logits needs a classifier/],
      ['class_score', /class_score needs a classifier/],
      ['log_prob', /log_prob needs a normalised model/],
      ['sample', /sample needs exact draws/],
    ] as const)
      await expect(ask(output)).rejects.toMatchObject({ code: 'E_CONFIG', message: expect.stringMatching(why) })
    expect(readdirSync(folder)).not.toContain('no.onnx')
    await model.dispose()
  })

  it('class scores take the class from y', async () => {
    const model = classifier()
    await exportOnnx(model, at('y.onnx'), { outputs: ['class_score'] })
    const x = waves([3, 2])
    const y = hostTensor(Int32Array.of(2, 0, 1), [3])
    const [got] = await runOnnx(at('y.onnx'), { x, y })
    const want = await model.score(x, { classes: y })
    want.data.forEach((v, i) => {
      expect(got?.get('class_score')?.data[i]).toBeCloseTo(v, 5)
    })
    await model.dispose()
  })
})
