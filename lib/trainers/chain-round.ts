/**
 * Sampler rounds over the state: where a sampler's tensors stand by name, and the recording of its start and step. Used inside training steps
 * and by sampling after them.
 */
import { LangevinError } from '../graph/errors.ts'
import type { Tensor } from '../graph/tensor.ts'
import * as ops from '../ops/index.ts'
import type { Instruction } from '../runtime/program.ts'
import { Recorder, runStage, type Stage, type State } from '../runtime/state.ts'
import type { Sampler, SamplerState } from '../samplers/sampler.ts'
import type { Target } from '../samplers/target.ts'
import { CHAIN_KEY } from './engine.ts'
import type { ChainRound } from './method.ts'

export interface SamplerRound {
  /** The chains stand in `chain/<name>`, what the sampler keeps beside them in `chain/<name>.<tensor>`. */
  readonly name: string
  readonly sampler: Sampler
  /** Steps; default the sampler's. */
  readonly steps?: ChainRound['steps']
  target(r: Recorder): Target
  readonly stream: number
  /** State name of x; default `chain/<name>`. */
  readonly x?: string
  /** State name of the key; default the training chains'. */
  readonly key?: string
}

/** Where a sampler's state tensor stands. */
function placeOf({ name, x = `chain/${name}` }: SamplerRound, tensor: string): string {
  return tensor === 'x' ? x : `${x}.${tensor}`
}

/** Records rounds of any sampler: its `init` before the steps where it keeps more than x, and one step that writes the mean energy and acceptance. */
export function samplerRound(round: SamplerRound): ChainRound {
  const { name, sampler, stream, key = CHAIN_KEY } = round
  if (sampler.transitions !== undefined) {
    throw new LangevinError(
      'E_CONFIG',
      `sampler '${sampler.kind}' cannot run a fixed number of steps: its chains complete their transitions at different ones. Use 'hmc' or 'mala' here; after training, sample(model, { sampler: { kind: '${sampler.kind}' } }) counts transitions.`,
    )
  }
  const kept: string[] = []
  const begin = (r: Recorder): void => {
    const x = r.read(placeOf(round, 'x'))
    const state = sampler.init(round.target(r), x, r.read(key), stream)
    // Samplers of discrete x round their starting points.
    if (state.x !== x) r.write(placeOf(round, 'x'), state.x)
    kept.push(...Object.keys(state).filter((k) => k !== 'x' && !kept.includes(k)))
    for (const k of kept) r.write(placeOf(round, k), state[k] as Tensor)
    if (kept.length > 0) r.write(key, ops.nextKey(r.read(key)))
  }
  const record = (r: Recorder): void => {
    const from: SamplerState = {
      x: r.read(placeOf(round, 'x')),
      ...Object.fromEntries(kept.map((k) => [k, r.read(placeOf(round, k))])),
    }
    const step = sampler.step(round.target(r), from, r.read(key), stream)
    for (const k of ['x', ...kept]) r.write(placeOf(round, k), step.state[k] as Tensor)
    r.write(key, step.key)
    r.write(`chain/${name}Energy`, ops.mean(step.info.energy))
    if (!sampler.stateless) r.write(`chain/${name}Acceptance`, ops.mean(step.info.acceptance))
  }
  const steps = round.steps ?? sampler.steps
  return sampler.stateless ? { name, steps, record } : { name, steps, begin, record }
}

/** Code that runs the compiled stages so far, then `steps` steps of the round; compiles what the round adds. */
export async function recordRound(
  state: State,
  stages: Stage[],
  round: ChainRound,
  steps: number,
): Promise<Instruction[]> {
  const code: Instruction[] = stages.map(runStage)
  if (steps === 0) return code
  const compile = async (name: string, record: (r: Recorder) => void): Promise<Instruction> => {
    const r = new Recorder(state)
    record(r)
    const s = await r.compile(name)
    stages.push(s)
    return runStage(s)
  }
  if (round.begin !== undefined) code.push(await compile('chain begin', (r) => round.begin?.(r)))
  code.push({ do: 'repeat', count: steps, body: [await compile('chain', (r) => round.record(r))] })
  return code
}
