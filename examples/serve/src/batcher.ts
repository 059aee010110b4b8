/**
 * Rows of concurrent requests gathered into batches: a model that takes 64 rows at once is faster than 64 runs of one. Knows no HTTP and no
 * ONNX: rows in, columns of results out.
 *
 * A batch begins when nothing runs and either `maxBatch` rows wait or the oldest has waited `maxDelay`; while one runs, what arrives gathers
 * for the next. Requests take turns: none may fill a batch while others wait, so a single row is not held up by a thousand. A batch that
 * fails fails those with rows in it, and no others.
 */
import { ServeError } from './errors.ts'

/** Runs `count` rows that lie one after the other; gives columns, each of the same number of values a row. */
export type RunBatch = (rows: Float32Array, count: number) => Promise<readonly Float32Array[]>

export interface BatcherOptions {
  /** Numbers in a row. */
  readonly width: number
  /** Most rows of a batch. */
  readonly maxBatch: number
  /** Milliseconds that a row may wait for company while the model idles; 0 waits for what arrives in the same turn of the event loop. */
  readonly maxDelay: number
  /** Most rows that may wait; further requests are refused with E_BUSY. */
  readonly queue: number
  /** false: each batch holds rows of one request only. */
  readonly merge: boolean
  /** Told of every batch that ran: its rows, requests and seconds. */
  readonly onBatch?: (rows: number, requests: number, seconds: number) => void
}

interface Request {
  readonly rows: Float32Array
  readonly count: number
  /** When it came, performance.now(). */
  readonly since: number
  /** Rows handed to batches, and rows whose results are there. */
  taken: number
  done: number
  columns: Float32Array[] | undefined
  settled: boolean
  readonly resolve: (columns: readonly Float32Array[]) => void
  readonly reject: (reason: unknown) => void
}

/** Consecutive rows of a request in a batch. */
interface Part {
  readonly request: Request
  readonly from: number
  readonly count: number
}

export class Batcher {
  readonly #run: RunBatch
  readonly #options: BatcherOptions
  #queue: Request[] = []
  #waiting = 0
  #running = false
  #timer: NodeJS.Timeout | NodeJS.Immediate | undefined

  constructor(run: RunBatch, options: BatcherOptions) {
    this.#run = run
    this.#options = options
  }

  /** Rows that wait for a batch. */
  get waiting(): number {
    return this.#waiting
  }

  /**
   * Results of `rows`, in their order. An aborted `signal` takes the rows out of the queue.
   * @throws ServeError E_BUSY when the queue is full; the signal's reason when aborted; what the run throws.
   */
  submit(rows: Float32Array, signal?: AbortSignal): Promise<readonly Float32Array[]> {
    const count = rows.length / this.#options.width
    if (this.#waiting + count > this.#options.queue) return Promise.reject(this.#full(count))
    if (signal?.aborted) return Promise.reject(signal?.reason)
    return new Promise((resolve, reject) => {
      const settle = <T>(next: (value: T) => void) => {
        return (value: T): void => {
          request.settled = true
          signal?.removeEventListener('abort', abort)
          next(value)
        }
      }
      const request: Request = {
        rows,
        count,
        since: performance.now(),
        taken: 0,
        done: 0,
        columns: undefined,
        settled: false,
        resolve: settle(resolve),
        reject: settle(reject),
      }
      const abort = (): void => {
        this.#drop(request)
        request.reject(signal?.reason)
      }
      signal?.addEventListener('abort', abort, { once: true })
      this.#queue.push(request)
      this.#waiting += count
      this.#schedule()
    })
  }

  #full(count: number): ServeError {
    const { queue } = this.#options
    return new ServeError('E_BUSY', {
      what: `${this.#waiting} rows wait already, and ${count} more do not fit`,
      expected: `at most ${queue} in all`,
      remedy: 'Try again in a second',
      headers: { 'retry-after': '1' },
    })
  }

  /** Begins a batch now, or sets the time when. */
  #schedule(): void {
    const first = this.#queue[0]
    if (this.#running || first === undefined) return
    const { maxBatch, maxDelay } = this.#options
    if (this.#waiting >= maxBatch) {
      this.#start()
      return
    }
    if (this.#timer !== undefined) return
    const wake = () => {
      this.#timer = undefined
      if (!this.#running && this.#queue.length > 0) this.#start()
    }
    const left = maxDelay - (performance.now() - first.since)
    this.#timer = left > 0 ? setTimeout(wake, left) : setImmediate(wake)
  }

  #start(): void {
    clearTimeout(this.#timer as NodeJS.Timeout | undefined)
    clearImmediate(this.#timer as NodeJS.Immediate | undefined)
    this.#timer = undefined
    const parts = this.#options.merge ? this.#takeTurns() : this.#takeOne()
    const count = parts.reduce((sum, p) => sum + p.count, 0)
    const { width, onBatch } = this.#options
    const rows = new Float32Array(count * width)
    let at = 0
    for (const { request, from, count: n } of parts) {
      rows.set(request.rows.subarray(from * width, (from + n) * width), at * width)
      at += n
    }
    this.#running = true
    const begun = performance.now()
    this.#run(rows, count)
      .then((columns) => {
        onBatch?.(count, new Set(parts.map((p) => p.request)).size, (performance.now() - begun) / 1000)
        this.#deliver(parts, columns, count)
      })
      .catch((error: unknown) => {
        for (const { request } of parts) {
          this.#drop(request)
          if (!request.settled) request.reject(error)
        }
      })
      .finally(() => {
        this.#running = false
        this.#schedule()
      })
  }

  /** Rows of the request at the head. */
  #takeOne(): Part[] {
    const request = this.#queue[0] as Request
    return [this.#take(request, this.#options.maxBatch)]
  }

  /** Every request in turn gives its share of what room is left; who has more goes to the end of the line. */
  #takeTurns(): Part[] {
    const parts: Part[] = []
    let room = this.#options.maxBatch
    while (room > 0 && this.#queue.length > 0) {
      const share = Math.ceil(room / this.#queue.length)
      const request = this.#queue[0] as Request
      const part = this.#take(request, share)
      parts.push(part)
      room -= part.count
      if (this.#queue[0] === request) this.#queue.push(this.#queue.shift() as Request)
    }
    return parts
  }

  /** Up to `most` further rows of the request at the head, which leaves the queue with its last. */
  #take(request: Request, most: number): Part {
    const count = Math.min(most, request.count - request.taken)
    const part = { request, from: request.taken, count }
    request.taken += count
    this.#waiting -= count
    if (request.taken === request.count) this.#queue.shift()
    return part
  }

  #deliver(parts: readonly Part[], columns: readonly Float32Array[], count: number): void {
    let at = 0
    for (const { request, from, count: n } of parts) {
      const start = at
      at += n
      if (request.settled) continue
      request.columns ??= columns.map((c) => new Float32Array((c.length / count) * request.count))
      for (const [i, column] of columns.entries()) {
        const w = column.length / count
        request.columns[i]?.set(column.subarray(start * w, (start + n) * w), from * w)
      }
      request.done += n
      if (request.done === request.count) request.resolve(request.columns)
    }
  }

  /** Takes what is left of a request out of the queue. */
  #drop(request: Request): void {
    const at = this.#queue.indexOf(request)
    if (at < 0) return
    this.#queue.splice(at, 1)
    this.#waiting -= request.count - request.taken
  }
}
