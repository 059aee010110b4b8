/** Plans that must not be accepted: each is a typed E_PLAN error, none crashes, and the process goes on working. */
import { expect, test } from 'vitest'
import { addon } from '../../lib/runtime/addon.ts'
import { compileRaw, generator, numbers, type RawPlan, richPlan, tensor } from './plan-json.ts'

type Mutation = (plan: RawPlan) => unknown

/** Changes one thing of the valid plan. The value is loosely typed on purpose. */
const set =
  (path: string, value: unknown): Mutation =>
  (plan) => {
    const keys = path.split('.')
    const last = keys.pop() as string
    let at = plan as unknown as Record<string, unknown>
    for (const k of keys) at = at[k] as Record<string, unknown>
    if (value === undefined) delete at[last]
    else at[last] = value
    return plan
  }

const mutations: [string, Mutation][] = [
  ['version missing', set('version', undefined)],
  ['version 2', set('version', 2)],
  ['version text', set('version', '1')],
  ...['values', 'inputs', 'constants', 'outputs', 'code'].flatMap((name): [string, Mutation][] => [
    [`${name} missing`, set(name, undefined)],
    [`${name} an object`, set(name, {})],
    [`${name} null`, set(name, null)],
    [`${name} of numbers too large`, set(name, [1e300])],
  ]),
  ['no values', set('values', [])],
  ['dtype unknown', set('values.0.dtype', 'float64')],
  ['dtype a number', set('values.0.dtype', 1)],
  ['shape missing', set('values.0.shape', undefined)],
  ['negative dimension', set('values.0.shape', [2, -16, 4, 4])],
  ['fractional dimension', set('values.0.shape', [2, 16.5, 4, 4])],
  ['text dimension', set('values.0.shape', [2, '16', 4, 4])],
  ['huge dimension', set('values.0.shape', [1e18])],
  ['product overflow', set('values.0.shape', [2 ** 31, 2 ** 31, 2 ** 31])],
  ['overflow hidden by a zero', set('values.0.shape', [0, 2 ** 40, 2 ** 40])],
  ['too many dimensions', set('values.0.shape', new Array(9).fill(1))],
  ['input id too large', set('inputs', [0, 1, 99])],
  ['input id negative', set('inputs', [0, 1, -1])],
  ['input id fractional', set('inputs', [0, 1, 1.5])],
  ['input twice', set('inputs', [0, 1, 1])],
  ['input also a constant', set('inputs', [0, 1, 2, 3])],
  ['constant outside the blob', set('constants.0.offset', 4)],
  ['constant offset negative', set('constants.0.offset', -4)],
  ['constant offset enormous', set('constants.0.offset', 2 ** 50)],
  ['constant value missing', set('constants.0.value', undefined)],
  ['output id unknown', set('outputs.0.value', 9)],
  ['output alias unknown', set('outputs.0.alias', 3)],
  ['output alias negative', set('outputs.0.alias', -1)],
  ['output alias of another shape', set('outputs.0.alias', 1)],
  ['two outputs with one alias', set('outputs.1', { value: 4, alias: 0 })],
  ['output never written', (p) => ({ ...p, code: p.code.slice(0, 3) })],
  ['output not an object', set('outputs.0', 5)],
  ['instruction not an object', set('code.0', 'conv2d')],
  ['op missing', set('code.0.op', undefined)],
  ['op unknown', set('code.0.op', 'conv3d')],
  ['op a number', set('code.0.op', 3)],
  ['in missing', set('code.0.in', undefined)],
  ['out missing', set('code.0.out', undefined)],
  ['attr an array', set('code.0.attr', [1])],
  ['attr missing', set('code.0.attr', undefined)],
  ['read before written', (p) => ({ ...p, code: [...p.code].reverse() })],
  ['a cycle', set('code.0.in', [5, 1, 2])],
  ['reads itself', set('code.0.in', [4, 1, 2])],
  ['written twice', set('code.2.out', [4])],
  ['writes an input', set('code.0.out', [0])],
  ['writes a constant', set('code.0.out', [3])],
  ['reshape of another size', set('values.7.shape', [2, 255])],
  ['reshape of two', set('code.2.in', [4, 4])],
  ['reshape to another dtype', set('values.7.dtype', 'int32')],
  ['conv2d of one operand', set('code.0.in', [0])],
  ['conv2d of four operands', set('code.0.in', [0, 1, 2, 2])],
  ['conv2d without outputs', set('code.0.out', [])],
  ['conv2d result of a wrong shape', set('values.4.shape', [2, 16, 5, 4])],
  ['conv2d of integers', set('values.1.dtype', 'int32')],
  ['conv2d stride 0', set('code.0.attr.stride', [0, 1])],
  ['conv2d stride negative', set('code.0.attr.stride', [-1, 1])],
  ['conv2d stride huge', set('code.0.attr.stride', [2 ** 40, 1])],
  ['conv2d stride of one', set('code.0.attr.stride', [1])],
  ['conv2d stride text', set('code.0.attr.stride', '1,1')],
  ['conv2d padding negative', set('code.0.attr.padding', [-9, 1, 1, 1])],
  ['conv2d padding huge', set('code.0.attr.padding', [1, 1, 2 ** 62, 1])],
  ['conv2d groups 0', set('code.0.attr.groups', 0)],
  ['conv2d groups that do not divide', set('code.0.attr.groups', 3)],
  ['conv2d groups a boolean', set('code.0.attr.groups', true)],
  ['conv2d bias of a wrong shape', set('values.2.shape', [17])],
  ['matmul inner sizes', set('values.3.shape', [255, 3])],
  ['matmul transposeA a number', set('code.3.attr.transposeA', 1)],
  ['loop without program', set('code.1.attr.program', undefined)],
  ['loop program a text', set('code.1.attr.program', 'add')],
  ['loop op unknown', set('code.1.attr.program.1', ['fma', 1, 2])],
  ['loop op without operands', set('code.1.attr.program.1', ['mul'])],
  ['loop op of too many operands', set('code.1.attr.program.1', ['mul', 1, 2, 1])],
  ['loop register ahead', set('code.1.attr.program.1', ['mul', 1, 4])],
  ['loop register of itself', set('code.1.attr.program.1', ['mul', 1, 3])],
  ['loop register negative', set('code.1.attr.program.1', ['mul', 1, -1])],
  ['loop register fractional', set('code.1.attr.program.1', ['mul', 1, 0.5])],
  ['loop constant a text', set('code.1.attr.program.0', ['const', 'half'])],
  ['loop output register unknown', set('code.1.attr.outputs.0.register', 5)],
  ['loop reduction unknown', set('code.1.attr.outputs.1.reduce', 'median')],
  ['loop fewer outputs than values', set('code.1.attr.outputs', [{ register: 4 }])],
  ['loop axes twice', set('code.1.attr.axes', [0, 0, 1, 2])],
  ['loop axes unknown', set('code.1.attr.axes', [0, 1, 2, 4])],
  ['loop shape of another rank', set('code.1.attr.shape', [2, 16, 16])],
  ['loop shape that operands do not fit', set('code.1.attr.shape', [2, 16, 4, 5])],
  ['loop shape enormous', set('code.1.attr.shape', [2 ** 40, 2 ** 40, 4, 4])],
  ['loop iota axis unknown', set('code.1.attr.program.1', ['iota', 4])],
]

test.each(mutations)('%s', async (_, mutate) => {
  const { plan, constants } = richPlan()
  await expect(compileRaw(mutate(plan), constants)).rejects.toMatchObject({ code: 'E_PLAN' })
})

test('the plan that the table changes is itself valid', async () => {
  const { plan, constants } = richPlan()
  const compiled = await compileRaw(plan, constants)
  expect(compiled.stats.kernels.map((k) => k.op).sort()).toEqual(['conv2d', 'loop', 'matmul'])
})

test('text that is not a plan', async () => {
  const texts = [
    '',
    '{',
    'null',
    '[]',
    '1',
    '"plan"',
    '{"version":1e999}',
    '\u0000',
    '[[[[',
    `${'['.repeat(1e5)}${']'.repeat(1e5)}`,
  ]
  for (const text of texts) {
    await expect(addon().compile(text, new Uint8Array())).rejects.toMatchObject({ code: 'E_PLAN' })
  }
  const { plan, constants } = richPlan()
  const whole = JSON.stringify(plan)
  for (let n = 0; n < whole.length; n += 17) {
    await expect(addon().compile(whole.slice(0, n), constants)).rejects.toMatchObject({ code: 'E_PLAN' })
  }
})

/** Replaces, removes, doubles or swaps something somewhere in the plan. */
function mutateStructure(node: unknown, random: () => number): unknown {
  const odd = [
    null,
    true,
    -1,
    0,
    1,
    2,
    3,
    7,
    1e9,
    2 ** 53,
    -0.5,
    1e300,
    '',
    'sum',
    'loop',
    [],
    {},
    [0],
    [[]],
    { register: 1 },
  ]
  const pick = <T>(list: readonly T[]): T => list[Math.floor(random() * list.length)] as T
  if (random() < 0.12 || typeof node !== 'object' || node === null) return pick(odd)
  const keys = Object.keys(node)
  if (keys.length === 0) return pick(odd)
  const key = pick(keys)
  const copy = (Array.isArray(node) ? [...node] : { ...node }) as Record<string, unknown>
  const kind = random()
  if (kind < 0.08) delete copy[key]
  else if (kind < 0.16) copy[key] = copy[pick(keys)]
  else if (kind < 0.2 && Array.isArray(copy)) copy.push(copy[Number(key)])
  else copy[key] = mutateStructure(copy[key], random)
  return Array.isArray(copy) ? copy.filter((_, i) => i in copy) : copy
}

function mutateBytes(text: string, random: () => number): string {
  const at = Math.floor(random() * text.length)
  const kind = random()
  if (kind < 0.3) return text.slice(0, at) + text.slice(at + 1 + Math.floor(random() * 8))
  if (kind < 0.7) return text.slice(0, at) + String.fromCharCode(32 + Math.floor(random() * 95)) + text.slice(at + 1)
  return text.slice(0, at) + text.slice(Math.floor(random() * text.length), at) + text.slice(at)
}

test('2000 seeded mutations of a plan are compiled or refused, never more', async () => {
  const random = generator(20240601)
  const { plan, constants } = richPlan()
  let refused = 0
  let accepted = 0
  for (let round = 0; round < 2000; round++) {
    let text: string
    if (round % 2 === 0) {
      let mutated: unknown = plan
      for (let n = 1 + Math.floor(random() * 3); n > 0; n--) mutated = mutateStructure(mutated, random)
      text = JSON.stringify(mutated)
    } else {
      text = mutateBytes(JSON.stringify(plan), random)
    }
    try {
      const compiled = await addon().compile(text, constants)
      accepted++
      await runIfBound(compiled, text)
      compiled.dispose()
    } catch (error) {
      refused++
      expect(error, text).toMatchObject({ code: expect.stringMatching(/^E_(PLAN|DEVICE)$/) })
    }
  }
  expect(refused).toBeGreaterThan(1000)
  expect(accepted).toBeGreaterThan(20)
  const healthy = await compileRaw(plan, constants)
  expect(healthy.stats.kernels.length).toBe(3)
})

/** Runs an accepted mutant on zeros where its tensors are small. */
async function runIfBound(compiled: Awaited<ReturnType<typeof compileRaw>>, text: string): Promise<void> {
  const plan = JSON.parse(text) as RawPlan
  const make = (id: number) => {
    const { dtype, shape } = plan.values[id] as RawPlan['values'][number]
    return new (addon().Tensor)(dtype, shape)
  }
  const size = plan.values.reduce((n, v) => n + v.shape.reduce((a, b) => a * b, 1), 0)
  if (size > 1e6) return
  await compiled.run(
    plan.inputs.map(make),
    plan.outputs.map((o) => make(o.value)),
  )
}

test('work goes on after refused plans', async () => {
  const { plan, constants } = richPlan()
  const compiled = await compileRaw(plan, constants)
  const x = tensor([2, 16, 4, 4], new Array(512).fill(1))
  const sum = tensor([], [0])
  const y = tensor([2, 3], new Array(6).fill(0))
  await compiled.run(
    [x, tensor([16, 16, 3, 3], new Array(2304).fill(0)), tensor([16], new Array(16).fill(2))],
    [x, sum, y],
  )
  expect(await numbers(x)).toEqual(new Array(512).fill(2))
  expect(await numbers(sum)).toEqual([1024])
})
