/** Models in float16: what becomes half and what does not, sizes, the runtimes, the checker, gradients that would vanish, and refusals. */
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { create } from '@bufbuild/protobuf'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { hostTensor } from '../../lib/graph/host-tensor.ts'
import { temper } from '../../lib/nn/compose.ts'
import { FlowModel } from '../../lib/nn/flow-model.ts'
import { affineCouplingFlow, splineFlow } from '../../lib/nn/flows.ts'
import { mlpGenerator } from '../../lib/nn/generator.ts'
import { GeneratorModel } from '../../lib/nn/generator-model.ts'
import { activation, conv, flatten, linear, maxPool } from '../../lib/nn/layers.ts'
import type { Model } from '../../lib/nn/model.ts'
import { convEnergy, defineEnergy, mlp, sequential, wideResNet } from '../../lib/nn/models.ts'
import { outputsOf } from '../../lib/nn/outputs.ts'
import { rbm } from '../../lib/nn/rbm.ts'
import { exportOnnx } from '../../lib/onnx/export-model.ts'
import { buildOnnx, encodeOnnx } from '../../lib/onnx/exporter.ts'
import {
  AttributeProtoSchema,
  type GraphProto,
  GraphProtoSchema,
  type ModelProto,
  ModelProtoSchema,
  NodeProtoSchema,
} from '../../lib/onnx/gen/onnx_pb.ts'
import { gradientScale } from '../../lib/onnx/gradient-scale.ts'
import { toHalf } from '../../lib/onnx/half.ts'
import { openOnnx } from '../../lib/onnx/verify.ts'
import { verifyExport } from '../../lib/onnx/verify-export.ts'
import * as ops from '../../lib/ops/index.ts'
import { checkWithPython, parametersOf, parse, python, waves } from './helpers.ts'

let folder = ''
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'langevin-half-'))
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const HALF = 10
const image = [1, 16, 16] as const

const models: Record<string, { readonly make: () => Model | GeneratorModel; readonly ratio: number }> = {
  // Weights outweigh the graph: about half the file. Small ones are listed for what they compute.
  mlp: { make: () => mlp({ inputs: 64, hidden: [128, 128], classes: 10 }), ratio: 0.56 },
  'mlp of a noise level': { make: () => mlp({ inputs: 8, hidden: [128, 128], sigma: { smallest: 0.01 } }), ratio: 0.6 },
  'mlp under spectral norm': { make: () => mlp({ inputs: 64, hidden: [128], spectralNorm: true }), ratio: 0.7 },
  convEnergy: {
    make: () => convEnergy({ shape: image, channels: [16, 32, 32], norm: 'batch', classes: 3 }),
    ratio: 0.65,
  },
  'convEnergy with group norm': {
    make: () => convEnergy({ shape: image, channels: [16, 32], norm: 'group' }),
    ratio: 0.9,
  },
  wideResNet: { make: () => wideResNet({ depth: 10, width: 2, size: 8, channels: 1 }), ratio: 0.54 },
  'max pool': {
    make: () => sequential(image, [conv(32, 3), activation('silu'), maxPool(2), flatten(), linear(64), linear(3)]),
    ratio: 0.6,
  },
  'affine flow': {
    make: () => new FlowModel(affineCouplingFlow({ inputs: 4, layers: 2, hidden: [96, 96] })),
    ratio: 0.75,
  },
  'spline flow': { make: () => new FlowModel(splineFlow({ inputs: 2, layers: 2, hidden: [96, 96] })), ratio: 0.85 },
  rbm: { make: () => rbm({ visible: 64, hidden: 128 }), ratio: 0.58 },
  generator: { make: () => new GeneratorModel(mlpGenerator({ latent: 16, shape: [64] })), ratio: 0.54 },
}

describe('exported in float16', () => {
  for (const [name, { make, ratio }] of Object.entries(models)) {
    it(`${name}: agrees, is smaller, takes and gives float32`, async () => {
      const model = make()
      const path = join(folder, `${name.replaceAll(' ', '-')}.onnx`)
      const bytes = []
      for (const precision of ['float32', 'float16'] as const) {
        const done =
          model instanceof GeneratorModel
            ? await exportOnnx(model, path, { precision })
            : await exportOnnx(model, path, { precision, outputs: outputsOf(model.network) })
        expect([done.precision, done.verification?.ok]).toEqual([precision, true])
        bytes.push(done.bytes)
      }
      expect((bytes[1] as number) / (bytes[0] as number)).toBeLessThan(ratio)
      const graph = parse(readFileSync(path)).graph as GraphProto
      const types = [...graph.input, ...graph.output].map((v) => v.type?.value.value?.elemType)
      expect(types).not.toContain(HALF)
      const halves = graph.initializer.filter((t) => t.dataType === HALF)
      expect(halves.reduce((n, t) => n + t.rawData.byteLength, 0)).toBeGreaterThan(statSync(path).size / 4)
      // The file itself says how it is to be checked.
      expect((await verifyExport(path, model, { seed: 3 })).ok).toBe(true)
      await model.dispose()
    })
  }

  it.skipIf(python === undefined)('pass the full checker and run in Python', () => {
    const files = readdirSync(folder).filter((f) => f.endsWith('.onnx'))
    expect(files).toHaveLength(Object.keys(models).length)
    checkWithPython(files.map((f) => readFileSync(join(folder, f))))
    const load =
      'import onnxruntime, sys\nfor p in sys.argv[1:]: onnxruntime.InferenceSession(p, providers=["CPUExecutionProvider"])'
    execFileSync(python as string, ['-c', load, ...files.map((f) => join(folder, f))], { stdio: 'pipe' })
  })

  it('works with weights outside, which are half the bytes too', async () => {
    const model = mlp({ inputs: 64, hidden: [128] })
    const path = join(folder, 'outside.model')
    const done = await exportOnnx(model, path, { precision: 'float16', externalData: true })
    expect(done.verification?.ok).toBe(true)
    const data = readdirSync(folder).filter((f) => f.startsWith('outside.model.') && f.endsWith('.data'))
    expect(data).toHaveLength(1)
    expect(statSync(join(folder, data[0] as string)).size).toBe(64 * 128 * 2)
    expect((await verifyExport(path, model)).ok).toBe(true)
    await model.dispose()
  })

  it('keeps a score that half precision would lose on the way', async () => {
    // Scores of about 1e-6, of which half can tell only a few digits, if any.
    const model = temper(mlp({ inputs: 8, hidden: [64, 64] }), 1e5)
    const scale = await gradientScale(model)
    expect(scale).toBe(4096)
    expect(Math.log2(await gradientScale(mlp({ inputs: 8, hidden: [64, 64] })))).toBeGreaterThan(2)
    const done = await exportOnnx(model, join(folder, 'small.model'), { precision: 'float16', outputs: ['score'] })
    expect(done.verification?.ok).toBe(true)
    expect(Math.max(...(done.verification?.outputs.map((o) => o.typicalRel ?? 1) ?? [1]))).toBeLessThan(2e-2)
    await model.dispose()
  })

  it('refuses weights that half cannot hold, by name, and words that are no precision', async () => {
    const model = mlp({ inputs: 64, hidden: [64] })
    const values = new Map(model.stateDict())
    const weight = Float32Array.from(model.value('0.weight').data)
    weight[7] = 1e6
    values.set('0.weight', hostTensor(weight, [64, 64]))
    await model.setValues(values)
    await expect(exportOnnx(model, join(folder, 'no.model'), { precision: 'float16' })).rejects.toMatchObject({
      code: 'E_ONNX',
      message: expect.stringMatching(/'0\.weight' holds 1000000, and half precision ends at 65504.*'float32'/),
    })
    expect(readdirSync(folder).filter((f) => f.startsWith('no.model'))).toEqual([])
    const wrong = exportOnnx(model, join(folder, 'no.model'), { precision: 'float-16' as 'float16' })
    await expect(wrong).rejects.toThrow(/precision 'float-16' is not known\. Did you mean 'float16'/)
    const misspelled = { percision: 'float16' } as object
    await expect(exportOnnx(model, join(folder, 'no.model'), misspelled)).rejects.toMatchObject({
      code: 'E_CONFIG',
      message: expect.stringMatching(/option 'percision' is not known\. Did you mean 'precision'/),
    })
    await model.dispose()
  })

  it('leaves an energy without products in float32: its sums and squares', async () => {
    const model = defineEnergy({ shape: [2] }, (x) => x.square().sum(-1).sqrt().sub(2).square().mul(8))
    const path = join(folder, 'ring.model')
    const done = await exportOnnx(model, path, { precision: 'float16' })
    expect(Math.max(...(done.verification?.outputs ?? []).map((o) => o.maxRel))).toBeLessThan(1e-5)
    await model.dispose()
  })
})

/** y = relu(x W) and its sum, with a constant that half cannot hold. */
function message(): ModelProto {
  const w = waves([16, 32], 3)
  return buildOnnx({
    build: (b) => {
      const [x, weight] = [ops.input('x', [b, 16]), ops.input('w', [16, 32])]
      const h = ops.relu(ops.matmul(x, weight))
      return {
        inputs: [{ name: 'x', tensor: x }],
        outputs: [
          { name: 'y', tensor: h },
          { name: 'total', tensor: ops.sum(ops.square(h), 1) },
          { name: 'large', tensor: ops.mul(h, 1e6) },
        ],
        parameters: parametersOf([[weight, 'w', w]]),
      }
    },
  })
}

describe('toHalf', () => {
  it('casts at the edges, keeps sums and squares in float32 and leaves the message alone', async () => {
    const [before, plain] = [encodeOnnx(message()), message()]
    const half = toHalf(plain)
    expect(Buffer.compare(encodeOnnx(plain), before)).toBe(0)
    const types = new Map((half.graph?.valueInfo ?? []).map((v) => [v.name, v.type?.value.value?.elemType]))
    expect([...types.values()]).toContain(HALF)
    expect([...types].filter(([n]) => /square|sum/.test(n)).every(([, t]) => t === 1)).toBe(true)
    const x = waves([3, 16], 1)
    const run = async (m: ModelProto) => {
      const session = await openOnnx(encodeOnnx(m), 1)
      const got = await session.run(new Map([['x', x]]))
      await session.release()
      return got
    }
    const [got, want] = [await run(half), await run(message())]
    for (const [name, t] of want) {
      const size = Math.max(...Array.from(t.data, Math.abs))
      const off = Array.from(t.data, (v, i) => Math.abs(v - (got.get(name)?.data[i] as number)))
      expect(Math.max(...off) / size, name).toBeLessThan(2e-3)
      expect(Math.max(...off), name).toBeGreaterThan(0)
    }
  })

  it('converts the body of a Loop: its state stays float32, weights outside are cast once', async () => {
    const half = toHalf(loop())
    const types = (half.graph as GraphProto).node.map((n) => n.opType)
    expect(types.filter((t) => t === 'Loop')).toHaveLength(1)
    const body = half.graph?.node.find((n) => n.opType === 'Loop')?.attribute.find((a) => a.g !== undefined)?.g
    expect(half.graph?.initializer.find((t) => t.name === 'w')?.dataType).toBe(HALF)
    expect([...(body?.input ?? []), ...(body?.output ?? [])].map((v) => v.type?.value.value?.elemType)).not.toContain(
      HALF,
    )
    expect(body?.node.map((n) => n.opType)).toEqual(['Cast', 'MatMul', 'Cast', 'Add', 'Identity'])
    const x = waves([2, 16], 1)
    const session = await openOnnx(encodeOnnx(half), 1)
    const got = (await session.run(new Map([['x', x]]))).get('samples')
    await session.release()
    // Three times x ← x + xW, in float64.
    const w = waves([16, 16], 3).data
    let state = Array.from(x.data)
    for (let step = 0; step < 3; step++) {
      state = state.map((v, i) => {
        const row = Math.floor(i / 16) * 16
        return (
          v +
          Array.from({ length: 16 }).reduce<number>(
            (s, _, k) => s + (state[row + k] as number) * (w[16 * k + (i % 16)] as number),
            0,
          )
        )
      })
    }
    const size = Math.max(...state.map(Math.abs))
    state.forEach((v, i) => {
      expect(Math.abs(v - (got?.data[i] as number)) / size).toBeLessThan(3e-3)
    })
    if (python !== undefined) checkWithPython([encodeOnnx(half)])
  })
})

/** Three iterations of x ← x + xW as a Loop whose body reads the weight outside. */
function loop(): ModelProto {
  const model = message()
  const graph = model.graph as GraphProto
  const tensor = (name: string, elemType: number, dims: readonly (number | string)[]) => ({
    name,
    type: {
      value: {
        case: 'tensorType' as const,
        value: {
          elemType,
          shape: {
            dim: dims.map((d) => ({
              value:
                typeof d === 'number'
                  ? { case: 'dimValue' as const, value: BigInt(d) }
                  : { case: 'dimParam' as const, value: d },
            })),
          },
        },
      },
    },
  })
  const node = (opType: string, input: string[], output: string[]) =>
    create(NodeProtoSchema, { name: output[0] as string, opType, input, output })
  const body = create(GraphProtoSchema, {
    name: 'body',
    input: [tensor('i', 7, []), tensor('go', 9, []), tensor('state', 1, ['batch', 16])],
    output: [tensor('again', 9, []), tensor('next', 1, ['batch', 16])],
    node: [
      node('MatMul', ['state', 'w'], ['moved']),
      node('Add', ['state', 'moved'], ['next']),
      node('Identity', ['go'], ['again']),
    ],
  })
  const run = node('Loop', ['count', 'yes', 'x'], ['samples'])
  run.attribute.push(create(AttributeProtoSchema, { name: 'body', type: 5, g: body }))
  const w = waves([16, 16], 3)
  const initializer = [
    { name: 'w', dims: [16n, 16n], dataType: 1, rawData: new Uint8Array((w.data as Float32Array).buffer) },
    { name: 'count', dims: [], dataType: 7, rawData: new Uint8Array(BigInt64Array.of(3n).buffer) },
    { name: 'yes', dims: [], dataType: 9, rawData: Uint8Array.of(1) },
  ]
  const outer = create(GraphProtoSchema, {
    name: 'chain',
    input: graph.input,
    output: [tensor('samples', 1, ['batch', 16])],
    node: [run],
    initializer,
  })
  return create(ModelProtoSchema, { ...model, graph: outer })
}
