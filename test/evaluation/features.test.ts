import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { onnxFeatures } from '../../lib/evaluation/features.ts'
import { hostTensor } from '../../lib/graph/host-tensor.ts'
import { tinyOnnx } from './tiny-onnx.ts'

let folder = ''
const file = (name: string) => join(folder, name)

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'langevin-features-'))
  const two = tinyOnnx(
    { x: ['n', 1, 2] },
    [
      { op: 'Neg', inputs: ['x'], output: 'minus' },
      { op: 'Relu', inputs: ['x'], output: 'positive' },
    ],
    { minus: ['n', 1, 2], positive: ['n', 1, 2] },
  )
  await writeFile(file('two.onnx'), two)
  const sum = tinyOnnx({ a: ['n'], b: ['n'] }, [{ op: 'Add', inputs: ['a', 'b'], output: 'c' }], { c: ['n'] })
  await writeFile(file('sum.onnx'), sum)
  await writeFile(file('broken.onnx'), 'not a model')
})
afterAll(() => rm(folder, { recursive: true, force: true }))

const x = hostTensor(Float32Array.from([1, -2, 3, -4, 5, -6]), [3, 1, 2])

describe('onnxFeatures', () => {
  it('runs the network batch by batch and flattens', async () => {
    for (const batch of [1, 2, 3, 64]) {
      const f = await onnxFeatures(file('two.onnx'), x, { batch })
      expect(f.shape).toEqual([3, 2])
      expect([...f.data]).toEqual([-1, 2, -3, 4, -5, 6])
    }
    const named = await onnxFeatures(file('two.onnx'), x, { output: 'positive' })
    expect([...named.data]).toEqual([1, 0, 3, 0, 5, 0])
  })

  it('says what is wrong', async () => {
    const fails = (path: string, options = {}) => expect(onnxFeatures(file(path), x, options)).rejects
    await fails('two.onnx', { output: 'positiv' }).toThrow(/Did you mean 'positive'/)
    await fails('sum.onnx').toThrow(/must have one input; it has 2: a, b/)
    await fails('broken.onnx').toMatchObject({ code: 'E_ONNX' })
    await fails('absent.onnx').toMatchObject({ code: 'E_ONNX' })
    await fails('two.onnx', { batch: 0 }).toThrow(/batch must be an integer ≥ 1/)
    const flat = hostTensor(new Float32Array(4), [2, 2])
    await expect(onnxFeatures(file('two.onnx'), flat)).rejects.toThrow(/failed on an input of shape \[2,2\]/)
  })

  it('stops when asked', async () => {
    await expect(onnxFeatures(file('two.onnx'), x, { signal: AbortSignal.abort(new Error('enough')) })).rejects.toThrow(
      'enough',
    )
  })
})
