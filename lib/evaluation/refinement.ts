/**
 * Refine-then-classify, the defence of energy-based classifiers (Grathwohl et al. 2020; Hill et al. 2021): an input is moved by some sampler steps
 * towards where p(x) is large and only then classified, its logits averaged over several such runs. Graphs and plans; robustness.ts uses them.
 */
import { z } from 'zod'
import { LangevinError, suggestion } from '../graph/errors.ts'
import type { Tensor } from '../graph/tensor.ts'
import type { Network } from '../nn/network.ts'
import type { Pass } from '../nn/variables.ts'
import { repeatBatch } from '../objectives/terms.ts'
import * as ops from '../ops/index.ts'
import type { Instruction, RunInstruction } from '../runtime/program.ts'
import type { Recorder } from '../runtime/state.ts'
import type { Sampler, SamplerState } from '../samplers/sampler.ts'
import { makeSampler, type SamplerOptions } from '../samplers/samplers.ts'
import { samplerSchema } from '../samplers/schema.ts'
import { networkTarget, type Target } from '../samplers/target.ts'
import { checkCount } from './checks.ts'

/**
 * What an attack knows of the refinement. `around`: nothing, it follows the classifier's own gradient, which is a weak test. `identity` (BPDA,
 * Athalye 2018): it refines, and passes the gradient at the refined points back as if refining did nothing. `through`: it differentiates through
 * the sampler steps (memory and time grow with them). Both average over the draws (expectation over transformation).
 */
export type RefineAttack = 'around' | 'identity' | 'through'
const refineAttacks: readonly RefineAttack[] = ['around', 'identity', 'through']

export interface RefineOptions {
  /** Any sampler; its noise, step and bounds. */
  readonly sampler: SamplerOptions
  /** Steps from the input; default the sampler's. */
  readonly steps?: number
  /** Independent runs whose logits are averaged; default 1. */
  readonly draws?: number
  /** Default identity. */
  readonly attack?: RefineAttack
}

/** RefineOptions as plain data. */
export const refineSchema = z.strictObject({
  sampler: samplerSchema,
  steps: z.int().min(1).optional(),
  draws: z.int().min(1).optional(),
  attack: z.enum(['around', 'identity', 'through']).optional(),
})

/** Compiles a plan; its stage is freed by the caller. */
export type Compile = (name: string, record: (r: Recorder) => void) => Promise<RunInstruction>

const STREAM_REFINE = 1000

/** A refinement of batches of one network. */
export class Refinement {
  readonly attack: RefineAttack
  readonly steps: number
  readonly draws: number
  readonly sampler: Sampler<SamplerOptions>
  private readonly network: Network

  /** @throws LangevinError E_CONFIG, RangeError for options that do not fit */
  constructor(network: Network, options: RefineOptions) {
    const { attack = 'identity', draws = 1 } = options
    if (!refineAttacks.includes(attack))
      throw new LangevinError(
        'E_CONFIG',
        `refine.attack: '${attack}' is not known.${suggestion(String(attack), [...refineAttacks])}`,
      )
    this.sampler = makeSampler(options.sampler)
    if (this.sampler.schedule)
      throw new LangevinError(
        'E_CONFIG',
        `refine.sampler: '${this.sampler.kind}' is a schedule from a start of its own; use sgld, ula, mala, pyld, ...`,
      )
    this.steps = options.steps ?? this.sampler.steps
    checkCount('refine.steps', this.steps, 1)
    checkCount('refine.draws', draws, 1)
    this.draws = draws
    this.attack = attack
    this.network = network
  }

  private target(pass: Pass): Target {
    return networkTarget(this.network, pass, { firstStage: this.sampler.firstStage })
  }

  /** Mean logits [n, k] over the draws, of refined points [draws·n, ...]. */
  logits(points: Tensor, pass: Pass): Tensor {
    const logits = this.network.logits(points, pass)
    const [rows, classes] = logits.shape as readonly [number, number]
    if (this.draws === 1) return logits
    return ops.mean(ops.reshape(logits, [this.draws, rows / this.draws, classes]), 0)
  }

  /** Refined logits of x as one graph, with the gradient that an attack sees. */
  unrolled(x: Tensor, pass: Pass, key: Tensor): Tensor {
    const target = this.target(pass)
    const tiled = repeatBatch(x, this.draws)
    let state = this.sampler.init(target, tiled, key, STREAM_REFINE)
    let next = ops.nextKey(key)
    for (let i = 0; i < this.steps; i++) {
      const step = this.sampler.step(target, state, next, STREAM_REFINE)
      state = step.state
      next = step.key
    }
    const through = this.attack === 'through'
    const points = through ? state.x : ops.add(tiled, ops.stopGradient(ops.sub(state.x, tiled)))
    return this.logits(points, pass)
  }

  /** The code that refines the state tensor `from` into `refine/x`; draws come from the state's `key`, which it moves on. */
  async code(compile: Compile, from: string, key: string, pass: (r: Recorder) => Pass): Promise<Instruction[]> {
    const { sampler } = this
    let kept: string[] = []
    const write = (r: Recorder, state: SamplerState): void => {
      for (const name of kept) r.write(`refine/${name}`, state[name] as Tensor)
    }
    const begin = await compile('refine begin', (r) => {
      const x = repeatBatch(r.read(from), this.draws)
      const state = sampler.init(this.target(pass(r)), x, r.read(key), STREAM_REFINE)
      kept = Object.keys(state)
      write(r, state)
      r.write(key, ops.nextKey(r.read(key)))
    })
    const step = await compile('refine', (r) => {
      const state = Object.fromEntries(kept.map((name) => [name, r.read(`refine/${name}`)])) as unknown as SamplerState
      const next = sampler.step(this.target(pass(r)), state, r.read(key), STREAM_REFINE)
      write(r, next.state)
      r.write(key, next.key)
    })
    return [begin, { do: 'repeat', count: this.steps, body: [step] }]
  }
}
