/** Fused loops against scalar float64 evaluation: every instruction, broadcasts, layouts, reductions, threads, overwriting inputs. Not a test itself. */
import { describe, expect, test } from 'vitest'
import { type DType, reducedShape, sizeOf } from '../../../lib/graph/shape.ts'
import { erfReference, roundHalfEven } from '../../../lib/ops/ref.ts'
import { bytes, floats, ints, runInstruction, type Value } from '../instruction.ts'
import { generator } from '../plan-json.ts'

type Row = readonly [string, ...number[]]
type Kind = 'float32' | 'int32' | 'bool'
interface Output {
  readonly register: number
  readonly reduce?: 'sum' | 'max' | 'min'
}

const rem = (a: number, b: number) => (b === 0 ? 0 : a - b * Math.floor(a / b))
const truncated = (x: number, low: number, high: number) =>
  Number.isNaN(x) ? 0 : Math.min(high, Math.max(low, Math.trunc(x)))

/** The scalar meaning of each instruction in float64; int32 results wrap around afterwards. */
export const meaning: Record<string, (a: number, b: number, c: number) => number> = {
  neg: (a) => -a,
  abs: Math.abs,
  sign: Math.sign,
  square: (a) => a * a,
  exp: Math.exp,
  expm1: Math.expm1,
  log: Math.log,
  log1p: Math.log1p,
  sqrt: Math.sqrt,
  rsqrt: (a) => 1 / Math.sqrt(a),
  reciprocal: (a) => 1 / a,
  sin: Math.sin,
  cos: Math.cos,
  tanh: Math.tanh,
  sigmoid: (a) => (a >= 0 ? 1 / (1 + Math.exp(-a)) : Math.exp(a) / (1 + Math.exp(a))),
  softplus: (a) => Math.max(a, 0) + Math.log1p(Math.exp(-Math.abs(a))),
  relu: (a) => Math.max(a, 0),
  leaky_relu: (a, b) => (a < 0 ? a * b : a),
  erf: erfReference,
  floor: Math.floor,
  ceil: Math.ceil,
  round: roundHalfEven,
  is_finite: (a) => Number(Number.isFinite(a)),
  logical_not: (a) => Number(a === 0),
  add: (a, b) => a + b,
  sub: (a, b) => a - b,
  mul: (a, b) => a * b,
  div: (a, b) => a / b,
  pow: (a, b) => a ** b,
  maximum: (a, b) => Math.max(a, b),
  minimum: (a, b) => Math.min(a, b),
  rem,
  eq: (a, b) => Number(a === b),
  ne: (a, b) => Number(a !== b),
  lt: (a, b) => Number(a < b),
  le: (a, b) => Number(a <= b),
  gt: (a, b) => Number(a > b),
  ge: (a, b) => Number(a >= b),
  logical_and: (a, b) => a & b,
  logical_or: (a, b) => a | b,
  select: (a, b, c) => (a !== 0 ? b : c),
  clamp: (a, b, c) => (a < b ? b : Math.min(a, c)),
  cast_float: (a) => a,
  cast_int: (a) => truncated(a, -(2 ** 31), 2 ** 31 - 1),
  cast_bool: (a) => Number(a !== 0),
  cast_byte: (a) => truncated(a, 0, 255),
}
const integerMeaning: typeof meaning = {
  mul: (a, b) => Math.imul(a, b),
  square: (a) => Math.imul(a, a),
  div: (a, b) => (b === 0 ? 0 : Math.floor(a / b)),
  pow: (a, b) => Array.from({ length: Math.max(0, b) }).reduce((p: number) => Math.imul(p, a), 1),
}

const floatUnary =
  'neg abs sign square exp expm1 log log1p sqrt rsqrt reciprocal sin cos tanh sigmoid softplus relu erf floor ceil round'.split(
    ' ',
  )
const arithmetic = 'add sub mul div pow maximum minimum'.split(' ')
const comparisons = 'eq ne lt le gt ge'.split(' ')
const tests: [string, Kind[], DType][] = [
  ...floatUnary.map((op): [string, Kind[], DType] => [op, ['float32'], 'float32']),
  ...['neg', 'abs', 'sign', 'square'].map((op): [string, Kind[], DType] => [op, ['int32'], 'int32']),
  ...arithmetic.map((op): [string, Kind[], DType] => [op, ['float32', 'float32'], 'float32']),
  ...[...arithmetic, 'rem'].map((op): [string, Kind[], DType] => [op, ['int32', 'int32'], 'int32']),
  ...(['float32', 'int32', 'bool'] as const).flatMap((t) =>
    comparisons.map((op): [string, Kind[], DType] => [op, [t, t], 'bool']),
  ),
  ...(['float32', 'int32', 'bool'] as const).flatMap((t): [string, Kind[], DType][] => [
    ['select', ['bool', t, t], t],
    ['cast_float', [t], 'float32'],
    ['cast_int', [t], 'int32'],
    ['cast_bool', [t], 'bool'],
    ['cast_byte', [t], 'uint8'],
  ]),
  ['leaky_relu', ['float32', 'float32'], 'float32'],
  ['is_finite', ['float32'], 'bool'],
  ['logical_not', ['bool'], 'bool'],
  ['logical_and', ['bool', 'bool'], 'bool'],
  ['logical_or', ['bool', 'bool'], 'bool'],
  ['clamp', ['float32', 'float32', 'float32'], 'float32'],
  ['clamp', ['int32', 'int32', 'int32'], 'int32'],
]

const isFloat = (v: Value) => v.dtype === 'float32'

function evaluate(op: string, float: boolean, a: number, b: number, c: number): number {
  const f = ((float ? undefined : integerMeaning[op]) ?? meaning[op]) as (a: number, b: number, c: number) => number
  return f(a, b, c)
}

/** Registers of a program as flat float64 arrays over the iteration shape, rounded as registers are. */
function registersOf(shape: readonly number[], inputs: readonly Value[], program: readonly Row[]): Float64Array[] {
  const total = sizeOf(shape)
  const floatRegister = inputs.map(isFloat)
  const registers = inputs.map((v) =>
    Float64Array.from({ length: total }, (_, e) => v.data[offsetOf(shape, v, e)] as number),
  )
  for (const [op, ...args] of program) {
    const [x, y, z] = args as [number, number, number]
    if (op === 'const' || op === 'const_int') {
      registers.push(new Float64Array(total).fill(x))
      floatRegister.push(op === 'const')
    } else if (op === 'iota') {
      registers.push(Float64Array.from({ length: total }, (_, e) => indexOf(shape, e)[x] as number))
      floatRegister.push(false)
    } else {
      const float = floatRegister[op === 'select' ? y : x] as boolean
      const result = float
        ? !op.startsWith('cast') && !comparisons.includes(op) && op !== 'is_finite'
        : op === 'cast_float'
      const at = (r: number, e: number) => registers[r]?.[e] ?? 0
      const own = Float64Array.from({ length: total }, (_, e) => evaluate(op, float, at(x, e), at(y, e), at(z, e)))
      registers.push(
        result ? Float64Array.from(Float32Array.from(own)) : op.startsWith('cast') ? own : own.map((v) => v | 0),
      )
      floatRegister.push(result)
    }
  }
  return registers
}

function indexOf(shape: readonly number[], e: number): number[] {
  const index: number[] = []
  for (let i = shape.length - 1; i >= 0; i--) {
    index.unshift(e % (shape[i] as number))
    e = Math.floor(e / (shape[i] as number))
  }
  return index
}

function offsetOf(shape: readonly number[], v: Value, e: number): number {
  const index = indexOf(shape, e).slice(shape.length - v.shape.length)
  return v.shape.reduce((o, d, i) => o * d + (d === 1 ? 0 : (index[i] as number)), 0)
}

function reduceReference(shape: readonly number[], axes: readonly number[], x: Float64Array, how: string): number[] {
  const kept = shape.map((_, i) => i).filter((i) => !axes.includes(i))
  const start = how === 'sum' ? 0 : how === 'max' ? Number.NEGATIVE_INFINITY : Number.POSITIVE_INFINITY
  const out = new Array<number>(sizeOf(reducedShape(shape, axes, false))).fill(start)
  x.forEach((value, e) => {
    const index = indexOf(shape, e)
    const at = kept.reduce((o, i) => o * (shape[i] as number) + (index[i] as number), 0)
    const have = out[at] as number
    out[at] = how === 'sum' ? have + value : how === 'max' ? Math.max(have, value) : Math.min(have, value)
  })
  return out
}

function expectClose(got: ArrayLike<number>, want: ArrayLike<number>, tolerance: number, what: string): void {
  expect(got.length, what).toBe(want.length)
  for (let i = 0; i < want.length; i++) {
    const [g, w] = [got[i] as number, want[i] as number]
    if (Object.is(g, w) || g === w) continue
    const error = Math.abs(g - w) / Math.max(1, Math.abs(w))
    if (!(error <= tolerance)) throw new Error(`${what}: element ${i} is ${g}, not ${w}`)
  }
}

interface LoopCase {
  readonly shape: readonly number[]
  readonly inputs: readonly Value[]
  readonly program: readonly Row[]
  readonly outputs: readonly Output[]
  readonly dtypes: readonly DType[]
  readonly axes?: readonly number[]
  readonly tolerance?: number
  readonly blocked?: boolean
}

/** Runs on 1 and 2 threads of the CPU or twice on a device: right, repeatable bit for bit, and equal for all threads where nothing is reduced. */
async function checkLoop(c: LoopCase, what: string, device: string): Promise<void> {
  const axes = c.axes ?? []
  const registers = registersOf(c.shape, c.inputs, c.program)
  const outputs = c.outputs.map((o, i) => ({
    dtype: c.dtypes[i] as DType,
    shape: o.reduce === undefined ? c.shape : reducedShape(c.shape, axes, i % 2 === 0),
  }))
  const attr = { shape: c.shape, program: c.program, outputs: c.outputs, axes }
  const seen = new Map<string, ArrayLike<number>>()
  for (const threads of device === 'cpu' ? [1, 2, 2] : [1, 1]) {
    const blocked = c.blocked === true ? { blocked: c.shape } : {}
    const results = await runInstruction({ op: 'loop', inputs: c.inputs, outputs, attr, threads, device, ...blocked })
    c.outputs.forEach((o, i) => {
      const register = registers[o.register] as Float64Array
      const want = o.reduce === undefined ? register : reduceReference(c.shape, axes, register, o.reduce)
      // Sums are compared in units of the sum of magnitudes, as float32 registers carry their rounding into it.
      const scale =
        o.reduce === 'sum' ? Math.max(1, ...reduceReference(c.shape, axes, register.map(Math.abs), 'sum')) : 1
      expectClose(
        results[i] as ArrayLike<number>,
        want,
        (c.tolerance ?? 2e-6) * scale,
        `${what}, output ${i}, ${threads} threads`,
      )
      const key = o.reduce === undefined ? `${i}` : `${i} on ${threads}`
      expect(results[i], `${what}: repeatable`).toEqual(seen.get(key) ?? results[i])
      seen.set(key, results[i] as ArrayLike<number>)
    })
  }
}

const random = generator(11)
const between = (n: number, low: number, high: number) => Array.from({ length: n }, () => low + (high - low) * random())
function draw(dtype: Kind, shape: readonly number[], low = -3, high = 3): Value {
  const n = sizeOf(shape)
  if (dtype === 'float32') return floats(shape, between(n, low, high))
  if (dtype === 'int32') return ints(shape, between(n, 5 * low, 5 * high).map(Math.floor))
  return bytes(shape, between(n, 0, 2).map(Math.floor), 'bool')
}

const mixed: Row[] = [
  ['sub', 0, 1],
  ['mul', 3, 2],
  ['const', 0.2],
  ['leaky_relu', 4, 5],
  ['iota', 0],
  ['cast_float', 7],
  ['add', 6, 8],
]

/** Registers the tests for a device. */
export function testLoops(device = 'cpu'): void {
  describe('every instruction', () => {
    test.each(tests)('%s of %j', async (op, kinds, dtype) => {
      const positive = ['log', 'sqrt', 'rsqrt', 'pow'].includes(op)
      // On a device each is code to compile: sizes with and without whole vectors of 4.
      for (const n of device === 'cpu' ? [1, 3, 17, 1025] : [5, 1028]) {
        const inputs = kinds.map((k) =>
          op === 'pow' && k === 'int32' ? draw(k, [n], 0, 1.8) : draw(k, [n], positive ? 0.1 : -3, 3),
        )
        if (op === 'clamp') inputs[2] = { ...(inputs[1] as Value), data: (inputs[1] as Value).data.map((v) => v + 2) }
        const program = [[op, ...kinds.map((_, i) => i)] as unknown as Row]
        const common = { shape: [n], program, outputs: [{ register: kinds.length }], dtypes: [dtype] }
        await checkLoop({ ...common, inputs }, op, device)
        for (let one = 0; n > 1 && one < kinds.length; one++) {
          const single = inputs.map((v, i) => (i === one ? { ...v, shape: [], data: v.data.slice(0, 1) } : v))
          if (op === 'clamp' && one > 0) continue // bounds must stay in order
          await checkLoop({ ...common, inputs: single }, `${op}, operand ${one} a scalar`, device)
        }
      }
    })

    test('infinities, NaN and denormals', async () => {
      const edges = [
        0,
        -0,
        1e-45,
        -1e-40,
        1,
        -1,
        88.8,
        -104,
        3.4e38,
        -3.4e38,
        Number.POSITIVE_INFINITY,
        Number.NEGATIVE_INFINITY,
        Number.NaN,
      ]
      const a = floats(
        [169],
        edges.flatMap((x) => edges.map(() => x)),
      )
      const b = floats(
        [169],
        edges.flatMap(() => edges),
      )
      for (const [op, kinds, dtype] of tests.filter(([, kinds]) => kinds[0] === 'float32' && kinds.length < 3)) {
        if (dtype === 'uint8') continue
        // 1 to an infinite or NaN power is 1 in C and NaN in JavaScript.
        const x =
          op === 'pow'
            ? floats(
                [169],
                a.data.map((v, i) => (Math.abs(v) === 1 && !Number.isFinite(b.data[i]) ? 2 : v)),
              )
            : a
        const inputs = [x, b].slice(0, kinds.length)
        const program = [[op, ...kinds.map((_, i) => i)] as unknown as Row]
        const [got] = await runInstruction({
          op: 'loop',
          inputs,
          device,
          outputs: [{ dtype, shape: [169] }],
          attr: { shape: [169], program, outputs: [{ register: kinds.length }], axes: [] },
        })
        const want = x.data.map((v, i) => evaluate(op, true, v, b.data[i] as number, 0))
        expectClose(got as ArrayLike<number>, want, 4e-7, op)
      }
    })
  })

  describe('broadcasts', () => {
    test.each([[[5, 7]], [[64, 128]], [[3, 5000]], [[1000, 3]], [[1, 9]], [[700, 33]]])(
      'matrices %j',
      async (shape) => {
        const [a, b] = shape as [number, number]
        for (const second of [[a, b], [a, 1], [1, b], [b], [1], []]) {
          for (const third of [[a, 1], [b]]) {
            const inputs = [shape, second, third].map((s) => draw('float32', s))
            await checkLoop(
              { shape, inputs, program: mixed, outputs: [{ register: 9 }], dtypes: ['float32'], tolerance: 1e-5 },
              `${second} ${third}`,
              device,
            )
          }
        }
      },
    )

    const images = [
      [2, 16, 3, 3],
      [4, 32, 8, 8],
      [3, 16, 1, 1],
      [2, 6, 5, 4],
    ]
    test.each(
      images.flatMap(
        (s) =>
          [
            [s, false],
            [s, true],
          ] as [number[], boolean][],
      ),
    )('images %j, blocked %j', async (shape, blocked) => {
      const [n, c, h, w] = shape as [number, number, number, number]
      for (const second of [
        [1, c, 1, 1],
        [n, c, 1, 1],
        [n, 1, 1, 1],
        [1, 1, h, w],
        [n, 1, h, w],
        [1, c, h, w],
        [c, 1, 1],
        [w],
        [],
      ]) {
        const inputs = [shape, second, [1, c, 1, 1]].map((s) => draw('float32', s))
        await checkLoop(
          { shape, inputs, program: mixed, outputs: [{ register: 9 }], dtypes: ['float32'], blocked, tolerance: 1e-5 },
          `${second}`,
          device,
        )
      }
    })

    test('bytes and bools', async () => {
      const shape = [1000, 3]
      const inputs = [bytes(shape, between(3000, 0, 256).map(Math.floor)), bytes([3], [1, 0, 1], 'bool')]
      const program: Row[] = [
        ['cast_float', 0],
        ['const', 0.5],
        ['mul', 2, 3],
        ['cast_byte', 4],
        ['logical_not', 1],
        ['cast_int', 1],
      ]
      const outputs = [5, 6, 4, 7].map((register) => ({ register }))
      await checkLoop(
        { shape, inputs, program, outputs, dtypes: ['uint8', 'bool', 'float32', 'int32'], tolerance: 0 },
        'bytes',
        device,
      )
    })
  })

  describe('reductions', () => {
    const five: Output[] = [
      { register: 2 },
      { register: 2, reduce: 'sum' },
      { register: 3, reduce: 'sum' },
      { register: 2, reduce: 'max' },
      { register: 3, reduce: 'min' },
    ]
    const program: Row[] = [
      ['sub', 0, 1],
      ['square', 2],
    ]
    const axesOf4 = [[0, 2, 3], [2, 3], [0], [1], [0, 1, 2, 3], [1, 2, 3], [3], [0, 1], [1, 3], [0, 2], []]
    const shapes = [
      [4, 32, 8, 8],
      [2, 16, 5, 7],
      [2, 6, 5, 4],
    ]
    test.each(
      shapes.flatMap(
        (s) =>
          [
            [s, false],
            [s, true],
          ] as [number[], boolean][],
      ),
    )('images %j, blocked %j', async (shape, blocked) => {
      for (const axes of axesOf4) {
        const inputs = [draw('float32', shape), draw('float32', [1, shape[1] as number, 1, 1])]
        await checkLoop(
          { shape, inputs, program, outputs: five, dtypes: five.map(() => 'float32'), axes, blocked },
          `axes ${axes}`,
          device,
        )
      }
    })

    test.each([
      [[64, 10]],
      [[256, 128]],
      [[3, 9000]],
      [[9000, 3]],
      [[1, 100]],
      [[7, 1000]],
      [[20, 30, 40]],
      [[2, 3, 5000]],
    ])('%j', async (shape) => {
      const outputs: Output[] = [
        { register: 2, reduce: 'sum' },
        { register: 1, reduce: 'sum' },
        { register: 1, reduce: 'max' },
        { register: 1, reduce: 'min' },
        { register: 0, reduce: 'min' },
      ]
      const dtypes: DType[] = ['float32', 'int32', 'int32', 'int32', 'float32']
      for (const axes of [[0], [1], [0, 1], shape.length > 2 ? [0, 2] : [1]]) {
        const inputs = [draw('float32', shape), draw('int32', shape)]
        await checkLoop({ shape, inputs, program: [['exp', 0]], outputs, dtypes, axes }, `axes ${axes}`, device)
      }
    })

    test('a mean of a million keeps float32 precision; NaN reaches sum, max and min', async () => {
      const n = 1_000_003
      const x = floats([n], between(n, 1000, 1001))
      const attr = {
        shape: [n],
        program: [],
        outputs: [
          { register: 0, reduce: 'sum' },
          { register: 0, reduce: 'max' },
          { register: 0, reduce: 'min' },
        ],
        axes: [0],
      }
      const outputs = attr.outputs.map(() => ({ dtype: 'float32' as const, shape: [] }))
      const [sum] = await runInstruction({ op: 'loop', inputs: [x], outputs, attr, threads: 2, device })
      const exact = Float64Array.from(x.data).reduce((s, v) => s + v, 0)
      expect(Math.abs((sum?.[0] as number) / exact - 1)).toBeLessThan(1e-7)
      x.data[77_777] = Number.NaN
      for (const result of await runInstruction({ op: 'loop', inputs: [x], outputs, attr, threads: 2, device }))
        expect(result[0]).toBeNaN()
    })

    test('of nothing: 0 and the infinities', async () => {
      const outputs: Output[] = [
        { register: 0, reduce: 'sum' },
        { register: 0, reduce: 'max' },
        { register: 0, reduce: 'min' },
      ]
      await checkLoop(
        {
          shape: [0, 3],
          inputs: [floats([0, 3], [])],
          program: [],
          outputs,
          dtypes: outputs.map(() => 'float32'),
          axes: [0],
        },
        'empty',
        device,
      )
    })
  })

  test('outputs over inputs that are still needed', async () => {
    for (const n of [5, 1000, 50_000]) {
      const inputs = [draw('float32', [n]), draw('float32', [n])]
      const program: Row[] = [
        ['add', 0, 1],
        ['mul', 2, 0],
        ['sub', 0, 1],
        ['mul', 4, 1],
      ]
      const want = registersOf([n], inputs, program)
      const attr = { shape: [n], program, outputs: [{ register: 2 }, { register: 5 }], axes: [] }
      const outputs = [0, 1].map(() => ({ dtype: 'float32' as const, shape: [n] }))
      const got = await runInstruction({
        op: 'loop',
        inputs,
        outputs,
        attr,
        threads: 2,
        device,
        alias: new Map([
          [0, 0],
          [1, 1],
        ]),
      })
      expectClose(got[0] as ArrayLike<number>, want[2] as Float64Array, 1e-6, 'first')
      expectClose(got[1] as ArrayLike<number>, want[5] as Float64Array, 1e-6, 'second')
    }
  })
}
