/** Every objective against PyTorch in float64 (test/golden/objectives.py): loss and gradients, by the interpreter and natively. */

import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { grad } from '../../lib/autodiff/index.ts'
import type { Tensor } from '../../lib/graph/tensor.ts'
import { evaluateReference, type RefArray } from '../../lib/ops/evaluate.ts'
import { setThreads } from '../../lib/runtime/addon.ts'
import { compileGraph } from '../../lib/runtime/compile.ts'
import { testDevice } from '../device.ts'
import { Bench, cases } from './cases.ts'

setThreads(1)

interface Golden {
  readonly loss: number
  readonly gradients: Readonly<Record<string, readonly number[]>>
}

const golden = JSON.parse(readFileSync(new URL('../golden/objectives.json', import.meta.url), 'utf8')) as Record<
  string,
  Golden
>

/** Log densities carry log 2π and log ν, which a float32 constant holds to 1e-8 only. */
const ROUNDED = /noiseContrastive|flow|vera/

function build(name: string) {
  const bench = new Bench()
  const loss = (cases[name] as (b: Bench) => Tensor)(bench)
  const names = [...bench.trained.keys()]
  const gradients = grad(loss, [...bench.trained.values()])
  return { bench, names, outputs: [loss, ...gradients] }
}

/** Errors relative to the largest of an array. Where PyTorch has no gradient the parameter is held constant: exactly zero. */
function check(name: string, names: readonly string[], values: readonly ArrayLike<number>[], tolerance: number): void {
  const want = golden[name] as Golden
  const loss = values[0]?.[0] as number
  const lossTolerance = ROUNDED.test(name) ? Math.max(tolerance, 1e-7) : tolerance
  expect(Math.abs(loss - want.loss) / Math.max(1, Math.abs(want.loss))).toBeLessThan(lossTolerance)
  expect(names).toEqual(expect.arrayContaining(Object.keys(want.gradients)))
  names.forEach((parameter, i) => {
    const got = Array.from(values[i + 1] as ArrayLike<number>)
    const expected = want.gradients[parameter]
    if (expected === undefined) {
      expect(got.map(Math.abs), `gradient by ${parameter}`).toEqual(got.map(() => 0))
      return
    }
    const worst = Math.max(...expected.map((w, j) => Math.abs(w - (got[j] as number))))
    expect(worst / Math.max(...expected.map(Math.abs)), `gradient by ${parameter}`).toBeLessThan(tolerance)
  })
}

test('every case has its numbers', () => {
  expect(Object.keys(cases).sort()).toEqual(Object.keys(golden).sort())
})

describe.each(Object.keys(cases))('%s', (name) => {
  test('in float64', () => {
    const { bench, names, outputs } = build(name)
    const feeds = new Map<Tensor, RefArray>()
    for (const [t, v] of bench.feeds) feeds.set(t, { shape: v.shape, data: Float64Array.from(v.data) })
    const values = evaluateReference(outputs, feeds).map((r) => r.data)
    check(name, names, values, ROUNDED.test(name) ? 1e-7 : 1e-9)
  })

  test('natively', async () => {
    const { bench, names, outputs } = build(name)
    const plan = await compileGraph(
      testDevice,
      [...bench.feeds.keys()],
      outputs.map((tensor) => ({ tensor })),
    )
    const values = (await plan.call([...bench.feeds.values()])).map((t) => t.data)
    plan.dispose()
    check(name, names, values, 2e-4)
  })
})
