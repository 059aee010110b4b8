/**
 * Toys in the plane (some in more dimensions) for learning and testing: each can be drawn by seed, and each has an exact, normalised log
 * density, so that a learnt energy can be held against the truth. Definitions stand in toy-mixtures.ts and toy-warps.ts.
 */
import { LangevinError, suggestion } from '../graph/errors.ts'
import { hostTensor } from '../graph/host-tensor.ts'
import type { Tensor } from '../graph/tensor.ts'
import type { Network } from '../nn/network.ts'
import { energyNetwork } from '../nn/networks.ts'
import { HostRandom } from '../runtime/host-random.ts'
import { Dataset } from './dataset.ts'
import * as mixtures from './toy-mixtures.ts'
import type { ToyShape } from './toy-shape.ts'
import * as warps from './toy-warps.ts'

/** The toys' own options; every number has a default (see {@link toyDefaults}). `noise` is a standard deviation. */
export interface ToyOptions {
  /** Two half circles of radius 1. Classes: the moons. */
  readonly twoMoons: { readonly noise?: number }
  /** Circles around the origin. Classes: the circles. */
  readonly rings: { readonly radii?: readonly number[]; readonly noise?: number }
  /** Gaussians on a circle. Classes: the Gaussians. */
  readonly gaussians8: { readonly modes?: number; readonly radius?: number; readonly noise?: number }
  /** Gaussians on a grid of side² points. Classes: the Gaussians. */
  readonly gaussians25: { readonly side?: number; readonly spacing?: number; readonly noise?: number }
  /** Every other of cells² squares over [-half, half]², blurred by noise, with a background N(0, half² I) of a small share. */
  readonly checkerboard: {
    readonly cells?: number
    readonly half?: number
    readonly noise?: number
    readonly background?: number
  }
  /** Bent arms; the angle grows by twist·r² radians at radius r before scaling. Classes: the arms (3 or more). */
  readonly pinwheel: {
    readonly arms?: number
    readonly radial?: number
    readonly tangential?: number
    readonly twist?: number
    readonly scale?: number
  }
  /** Two opposite spirals. Classes: the spirals. */
  readonly spirals: { readonly turns?: number; readonly noise?: number }
  /** One spiral around a hollow centre. */
  readonly swissRoll: { readonly noise?: number }
  /** Neal's funnel; column 0 is the log variance of the others. */
  readonly funnel: { readonly dimension?: number; readonly scale?: number }
  /** A Gaussian bent along a parabola. */
  readonly banana: { readonly curvature?: number; readonly spread?: number; readonly noise?: number }
  /** Unit variances, covariance correlation^|i - j|. */
  readonly correlatedGaussian: { readonly dimension?: number; readonly correlation?: number }
}

export type ToyName = keyof ToyOptions

/** Default options of every toy. */
export const toyDefaults: { readonly [N in ToyName]: Required<ToyOptions[N]> } = {
  twoMoons: { noise: 0.1 },
  rings: { radii: [1, 2, 3], noise: 0.15 },
  gaussians8: { modes: 8, radius: 2, noise: 0.25 },
  gaussians25: { side: 5, spacing: 2, noise: 0.2 },
  checkerboard: { cells: 4, half: 4, noise: 0.05, background: 0.001 },
  pinwheel: { arms: 5, radial: 0.3, tangential: 0.1, twist: 0.35, scale: 2 },
  spirals: { turns: 1.5, noise: 0.1 },
  swissRoll: { noise: 0.15 },
  funnel: { dimension: 2, scale: 3 },
  banana: { curvature: 0.5, spread: 1.5, noise: 0.5 },
  correlatedGaussian: { dimension: 2, correlation: 0.9 },
}

/** Names of the toys. */
export const toyNames = Object.keys(toyDefaults) as readonly ToyName[]

const shapes: { readonly [N in ToyName]: (options: Required<ToyOptions[N]>) => ToyShape } = { ...mixtures, ...warps }

/** How many rows, and of which random numbers. */
export interface ToyDrawOptions {
  /** Rows. */
  readonly count: number
  /** Default 0. */
  readonly seed?: number
  /** Keep the classes as labels, for the toys that have them. Default true. */
  readonly labels?: boolean
}

/**
 * Draws a toy: float32 rows [count, 2] (or [count, dimension]) with range null, the same for the same seed.
 * @example const data = toy('twoMoons', { count: 2000, noise: 0.08 })
 * @throws LangevinError E_CONFIG for a name that is not known; RangeError for an option out of range.
 */
export function toy<N extends ToyName>(name: N, options: ToyDrawOptions & ToyOptions[N]): Dataset {
  const { count, seed = 0, labels: labelled = true, ...own } = options
  const shape = shapeOf(name, own as ToyOptions[N])
  if (!Number.isInteger(count) || count < 1)
    throw new RangeError(`toy ${name}: count must be a whole number of at least 1; got ${count}`)
  const d = shape.dimensions
  const random = new HostRandom(seed)
  const rows = new Float32Array(count * d)
  const classes = new Int32Array(count)
  for (let i = 0; i < count; i++) classes[i] = shape.draw(random, rows.subarray(i * d, (i + 1) * d))
  const labels = labelled && shape.classes > 0 ? { labels: classes, classes: shape.classes } : {}
  return new Dataset({ name, features: hostTensor(rows, [count, d]), range: null, ...labels })
}

/** The truth about a toy. */
export interface ToyDensity {
  /** Numbers of one example. */
  readonly dimensions: number
  /** Normalised log density in nats of x [n, d], as a graph: float32 [n]. */
  logDensity(x: Tensor): Tensor
  /** The energy -log p, exactly normalised (log Z = 0), for samplers and evaluations. */
  readonly network: Network
  /** Exact mean [d]. */
  readonly mean: readonly number[]
  /** Exact covariance [d][d]. */
  readonly covariance: readonly (readonly number[])[]
  /** An interval for each dimension; together they hold at least 0.999 of the mass. */
  readonly box: readonly (readonly [low: number, high: number])[]
}

/**
 * The exact density of what {@link toy} draws with the same options.
 * @example const energy = new Model(toyDensity('funnel', { dimension: 10 }).network)
 */
export function toyDensity<N extends ToyName>(name: N, options?: ToyOptions[N]): ToyDensity {
  const { dimensions, mean, covariance, box, logDensity } = shapeOf(name, options ?? ({} as ToyOptions[N]))
  const network = energyNetwork({ shape: [dimensions], name }, (x) => logDensity(x).neg())
  return { dimensions, logDensity, network, mean, covariance, box }
}

function shapeOf<N extends ToyName>(name: N, options: ToyOptions[N]): ToyShape {
  const defaults = Object.hasOwn(toyDefaults, name) ? toyDefaults[name] : undefined
  if (defaults === undefined) {
    throw new LangevinError('E_CONFIG', `toy '${name}' is not known.${suggestion(String(name), toyNames)}`)
  }
  const given = Object.entries(options).filter(([, value]) => value !== undefined)
  for (const [key, value] of given) checkOption(name, key, value, defaults as Readonly<Record<string, unknown>>)
  return shapes[name]({ ...defaults, ...Object.fromEntries(given) })
}

/** Whole numbers and their least values. */
const least: Readonly<Record<string, number>> = { modes: 1, side: 1, cells: 1, arms: 3, dimension: 1 }

function checkOption(name: string, key: string, value: unknown, defaults: Readonly<Record<string, unknown>>): void {
  if (!Object.hasOwn(defaults, key)) {
    throw new LangevinError(
      'E_CONFIG',
      `toy ${name} has no option '${key}'.${suggestion(key, [...Object.keys(defaults), 'count', 'seed', 'labels'])}`,
    )
  }
  const positive = (v: unknown): boolean => typeof v === 'number' && v > 0 && v < Infinity
  const refuse = (want: string): never => {
    throw new RangeError(`toy ${name}: ${key} must be ${want}; got ${JSON.stringify(value)}`)
  }
  if (Array.isArray(defaults[key])) {
    if (!Array.isArray(value) || value.length === 0 || !value.every(positive)) refuse('a list of positive numbers')
  } else if (key in least) {
    const from = name === 'funnel' ? 2 : (least[key] as number)
    if (!Number.isInteger(value) || (value as number) < from) refuse(`a whole number of at least ${from}`)
  } else if (key === 'correlation') {
    if (typeof value !== 'number' || !(Math.abs(value) < 1)) refuse('between -1 and 1')
  } else if (key === 'background') {
    if (!positive(value) || (value as number) >= 1) refuse('between 0 and 1')
  } else if (key === 'curvature' || key === 'twist') {
    if (!Number.isFinite(value)) refuse('a finite number')
  } else if (!positive(value)) refuse('a positive number')
}
