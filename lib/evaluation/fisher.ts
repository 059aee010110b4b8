/** The Fisher divergence between a model and a density whose score is known: what score matching minimises. Not an estimate of log p. */
import { LangevinError } from '../graph/errors.ts'
import type { HostTensor } from '../graph/host-tensor.ts'
import { sameShape, showShape } from '../graph/shape.ts'
import type { Model } from '../nn/model.ts'
import { checkCount, checkFinite, checkTensor } from './checks.ts'
import { forEachBatch } from './rows.ts'

export interface FisherOptions {
  /** Examples per native call; default 256. */
  readonly batch?: number
  readonly signal?: AbortSignal
}

export interface FisherDivergence {
  /** mean ½‖s_θ(x) - s(x)‖² (Hyvärinen 2005); 0 where the scores agree. Units: 1 / (unit of x)². */
  readonly value: number
  /** Of `value`, from the spread of the examples. */
  readonly standardError: number
  /** mean ½‖s(x)‖²: what a score of zero would get; value / reference is free of units. */
  readonly reference: number
}

/**
 * Fisher divergence over x [n, ...shape] drawn from the true density, n >= 2. `trueScore`: ∇x log p at x, of x's shape, or a model
 * whose score is taken for the truth.
 * @throws LangevinError E_SHAPE, E_DATA (scores that are not finite), RangeError
 */
export async function fisherDivergence(
  model: Model,
  x: HostTensor,
  trueScore: HostTensor | Model,
  options: FisherOptions = {},
): Promise<FisherDivergence> {
  const { batch = 256, signal } = options
  checkCount('fisherDivergence: batch', batch, 1)
  checkTensor('fisherDivergence: x', x)
  const rows = x.shape[0] ?? 0
  if (rows < 2) throw new LangevinError('E_SHAPE', `fisherDivergence: x must hold at least 2 examples; got ${rows}`)
  if ('data' in trueScore && !sameShape(trueScore.shape, x.shape)) {
    throw new LangevinError(
      'E_SHAPE',
      `fisherDivergence: the true score must have x's shape ${showShape(x.shape)}; got ${showShape(trueScore.shape)}`,
    )
  }
  const width = x.data.length / rows
  const values = new Float64Array(rows)
  let reference = 0
  await forEachBatch(x, batch, signal, async (part, start) => {
    const got = (await model.score(part)).data
    const truth = 'data' in trueScore ? trueScore.data.subarray(start * width) : (await trueScore.score(part)).data
    checkFinite('fisherDivergence: scores of the model', got)
    for (let i = 0; i < got.length; i++) {
      values[start + Math.floor(i / width)]! += 0.5 * (got[i]! - truth[i]!) ** 2
      reference += (0.5 * truth[i]! ** 2) / rows
    }
  })
  checkFinite('fisherDivergence: true scores', [reference])
  const value = values.reduce((s, v) => s + v, 0) / rows
  const variance = values.reduce((s, v) => s + (v - value) ** 2, 0) / (rows - 1)
  return { value, standardError: Math.sqrt(variance / rows), reference }
}
