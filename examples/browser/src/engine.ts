/** The page's side of the worker: runs of ONNX files as promises, and lanes in which only the newest request counts. */
import type { Feeds, Outputs, RunReply, RunRequest } from './protocol.ts'

export interface Ran {
  readonly outputs: Outputs
  readonly milliseconds: number
}

interface Waiting {
  resolve(ran: Ran): void
  reject(error: Error): void
}

export class Engine {
  private readonly worker: Worker
  private readonly waiting = new Map<number, Waiting>()
  private broken: Error | undefined
  private count = 0

  constructor() {
    this.worker = new Worker(new URL('./worker.ts', import.meta.url), { type: 'module', name: 'langevin' })
    this.worker.addEventListener('message', (event: MessageEvent<RunReply>) => this.answer(event.data))
    this.worker.addEventListener('error', (event) =>
      this.fail(new Error(`The worker that runs the models stopped: ${event.message || 'it did not load'}.`)),
    )
  }

  /** Runs the file at `url`; `wanted` names the outputs to compute (all by default). Buffers of the feeds are handed over: they are empty afterwards. */
  run(url: string, feeds: Feeds, wanted?: readonly string[]): Promise<Ran> {
    if (this.broken !== undefined) return Promise.reject(this.broken)
    const request: RunRequest = { id: this.count++, url, feeds, wanted }
    return new Promise((resolve, reject) => {
      this.waiting.set(request.id, { resolve, reject })
      const buffers = new Set(Object.values(feeds).map((t) => t.data.buffer as ArrayBuffer))
      this.worker.postMessage(request, [...buffers])
    })
  }

  private answer(reply: RunReply): void {
    const waiting = this.waiting.get(reply.id)
    this.waiting.delete(reply.id)
    if ('error' in reply) waiting?.reject(new Error(reply.error))
    else waiting?.resolve(reply)
  }

  private fail(error: Error): void {
    this.broken = error
    for (const { reject } of this.waiting.values()) reject(error)
    this.waiting.clear()
  }
}

/** Runs one task at a time; of those asked for meanwhile only the newest runs next, so that what is shown is never far behind. */
export class Latest {
  private running = false
  private next: (() => Promise<void>) | undefined

  request(task: () => Promise<void>): void {
    this.next = task
    if (!this.running) void this.drain()
  }

  private async drain(): Promise<void> {
    this.running = true
    while (this.next !== undefined) {
      const task = this.next
      this.next = undefined
      await task()
    }
    this.running = false
  }
}
