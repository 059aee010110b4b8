/** The worker: ONNX files run by onnxruntime-web on one thread of WebAssembly, which needs no special headers of the host. */

import wasm from 'onnxruntime-web/ort-wasm-simd-threaded.wasm?url'
import * as ort from 'onnxruntime-web/wasm'
import type { Outputs, PlainTensor, RunReply, RunRequest, TensorData } from './protocol.ts'

ort.env.wasm.numThreads = 1
ort.env.wasm.wasmPaths = { wasm: new URL(wasm, import.meta.url).href }
ort.env.logLevel = 'error'

const sessions = new Map<string, Promise<ort.InferenceSession>>()

/** Sessions are made once; one that failed may be asked for again. */
function sessionOf(url: string): Promise<ort.InferenceSession> {
  const kept = sessions.get(url)
  if (kept !== undefined) return kept
  const made = open(url)
  sessions.set(url, made)
  made.catch(() => sessions.delete(url))
  return made
}

async function open(url: string): Promise<ort.InferenceSession> {
  const response = await fetch(url)
  if (!response.ok) throw new Error(`${url} does not load: the host answers ${response.status}`)
  const bytes = new Uint8Array(await response.arrayBuffer())
  return ort.InferenceSession.create(bytes, { executionProviders: ['wasm'] })
}

function toRuntime({ data, dims }: PlainTensor): ort.Tensor {
  if (data instanceof Float32Array) return new ort.Tensor('float32', data, dims)
  if (data instanceof Int32Array) return new ort.Tensor('int32', data, dims)
  return new ort.Tensor('int64', data, dims)
}

function fromRuntime(name: string, tensor: ort.Tensor): PlainTensor {
  const { data, dims, type } = tensor
  const ours = data instanceof Float32Array || data instanceof Int32Array || data instanceof BigInt64Array
  if (!ours) throw new Error(`output '${name}' is of type ${type}, which this page does not read`)
  // A copy of its own, so that it can be handed over whole.
  return { data: data.slice() as TensorData, dims }
}

async function run({ url, feeds, wanted }: RunRequest): Promise<Outputs> {
  const session = await sessionOf(url)
  const given = Object.fromEntries(Object.entries(feeds).map(([name, t]) => [name, toRuntime(t)]))
  const results = wanted === undefined ? await session.run(given) : await session.run(given, wanted)
  return Object.fromEntries(Object.entries(results).map(([name, t]) => [name, fromRuntime(name, t)]))
}

/** Runs follow one another: a session takes one at a time. */
let last: Promise<void> = Promise.resolve()

self.addEventListener('message', (event: MessageEvent<RunRequest>) => {
  const request = event.data
  last = last.then(async () => {
    const begun = performance.now()
    try {
      const outputs = await run(request)
      const reply: RunReply = { id: request.id, outputs, milliseconds: performance.now() - begun }
      self.postMessage(reply, { transfer: Object.values(outputs).map((t) => t.data.buffer as ArrayBuffer) })
    } catch (error) {
      const reply: RunReply = { id: request.id, error: error instanceof Error ? error.message : String(error) }
      self.postMessage(reply)
    }
  })
})
