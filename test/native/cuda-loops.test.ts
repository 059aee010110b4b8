/**
 * Fused loops on device 'cuda', through the simulator: the cases of the CPU's tests; orders of memory that loops take and give; bfloat16 between them;
 * very many operands and reductions. And that NVIDIA's own compiler takes what is written, where it is found: no GPU is needed for that.
 */
import { execFileSync } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { TypedArray } from '../../lib/graph/host-tensor.ts'
import { addon, type NativePlan } from '../../lib/runtime/addon.ts'
import { testLoops } from './cases/loop.ts'
import { floats, runInstruction } from './instruction.ts'
import { compileRaw, f32, generator, type RawPlan } from './plan-json.ts'
import { simulated } from './simulated.ts'

const device = 'cuda'
const where = simulated ? describe : describe.skip

// Convolutions put images into their order; they must not round them.
beforeAll(() => {
  process.env.LANGEVIN_TF32 = '0'
})
afterAll(() => {
  delete process.env.LANGEVIN_TF32
})

where('fused loops', () => testLoops(device))

type Shape = readonly number[]
const random = generator(5)
const uniform = (n: number) => Float32Array.from({ length: n }, () => 2 * random() - 1)
const size = (shape: Shape) => shape.reduce((n, d) => n * d, 1)

/** A plan over float32 values: the first of them are its inputs, `bound` its outputs. */
function planOf(shapes: readonly Shape[], inputs: number, code: RawPlan['code'], bound: readonly number[]): RawPlan {
  return {
    version: 1,
    values: shapes.map((s) => f32(...s)),
    inputs: Array.from({ length: inputs }, (_, i) => i),
    constants: [],
    outputs: bound.map((value) => ({ value, alias: null })),
    code,
  }
}

async function run(
  plan: RawPlan & { precision?: string },
  data: readonly Float32Array[],
  look: (p: NativePlan) => void,
) {
  const compiled = await compileRaw(plan, undefined, device)
  look(compiled)
  const tensorOf = (value: number) => new (addon().Tensor)('float32', plan.values[value]?.shape as number[], device)
  const inputs = plan.inputs.map(tensorOf)
  const outputs = plan.outputs.map((o) => tensorOf(o.value))
  for (const [i, t] of inputs.entries()) await t.write(data[i] as Float32Array)
  await compiled.run(inputs, outputs)
  const results = await Promise.all(outputs.map(async (t) => (await t.read()) as Float32Array))
  for (const t of [...inputs, ...outputs]) t.dispose()
  compiled.dispose()
  return results
}

function expectNear(got: Float32Array | undefined, want: (i: number) => number, tolerance: number): void {
  got?.forEach((g, i) => {
    const w = want(i)
    if (!(Math.abs(g - w) <= tolerance * Math.max(1, Math.abs(w)))) throw new Error(`element ${i} is ${g}, not ${w}`)
  })
  expect(got).toBeDefined()
}

const at = (a: Float32Array, i: number) => a[i] as number
const loop = (
  inputs: number[],
  out: number[],
  shape: Shape,
  program: unknown[],
  outputs: unknown[],
  axes: number[] = [],
) => ({
  op: 'loop',
  in: inputs,
  out,
  attr: { shape, program, outputs, axes },
})
/** A 1x1 depthwise convolution: with weights of 1 it only puts an image into its order. */
const depthwise = (x: number, w: number, out: number, channels: number) => ({
  op: 'conv2d',
  in: [x, w],
  out: [out],
  attr: { stride: [1, 1], padding: [0, 0, 0, 0], dilation: [1, 1], groups: channels },
})

where('orders of memory', () => {
  const image = [2, 12, 6, 5]

  test('images stay with their channels last, in place, and what broadcasts is read as it lies', async () => {
    const [y, z] = [uniform(size(image)), uniform(12)]
    // y and z pass convolutions; z' is [1,12,1,1], z'' [1,12,6,5] a result of a loop.
    const shapes = [image, [1, 12, 1, 1], [12, 1, 1, 1], image, [1, 12, 1, 1], image, [12], image]
    const code = [
      depthwise(0, 2, 3, 12),
      depthwise(1, 2, 4, 12),
      loop([3, 4], [5, 6], image, [['mul', 0, 1]], [{ register: 2 }, { register: 2, reduce: 'sum' }], [0, 2, 3]),
      loop([5, 4], [7], image, [['add', 0, 1]], [{ register: 2 }]),
    ]
    const ones = new Float32Array(12).fill(1)
    const [sums, sum] = await run(planOf(shapes, 3, code, [6, 7]), [y, z, ones], (plan) => {
      expect(plan.stats.text).toMatch(/float32\[2,12,6,5\]:nhwc@arena\+\d+!, float32\[12\]@output0 = loop\(/)
      expect(plan.stats.text).toMatch(/= loop\(float32\[2,12,6,5\]:nhwc@arena\+\d+!, float32\[1,12,1,1\](:nhwc)?@arena/)
    })
    const channel = (i: number) => Math.floor(i / 30) % 12
    const product = (i: number) => at(y, i) * at(z, channel(i))
    expectNear(sum, (i) => product(i) + at(z, channel(i)), 1e-6)
    const wanted = new Float64Array(12)
    y.forEach((_, i) => {
      wanted[channel(i)] = (wanted[channel(i)] as number) + product(i)
    })
    expectNear(sums, (i) => wanted[i] as number, 1e-5)
  })

  test('a single channel is the same in both orders: a loop moves nothing', async () => {
    const one = [3, 1, 7, 6]
    const [x, g] = [uniform(size(one)), uniform(size(one))]
    const code = [depthwise(1, 2, 3, 1), loop([0, 3], [4], one, [['sub', 0, 1]], [{ register: 2 }])]
    const shapes = [one, one, [1, 1, 1, 1], one, one]
    const [got] = await run(planOf(shapes, 3, code, [4]), [x, g, Float32Array.of(1)], (plan) => {
      const last = plan.stats.text.trim().split('\n').at(-1)
      expect(last).toMatch(
        /^float32\[3,1,7,6\]@output0 = loop\(float32\[3,1,7,6\]@input0, float32\[3,1,7,6\](:nhwc)?@arena\+0\)$/,
      )
    })
    expectNear(got, (i) => at(x, i) - at(g, i), 1e-6)
  })

  test.each([[[3, 40, 9, 7]], [[2, 3, 16, 16]], [[5, 70, 2, 2]], [[3000, 2, 3, 3]]])(
    'to and fro: %j',
    async (shape) => {
      const x = uniform(size(shape))
      const channels = shape[1] as number
      const plan = planOf([shape, [channels, 1, 1, 1], shape], 2, [depthwise(0, 1, 2, channels)], [2])
      const [got] = await run(plan, [x, new Float32Array(channels).fill(1)], (p) => expect(p.stats.reorders).toBe(2))
      expect(got).toEqual(x)
    },
  )
})

where('bfloat16', () => {
  test('values that a product wants so are kept so, and loops read them', async () => {
    const [m, k, n] = [64, 96, 64]
    const shapes = [[m, k], [k, n], [k], [m, k], [m, n], [m, k]]
    const code = [
      loop(
        [0, 2],
        [3],
        [m, k],
        [
          ['mul', 0, 1],
          ['tanh', 2],
        ],
        [{ register: 3 }],
      ),
      { op: 'matmul', in: [3, 1], out: [4], attr: { transposeA: false, transposeB: false } },
      loop([3, 2], [5], [m, k], [['add', 0, 1]], [{ register: 2 }]),
    ]
    const [x, w, b] = [uniform(m * k), uniform(k * n), uniform(k)]
    const plan = { ...planOf(shapes, 3, code, [4, 5]), precision: 'bfloat16' }
    const [product, sum] = await run(plan, [x, w, b], (p) => {
      expect(p.stats.text).toMatch(
        /float32\[64,96\]:half@arena\+\d+ = loop\(float32\[64,96\]@input0, float32\[96\]@input2\)/,
      )
      expect(p.stats.text).toMatch(/float32\[64,96\]@output1 = loop\(float32\[64,96\]:half@arena/)
    })
    const half = Float32Array.from(x, (v, i) => {
      const bits = new Uint32Array(Float32Array.of(Math.tanh(v * at(b, i % k))).buffer)
      bits[0] = (at(bits as unknown as Float32Array, 0) + 0x8000) & 0xffff0000 // no ties here
      return new Float32Array(bits.buffer)[0] as number
    })
    expectNear(sum, (i) => at(half, i) + at(b, i % k), 2 ** -8) // tanh itself may round across
    const exact = (i: number) => {
      let total = 0
      for (let e = 0; e < k; e++) total += at(half, Math.floor(i / n) * k + e) * at(w, e * n + (i % n))
      return total
    }
    expectNear(product, exact, 0.05)
  })
})

where('very many', () => {
  test('operands: more than a kernel takes as arguments', async () => {
    const count = 700
    const inputs = Array.from({ length: count }, () => floats([6], uniform(6)))
    const program = inputs.slice(1).map((_, i) => ['add', i === 0 ? 0 : count + i - 1, i + 1])
    const attr = { shape: [6], program, outputs: [{ register: 2 * count - 2 }, { register: count }], axes: [] }
    const outputs = [0, 1].map(() => ({ dtype: 'float32' as const, shape: [6] }))
    const [all, two] = await runInstruction({ op: 'loop', inputs, outputs, attr, device })
    const sum = (n: number) => (i: number) => inputs.slice(0, n).reduce((s, v) => s + (v.data[i] as number), 0)
    expectNear(all as Float32Array, sum(count), 1e-5)
    expectNear(two as Float32Array, sum(2), 1e-6)
  })

  test('reductions, in two stages', async () => {
    const x = floats([40_000, 3], uniform(120_000))
    const program = Array.from({ length: 20 }, (_, i) => [
      ['const', i + 1],
      ['mul', 0, 2 * i + 1],
    ]).flat()
    const outputs = Array.from({ length: 20 }, (_, i) => ({ register: 2 * i + 2, reduce: i % 2 === 0 ? 'sum' : 'max' }))
    const got = await runInstruction({
      op: 'loop',
      inputs: [x],
      outputs: outputs.map(() => ({ dtype: 'float32' as const, shape: [3] })),
      attr: { shape: [40_000, 3], program, outputs, axes: [0] },
      device,
    })
    const sums = [0, 0, 0]
    const most = [-1, -1, -1]
    x.data.forEach((v, i) => {
      sums[i % 3] = (sums[i % 3] as number) + v
      most[i % 3] = Math.max(most[i % 3] as number, v)
    })
    for (const [i, result] of got.entries()) {
      const want = i % 2 === 0 ? sums : most
      expectNear(result as Float32Array, (j) => (want[j] as number) * (i + 1), i % 2 === 0 ? 1e-4 : 1e-6)
    }
  })
})

/** Loops of every shape of text: all functions, whole vectors and not, rows, columns, two stages, bytes, a table of pointers. */
function corpus(): RawPlan {
  const values: RawPlan['values'] = []
  const code: RawPlan['code'] = []
  const add = (dtype: RawPlan['values'][number]['dtype'], shape: Shape) => values.push({ dtype, shape: [...shape] }) - 1
  const x = add('float32', [64, 48])
  const bytesOf = add('uint8', [64, 48])
  const row = add('float32', [48])
  const long = add('float32', [60_000, 24])
  const odd = add('float32', [5, 7, 9])
  const inputs = values.length
  const functions = addon()
    .info()
    .loopOps.filter((op) => !['const', 'const_int', 'iota'].includes(op))
  const integers =
    'neg abs sign square add sub mul div rem pow maximum minimum clamp cast_int cast_bool cast_byte'.split(' ')
  const bools = ['logical_not', 'logical_and', 'logical_or']
  const three = ['select', 'clamp']
  const one =
    /^(neg|abs|sign|square|exp|expm1|log|log1p|sqrt|rsqrt|reciprocal|sin|cos|tanh|sigmoid|softplus|relu|erf|floor|ceil|round|is_finite|logical_not|cast_.*)$/
  const arity = (op: string) => (three.includes(op) ? 3 : one.test(op) ? 1 : 2)
  const result = (op: string, float: boolean): 'float32' | 'int32' | 'bool' =>
    /^(eq|ne|lt|le|gt|ge|is_finite|logical_.*|cast_bool)$/.test(op)
      ? 'bool'
      : /^cast_(int|byte)$/.test(op)
        ? 'int32'
        : float || op === 'cast_float'
          ? 'float32'
          : 'int32'
  for (const float of [true, false]) {
    // Registers: 0 x, 1 bytes, then float, int and bool forms.
    const program: unknown[][] = [
      ['cast_int', 0],
      ['cast_bool', 1],
      ['const', Number.NaN.toString()],
      ['const_int', -(2 ** 31)],
    ]
    const outputs: { register: number }[] = []
    const out: number[] = []
    for (const op of functions.filter((f) =>
      float ? f !== 'rem' && !bools.includes(f) : integers.includes(f) || bools.includes(f) || f === 'cast_float',
    )) {
      const operand = bools.includes(op) ? 3 : float ? 0 : 2
      const args = op === 'select' ? [3, operand, operand] : Array.from({ length: arity(op) }, () => operand)
      outputs.push({ register: program.push([op, ...args]) + 1 })
      out.push(add(result(op, float), [64, 48]))
    }
    for (const [register, dtype] of [
      [4, 'float32'],
      [5, 'int32'],
    ] as const) {
      outputs.push({ register })
      out.push(add(dtype, [64, 48]))
    }
    code.push(loop([x, bytesOf], out, [64, 48], program, outputs))
  }
  const reductions = (from: number[], shape: Shape, axes: number[]) => {
    const kept = shape.map((d, i) => (axes.includes(i) ? 1 : d))
    const full = add('float32', shape)
    const some = ['sum', 'max', 'min'].map(() => add('float32', kept))
    const outputs = [
      { register: from.length },
      ...['sum', 'max', 'min'].map((reduce) => ({ register: from.length, reduce })),
    ]
    const program = from.length === 1 ? [['square', 0]] : [['sub', 0, 1]]
    code.push(loop(from, [full, ...some], shape, program, outputs, axes))
  }
  reductions([x, row], [64, 48], [1])
  reductions([x, row], [64, 48], [0])
  for (const axes of [[0], [1], [0, 1]]) reductions([long], [60_000, 24], axes)
  for (const axes of [[1], [0, 2], [1, 2]]) reductions([odd], [5, 7, 9], axes)
  const many = Array.from({ length: 600 }, (_, i) => (i % 2 === 0 ? row : x))
  const sum = many.slice(1).map((_, i) => ['add', i === 0 ? 0 : 600 + i - 1, i + 1])
  code.push(loop(many, [add('float32', [64, 48])], [64, 48], sum, [{ register: 1198 }]))
  const outputs = code.flatMap((c) => c.out).map((value) => ({ value, alias: null }))
  return { version: 1, values, inputs: Array.from({ length: inputs }, (_, i) => i), constants: [], outputs, code }
}

// Its folder; scripts/cuda-headers.sh --libraries can leave it there.
const nvrtc = process.env.LANGEVIN_NVRTC ?? fileURLToPath(new URL('../../third_party/cuda/lib', import.meta.url))
const native =
  process.env.LANGEVIN_ADDON ?? fileURLToPath(new URL('../../build/Release/langevin.node', import.meta.url))
const compilerThere = simulated && existsSync(nvrtc) && readdirSync(nvrtc).some((f) => f.startsWith('libnvrtc.so'))

describe.skipIf(!simulated)('the corpus of loops', () => {
  test('gives what the CPU gives', async () => {
    const plan = corpus()
    const data = plan.inputs.map((v) => {
      const { dtype, shape } = plan.values[v] as RawPlan['values'][number]
      return dtype === 'uint8' ? Uint8Array.from({ length: size(shape) }, () => 256 * random()) : uniform(size(shape))
    })
    const results: TypedArray[][] = []
    for (const where of ['cpu', device]) {
      const compiled = await compileRaw(plan, undefined, where)
      const tensorOf = (v: number) => {
        const { dtype, shape } = plan.values[v] as RawPlan['values'][number]
        return new (addon().Tensor)(dtype, shape, where)
      }
      const inputs = plan.inputs.map(tensorOf)
      const outputs = plan.outputs.map((o) => tensorOf(o.value))
      for (const [i, t] of inputs.entries()) await t.write(data[i] as TypedArray)
      await compiled.run(inputs, outputs)
      results.push(await Promise.all(outputs.map((t) => t.read())))
      for (const t of [...inputs, ...outputs]) t.dispose()
      compiled.dispose()
    }
    const [cpu, cuda] = results as [TypedArray[], TypedArray[]]
    for (const [i, want] of cpu.entries()) {
      for (const [j, w] of want.entries()) {
        const g = cuda[i]?.[j] as number
        const near = Math.abs(g - w) <= 2e-5 * Math.max(1, Math.abs(w))
        if (!near && !Object.is(g, w)) throw new Error(`output ${i}, element ${j} is ${g}, on the CPU ${w}`)
      }
    }
    expect(cuda.length).toBe(plan.outputs.length)
  })

  test.skipIf(!compilerThere).each(['75', '90', '120'])('compiles with NVRTC for %s', (capability) => {
    const cache = mkdtempSync(join(tmpdir(), 'langevin-nvrtc-'))
    const script = `
      const { createRequire } = await import('node:module')
      const { readFileSync } = await import('node:fs')
      try {
        await createRequire(${JSON.stringify(import.meta.url)})(${JSON.stringify(native)}).compile(readFileSync(0, 'utf8'), new Uint8Array(), 'cuda')
        console.log('loaded')
      } catch (error) {
        console.log(error.message)
      }
      process.exit(0)`
    try {
      const env = {
        ...process.env,
        LANGEVIN_CACHE: cache,
        LANGEVIN_SIMULATOR_CAPABILITY: capability,
        LANGEVIN_CUDA_PATH: [nvrtc, process.env.LANGEVIN_CUDA_PATH].join(delimiter),
      }
      const said = execFileSync(process.execPath, ['--input-type=module', '-e', script], {
        env,
        input: JSON.stringify(corpus()),
        encoding: 'utf8',
      })
      // NVIDIA's code is no module to the simulator: that is where it must end.
      expect(said).toMatch(/loading compiled kernels/)
    } finally {
      rmSync(cache, { recursive: true })
    }
  })
})
