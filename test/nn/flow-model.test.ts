/** A flow with numbers, on the device: densities, maps and draws, files, export, and a fit by maximum likelihood. */

import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { grad } from '../../lib/autodiff/index.ts'
import { type HostTensor, hostTensor } from '../../lib/graph/host-tensor.ts'
import type { Tensor } from '../../lib/graph/tensor.ts'
import { customFlow, type Flow } from '../../lib/nn/flow.ts'
import { actNorm } from '../../lib/nn/flow-bijectors.ts'
import { FlowModel } from '../../lib/nn/flow-model.ts'
import { affineCouplingFlow, imageFlow, splineFlow } from '../../lib/nn/flows.ts'
import { Model } from '../../lib/nn/model.ts'
import { buildNetwork, mlpNetwork } from '../../lib/nn/networks.ts'
import { Variables } from '../../lib/nn/variables.ts'
import { exportOnnx } from '../../lib/onnx/export-model.ts'
import * as ops from '../../lib/ops/index.ts'
import { makeOptimizer } from '../../lib/optim/optimizers.ts'
import { HostRandom } from '../../lib/runtime/host-random.ts'
import { makeProgram } from '../../lib/runtime/program.ts'
import { keyFromSeed, Recorder, State } from '../../lib/runtime/state.ts'
import { testDevice } from '../device.ts'
import { temporaryFolder } from '../dist.ts'
import { pattern } from '../golden/pattern.ts'
import { at, largestDifference } from './flow-cases.ts'

const folder = temporaryFolder()
const net = { hidden: [16, 16] }
const flows: Record<string, Flow> = {
  affine: affineCouplingFlow({ inputs: 3, layers: 4, shift: [1, 0, -1], scale: 1.5, ...net }),
  spline: splineFlow({ inputs: 3, layers: 3, ...net }),
  'spline in one dimension': splineFlow({ inputs: 1, layers: 3 }),
  image: imageFlow({ shape: [1, 4, 4], coupling: 'affine', channels: 4, steps: 2, logit: 0.05 }),
}

/** A model with weights away from the identity. */
async function modelOf(flow: Flow, scale = 0.3): Promise<FlowModel> {
  const model = new FlowModel(flow, { seed: 1 })
  await model.setValues(new Map(flow.variables.map((v, i) => [v.name, pattern(v.shape, i, scale)])))
  return model
}

describe('FlowModel', () => {
  for (const [name, flow] of Object.entries(flows)) {
    test(`${name}: maps undo one another, and draws carry their own log density`, async () => {
      const model = await modelOf(flow)
      const { x, logDensity } = await model.sample({ count: 70, seed: 3, batch: 32 })
      expect(x.shape).toEqual([70, ...flow.shape])
      const there = await model.forward(x, { batch: 50 })
      const back = await model.inverse(there.z)
      expect(there.z.shape).toEqual([70, ...flow.latentShape])
      expect(largestDifference(back.x.data, x.data)).toBeLessThan(2e-3)
      expect(largestDifference(logDensity, await model.logDensity(x))).toBeLessThan(5e-3)
      expect(
        largestDifference(
          there.logDet,
          back.logDet.map((v) => -v),
        ),
      ).toBeLessThan(5e-3)
      await model.dispose()
    })
  }

  test('draws follow from the seed; a larger count begins with the same ones', async () => {
    const model = await modelOf(flows.spline as Flow)
    const few = await model.sample({ count: 5, seed: 9, batch: 8 })
    const many = await model.sample({ count: 20, seed: 9, batch: 8 })
    const others = await model.sample({ count: 5, seed: 10, batch: 8 })
    expect(many.x.data.slice(0, 15)).toEqual(few.x.data)
    // The second batch is another step of the key, not the first again.
    expect(many.x.data.slice(24, 39)).not.toEqual(few.x.data)
    expect(others.x.data).not.toEqual(few.x.data)
    expect((await model.sample({ count: 0 })).x.shape).toEqual([0, 3])
    await model.dispose()
  })

  test('concurrent calls do not mix, and a disposed model works on', async () => {
    const model = await modelOf(flows.affine as Flow)
    const points = [1, 2, 3].map((s) => pattern([4, 3], s, 2))
    const together = await Promise.all(points.map((x) => model.forward(x)))
    await model.dispose()
    for (const [i, x] of points.entries()) expect(await model.forward(x)).toEqual(together[i])
    await model.dispose()
  })

  test('new values are those that the maps use', async () => {
    const model = await modelOf(flows.affine as Flow)
    const x = pattern([4, 3], 1, 2)
    const before = await model.forward(x)
    await model.setValues(new Map([...model.stateDict()].map(([n, v]) => [n, pattern(v.shape, 77, 0.2)])))
    expect((await model.forward(x)).z.data).not.toEqual(before.z.data)
    await model.dispose()
  })

  test('its energy is -log q, as a network that a config rebuilds has it', async () => {
    const model = await modelOf(flows.spline as Flow)
    const x = pattern([6, 3], 4, 2)
    const density = await model.logDensity(x)
    const rebuilt = new Model(buildNetwork(JSON.parse(JSON.stringify(model.network.config))))
    await rebuilt.setValues(model.stateDict())
    expect([...(await rebuilt.energy(x))]).toEqual([...density].map((v) => -v))
    await rebuilt.dispose()
    await model.dispose()
  })

  test('save, open and load', async () => {
    const path = join(folder, 'flow.safetensors')
    const model = await modelOf(flows.image as Flow)
    const x = pattern([3, 1, 4, 4], 2, 0.9)
    await model.save(path)
    const opened = await FlowModel.open(path)
    expect(opened.flow.config).toEqual(model.flow.config)
    const fresh = new FlowModel(flows.image as Flow)
    await fresh.load(path)
    const density = await model.logDensity(x)
    expect(await opened.logDensity(x)).toEqual(density)
    expect(await fresh.logDensity(x)).toEqual(density)
    const other = join(folder, 'mlp.safetensors')
    await new Model(mlpNetwork({ inputs: 3 })).save(other)
    await expect(FlowModel.open(other)).rejects.toThrow(/holds a network of kind 'mlp', not a flow/)
    await new FlowModel(customFlow([2], [actNorm([2])], 'mine')).save(other)
    await expect(FlowModel.open(other)).rejects.toThrow(/flow 'mine' was written in code/)
    for (const m of [model, opened, fresh]) await m.dispose()
  })

  test('refuses what does not fit', async () => {
    const model = await modelOf(flows.affine as Flow)
    await expect(model.forward(pattern([2, 4], 1))).rejects.toThrow(/takes float32 \[n,3\]; got float32\[2,4\]/)
    await expect(model.inverse(hostTensor(new Int32Array(3), [1, 3]))).rejects.toThrow(/got int32\[1,3\]/)
    await expect(model.sample({ count: -1 })).rejects.toThrow(/count must be a non-negative integer; got -1/)
    await expect(model.sample({ count: 4, batch: 0 })).rejects.toThrow(/batch must be a positive integer; got 0/)
    await expect(model.sample({ count: 4, signal: AbortSignal.abort() })).rejects.toThrow(/aborted/)
    await model.dispose()
  })
})

describe('export', () => {
  for (const [name, flow] of Object.entries(flows)) {
    test(`${name}: energy and score agree in ONNX Runtime`, async () => {
      const model = await modelOf(flow)
      const exported = await exportOnnx(model, join(folder, `${name.replaceAll(' ', '-')}.onnx`))
      expect(exported.outputs).toEqual(['log_prob_unnormalized', 'energy', 'score', 'log_prob'])
      expect(exported.verification?.ok).toBe(true)
      await model.dispose()
    })
  }
})

/** x₁ ~ N(0, 1), x₂ = ½x₁² + 0.4 ε: a banana, whose entropy is log 2πe + log 0.4. */
const ENTROPY = Math.log(2 * Math.PI * Math.E) + Math.log(0.4)

function banana(z: Tensor): Tensor {
  const a = ops.sliceAxis(z, 1, 0, 1)
  return ops.concat([a, ops.add(ops.mul(ops.square(a), 0.5), ops.mul(ops.sliceAxis(z, 1, 1, 2), 0.4))], 1)
}

/** Fits by Adam on fresh draws, natively, and gives the model its weights. */
async function train(model: FlowModel, steps: number): Promise<void> {
  const state = new State(testDevice)
  const optimizer = makeOptimizer({ kind: 'adam', learningRate: 5e-3 })
  for (const v of model.flow.variables) {
    await state.put(v.name, model.value(v.name))
    for (const slot of optimizer.slots) state.create(`optimizer/${slot}/${v.name}`, v.shape)
  }
  await state.put('key', keyFromSeed(11))
  const r = new Recorder(state)
  const variables = new Variables((v) => r.read(v.name))
  const key = r.read('key')
  const x = banana(ops.normal(key, [256, 2]))
  const loss = ops.neg(ops.mean(model.flow.logDensity(x, { variables, norm: 'batch' })))
  const gradients = grad(
    loss,
    model.flow.variables.map((v) => variables.get(v)),
  )
  const step = ops.reshape(ops.cast(ops.slice(key, [2], [3]), 'float32'), [])
  const context = { learningRate: ops.scalar(optimizer.learningRate), count: ops.add(step, 1) }
  for (const [i, { name }] of model.flow.variables.entries()) {
    const slots = optimizer.slots.map((s) => `optimizer/${s}/${name}`)
    const reads = slots.map((s) => r.read(s))
    const next = optimizer.update(r.read(name), gradients[i] as Tensor, reads, context)
    r.write(name, next.parameter)
    for (const [k, s] of slots.entries()) r.write(s, next.slots[k] as Tensor)
  }
  r.write('key', ops.nextKey(key))
  const stage = await r.compile('train')
  const result = await makeProgram([{ do: 'run', plan: stage.plan, inputs: stage.inputs, outputs: stage.outputs }]).run(
    steps,
  )
  expect(result.completed).toBe(steps)
  await model.setValues(await state.read(model.flow.variables.map((v) => v.name)))
  stage.plan.dispose()
  state.dispose()
}

/** Held-out points of the banana. */
function heldOut(n: number): HostTensor {
  const random = new HostRandom(5)
  const data = new Float32Array(2 * n)
  for (let i = 0; i < n; i++) {
    const a = random.normal()
    data[2 * i] = a
    data[2 * i + 1] = 0.5 * a * a + 0.4 * random.normal()
  }
  return hostTensor(data, [n, 2])
}

describe('maximum likelihood', () => {
  const fits: [string, Flow, number][] = [
    ['affine couplings', affineCouplingFlow({ inputs: 2, layers: 4, hidden: [32, 32] }), 400],
    ['spline couplings', splineFlow({ inputs: 2, layers: 2, hidden: [32, 32], bound: 4 }), 300],
  ]
  for (const [name, flow, steps] of fits) {
    test(`${name} come within 0.08 nats of the entropy, and draw what they were fitted to`, async () => {
      const model = new FlowModel(flow)
      const x = heldOut(4096)
      const nll = async () => -(await model.logDensity(x, { batch: 4096 })).reduce((s, v) => s + v, 0) / 4096
      const before = await nll()
      await train(model, steps)
      const after = await nll()
      expect(before).toBeGreaterThan(ENTROPY + 0.4)
      expect(after).toBeLessThan(ENTROPY + 0.08)
      // By Gibbs' inequality nothing beats the entropy but the held-out sample's own noise.
      expect(after).toBeGreaterThan(ENTROPY - 0.08)
      const { x: drawn } = await model.sample({ count: 4096, seed: 1, batch: 4096 })
      const mean = (f: (a: number, b: number) => number) => {
        let sum = 0
        for (let i = 0; i < 4096; i++) sum += f(at(drawn.data, 2 * i), at(drawn.data, 2 * i + 1))
        return sum / 4096
      }
      expect(Math.abs(mean((a) => a))).toBeLessThan(0.15)
      expect(Math.abs(mean((a) => a * a) - 1)).toBeLessThan(0.2)
      expect(Math.abs(mean((_, b) => b) - 0.5)).toBeLessThan(0.15)
      // x₂ - ½x₁² is the noise, of standard deviation 0.4; its mean magnitude, which no single stray draw moves, is 0.4 √(2/π).
      expect(mean((a, b) => Math.abs(b - 0.5 * a * a))).toBeCloseTo(0.4 * Math.sqrt(2 / Math.PI), 1)
      await model.dispose()
    })
  }
})
