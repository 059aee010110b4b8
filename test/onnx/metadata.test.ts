/** Metadata of exported files: what is written, that reading it takes the head of a file alone, and what damaged and foreign files are told. */
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { create, toBinary } from '@bufbuild/protobuf'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { mlp } from '../../lib/nn/models.ts'
import { exportOnnx } from '../../lib/onnx/export-model.ts'
import { exportGraph } from '../../lib/onnx/exporter.ts'
import { type ModelProto, ModelProtoSchema } from '../../lib/onnx/gen/onnx_pb.ts'
import { exportMetadata, kindOf, modelDescriptionSchema, readEntry, readOnnxMetadata } from '../../lib/onnx/metadata.ts'
import { input } from '../../lib/ops/source.ts'
import { square } from '../../lib/ops/unary.ts'
import { packageVersion } from '../../lib/runtime/version.ts'

let folder = ''
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'langevin-metadata-'))
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

function plainModel(metadata: Record<string, string>): Uint8Array {
  const build = (b: number) => {
    const x = input('x', [b, 3])
    return {
      inputs: [{ name: 'x', tensor: x }],
      outputs: [{ name: 'y', tensor: square(x) }],
      parameters: new Map(),
    }
  }
  return exportGraph({ build, metadata })
}

describe('readOnnxMetadata', () => {
  it('gives what exportOnnx wrote: kind, network, what the file computes, and entries of the caller', async () => {
    const model = mlp({ inputs: 2, hidden: [4], classes: 3 })
    const path = join(folder, 'model.onnx')
    const long = 'é'.repeat(5000)
    await exportOnnx(model, path, { metadata: { 'langevin.classes': '["a","b","c"]', note: long }, verify: false })
    const metadata = await readOnnxMetadata(path)
    expect(metadata).toMatchObject({
      'langevin.version': packageVersion(),
      'langevin.kind': 'model',
      'langevin.classes': '["a","b","c"]',
      note: long,
    })
    expect(JSON.parse(metadata['langevin.network'] as string)).toEqual(model.network.config)
    expect(kindOf(metadata, path)).toBe('model')
    expect(readEntry(metadata, 'langevin.export', modelDescriptionSchema, path)).toEqual({
      outputs: ['logits', 'log_prob_unnormalized', 'energy', 'score'],
      sigma: null,
      opset: 17,
      precision: 'float32',
    })
    await model.dispose()
  })

  it('skips the graph, of any size, wherever the metadata stands', async () => {
    // A sparse file: a graph field of 3 GB, more than one buffer holds, then an opset, then metadata.
    const tail = toBinary(
      ModelProtoSchema,
      create(ModelProtoSchema, {
        opsetImport: [{ domain: '', version: 17n }],
        metadataProps: [{ key: 'langevin.kind', value: 'sampler' }],
      }),
    )
    // Elsewhere the hole in the file might be filled.
    const size = process.platform === 'linux' ? 3 * 2 ** 30 : 2 ** 24
    const head = [7 * 8 + 2]
    for (let n = size; n > 0; n = Math.floor(n / 128)) head.push((n % 128) + (n >= 128 ? 128 : 0))
    const path = join(folder, 'large.onnx')
    const file = await open(path, 'w')
    await file.write(Uint8Array.from(head), 0, head.length, 0)
    await file.write(tail, 0, tail.length, head.length + size)
    await file.close()
    expect(await readOnnxMetadata(path)).toEqual({ 'langevin.kind': 'sampler' })
  })

  it('reads the metadata of files of others', async () => {
    const path = join(folder, 'other.onnx')
    const model: ModelProto = create(ModelProtoSchema, {
      irVersion: 8n,
      producerName: 'pytorch',
      graph: { name: 'g' },
      opsetImport: [{ version: 17n }],
      metadataProps: [{ key: 'author', value: 'someone' }],
    })
    writeFileSync(path, toBinary(ModelProtoSchema, model))
    const metadata = await readOnnxMetadata(path)
    expect(metadata).toEqual({ author: 'someone' })
    expect(() => kindOf(metadata, path)).toThrow(/was not exported by langevin; importOnnx reads such files/)
  })

  it('refuses what is no model, what ends early, and what cannot be read', async () => {
    const bytes = plainModel({ a: 'b'.repeat(100) })
    const damaged: Record<string, Uint8Array | string> = {
      'empty.onnx': new Uint8Array(0),
      'text.onnx': 'this is not an ONNX model at all',
      'zeros.onnx': new Uint8Array(64),
      'random.onnx': Uint8Array.from({ length: 200 }, (_, i) => (i * 89 + 17) % 256),
    }
    for (const [name, content] of Object.entries(damaged)) {
      writeFileSync(join(folder, name), content)
      await expect(readOnnxMetadata(join(folder, name)), name).rejects.toMatchObject({
        code: 'E_ONNX',
        message: expect.stringContaining('is not an ONNX model'),
      })
    }
    const cut = join(folder, 'cut.onnx')
    for (const keep of [5, bytes.length >> 1, bytes.length - 40, bytes.length - 1]) {
      writeFileSync(cut, bytes)
      truncateSync(cut, keep)
      await expect(readOnnxMetadata(cut), String(keep)).rejects.toMatchObject({ code: 'E_ONNX' })
    }
    await expect(readOnnxMetadata(join(folder, 'none.onnx'))).rejects.toMatchObject({ code: 'E_IO' })
    await expect(readOnnxMetadata(folder)).rejects.toMatchObject({ code: 'E_IO' })
  })
})

describe('entries', () => {
  const written = exportMetadata(
    'model',
    { kind: 'mlp' },
    { outputs: ['energy'], sigma: 0.1, opset: 18, precision: 'float16' },
  )
  const read = (entry: string) =>
    readEntry({ ...written, 'langevin.export': entry }, 'langevin.export', modelDescriptionSchema, 'f.onnx')

  it('come back as they were', () => {
    expect(read(written['langevin.export'] as string)).toEqual({
      outputs: ['energy'],
      sigma: 0.1,
      opset: 18,
      precision: 'float16',
    })
  })

  it('name every fault', () => {
    expect(() => read('{')).toThrow(/'f\.onnx': langevin\.export is not JSON .*damaged/)
    expect(() => read('{"outputs":["energies"],"sigma":-1,"opset":30,"precision":"float16"}')).toThrow(
      /langevin\.export\.outputs\.0: 'energies' is not allowed\. Did you mean 'energy'.*sigma.*opset/s,
    )
    expect(() => read('{"outputs":["energy"],"sigma":null,"opset":17,"precision":"float32","more":1}')).toThrow(
      /unknown key 'more'/,
    )
    const { 'langevin.export': _, ...without } = written
    expect(() => readEntry(without, 'langevin.export', modelDescriptionSchema, 'f.onnx')).toThrow(
      /'f\.onnx' has no langevin\.export; export it again/,
    )
    expect(() => kindOf({ 'langevin.kind': 'modell' }, 'f.onnx')).toThrow(
      /langevin\.kind is 'modell'.*knows model, sampler/,
    )
  })
})
