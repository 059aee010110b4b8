import { describe, expect, it } from 'vitest'
import { attributesKey, GraphWriter } from '../../lib/onnx/writer.ts'

const float = (dims: readonly (number | string)[]) => ({ dtype: 'float32' as const, dims })

function withInput(): GraphWriter {
  const w = new GraphWriter()
  for (const name of ['x', 'y', 'z']) w.reserve(name, name === 'x' ? 'input' : 'output')
  w.input('x', float(['batch', 2]))
  return w
}

describe('GraphWriter', () => {
  it('merges equal nodes and keeps different ones and random ones apart', () => {
    const w = withInput()
    const [a] = w.node('Exp', ['x'])
    expect(w.node('Exp', ['x'])).toEqual([a])
    expect(w.node('Log', ['x'])).not.toEqual([a])
    expect(w.node('Elu', ['x'], { alpha: { float: 1 } })).not.toEqual(w.node('Elu', ['x'], { alpha: { float: 2 } }))
    expect(w.node('RandomNormalLike', ['x'])).not.toEqual(w.node('RandomNormalLike', ['x']))
  })

  it('stores equal constants once, by type, shape and bits', () => {
    const w = withInput()
    const one = w.ints([1])
    expect(w.ints([1])).toBe(one)
    expect(w.ints([1], [])).not.toBe(one)
    expect(w.constant('float32', [1], new Uint8Array([0, 0, 0, 0]))).not.toBe(
      w.constant('float32', [1], new Uint8Array([0, 0, 0, 128])),
    )
    const long = w.ints(Array.from({ length: 40 }, (_, i) => i))
    expect(w.ints(Array.from({ length: 40 }, (_, i) => i))).toBe(long)
    expect(w.ints(Array.from({ length: 40 }, (_, i) => i + (i === 39 ? 1 : 0)))).not.toBe(long)
  })

  it('drops what no output needs, and describes what remains', () => {
    const w = withInput()
    const [a = ''] = w.node('Exp', ['x'], {}, 1, 'kept')
    w.node('Add', ['x', w.ints([3])], {}, 1, 'dropped')
    const [b = ''] = w.node('Add', [a, w.ints([4])], {}, 1, 'last')
    w.describe(a, float(['batch', 2]))
    w.describe(b, float(['batch', 2]))
    const g = w.finish('g', [{ name: 'y', value: b, type: float(['batch', 2]) }])
    expect(g.node.map((n) => `${n.name}:${n.opType}(${n.input})->${n.output}`)).toEqual([
      'kept:Exp(x)->kept',
      'last:Add(kept,ints_1)->y',
    ])
    expect(g.initializer.map((t) => t.name)).toEqual(['ints_1'])
    expect(g.valueInfo.map((v) => v.name)).toEqual(['kept'])
  })

  it('shows one value under two names, and an input as an output, through Identity', () => {
    const w = withInput()
    const [a = ''] = w.node('Exp', ['x'])
    const type = float(['batch', 2])
    w.reserve('copy', 'output')
    const g = w.finish('g', [
      { name: 'y', value: a, type },
      { name: 'z', value: a, type },
      { name: 'copy', value: 'x', type },
    ])
    expect(g.node.map((n) => `${n.opType}(${n.input})->${n.output}`)).toEqual([
      'Exp(x)->y',
      'Identity(y)->z',
      'Identity(x)->copy',
    ])
  })

  it('gives every node a name of its own and refuses chosen names that clash', () => {
    const w = withInput()
    const names = ['x', 'Exp', 'Exp_1'].map((input) => w.node('Exp', [input])[0])
    expect(names).toEqual(['Exp', 'Exp_1', 'Exp_2'])
    expect(() => w.reserve('x', 'parameter')).toThrow(/parameter name 'x' is used twice/)
    expect(() => w.reserve('', 'output')).toThrow(/output name '' is empty/)
    expect(() => w.node('Exp', ['nowhere'])).toThrow(/reads 'nowhere', which nothing makes/)
  })
})

it('attribute keys tell apart what JSON would merge', () => {
  const keys = [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 0, -0].map((v) =>
    attributesKey({ a: { float: v } }),
  )
  expect(new Set(keys).size).toBe(5)
  expect(attributesKey({ a: { int: 1 } })).not.toBe(attributesKey({ a: { float: 1 } }))
  expect(attributesKey({ a: { int: 1 }, b: { ints: [1, 2] } })).toBe(
    attributesKey({ b: { ints: [1, 2] }, a: { int: 1 } }),
  )
})
