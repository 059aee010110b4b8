/** A sampler's file in ONNX Runtime: its inputs by what they mean, int64 scalars as numbers. For checks and tests; servers feed the runtime themselves. */
import { LangevinError } from '../graph/errors.ts'
import { type HostTensor, hostTensor } from '../graph/host-tensor.ts'
import { loadRuntime } from './runtime.ts'

/** Values of a sampler's inputs, by their names; those that the file lacks are left out, those that it has must be there. */
export interface SamplerFeeds {
  readonly x0?: HostTensor
  readonly y?: HostTensor
  readonly steps: number
  readonly step_size?: number
  readonly noise_scale?: number
  readonly seed?: number | bigint
  readonly noise?: HostTensor
  readonly init_noise?: HostTensor
}

export interface SamplerSession {
  readonly inputs: readonly string[]
  readonly outputs: readonly string[]
  run(feeds: SamplerFeeds): Promise<Map<string, HostTensor>>
  release(): Promise<void>
}

const wide: readonly string[] = ['steps', 'seed']

/** @throws LangevinError E_ONNX when onnxruntime-node is missing or refuses the model, or when an input has no value */
export async function openSampler(model: string | Uint8Array, threads?: number): Promise<SamplerSession> {
  const runtime = await loadRuntime()
  // Only what is fatal: errors are thrown, and need not be printed as well.
  const options = {
    executionProviders: ['cpu'],
    logSeverityLevel: 4 as const,
    ...(threads !== undefined && { intraOpNumThreads: threads, interOpNumThreads: 1 }),
  }
  const session = await (typeof model === 'string'
    ? runtime.InferenceSession.create(model, options)
    : runtime.InferenceSession.create(model, options)
  ).catch((cause: unknown) => {
    throw new LangevinError('E_ONNX', `[onnx] ONNX Runtime refuses the sampler: ${String(cause)}`, {}, cause)
  })
  const toTensor = (name: string, value: HostTensor | number | bigint): import('onnxruntime-node').Tensor => {
    if (typeof value === 'object') {
      const data = value.data
      if (data instanceof Float32Array) return new runtime.Tensor('float32', data, [...value.shape])
      return new runtime.Tensor('int32', data as Int32Array, [...value.shape])
    }
    if (wide.includes(name)) return new runtime.Tensor('int64', BigInt64Array.of(BigInt.asIntN(64, BigInt(value))), [])
    return new runtime.Tensor('float32', Float32Array.of(Number(value)), [])
  }
  return {
    inputs: session.inputNames,
    outputs: session.outputNames,
    async run(feeds) {
      const given = session.inputNames.map((name) => {
        const value = feeds[name as keyof SamplerFeeds]
        if (value === undefined)
          throw new LangevinError(
            'E_ONNX',
            `[onnx] the sampler needs the input '${name}'; it takes ${session.inputNames.join(', ')}`,
          )
        return [name, toTensor(name, value)] as const
      })
      const results = await session.run(Object.fromEntries(given)).catch((cause: unknown) => {
        throw new LangevinError('E_ONNX', `[onnx] ONNX Runtime cannot run the sampler: ${String(cause)}`, {}, cause)
      })
      return new Map(
        Object.entries(results).map(([name, t]) => {
          const { data, dims } = t as import('onnxruntime-node').Tensor
          return [name, hostTensor(data as Float32Array, [...dims])] as const
        }),
      )
    },
    release: () => session.release(),
  }
}
