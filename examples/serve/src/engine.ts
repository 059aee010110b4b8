/** An ONNX model on a thread of its own (worker.ts): opened once, asked from the HTTP thread, one question after the other. */
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { Worker } from 'node:worker_threads'
import { reasonOf, ServeError, StartError } from './errors.ts'

/** What the thread is started with. */
export interface WorkerInit {
  readonly path: string
  /** Threads of one run. */
  readonly threads: number
}

/** An input's or output's name, element type and shape; a text stands for a size that is open. */
export interface Port {
  readonly name: string
  readonly type: string
  readonly shape: readonly (number | string)[]
}

export interface ModelOpened {
  readonly inputs: readonly Port[]
  readonly outputs: readonly Port[]
  /** Of onnxruntime-node. */
  readonly version: string
}

/** One input's numbers: float32, int32 or int64. */
export interface Feed {
  readonly name: string
  readonly dims: readonly number[]
  readonly data: Float32Array | Int32Array | BigInt64Array
}

export interface Output {
  readonly name: string
  readonly dims: readonly number[]
  readonly data: Float32Array
}

export interface Question {
  readonly id: number
  readonly feeds: readonly Feed[]
  readonly outputs: readonly string[]
}

export interface Answer {
  readonly id: number
  readonly outputs?: readonly Output[]
  readonly error?: string
}

interface Waiting {
  readonly resolve: (outputs: readonly Output[]) => void
  readonly reject: (error: Error) => void
}

export class Engine {
  readonly path: string
  readonly opened: ModelOpened
  readonly #worker: Worker
  readonly #waiting = new Map<number, Waiting>()
  #next = 0
  readonly #ended: Promise<void>
  #gone: string | undefined

  private constructor(path: string, worker: Worker, opened: ModelOpened) {
    this.path = path
    this.opened = opened
    this.#worker = worker
    worker.on('message', (answer: Answer) => this.#answered(answer))
    worker.on('error', (error) => this.#lost(reasonOf(error)))
    this.#ended = new Promise((resolve) => {
      worker.on('exit', (code) => {
        this.#lost(`its thread ended with code ${code}`)
        resolve()
      })
    })
  }

  /** Loads the model at `path`. @throws StartError E_BUNDLE when ONNX Runtime does not take the file. */
  static async open(path: string, threads: number): Promise<Engine> {
    const worker = new Worker(workerFile(), { workerData: { path, threads } satisfies WorkerInit })
    try {
      const opened = await new Promise<ModelOpened>((resolve, reject) => {
        worker.once('message', resolve)
        worker.once('error', reject)
        worker.once('exit', (code) => reject(new Error(`the thread ended with code ${code}`)))
      })
      return new Engine(path, worker, opened)
    } catch (cause) {
      await worker.terminate()
      throw new StartError(
        'E_BUNDLE',
        `ONNX Runtime does not open '${path}': ${reasonOf(cause)}. Export the bundle again, or update onnxruntime-node`,
        cause,
      )
    }
  }

  /** Whether the thread is there. */
  get alive(): boolean {
    return this.#gone === undefined
  }

  /** Runs the model. `feeds` change hands: their arrays are empty afterwards. @throws ServeError E_MODEL. */
  run(feeds: readonly Feed[], outputs: readonly string[]): Promise<readonly Output[]> {
    if (this.#gone !== undefined) return Promise.reject(this.#failure(this.#gone))
    const id = this.#next++
    const buffers = new Set(feeds.map((f) => f.data.buffer as ArrayBuffer))
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject })
      this.#worker.postMessage({ id, feeds, outputs } satisfies Question, [...buffers])
    })
  }

  /**
   * Ends the thread after what it runs just now; whoever waits is told at once. Never by force: a thread that is ended within ONNX Runtime
   * takes the process with it.
   */
  async close(): Promise<void> {
    if (this.alive) this.#worker.postMessage('close')
    this.#lost('the service is stopping')
    await this.#ended
  }

  #answered({ id, outputs, error }: Answer): void {
    const waiting = this.#waiting.get(id)
    this.#waiting.delete(id)
    if (outputs !== undefined) waiting?.resolve(outputs)
    else waiting?.reject(this.#failure(error ?? 'no answer'))
  }

  #lost(reason: string): void {
    this.#gone ??= reason
    for (const { reject } of this.#waiting.values()) reject(this.#failure(this.#gone))
    this.#waiting.clear()
  }

  #failure(reason: string): ServeError {
    return new ServeError('E_MODEL', {
      what: `ONNX Runtime failed: ${reason}`,
      remedy: this.alive
        ? 'Try again; if it stays so, the bundle does not fit its data'
        : 'The service must be restarted',
    })
  }
}

/** The thread's program: compiled, as Node runs no TypeScript by itself in every version that is supported. */
function workerFile(): URL {
  const file = new URL('./worker.js', import.meta.url)
  if (existsSync(fileURLToPath(file))) return file
  throw new StartError('E_USAGE', `'${fileURLToPath(file)}' is missing: compile the service first (npm run build)`)
}
