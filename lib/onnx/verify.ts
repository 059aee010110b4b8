/**
 * Runs an exported model in ONNX Runtime and compares its outputs with ours. The runtime is an optional package, loaded when first needed.
 */
import { LangevinError } from '../graph/errors.ts'
import { type HostTensor, hostTensor } from '../graph/host-tensor.ts'
import { type DType, sameShape, showShape } from '../graph/shape.ts'
import { loadRuntime, type Runtime } from './runtime.ts'

export type Feeds = ReadonlyMap<string, HostTensor>

/** The largest relative error that passes, by output name; `default` is for the others. */
export type Tolerance = Readonly<Record<string, number>>

export interface VerifyOptions {
  /** Inputs of the model for a batch size, by name. */
  readonly feeds: (batch: number) => Feeds | Promise<Feeds>
  /** What the model should return for these feeds, by name; outputs that are left out are not compared. */
  readonly expected: (feeds: Feeds, batch: number) => Promise<ReadonlyMap<string, HostTensor>>
  /** Batch sizes to run. Default 1 and 7: neither is a size that the exporter traced. */
  readonly batches?: readonly number[]
  /** Default 1e-4; 1e-3 for `score`, `class_score` and `sample`. A function gives those of a batch size. */
  readonly tolerance?: Tolerance | ((batch: number) => Tolerance)
  /** Magnitudes below this count as this in the relative error. Default 1e-6. */
  readonly floor?: number
  /** Outputs that are compared by `typicalRel`. Default none. */
  readonly typical?: readonly string[]
  /** Threads of the runtime. Default: its own choice. */
  readonly threads?: number
}

/** One output at one batch size. */
export interface OutputCheck {
  readonly name: string
  readonly batch: number
  /** max |a - b|. */
  readonly maxAbs: number
  /** max |a - b| / max(floor, max |b|), with b ours: relative to the largest magnitude, not element by element. */
  readonly maxRel: number
  /**
   * Where it was asked for: the median over the examples of √(Σ(a - b)² / Σb²), which counts instead of maxRel. For gradients in half precision: where
   * activations have kinks, those of a few units lie on their other side, so that single numbers differ much while the gradient is right.
   */
  readonly typicalRel?: number
  readonly tolerance: number
  readonly ok: boolean
}

export interface Verification {
  readonly outputs: readonly OutputCheck[]
  readonly ok: boolean
}

/** Gradients and draws pass through many more roundings than values do. */
export const defaultTolerance: Tolerance = { default: 1e-4, score: 1e-3, class_score: 1e-3, sample: 1e-3 }

/**
 * Compares the model (a path or bytes) with `expected` at several batch sizes.
 * An output that differs in shape, dtype or in where it is not finite counts as infinitely wrong; nothing is thrown for it.
 * @throws LangevinError E_ONNX when onnxruntime-node is missing, when it refuses the model, or when an expected output does not exist
 */
export async function verifyOnnx(model: string | Uint8Array, options: VerifyOptions): Promise<Verification> {
  const { batches = [1, 7], tolerance = defaultTolerance, floor = 1e-6 } = options
  const session = await openOnnx(model, options.threads)
  try {
    const outputs: OutputCheck[] = []
    for (const batch of batches) {
      const feeds = await options.feeds(batch)
      const [got, want] = [await session.run(feeds), await options.expected(feeds, batch)]
      for (const [name, expected] of want) {
        const result = got.get(name)
        if (result === undefined) {
          throw new LangevinError(
            'E_ONNX',
            `[onnx] the model has no output '${name}'; it has ${[...got.keys()].map((n) => `'${n}'`).join(', ')}`,
            { name },
          )
        }
        const limits = typeof tolerance === 'function' ? tolerance(batch) : tolerance
        const limit = limits[name] ?? limits.default ?? 1e-4
        const { maxAbs, maxRel } = compareOutputs(result, expected, floor)
        const typical = options.typical?.includes(name) ? { typicalRel: typicalError(result, expected) } : {}
        const ok = (typical.typicalRel ?? maxRel) <= limit
        outputs.push({ name, batch, maxAbs, maxRel, ...typical, tolerance: limit, ok })
      }
    }
    return { outputs, ok: outputs.length > 0 && outputs.every((o) => o.ok) }
  } finally {
    await session.release()
  }
}

/** Largest absolute error, and that relative to the largest finite magnitude of `want`; infinite where shapes or non-finite values differ. */
export function compareOutputs(got: HostTensor, want: HostTensor, floor = 1e-6): { maxAbs: number; maxRel: number } {
  if (!sameShape(got.shape, want.shape) || got.dtype !== want.dtype) return { maxAbs: Infinity, maxRel: Infinity }
  let maxAbs = 0
  let size = floor
  for (let i = 0; i < want.data.length; i++) {
    const [a, b] = [got.data[i] as number, want.data[i] as number]
    if (Object.is(a, b) || a === b) {
      if (Number.isFinite(b)) size = Math.max(size, Math.abs(b))
      continue
    }
    if (!Number.isFinite(a) || !Number.isFinite(b)) return { maxAbs: Infinity, maxRel: Infinity }
    maxAbs = Math.max(maxAbs, Math.abs(a - b))
    size = Math.max(size, Math.abs(b))
  }
  return { maxAbs, maxRel: maxAbs / size }
}

/** `OutputCheck.typicalRel`; infinite where shapes or non-finite values differ. */
function typicalError(got: HostTensor, want: HostTensor): number {
  if (compareOutputs(got, want).maxAbs === Infinity) return Infinity
  const rows = want.shape[0] ?? 1
  const each = want.data.length / rows
  const errors = Array.from({ length: rows }, (_, row) => {
    let [wrong, size] = [0, 0]
    for (let i = row * each; i < (row + 1) * each; i++) {
      const [a, b] = [got.data[i] as number, want.data[i] as number]
      if (!Number.isFinite(b)) continue
      wrong += (a - b) ** 2
      size += b * b
    }
    return wrong === 0 ? 0 : Math.sqrt(wrong / Math.max(size, 1e-12))
  }).sort((a, b) => a - b)
  return errors[Math.floor((rows - 1) / 2)] ?? 0
}

/** A model loaded in ONNX Runtime. */
export interface OnnxSession {
  readonly inputs: readonly string[]
  readonly outputs: readonly string[]
  run(feeds: Feeds): Promise<Map<string, HostTensor>>
  release(): Promise<void>
}

/** Loads a model into ONNX Runtime's CPU provider. Errors as for {@link verifyOnnx}. */
export async function openOnnx(model: string | Uint8Array, threads?: number): Promise<OnnxSession> {
  const runtime = await loadRuntime()
  // Only what is fatal: errors are thrown, and need not be printed as well.
  const settings = { executionProviders: ['cpu'], logSeverityLevel: 4 as const }
  const options = threads === undefined ? settings : { ...settings, intraOpNumThreads: threads, interOpNumThreads: 1 }
  const session = await refuse('refuses the model', () =>
    typeof model === 'string'
      ? runtime.InferenceSession.create(model, options)
      : runtime.InferenceSession.create(model, options),
  )
  return {
    inputs: session.inputNames,
    outputs: session.outputNames,
    async run(feeds) {
      const given = Object.fromEntries([...feeds].map(([name, t]) => [name, toRuntime(runtime, t)]))
      const results = await refuse('cannot run the model', () => session.run(given))
      return new Map(Object.entries(results).map(([name, t]) => [name, fromRuntime(name, t)]))
    },
    release: () => session.release(),
  }
}

async function refuse<T>(what: string, act: () => Promise<T>): Promise<T> {
  try {
    return await act()
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause)
    throw new LangevinError('E_ONNX', `[onnx] ONNX Runtime ${what}: ${reason}`, {}, cause)
  }
}

function toRuntime(runtime: Runtime, t: HostTensor): import('onnxruntime-node').Tensor {
  const dims = [...t.shape]
  if (t.data instanceof Float32Array) return new runtime.Tensor('float32', t.data, dims)
  if (t.data instanceof Int32Array) return new runtime.Tensor('int32', t.data, dims)
  return new runtime.Tensor(t.dtype === 'bool' ? 'bool' : 'uint8', t.data, dims)
}

function fromRuntime(name: string, t: import('onnxruntime-node').OnnxValue): HostTensor {
  const { type, dims, data } = t as import('onnxruntime-node').Tensor
  const known: readonly DType[] = ['float32', 'int32', 'uint8', 'bool']
  const dtype = known.find((d) => d === type)
  const ours = data instanceof Float32Array || data instanceof Int32Array || data instanceof Uint8Array
  if (dtype === undefined || !ours) {
    throw new LangevinError(
      'E_ONNX',
      `[onnx] output '${name}' has type ${type}${showShape(dims)}, which langevin does not read`,
    )
  }
  return hostTensor(data, dims, dtype)
}
