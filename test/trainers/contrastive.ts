/** What the tests of the contrastive trainers share: a Gaussian known exactly, its energy with trained parameters, and small flows. */
import { Dataset } from '../../lib/data/dataset.ts'
import type { MetricsRow } from '../../lib/evaluation/metrics-row.ts'
import { hostTensor } from '../../lib/graph/host-tensor.ts'
import type { Tensor } from '../../lib/graph/tensor.ts'
import type { Model } from '../../lib/nn/model.ts'
import { defineEnergy } from '../../lib/nn/models.ts'
import type { Scope } from '../../lib/nn/variables.ts'
import * as ops from '../../lib/ops/index.ts'
import { HostRandom } from '../../lib/runtime/host-random.ts'
import type { CommonOptions, FitOptions } from '../../lib/trainers/options.ts'
import type { Trainer } from '../../lib/trainers/trainer.ts'

/** Rows of x = mean + L z in the plane, as they are. */
export const gaussianMean = [1, -0.5] as const
/** [[l00, 0], [l10, l11]]. */
export const gaussianFactor = [0.8, 0.3, 0.5] as const

export function gaussianRows(count: number, seed = 3): Dataset {
  const random = new HostRandom(seed)
  const rows = new Float32Array(2 * count)
  for (let i = 0; i < count; i++) {
    const [u, v] = [random.normal(), random.normal()]
    rows[2 * i] = gaussianMean[0] + gaussianFactor[0] * u
    rows[2 * i + 1] = gaussianMean[1] + gaussianFactor[1] * u + gaussianFactor[2] * v
  }
  return new Dataset({ name: 'gaussian', features: hostTensor(rows, [count, 2]), range: null })
}

/** Entropy of those rows' distribution in nats: log(2πe) + log |L|. */
export const gaussianEntropy = Math.log(2 * Math.PI * Math.E) + Math.log(gaussianFactor[0] * gaussianFactor[2])

/** ½|A(x - m)|² with A lower triangular, exp(log diagonal): log Z = log 2π - Σ log diagonal. With `normalized` that is added. */
export function gaussianEnergy(normalized = false): Model {
  const energy = (x: Tensor, scope: Scope): Tensor => {
    const zero = { kind: 'constant', value: 0 } as const
    const m = scope.parameter('m', [2], zero)
    const logDiagonal = scope.parameter('logDiagonal', [2], zero)
    const off = scope.parameter('off', [1], zero)
    const centred = ops.sub(x, m)
    const [a, b] = [ops.sliceAxis(centred, 1, 0, 1), ops.sliceAxis(centred, 1, 1, 2)]
    const scale = ops.exp(logDiagonal)
    const y = ops.concat([a, ops.add(b, ops.mul(a, off))], 1)
    const half = ops.mul(ops.sum(ops.square(ops.mul(y, scale)), [1]), 0.5)
    return normalized ? ops.add(half, ops.sub(Math.log(2 * Math.PI), ops.sum(logDiagonal))) : half
  }
  return defineEnergy({ shape: [2], name: 'gaussian' }, energy)
}

/** log Z of {@link gaussianEnergy} at the model's parameters. */
export function gaussianLogZ(model: Model): number {
  return Math.log(2 * Math.PI) - (model.value('logDiagonal').data as Float32Array).reduce((sum, v) => sum + v, 0)
}

/** A flow of few parameters on the plane. */
export const tinyFlow = { kind: 'affineCoupling', inputs: 2, layers: 2, hidden: [8] } as const

/** Runs fit to its end; the rows. */
export async function fitRows<O extends CommonOptions>(
  trainer: Trainer<O>,
  data: Dataset,
  options: FitOptions,
): Promise<MetricsRow[]> {
  const rows: MetricsRow[] = []
  for await (const row of trainer.fit(data, options)) rows.push(row)
  return rows
}

/** A metric of a row. */
export function metric(row: MetricsRow | undefined, name: string): number {
  const value = (row as Readonly<Record<string, unknown>> | undefined)?.[name]
  if (typeof value !== 'number') throw new Error(`no metric '${name}' in ${JSON.stringify(row)}`)
  return value
}
