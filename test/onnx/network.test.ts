/**
 * A small wide residual network, built from ops: logits, energy = -logsumexp(logits) and score = -∇x energy in one model with a free batch,
 * against the float64 references. The score is the part that no runtime could derive by itself.
 */
import { describe, expect, it } from 'vitest'
import { grad } from '../../lib/autodiff/index.ts'
import type { HostTensor } from '../../lib/graph/host-tensor.ts'
import type { Shape } from '../../lib/graph/shape.ts'
import type { Tensor } from '../../lib/graph/tensor.ts'
import { exportGraph, type Trace } from '../../lib/onnx/exporter.ts'
import { verifyOnnx } from '../../lib/onnx/verify.ts'
import { logsumexp } from '../../lib/ops/composite.ts'
import { type ConvOptions, conv2d } from '../../lib/ops/conv.ts'
import { add, mul, sub } from '../../lib/ops/elementwise.ts'
import { matmul } from '../../lib/ops/matmul.ts'
import { mean, sum } from '../../lib/ops/reduce.ts'
import { reshape } from '../../lib/ops/shape.ts'
import { input } from '../../lib/ops/source.ts'
import { leakyRelu, neg, rsqrt } from '../../lib/ops/unary.ts'
import { checkWithPython, evaluate, opTypes, parse, python, waves } from './helpers.ts'

/** Parameters by name, made when first asked for, the same in every trace. */
class Parameters {
  readonly all = new Map<Tensor, { readonly name: string; readonly data: HostTensor }>()
  private readonly byName = new Map<string, Tensor>()

  get(name: string, shape: Shape, of: (v: number) => number = (v) => v): Tensor {
    const known = this.byName.get(name)
    if (known !== undefined) return known
    const t = input(name, shape)
    const seed = [...name].reduce((h, c) => (h * 31 + c.charCodeAt(0)) % 1009, 7)
    const data = waves(shape, seed)
    this.all.set(t, { name, data: { ...data, data: Float32Array.from(data.data, of) } })
    this.byName.set(name, t)
    return t
  }
}

/** Batch norm with running statistics. */
function batchNorm(p: Parameters, name: string, x: Tensor): Tensor {
  const c = x.shape[1] as number
  const at = (part: string, of?: (v: number) => number) => reshape(p.get(`${name}.${part}`, [c], of), [1, c, 1, 1])
  const scale = mul(
    at('weight', (v) => 1 + v / 4),
    rsqrt(
      add(
        at('running_var', (v) => 1 + v / 2),
        1e-5,
      ),
    ),
  )
  return add(mul(sub(x, at('running_mean')), scale), at('bias'))
}

function conv(p: Parameters, name: string, x: Tensor, o: number, k: number, options: ConvOptions): Tensor {
  const c = (x.shape[1] as number) / (options.groups ?? 1)
  return conv2d(
    x,
    p.get(`${name}.weight`, [o, c, k, k], (v) => v / Math.sqrt(c * k * k)),
    options,
  )
}

function block(p: Parameters, name: string, x: Tensor, o: number, stride: number, groups = 1, dilation = 1): Tensor {
  const a = leakyRelu(batchNorm(p, `${name}.bn1`, x), 0.2)
  const h = conv(p, `${name}.conv1`, a, o, 3, { stride, padding: dilation, dilation, groups })
  const b = leakyRelu(batchNorm(p, `${name}.bn2`, h), 0.2)
  const y = conv(p, `${name}.conv2`, b, o, 3, { padding: 1 })
  return add(y, conv(p, `${name}.shortcut`, a, o, 1, { stride }))
}

/** Odd image sizes and strides that do not divide them, groups and dilation: what ConvTranspose pads for. */
function network(p: Parameters, batch: number): { x: Tensor; logits: Tensor; energy: Tensor; score: Tensor } {
  const x = input('x', [batch, 2, 9, 8])
  let h = conv(p, 'conv1', x, 4, 3, { padding: 1 })
  h = block(p, 'blocks.0', h, 6, 2)
  h = block(p, 'blocks.1', h, 6, 2, 2)
  h = block(p, 'blocks.2', h, 8, 1, 1, 2)
  h = mean(leakyRelu(batchNorm(p, 'bn', h), 0.2), [2, 3])
  const logits = add(matmul(h, p.get('fc.weight', [5, 8]), { transposeB: true }), p.get('fc.bias', [5]))
  const energy = neg(logsumexp(logits, 1))
  const [dx] = grad(sum(energy), [x])
  return { x, logits, energy, score: neg(dx as Tensor) }
}

const parameters = new Parameters()
const build = (batch: number): Trace => {
  const { x, ...outputs } = network(parameters, batch)
  return {
    inputs: [{ name: 'x', tensor: x }],
    outputs: Object.entries(outputs).map(([name, tensor]) => ({ name, tensor })),
    parameters: parameters.all,
  }
}

describe('a wide residual network', () => {
  for (const opset of [17, 18, 19, 20, 21]) {
    it(`has the logits, energy and score of the float64 reference at opset ${opset}`, async () => {
      const v = await verifyOnnx(exportGraph({ build, opset }), {
        feeds: (b) => new Map([['x', waves([b, 2, 9, 8], b)]]),
        expected: async (feeds, b) => {
          const { x, logits, energy, score } = network(parameters, b)
          const given = new Map([[x, feeds.get('x') as HostTensor]])
          for (const [t, { data }] of parameters.all) given.set(t, data)
          const [l, e, s] = evaluate([logits, energy, score], given) as [HostTensor, HostTensor, HostTensor]
          return new Map([
            ['logits', l],
            ['energy', e],
            ['score', s],
          ])
        },
        batches: opset === 17 ? [1, 2, 7] : [2],
        tolerance: { default: 1e-5, score: 1e-5 },
        threads: 1,
      })
      expect(v.outputs.filter((o) => !o.ok)).toEqual([])
      expect(v.ok).toBe(true)
      expect(v.outputs).toHaveLength(opset === 17 ? 9 : 3)
    })
  }

  it('needs no arithmetic on shapes, names nodes after modules and keeps no unused parameter', () => {
    const bytes = exportGraph({ build })
    const graph = parse(bytes).graph
    expect(opTypes(bytes).filter((t) => t === 'Conv')).toHaveLength(10)
    expect(opTypes(bytes).filter((t) => t === 'ConvTranspose')).toHaveLength(10)
    expect(graph?.node.map((n) => n.name)).toContain('blocks.0.conv1/conv2d/grad')
    const named = (graph?.initializer ?? []).map((t) => t.name).filter((n) => n.includes('.'))
    expect(named.sort()).toEqual([...parameters.all.values()].map((q) => q.name).sort())
  })

  it.skipIf(python === undefined)('passes the full ONNX checker', () => {
    checkWithPython([17, 19, 21].map((opset) => exportGraph({ build, opset })))
  })
})
