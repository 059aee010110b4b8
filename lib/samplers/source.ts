/**
 * What chains can be run on: a model (its numbers go to the device as state tensors) or a target that is a plain graph. One place binds
 * either to a state, with class, noise level and temperature, so that every driver (chains.ts, probability-flow.ts) takes the same.
 */
import { checkPositive } from '../graph/checks.ts'
import { LangevinError, shapeError } from '../graph/errors.ts'
import type { Shape } from '../graph/shape.ts'
import type { Tensor } from '../graph/tensor.ts'
import type { Model } from '../nn/model.ts'
import type { Network } from '../nn/network.ts'
import { Variables } from '../nn/variables.ts'
import * as ops from '../ops/index.ts'
import { type Device, defaultDevice } from '../runtime/devices.ts'
import type { Recorder, State } from '../runtime/state.ts'
import { networkTarget, type Target, tempered } from './target.ts'

/** A model, or a target without variables of its own (`energyTarget`). */
export type DensitySource = Pick<Model, 'network' | 'device' | 'value'> | Target

export interface SourceOptions {
  /** Only p(x|y) of this class. */
  readonly class?: number
  /** Batch-norm statistics in the chain; default 'running'. */
  readonly norm?: 'batch' | 'running'
  /** Noise level of a noise-conditioned network; default its smallest. Samplers over several levels set it themselves. */
  readonly sigma?: number
  /** Chains draw from p(x)^(1/temperature), and the energies told are E(x)/temperature; default 1. */
  readonly temperature?: number
}

/** Device of a source: a model's own; plain targets have none and run on the default device. */
export function deviceOf(source: DensitySource): Device {
  return 'network' in source ? source.device : defaultDevice()
}

/** Shape of one example. @throws LangevinError E_SHAPE where the source does not tell and no points are given. */
export function shapeOf(where: string, source: DensitySource, points?: Shape): Shape {
  const own = 'network' in source ? source.network.shape : source.shape
  const shape = own ?? points?.slice(1)
  if (shape !== undefined) return shape
  throw shapeError(where, 'the target does not tell the shape of x: give energyTarget a shape, or starting points')
}

/**
 * Puts what the source needs into the state, and returns how a stage gets the target
 * @throws LangevinError E_CONFIG, RangeError for options that do not fit the source.
 */
export async function bindSource(
  where: string,
  state: State,
  source: DensitySource,
  options: SourceOptions & { readonly firstStage?: number },
): Promise<(r: Recorder) => Target> {
  const { temperature = 1 } = options
  checkPositive(`${where}: temperature`, temperature)
  const target = 'network' in source ? await bindModel(where, state, source, options) : plain(where, source, options)
  return (r) => tempered(target(r), 1 / temperature)
}

function plain(where: string, target: Target, { class: wanted, sigma, norm }: SourceOptions): () => Target {
  if (wanted !== undefined)
    throw new LangevinError('E_CONFIG', `${where}: class needs a classifier; a plain target has no classes`)
  if (norm !== undefined)
    throw new LangevinError('E_CONFIG', `${where}: norm needs a network; a plain target has no batch norms`)
  if (sigma === undefined) return () => target
  checkPositive(`${where}: sigma`, sigma)
  const { logDensityAt } = target
  if (logDensityAt === undefined)
    throw new LangevinError(
      'E_CONFIG',
      `${where}: sigma needs a target with noise levels; give energyTarget an energyAt`,
    )
  const logDensity: Target['logDensity'] = (x) => logDensityAt(x, ops.constant(sigma, [x.shape[0] as number]))
  return () => ({ ...target, logDensity })
}

async function bindModel(
  where: string,
  state: State,
  model: Pick<Model, 'network' | 'device' | 'value'>,
  options: SourceOptions & { readonly firstStage?: number },
): Promise<(r: Recorder) => Target> {
  const { network } = model
  checkNetworkOptions(where, network, options)
  for (const v of network.variables) await state.put(v.name, model.value(v.name))
  return (r) => densityOf(network, new Variables((v) => r.read(v.name)), options)
}

/** @throws LangevinError E_CONFIG, RangeError for a class or a noise level that the network does not have. */
export function checkNetworkOptions(where: string, network: Network, options: SourceOptions): void {
  const { class: wanted, sigma } = options
  if (wanted !== undefined) {
    network.needClasses(`${where}: class`)
    if (!Number.isInteger(wanted) || wanted < 0 || wanted >= network.classes)
      throw new RangeError(`${where}: class must be an integer in 0..${network.classes - 1}; got ${wanted}`)
  }
  if (sigma !== undefined) {
    network.needSigma(`${where}: sigma`)
    checkPositive(`${where}: sigma`, sigma)
  }
}

/** The density of a network with checked options, at temperature 1. `classes`, int32 [n], stands in for `class`. */
export function densityOf(
  network: Network,
  variables: Variables,
  options: Omit<SourceOptions, 'temperature'> & { readonly firstStage?: number; readonly classes?: Tensor },
): Target {
  const { class: wanted, norm = 'running', sigma, firstStage } = options
  const classes = options.classes ?? (wanted === undefined ? undefined : ops.scalar(wanted, 'int32'))
  const pass = { variables, norm, ...(sigma !== undefined && { sigma: ops.scalar(sigma) }) }
  return networkTarget(network, pass, { ...(firstStage && { firstStage }), ...(classes && { classes }) })
}
