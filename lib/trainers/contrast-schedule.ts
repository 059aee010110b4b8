/**
 * How hard the contrastive samples of dual adversarial training are: the number T of ascent steps, as state and graphs. T begins at 0 and grows
 * by one each time the mean AUC of data against them, over a full window of steps, reaches a threshold; then the window begins anew (Yin 2025).
 */
import { hostTensor } from '../graph/host-tensor.ts'
import type { Tensor } from '../graph/tensor.ts'
import * as ops from '../ops/index.ts'
import type { Recorder, State } from '../runtime/state.ts'

export interface ContrastScheduleOptions {
  /** AUC in (½, 1]; 1 or less than all told apart makes samples harder. */
  readonly threshold: number
  /** Steps in the window. */
  readonly window: number
  /** T at the beginning. */
  readonly first: number
  /** Largest T. */
  readonly most: number
}

/** State names. */
export const CONTRAST_STEPS = 'contrast/steps'
const RING = 'contrast/auc'
const SEEN = 'contrast/seen'

interface Next {
  readonly ring: Tensor
  readonly seen: Tensor
  readonly steps: Tensor
  /** Mean AUC of the window so far, this step's with it. */
  readonly mean: Tensor
}

/** T of one run. */
export class ContrastSchedule {
  private readonly options: ContrastScheduleOptions

  constructor(options: ContrastScheduleOptions) {
    this.options = options
  }

  async setup(state: State): Promise<void> {
    const { first, window } = this.options
    await state.put(CONTRAST_STEPS, hostTensor(new Int32Array([first]), []))
    state.create(RING, [window])
    state.create(SEEN, [], 'int32')
  }

  /** T of this step, and the running AUC with `auc`, as float32 metrics. */
  metrics(r: Recorder, auc: Tensor): { readonly contrastSteps: Tensor; readonly runningAuc: Tensor } {
    return { contrastSteps: ops.cast(r.read(CONTRAST_STEPS), 'float32'), runningAuc: this.next(r, auc).mean }
  }

  /** Takes in the AUC of a good step. */
  advance(r: Recorder, auc: Tensor): void {
    const { ring, seen, steps } = this.next(r, auc)
    r.write(RING, ring)
    r.write(SEEN, seen)
    r.write(CONTRAST_STEPS, steps)
  }

  private next(r: Recorder, auc: Tensor): Next {
    const { threshold, window, most } = this.options
    const steps = r.read(CONTRAST_STEPS)
    const before = r.read(SEEN)
    const place = ops.iota([window], 0)
    const ring = ops.select(ops.eq(place, ops.rem(before, window)), auc, r.read(RING))
    const seen = ops.add(before, 1)
    const filled = ops.minimum(seen, window)
    const total = ops.sum(ops.select(ops.lt(place, filled), ring, 0))
    const mean = ops.div(total, ops.cast(filled, 'float32'))
    const full = ops.logicalAnd(ops.ge(seen, window), ops.lt(steps, most))
    const harder = ops.logicalAnd(full, ops.ge(mean, threshold))
    return {
      ring,
      seen: ops.select(harder, ops.scalar(0, 'int32'), seen),
      steps: ops.add(steps, ops.cast(harder, 'int32')),
      mean,
    }
  }
}
