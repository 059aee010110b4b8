/**
 * Memory of compiled plans: random plans whose values are small integers, so that any wrong overlap in the arena, wrong in-place write or
 * wrong order of aliased outputs changes a result exactly.
 */
import { describe, expect, test } from 'vitest'
import { addon } from '../../lib/runtime/addon.ts'
import { binary, compileRaw, f32, generator, numbers, type RawPlan, tensor } from './plan-json.ts'

const N = 4
const size = N * N

/** A random plan over [4,4] and [16] values, and its results computed here. */
function randomPlan(random: () => number) {
  const pick = (n: number): number => Math.floor(random() * n)
  const inputs = 1 + pick(4)
  const plan: RawPlan = { version: 1, values: [], inputs: [], constants: [], outputs: [], code: [] }
  const contents: number[][] = []
  const add = (shape: number[], data: number[]): number => {
    plan.values.push(f32(...shape))
    contents.push(data.map((v) => ((v % 17) + 17) % 17))
    return contents.length - 1
  }
  const given: number[][] = []
  for (let i = 0; i < inputs; i++) {
    plan.inputs.push(
      add(
        [N, N],
        Array.from({ length: size }, () => pick(17)),
      ),
    )
    given.push(contents[i] as number[])
  }
  const shapeOf = (id: number): number[] => (plan.values[id] as { shape: number[] }).shape
  const values = (id: number): number[] => contents[id] as number[]
  const steps = 1 + pick(14)
  for (let s = 0; s < steps; s++) {
    const a = pick(contents.length)
    const same = contents.map((_, i) => i).filter((i) => shapeOf(i).length === shapeOf(a).length)
    const b = same[pick(same.length)] as number
    const kind = random()
    if (kind < 0.2) {
      const shape = shapeOf(a).length === 2 ? [size] : [N, N]
      plan.code.push({ op: 'reshape', in: [a], out: [add(shape, values(a))] })
    } else if (kind < 0.35 && shapeOf(a).length === 2) {
      const moved = Array.from({ length: size }, (_, i) => values(a)[(i % N) * N + Math.floor(i / N)] as number)
      plan.code.push({ op: 'transpose', in: [a], out: [add([N, N], moved)], attr: { perm: [1, 0] } })
    } else if (kind < 0.45) {
      plan.code.push({ op: 'copy', in: [a], out: [add(shapeOf(a), values(a))] })
    } else {
      const sum = values(a).map((v, i) => (v + (values(b)[i] as number)) % 17)
      const step = binary('add', shapeOf(a), a, b, add(shapeOf(a), sum))
      // Sums are taken modulo 17, so that numbers stay small: s - 17 (s >= 17).
      const program = [
        ['add', 0, 1],
        ['const', 17],
        ['ge', 2, 3],
        ['cast_float', 4],
        ['mul', 5, 3],
        ['sub', 2, 6],
      ]
      plan.code.push({ ...step, attr: { ...step.attr, program, outputs: [{ register: 7 }] } })
    }
  }
  const free = new Set(plan.inputs.keys())
  for (let o = 1 + pick(4); o > 0; o--) {
    const value = pick(contents.length)
    const alias = pick(inputs)
    const aliased = random() < 0.7 && free.has(alias) && shapeOf(value).length === 2
    if (aliased) free.delete(alias)
    plan.outputs.push({ value, alias: aliased ? alias : null })
  }
  return { plan, given, expected: plan.outputs.map((o) => values(o.value)), shapeOf }
}

describe('random plans', () => {
  test.each(Array.from({ length: 20 }, (_, i) => i))('seed block %i', async (block) => {
    const random = generator(block + 1)
    for (let n = 0; n < 25; n++) {
      const { plan, given, expected, shapeOf } = randomPlan(random)
      const compiled = await compileRaw(plan)
      for (const inPlace of [false, true, true]) {
        const inputs = given.map((data) => tensor([N, N], data))
        const outputs = plan.outputs.map((o) =>
          inPlace && o.alias !== null
            ? (inputs[o.alias] as (typeof inputs)[number])
            : new (addon().Tensor)('float32', shapeOf(o.value)),
        )
        await compiled.run(inputs, outputs)
        const got = await Promise.all(outputs.map(numbers))
        expect(got, `${JSON.stringify(plan)}\n${compiled.stats.text}`).toEqual(expected)
      }
    }
  })
})

test('a chain of elementwise steps needs the memory of one value', async () => {
  const steps = 20
  const n = 65536
  const plan: RawPlan = {
    version: 1,
    values: Array.from({ length: steps + 1 }, () => f32(n)),
    inputs: [0],
    constants: [],
    outputs: [{ value: steps, alias: null }],
    code: Array.from({ length: steps }, (_, i) => binary('add', [n], i, i, i + 1)),
  }
  const compiled = await compileRaw(plan)
  // One value, and what a loop takes for its tiles.
  expect(compiled.stats.arenaBytes).toBeGreaterThanOrEqual(4 * n)
  expect(compiled.stats.arenaBytes).toBeLessThan(6 * n)
  const x = tensor([n], new Array(n).fill(1))
  const y = tensor([n], new Array(n).fill(0))
  await compiled.run([x], [y])
  expect((await numbers(y))[7]).toBe(2 ** steps)
})

test('an aliased output that later steps still read the input for goes through a copy', async () => {
  const plan: RawPlan = {
    version: 1,
    values: [f32(3), f32(3), f32(3)],
    inputs: [0],
    constants: [],
    outputs: [
      { value: 1, alias: 0 },
      { value: 2, alias: null },
    ],
    code: [binary('add', [3], 0, 0, 1), binary('sub', [3], 1, 0, 2)],
  }
  const compiled = await compileRaw(plan)
  expect(compiled.stats.kernels).toContainEqual({ op: 'copy', count: 1 })
  const x = tensor([3], [1, 2, 3])
  const y = tensor([3], [0, 0, 0])
  await compiled.run([x], [x, y])
  expect([await numbers(x), await numbers(y)]).toEqual([
    [2, 4, 6],
    [1, 2, 3],
  ])
})

test('bindings are checked', async () => {
  const plan: RawPlan = {
    version: 1,
    values: [f32(2), f32(2), f32(2)],
    inputs: [0, 1],
    constants: [],
    outputs: [{ value: 2, alias: 0 }],
    code: [binary('add', [2], 0, 1, 2)],
  }
  const compiled = await compileRaw(plan)
  const a = tensor([2], [1, 2])
  const b = tensor([2], [3, 4])
  const wrong = tensor([3], [0, 0, 0])
  const integers = new (addon().Tensor)('int32', [2])
  const attempt = (inputs: (typeof a)[], outputs: (typeof a)[]) => (): unknown => compiled.run(inputs, outputs)
  expect(attempt([a], [a])).toThrow(expect.objectContaining({ code: 'E_SHAPE' }))
  expect(attempt([a, wrong], [a])).toThrow(expect.objectContaining({ code: 'E_SHAPE' }))
  expect(attempt([a, integers], [a])).toThrow(expect.objectContaining({ code: 'E_DTYPE' }))
  expect(attempt([a, b], [b])).toThrow(/alias/)
  expect(attempt([a, a], [a])).toThrow(/alias/)
  expect(attempt([{} as typeof a, b], [a])).toThrow(TypeError)
  await compiled.run([a, a], [b])
  expect(await numbers(b)).toEqual([2, 4])
  b.dispose()
  expect(attempt([a, b], [a])).toThrow(expect.objectContaining({ code: 'E_DEVICE' }))
})
