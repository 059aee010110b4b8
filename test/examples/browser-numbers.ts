/** An ONNX file on random inputs made from its own description, here by onnxruntime-node and there by the page's WebAssembly. */
import * as ort from 'onnxruntime-node'
import type { Page } from 'playwright-core'

export interface JsonTensor {
  readonly type: string
  readonly data: (number | string)[]
  readonly dims: number[]
}

interface Numbers {
  readonly data: readonly number[]
  readonly dims: readonly number[]
}

/** Settings of samplers; the batch is 5. */
const scalars: Readonly<Record<string, number>> = { steps: 5, step_size: 0.05, noise_scale: 0.1, seed: 1234 }
const BATCH = 5

/** Runs a file on inputs that follow from its names and shapes. */
export async function runHere(
  path: string,
): Promise<{ feeds: Record<string, JsonTensor>; outputs: Map<string, Numbers> }> {
  const session = await ort.InferenceSession.create(path, { logSeverityLevel: 3 })
  const feeds: Record<string, JsonTensor> = {}
  const given: Record<string, ort.Tensor> = {}
  for (const input of session.inputMetadata) {
    if (!input.isTensor) throw new Error(`${path}: input ${input.name} is no tensor`)
    const dims = input.shape.map((d) => (typeof d === 'number' ? d : BATCH))
    const feed = feedOf(input.name, input.type, dims)
    feeds[input.name] = feed
    given[input.name] = toTensor(feed)
  }
  const results = await session.run(given)
  const outputs = Object.entries(results).map(
    ([name, t]) => [name, { data: Array.from(t.data as Float32Array, Number), dims: t.dims }] as const,
  )
  await session.release()
  return { feeds, outputs: new Map(outputs) }
}

function feedOf(name: string, type: string, dims: number[]): JsonTensor {
  const size = dims.reduce((a, b) => a * b, 1)
  if (dims.length === 0)
    return { type, dims, data: [type === 'int64' ? String(scalars[name]) : (scalars[name] as number)] }
  // Classes, one of them drawn by the file itself.
  if (type === 'int32')
    return { type, dims, data: Array.from({ length: size }, (_, i) => (i === 3 && name === 'y' ? 3 : i % 2)) }
  return { type, dims, data: Array.from({ length: size }, (_, i) => Math.fround(Math.sin(12.9898 * (i + 1)))) }
}

function toTensor({ type, data, dims }: JsonTensor): ort.Tensor {
  if (type === 'int64') return new ort.Tensor('int64', BigInt64Array.from(data, BigInt), dims)
  if (type === 'int32') return new ort.Tensor('int32', Int32Array.from(data, Number), dims)
  return new ort.Tensor('float32', Float32Array.from(data, Number), dims)
}

/** The same in the page. */
export function runThere(
  page: Page,
  file: string,
  feeds: Record<string, JsonTensor>,
): Promise<Record<string, Numbers>> {
  return page.evaluate(
    ([f, given]) => {
      const { langevinTest } = globalThis as unknown as {
        langevinTest: { run(file: string, feeds: Record<string, JsonTensor>): Promise<Record<string, Numbers>> }
      }
      return langevinTest.run(f, given)
    },
    [file, feeds] as const,
  )
}
