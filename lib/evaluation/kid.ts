/**
 * The kernel inception distance (Binkowski et al. 2018): the unbiased MMD² of features with a cubic kernel, over random subsets.
 * Unlike the Frechet distance it has no bias with few samples. The feature network is the caller's: none is shipped.
 */

import type { HostTensor } from '../graph/host-tensor.ts'
import * as ops from '../ops/index.ts'
import { chosenDevice, type DeviceOption } from '../runtime/devices.ts'
import { makeProgram } from '../runtime/program.ts'
import { keyFromSeed, Recorder, runStage, type Stage, State } from '../runtime/state.ts'
import { checkCount } from './checks.ts'
import { type FeatureOptions, onnxFeatures } from './features.ts'
import { meanAndVariance, type PolynomialKernel, polynomialKernel } from './mmd.ts'
import { sameRow, type TwoSamples, twoSamples } from './pairs.ts'

export interface KidOptions extends Omit<PolynomialKernel, 'kernel'>, DeviceOption {
  /** Default 100. */
  readonly subsets?: number
  /** Points of each sample in a subset. Default 1000, or all where a sample has fewer. */
  readonly subsetSize?: number
  /** Default 0. */
  readonly seed?: number
  /** Stops between subsets with the signal's reason. */
  readonly signal?: AbortSignal
}

export interface KidResult {
  /** Mean over the subsets of the unbiased MMD²; may be negative. */
  readonly mean: number
  /** Standard deviation over the subsets (divisor their number); 0 where a subset is all there is. */
  readonly std: number
  readonly subsets: number
  readonly subsetSize: number
}

/**
 * KID between features x [n, d] and y [m, d] (float32, n, m >= 2): the kernel is (x·y/d + 1)³ unless told otherwise. Subsets are drawn
 * without replacement until a sample is used up, then anew. Units: those of the kernel; papers often print it times 1000.
 * Throws LangevinError E_SHAPE, E_DTYPE, E_DATA; RangeError for an option.
 */
export async function kid(x: HostTensor, y: HostTensor, options: KidOptions = {}): Promise<KidResult> {
  const both = twoSamples('kid', x, y)
  const { subsets = 100, subsetSize = Math.min(1000, both.n, both.m), seed = 0, signal } = options
  checkCount('kid: subsets', subsets, 1)
  checkCount('kid: subsetSize', subsetSize, 2)
  if (subsetSize > Math.min(both.n, both.m)) {
    throw new RangeError(
      `kid: subsetSize must be at most ${Math.min(both.n, both.m)}, the smaller sample; got ${subsetSize}`,
    )
  }
  signal?.throwIfAborted()
  const state = new State(chosenDevice(options.device))
  let stage: Stage | undefined
  try {
    await state.put('x', both.x)
    await state.put('y', both.y)
    await state.put('key', keyFromSeed(seed))
    stage = await subsetStage(state, both, subsetSize, options)
    const program = makeProgram([runStage(stage), { do: 'record', tensors: [state.get('squared')] }])
    // When every subset is the whole, one will do.
    const whole = subsetSize === both.n && subsetSize === both.m
    const { metrics } = await program.run(whole ? 1 : subsets, { signal })
    signal?.throwIfAborted()
    const { mean, variance } = meanAndVariance(Float64Array.from(metrics))
    const std = Math.sqrt((variance * (metrics.length - 1)) / metrics.length)
    return { mean, std, subsets, subsetSize }
  } finally {
    stage?.plan.dispose()
    state.dispose()
  }
}

/** {@link kid} of the outputs of an ONNX network for inputs x [n, ...] and y [m, ...]; see onnxFeatures. */
export async function onnxKid(
  path: string,
  x: HostTensor,
  y: HostTensor,
  options: KidOptions & FeatureOptions = {},
): Promise<KidResult> {
  return kid(await onnxFeatures(path, x, options), await onnxFeatures(path, y, options), options)
}

/** One subset: draw the rows, and the unbiased MMD² of them, summed before the parts are so that float32 loses little. */
function subsetStage(
  state: State,
  { n, m, dimensions }: TwoSamples,
  size: number,
  options: KidOptions,
): Promise<Stage> {
  const kernel = polynomialKernel('kid', options, dimensions)
  const r = new Recorder(state)
  const key = r.read('key')
  const a = ops.gather(r.read('x'), ops.shuffleIndex(key, { n, count: size, stream: 0 }))
  const b = ops.gather(r.read('y'), ops.shuffleIndex(key, { n: m, count: size, stream: 1 }))
  const within = ops.select(sameRow(ops.iota([size], 0), size), 0, ops.add(kernel(a, a), kernel(b, b)))
  const across = ops.mul(kernel(a, b), (2 * (size - 1)) / size)
  const perRow = ops.sum(ops.sub(within, across), 1)
  r.write('squared', ops.mul(ops.sum(perRow), 1 / (size * (size - 1))))
  r.write('key', ops.nextKey(key))
  return r.compile('subset')
}
