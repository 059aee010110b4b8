/**
 * The classifier two-sample test (Lopez-Paz & Oquab 2017, "Revisiting classifier two-sample tests"): a small network learns to tell x
 * from y on one half; its accuracy on the other half, where chance is ½, tells whether the distributions differ. Trained natively.
 */

import { grad } from '../autodiff/index.ts'
import { type HostTensor, hostTensor } from '../graph/host-tensor.ts'
import type { Model } from '../nn/model.ts'
import { mlp } from '../nn/models.ts'
import { Variables } from '../nn/variables.ts'
import * as ops from '../ops/index.ts'
import { makeOptimizer } from '../optim/optimizers.ts'
import { chosenDevice, type DeviceOption } from '../runtime/devices.ts'
import { HostRandom } from '../runtime/host-random.ts'
import { makeProgram } from '../runtime/program.ts'
import { keyFromSeed, Recorder, runStage, type Stage, State, zeroTensor } from '../runtime/state.ts'
import { checkCount } from './checks.ts'
import { pooledCentred, takeRows, twoSamples } from './pairs.ts'

export interface ClassifierTestOptions extends DeviceOption {
  /** Widths of the network's hidden layers. Default [64, 64]. */
  readonly hidden?: readonly number[]
  /** Updates of AdamW. Default 1000. */
  readonly steps?: number
  /** Default 128, or all training points where they are fewer. */
  readonly batch?: number
  /** Default 3e-3. */
  readonly learningRate?: number
  /** Decoupled, as in AdamW. Default 0.01. */
  readonly weightDecay?: number
  /** Share of each sample that is trained on; the rest is held out. Default ½. */
  readonly trainShare?: number
  /** Of split, initial weights and batches. Default 0. */
  readonly seed?: number
  /** Stops between updates with the signal's reason. */
  readonly signal?: AbortSignal
}

export interface ClassifierTest {
  /** Share of held-out points that are told right; ½ is chance. */
  readonly accuracy: number
  /** P(Binomial(heldOut, ½) >= points told right): the chance of such an accuracy were the distributions equal. */
  readonly pValue: number
  /** Held-out points, half of either sample. */
  readonly heldOut: number
  /** Mean cross-entropy in nats of the last tenth of the updates, on the training half; ln 2 is chance. */
  readonly trainingLoss: number
  /** Log-odds of x against y for each held-out point, those of x first: what the classifier sees. [heldOut] */
  readonly logits: HostTensor
}

/**
 * Trains and tests on x [n, ...] and y [m, ...] (float32, flattened, standardised by the training half); of the larger sample as many
 * points as the smaller has are used, at least 4. A high p-value says no more than that this network found no difference.
 * Throws LangevinError E_SHAPE, E_DTYPE, E_DATA; RangeError for an option.
 */
export async function classifierTwoSampleTest(
  x: HostTensor,
  y: HostTensor,
  options: ClassifierTestOptions = {},
): Promise<ClassifierTest> {
  const { hidden = [64, 64], steps = 1000, trainShare = 0.5, seed = 0, signal } = options
  checkCount('classifierTwoSampleTest: steps', steps, 1)
  const both = twoSamples('classifierTwoSampleTest', x, y, 4)
  const each = Math.min(both.n, both.m)
  const train = Math.round(each * trainShare)
  if (!(train >= 2 && each - train >= 2)) {
    throw new RangeError(
      `classifierTwoSampleTest: trainShare must leave at least 2 of ${each} points on either side; got ${trainShare}`,
    )
  }
  const pooled = pooledCentred(both)
  const random = new HostRandom(seed)
  const [ofX, ofY] = [random.permutation(both.n), random.permutation(both.m).map((i) => i + both.n)]
  const part = (from: number, to: number) => {
    const rows = new Int32Array(2 * (to - from))
    rows.set(ofX.subarray(from, to))
    rows.set(ofY.subarray(from, to), to - from)
    return takeRows(pooled, rows)
  }
  const [seen, unseen] = standardised(part(0, train), part(train, each))
  const model = mlp({ inputs: both.dimensions, hidden, seed, device: chosenDevice(options.device) })
  const trainingLoss = await trainClassifier(model, seen, steps, options)
  // The network's single column is the log-odds of x; as an energy network it is read by `energy`.
  const logits = await model.energy(unseen, signal ? { signal } : {})
  const half = each - train
  const right = logits.reduce((count, l, i) => count + ((i < half ? l > 0 : l <= 0) ? 1 : 0), 0)
  const heldOut = 2 * half
  return {
    accuracy: right / heldOut,
    pValue: binomialTail(heldOut, right),
    heldOut,
    trainingLoss,
    logits: hostTensor(logits, [heldOut]),
  }
}

/** Both sets less the first one's mean, over its standard deviation, column by column; a constant column becomes 0 there. */
function standardised(train: HostTensor, test: HostTensor): [HostTensor, HostTensor] {
  const [n = 0, d = 0] = train.shape
  const mean = new Float64Array(d)
  const variance = new Float64Array(d)
  for (let i = 0; i < n * d; i++) mean[i % d]! += train.data[i]! / n
  for (let i = 0; i < n * d; i++) variance[i % d]! += (train.data[i]! - mean[i % d]!) ** 2 / n
  const scale = variance.map((v) => (v > 0 ? 1 / Math.sqrt(v) : 1))
  const apply = ({ data, shape }: HostTensor) =>
    hostTensor(
      Float32Array.from(data, (v, i) => (v - mean[i % d]!) * scale[i % d]!),
      shape,
    )
  return [apply(train), apply(test)]
}

/** Fits the network to tell the first half of the rows (label 1) from the second; its values are replaced. */
async function trainClassifier(
  model: Model,
  rows: HostTensor,
  steps: number,
  options: ClassifierTestOptions,
): Promise<number> {
  const { seed = 0, signal } = options
  signal?.throwIfAborted()
  const n = rows.shape[0] ?? 0
  const labels = Float32Array.from({ length: n }, (_, i) => (i < n / 2 ? 1 : 0))
  const state = new State(model.device)
  let stage: Stage | undefined
  try {
    for (const v of model.network.variables) await state.put(v.name, model.value(v.name))
    await state.put('data/x', rows)
    await state.put('data/label', hostTensor(labels, [n]))
    await state.put('key', keyFromSeed(seed))
    await state.put('count', zeroTensor([]))
    stage = await updateStage(state, model, n, options)
    const program = makeProgram([runStage(stage), { do: 'record', tensors: [state.get('loss')] }])
    const { metrics } = await program.run(steps, { signal })
    signal?.throwIfAborted()
    await model.setValues(await state.read(model.network.variables.map((v) => v.name)), 'the trained classifier')
    const last = metrics.subarray(Math.floor(0.9 * steps))
    return last.reduce((s, v) => s + v, 0) / last.length
  } finally {
    stage?.plan.dispose()
    state.dispose()
  }
}

/** One update: a shuffled batch, the logistic loss, AdamW. */
function updateStage(state: State, { network }: Model, n: number, options: ClassifierTestOptions): Promise<Stage> {
  const { learningRate = 3e-3, weightDecay = 0.01 } = options
  checkCount('classifierTwoSampleTest: batch', options.batch ?? 128, 1)
  const batch = Math.min(n, options.batch ?? 128)
  const optimizer = makeOptimizer({ kind: 'adamw', learningRate, weightDecay })
  const r = new Recorder(state)
  const index = ops.shuffleIndex(r.read('key'), { n, count: batch })
  const variables = new Variables((v) => r.read(v.name))
  const logit = network.energy(ops.gather(r.read('data/x'), index), { variables, norm: 'batch' })
  // -log σ(l) for label 1 and -log σ(-l) for 0: softplus(l) - label·l.
  const loss = ops.mean(ops.sub(ops.softplus(logit), ops.mul(ops.gather(r.read('data/label'), index), logit)))
  const count = ops.add(r.read('count'), 1)
  const gradients = grad(
    loss,
    network.variables.map((v) => r.read(v.name)),
  )
  network.variables.forEach((v, i) => {
    const slots = optimizer.slots.map((slot) => {
      state.create(`${slot}/${v.name}`, v.shape)
      return r.read(`${slot}/${v.name}`)
    })
    const context = { learningRate: ops.scalar(learningRate), count }
    const updated = optimizer.update(r.read(v.name), gradients[i] ?? ops.zeros(v.shape), slots, context)
    r.write(v.name, updated.parameter)
    optimizer.slots.forEach((slot, s) => {
      r.write(`${slot}/${v.name}`, updated.slots[s] ?? ops.zeros(v.shape))
    })
  })
  r.write('loss', loss)
  r.write('count', count)
  r.write('key', ops.nextKey(r.read('key')))
  return r.compile('update')
}

/** P(X >= least) for X ~ Binomial(n, ½), from logarithms of the terms, the largest first. */
export function binomialTail(n: number, least: number): number {
  if (least <= 0) return 1
  // The sum of the upper tail is exact where it is small; beyond the middle the lower one is.
  if (2 * least <= n) return 1 - binomialTail(n, n - least + 1)
  let log = -n * Math.LN2
  for (let i = 1; i <= n - least; i++) log += Math.log((least + i) / i)
  let term = 1
  let sum = 0
  for (let k = least; k <= n; k++) {
    sum += term
    term *= (n - k) / (k + 1)
  }
  return Math.min(1, sum * Math.exp(log))
}
