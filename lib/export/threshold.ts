/**
 * The threshold below which an input counts as out of distribution: a quantile of the model's own log p(x) on data it has not seen. What share of
 * foreign inputs it then finds is measured, not promised.
 */
import type { Dataset } from '../data/dataset.ts'
import { atStates } from '../data/discrete.ts'
import { defaultOod, type OodName, oodSet } from '../data/ood.ts'
import { checkFinite } from '../evaluation/checks.ts'
import { quantile } from '../evaluation/histogram.ts'
import { LangevinError } from '../graph/errors.ts'
import type { HostTensor } from '../graph/host-tensor.ts'
import { sameShape, showShape } from '../graph/shape.ts'
import type { Model } from '../nn/model.ts'

/** What flags an input: `score` below `threshold`. */
export interface OutOfDistribution {
  readonly score: 'log_prob_unnormalized'
  readonly threshold: number
  /** Share of data of the kind trained on that is flagged as well. */
  readonly falseAlarms: number
  /** Held-out examples that the threshold is a quantile of. */
  readonly examples: number
  /** Share of each foreign set that is flagged, by its name. */
  readonly detection: Readonly<Record<string, number>>
}

export interface ThresholdOptions {
  /** In (0, 1); default 0.05. */
  readonly falseAlarms?: number
  /** Foreign sets to count; default `defaultOod(heldOut)`. */
  readonly ood?: readonly OodName[]
  /** How grey data become the states of a model of binary x, as in training; default 'threshold'. */
  readonly binarize?: 'threshold' | 'stochastic' | null
  /** Of a noise-conditioned model: the level; default its smallest. */
  readonly sigma?: number
  /** Of foreign sets made at random; default 0. */
  readonly seed?: number
  readonly signal?: AbortSignal
}

/** Foreign examples a set; shares are then known to about a percent. */
const FOREIGN = 1000

/**
 * Fits the threshold on data that were not trained on: the `falseAlarms`-quantile of log p(x) up to a constant, linear between order statistics
 * as numpy's is.
 * @throws LangevinError E_SHAPE for data of another shape, E_DATA for too few or where the model's energies are not finite; RangeError
 */
export async function fitThreshold(
  model: Model,
  heldOut: Dataset,
  options: ThresholdOptions = {},
): Promise<OutOfDistribution> {
  const { falseAlarms = 0.05, ood = defaultOod(heldOut), seed = 0, binarize, sigma, signal } = options
  if (!(falseAlarms > 0 && falseAlarms < 1))
    throw new RangeError(`falseAlarms must be a share in (0, 1); got ${falseAlarms}`)
  const { network } = model
  if (!sameShape(heldOut.shape, network.shape))
    throw new LangevinError(
      'E_SHAPE',
      `held-out data '${heldOut.name}' have examples of ${showShape(heldOut.shape)}, the model takes ${showShape(network.shape)}`,
    )
  const scores = async (x: HostTensor, name: string): Promise<Float64Array> => {
    // A model of discrete x says nothing of what lies between its states.
    const seen =
      network.discrete === undefined ? x : atStates(x, network.discrete, { how: binarize ?? 'threshold', seed })
    const energies = await model.energy(seen, { ...(signal && { signal }), ...(sigma !== undefined && { sigma }) })
    checkFinite(`log p(x) of '${name}'`, energies)
    return Float64Array.from(energies, (e) => -e).sort()
  }
  const threshold = quantile(await scores(heldOut.normalized(), heldOut.name), falseAlarms)
  const detection: Record<string, number> = {}
  const some = heldOut.count > FOREIGN ? heldOut.take(FOREIGN) : heldOut
  for (const name of ood) {
    const foreign = await scores(oodSet(name, some, { seed: seed + 1 }), name)
    detection[name] = foreign.filter((s) => s < threshold).length / foreign.length
  }
  return { score: 'log_prob_unnormalized', threshold, falseAlarms, examples: heldOut.count, detection }
}
