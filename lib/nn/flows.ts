/**
 * Whole flows from plain options: affine couplings (RealNVP, Dinh 2017), rational-quadratic spline couplings (Durkan 2019) on vectors, and
 * multi-scale flows on images. Each starts as its fixed input map, LU mixings as permutations. The stages stand in flow-bijectors.ts and
 * flow-coupling.ts; numbers live in a FlowModel (flow-model.ts).
 */
import { checkInteger } from '../graph/checks.ts'
import { LangevinError, suggestion } from '../graph/errors.ts'
import { type Shape, showShape } from '../graph/shape.ts'
import { HostRandom } from '../runtime/host-random.ts'
import { type Bijector, chain, Flow, type FlowConfig } from './flow.ts'
import {
  actNorm,
  fixedAffine,
  flattenBijector,
  imageShape,
  logit,
  luLinear,
  multiScaleSplit,
  perChannel,
  permutation,
  reversal,
  squeeze2x2,
} from './flow-bijectors.ts'
import {
  type ConditionerOptions,
  checkerboard,
  coupling,
  type ElementwiseMap,
  elementwiseMap,
  elementwiseSpline,
  halves,
} from './flow-coupling.ts'
import { type SplineOptions, splineOptions } from './flow-spline.ts'

/** How channels are mixed between couplings: a learned LU matrix (starting as the permutation), a fixed permutation, or a reversal. */
export type MixingName = 'lu' | 'permute' | 'reverse'

export const mixingNames: readonly MixingName[] = ['lu', 'permute', 'reverse']

interface CommonFlowOptions {
  /** Subtracted from the input first, per feature or channel; default 0. The data's mean is a good choice. */
  readonly shift?: number | readonly number[]
  /** The input is then divided by it; default 1. The data's standard deviation is a good choice. */
  readonly scale?: number | readonly number[]
  /** Default 'lu' up to 64 channels, whose matrix costs c² per example and c³ log c per inverse pass; beyond, 'permute'. */
  readonly mixing?: MixingName
  /** A learned shift and scale per channel before every mixing; default true. */
  readonly actNorm?: boolean
  /** Of the fixed permutations; default 0. Initial weights follow from the model's own seed. */
  readonly seed?: number
}

/** Options of the MLP conditioners of flows on vectors. */
type VectorConditioner = Pick<ConditionerOptions, 'hidden' | 'activation'>

export interface AffineCouplingFlowOptions extends CommonFlowOptions, VectorConditioner {
  /** Features of one example; at least 2. */
  readonly inputs: number
  /** Coupling layers; default 8. */
  readonly layers?: number
  /** Log scales lie within ± this; default 3. */
  readonly maxLogScale?: number
}

export interface SplineFlowOptions extends CommonFlowOptions, VectorConditioner, SplineOptions {
  /** Features of one example; with 1 the splines have no conditioner. */
  readonly inputs: number
  /** Coupling layers; default 4. */
  readonly layers?: number
}

export interface ImageFlowOptions extends CommonFlowOptions, SplineOptions {
  /** [channels, height, width]; height and width divisible by 2^levels. */
  readonly shape: readonly [number, number, number]
  /** Default 'affine'. */
  readonly coupling?: 'affine' | 'spline'
  /** Squeezes to half the resolution, half of the channels leaving after each but the last; default 2 or what the size allows. */
  readonly levels?: number
  /** Checkerboard couplings before each squeeze; default 2. With 0 levels they are all there is. */
  readonly checkerboards?: number
  /** Channel couplings after each squeeze; default 4. */
  readonly steps?: number
  /** Channels of the conditioners' convolutions; default 32. */
  readonly channels?: number
  /** Residual blocks of a conditioner; default 1. */
  readonly blocks?: number
  readonly activation?: ConditionerOptions['activation']
  /** Log scales of affine couplings lie within ± this; default 3. */
  readonly maxLogScale?: number
  /** Pixels in [-1, 1] go through a logit with this margin α first (0.05 in the paper), before shift and scale; default none. */
  readonly logit?: number | null
}

/**
 * RealNVP on vectors [n, inputs]: `layers` times actnorm, mixing, affine coupling.
 * @throws RangeError for inputs below 2 (nothing to condition on: use splineFlow) and for other options out of range
 */
export function affineCouplingFlow(options: AffineCouplingFlowOptions): Flow {
  const { inputs, layers = 8, hidden = [128, 128], activation = 'silu', maxLogScale = 3 } = options
  if (inputs === 1) {
    throw new RangeError(
      'affineCouplingFlow: inputs must be at least 2; got 1. In one dimension there is nothing to condition on: use splineFlow.',
    )
  }
  checkVector('affineCouplingFlow', inputs, layers, hidden)
  const common = resolve(options, inputs)
  const config = { kind: 'affineCoupling', inputs, layers, hidden, activation, maxLogScale, ...common }
  const map = elementwiseMap('affine', { maxLogScale })
  return new Flow(config, [inputs], vectorStages(inputs, layers, map, { hidden, activation }, common))
}

/**
 * Rational-quadratic spline couplings on vectors [n, inputs]: `layers` times actnorm, mixing, spline coupling. Splines act within ±bound:
 * standardise the data (shift, scale).
 */
export function splineFlow(options: SplineFlowOptions): Flow {
  const { inputs, layers = 4, hidden = [128, 128], activation = 'silu' } = options
  checkVector('splineFlow', inputs, layers, hidden)
  const spline = splineOptions(options)
  const common = resolve(options, inputs)
  const config = { kind: 'spline', inputs, layers, hidden, activation, ...spline, ...common }
  const stages =
    inputs > 1
      ? vectorStages(inputs, layers, elementwiseMap('spline', spline), { hidden, activation }, common)
      : [
          fixedAffine([1], common),
          ...Array.from({ length: layers }, () => [actNorm([1]), elementwiseSpline([1], spline)]).flat(),
        ]
  return new Flow(config, [inputs], stages)
}

/**
 * Multi-scale flow on images [n, c, h, w] (Dinh 2017, figure 4): per level checkerboard couplings, a squeeze, then `steps` times actnorm,
 * mixing and channel coupling; half of the channels leave after each level but the last. z is [n, c·h·w].
 * A density needs continuous pixels: add uniform noise of one grey level to the data.
 */
export function imageFlow(options: ImageFlowOptions): Flow {
  const shape = imageShape('imageFlow', options.shape)
  const [c, h, w] = shape
  for (const d of shape) checkInteger(`imageFlow: shape`, d, 1)
  const { coupling: kind = 'affine', checkerboards = 2, steps = 4, channels = 32, blocks = 1 } = options
  const { levels = Math.min(2, halvings(h), halvings(w)), activation = 'silu', maxLogScale = 3, logit = null } = options
  for (const [name, value] of Object.entries({ levels, checkerboards, steps, blocks })) {
    checkInteger(`imageFlow: ${name}`, value, 0)
  }
  checkInteger(`imageFlow: channels`, channels, 1)
  if (levels > Math.min(halvings(h), halvings(w))) {
    throw new RangeError(
      `imageFlow: height and width must be divisible by 2^levels = ${2 ** levels}; got ${showShape(shape)}. Use fewer levels, or pad.`,
    )
  }
  const spline = splineOptions(options)
  const common = resolve(options, c, c * 2 ** (levels + 1))
  const sizes = {
    shape,
    coupling: kind,
    levels,
    checkerboards,
    steps,
    channels,
    blocks,
    activation,
    maxLogScale,
    logit,
  }
  const config = { kind: 'image', ...sizes, ...spline, ...common }
  const plan: ImagePlan = {
    ...sizes,
    common,
    map: elementwiseMap(kind, { ...spline, maxLogScale }),
    random: new HostRandom(common.seed),
  }
  return new Flow(config, shape, [...imageInput(plan), ...imageLevel(plan, shape, 0)])
}

const builders: Readonly<Record<string, (options: never) => Flow>> = {
  affineCoupling: affineCouplingFlow as (o: never) => Flow,
  spline: splineFlow as (o: never) => Flow,
  image: imageFlow as (o: never) => Flow,
}

/**
 * Builds a flow from its config, as a file or a checkpoint holds it.
 * @throws LangevinError E_CONFIG for an unknown kind and for flows written in code
 */
export function buildFlow(config: FlowConfig): Flow {
  if (typeof config !== 'object' || config === null || typeof config.kind !== 'string') {
    throw new LangevinError(
      'E_CONFIG',
      `a flow's config is an object with a kind (${Object.keys(builders).join(', ')}); got ${JSON.stringify(config)}`,
    )
  }
  if (config.kind === 'custom') {
    throw new LangevinError(
      'E_CONFIG',
      `flow '${String(config.name)}' was written in code, so a file cannot rebuild it; build it in code and load the checkpoint into it`,
    )
  }
  const build = Object.hasOwn(builders, config.kind) ? builders[config.kind] : undefined
  if (build === undefined) {
    throw new LangevinError(
      'E_CONFIG',
      `flow kind '${config.kind}' is not known.${suggestion(String(config.kind), Object.keys(builders))}`,
    )
  }
  const { kind: _, ...options } = config
  return build(options as never)
}

type Common = Required<CommonFlowOptions>

/** The options that all flows share, with their defaults; `widest` is the largest number of channels that is mixed. */
function resolve(options: CommonFlowOptions, channels: number, widest = channels): Common {
  const { shift = 0, scale = 1, mixing = widest <= 64 ? 'lu' : 'permute', actNorm = true, seed = 0 } = options
  if (!mixingNames.includes(mixing))
    throw new RangeError(`mixing '${String(mixing)}' is not known.${suggestion(String(mixing), mixingNames)}`)
  perChannel('shift', shift, channels)
  perChannel('scale', scale, channels)
  return { shift, scale, mixing, actNorm, seed }
}

function vectorStages(
  inputs: number,
  layers: number,
  map: ElementwiseMap,
  net: VectorConditioner,
  common: Common,
): Bijector[] {
  const random = new HostRandom(common.seed)
  const shape = [inputs]
  const stages = Array.from({ length: layers }, (_, i) => [
    ...mixed(shape, i, common, random),
    coupling(halves(shape), map, net),
  ])
  return [fixedAffine(shape, common), ...stages.flat()]
}

/** What comes before coupling `i` on the halves of `shape`. */
function mixed(shape: Shape, i: number, common: Common, random: HostRandom): Bijector[] {
  const c = shape[0] as number
  const norm = common.actNorm ? [actNorm(shape)] : []
  if (common.mixing === 'reverse') return i === 0 ? norm : [...norm, reversal(c)]
  const order = mixingOrder(c, i, random)
  if (common.mixing === 'lu') return [...norm, luLinear(shape, order)]
  return i === 0 ? norm : [...norm, permutation(order)]
}

/** Odd couplings change what the one before was given (a rotation by half), so that two change all; between such pairs a random order. */
function mixingOrder(c: number, i: number, random: HostRandom): number[] {
  const rotated = Array.from({ length: c }, (_, k) => (k + Math.ceil(c / 2)) % c)
  if (i === 0) return rotated.map((_, k) => k)
  return i % 2 === 1 || c < 4 ? rotated : [...random.permutation(c)]
}

interface ImagePlan {
  readonly levels: number
  readonly checkerboards: number
  readonly steps: number
  readonly channels: number
  readonly blocks: number
  readonly activation: ConditionerOptions['activation'] & string
  readonly logit: number | null
  readonly shape: Shape
  readonly common: Common
  readonly map: ElementwiseMap
  readonly random: HostRandom
}

function imageInput({ shape, common, logit: alpha }: ImagePlan): Bijector[] {
  return [...(alpha === null ? [] : [logit(alpha)]), fixedAffine(shape, common)]
}

/** The stages from level `level` on, ending in [n, d]. */
function imageLevel(plan: ImagePlan, shape: Shape, level: number): Bijector[] {
  const { levels, checkerboards, steps, common, map, random } = plan
  const checkers = Array.from({ length: checkerboards }, (_, i) => [
    ...(common.actNorm ? [actNorm(shape)] : []),
    coupling(checkerboard(shape, i % 2 === 0 ? 0 : 1), map, plan),
  ]).flat()
  if (level === levels) return [...checkers, flattenBijector(shape)]
  const [c, h, w] = imageShape('imageFlow', shape)
  const deep: Shape = [4 * c, h / 2, w / 2]
  const channelwise = Array.from({ length: steps }, (_, i) => [
    ...mixed(deep, i, common, random),
    coupling(halves(deep), map, plan),
  ]).flat()
  const here = [...checkers, squeeze2x2(shape), ...channelwise]
  if (level + 1 === levels) return [...here, flattenBijector(deep)]
  return [...here, multiScaleSplit(deep, chain(imageLevel(plan, [2 * c, h / 2, w / 2], level + 1)))]
}

/** How often n can be halved. */
function halvings(n: number): number {
  return n > 0 && n % 2 === 0 ? 1 + halvings(n / 2) : 0
}

function checkVector(where: string, inputs: number, layers: number, hidden: readonly number[]): void {
  checkInteger(`${where}: inputs`, inputs, 1)
  checkInteger(`${where}: layers`, layers, 1)
  for (const width of hidden) checkInteger(`${where}: hidden`, width, 1)
}
