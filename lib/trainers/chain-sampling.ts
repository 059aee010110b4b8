/**
 * Sampling from a trained run by chains: with the very chain it was trained with (same sampler, starts, norm mode and batch of chains) where
 * training has one, or with the sampler that the options name.
 */
import { checkInteger } from '../graph/checks.ts'
import { LangevinError } from '../graph/errors.ts'
import type { HostTensor } from '../graph/host-tensor.ts'
import type { Tensor } from '../graph/tensor.ts'
import type { Network } from '../nn/network.ts'
import { Variables } from '../nn/variables.ts'
import * as ops from '../ops/index.ts'
import { Recorder, runStage, type Stage, type State } from '../runtime/state.ts'
import { checkDiscrete } from '../samplers/discrete-check.ts'
import type { Sampler } from '../samplers/sampler.ts'
import { networkTarget, type Target } from '../samplers/target.ts'
import { recordRound, samplerRound } from './chain-round.ts'
import type { ChainStarts } from './chain-starts.ts'
import type { ChainRound, SamplingCode } from './method.ts'
import { BUFFER, type Replay } from './replay.ts'
import { SAMPLE_CHAIN_KEY, SAMPLE_KEY, SAMPLE_X, type SampleOptions } from './sampling.ts'
import { STREAM } from './streams.ts'

/** A chain as data: what `sampling` runs natively, and what an export writes as a graph. */
export interface ChainSampling {
  /** Chains at a time. */
  readonly batch: number
  readonly sampler: Sampler
  readonly starts: ChainStarts
  /** The buffer, where training keeps one. */
  readonly replay?: Replay
  /** Batch-norm statistics in the chain. */
  readonly norm: 'batch' | 'running'
  /** Each chain is of p(x|y) for a class of its own, even if none is asked for. */
  readonly perClass?: boolean
  /** Steps from fresh starts, or the name of an int32 scalar of the state that says how many; default ten rounds of the sampler. */
  readonly steps?: ChainRound['steps']
  /** Target, if it is not the network's own density; `values` then makes samples of the chains' ends. */
  readonly own?: {
    target(variables: Variables, classes: Tensor | undefined): Target
    values(x: Tensor): Tensor
  }
}

/** Steps of a chain from a fresh start; `tensors` are those of the run. */
export function freshSteps({ steps, sampler }: ChainSampling, tensors: ReadonlyMap<string, HostTensor>): number {
  if (steps === undefined || typeof steps === 'number') return steps ?? sampler.steps * 10
  const found = tensors.get(steps.from)
  if (found === undefined) throw new LangevinError('E_CHECKPOINT', `sample: the run has no tensor '${steps.from}'`)
  return found.data[0] as number
}

/** Rows of the buffer that the batch came from. */
const ROWS = 'sample/rows'

/** Records chain starts from the buffer or anew, and the steps. */
export async function chainSampling(
  state: State,
  network: Network,
  sampling: ChainSampling,
  options: SampleOptions,
): Promise<SamplingCode> {
  const { sampler, norm, perClass = false } = sampling
  const wanted = options.class
  const from = options.from ?? (wanted === undefined && state.has(BUFFER) ? 'buffer' : 'start')
  checkDiscrete(sampler, network)
  checkSource(from, state, sampling)
  const steps = options.steps ?? (from === 'buffer' ? sampler.steps : await stepsOf(state, sampling))
  checkInteger('sample: steps', steps, 0)
  const begin = new Recorder(state)
  recordStart(begin, sampling, from, wanted)
  const stages: Stage[] = [await begin.compile('start')]
  const round = samplerRound({
    name: 'sample',
    sampler,
    x: SAMPLE_X,
    key: SAMPLE_CHAIN_KEY,
    stream: STREAM.chain,
    target: (r) => {
      const classes = wanted !== undefined || perClass ? r.read('sample/classes') : undefined
      const variables = new Variables((v) => r.read(v.name))
      if (sampling.own !== undefined) return sampling.own.target(variables, classes)
      const conditional = classes === undefined ? {} : { classes }
      return networkTarget(network, { variables, norm }, { firstStage: sampler.firstStage, ...conditional })
    },
  })
  const code = await recordRound(state, stages, round, steps)
  const goesOn = from === 'buffer' && sampling.replay !== undefined
  if (!goesOn && sampling.own === undefined) return { code, stages }
  // Back to where they came from (in the state of this sampling alone), so that more samples than rows go on from the first ones.
  const end = new Recorder(state)
  const x = end.read(SAMPLE_X)
  if (goesOn) end.write(BUFFER, sampling.replay.put(end.read(BUFFER), end.read(ROWS), x))
  if (sampling.own !== undefined) end.write(SAMPLE_X, sampling.own.values(x))
  const back = await end.compile('end')
  stages.push(back)
  return { code: [...code, runStage(back)], stages }
}

/** Steps from a fresh start. */
async function stepsOf(state: State, sampling: ChainSampling): Promise<number> {
  const { steps } = sampling
  const from = typeof steps === 'object' ? steps.from : undefined
  return freshSteps(
    sampling,
    new Map(from !== undefined && state.has(from) ? [[from, await state.get(from).read()]] : []),
  )
}

function recordStart(r: Recorder, sampling: ChainSampling, from: string, wanted: number | undefined): void {
  const { batch, replay, starts } = sampling
  const key = r.read(SAMPLE_KEY)
  const count = replay === undefined ? batch : Math.min(batch, from === 'buffer' ? replay.size : batch)
  let classes =
    wanted === undefined
      ? ops.randomInt(key, [count], { stream: STREAM.bufferClasses, bound: starts.classes })
      : ops.add(ops.mul(ops.iota([count], 0), 0), wanted)
  if (from === 'buffer' && replay !== undefined) {
    const rows =
      wanted === undefined
        ? ops.shuffleIndex(key, { n: replay.size, count, stream: STREAM.bufferRows })
        : ops.add(
            ops.randomInt(key, [count], { stream: STREAM.bufferRows, bound: replay.perClass }),
            wanted * replay.perClass,
          )
    r.write(SAMPLE_X, ops.gather(r.read(BUFFER), rows, { axis: 0 }))
    r.write(ROWS, rows)
    classes = replay.classOf(rows)
  } else {
    r.write(SAMPLE_X, starts.draw(r, key, classes, ops.ge(classes, 0), STREAM.start))
  }
  r.write('sample/classes', classes)
  r.write(SAMPLE_KEY, ops.nextKey(key))
}

function checkSource(from: string, state: State, { starts, replay }: ChainSampling): void {
  if (from === 'model')
    throw new LangevinError(
      'E_CONFIG',
      "sample: this method trains no flow or generator; use from: 'buffer' or 'start'",
    )
  if (from === 'buffer' && (replay === undefined || !state.has(BUFFER)))
    throw new LangevinError('E_CONFIG', "sample: this run holds no replay buffer; use from: 'start'")
  if (from === 'start' && starts.needsData) {
    throw new LangevinError(
      'E_CONFIG',
      "sample: this run's chains start at training data, which a checkpoint does not hold; use from: 'buffer'",
    )
  }
}
