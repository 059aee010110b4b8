/** A lane: jobs run one at a time, in order, and only so many may wait. For sampler runs, which are long and must not crowd out classification. */
import { ServeError } from './errors.ts'

interface Job {
  readonly start: () => void
}

export class Lane {
  readonly #most: number
  readonly #queue: Job[] = []
  #busy = false

  /** @param most Jobs that may wait beside the one that runs. */
  constructor(most: number) {
    this.#most = most
  }

  /** Jobs that wait. */
  get waiting(): number {
    return this.#queue.length
  }

  get busy(): boolean {
    return this.#busy
  }

  /**
   * Runs `job` when its turn comes. An aborted `signal` takes it out of the queue; one that runs already runs to its end.
   * @throws ServeError E_BUSY when too many wait; the signal's reason when aborted; what the job throws.
   */
  run<T>(job: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    if (signal?.aborted) return Promise.reject(signal.reason)
    if (this.#busy && this.#queue.length >= this.#most) return Promise.reject(this.#full())
    return new Promise<T>((resolve, reject) => {
      const leave = (): void => {
        const at = this.#queue.indexOf(entry)
        if (at >= 0) this.#queue.splice(at, 1)
        reject(signal?.reason)
      }
      const entry: Job = {
        start: () => {
          this.#busy = true
          job()
            .then(resolve, reject)
            .finally(() => {
              signal?.removeEventListener('abort', leave)
              this.#busy = false
              this.#queue.shift()?.start()
            })
        },
      }
      signal?.addEventListener('abort', leave, { once: true })
      if (this.#busy) this.#queue.push(entry)
      else entry.start()
    })
  }

  #full(): ServeError {
    return new ServeError('E_BUSY', {
      what: `${this.#queue.length} requests for samples wait already`,
      expected: `at most ${this.#most}`,
      remedy: 'Try again in a few seconds',
      headers: { 'retry-after': '5' },
    })
  }
}
