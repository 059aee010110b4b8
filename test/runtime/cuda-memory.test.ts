/**
 * Memory of device 'cuda' and what lies on which device: figures, release, what is said where memory lacks, copies between devices, tensors of the
 * wrong device; and compiled loops kept on disk. On the simulator, with little memory, in processes of their own.
 */
import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'

const addon = process.env.LANGEVIN_ADDON ?? fileURLToPath(new URL('../../build/Release/langevin.node', import.meta.url))
const simulator = join(dirname(addon), 'cuda-simulator')
const simulated = existsSync(join(simulator, 'libcuda.so.1')) && existsSync(join(dirname(addon), 'langevin_cuda.so'))
const MB = 1_000_000

/** Runs the body of an async function of `native` and returns what it returns. */
function run(body: string, variables: Record<string, string> = {}): unknown {
  const script = `
const native = require(process.argv[1])
const failure = async (call) => { try { await call() } catch (e) { return { code: e.code, message: e.message } } }
const used = async (device) => (await native.memory(device)).used
;(async () => { ${body} })().then((value) => console.log(JSON.stringify(value)))`
  const result = spawnSync(process.execPath, ['-e', script, addon], {
    env: {
      ...process.env,
      LANGEVIN_CUDA_PATH: simulator,
      LANGEVIN_CUDA_PLUGIN: '',
      LANGEVIN_CACHE: 'off',
      ...variables,
    },
    encoding: 'utf8',
  })
  expect(result.stderr).toBe('')
  expect(result.status).toBe(0)
  return JSON.parse(result.stdout)
}

/** Draws a matrix, transposes it and keeps a corner: two large intermediates and a small result. */
const corner = (rows: number, columns: number) =>
  JSON.stringify({
    version: 1,
    values: [
      { dtype: 'int32', shape: [4] },
      { dtype: 'float32', shape: [rows, columns] },
      { dtype: 'float32', shape: [columns, rows] },
      { dtype: 'float32', shape: [2, 2] },
    ],
    inputs: [0],
    constants: [],
    outputs: [{ value: 3, alias: null }],
    code: [
      { op: 'uniform', in: [0], out: [1], attr: { shape: [rows, columns], stream: 1 } },
      { op: 'transpose', in: [1], out: [2], attr: { perm: [1, 0] } },
      { op: 'slice', in: [2], out: [3], attr: { start: [0, 0], stop: [2, 2], step: [1, 1] } },
    ],
  })

/** A copy of a constant of 8192 numbers that is given twice. */
const constants = JSON.stringify({
  version: 1,
  values: [
    { dtype: 'float32', shape: [8192] },
    { dtype: 'float32', shape: [8192] },
  ],
  inputs: [],
  constants: [{ value: 0, offset: 0 }],
  outputs: [{ value: 1, alias: null }],
  code: [{ op: 'copy', in: [0], out: [1], attr: {} }],
})

test('the CPU tells its memory too, and names the tensor that does not fit', () => {
  const [before, during, after, error] = run(`
    const before = await used('cpu')
    const tensor = new native.Tensor('float32', [1000000])
    const during = await used('cpu')
    tensor.dispose()
    return [before, during, await used('cpu'), await failure(() => new native.Tensor('uint8', [2 ** 40, 2]))]`) as [
    number,
    number,
    number,
    { code: string; message: string },
  ]
  expect(during - before).toBe(4 * MB)
  expect(after).toBe(before)
  expect(error.code).toBe('E_DEVICE')
  expect(error.message).toMatch(
    /^out of memory on cpu: a tensor uint8\[1099511627776,2\] takes 2\.2 TB(; .+ of .+ are free)?; use a smaller batch or model, or /,
  )
})

describe.skipIf(!simulated)('on a simulated GPU of 100 MB', () => {
  const small = { LANGEVIN_SIMULATOR_MEMORY: String(100 * MB) }

  test('figures follow tensors, and everything is given back', () => {
    const figures = run(
      `const seen = []
       const look = async () => seen.push(await native.memory('cuda'))
       await look()
       const a = new native.Tensor('float32', [5000000], 'cuda'), b = new native.Tensor('float32', [2500000], 'cuda:0')
       await look()
       b.dispose()
       await look()
       a.dispose()
       await look()
       return seen`,
      small,
    ) as { used: number; peak: number; free: number; total: number }[]
    const [before, both, one, none] = figures as [(typeof figures)[0], ...typeof figures]
    expect(before).toMatchObject({ used: 0, total: 100 * MB })
    for (const [figure, bytes] of [
      [both, 30 * MB],
      [one, 20 * MB],
    ] as const) {
      expect(figure?.used).toBeGreaterThanOrEqual(bytes)
      expect(figure?.used).toBeLessThan(bytes + MB)
    }
    expect(none?.used).toBe(0)
    expect(none?.free).toBe(before.free)
    expect(none?.peak).toBe(both?.used)
  })

  test('a tensor that does not fit is named, and the device goes on', () => {
    const [error, data] = run(
      `const keep = new native.Tensor('float32', [10000000], 'cuda')
       const error = await failure(() => new native.Tensor('float32', [4, 5000000], 'cuda'))
       await keep.write(new Float32Array(10000000).fill(3))
       return [error, (await keep.read())[9999999]]`,
      small,
    ) as [{ code: string; message: string }, number]
    expect(error.code).toBe('E_DEVICE')
    expect(error.message).toMatch(
      /^out of memory on cuda:0: a tensor float32\[4,5000000\] takes 80\.0 MB; (5\d\.\d|60\.0) MB of 100 MB are free; use a smaller batch or model, or dispose of tensors that are no longer needed$/,
    )
    expect(data).toBe(3)
  })

  test('a plan that does not fit names what takes most; a smaller one then runs', () => {
    const [arena, persistent, numbers] = run(
      `const none = new Uint8Array(0)
       const arena = await failure(() => native.compile('${corner(4000, 5000)}', none, 'cuda'))
       const fill = new native.Tensor('uint8', [99970000], 'cuda')
       const persistent = await failure(() => native.compile('${constants}', new Uint8Array(32768), 'cuda'))
       fill.dispose()
       const draws = []
       for (const device of ['cuda', 'cpu']) {
         const plan = await native.compile('${corner(40, 50)}', none, device)
         const key = new native.Tensor('int32', [4], device), out = new native.Tensor('float32', [2, 2], device)
         await plan.run([key], [out])
         draws.push([...await out.read()])
       }
       return [arena, persistent, draws]`,
      small,
    ) as [{ code: string; message: string }, { code: string; message: string }, number[][]]
    expect(arena.code).toBe('E_DEVICE')
    expect(arena.message).toMatch(
      /^out of memory on cuda:0: the plan needs 160 MB for intermediate results; .* MB of 100 MB are free; the largest: uniform float32\[4000,5000\] \(80\.0 MB\), transpose float32\[5000,4000\] \(80\.0 MB\); use a smaller batch/,
    )
    expect(persistent.code).toBe('E_DEVICE')
    expect(persistent.message).toMatch(
      /^out of memory on cuda:0: the plan needs 32\.8 kB for constants and packed parameters; .* are free; the largest: constant float32\[8192\] \(32\.8 kB\); /,
    )
    expect(numbers[0]).toEqual(numbers[1])
  })

  test('copies go from device to device; a plan takes the tensors of its own only', () => {
    const [back, error, wrong] = run(
      `const one = new native.Tensor('float32', [3]), two = new native.Tensor('float32', [3], 'cuda')
       const three = new native.Tensor('float32', [3], 'cuda:1'), four = new native.Tensor('float32', [3])
       await one.write(new Float32Array([1, 2, 3]))
       await native.copy([one, two, three], [two, three, four])
       const plan = await native.compile('${corner(4, 5)}', new Uint8Array(0), 'cuda')
       const key = new native.Tensor('int32', [4])
       const out = new native.Tensor('float32', [2, 2], 'cuda')
       return [[...await four.read()], await failure(() => plan.run([key], [out])), await failure(() => new native.Tensor('float32', [1], 'cuda:2'))]`,
      { LANGEVIN_SIMULATOR_DEVICES: '2' },
    ) as [number[], { code: string; message: string }, { code: string; message: string }]
    expect(back).toEqual([1, 2, 3])
    expect(error).toEqual({
      code: 'E_DEVICE',
      message:
        "the plan is compiled for cuda:0; input 0 is a tensor on cpu: make it on the plan's device, or copy it there",
    })
    expect(wrong).toEqual({ code: 'E_DEVICE', message: 'cuda:2 does not exist; there are cuda:0, cuda:1' })
  })
})

describe.skipIf(!simulated)('compiled loops on disk', () => {
  /** x + 1, fused. */
  const plan = JSON.stringify({
    version: 1,
    values: [
      { dtype: 'float32', shape: [5] },
      { dtype: 'float32', shape: [5] },
    ],
    inputs: [0],
    constants: [],
    outputs: [{ value: 1, alias: null }],
    code: [
      {
        op: 'loop',
        in: [0],
        out: [1],
        attr: {
          shape: [5],
          program: [
            ['const', 1],
            ['add', 0, 1],
          ],
          outputs: [{ register: 2 }],
          axes: [],
        },
      },
    ],
  })
  const compute = (cache: string) =>
    run(
      `const plan = await native.compile('${plan}', new Uint8Array(0), 'cuda')
       const [x, y] = [0, 1].map(() => new native.Tensor('float32', [5], 'cuda'))
       await x.write(new Float32Array([1, 2, 3, 4, 5]))
       await plan.run([x], [y])
       return [...await y.read()]`,
      { LANGEVIN_CACHE: cache },
    )

  test('they are kept; what is damaged or empty is made again; a folder that cannot be does not matter', () => {
    const root = mkdtempSync(join(tmpdir(), 'langevin-cache-'))
    try {
      expect(compute(join(root, 'a/b'))).toEqual([2, 3, 4, 5, 6])
      const folder = join(root, 'a/b/cuda')
      const names = readdirSync(folder)
      expect(names).toHaveLength(1)
      const file = join(folder, names[0] as string)
      const whole = readFileSync(file)
      const flipped = Buffer.from(whole)
      flipped[whole.length - 1] = (whole[whole.length - 1] as number) ^ 1
      for (const damaged of [flipped, whole.subarray(0, whole.length - 3), Buffer.alloc(0), Buffer.from('other\n')]) {
        writeFileSync(file, damaged)
        expect(compute(join(root, 'a/b'))).toEqual([2, 3, 4, 5, 6])
        expect(readFileSync(file)).toEqual(whole)
        expect(readdirSync(folder)).toEqual(names)
      }
      writeFileSync(join(root, 'file'), '')
      expect(compute(join(root, 'file'))).toEqual([2, 3, 4, 5, 6])
    } finally {
      rmSync(root, { recursive: true, force: true })
    }
  })
})
