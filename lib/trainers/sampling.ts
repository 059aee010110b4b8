/** Sampling from a trained run with the very chain it was trained with: same sampler, same starts, same norm mode, same batch of chains. */
import { LangevinError } from '../graph/errors.ts'
import { type HostTensor, hostTensor } from '../graph/host-tensor.ts'
import { sizeOf } from '../graph/shape.ts'
import type { Model } from '../nn/model.ts'
import { Variables } from '../nn/variables.ts'
import * as ops from '../ops/index.ts'
import { type Instruction, makeProgram } from '../runtime/program.ts'
import { keyFromSeed, Recorder, type Stage, State } from '../runtime/state.ts'
import { partsOf } from '../samplers/starts.ts'
import { networkTarget } from '../samplers/target.ts'
import type { DataDescription } from './checkpoint.ts'
import type { ResolvedJem } from './jem.ts'
import { integer } from './options.ts'
import { BUFFER } from './replay.ts'
import { STREAM } from './streams.ts'

export interface SampleOptions {
  /** Default 100. */
  readonly count?: number
  /** Only this class, by chains of p(x|y). */
  readonly class?: number
  /** Sampler steps; default one training round from the buffer, ten from fresh starts. */
  readonly steps?: number
  /**
   * 'buffer': the training chains go on (default where there is a buffer and no class is asked for);
   * 'start': fresh chains from the training's starting distribution.
   */
  readonly from?: 'buffer' | 'start'
  /** Default 0. */
  readonly seed?: number
  readonly signal?: AbortSignal
  readonly onProgress?: (done: number, total: number) => void
}

export interface SampleSource {
  readonly model: Model
  readonly settings: ResolvedJem
  readonly data: DataDescription
  /** `start/*` and the buffer. */
  readonly tensors: ReadonlyMap<string, HostTensor>
}

/** Samples [count, ...shape] in [-1, 1] (or the sampler's bounds). @throws LangevinError E_CANCELLED, RangeError for impossible options. */
export async function drawSamples(source: SampleSource, options: SampleOptions): Promise<HostTensor> {
  const { count = 100, signal, onProgress } = options
  integer('sample: count', count, 1)
  const state = new State(source.model.device)
  try {
    const chain = await prepare(state, source, options)
    const { shape } = source.data
    const each = sizeOf(shape)
    const out = new Float32Array(count * each)
    for (let done = 0; done < count; ) {
      const result = await chain.program.run(1, signal ? { signal } : {})
      if (result.cancelled || signal?.aborted)
        throw new LangevinError('E_CANCELLED', `sampling was cancelled after ${done} of ${count} samples`)
      const { data } = await state.get('sample/x').read()
      const rows = Math.min(chain.batch, count - done)
      out.set((data as Float32Array).subarray(0, rows * each), done * each)
      done += rows
      onProgress?.(done, count)
    }
    for (const s of chain.stages) s.plan.dispose()
    return hostTensor(out, [count, ...shape])
  } finally {
    state.dispose()
  }
}

async function prepare(state: State, source: SampleSource, options: SampleOptions) {
  const { model, settings, tensors } = source
  const { batch, sampler, replay, chainNorm } = settings
  const wanted = options.class
  const { classes } = source.data
  if (wanted !== undefined) model.network.needClasses('sample: class')
  if (wanted !== undefined && !(Number.isInteger(wanted) && wanted >= 0 && wanted < classes)) {
    throw new RangeError(`sample: class must be an integer in 0..${classes - 1}; got ${wanted}`)
  }
  const from = options.from ?? (wanted === undefined && tensors.has(BUFFER) ? 'buffer' : 'start')
  if (from === 'buffer' && !tensors.has(BUFFER))
    throw new LangevinError('E_CONFIG', "sample: this run holds no replay buffer; use from: 'start'")
  if (from === 'start' && partsOf(replay.start).some((p) => p.kind === 'data')) {
    throw new LangevinError(
      'E_CONFIG',
      "sample: this run's chains start at training data, which a checkpoint does not hold; use from: 'buffer'",
    )
  }
  const steps = options.steps ?? sampler.steps * (from === 'buffer' ? 1 : 10)
  integer('sample: steps', steps, 0)
  for (const v of model.network.variables) await state.put(v.name, model.value(v.name))
  for (const [name, value] of tensors) await state.put(name, value)
  const seed = options.seed ?? 0
  await state.put('sample/key', keyFromSeed(seed))
  await state.put('sample/chainKey', keyFromSeed(BigInt(seed) ^ (1n << 63n)))
  const begin = new Recorder(state)
  const key = begin.read('sample/key')
  let classRow =
    wanted === undefined
      ? ops.randomInt(key, [batch], { stream: STREAM.bufferClasses, bound: replay.classes })
      : ops.add(ops.mul(ops.iota([batch], 0), 0), wanted)
  if (from === 'buffer') {
    const rows =
      wanted === undefined
        ? ops.shuffleIndex(key, { n: replay.size, count: Math.min(batch, replay.size), stream: STREAM.bufferRows })
        : ops.add(
            ops.randomInt(key, [batch], { stream: STREAM.bufferRows, bound: replay.perClass }),
            wanted * replay.perClass,
          )
    begin.write('sample/x', ops.gather(begin.read(BUFFER), rows, { axis: 0 }))
    classRow = replay.classOf(rows)
  } else {
    const all = ops.ge(classRow, 0)
    begin.write('sample/x', replay.fresh(begin, key, classRow, all, STREAM.start))
  }
  begin.write('sample/classes', classRow)
  begin.write('sample/key', ops.nextKey(key))
  const stages: Stage[] = [await begin.compile('start')]
  const r = new Recorder(state)
  // Chains that were trained per class go on per class.
  const perClass = settings.classConditional || (settings.weights.px === 0 && settings.weights.pxy > 0)
  const conditional = wanted !== undefined || perClass ? { classes: r.read('sample/classes') } : {}
  const pass = { variables: new Variables((v) => r.read(v.name)), norm: chainNorm }
  const target = networkTarget(model.network, pass, { firstStage: sampler.firstStage, ...conditional })
  const step = sampler.step(target, { x: r.read('sample/x') }, r.read('sample/chainKey'), STREAM.chain)
  r.write('sample/x', step.state.x)
  r.write('sample/chainKey', step.key)
  if (steps > 0) stages.push(await r.compile('chain'))
  const run = (s: Stage): Instruction => ({ do: 'run', plan: s.plan, inputs: s.inputs, outputs: s.outputs })
  const code = [
    run(stages[0] as Stage),
    ...(steps > 0 ? [{ do: 'repeat', count: steps, body: [run(stages[1] as Stage)] } as Instruction] : []),
  ]
  return { program: makeProgram(code), stages, batch: state.get('sample/x').shape[0] as number }
}
