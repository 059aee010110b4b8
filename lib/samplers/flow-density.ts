/** Normalised log densities by the probability flow: the ODE of probability-flow.ts run upwards, with the instantaneous change of variables. */
import { checkChoice, checkInteger } from '../graph/checks.ts'
import { LangevinError } from '../graph/errors.ts'
import { type HostTensor, hostTensor } from '../graph/host-tensor.ts'
import { sameShape, showShape, sizeOf } from '../graph/shape.ts'
import type { Tensor } from '../graph/tensor.ts'
import * as ops from '../ops/index.ts'
import { makeProgram, type Program } from '../runtime/program.ts'
import { keyFromSeed, Recorder, runStage, type Stage, State, zeroTensor } from '../runtime/state.ts'
import { type FlowMethod, flowMethods, flowStep, tracedRate } from './flow-step.ts'
import { levelAt, type Sigmas, sigmaLevels } from './levels.ts'
import { FLOW_SIGMAS } from './probability-flow.ts'
import { halfSquare } from './rows.ts'
import { bindSource, type DensitySource, deviceOf, type SourceOptions, shapeOf } from './source.ts'
import type { Target } from './target.ts'

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
  /** Points at a time; memory and passes grow with batch times traces. Default 256. */
  readonly batch?: number
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
const WHERE = 'probabilityFlowLogDensity'

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
  const { sigmas = FLOW_SIGMAS, method = 'rk4', batch = 256, seed = 0, signal } = options
  const levels = [...sigmaLevels(WHERE, sigmas, 2)].reverse()
  checkChoice(`${WHERE}: method`, method, flowMethods)
  checkInteger(`${WHERE}: batch`, batch, 1)
  const shape = shapeOf(WHERE, source, x.shape)
  const [n = 0] = x.shape
  if (x.dtype !== 'float32' || !sameShape(x.shape.slice(1), shape) || n < 1)
    throw new LangevinError(
      'E_SHAPE',
      `${WHERE}: x must be float32 [n,${shape.join(',')}] with n ≥ 1; got ${x.dtype}${showShape(x.shape)}`,
    )
  const rows = Math.min(batch, n)
  const probe = probesOf(options, sizeOf(shape))
  const state = new State(deviceOf(source))
  let stage: Stage | undefined
  try {
    await state.put('flow/key', keyFromSeed(seed))
    state.create('flow/x', [rows, ...shape])
    state.create('flow/trace', [rows])
    state.create('flow/step', [], 'int32')
    const { class: wanted, norm } = options
    const classAndNorm = { ...(wanted !== undefined && { class: wanted }), ...(norm && { norm }) }
    const target = await bindSource(WHERE, state, source, classAndNorm)
    const r = new Recorder(state)
    recordFlow(r, target(r), method, levels, probe(r.read('flow/key'), [rows, ...shape]))
    stage = await r.compile('flow')
    const program = makeProgram([runStage(stage)])
    return await flowParts(state, program, x, levels.length - 1, signal)
  } finally {
    stage?.plan.dispose()
    state.dispose()
  }
}

/** Runs the program over x, as many rows at a time as the state holds; the last part is filled up with its first row. */
async function flowParts(
  state: State,
  program: Program,
  x: HostTensor,
  steps: number,
  signal: AbortSignal | undefined,
): Promise<FlowDensity> {
  const [n = 0, ...shape] = x.shape
  const rows = state.get('flow/trace').size
  const each = sizeOf(shape)
  const data = x.data as Float32Array
  const out = { logDensity: new Float32Array(n), latent: new Float32Array(n * each) }
  for (let at = 0; at < n; at += rows) {
    const part = data.subarray(at * each, Math.min(n, at + rows) * each)
    const full = Float32Array.from({ length: rows * each }, (_, i) => part[i < part.length ? i : i % each] as number)
    await state.get('flow/x').write(hostTensor(full, [rows, ...shape]))
    await state.get('flow/trace').write(zeroTensor([rows]))
    await state.get('flow/step').write(zeroTensor([], 'int32'))
    const result = await program.run(steps, { signal })
    if (result.cancelled) throw new LangevinError('E_CANCELLED', `${WHERE} was cancelled after ${at} of ${n} points`)
    const logDensity = (await state.get('flow/logDensity').read()).data as Float32Array
    const latent = (await state.get('flow/x').read()).data as Float32Array
    out.logDensity.set(logDensity.subarray(0, part.length / each), at)
    out.latent.set(latent.subarray(0, part.length), at * each)
  }
  return { logDensity: out.logDensity, latent: hostTensor(out.latent, x.shape) }
}

function recordFlow(r: Recorder, target: Target, method: FlowMethod, levels: readonly number[], probes: Tensor): void {
  const at = r.read('flow/step')
  const [from, to] = [levelAt(levels, at), levelAt(levels, ops.add(at, 1))]
  const step = flowStep(method, tracedRate(WHERE, target, probes), r.read('flow/x'), from, to)
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
function probesOf(options: FlowDensityOptions, d: number): (key: Tensor, shape: readonly number[]) => Tensor {
  const { trace = d <= EXACT_LIMIT ? 'exact' : 'hutchinson', probes = 8 } = options
  checkChoice(`${WHERE}: trace`, trace, ['exact', 'hutchinson'])
  checkInteger(`${WHERE}: probes`, probes, 1)
  if (trace === 'hutchinson') {
    return (key, shape) =>
      ops.sub(ops.mul(ops.cast(ops.gt(ops.uniform(key, [probes, ...shape]), 0.5), 'float32'), 2), 1)
  }
  return (_, [n = 0, ...shape]) => {
    const unit = ops.mul(ops.oneHot(ops.iota([d], 0), d), Math.sqrt(d))
    return ops.broadcast(ops.reshape(unit, [d, 1, ...shape]), [d, n, ...shape])
  }
}
