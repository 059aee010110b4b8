/**
 * The probability-flow ODE of the variance-exploding diffusion: a sampler without noise after its start, and with the instantaneous change of
 * variables, log densities. The integrator's step is flow-step.ts's part.
 */
import { LangevinError } from '../graph/errors.ts'
import { type HostTensor, hostTensor } from '../graph/host-tensor.ts'
import { sameShape, showShape, sizeOf } from '../graph/shape.ts'
import type { Tensor } from '../graph/tensor.ts'
import * as ops from '../ops/index.ts'
import { makeProgram } from '../runtime/program.ts'
import { keyFromSeed, Recorder, type Stage, State } from '../runtime/state.ts'
import { type FlowMethod, flowMethods, flowStep, plainRate, scoresPerStep, tracedRate } from './flow-step.ts'
import { levelAt, type Sigmas, sigmaLevels } from './levels.ts'
import { checkChoice, checkCount, resolve } from './options.ts'
import { halfSquare } from './rows.ts'
import { plainInfo, type Sampler } from './sampler.ts'
import { bindSource, type DensitySource, deviceOf, type SourceOptions, shapeOf } from './source.ts'
import type { Target } from './target.ts'

/**
 * dx/dσ = -σ·∇log p_σ(x) from σ₁ down to σ_L (Song et al., ICLR 2021, section 4.3; Karras et al. 2022), in fixed steps of log σ, one a
 * pair of neighbouring levels; then x ← x + σ_L²·∇log p_σL(x). Chains begin at N(0, σ₁²); the same start gives the same draw.
 *
 * Needs an energy conditioned on the noise level. A draw is one whole schedule.
 */
export interface ProbabilityFlowOptions {
  readonly kind: 'probabilityFlow'
  /** Default { largest: 10, smallest: 0.01, levels: 50 }. The largest should exceed the distances between data, in units of x. */
  readonly sigmas?: Sigmas
  /** 'heun' (two scores a step, default) or 'rk4' (four). */
  readonly method?: FlowMethod
  /** The last step to σ = 0; default true. */
  readonly denoise?: boolean
}

const DEFAULT_SIGMAS: Sigmas = { largest: 10, smallest: 0.01, levels: 50 }

/** @throws RangeError, LangevinError E_CONFIG for impossible options. */
export function makeProbabilityFlow(given: ProbabilityFlowOptions): Sampler<Required<ProbabilityFlowOptions>> {
  const options = resolve(given, { kind: 'probabilityFlow', sigmas: DEFAULT_SIGMAS, method: 'heun', denoise: true })
  const { kind, method, denoise } = options
  const levels = sigmaLevels(kind, options.sigmas, 2)
  checkChoice(kind, 'method', method, flowMethods)
  const flowSteps = levels.length - 1
  return {
    kind,
    options,
    steps: flowSteps + (denoise ? 1 : 0),
    bounds: null,
    firstStage: 1,
    gradientsPerStep: scoresPerStep[method],
    schedule: true,
    start: { kind: 'normal', mean: 0, std: levels[0] as number },
    init: (_, x) => ({ x, step: ops.scalar(0, 'int32') }),
    step(target, state, key) {
      const { x } = state
      const at = state.step as Tensor
      const sigma = levelAt(levels, at)
      const flowed = flowStep(method, plainRate(kind, target), x, sigma, levelAt(levels, ops.add(at, 1)))
      const last = denoise ? ops.select(ops.eq(at, flowSteps), flowed.denoised, x) : x
      const next = ops.select(ops.lt(at, flowSteps), flowed.x, last)
      const step = ops.minimum(ops.add(at, 1), flowSteps + 1)
      return { state: { x: next, step }, key: ops.nextKey(key), info: plainInfo(next, flowed.energy) }
    },
  }
}

export interface FlowDensityOptions extends Pick<SourceOptions, 'class' | 'norm'> {
  /** As for the sampler; the density is that of the data with noise of the smallest level. */
  readonly sigmas?: Sigmas
  /** Default 'rk4'. */
  readonly method?: FlowMethod
  /**
   * The trace of the Jacobian: 'exact' takes as many Jacobian-vector products as x has numbers, 'hutchinson' an unbiased estimate from
   * `probes` random signs, the same ones all the way (Grathwohl et al. 2019). Default exact up to 32 numbers.
   */
  readonly trace?: 'exact' | 'hutchinson'
  /** Default 8. */
  readonly probes?: number
  /** Of the probes; default 0. */
  readonly seed?: number
  readonly signal?: AbortSignal
}

/** Log densities by the flow, and where it took the points. */
export interface FlowDensity {
  /** float32 [n], in nats: normalised, given the right scores. */
  readonly logDensity: Float32Array
  /** The points at the largest level, where they are taken to be N(0, σ₁²): [n, ...shape]. */
  readonly latent: HostTensor
}

/** Largest size of x whose trace is exact unless asked otherwise. */
const EXACT_LIMIT = 32

/**
 * log p of points by the instantaneous change of variables (Chen et al. 2018; Song et al. 2021, equation 39):
 * log p(x) = log N(x₁; 0, σ₁²) + ∫ tr ∂f/∂x du, integrated natively from σ_L up to σ₁. Unlike an energy it is normalised.
 * @param x float32 [n, ...shape]
 * @throws LangevinError E_CONFIG for energies without noise levels, E_SHAPE, E_CANCELLED; RangeError for impossible options
 */
export async function probabilityFlowLogDensity(
  source: DensitySource,
  x: HostTensor,
  options: FlowDensityOptions = {},
): Promise<FlowDensity> {
  const where = 'probabilityFlowLogDensity'
  const { sigmas = DEFAULT_SIGMAS, method = 'rk4', seed = 0, signal } = options
  const levels = [...sigmaLevels(where, sigmas, 2)].reverse()
  checkChoice(where, 'method', method, flowMethods)
  const shape = shapeOf(where, source, x.shape)
  if (x.dtype !== 'float32' || !sameShape(x.shape.slice(1), shape) || (x.shape[0] ?? 0) < 1)
    throw new LangevinError(
      'E_SHAPE',
      `${where}: x must be float32 [n,${shape.join(',')}] with n ≥ 1; got ${x.dtype}${showShape(x.shape)}`,
    )
  const probe = probesOf(where, options, sizeOf(shape))
  const state = new State(deviceOf(source))
  let stage: Stage | undefined
  try {
    await state.put('flow/x', x)
    await state.put('flow/key', keyFromSeed(seed))
    await state.put('flow/step', hostTensor(Int32Array.of(0), []))
    state.create('flow/trace', [x.shape[0] as number])
    const { class: wanted, norm } = options
    const target = await bindSource(where, state, source, {
      ...(wanted !== undefined && { class: wanted }),
      ...(norm && { norm }),
    })
    const r = new Recorder(state)
    recordFlow(r, target(r), method, levels, probe(r.read('flow/key'), x.shape))
    stage = await r.compile('flow')
    const program = makeProgram([{ do: 'run', plan: stage.plan, inputs: stage.inputs, outputs: stage.outputs }])
    const result = await program.run(levels.length - 1, { signal })
    if (result.cancelled || signal?.aborted)
      throw new LangevinError(
        'E_CANCELLED',
        `${where} was cancelled after ${result.completed} of ${levels.length - 1} steps`,
      )
    const logDensity = (await state.get('flow/logDensity').read()).data as Float32Array
    return { logDensity, latent: await state.get('flow/x').read() }
  } finally {
    stage?.plan.dispose()
    state.dispose()
  }
}

function recordFlow(r: Recorder, target: Target, method: FlowMethod, levels: readonly number[], probes: Tensor): void {
  const at = r.read('flow/step')
  const [from, to] = [levelAt(levels, at), levelAt(levels, ops.add(at, 1))]
  const step = flowStep(method, tracedRate('probabilityFlowLogDensity', target, probes), r.read('flow/x'), from, to)
  const trace = ops.add(r.read('flow/trace'), step.trace as Tensor)
  const largest = levels.at(-1) as number
  const d = sizeOf(step.x.shape.slice(1))
  const base = ops.sub(-d * (0.5 * Math.log(2 * Math.PI) + Math.log(largest)), halfSquare(ops.div(step.x, largest)))
  r.write('flow/x', step.x)
  r.write('flow/trace', trace)
  r.write('flow/logDensity', ops.add(base, trace))
  r.write('flow/step', ops.add(at, 1))
}

/** The probes [m, ...x] whose quadratic forms average to the trace; they depend on the key alone, so all steps see the same. */
function probesOf(
  where: string,
  options: FlowDensityOptions,
  d: number,
): (key: Tensor, shape: readonly number[]) => Tensor {
  const { trace = d <= EXACT_LIMIT ? 'exact' : 'hutchinson', probes = 8 } = options
  checkChoice(where, 'trace', trace, ['exact', 'hutchinson'])
  checkCount(where, 'probes', probes)
  if (trace === 'hutchinson') {
    return (key, shape) =>
      ops.sub(ops.mul(ops.cast(ops.gt(ops.uniform(key, [probes, ...shape]), 0.5), 'float32'), 2), 1)
  }
  return (_, [n = 0, ...shape]) => {
    const unit = ops.mul(ops.oneHot(ops.iota([d], 0), d), Math.sqrt(d))
    return ops.broadcast(ops.reshape(unit, [d, 1, ...shape]), [d, n, ...shape])
  }
}
