/** `langevinTest.run(file, feeds)` for the test and the console: any ONNX file of this page on given numbers, by the same worker. */
import type { Engine } from './engine.ts'
import type { PlainTensor } from './protocol.ts'

/** Numbers that survive JSON; those of int64 as texts. */
interface JsonTensor {
  readonly type: 'float32' | 'int32' | 'int64'
  readonly data: readonly (number | string)[]
  readonly dims: readonly number[]
}

declare global {
  interface Window {
    langevinTest?: {
      run(
        file: string,
        feeds: Record<string, JsonTensor>,
      ): Promise<Record<string, { data: number[]; dims: readonly number[] }>>
    }
  }
}

export function installTestHook(engine: Engine): void {
  window.langevinTest = {
    async run(file, feeds) {
      const url = new URL(file, document.baseURI).href
      const given = Object.fromEntries(Object.entries(feeds).map(([name, t]) => [name, parse(t)]))
      const { outputs } = await engine.run(url, given)
      return Object.fromEntries(
        Object.entries(outputs).map(([name, t]) => [name, { data: Array.from(t.data, Number), dims: t.dims }]),
      )
    },
  }
}

function parse({ type, data, dims }: JsonTensor): PlainTensor {
  if (type === 'int64') return { data: BigInt64Array.from(data, BigInt), dims }
  return { data: type === 'int32' ? Int32Array.from(data, Number) : Float32Array.from(data, Number), dims }
}
