/**
 * Ops whose ONNX form holds the batch: each is exported with a free batch, run at 1, 2 and 7 and compared with the float64 reference of the
 * graph that is built for that batch. Single ops at fixed shapes are in ops.test.ts.
 */
import { describe, expect, it } from 'vitest'
import { grad } from '../../lib/autodiff/index.ts'
import { type HostTensor, hostTensor } from '../../lib/graph/host-tensor.ts'
import type { Tensor } from '../../lib/graph/tensor.ts'
import { exportGraph, type Trace } from '../../lib/onnx/exporter.ts'
import { compareOutputs } from '../../lib/onnx/verify.ts'
import {
  add,
  argmax,
  avgpool2d,
  bernoulli,
  broadcast,
  cast,
  categorical,
  concat,
  conv2d,
  conv2dWeightGrad,
  eq,
  gather,
  gt,
  iota,
  logicalAnd,
  logicalNot,
  logsumexp,
  matmul,
  maxpool2d,
  mean,
  mul,
  nextKey,
  normal,
  normalize,
  oneHot,
  ones,
  pad,
  randomInt,
  rem,
  reshape,
  resize2d,
  scatterAdd,
  seedKey,
  select,
  sigmoid,
  slice,
  softmaxCrossEntropy,
  square,
  stack,
  sub,
  sum,
  transpose,
  uniform,
  zeros,
} from '../../lib/ops/index.ts'
import { input } from '../../lib/ops/source.ts'
import { checkWithPython, evaluate, python, runOnnx, waves } from './helpers.ts'

/** x float32 [b,2,5,4], n int32 [b] in 0..4, m bool [b], key int32 [4]. */
interface Inputs {
  readonly x: Tensor
  readonly n: Tensor
  readonly m: Tensor
  readonly key: Tensor
  readonly b: number
}

const rows = (x: Tensor): Tensor => reshape(x, [x.shape[0] as number, 40])
/** The gradient of Σ y² (or Σ y·t for a quadratic y): reaches the gradient ops. */
const gradientOf = (y: Tensor, x: Tensor): Tensor => grad(sum(square(y)), [x])[0] as Tensor

const cases: Record<string, (i: Inputs) => Tensor> = {
  'iota along the batch': ({ b }) => iota([b, 3], 0),
  'iota across the batch': ({ b }) => iota([b, 3], 1, 'float32'),
  'broadcast to the batch': ({ x, b }) => broadcast(sum(x, 0, { keepDims: true }), [b, 2, 5, 4]),
  'zeros and ones': ({ b }) => concat([zeros([b, 2]), ones([b, 3])], 1),
  'merge the batch with channels': ({ x, b }) => reshape(transpose(x, [1, 0, 2, 3]), [2 * b, 20]),
  'slice that ends with the batch': ({ x, b }) => slice(rows(x), [0, 3], [b, 30], [1, 4]),
  'every second row': ({ x, b }) => slice(concat([rows(x), rows(x)]), [1, 0], [2 * b, 40], [2, 1]),
  'gradient of slicing rows': ({ x, b }) =>
    gradientOf(slice(concat([x, x]), [1, 0, 0, 0], [2 * b, 2, 5, 4], [1, 1, 2, 3]), x),
  'pad along the batch': ({ x }) => pad(x, { low: [1, 0, 0, 2], high: [2, 1, 0, 0], value: -1.5 }),
  'interior padding along the batch and width': ({ x }) => pad(x, { interior: [2, 0, 0, 1], high: [0, 0, 1, 0] }),
  stack: ({ x }) => stack([x, mul(x, 2)], 1),
  'sums over the batch': ({ x }) => sum(x, [0, 2], { keepDims: true }),
  'sum over everything': ({ x }) => sum(x),
  'mean over the batch and the image': ({ x }) => mean(x, [0, 2, 3]),
  'normalize over the batch': ({ x }) => normalize(x, [0, 2, 3]),
  'gradient of normalize over the batch': ({ x }) =>
    grad(sum(mul(square(normalize(x, [0, 2, 3])), x)), [x])[0] as Tensor,
  'logsumexp over the batch': ({ x }) => logsumexp(x, 0),
  'softmax cross entropy': ({ x, n }) => softmaxCrossEntropy(slice(rows(x), [0, 0], [n.shape[0] as number, 5]), n),
  'one hot': ({ n }) => oneHot(n, 5),
  'matmul of batches': ({ x }) => matmul(x, x, { transposeB: true }),
  'gram matrix of the batch': ({ x }) => matmul(rows(x), rows(x), { transposeB: true }),
  'gather from the batch': ({ x, n, b }) => gather(x, select(gt(n, b - 1), 0, n), 0),
  'gather columns': ({ x, n }) => gather(rows(x), n, 1),
  'scatter into the batch': ({ x, n, b }) => scatterAdd(rows(x), rem(n, b), mul(rows(x), 2), 0),
  argmax: ({ x }) => argmax(rows(x), 1),
  'average pooling and its gradient': ({ x }) => gradientOf(avgpool2d(x, { kernel: 3, stride: 2, padding: 1 }), x),
  'max pooling and its gradient': ({ x }) => gradientOf(maxpool2d(x, { kernel: 2, stride: 2 }), x),
  'gradient of resizing': ({ x }) => gradientOf(resize2d(x, { size: [9, 3], mode: 'nearest' }), x),
  'conv with samples as kernels': ({ x }) =>
    conv2d(reshape(sum(x, 0), [1, 2, 5, 4]), reshape(x, [x.shape[0] as number, 2, 5, 4])),
  'weight gradient': ({ x }) =>
    conv2dWeightGrad(x, slice(x, [0, 0, 0, 0], [x.shape[0] as number, 2, 4, 3]), { kernelSize: [2, 2] }),
  booleans: ({ m, n }) => logicalAnd(logicalNot(m), eq(n, 3)),
  integers: ({ n, b }) => sub(mul(n, 3), iota([b])),
  'select by mask': ({ x, m, b }) => select(reshape(m, [b, 1]), rows(x), 0),
  casts: ({ m, n }) => mul(cast(m, 'float32'), cast(n, 'float32')),
}

/** Keyed draws are written out in integer nodes, which needs opset 18; the numbers are those of our own runtime. */
const draws: Record<string, (i: Inputs) => Tensor> = {
  normal: ({ key, b }) => normal(key, [b, 3], 5),
  uniform: ({ key, b }) => uniform(key, [b, 3]),
  'random integers': ({ key, b }) => randomInt(key, [b, 5], { bound: 1000, stream: 2 }),
  bernoulli: ({ key, x }) => bernoulli(key, sigmoid(x), 3),
  categorical: ({ key, x }) => categorical(key, rows(x), 4),
  'a Langevin step': ({ key, x }) => add(x, mul(normal(nextKey(key), x.shape), 0.1)),
}

function build(f: (i: Inputs) => Tensor): (b: number) => Trace {
  return (b) => {
    const [x, n, m] = [input('x', [b, 2, 5, 4]), input('n', [b], 'int32'), input('m', [b], 'bool')]
    const key = input('key', [4], 'int32')
    return {
      inputs: Object.entries({ x, n, m, key }).map(([name, tensor]) => ({ name, tensor })),
      outputs: [{ name: 'y', tensor: f({ x, n, m, key, b }) }],
      parameters: new Map(),
    }
  }
}

function feeds(b: number): Record<string, HostTensor> {
  return {
    x: waves([b, 2, 5, 4], b),
    n: hostTensor(
      Int32Array.from({ length: b }, (_, i) => (3 * i + 1) % 5),
      [b],
    ),
    m: hostTensor(
      Uint8Array.from({ length: b }, (_, i) => (i * i + 1) % 2),
      [b],
      'bool',
    ),
    key: hostTensor(seedKey(0x1234_5678_9abcn, 0xffff_fffen + BigInt(b)), [4]),
  }
}

describe('a free batch', () => {
  const all = [
    ...Object.entries(cases).map(([name, f]) => ({ name, f, opset: 17, tolerance: 2e-6 })),
    // Box-Muller through float32 sine, cosine and logarithm.
    ...Object.entries(draws).map(([name, f]) => ({ name, f, opset: 18, tolerance: 1e-5 })),
  ]
  for (const { name, f, opset, tolerance } of all) {
    it(name, async () => {
      const bytes = exportGraph({ build: build(f), opset })
      const batches = [1, 2, 7]
      const results = await runOnnx(bytes, ...batches.map(feeds))
      batches.forEach((b, i) => {
        const trace = build(f)(b)
        const given = new Map(trace.inputs.map(({ name: n, tensor }) => [tensor, feeds(b)[n] as HostTensor]))
        const [want] = evaluate([trace.outputs[0]?.tensor as Tensor], given) as [HostTensor]
        const got = results[i]?.get('y') as HostTensor
        expect(got.shape).toEqual(want.shape)
        expect(compareOutputs(got, want).maxRel).toBeLessThan(tolerance)
      })
    })
  }

  it.skipIf(python === undefined)('passes the full ONNX checker', () => {
    const models = all.flatMap(({ f, opset }) => [opset, 21].map((o) => exportGraph({ build: build(f), opset: o })))
    checkWithPython(models)
  })

  it('says that draws need opset 18', () => {
    const old = () => exportGraph({ build: build(draws.normal as (i: Inputs) => Tensor), opset: 17 })
    expect(old).toThrow(/op normal at node 'normal': .*opset 18/)
  })
})
