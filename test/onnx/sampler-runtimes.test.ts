/** The same sampler file in other runtimes: ONNX Runtime's WebAssembly, as browsers have it, and Python's. */
import { execFileSync } from 'node:child_process'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { hostTensor } from '../../lib/graph/host-tensor.ts'
import type { Model } from '../../lib/nn/model.ts'
import { wideResNet } from '../../lib/nn/models.ts'
import { exportSampler } from '../../lib/onnx/export-sampler.ts'
import { openSampler, type SamplerFeeds } from '../../lib/onnx/sampler-session.ts'
import { compareOutputs } from '../../lib/onnx/verify.ts'
import type { SamplerOptions } from '../../lib/samplers/samplers.ts'
import { python, waves } from './helpers.ts'
import { gaussianStart, mlp, scratch } from './samplers.ts'

const small = (): Model => wideResNet({ depth: 10, width: 1, size: [8, 8], classes: 3, channels: 1, seed: 4 })

/** Runs a file in the runtime of browsers. */
async function runWasm(bytes: Uint8Array, feeds: SamplerFeeds): Promise<ReadonlyMap<string, Float32Array>> {
  const ort = await import('onnxruntime-web/wasm')
  ort.env.wasm.numThreads = 1
  ort.env.logLevel = 'error'
  const session = await ort.InferenceSession.create(bytes, { executionProviders: ['wasm'], logSeverityLevel: 3 })
  const given = Object.fromEntries(
    session.inputNames.map((name) => {
      const value = feeds[name as keyof SamplerFeeds]
      if (typeof value === 'object') {
        const type = value.data instanceof Float32Array ? 'float32' : 'int32'
        return [name, new ort.Tensor(type, value.data as Float32Array, [...value.shape])]
      }
      return name === 'steps' || name === 'seed'
        ? [name, new ort.Tensor('int64', BigInt64Array.of(BigInt(value ?? 0)), [])]
        : [name, new ort.Tensor('float32', Float32Array.of(Number(value)), [])]
    }),
  )
  const results = await session.run(given)
  await session.release()
  return new Map(Object.entries(results).map(([name, t]) => [name, t.data as Float32Array]))
}

async function runNode(path: string, feeds: SamplerFeeds) {
  const session = await openSampler(path, 1)
  try {
    return await session.run(feeds)
  } finally {
    await session.release()
  }
}

const cases: readonly { name: string; model: () => Model; sampler: SamplerOptions; random: 'seed' | 'runtime' }[] = [
  { name: 'sgld', model: () => mlp(3), sampler: { kind: 'sgld', noise: 0.05 }, random: 'seed' },
  { name: 'pyld over a wide residual network', model: small, sampler: { kind: 'pyld' }, random: 'seed' },
  { name: 'hmc', model: () => mlp(3), sampler: { kind: 'hmc', leapfrogSteps: 3 }, random: 'seed' },
  { name: 'nuts', model: () => mlp(3), sampler: { kind: 'nuts', maxDepth: 4 }, random: 'seed' },
]

describe("ONNX Runtime's WebAssembly", () => {
  for (const { name, model, sampler, random } of cases) {
    it(`draws what ONNX Runtime in Node draws: ${name}`, async () => {
      const made = model()
      const path = join(await scratch(), 'sampler.onnx')
      const start = gaussianStart(made, 3)
      const { defaults } = await exportSampler(made, path, { sampler, random, start, verify: false })
      const y = hostTensor(Int32Array.of(0, 2, -1, 1, -1), [5])
      const feeds = { ...defaults, steps: 5, y, seed: 2n ** 40n + 7n }
      const want = await runNode(path, feeds)
      const got = await runWasm(await readFile(path), feeds)
      for (const [output, t] of want) {
        const data = got.get(output) as Float32Array
        expect(compareOutputs(hostTensor(data, t.shape), t).maxRel, output).toBeLessThan(1e-4)
      }
      await made.dispose()
    })
  }

  it("draws from the runtime's own generators", async () => {
    const made = mlp(3)
    const path = join(await scratch(), 'sampler.onnx')
    await exportSampler(made, path, { sampler: { kind: 'ula' }, random: 'runtime', verify: false })
    const feeds = { x0: hostTensor(new Float32Array(12), [4, 3]), steps: 3, step_size: 0.5 }
    const samples = (await runWasm(await readFile(path), feeds)).get('samples') as Float32Array
    expect(samples.every(Number.isFinite)).toBe(true)
    expect(new Set(samples).size).toBe(12)
    await made.dispose()
  })
})

describe.skipIf(python === undefined)("Python's ONNX Runtime", () => {
  it('passes the checker and draws what ONNX Runtime in Node draws', async () => {
    const made = mlp(3)
    const folder = await scratch()
    const path = join(folder, 'sampler.onnx')
    const { defaults } = await exportSampler(made, path, { sampler: { kind: 'mala' }, class: 'input', verify: false })
    const x0 = waves([4, 3])
    const feeds = { ...defaults, x0, y: hostTensor(Int32Array.of(0, 1, 1, 0), [4]), steps: 20, seed: -3 }
    const want = await runNode(path, feeds)
    const script = `
import json, sys, numpy as np, onnx, onnxruntime as ort
feeds = json.load(open(sys.argv[2]))
onnx.checker.check_model(onnx.load(sys.argv[1]), full_check=True)
types = {'tensor(float)': np.float32, 'tensor(int32)': np.int32, 'tensor(int64)': np.int64}
s = ort.InferenceSession(sys.argv[1], providers=['CPUExecutionProvider'])
given = {i.name: np.array(feeds[i.name], dtype=types[i.type]) for i in s.get_inputs()}
names = [o.name for o in s.get_outputs()]
print(json.dumps({n: v.ravel().tolist() for n, v in zip(names, s.run(names, given))}))`
    const rows = [0, 1, 2, 3].map((i) => [...x0.data.slice(3 * i, 3 * i + 3)])
    const given = { ...feeds, x0: rows, y: [0, 1, 1, 0] }
    await writeFile(join(folder, 'feeds.json'), JSON.stringify(given))
    const printed = execFileSync(python as string, ['-c', script, path, join(folder, 'feeds.json')], {
      encoding: 'utf8',
    })
    const got = JSON.parse(printed) as Record<string, number[]>
    for (const [output, t] of want) {
      const data = Float32Array.from(got[output] as number[])
      expect(compareOutputs(hostTensor(data, t.shape), t).maxRel, output).toBeLessThan(1e-4)
    }
    await made.dispose()
  })
})
