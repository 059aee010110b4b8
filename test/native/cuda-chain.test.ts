/**
 * Chains of small networks on device 'cuda', through the simulator: all rounds of a repeat in one kernel against the same rounds one by one, and against
 * the CPU; what does not qualify; what is written between runs.
 */
import { beforeAll, describe, expect, test } from 'vitest'
import { recordChainStep } from '../../lib/bench/methods.ts'
import { prepare as prepareWorkload } from '../../lib/bench/prepare.ts'
import { hostTensor } from '../../lib/graph/host-tensor.ts'
import { Model } from '../../lib/nn/model.ts'
import { mlpNetwork } from '../../lib/nn/networks.ts'
import { Variables } from '../../lib/nn/variables.ts'
import type { Device } from '../../lib/runtime/devices.ts'
import { makeProgram, type Program } from '../../lib/runtime/program.ts'
import { keyFromSeed, Recorder, runStage, type Stage, State } from '../../lib/runtime/state.ts'
import { makeSampler, type SamplerOptions } from '../../lib/samplers/samplers.ts'
import { networkTarget } from '../../lib/samplers/target.ts'
import { simulated } from './simulated.ts'

const where = describe.skipIf(!simulated)

interface Workload {
  readonly inputs: number
  readonly hidden: readonly number[]
  readonly activation: 'silu' | 'softplus' | 'tanh' | 'leakyRelu'
  readonly chains: number
  readonly rounds: number
  readonly sampler: SamplerOptions
}

interface Chain {
  readonly state: State
  readonly stage: Stage
  readonly program: Program
  run(): Promise<{ x: Float32Array; key: Int32Array; energy: number; kernels: number }>
  dispose(): void
}

async function prepare(w: Workload, device: Device): Promise<Chain> {
  const { inputs, hidden, activation } = w
  const network = mlpNetwork({ inputs, hidden: [...hidden], activation })
  const model = new Model(network, { seed: 3 })
  const state = new State(device)
  for (const v of network.variables) await state.put(v.name, model.value(v.name))
  const points = Float32Array.from({ length: w.chains * inputs }, (_, i) => Math.sin(1.7 * i + 0.3))
  await state.put('x', hostTensor(points, [w.chains, inputs]))
  await state.put('key', keyFromSeed(2n ** 40n + 5n, 2 ** 32 - 2)) // the step's low word overflows on the way
  const r = new Recorder(state)
  recordChainStep(r, network, makeSampler(w.sampler), 'running', { x: 'x', key: 'key', energy: 'energy' })
  const stage = await r.compile('chain')
  const program = makeProgram([
    { do: 'repeat', count: w.rounds, body: [runStage(stage)] },
    { do: 'record', tensors: [state.get('energy')] },
  ])
  return {
    state,
    stage,
    program,
    run: async () => {
      const { metrics, kernels } = await program.run(1)
      const x = (await state.get('x').read()).data as Float32Array
      const key = (await state.get('key').read()).data as Int32Array
      return { x, key, energy: metrics[0] as number, kernels }
    },
    dispose: () => {
      stage.plan.dispose()
      state.dispose()
    },
  }
}

type Result = Awaited<ReturnType<Chain['run']>>

function expectSame(have: Result, want: Result): void {
  expect([...have.key]).toEqual([...want.key])
  have.x.forEach((x, i) => {
    const other = want.x[i] as number
    expect(Math.abs(x - other), `x[${i}]: ${x} and ${other}`).toBeLessThan(1e-5 * Math.max(1, Math.abs(other)))
  })
  expect(Math.abs(have.energy - want.energy)).toBeLessThan(1e-5 * Math.max(1, Math.abs(want.energy)))
}

const sgld: SamplerOptions = { kind: 'sgld', stepSize: 0.01, noise: 0.1 }
const workloads: [string, Workload][] = [
  ['the benchmark', { inputs: 2, hidden: [128, 128], activation: 'silu', chains: 5, rounds: 4, sampler: sgld }],
  ['one layer', { inputs: 3, hidden: [10], activation: 'tanh', chains: 7, rounds: 5, sampler: sgld }],
  ['three layers', { inputs: 4, hidden: [16, 12, 9], activation: 'softplus', chains: 33, rounds: 5, sampler: sgld }],
  ['several rows a block', { inputs: 5, hidden: [64, 20], activation: 'silu', chains: 300, rounds: 3, sampler: sgld }],
  [
    'as many chains as words in a key',
    { inputs: 1, hidden: [8], activation: 'silu', chains: 4, rounds: 3, sampler: sgld },
  ],
  [
    'pyld',
    {
      inputs: 6,
      hidden: [24, 16],
      activation: 'leakyRelu',
      chains: 11,
      rounds: 5,
      sampler: { kind: 'pyld', inner: 3, stepSize: 0.05, noise: 0.02, firstStage: 1 },
    },
  ],
  [
    'proximal',
    { inputs: 2, hidden: [16], activation: 'silu', chains: 9, rounds: 6, sampler: { kind: 'proximalSgld' } },
  ],
]

beforeAll(() => {
  process.env.LANGEVIN_TF32 = '0'
})

where('chains in one kernel', () => {
  test.each(workloads)('%s', async (_, w) => {
    const [chain, steps, host] = [await prepare(w, 'cuda'), await prepare(w, 'cuda'), await prepare(w, 'cpu')]
    await steps.stage.plan.setProfiling(true) // one by one, then
    for (let run = 0; run < 3; run++) {
      const [have, want, reference] = [await chain.run(), await steps.run(), await host.run()]
      expectSame(have, want)
      expectSame(have, reference)
      expect(have.kernels).toBeLessThan(want.kernels)
      // One kernel, the key's copy, and the last round.
      expect(have.kernels).toBeLessThanOrEqual(2 + Math.ceil(want.kernels / w.rounds))
    }
    for (const c of [chain, steps, host]) c.dispose()
  })

  test('parameters written between runs', async () => {
    const [, w] = workloads[1] as [string, Workload]
    const [chain, host] = [await prepare(w, 'cuda'), await prepare(w, 'cpu')]
    for (let run = 0; run < 4; run++) {
      expectSame(await chain.run(), await host.run())
      for (const c of [chain, host]) {
        for (const name of c.state.names().filter((n) => n.endsWith('weight'))) {
          const { data, shape } = await c.state.get(name).read()
          await c.state.get(name).write(
            hostTensor(
              Float32Array.from(data, (v) => 0.7 * v + 0.01 * run),
              shape,
            ),
          )
        }
      }
    }
    chain.dispose()
    host.dispose()
  })

  test('a count from a tensor, and nothing left but the chain', async () => {
    const network = mlpNetwork({ inputs: 2, hidden: [12], activation: 'silu' })
    const model = new Model(network, { seed: 3 })
    const counts = [6, 0, 2, 5]
    const results: number[][][] = []
    const kernels: number[][] = []
    for (const device of ['cuda', 'cpu'] as const) {
      const state = new State(device)
      for (const v of network.variables) await state.put(v.name, model.value(v.name))
      const points = Float32Array.from({ length: 26 }, (_, i) => Math.cos(i))
      await state.put('x', hostTensor(points, [13, 2]))
      await state.put('key', keyFromSeed(1))
      await state.put('count', hostTensor(new Int32Array(1), []))
      const r = new Recorder(state)
      const variables = new Variables((v) => r.read(v.name))
      const target = networkTarget(network, { variables, norm: 'running' }, { firstStage: 1 })
      const next = makeSampler(sgld).step(target, { x: r.read('x') }, r.read('key'), 7)
      r.write('x', next.state.x)
      r.write('key', next.key)
      const stage = await r.compile('chain')
      const program = makeProgram([{ do: 'repeat', countFrom: state.get('count'), body: [runStage(stage)] }])
      const seen: number[][] = []
      const run: number[] = []
      for (const count of counts) {
        await state.get('count').write(hostTensor(Int32Array.of(count), []))
        run.push((await program.run(1)).kernels)
        seen.push([...(await state.get('x').read()).data, ...(await state.get('key').read()).data])
      }
      results.push(seen)
      kernels.push(run)
      stage.plan.dispose()
      state.dispose()
    }
    const [have, want] = results as [number[][], number[][]]
    have.forEach((x, i) => {
      x.forEach((v, j) => {
        expect(Math.abs(v - ((want[i] as number[])[j] as number))).toBeLessThan(1e-5)
      })
    })
    const [made, each] = kernels as [number[], number[]]
    expect(made[0]).toBe(2) // the kernel and the key's copy
    expect(made[1]).toBe(0)
    expect(made[2]).toBeGreaterThanOrEqual(each[2] as number) // too few rounds
    expect(made[3]).toBe(2)
  })

  test('training steps, recorded with all that follows the chain', async () => {
    const w = {
      net: 'mlp',
      dims: [2, 32, 32, 1],
      act: 'silu',
      batch: 40,
      k: 10,
      lr: 0.001,
      unit: 'training step',
    } as const
    const [gpu, host] = [await prepareWorkload('pcd_mlp', w, 'cuda'), await prepareWorkload('pcd_mlp', w, 'cpu')]
    for (let run = 0; run < 4; run++) {
      const [have, want] = [await gpu.program.run(2), await host.program.run(2)]
      have.metrics.forEach((m, i) => {
        expect(Math.abs(m - (want.metrics[i] as number))).toBeLessThan(1e-5)
      })
      expect(have.kernels).toBeLessThan(want.kernels / 2)
    }
    gpu.dispose()
    host.dispose()
  })

  test('weights that do not fit into shared memory run step by step', async () => {
    const w: Workload = { inputs: 2, hidden: [256, 256], activation: 'silu', chains: 3, rounds: 4, sampler: sgld }
    const [chain, host] = [await prepare(w, 'cuda'), await prepare(w, 'cpu')]
    const have = await chain.run()
    expectSame(have, await host.run())
    expect(have.kernels).toBeGreaterThanOrEqual(4 * chain.stage.plan.stats.kernels.reduce((n, k) => n + k.count, 0))
    chain.dispose()
    host.dispose()
  })
})
