/** Plans run by native code give what the interpreter gives: both read the same contract. Skipped where the addon is not built. */

import { describe, expect, test } from 'vitest'
import { hostTensor } from '../../lib/graph/host-tensor.ts'
import type { Tensor } from '../../lib/graph/tensor.ts'
import type { RefArray } from '../../lib/ops/evaluate.ts'
import { makePlan } from '../../lib/plan/index.ts'
import { interpretPlan } from '../../lib/plan/interpret.ts'
import { addon } from '../../lib/runtime/addon.ts'
import { compileGraph } from '../../lib/runtime/compile.ts'
import { testDevice } from '../device.ts'
import { feedsFor } from './check.ts'
import { adam, batchNormNet, langevinStep, type TestGraph } from './nets.ts'
import { randomGraph } from './random-graphs.ts'

const built = (() => {
  try {
    addon()
    return true
  } catch {
    return false
  }
})()

/** Float32 arithmetic over a few dozen ops, relative to the largest element. */
const tolerance = 3e-4

async function expectNativeEqualsInterpreter(g: TestGraph, seed: number): Promise<void> {
  const feeds = feedsFor(g.inputs, seed).map((f, i) => rounded(f, g.inputs[i] as Tensor))
  const plan = makePlan(g.inputs, g.outputs)
  const want = interpretPlan(plan, feeds)
  const compiled = await compileGraph(testDevice, g.inputs, g.outputs)
  const got = await compiled.call(feeds.map((f, i) => hostOf(f, g.inputs[i] as Tensor)))
  want.forEach((w, i) => {
    const have = got[i]?.data ?? []
    const scale = Math.max(1, ...w.data.filter(Number.isFinite).map(Math.abs))
    // Beyond float32's range, and where sums of such values cancel, the two may differ.
    if (scale > 1e4 || !w.data.every(Number.isFinite)) return
    for (let k = 0; k < w.data.length; k++) {
      const [a, b] = [have[k] as number, w.data[k] as number]
      if (!(Math.abs(a - b) <= tolerance * scale)) {
        expect.fail(`seed ${seed}: output ${i}[${k}] is ${a}, expected ${b}\n${plan.text}`)
      }
    }
  })
  compiled.dispose()
}

function rounded(f: RefArray, t: Tensor): RefArray {
  return t.dtype === 'float32' ? { shape: f.shape, data: f.data.map(Math.fround) } : f
}

function hostOf(f: RefArray, t: Tensor) {
  const data =
    t.dtype === 'float32'
      ? Float32Array.from(f.data)
      : t.dtype === 'int32'
        ? Int32Array.from(f.data)
        : Uint8Array.from(f.data)
  return hostTensor(data, t.shape, t.dtype)
}

describe.skipIf(!built)('native code runs plans', () => {
  test('random graphs', async () => {
    for (let seed = 1; seed <= 150; seed++)
      await expectNativeEqualsInterpreter(randomGraph(seed, 10 + (seed % 60)), seed)
  })

  test('training steps', async () => {
    await expectNativeEqualsInterpreter(langevinStep(6, 8), 1)
    await expectNativeEqualsInterpreter(batchNormNet(2, 3, 4, 4), 2)
    await expectNativeEqualsInterpreter(batchNormNet(2, 3, 16, 8, true), 3)
    await expectNativeEqualsInterpreter(adam([[4, 3], [4, 3], [5], [], [1]]), 4)
  })
})
