/** Exports a model's logits, energy and score as one ONNX file and checks it in ONNX Runtime before leaving it there. */
import { LangevinError } from '../graph/errors.ts'
import { hostTensor } from '../graph/host-tensor.ts'
import { sizeOf } from '../graph/shape.ts'
import type { Tensor } from '../graph/tensor.ts'
import type { Model, ModelOutput } from '../nn/model.ts'
import { Variables } from '../nn/variables.ts'
import { input, scalar } from '../ops/index.ts'
import { HostRandom } from '../runtime/host-random.ts'
import { packageVersion } from '../runtime/version.ts'
import { buildOnnx, type Trace } from './exporter.ts'
import { type Verification, verifyOnnx } from './verify.ts'
import { writeVerified } from './write-verified.ts'

export interface ExportModelOptions {
  /** Any of logits, energy, score; default all that the model has. */
  readonly outputs?: readonly ModelOutput[]
  /** 17 (default) to 21. */
  readonly opset?: number
  /** More entries of metadata_props (class names, sampler settings, metrics). */
  readonly metadata?: Readonly<Record<string, string>>
  /** Runs the file in ONNX Runtime against this model at batches 1 and 7 and refuses to leave one that disagrees; default true. */
  readonly verify?: boolean
  readonly externalData?: boolean
  /**
   * Of a noise-conditioned model: the noise level that the file holds fixed (default the smallest), or 'input' for a second input `sigma`
   * float32 [batch].
   */
  readonly sigma?: 'input' | number
}

export interface ExportedModel {
  readonly path: string
  readonly bytes: number
  readonly outputs: readonly ModelOutput[]
  readonly opset: number
  readonly verification: Verification | undefined
}

const known: readonly ModelOutput[] = ['logits', 'energy', 'score']

/**
 * Writes `model` to `path` as ONNX: input `x` float32 [batch, ...shape] in [-1, 1]; outputs `logits` [batch, classes], `energy` [batch] = -logsumexp(logits)
 * (or the network's own energy), `score` [batch, ...shape] = ∇x log p(x). A noise-conditioned model is written at one level, or takes `sigma`
 * [batch] as a second input. Norms are in evaluation mode; weights keep PyTorch's names.
 * Tolerances of the check: 1e-4 of the largest magnitude, 1e-3 for the score.
 * @throws LangevinError E_CONFIG when `sigma` is given for a model that takes no noise level, E_ONNX when an op has no ONNX form or ONNX Runtime disagrees, E_IO when the file cannot be written.
 */
export async function exportOnnx(model: Model, path: string, options: ExportModelOptions = {}): Promise<ExportedModel> {
  const outputs = options.outputs ?? known.filter((o) => o !== 'logits' || model.network.classes > 0)
  const wrong = outputs.find((o) => !known.includes(o))
  if (wrong !== undefined || outputs.length === 0 || new Set(outputs).size !== outputs.length) {
    throw new RangeError(
      `exportOnnx: outputs must be distinct names among ${known.join(', ')}; got [${outputs.join(', ')}]`,
    )
  }
  const { opset = 17, sigma } = options
  checkSigma(model, sigma)
  const metadata = {
    'langevin.version': packageVersion(),
    'langevin.network': JSON.stringify(model.network.config),
    ...options.metadata,
  }
  const message = buildOnnx({
    build: (batch) => traceModel(model, outputs, batch, sigma),
    opset,
    metadata,
    modelName: model.network.config.kind,
  })
  const save = options.externalData === undefined ? {} : { externalData: options.externalData }
  const verify = (candidate: string) => verifyModel(candidate, model, outputs, undefined, sigma)
  const written = await writeVerified(path, message, save, options.verify === false ? undefined : verify)
  return { path: written.path, bytes: written.bytes, outputs, opset, verification: written.verification }
}

function checkSigma(model: Model, sigma: ExportModelOptions['sigma']): void {
  if (sigma === undefined) return
  model.network.needSigma('exportOnnx with sigma')
  if (sigma !== 'input' && !(Number.isFinite(sigma) && sigma > 0))
    throw new RangeError(`exportOnnx: sigma must be 'input' or a positive finite number; got ${String(sigma)}`)
}

function traceModel(
  model: Model,
  outputs: readonly ModelOutput[],
  batch: number,
  level: ExportModelOptions['sigma'],
): Trace {
  const x = input('x', [batch, ...model.network.shape], 'float32')
  const asked = level === 'input' ? input('sigma', [batch], 'float32') : undefined
  const sigma = typeof level === 'number' ? scalar(level) : asked
  const parameters = new Map<Tensor, { name: string; data: ReturnType<Model['value']> }>()
  const variables = new Variables((v) => {
    const t = input(v.name, v.shape, 'float32')
    parameters.set(t, { name: v.name, data: model.value(v.name) })
    return t
  })
  return {
    inputs: [{ name: 'x', tensor: x }, ...(asked ? [{ name: 'sigma', tensor: asked }] : [])],
    outputs: outputs.map((name) => ({ name, tensor: model.graph(name, x, variables, 'running', sigma) })),
    parameters,
  }
}

/** Compares a file with the model on uniform inputs, and noise levels from the smallest to a hundredfold where the file takes them. */
export function verifyModel(
  path: string,
  model: Model,
  outputs: readonly ModelOutput[],
  batches: readonly number[] = [1, 7],
  level?: ExportModelOptions['sigma'],
): Promise<Verification> {
  const { shape, smallestSigma = 1 } = model.network
  return verifyOnnx(path, {
    batches,
    feeds: (batch) => {
      const random = new HostRandom(batch)
      const data = Float32Array.from({ length: batch * sizeOf(shape) }, () => 2 * random.uniform() - 1)
      const x = hostTensor(data, [batch, ...shape])
      if (level !== 'input') return new Map([['x', x]])
      const levels = Float32Array.from({ length: batch }, () => smallestSigma * 100 ** random.uniform())
      return new Map([
        ['x', x],
        ['sigma', hostTensor(levels, [batch])],
      ])
    },
    expected: async (feeds) => {
      const x = feeds.get('x')
      if (x === undefined) throw new LangevinError('E_INTERNAL', 'internal: no x among the feeds')
      const sigma = typeof level === 'number' ? level : feeds.get('sigma')
      const given = sigma === undefined ? {} : { sigma }
      const entries = await Promise.all(outputs.map(async (o) => [o, await model.evaluate(o, x, given)] as const))
      return new Map(entries)
    },
  })
}
