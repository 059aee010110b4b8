/**
 * Parallel tempering (replica exchange): every chain has replicas at K temperatures, stepped as one batch, and neighbours exchange their
 * points. Hot replicas cross barriers; those at temperature 1 are the draws.
 */
import { LangevinError, suggestion } from '../graph/errors.ts'
import type { Tensor } from '../graph/tensor.ts'
import * as ops from '../ops/index.ts'
import type { HmcOptions } from './hmc.ts'
import type { MalaOptions } from './mala.ts'
import { resolve } from './options.ts'
import { perRow } from './rows.ts'
import type { RwmOptions } from './rwm.ts'
import type { Sampler, SamplerState, StepResult } from './sampler.ts'
import type { Target } from './target.ts'

/** Samplers that may run inside: Metropolis ones with nothing per chain but x, energy and score. */
export type TemperedOptions = RwmOptions | MalaOptions | HmcOptions
const innerKinds: readonly string[] = ['rwm', 'mala', 'hmc'] satisfies TemperedOptions['kind'][]

/**
 * Swendsen & Wang 1986; Geyer 1991. Replica k draws from p(x)^(1/T_k). Each step is one of the inner sampler for all replicas, and then
 * an exchange of the pairs (0,1), (2,3), ... in even rounds, (1,2), (3,4), ... in odd ones, accepted with probability
 * min(1, exp((1/T_j - 1/T_k)(E_j - E_k))): energies are known, so exchanges cost no pass. Exact for every ladder.
 *
 * Info tells of the replicas at T = 1; `details.swapAcceptance` [K-1] is the mean probability of an exchange of each neighbouring pair.
 * Ladders work best where these are alike and between 0.2 and 0.5; one near 0 cuts the ladder in two.
 */
export interface ParallelTemperingOptions {
  readonly kind: 'parallelTempering'
  /** Default { kind: 'mala' }. Warm-up tunes it, with the mean acceptance of all replicas. */
  readonly inner?: TemperedOptions
  /** Temperatures from 1 up: a geometric ladder, or a list that begins with 1. Default { count: 8, max: 50 }. */
  readonly temperatures?: { readonly count: number; readonly max: number } | readonly number[]
  /**
   * Replica k steps √T_k times as far, which is right for Gaussians: the inner sampler then sees the same width at every temperature. Default
   * 'auto': true unless the inner sampler has bounds, which forbid it.
   */
  readonly scaleSteps?: boolean | 'auto'
}

/** @throws RangeError, LangevinError E_CONFIG for impossible options. */
export function makeParallelTempering(
  given: ParallelTemperingOptions,
  makeInner: (options: TemperedOptions) => Sampler,
): Sampler<Required<ParallelTemperingOptions>> {
  const options = resolve(given, {
    kind: 'parallelTempering',
    inner: { kind: 'mala' },
    temperatures: { count: 8, max: 50 },
    scaleSteps: 'auto',
  })
  const temperatures = ladder(options.temperatures)
  const innerKind: string = options.inner.kind
  if (!innerKinds.includes(innerKind)) {
    throw new LangevinError(
      'E_CONFIG',
      `sampler parallelTempering: inner '${innerKind}' cannot run inside; Metropolis samplers can.${suggestion(innerKind, innerKinds)}`,
    )
  }
  const inner = makeInner(options.inner)
  if (options.scaleSteps === true && inner.bounds !== null) {
    throw new LangevinError(
      'E_CONFIG',
      'sampler parallelTempering: scaleSteps cannot be true with bounds of the inner sampler; set it to false, or the bounds to null',
    )
  }
  const scaled = options.scaleSteps === 'auto' ? inner.bounds === null : options.scaleSteps
  const replicas = new Replicas(temperatures, scaled)
  const advance =
    (step: Sampler['step']): Sampler['step'] =>
    (target, state, key, stream) =>
      replicas.step(step, target, state, key, stream)
  const { adaptation } = inner
  return {
    kind: 'parallelTempering',
    options,
    steps: inner.steps,
    bounds: inner.bounds,
    firstStage: 1,
    gradientsPerStep: inner.gradientsPerStep * temperatures.length,
    ...(inner.controls && { controls: inner.controls }),
    init: (target, x, key, stream) => replicas.init(inner, target, x, key, stream),
    step: advance((...a) => inner.step(...a)),
    ...(adaptation && {
      adaptation: {
        steps: adaptation.steps,
        step: advance((...a) => adaptation.step(...a)),
        finish: (state: SamplerState) => replicas.outer(state.x.shape, adaptation.finish(replicas.inner(state)), state),
      },
    }),
  }
}

/** Stream of the exchanges, beyond those that the inner sampler uses. */
const STREAM_SWAP = 998

/**
 * The replicas of n chains at K temperatures: row k·n + i is replica k of chain i, so that the first n rows are the draws. In scaled
 * coordinates the inner sampler moves y = x/√T, whose density p(√T y)^(1/T) is as wide at every temperature if p is Gaussian.
 */
class Replicas {
  private readonly betas: readonly number[]
  /** x = scale·y. */
  private readonly scales: readonly number[]

  constructor(temperatures: readonly number[], scaled: boolean) {
    this.betas = temperatures.map((t) => 1 / t)
    this.scales = temperatures.map((t) => (scaled ? Math.sqrt(t) : 1))
  }

  init(inner: Sampler, target: Target, x: Tensor, key: Tensor, stream: number): SamplerState {
    const k = this.betas.length
    const [n = 0, ...shape] = x.shape
    const all = ops.reshape(ops.broadcast(x, [k, ...x.shape]), [k * n, ...shape])
    const y = ops.div(all, perRow(this.rows(this.scales, n), all))
    const state = inner.init(this.tempered(target, n), y, key, stream)
    return this.outer(x.shape, state, { x, round: ops.scalar(0, 'int32') })
  }

  step(innerStep: Sampler['step'], target: Target, state: SamplerState, key: Tensor, stream: number): StepResult {
    const { x } = state
    const n = x.shape[0] as number
    const k = this.betas.length
    const moved = innerStep(this.tempered(target, n), this.inner(state), key, stream)
    const round = state.round as Tensor
    const { take, probability } = this.exchanges(moved, round, n, ops.uniform(key, [k - 1, n], stream + STREAM_SWAP))
    const swap = (v: Tensor, factors: readonly number[]): Tensor => exchanged(v, take, factors)
    const { energy, score } = moved.state
    const swapped: SamplerState = {
      ...moved.state,
      x: swap(
        moved.state.x,
        this.scales.map((s) => 1 / s),
      ),
      energy: swap(energy as Tensor, this.betas),
      ...(score && {
        score: swap(
          score,
          this.betas.map((b, i) => b * (this.scales[i] as number)),
        ),
      }),
    }
    const cold = (v: Tensor) => ops.sliceAxis(v, 0, 0, n)
    const bad = ops.max(ops.reshape(ops.cast(moved.info.divergent, 'float32'), [k, n]), 0)
    return {
      state: this.outer(x.shape, swapped, { x, round: ops.rem(ops.add(round, 1), 2) }),
      key: moved.key,
      info: {
        energy: cold(swapped.energy as Tensor),
        acceptance: cold(moved.info.acceptance),
        divergent: ops.gt(bad, 0),
        details: { swapAcceptance: ops.mean(probability, 1) },
      },
    }
  }

  /** The inner sampler's state. */
  inner({ x: _, round: __, replicas, ...rest }: SamplerState): SamplerState {
    return { ...rest, x: replicas as Tensor }
  }

  /** The state of all, from the inner sampler's. */
  outer(shape: readonly number[], { x, ...rest }: SamplerState, own: SamplerState): SamplerState {
    return { ...rest, x: ops.sliceAxis(x, 0, 0, shape[0] as number), replicas: x, round: own.round as Tensor }
  }

  /** The density of y at each row's temperature. */
  private tempered(target: Target, n: number): Target {
    const beta = this.rows(this.betas, n)
    const scale = this.rows(this.scales, n)
    return {
      ...(target.shape && { shape: target.shape }),
      logDensity: (y) => ops.mul(target.logDensity(ops.mul(y, perRow(scale, y))), beta),
    }
  }

  /** Which pairs exchange, bool [K-1, n], and with what probability each pair would. */
  private exchanges({ state }: StepResult, round: Tensor, n: number, u: Tensor): { take: Tensor; probability: Tensor } {
    const k = this.betas.length
    const betas = ops.constant(this.betas, [k, 1])
    const energy = ops.div(ops.reshape(state.energy as Tensor, [k, n]), betas)
    const rise = (v: Tensor) => ops.sub(ops.sliceAxis(v, 0, 0, k - 1), ops.sliceAxis(v, 0, 1, k))
    const logRatio = ops.mul(rise(betas), rise(energy))
    const known = ops.eq(logRatio, logRatio)
    const probability = ops.select(known, ops.exp(ops.minimum(logRatio, 0)), 0)
    const turn = ops.eq(ops.rem(ops.iota([k - 1, 1], 0), 2), round)
    return { take: ops.logicalAnd(turn, ops.lt(u, probability)), probability }
  }

  /** One value a temperature, as one a row. */
  private rows(values: readonly number[], n: number): Tensor {
    const k = values.length
    return ops.reshape(ops.broadcast(ops.constant(values, [k, 1]), [k, n]), [k * n])
  }
}

/**
 * v [K·n, ...] after the exchanges `take` [K-1, n] of neighbours, none of which share a replica. What comes from replica j to replica k is
 * multiplied by factors[k]/factors[j]: points, energies and scores of replicas differ by such factors.
 */
function exchanged(v: Tensor, take: Tensor, factors: readonly number[]): Tensor {
  const k = factors.length
  const [rows = 0, ...shape] = v.shape
  const n = rows / k
  const all = ops.reshape(v, [k, n, ...shape])
  const ones = shape.map(() => 1)
  const part = (from: number, to: number) => ops.sliceAxis(all, 0, from, to)
  const ratio = (to: number, from: number) => (factors[to] as number) / (factors[from] as number)
  const ratios = (step: 1 | -1) =>
    ops.constant(
      factors.map((_, i) => (i + step < 0 || i + step >= k ? 1 : ratio(i, i + step))),
      [k, 1, ...ones],
    )
  const none = ops.zeros([1, n])
  const flags = ops.cast(take, 'float32')
  const mask = (parts: Tensor[]) => ops.gt(ops.reshape(ops.concat(parts, 0), [k, n, ...ones]), 0)
  const up = ops.mul(ops.concat([part(1, k), part(k - 1, k)], 0), ratios(1))
  const down = ops.mul(ops.concat([part(0, 1), part(0, k - 1)], 0), ratios(-1))
  const next = ops.select(mask([flags, none]), up, ops.select(mask([none, flags]), down, all))
  return ops.reshape(next, v.shape)
}

function ladder(given: Required<ParallelTemperingOptions>['temperatures']): readonly number[] {
  const refuse = (what: string): never => {
    throw new RangeError(`sampler parallelTempering: ${what}`)
  }
  if ('max' in given) {
    const { count, max } = given
    if (!Number.isInteger(count) || count < 2) refuse(`temperatures.count must be an integer ≥ 2; got ${count}`)
    if (!(Number.isFinite(max) && max > 1)) refuse(`temperatures.max must be a finite number > 1; got ${max}`)
    return Array.from({ length: count }, (_, i) => max ** (i / (count - 1)))
  }
  const rising = given.every((t, i) => Number.isFinite(t) && (i === 0 ? t === 1 : t > (given[i - 1] as number)))
  if (given.length < 2 || !rising)
    refuse(`temperatures must be two or more finite numbers that begin with 1 and rise; got [${given.join(', ')}]`)
  return given
}
