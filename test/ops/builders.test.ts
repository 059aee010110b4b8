/** What the builder functions promise beyond values: promotion of numbers, no needless nodes, methods, typed errors, tie rules. */
import { describe, expect, it } from 'vitest'
import { grad } from '../../lib/autodiff/index.ts'
import { LangevinError } from '../../lib/graph/errors.ts'
import { Tensor } from '../../lib/graph/tensor.ts'
import { allOps } from '../../lib/ops/define.ts'
import { evaluateReference, type RefArray } from '../../lib/ops/evaluate.ts'
import * as ops from '../../lib/ops/index.ts'

const x = ops.input('x', [2, 3])
const i = ops.input('i', [4], 'int32')
const values = (shape: readonly number[], data: number[]): RefArray => ({ shape, data: Float64Array.from(data) })
const run = (t: Tensor, feeds: [Tensor, RefArray][] = []) => [
  ...(evaluateReference([t], new Map(feeds))[0] as RefArray).data,
]

/** The code of the LangevinError that f throws, and that its message names the values. */
function thrown(f: () => unknown): { code: string; message: string } {
  try {
    f()
  } catch (error) {
    if (error instanceof LangevinError) return { code: error.code, message: error.message }
    throw error
  }
  throw new Error('did not throw')
}

describe('numbers as operands', () => {
  it('take the dtype of the other operand', () => {
    expect(ops.add(x, 1).dtype).toBe('float32')
    expect(ops.add(1, i).dtype).toBe('int32')
    expect(ops.select(ops.lt(i, 2), i, 0).dtype).toBe('int32')
    expect(ops.select(ops.lt(i, 2), 1, 0).dtype).toBe('float32')
  })

  it('must fit that dtype', () => {
    expect(thrown(() => ops.add(i, 0.5))).toMatchObject({ code: 'E_DTYPE', message: expect.stringContaining('0.5') })
  })
})

describe('builders that would change nothing', () => {
  it('return their input', () => {
    const same = [
      ops.reshape(x, [2, 3]),
      ops.reshape(x, [-1, 3]),
      ops.transpose(x, [0, 1]),
      ops.broadcast(x, [2, 3]),
      ops.sum(x, []),
      ops.slice(x, [0, 0], [2, 3]),
      ops.pad(x, {}),
      ops.concat([x]),
      ops.cast(x, 'float32'),
      ops.squeeze(x),
      ops.pow(x, 1),
    ]
    for (const t of same) expect(t).toBe(x)
  })

  it('keep what lies between two reshapes or transposes, so that a gradient may be asked for there', () => {
    for (const [between, back] of [
      [ops.reshape(x, [6]), (t: Tensor) => ops.reshape(t, [2, 3])],
      [ops.transpose(x), (t: Tensor) => ops.transpose(t)],
    ] as const) {
      const [g] = grad(ops.sum(ops.square(back(between))), [between]) as [Tensor]
      const [value] = evaluateReference([g], new Map([[x, { shape: [2, 3], data: Float64Array.of(1, 2, 3, 4, 5, 6) }]]))
      expect([...(value?.data ?? [])].sort((a, b) => a - b)).toEqual([2, 4, 6, 8, 10, 12])
    }
  })

  it('make one matrix product of a batch and a matrix', () => {
    const batch = ops.input('batch', [5, 2, 3])
    const y = ops.matmul(batch, ops.input('w', [4, 3]), { transposeB: true })
    expect([y.shape, y.inputs[0]?.op.name, y.inputs[0]?.shape]).toEqual([[5, 2, 4], 'matmul', [10, 4]])
  })
})

describe('shape helpers', () => {
  it('give the documented shapes', () => {
    const y = ops.input('y', [2, 1, 3, 1])
    const shapes: [Tensor, number[]][] = [
      [ops.squeeze(y), [2, 3]],
      [ops.squeeze(y, -1), [2, 1, 3]],
      [ops.unsqueeze(x, -1), [2, 3, 1]],
      [ops.expandDims(x, 0), [1, 2, 3]],
      [ops.flatten(y), [2, 3]],
      [ops.flatten(x, 0), [6]],
      [ops.flatten(x, 2), [2, 3, 1]],
      [ops.stack([x, x], -1), [2, 3, 2]],
      [ops.sliceAxis(x, 1, -1, 3), [2, 1]],
      [ops.logsumexp(x, 1, { keepDims: true }), [2, 1]],
      [ops.avgpool2d(ops.input('z', [1, 2, 6, 6]), { kernel: 2 }), [1, 2, 3, 3]],
    ]
    for (const [t, shape] of shapes) expect(t.shape).toEqual(shape)
  })
})

describe('methods', () => {
  it('are the builders, in chains', () => {
    const e = x.square().sum(-1).sqrt().sub(2).square().mul(8)
    expect(e.shape).toEqual([2])
    expect(run(e, [[x, values([2, 3], [3, 4, 0, 0, 0, 2])]])).toEqual([72, 0])
    expect(x.gt(0).select(x, 0).op.name).toBe('select')
    expect(x.matmul(x, { transposeB: true }).shape).toEqual([2, 2])
  })

  it('exist for every op on data, under its name in camelCase', () => {
    // Ops whose first operand is a key, ops that are adjoints, and sources have no method.
    const without =
      /^(input|constant|iota|normal|uniform|random_int|shuffle_index|bernoulli|categorical|gaussian_rows|crop_flip|concat)$|_grad$|_select$/
    const names = allOps()
      .map((d) => d.name)
      .filter((n) => !without.test(n))
      .map((n) => n.replace(/_(.)/g, (_, c: string) => c.toUpperCase()))
    expect(
      names.filter((n) => typeof (Tensor.prototype as unknown as Record<string, unknown>)[n] !== 'function'),
    ).toEqual([])
  })
})

describe('errors', () => {
  it('name the op, the values and the remedy', () => {
    const image = ops.input('image', [1, 3, 4, 4])
    const cases: [() => unknown, string, RegExp][] = [
      [() => ops.add(x, ops.input('y', [4])), 'E_SHAPE', /\[add\].*\[2,3\] and \[4\]/],
      [() => ops.add(x, i), 'E_DTYPE', /\[add\].*float32 and int32.*cast/],
      [() => ops.exp(i), 'E_DTYPE', /\[exp\].*int32\[4\].*cast/],
      [() => ops.matmul(x, x), 'E_SHAPE', /\[matmul\] columns of a \(3\).*rows of b \(2\).*\[2,3\] and \[2,3\]/],
      [() => ops.matmul(x, i.cast('float32')), 'E_SHAPE', /rank 2 or more/],
      [() => ops.reshape(x, [4]), 'E_SHAPE', /\[reshape\].*\[4\].*6 elements/],
      [() => ops.reshape(x, [-1, 4]), 'E_SHAPE', /cannot infer -1/],
      [() => ops.sum(x, 2), 'E_SHAPE', /axis must be an integer in -2\.\.1.*got 2/],
      [() => ops.sum(x, [0, -2]), 'E_SHAPE', /distinct/],
      [() => ops.slice(x, [0, 2], [2, 1]), 'E_SHAPE', /\[slice\].*axis 1.*got 2\.\.1/],
      [() => ops.concat([x, ops.input('y', [2, 4])]), 'E_SHAPE', /\[concat\].*except at axis 0/],
      [() => ops.conv2d(image, ops.input('w', [2, 4, 3, 3])), 'E_SHAPE', /channels of x \(3\)/],
      [() => ops.conv2d(image, ops.input('w', [2, 3, 5, 5])), 'E_SHAPE', /window of 5 does not fit height 4/],
      [() => ops.normal(i.cast('float32'), [2]), 'E_DTYPE', /int32/],
      [() => ops.normal(x.cast('int32'), [2]), 'E_SHAPE', /key must be int32\[4\]/],
      [() => ops.gather(ops.input('none', [0, 2]), i), 'E_SHAPE', /axis 0 of \[0,2\] is empty/],
      [() => ops.softmaxCrossEntropy(x, i), 'E_SHAPE', /\[2,3\] and \[4\]/],
      [() => ops.scatterRows(x, i, x), 'E_SHAPE', /rows \[n, \.\.\.\]/],
    ]
    for (const [f, code, message] of cases) {
      const error = thrown(f)
      expect(error.code).toBe(code)
      expect(error.message).toMatch(message)
    }
  })

  it('are RangeErrors for attributes out of range', () => {
    const image = ops.input('image', [1, 3, 4, 4])
    const cases: (() => unknown)[] = [
      () => ops.clamp(x, 1, 0),
      () => ops.clamp(x, 0, Number.POSITIVE_INFINITY),
      () => ops.leakyRelu(x, Number.NaN),
      () => ops.constant([1, 2, 3], [2]),
      () => ops.concat([]),
      () => ops.maxpool2d(image, { kernel: 2, padding: 2 }),
      () => ops.conv2d(image, ops.input('w', [2, 3, 3, 3]), { stride: 0 }),
      () => ops.slice(x, [0, 0], [2, 3], [1, 0]),
      () => ops.randomInt(i, [2], { bound: 0 }),
      () => ops.uniform(i, [2], -1),
      () => ops.shuffleIndex(i, { n: 3, count: 4 }),
      () => ops.seedKey(-1),
      () => ops.seedKey(2 ** 60),
      () => ops.oneHot(i, 0),
    ]
    for (const f of cases) expect(f).toThrow(RangeError)
  })

  it('name the path to an op without a gradient', () => {
    const buffer = ops.input('buffer', [4, 3])
    const updated = ops.scatterRows(buffer, ops.input('at', [2], 'int32'), x).named('store')
    const error = thrown(() => grad(ops.sum(ops.square(updated)), [x]))
    expect(error.code).toBe('E_NOT_DIFFERENTIABLE')
    expect(error.message).toContain('sum → square → scatter_rows(store)')
    // Without dependence on it there is nothing to differentiate.
    expect(run(grad(ops.sum(ops.square(updated)), [ops.input('other', [2])])[0] as Tensor)).toEqual([0, 0])
  })
})

describe('gradients at kinks', () => {
  const v = ops.input('v', [4])
  const at = (f: (t: Tensor) => Tensor, ...data: number[]) =>
    run(grad(ops.sum(f(v)), [v])[0] as Tensor, [[v, values([4], data)]])

  it('follow the documented rules', () => {
    expect(at(ops.abs, 0, 0, 2, -2)).toEqual([0, 0, 1, -1])
    expect(at(ops.relu, 0, -0, 2, -2)).toEqual([0, 0, 1, 0])
    expect(at((t) => ops.leakyRelu(t, 0.5), 0, -0, 2, -2)).toEqual([0.5, 0.5, 1, 0.5])
    expect(at((t) => ops.clamp(t, -1, 1), -1, 1, 1.5, 0)).toEqual([1, 1, 0, 1])
    expect(at((t) => ops.maximum(t, 1), 1, 2, 0, 1)).toEqual([0.5, 1, 0, 0.5])
    expect(at((t) => ops.minimum(t, 1), 1, 2, 0, 1)).toEqual([0.5, 0, 1, 0.5])
    expect(at((t) => ops.max(t), 3, 1, 3, 0)).toEqual([0.5, 0, 0.5, 0])
    expect(at(ops.sqrt, 0, 4, 0, 1)).toEqual([0, 0.25, 0, 0.5])
  })

  it('leave no NaN where a value is finite', () => {
    const second = (f: (t: Tensor) => Tensor, data: number[]) => {
      const [g] = grad(ops.sum(f(v)), [v]) as [Tensor]
      const [gg] = grad(ops.sum(g), [v]) as [Tensor]
      return run(gg, [[v, values([4], data)]])
    }
    for (const f of [ops.sqrt, (t: Tensor) => ops.norm(t), (t: Tensor) => ops.elu(t), ops.softplus, ops.silu]) {
      for (const value of second(f, [0, 0, 0, 0])) expect(Number.isFinite(value)).toBe(true)
    }
    for (const f of [ops.elu, ops.softplus, ops.sigmoid, ops.silu, ops.gelu, ops.tanh]) {
      for (const value of [...at((t) => f(t), 500, -500, 90, -90), ...second((t) => f(t), [500, -500, 90, -90])]) {
        expect(Number.isFinite(value)).toBe(true)
      }
    }
    expect(at((t) => ops.pow(t, 3), 0, 0, -1, 2)).toEqual([0, 0, 3, 12])
  })
})
