/** Gibbs with gradients: Metropolis for discrete x, binary or one-hot, whose proposals the gradient chooses. */
import { LangevinError } from '../graph/errors.ts'
import { sizeOf } from '../graph/shape.ts'
import type { Tensor } from '../graph/tensor.ts'
import * as ops from '../ops/index.ts'
import { metropolis } from './metropolis.ts'
import { checkChoice, checkCount, resolve } from './options.ts'
import { cached, evaluateTarget, selectRows } from './rows.ts'
import type { Sampler } from './sampler.ts'

/**
 * Grathwohl et al., ICML 2021 (arXiv:2102.04509), algorithm 1. The energy is a function of float x that is evaluated at 0s and 1s only. With
 * d̃ the first-order estimate of what each single change adds to log p(x), a change is drawn from softmax(d̃/2) and accepted by the
 * Metropolis-Hastings ratio with the probabilities of both ways, so the chain is exact. Staying at a site's own category is never proposed.
 *
 * With `flips` > 1 so many changes are drawn independently and proposed together: binary sites drawn twice flip once; proposals that would change
 * a one-hot site twice are refused. Exact as well: the same draws, or the ones to the former categories, lead back.
 *
 * Energy and score of x are kept, so a step costs one gradient. Starting points are rounded: above 0.5 to 1, or the largest category.
 */
export interface GibbsWithGradientsOptions {
  readonly kind: 'gibbsWithGradients'
  /** 'binary': x [n, ...] of 0 and 1. 'oneHot': x [n, ..., k], the last axis one-hot. Default 'binary'. */
  readonly form?: 'binary' | 'oneHot'
  /** Changes proposed together; default 1, at most 500. */
  readonly flips?: number
  /** Steps in one round of a training chain; default 20. */
  readonly steps?: number
}

/** @throws RangeError, LangevinError E_CONFIG for impossible options. */
export function makeGibbsWithGradients(given: GibbsWithGradientsOptions): Sampler<Required<GibbsWithGradientsOptions>> {
  const options = resolve(given, { kind: 'gibbsWithGradients', form: 'binary', flips: 1, steps: 20 })
  const { kind, form, flips } = options
  checkChoice(kind, 'form', form, ['binary', 'oneHot'])
  checkCount(kind, 'flips', flips)
  checkCount(kind, 'steps', options.steps)
  if (flips > 500) throw new RangeError(`sampler ${kind}: flips must be at most 500; got ${flips}`)
  return {
    kind,
    options,
    steps: options.steps,
    bounds: null,
    firstStage: 1,
    gradientsPerStep: 1,
    start: { kind: 'uniform', low: 0, high: 1 },
    init: (target, start) => {
      const x = rounded(form, start)
      return { x, ...evaluateTarget(target, x) }
    },
    step(target, state, key, stream) {
      const { x } = state
      const here = cached(target, state)
      const forth = changeLogits(form, x, here.score)
      const picks = Array.from({ length: flips }, (_, i) => {
        const chosen = ops.categorical(key, forth, stream + 1 + i)
        return ops.oneHot(chosen, forth.shape[1] as number)
      })
      const { next, possible, back } = form === 'binary' ? flip(x, picks) : recategorise(x, picks)
      const there = evaluateTarget(target, next)
      const backwards = changeLogits(form, next, there.score)
      const hastings = ops.sub(logProbability(backwards, back), logProbability(forth, picks))
      const ratio = ops.add(ops.sub(here.energy, there.energy), hastings)
      const logRatio = possible ? ops.select(possible, ratio, -Infinity) : ratio
      const proposal = { from: { x, ...here }, to: { x: next, ...there }, logRatio, bounds: null, integrated: false }
      const { taken, info } = metropolis(proposal, key, stream)
      return { state: { ...state, ...taken, x: taken.x as Tensor }, key: ops.nextKey(key), info }
    },
  }
}

/** Logit of what is never proposed: far below any other, yet finite, so that its product with 0 is 0. */
const NEVER = -1e9

/** d̃/2 of every single change, [n, changes]: flips of the sites, or every other category of every site. */
function changeLogits(form: 'binary' | 'oneHot', x: Tensor, score: Tensor): Tensor {
  const flat = [x.shape[0] as number, sizeOf(x.shape.slice(1))]
  if (form === 'binary') return ops.reshape(ops.mul(ops.sub(0.5, x), score), flat)
  const own = ops.sum(ops.mul(x, score), -1, { keepDims: true })
  return ops.reshape(ops.select(ops.gt(x, 0.5), NEVER, ops.mul(ops.sub(score, own), 0.5)), flat)
}

/** [n]: log of the probability of drawing these changes, one after the other. */
function logProbability(logits: Tensor, picks: readonly Tensor[]): Tensor {
  const each = ops.logSoftmax(logits, -1)
  return picks.map((p) => ops.sum(ops.mul(p, each), 1)).reduce((a, b) => ops.add(a, b))
}

interface Change {
  readonly next: Tensor
  /** bool [n]: chains whose change may be proposed; all by default. */
  readonly possible?: Tensor
  /** The draws that lead from `next` back to x. */
  readonly back: readonly Tensor[]
}

function flip(x: Tensor, picks: readonly Tensor[]): Change {
  const any = ops.reshape(
    picks.reduce((a, b) => ops.maximum(a, b)),
    x.shape,
  )
  const next = ops.select(ops.gt(any, 0.5), ops.sub(1, x), x)
  return { next, back: picks }
}

function recategorise(x: Tensor, picks: readonly Tensor[]): Change {
  const shaped = picks.map((p) => ops.reshape(p, x.shape))
  const sites = shaped.map((p) => ops.sum(p, -1, { keepDims: true }))
  const total = (list: readonly Tensor[]) => list.reduce((a, b) => ops.add(a, b))
  const touched = total(sites)
  const axes = touched.shape.slice(1).map((_, i) => i + 1)
  const possible = ops.le(ops.max(touched, axes), 1)
  const changed = ops.select(ops.gt(touched, 0.5), total(shaped), x)
  const next = selectRows(possible, changed, x)
  const back = sites.map((s, i) => ops.reshape(ops.mul(s, x), (picks[i] as Tensor).shape))
  return { next, possible, back }
}

function rounded(form: 'binary' | 'oneHot', x: Tensor): Tensor {
  if (form === 'binary') return ops.cast(ops.gt(x, 0.5), 'float32')
  if (x.rank < 3 || (x.shape.at(-1) as number) < 2) {
    throw new LangevinError(
      'E_CONFIG',
      `sampler gibbsWithGradients: form 'oneHot' needs x [n, ..., categories] with at least 2 categories; got [${x.shape.join(',')}]`,
    )
  }
  return ops.oneHot(ops.argmax(x, -1), x.shape.at(-1) as number)
}
