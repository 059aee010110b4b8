/** Sampling from a trained JEM with the very chain it was trained with: same sampler, same starts, same norm mode, same batch of chains. */
import { LangevinError } from '../graph/errors.ts'
import type { Network } from '../nn/network.ts'
import { Variables } from '../nn/variables.ts'
import * as ops from '../ops/index.ts'
import { Recorder, type Stage, type State } from '../runtime/state.ts'
import { partsOf } from '../samplers/starts.ts'
import { networkTarget } from '../samplers/target.ts'
import { recordRound, samplerRound } from './chain-round.ts'
import type { ResolvedJem } from './jem.ts'
import type { SamplingCode } from './method.ts'
import { integer } from './options.ts'
import { BUFFER } from './replay.ts'
import { SAMPLE_CHAIN_KEY, SAMPLE_KEY, SAMPLE_X, type SampleOptions } from './sampling.ts'
import { STREAM } from './streams.ts'

/** Records chain starts from the buffer or anew, and the steps. */
export async function jemSampling(
  state: State,
  network: Network,
  settings: ResolvedJem,
  options: SampleOptions,
): Promise<SamplingCode> {
  const { batch, sampler, replay, chainNorm } = settings
  const wanted = options.class
  const from = options.from ?? (wanted === undefined && state.has(BUFFER) ? 'buffer' : 'start')
  checkSource(from, state, settings)
  const steps = options.steps ?? sampler.steps * (from === 'buffer' ? 1 : 10)
  integer('sample: steps', steps, 0)
  const begin = new Recorder(state)
  const key = begin.read(SAMPLE_KEY)
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
    begin.write(SAMPLE_X, ops.gather(begin.read(BUFFER), rows, { axis: 0 }))
    classRow = replay.classOf(rows)
  } else {
    begin.write(SAMPLE_X, replay.fresh(begin, key, classRow, ops.ge(classRow, 0), STREAM.start))
  }
  begin.write('sample/classes', classRow)
  begin.write(SAMPLE_KEY, ops.nextKey(key))
  const stages: Stage[] = [await begin.compile('start')]
  // Chains that were trained per class go on per class.
  const perClass = settings.classConditional || (settings.weights.px === 0 && settings.weights.pxy > 0)
  const round = samplerRound({
    name: 'sample',
    sampler,
    x: SAMPLE_X,
    key: SAMPLE_CHAIN_KEY,
    stream: STREAM.chain,
    target: (r) => {
      const classes = wanted !== undefined || perClass ? { classes: r.read('sample/classes') } : {}
      const pass = { variables: new Variables((v) => r.read(v.name)), norm: chainNorm }
      return networkTarget(network, pass, { firstStage: sampler.firstStage, ...classes })
    },
  })
  return { code: await recordRound(state, stages, round, steps), stages }
}

function checkSource(from: string, state: State, { replay }: ResolvedJem): void {
  if (from === 'model')
    throw new LangevinError(
      'E_CONFIG',
      "sample: this method trains no flow or generator; use from: 'buffer' or 'start'",
    )
  if (from === 'buffer' && !state.has(BUFFER))
    throw new LangevinError('E_CONFIG', "sample: this run holds no replay buffer; use from: 'start'")
  if (from === 'start' && partsOf(replay.start).some((p) => p.kind === 'data')) {
    throw new LangevinError(
      'E_CONFIG',
      "sample: this run's chains start at training data, which a checkpoint does not hold; use from: 'buffer'",
    )
  }
}
