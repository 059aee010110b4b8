/**
 * The replay buffer of persistent chains and its starts, as state and graphs (Tieleman 2008; Du & Mordatch 2019; JEM++'s informative start).
 * Row r of the buffer belongs to class min(⌊r / ⌊rows/classes⌋⌋, classes - 1), so class-conditional chains keep to their own rows.
 */
import type { Dataset } from '../data/dataset.ts'
import { hostTensor } from '../graph/host-tensor.ts'
import type { Shape } from '../graph/shape.ts'
import type { Tensor } from '../graph/tensor.ts'
import * as ops from '../ops/index.ts'
import { makeProgram } from '../runtime/program.ts'
import { keyFromSeed, Recorder, runStage, type State } from '../runtime/state.ts'
import { selectRows } from '../samplers/rows.ts'
import type { StartOptions } from '../samplers/starts.ts'
import { ChainStarts, type StartData } from './chain-starts.ts'
import { STREAM } from './streams.ts'

export interface ReplayOptions {
  /** Rows; default 10 000. */
  readonly size?: number
  /** Probability that a drawn chain starts anew; default 0.05. */
  readonly reinit?: number
  /** Default uniform on [-1, 1] (JEM) or class Gaussians (JEM++). */
  readonly start?: StartOptions
}

const FILL_ROWS = 500

/** Name in the state. */
export const BUFFER = 'chain/buffer'

/** Buffer of one run: its settings, resolved, and what is recorded of it. */
export class Replay {
  readonly size: number
  readonly reinit: number
  /** Where chains begin. */
  readonly starts: ChainStarts
  /** Classes that rows are divided into; 1 for unlabelled data. */
  readonly classes: number
  private readonly shape: Shape

  constructor(options: ReplayOptions & { start: StartOptions }, data: StartData) {
    const { size = 10_000, reinit = 0.05 } = options
    this.classes = Math.max(1, data.classes)
    if (!Number.isInteger(size) || size < this.classes) {
      throw new RangeError(`buffer.size must be an integer ≥ ${this.classes} (one row a class); got ${size}`)
    }
    if (!(reinit >= 0 && reinit <= 1)) throw new RangeError(`buffer.reinit must be in [0, 1]; got ${reinit}`)
    this.size = size
    this.reinit = reinit
    this.starts = new ChainStarts(options.start, data)
    this.shape = data.shape
  }

  /** Rows that belong to one class. */
  get perClass(): number {
    return Math.floor(this.size / this.classes)
  }

  /** Creates the buffer and what its starts need, estimated from the data. */
  async setup(state: State, data: Dataset): Promise<void> {
    this.create(state)
    await this.starts.setup(state, data)
  }

  /** Creates the buffer, empty. */
  create(state: State): void {
    state.create(BUFFER, [this.size, ...this.shape])
  }

  /** Class of each buffer row number. */
  classOf(rows: Tensor): Tensor {
    return ops.minimum(ops.div(rows, this.perClass), this.classes - 1)
  }

  /**
   * Draws chains: buffer rows (of given classes, or any), a share of them started anew.
   * Returns x [count, ...shape], the rows they came from, and their classes.
   */
  draw(
    r: Recorder,
    key: Tensor,
    count: number,
    streams: { rows: number; reinit: number; start: number },
    classes?: Tensor,
  ) {
    const within = classes === undefined ? this.size : this.perClass
    const pick = ops.randomInt(key, [count], { stream: streams.rows, bound: within })
    const rows = classes === undefined ? pick : ops.add(ops.mul(classes, this.perClass), pick)
    const kept = ops.gather(r.read(BUFFER), rows, { axis: 0 })
    const rowClasses = classes ?? this.classOf(rows)
    if (this.reinit === 0) return { x: kept, rows, classes: rowClasses }
    const anew = ops.lt(ops.uniform(key, [count], streams.reinit), this.reinit)
    const fresh = this.starts.draw(r, key, rowClasses, anew, streams.start)
    return { x: selectRows(anew, fresh, kept), rows, classes: rowClasses }
  }

  /** Puts chains back. */
  put(buffer: Tensor, rows: Tensor, x: Tensor): Tensor {
    return ops.scatterRows(buffer, rows, x)
  }

  /** Fills the whole buffer with starting points that follow from `seed`. */
  async fill(state: State, seed: number): Promise<void> {
    const chunk = Math.min(FILL_ROWS, this.size)
    for (const [name, shape] of [
      ['fill/key', [4]],
      ['fill/offset', []],
    ] as const) {
      if (!state.has(name)) state.create(name, shape, 'int32', false)
    }
    await state.get('fill/key').write(keyFromSeed(seed))
    await state.get('fill/offset').write(hostTensor(new Int32Array([0]), []))
    const r = new Recorder(state)
    const key = r.read('fill/key')
    const offset = r.read('fill/offset')
    const rows = ops.minimum(ops.add(ops.iota([chunk], 0), offset), this.size - 1)
    const all = ops.lt(rows, this.size)
    const x = this.starts.draw(r, key, this.classOf(rows), all, STREAM.start)
    r.write(BUFFER, this.put(r.read(BUFFER), rows, x))
    r.write('fill/key', ops.nextKey(key))
    r.write('fill/offset', ops.add(offset, chunk))
    const stage = await r.compile('fill')
    const program = makeProgram([runStage(stage)])
    try {
      await program.run(Math.ceil(this.size / chunk))
    } finally {
      stage.plan.dispose()
    }
  }
}
