/** What can be chosen of a run's sampler file, and a check that finds what is wrong. Every method's files are methods.test.ts's. */
import { readdirSync, readFileSync, watch, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fromBinary, toBinary } from '@bufbuild/protobuf'
import { InferenceSession, Tensor as OnnxTensor } from 'onnxruntime-node'
import { describe, expect, test } from 'vitest'
import { exportBundle } from '../../lib/export/bundle.ts'
import { exportRun, exportRunSampler, verifyRun } from '../../lib/export/run.ts'
import { LangevinError } from '../../lib/graph/errors.ts'
import { ModelProtoSchema, type TensorProto } from '../../lib/onnx/gen/onnx_pb.ts'
import { readOnnxMetadata } from '../../lib/onnx/metadata.ts'
import { cases, type MethodCase } from '../trainers/method-cases.ts'
import { folder, rejection } from '../trainers/tiny.ts'
import { jem, trained } from '../trainers/trained.ts'

test('a signal stops an export: nothing is left, and what stood there stays', async () => {
  const run = await trained(jem('jem', {}))
  const [at, kept] = [folder(), folder()]
  const file = join(kept, 'model.onnx')
  writeFileSync(file, 'old')
  const writes = [
    (signal: AbortSignal) => exportRun(run, file, { signal }),
    (signal: AbortSignal) => exportRunSampler(run, join(at, 'sampler.onnx'), { signal }),
    (signal: AbortSignal) => exportBundle(run, join(at, 'bundle'), { signal }),
  ]
  for (const write of writes) {
    const controller = new AbortController()
    const stopped = rejection(write(controller.signal))
    controller.abort(new LangevinError('E_CANCELLED', 'enough'))
    expect(await stopped).toMatchObject({ code: 'E_CANCELLED' })
  }
  // While ONNX Runtime checks the file, which stands beside its place by then.
  const controller = new AbortController()
  const watcher = watch(kept, () => controller.abort(new LangevinError('E_CANCELLED', 'enough')))
  expect(await rejection(exportRun(run, file, { signal: controller.signal }))).toMatchObject({ code: 'E_CANCELLED' })
  watcher.close()
  expect([readdirSync(at), readdirSync(kept)]).toEqual([[], ['model.onnx']])
  expect(readFileSync(file, 'utf8')).toBe('old')
  await run.model.dispose()
})

/** Means and products of points of the plane. */
function momentsOf(points: Float32Array): number[] {
  const sums = [0, 0, 0, 0, 0]
  for (let i = 0; i < points.length; i += 2) {
    const [a, b] = [points[i] as number, points[i + 1] as number]
    for (const [k, v] of [a, b, a * a, a * b, b * b].entries()) sums[k] = (sums[k] as number) + v
  }
  return sums.map((v) => (2 * v) / points.length)
}

describe('what can be chosen of a sampler', () => {
  const perClass = jem('jem', { classConditional: true })

  test('class, random numbers, start, another sampler, the trajectory', async () => {
    const run = await trained(perClass)
    const at = folder()
    const own = await exportRunSampler(run, join(at, 'own.onnx'))
    expect(JSON.parse((await readOnnxMetadata(own.path))['langevin.export'] as string)).toMatchObject({
      class: 'input',
    })
    const noise = await exportRunSampler(run, join(at, 'noise.onnx'), { random: 'noise', class: 3 })
    expect(noise).toMatchObject({ start: undefined, opset: 17 })
    expect(noise.inputs).toEqual(['x0', 'step_size', 'noise_scale', 'steps', 'noise'])
    const ula = { kind: 'ula', stepSize: 0.01 } as const
    const other = await exportRunSampler(run, join(at, 'ula.onnx'), { sampler: ula, start: 'input', trajectory: true })
    expect(other.outputs).toEqual(['samples', 'energies', 'trajectory', 'energy_trace'])
    expect(other.defaults).toMatchObject({ step_size: 0.01 })
    await run.model.dispose()
  })

  test('chains that begin at data: a simple start in its place, or none where training’s own is asked for', async () => {
    const c: MethodCase = {
      ...jem('jem', {}),
      options: { ...jem('jem', {}).options, buffer: { size: 40, start: { kind: 'data' } } },
    }
    const run = await trained(c)
    const at = join(folder(), 'sampler.onnx')
    expect(await exportRunSampler(run, at)).toMatchObject({
      start: { kind: 'uniform' },
      notes: [expect.stringMatching(/rows of its data .* begin at \{"kind":"uniform"\}/)],
    })
    expect(await rejection(exportRunSampler(run, at, { start: 'run' }))).toMatchObject({
      code: 'E_CONFIG',
      message: expect.stringMatching(/use start: 'input'/),
    })
    await run.model.dispose()
  })

  test.each(['normal', 'gaussian', 'uniform'])(
    'starts that are %s noise are where the run’s own chains begin',
    async (kind) => {
      const c = cases.find((k) => k.title === `noise-contrastive estimation, noise ${kind}`) as MethodCase
      const run = await trained(c)
      const count = 4000
      const { path } = await exportRunSampler(run, join(folder(), 'starts.onnx'), { verify: false })
      const session = await InferenceSession.create(path)
      const { samples } = await session.run({
        y: new OnnxTensor('int32', new Int32Array(count).fill(-1), [count]),
        steps: new OnnxTensor('int64', BigInt64Array.of(0n), []),
        step_size: new OnnxTensor('float32', Float32Array.of(0.01), []),
        seed: new OnnxTensor('int64', BigInt64Array.of(3n), []),
      })
      await session.release()
      const native = await run.sample({ from: 'start', steps: 0, count, seed: 1 })
      const [ours, theirs] = [momentsOf(samples?.data as Float32Array), momentsOf(native.data as Float32Array)]
      // Four standard errors of a difference, of moments of order one.
      for (const [i, v] of ours.entries())
        expect(Math.abs(v - (theirs[i] as number))).toBeLessThan(4 * Math.sqrt(6 / count))
      await run.model.dispose()
    },
  )

  test('runs that draw exactly leave as chains too, if one asks for a start', async () => {
    const run = await trained(cases.find((c) => c.method === 'maximumLikelihood') as MethodCase)
    const sampler = await exportRunSampler(run, join(folder(), 'chain.onnx'), { start: 'run' })
    expect(sampler).toMatchObject({ kind: 'chain', start: { kind: 'uniform' }, verification: { ok: true } })
    await run.model.dispose()
  })
})

describe('verifyRun finds', () => {
  const c = jem('jempp', { sampler: { kind: 'pyld', outer: 2, inner: 2 } })

  /** The file with the bytes of its largest weight turned around. */
  const damaged = (path: string): string => {
    const model = fromBinary(ModelProtoSchema, readFileSync(path))
    const weights = [...(model.graph?.initializer ?? [])].sort((a, b) => b.rawData.length - a.rawData.length)
    const largest = weights.find((t) => t.dataType === 1) as TensorProto
    const numbers = new Float32Array(Uint8Array.from(largest.rawData).buffer).reverse()
    largest.rawData = new Uint8Array(numbers.buffer)
    const to = path.replace('.onnx', '-damaged.onnx')
    writeFileSync(to, toBinary(ModelProtoSchema, model))
    return to
  }

  test('changed weights, of the model and of the sampler; files of another network, of nobody', async () => {
    const run = await trained(c)
    const at = folder()
    const model = await exportRun(run, join(at, 'model.onnx'))
    const sampler = await exportRunSampler(run, join(at, 'sampler.onnx'))
    for (const { path } of [model, sampler]) {
      expect(await verifyRun(path, run)).toMatchObject({ ok: true })
      const { ok, outputs } = await verifyRun(damaged(path), run)
      expect(ok).toBe(false)
      expect(outputs.some((o) => !o.ok && o.maxRel > o.tolerance)).toBe(true)
    }
    const plane = await trained(cases.find((k) => k.method === 'scoreMatching') as MethodCase)
    expect(await rejection(verifyRun(model.path, plane))).toMatchObject({
      code: 'E_ONNX',
      message: expect.stringMatching(
        /of another network: network\.kind is "convEnergy" in the file and "mlp" in the model/,
      ),
    })
    const foreign = join(at, 'foreign.onnx')
    const bare = fromBinary(ModelProtoSchema, readFileSync(model.path))
    bare.metadataProps = []
    writeFileSync(foreign, toBinary(ModelProtoSchema, bare))
    expect((await rejection(verifyRun(foreign, run))).message).toMatch(/not exported by langevin/)
    const half = join(at, 'half.onnx')
    writeFileSync(half, readFileSync(model.path).subarray(0, 1000))
    expect(await rejection(verifyRun(half, run))).toMatchObject({ code: 'E_ONNX' })
    expect(await rejection(verifyRun(join(at, 'none.onnx'), run))).toMatchObject({ code: 'E_IO' })
    await run.model.dispose()
    await plane.model.dispose()
  })

  test('a run of the same network with other weights', async () => {
    const [a, b] = [await trained(c), await trained({ ...c, options: { ...c.options, seed: 9 } })]
    const { path } = await exportRun(a, join(folder(), 'model.onnx'))
    expect(await verifyRun(path, b)).toMatchObject({ ok: false })
    await a.model.dispose()
    await b.model.dispose()
  })
})
