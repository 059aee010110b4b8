/**
 * Features of inputs from a network given as an ONNX file, for the Frechet distance in feature space (the network is the caller's:
 * none is shipped). Runs in ONNX Runtime, which is loaded only when this is called.
 */
import { LangevinError, suggestion } from '../graph/errors.ts'
import type { HostTensor } from '../graph/host-tensor.ts'
import { hostTensor } from '../graph/host-tensor.ts'
import { showShape } from '../graph/shape.ts'
import { loadRuntime } from '../onnx/runtime.ts'
import { checkCount } from './checks.ts'
import { sliceRows } from './rows.ts'

/** What to read from the network, and how. */
export interface FeatureOptions {
  /** Name of the output that holds the features; default the first. */
  readonly output?: string
  /** Inputs per run; default 64. A network with a fixed batch needs exactly that batch and a count it divides. */
  readonly batch?: number
  /** Stops between batches with the signal's reason. */
  readonly signal?: AbortSignal
}

/**
 * Features [n, d] of x [n, ...] (float32): the network's output for each input, trailing dimensions flattened. Values
 * go in as they are, so x must have the range and shape that the network was trained on. The network must have exactly one input.
 * Throws LangevinError E_ONNX: the file does not load, an unknown output, several inputs, an output that is not float32 [n, ...].
 */
export async function onnxFeatures(path: string, x: HostTensor, options: FeatureOptions = {}): Promise<HostTensor> {
  const { batch = 64, signal } = options
  checkCount('batch', batch, 1)
  const rows = x.shape[0] ?? 0
  if (x.dtype !== 'float32' || rows < 1) {
    throw new LangevinError('E_SHAPE', `onnxFeatures: x must be float32 [n, ...]; got ${x.dtype}${showShape(x.shape)}`)
  }
  const ort = await loadRuntime()
  const session = await ort.InferenceSession.create(path).catch((cause: unknown) => {
    throw new LangevinError('E_ONNX', `cannot load the feature network '${path}': ${messageOf(cause)}`, { path }, cause)
  })
  try {
    const input = onlyInput(path, session.inputNames)
    const output = chosenOutput(path, session.outputNames, options.output)
    const parts: Float32Array[] = []
    for (let start = 0; start < rows; start += batch) {
      signal?.throwIfAborted()
      const part = sliceRows(x, start, Math.min(rows, start + batch))
      const feeds = { [input]: new ort.Tensor('float32', part.data as Float32Array, part.shape) }
      const results = await session.run(feeds, [output]).catch((cause: unknown) => {
        throw new LangevinError(
          'E_ONNX',
          `the feature network '${path}' failed on an input of shape ${showShape(part.shape)}: ${messageOf(cause)}`,
          { path, shape: part.shape },
          cause,
        )
      })
      parts.push(readFeatures(path, output, results[output], part.shape[0] ?? 0))
    }
    return joinRows(parts, rows)
  } finally {
    await session.release()
  }
}

function onlyInput(path: string, names: readonly string[]): string {
  const [first] = names
  if (first !== undefined && names.length === 1) return first
  throw new LangevinError(
    'E_ONNX',
    `the feature network '${path}' must have one input; it has ${names.length}: ${names.join(', ')}`,
  )
}

function chosenOutput(path: string, names: readonly string[], wanted: string | undefined): string {
  const output = wanted ?? names[0]
  if (output !== undefined && names.includes(output)) return output
  throw new LangevinError(
    'E_ONNX',
    `the feature network '${path}' has no output '${output}'.${suggestion(output ?? '', names)}`,
  )
}

interface OrtTensor {
  readonly type: string
  readonly dims: readonly number[]
  readonly data: unknown
}

function readFeatures(path: string, output: string, value: OrtTensor | undefined, rows: number): Float32Array {
  if (value?.data instanceof Float32Array && value.dims[0] === rows) return value.data
  const got = value === undefined ? 'nothing' : `${value.type}${showShape(value.dims)}`
  throw new LangevinError('E_ONNX', `output '${output}' of '${path}' must be float32 [${rows}, ...]; got ${got}`, {
    path,
    output,
  })
}

function joinRows(parts: readonly Float32Array[], rows: number): HostTensor {
  const data = new Float32Array(parts.reduce((n, p) => n + p.length, 0))
  let at = 0
  for (const part of parts) {
    data.set(part, at)
    at += part.length
  }
  return hostTensor(data, [rows, data.length / rows])
}

function messageOf(cause: unknown): string {
  return cause instanceof Error ? cause.message : String(cause)
}
