/**
 * Pairwise energies of discrete sites with trainable couplings: Ising and Potts models on lattices, and Boltzmann machines that couple every
 * pair. They are networks as any other; being pairwise they also know the exact conditional of a site, and so sweep by Gibbs sampling.
 */
import { grad } from '../autodiff/index.ts'
import { LangevinError, suggestion } from '../graph/errors.ts'
import { type Shape, sizeOf } from '../graph/shape.ts'
import type { Tensor } from '../graph/tensor.ts'
import * as ops from '../ops/index.ts'
import { type Boundary, neighbours, pairMatrix, siteColours } from './couplings.ts'
import { layer } from './layer.ts'
import { Model } from './model.ts'
import type { InitOptions } from './models.ts'
import { type DiscreteValues, Network } from './network.ts'
import { type BinaryValues, checkValues, zeroOne } from './rbm.ts'
import { type Pass, Scope } from './variables.ts'

export interface PairwiseOptions {
  /** The sites of an example, such as [16, 16] or [1, 28, 28]; axes of length 1 couple nothing. */
  readonly shape: Shape
  /**
   * 'shared' (default): neighbours on the lattice, one coupling for all. 'bond': neighbours, a coupling for each bond. 'full': every pair of
   * sites (a Boltzmann machine; memory is the square of the sites).
   */
  readonly coupling?: 'shared' | 'bond' | 'full'
  /** Whether the lattice closes upon itself; default 'periodic'. (Along an axis of length 2 it does not: that would count a bond twice.) */
  readonly boundary?: Boundary
  /** External field: 'none', 'shared' or one a 'site'. Default 'shared' with the coupling 'shared', 'site' with others. */
  readonly field?: 'none' | 'shared' | 'site'
  /** What couplings and fields begin at; default 0. */
  readonly initial?: { readonly coupling?: number; readonly field?: number }
}

export interface IsingOptions extends PairwiseOptions {
  /** Which two values of x are spin -1 and spin +1; default [0, 1]. Data with a range (images) reach a model as [-1, 1]: give that. */
  readonly values?: BinaryValues
}

export interface PottsOptions extends PairwiseOptions {
  /** Values of a site, at least 2: x is one-hot [n, ...shape, states]. */
  readonly states: number
}

/** A pairwise energy over y: spins [n, sites] or one-hot rows [n, sites, states], and how x becomes y. */
interface Form {
  readonly kind: 'ising' | 'potts'
  /** 1 for spins. */
  readonly width: number
  readonly values: BinaryValues
}

/** Options with defaults. */
type Settings = Required<Omit<PairwiseOptions, 'initial'>> & {
  readonly initial: { coupling: number; field: number }
} & Form

/** Sites that a sweep goes through one by one: each is a product with the matrix of couplings in the graph. */
const MOST_COUPLED = 64

/** See {@link ising} and {@link potts}. Variables: `coupling` (with 'bond', `coupling.0`, `coupling.1`, ... by axis) and `field`. */
export class PairwiseNetwork extends Network {
  /** 'ising': binary x. 'potts': one-hot x. */
  readonly kind: 'ising' | 'potts'
  /** Values of a site. */
  readonly states: number
  /** For 'ising': the values of x that are spin -1 and +1. */
  readonly values: BinaryValues
  private readonly settings: Settings

  constructor(settings: Settings, config: Network['config']) {
    const { shape, kind, width } = settings
    const example = kind === 'ising' ? shape : [...shape, width]
    const stages = [{ name: '', layer: layer(kind, (x, scope) => energy(settings, toSites(settings, x), scope)) }]
    super(config, example, stages)
    this.kind = kind
    this.states = kind === 'ising' ? 2 : width
    this.values = settings.values
    this.settings = settings
  }

  override get discrete(): DiscreteValues {
    return this.kind === 'ising' ? this.values : 'oneHot'
  }

  /** Whether the sites are few enough to {@link sweep}, where all pairs are coupled; always on a lattice. */
  get sweeps(): boolean {
    return this.settings.coupling !== 'full' || sizeOf(this.settings.shape) <= MOST_COUPLED
  }

  /**
   * Gibbs by colours: sites of one colour are not coupled, so that they are drawn together (a checkerboard on a lattice, site by site with
   * every pair coupled). Takes a stream a colour. @throws LangevinError E_CONFIG for more than 64 coupled sites
   */
  override sweep(x: Tensor, pass: Pass, key: Tensor, stream: number): Tensor {
    const s = this.settings
    const { colour, count } = colours(s)
    let y = toSites(s, x)
    for (let c = 0; c < count; c++) {
      // The energy is linear in each site, so that -∂E/∂y is the site's local field (its logits).
      const point = ops.stopGradient(y)
      const [slope] = grad(ops.neg(ops.sum(energy(s, point, new Scope('', pass)))), [point]) as [Tensor]
      const own = ops.constant(
        colour.map((v) => (v === c ? 1 : 0)),
        siteAxes(s),
      )
      y = ops.select(ops.gt(own, 0.5), drawSites(s, slope, key, stream + c), point)
    }
    return fromSites(s, y)
  }
}

/**
 * Ising model, E(s) = -Σ_⟨ij⟩ J_ij s_i s_j - Σ_i h_i s_i with spins s = ±1; on the lattice that `shape` is, or between all pairs (a fully
 * visible Boltzmann machine; Ackley, Hinton & Sejnowski 1985). `coupling` 'full' keeps the pairs i < j in row-major order, [n(n-1)/2].
 * @example ising({ shape: [16, 16], initial: { coupling: 0.3 } })
 * @throws RangeError, LangevinError E_CONFIG for options that do not fit
 */
export function ising(options: IsingOptions & InitOptions): Model {
  return new Model(isingNetwork(options), { seed: options.seed, device: options.device })
}

/**
 * Potts model over one-hot x, E = -Σ_⟨ij⟩ J_ij [x_i = x_j] - Σ_i h_i(x_i). With coupling 'full' each pair has a matrix, E = -Σ_{i<j} J_ij(x_i, x_j)
 * - ..., [pairs, states, states]; couplings and fields are then known only up to the usual gauge (a constant a row or column).
 * @throws RangeError, LangevinError E_CONFIG for options that do not fit
 */
export function potts(options: PottsOptions & InitOptions): Model {
  return new Model(pottsNetwork(options), { seed: options.seed, device: options.device })
}

export function isingNetwork(options: IsingOptions): PairwiseNetwork {
  const values = checkValues('ising', options.values ?? [0, 1])
  const settings = settingsOf(options, { kind: 'ising', width: 1, values })
  return new PairwiseNetwork(settings, { ...configOf(settings), values })
}

export function pottsNetwork(options: PottsOptions): PairwiseNetwork {
  const { states } = options
  if (!Number.isInteger(states) || states < 2)
    throw new RangeError(`potts: states must be an integer of at least 2; got ${states}`)
  const settings = settingsOf(options, { kind: 'potts', width: states, values: [0, 1] })
  return new PairwiseNetwork(settings, { ...configOf(settings), states })
}

function configOf({ kind, shape, coupling, boundary, field, initial }: Settings): Network['config'] {
  return { kind, shape, coupling, boundary, field, initial }
}

function settingsOf(options: PairwiseOptions, form: Form): Settings {
  const { shape, coupling = 'shared', boundary = 'periodic', initial = {} } = options
  const field = options.field ?? (coupling === 'shared' ? 'shared' : 'site')
  const choices = {
    coupling: ['shared', 'bond', 'full'],
    boundary: ['periodic', 'open'],
    field: ['none', 'shared', 'site'],
  }
  for (const [name, value] of Object.entries({ coupling, boundary, field })) {
    const known = choices[name as keyof typeof choices]
    if (!known.includes(value))
      throw new LangevinError(
        'E_CONFIG',
        `${form.kind}: ${name} '${String(value)}' is not known.${suggestion(String(value), known)}`,
      )
  }
  if (shape.length === 0 || shape.some((d) => !Number.isInteger(d) || d < 1) || sizeOf(shape) < 2)
    throw new RangeError(
      `${form.kind}: shape must hold positive integers, two sites or more; got [${shape.join(', ')}]`,
    )
  const start = { coupling: 0, field: 0, ...initial }
  for (const [name, value] of Object.entries(start)) {
    if (!Number.isFinite(value)) throw new RangeError(`${form.kind}: initial.${name} must be finite; got ${value}`)
  }
  return { shape, coupling, boundary, field, initial: start, ...form }
}

/** x [n, ...] as y: spins [n, ...shape], or one-hot [n, ...shape, states] as it is. */
function toSites({ kind, values }: Settings, x: Tensor): Tensor {
  return kind === 'ising' ? ops.sub(ops.mul(zeroOne(x, values), 2), 1) : x
}

function fromSites({ kind, values: [off, on] }: Settings, y: Tensor): Tensor {
  if (kind === 'potts') return y
  return ops.add(ops.mul(y, (on - off) / 2), (on + off) / 2)
}

/** Axes of the sites, with one more for the values of a one-hot site. */
function siteAxes({ kind, shape }: Settings): Shape {
  return kind === 'ising' ? shape : [...shape, 1]
}

/** Every site anew from its conditional, given local fields (or logits) [n, ...]. */
function drawSites({ kind, width }: Settings, local: Tensor, key: Tensor, stream: number): Tensor {
  if (kind === 'potts') return ops.oneHot(ops.categorical(key, local, stream), width)
  const up = ops.bernoulli(key, ops.sigmoid(ops.mul(local, 2)), stream)
  return ops.sub(ops.mul(ops.cast(up, 'float32'), 2), 1)
}

function energy(s: Settings, y: Tensor, scope: Scope): Tensor {
  const pairs = s.coupling === 'full' ? allPairs(s, y, scope) : bonds(s, y, scope)
  const n = y.shape[0] as number
  if (s.field === 'none') return ops.neg(pairs)
  const perSite = s.kind === 'ising' ? [] : [s.width]
  const shape = s.field === 'site' ? [...s.shape, ...perSite] : perSite
  const h = scope.parameter('field', shape, { kind: 'constant', value: s.initial.field })
  const alone = ops.sum(ops.reshape(ops.mul(y, h), [n, -1]), 1)
  return ops.neg(ops.add(pairs, alone))
}

/** Σ over the bonds of the lattice of J·(y_i · y_j): [n]. */
function bonds(s: Settings, y: Tensor, scope: Scope): Tensor {
  const { shape, boundary, coupling, initial } = s
  const n = y.shape[0] as number
  const init = { kind: 'constant', value: initial.coupling } as const
  const axes = shape.flatMap((length, axis) => (length > 1 ? [axis] : []))
  const terms = axes.map((axis) => {
    const [here, there] = neighbours(y, axis + 1, boundary)
    const product = ops.mul(here, there)
    const each = s.kind === 'potts' ? ops.sum(product, -1) : product
    if (coupling === 'shared') return ops.sum(ops.reshape(each, [n, -1]), 1)
    const J = scope.parameter(`coupling.${axis}`, each.shape.slice(1), init)
    return ops.sum(ops.reshape(ops.mul(each, J), [n, -1]), 1)
  })
  const total = terms.reduce((a, b) => ops.add(a, b))
  return coupling === 'shared' ? ops.mul(total, scope.parameter('coupling', [], init)) : total
}

/** Σ_{i<j} y_i·J_ij·y_j over all pairs: [n]. */
function allPairs({ shape, width, initial }: Settings, y: Tensor, scope: Scope): Tensor {
  const sites = sizeOf(shape)
  const pairs = (sites * (sites - 1)) / 2
  const each = width === 1 ? [pairs] : [pairs, width, width]
  const J = scope.parameter('coupling', each, { kind: 'constant', value: initial.coupling })
  const flat = ops.reshape(y, [y.shape[0] as number, sites * width])
  return ops.mul(ops.sum(ops.mul(ops.matmul(flat, pairMatrix(J, sites, width)), flat), 1), 0.5)
}

function colours(s: Settings): { readonly colour: readonly number[]; readonly count: number } {
  if (s.coupling !== 'full') return siteColours(s.shape, s.boundary)
  const sites = sizeOf(s.shape)
  if (sites > MOST_COUPLED) {
    throw new LangevinError(
      'E_CONFIG',
      `${s.kind}: a Gibbs sweep goes site by site where all are coupled, for at most ${MOST_COUPLED} sites; this one has ${sites}. Use sampler 'gibbsWithGradients'.`,
    )
  }
  return { colour: Array.from({ length: sites }, (_, i) => i), count: sites }
}
