/** Drawing samples from a trained run, as its method draws them. The recording is the method's; this runs it batch by batch. */
import { checkInteger } from '../graph/checks.ts'
import { LangevinError } from '../graph/errors.ts'
import { type HostTensor, hostTensor } from '../graph/host-tensor.ts'
import { sizeOf } from '../graph/shape.ts'
import type { Tensor } from '../graph/tensor.ts'
import type { Model } from '../nn/model.ts'
import type { Network } from '../nn/network.ts'
import * as ops from '../ops/index.ts'
import { checkPrecision, type Precision } from '../runtime/compile.ts'
import { makeProgram } from '../runtime/program.ts'
import { keyFromSeed, Recorder, runStage, State } from '../runtime/state.ts'
import type { DataDescription } from './checkpoint.ts'
import { disposeStages } from './engine.ts'
import type { Method, SamplingCode } from './method.ts'

export interface SampleOptions {
  /** Default 100. */
  readonly count?: number
  /** Only this class, by chains of p(x|y). */
  readonly class?: number
  /** Sampler steps; default is the method's: one training round from the buffer, ten from fresh starts. */
  readonly steps?: number
  /**
   * 'buffer': the training chains go on (default where there is a buffer and no class is asked for);
   * 'start': fresh chains from the training's starting distribution;
   * 'model': exact draws of the flow or generator that was trained beside the energy.
   */
  readonly from?: 'buffer' | 'start' | 'model'
  /** Default 0. */
  readonly seed?: number
  /** 'bfloat16': see `CompileOptions`; whatever the run was trained with. Default 'float32'. */
  readonly precision?: Precision
  readonly signal?: AbortSignal
  readonly onProgress?: (done: number, total: number) => void
}

export interface SampleSource {
  readonly model: Model
  readonly method: Method
  readonly data: DataDescription
  /** What the method kept, and its modules' variables as trained. */
  readonly tensors: ReadonlyMap<string, HostTensor>
}

/** State names that sampling uses. */
export const SAMPLE_X = 'sample/x'
export const SAMPLE_KEY = 'sample/key'
export const SAMPLE_CHAIN_KEY = 'sample/chainKey'

const notKept = ['optimizer/', 'ema/', 'rng/', 'schedule/']

/** True for tensors of a run that belong to the method rather than to the network, the optimizer or the run's counters. */
export function keptTensors(name: string, network: Network): boolean {
  return !notKept.some((p) => name.startsWith(p)) && !network.variables.some((v) => v.name === name)
}

/** Samples [count, ...shape] in the units the network sees. @throws LangevinError E_CANCELLED, RangeError for impossible options. */
export async function drawSamples(source: SampleSource, options: SampleOptions): Promise<HostTensor> {
  const { count = 100, signal, onProgress, seed = 0 } = options
  checkInteger('sample: count', count, 1)
  checkClass(source, options.class)
  checkPrecision(options.precision)
  const state = new State(source.model.device, options.precision)
  try {
    for (const v of source.model.network.variables) await state.put(v.name, source.model.value(v.name))
    for (const [name, value] of source.tensors) await state.put(name, value)
    await state.put(SAMPLE_KEY, keyFromSeed(seed))
    await state.put(SAMPLE_CHAIN_KEY, keyFromSeed(BigInt(seed) ^ (1n << 63n)))
    const { code, stages } = await source.method.sampling(state, options)
    try {
      const program = makeProgram(code)
      const { shape } = source.data
      const each = sizeOf(shape)
      const out = new Float32Array(count * each)
      for (let done = 0; done < count; ) {
        const result = await program.run(1, signal ? { signal } : {})
        if (result.cancelled || signal?.aborted)
          throw new LangevinError('E_CANCELLED', `sampling was cancelled after ${done} of ${count} samples`)
        const drawn = await state.get(SAMPLE_X).read()
        const rows = Math.min(drawn.shape[0] as number, count - done)
        out.set((drawn.data as Float32Array).subarray(0, rows * each), done * each)
        done += rows
        onProgress?.(done, count)
      }
      return hostTensor(out, [count, ...shape])
    } finally {
      disposeStages(stages)
    }
  } finally {
    state.dispose()
  }
}

/** The code of methods that draw without chains: each run leaves the batch that `draw` gives, from a key of its own. */
export async function exactSampling(state: State, draw: (r: Recorder, key: Tensor) => Tensor): Promise<SamplingCode> {
  const r = new Recorder(state)
  const key = r.read(SAMPLE_KEY)
  r.write(SAMPLE_X, draw(r, key))
  r.write(SAMPLE_KEY, ops.nextKey(key))
  const stage = await r.compile('sample')
  return { code: [runStage(stage)], stages: [stage] }
}

function checkClass({ model, data }: SampleSource, wanted: number | undefined): void {
  if (wanted === undefined) return
  model.network.needClasses('sample: class')
  if (!(Number.isInteger(wanted) && wanted >= 0 && wanted < data.classes))
    throw new RangeError(`sample: class must be an integer in 0..${data.classes - 1}; got ${wanted}`)
}
