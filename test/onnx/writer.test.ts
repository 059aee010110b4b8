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

describe('the body of a Loop', () => {
  const scalar = { dtype: 'int64' as const, dims: [] }
  const bool = { dtype: 'bool' as const, dims: [] }

  function counting(): { w: GraphWriter; body: GraphWriter } {
    const w = withInput()
    w.reserve('n', 'input')
    w.input('n', scalar)
    const body = w.child()
    for (const [name, type] of [
      ['i', scalar],
      ['going', bool],
      ['v', float(['batch', 2])],
    ] as const)
      body.input(body.unique(name), type)
    return { w, body }
  }

  it('reads outer values, and leaves what does not change to the outer graph', () => {
    const { w, body } = counting()
    const [outer = ''] = w.node('Exp', ['x'])
    const [scale = ''] = body.node('Sqrt', [outer], {}, 1, 'scale')
    expect(body.node('Exp', ['x'])).toEqual([outer])
    const [moved = ''] = body.node('Mul', ['v', scale])
    expect(body.node('Mul', ['v', scale])).toEqual([moved])
    const [drawn = ''] = body.node('RandomNormalLike', [outer])
    const [next = ''] = body.node('Add', [moved, drawn])
    const outputs = [
      { name: body.unique('more'), value: 'going', type: bool },
      { name: body.unique('v_next'), value: next, type: float(['batch', 2]) },
    ]
    const [last = ''] = w.loop(['n', '', 'x'], { writer: body, name: 'step', outputs }, ['v_last'], 'steps')
    const [after = ''] = w.node('Neg', [last])
    const g = w.finish('g', [
      { name: 'y', value: after, type: float(['batch', 2]) },
      { name: 'z', value: outer, type: float(['batch', 2]) },
    ])
    expect(g.node.map((n) => `${n.opType}(${n.input})->${n.output}`)).toEqual([
      'Exp(x)->z',
      'Sqrt(z)->scale',
      'Loop(n,,x)->v_last',
      'Neg(v_last)->y',
    ])
    const inner = g.node[2]?.attribute[0]
    expect([inner?.name, inner?.type]).toEqual(['body', 5])
    // The outer value is read under the name that it has as an output.
    expect(inner?.g?.node.map((n) => `${n.opType}(${n.input})->${n.output}`)).toEqual([
      'Mul(v,scale)->Mul',
      'RandomNormalLike(z)->RandomNormalLike',
      'Add(Mul,RandomNormalLike)->v_next',
      'Identity(going)->more',
    ])
    expect(inner?.g?.initializer).toEqual([])
  })

  it('keeps what only the body needs, and drops what nothing does', () => {
    const { w, body } = counting()
    const [kept = ''] = w.node('Add', ['x', w.ints([3])], {}, 1, 'kept')
    w.node('Add', ['x', w.ints([4])], {}, 1, 'dropped')
    const [next = ''] = body.node('Add', ['v', kept])
    body.node('Neg', ['v'], {}, 1, 'unused')
    const outputs = [
      { name: body.unique('more'), value: 'going', type: bool },
      { name: body.unique('v_next'), value: next, type: float(['batch', 2]) },
    ]
    const [last = ''] = w.loop(['n', '', 'x'], { writer: body, name: 'step', outputs }, ['v_last'], 'steps')
    const g = w.finish('g', [{ name: 'y', value: last, type: float(['batch', 2]) }])
    expect(g.node.map((n) => n.name)).toEqual(['kept', 'steps'])
    expect(g.initializer.map((t) => t.name)).toEqual(['ints'])
    expect(g.node[1]?.attribute[0]?.g?.node.map((n) => n.opType)).toEqual(['Add', 'Identity'])
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
