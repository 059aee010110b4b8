/** Optimizer updates against the definitions in float64, over several steps, as compiled. */

import { describe, expect, test } from 'vitest'
import { hostTensor } from '../../lib/graph/host-tensor.ts'
import * as ops from '../../lib/ops/index.ts'
import { makeOptimizer, type OptimizerOptions } from '../../lib/optim/optimizers.ts'
import { compileGraph } from '../../lib/runtime/compile.ts'
import { testDevice } from '../device.ts'

const STEPS = 6
const RATE = 0.03
const start = [0.5, -1.25, 3, 0]
/** Gradients that depend on the step and the parameter, with a zero and a large one. */
const gradientAt = (w: number[], t: number) =>
  w.map((v, i) => (i === 3 ? 0 : v * (i + 1) - 0.3 * t + (i === 2 ? 50 : 0)))

/** The compiled update, step by step, fed with its own results. */
async function compiled(options: OptimizerOptions): Promise<number[][]> {
  const optimizer = makeOptimizer(options)
  const n = start.length
  const w = ops.input('w', [n], 'float32')
  const g = ops.input('g', [n], 'float32')
  const slots = optimizer.slots.map((s) => ops.input(s, [n], 'float32'))
  const learningRate = ops.input('rate', [], 'float32')
  const count = ops.input('count', [], 'float32')
  const next = optimizer.update(w, g, slots, { learningRate, count })
  const plan = await compileGraph(
    testDevice,
    [w, g, learningRate, count, ...slots],
    [next.parameter, ...next.slots].map((tensor) => ({ tensor })),
  )
  let state: Float32Array[] = [start, ...optimizer.slots.map(() => new Array<number>(n).fill(0))].map((v) =>
    Float32Array.from(v),
  )
  const out: number[][] = []
  for (let t = 1; t <= STEPS; t++) {
    const [value = new Float32Array(), ...kept] = state
    const gradient = Float32Array.from(gradientAt([...value], t))
    const feeds = [value, gradient].map((d) => hostTensor(d, [n]))
    const scalars = [RATE, t].map((v) => hostTensor(Float32Array.of(v), []))
    const results = await plan.call([...feeds, ...scalars, ...kept.map((d) => hostTensor(d, [n]))])
    state = results.map((r) => r.data as Float32Array)
    out.push([...(state[0] as Float32Array)])
  }
  plan.dispose()
  return out
}

/** The same in float64, one parameter after the other. */
function reference(update: (w: number, g: number, t: number, slot: Record<string, number>) => number): number[][] {
  const slots = start.map(() => ({}) as Record<string, number>)
  let w = [...start]
  const out: number[][] = []
  for (let t = 1; t <= STEPS; t++) {
    const g = gradientAt(w, t)
    w = w.map((v, i) => update(v, g[i] as number, t, slots[i] as Record<string, number>))
    out.push(w)
  }
  return out
}

function expectClose(got: number[][], want: number[][], tolerance: number): void {
  got.forEach((row, t) => {
    row.forEach((v, i) => {
      const w = want[t]?.[i] as number
      expect(Math.abs(v - w), `step ${t + 1}, element ${i}: ${v} for ${w}`).toBeLessThan(
        tolerance * Math.max(1, Math.abs(w)),
      )
    })
  })
}

const sgd = (momentum: number, decay: number, nesterov: boolean) =>
  reference((w, gradient, _t, s) => {
    const g = gradient + decay * w
    s.v = momentum * (s.v ?? 0) + g
    return w - RATE * (nesterov ? g + momentum * s.v : s.v)
  })

const adam = (b1: number, b2: number, epsilon: number, decay: number, decoupled: boolean) =>
  reference((w, gradient, t, s) => {
    const g = decoupled ? gradient : gradient + decay * w
    s.m = b1 * (s.m ?? 0) + (1 - b1) * g
    s.v = b2 * (s.v ?? 0) + (1 - b2) * g * g
    const shrunk = decoupled ? w * (1 - RATE * decay) : w
    return shrunk - (RATE * (s.m / (1 - b1 ** t))) / (Math.sqrt(s.v / (1 - b2 ** t)) + epsilon)
  })

describe('sgd', () => {
  test.each([
    [{ momentum: 0 }, sgd(0, 0, false)],
    [{}, sgd(0.9, 0, false)],
    [{ momentum: 0.8, weightDecay: 0.1 }, sgd(0.8, 0.1, false)],
    [{ momentum: 0.9, weightDecay: 4e-4, nesterov: true }, sgd(0.9, 4e-4, true)],
  ])('%j', async (options, want) => {
    expectClose(await compiled({ kind: 'sgd', ...options }), want, 1e-5)
  })
})

describe('adam and adamw', () => {
  test.each<[OptimizerOptions, number[][]]>([
    [{ kind: 'adam' }, adam(0.9, 0.999, 1e-8, 0, false)],
    [{ kind: 'adam', weightDecay: 0.2, betas: [0.5, 0.9], epsilon: 1e-3 }, adam(0.5, 0.9, 1e-3, 0.2, false)],
    // β₁ = 0 is what generators of images use; log 0 must not become NaN.
    [{ kind: 'adam', betas: [0, 0.9] }, adam(0, 0.9, 1e-8, 0, false)],
    [{ kind: 'adamw' }, adam(0.9, 0.999, 1e-8, 0.01, true)],
    [{ kind: 'adamw', weightDecay: 0.5 }, adam(0.9, 0.999, 1e-8, 0.5, true)],
  ])('%j', async (options, want) => {
    expectClose(await compiled(options), want, 1e-4)
  })

  test('decay differs between the two', () => {
    expect(adam(0.9, 0.999, 1e-8, 0.2, false)).not.toEqual(adam(0.9, 0.999, 1e-8, 0.2, true))
  })
})

test('impossible options are refused by name and value', () => {
  const refused = (options: unknown) => () => makeOptimizer(options as OptimizerOptions)
  expect(refused({ kind: 'sdg' })).toThrow(/'sdg' is not known. Did you mean 'sgd'/)
  expect(refused({ kind: 'sgd', momentum: 1 })).toThrow(/sgd: momentum must be in \[0, 1\); got 1/)
  expect(refused({ kind: 'sgd', learningRate: Number.NaN })).toThrow(
    /learningRate must be a non-negative number; got NaN/,
  )
  expect(refused({ kind: 'adam', betas: [0.9, 1] })).toThrow(/betas\[1\] must be in \[0, 1\); got 1/)
  expect(refused({ kind: 'adamw', weightDecay: -1 })).toThrow(/weightDecay must be a non-negative number; got -1/)
})
