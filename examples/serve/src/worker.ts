/**
 * A thread that holds one ONNX model. onnxruntime-node runs a model on the thread that asks and blocks it meanwhile, so the thread that
 * answers HTTP must not be that one. One message asks, one answers; numbers move without being copied.
 */
import { createRequire } from 'node:module'
import { parentPort, workerData } from 'node:worker_threads'
import { InferenceSession, Tensor } from 'onnxruntime-node'
import type { Answer, Feed, ModelOpened, Question, WorkerInit } from './engine.ts'
import { reasonOf } from './errors.ts'

const port = parentPort
if (port === null) throw new Error('worker.js is started by the service, not by hand')
const { path, threads } = workerData as WorkerInit

const version = (createRequire(import.meta.url)('onnxruntime-node/package.json') as { readonly version: string })
  .version
const session = await InferenceSession.create(path, {
  intraOpNumThreads: threads,
  interOpNumThreads: 1,
  executionMode: 'sequential',
  // Threads that spin while they wait would take the processor from the thread that answers HTTP.
  extra: { session: { intra_op: { allow_spinning: '0' } } },
})

const running = new Set<Promise<void>>()

port.on('message', (question: Question | 'close') => {
  if (question === 'close') {
    // The thread ends when nothing runs and nobody can ask any more.
    Promise.allSettled(running).then(() => port.close())
    return
  }
  const answered = answer(question).then(
    (reply) => port.postMessage(reply, reply.outputs?.map((o) => o.data.buffer as ArrayBuffer) ?? []),
    (error: unknown) => port.postMessage({ id: question.id, error: reasonOf(error) } satisfies Answer),
  )
  running.add(answered)
  answered.finally(() => running.delete(answered))
})

const ports = (all: readonly InferenceSession.ValueMetadata[]) =>
  all.map((m) =>
    m.isTensor ? { name: m.name, type: m.type, shape: m.shape } : { name: m.name, type: 'not a tensor', shape: [] },
  )
port.postMessage({
  inputs: ports(session.inputMetadata),
  outputs: ports(session.outputMetadata),
  version,
} satisfies ModelOpened)

async function answer({ id, feeds, outputs }: Question): Promise<Answer> {
  const tensors = Object.fromEntries(feeds.map((f) => [f.name, tensorOf(f)]))
  const results = await session.run(tensors, outputs)
  return {
    id,
    outputs: outputs.map((name) => {
      const { data, dims } = results[name] as Tensor
      if (!(data instanceof Float32Array)) throw new Error(`output '${name}' is not float32`)
      return { name, dims, data: owned(data) }
    }),
  }
}

function tensorOf({ data, dims }: Feed): Tensor {
  if (data instanceof Float32Array) return new Tensor('float32', data, dims)
  return data instanceof Int32Array ? new Tensor('int32', data, dims) : new Tensor('int64', data, dims)
}

/** Numbers in memory that can change hands: what the runtime gave may lie in memory of its own. */
function owned(data: Float32Array): Float32Array {
  return Float32Array.from(data)
}
