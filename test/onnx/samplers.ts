/** What the tests of exported samplers share: small models, a scratch folder, starts of class Gaussians. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect } from 'vitest'
import { type HostTensor, hostTensor } from '../../lib/graph/host-tensor.ts'
import { sizeOf } from '../../lib/graph/shape.ts'
import type { Model } from '../../lib/nn/model.ts'
import { mlp as mlpModel } from '../../lib/nn/models.ts'
import { type ExportSamplerOptions, exportSampler, type SamplerStart } from '../../lib/onnx/export-sampler.ts'
import { openSampler, type SamplerFeeds } from '../../lib/onnx/sampler-session.ts'
import { compareOutputs } from '../../lib/onnx/verify.ts'
import { setThreads } from '../../lib/runtime/addon.ts'
import { Chains, type ChainsOptions } from '../../lib/samplers/chains.ts'
import { waves } from './helpers.ts'

// Small work: a second thread costs more than it gives, most of all beside other test files.
setThreads(1)

const folders: string[] = []

afterAll(async () => {
  for (const folder of folders) await rm(folder, { recursive: true, force: true })
})

/** A folder that goes with the test file. */
export async function scratch(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'langevin-sampler-'))
  folders.push(folder)
  return folder
}

/** A classifier of two classes over `inputs` numbers. */
export function mlp(inputs: number): Model {
  return mlpModel({ inputs, hidden: [16, 16], classes: 2, seed: 3 })
}

/** Class Gaussians with full covariances: means and lower triangular factors that no two classes share. */
export function gaussianStart({ network }: Model, classes: number): SamplerStart {
  const d = sizeOf(network.shape)
  const factor: HostTensor = waves([classes, d, d], 5)
  const lower = factor.data.map((v, i) => (i % d <= Math.floor(i / d) % d ? 0.3 * v : 0))
  return {
    options: { kind: 'classGaussians' },
    tensors: new Map([
      ['mean', waves([classes, d], 2)],
      ['factor', hostTensor(Float32Array.from(lower), factor.shape)],
    ]),
    classes,
    bounded: false,
  }
}

export interface Ran {
  readonly samples: HostTensor
  readonly all: ReadonlyMap<string, HostTensor>
}

/** Exports (which checks the file against the native graphs), and runs the file. */
export async function exported(
  model: Model,
  options: ExportSamplerOptions,
  feeds: Partial<SamplerFeeds>,
): Promise<Ran> {
  const path = join(await scratch(), 'sampler.onnx')
  const made = await exportSampler(model, path, options)
  expect(made.verification?.ok ?? options.verify === false).toBe(true)
  const session = await openSampler(path, 1)
  try {
    expect(session.inputs).toEqual(made.inputs)
    expect(session.outputs).toEqual(made.outputs)
    const all = await session.run({
      ...made.defaults,
      seed: 9,
      ...feeds,
      steps: feeds.steps ?? made.defaults.steps ?? 0,
    })
    return { samples: all.get('samples') as HostTensor, all }
  } finally {
    await session.release()
  }
}

export async function native(model: Model, options: ChainsOptions, steps: number): Promise<HostTensor> {
  const chains = await Chains.start(model, { seed: 9, ...options })
  try {
    await chains.advance(steps)
    return await chains.read()
  } finally {
    chains.dispose()
  }
}

export function expectClose(a: HostTensor, b: HostTensor, limit = 1e-4): void {
  expect(compareOutputs(a, b).maxRel).toBeLessThan(limit)
}

export function startOf(model: Model, n: number): HostTensor {
  const { shape, discrete: values } = model.network
  const x = waves([n, ...shape], 7)
  if (values === undefined) return x
  if (values !== 'oneHot')
    return hostTensor(
      Float32Array.from(x.data, (v) => values[v > 0 ? 1 : 0]),
      x.shape,
    )
  const k = shape.at(-1) as number
  return hostTensor(
    Float32Array.from(x.data, (_, i) => (i % k === Math.floor(i / k) % k ? 1 : 0)),
    x.shape,
  )
}
