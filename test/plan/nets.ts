/** Graphs that the plan tests share: the shapes of real training steps, small. Not networks of the library. */
import { grad } from '../../lib/autodiff/index.ts'
import type { Tensor } from '../../lib/graph/tensor.ts'
import * as ops from '../../lib/ops/index.ts'
import type { PlanOutput } from '../../lib/plan/index.ts'

export interface TestGraph {
  readonly inputs: Tensor[]
  readonly outputs: PlanOutput[]
}

/** Scalar energy of an MLP with softplus, its score, and one Langevin update of x in place. */
export function langevinStep(batch = 64, width = 128): TestGraph {
  const x = ops.input('x', [batch, 2])
  const key = ops.input('key', [4], 'int32')
  const step = ops.input('step', [])
  const [w1, b1] = [ops.input('w1', [width, 2]), ops.input('b1', [width])]
  const [w2, b2] = [ops.input('w2', [1, width]), ops.input('b2', [1])]
  const h = ops.softplus(ops.add(ops.matmul(x, w1, { transposeB: true }), b1))
  const energy = ops.add(ops.matmul(h, w2, { transposeB: true }), b2)
  const [drift] = grad(ops.sum(energy), [x]) as [Tensor]
  const noise = ops.normal(key, [batch, 2], 1)
  const moved = ops.add(ops.sub(x, ops.mul(step, drift)), ops.mul(ops.sqrt(ops.mul(step, 2)), noise))
  const next = ops.clamp(moved, -4, 4)
  return {
    inputs: [x, key, step, w1, b1, w2, b2],
    outputs: [{ tensor: next, alias: 0 }, { tensor: ops.nextKey(key), alias: 1 }, { tensor: ops.norm(drift) }],
  }
}

interface Block {
  readonly y: Tensor
  readonly parameters: Tensor[]
  readonly statistics: PlanOutput[]
}

/** conv -> batch norm (with running mean) -> leaky ReLU. */
function block(x: Tensor, channels: number, name: string, inputs: Tensor[]): Block {
  const w = ops.input(`${name}.w`, [channels, x.shape[1] as number, 3, 3])
  const [gamma, beta] = [ops.input(`${name}.gamma`, [channels]), ops.input(`${name}.beta`, [channels])]
  const running = ops.input(`${name}.mean`, [channels])
  inputs.push(w, gamma, beta, running)
  const y = ops.conv2d(x, w, { padding: 1 })
  const view = (t: Tensor) => ops.reshape(t, [1, channels, 1, 1])
  const z = ops.add(ops.mul(ops.normalize(y, [0, 2, 3]), view(gamma)), view(beta))
  const { mean } = ops.moments(y, [0, 2, 3])
  const next = ops.add(ops.mul(running, 0.9), ops.mul(mean, 0.1))
  const statistics = [{ tensor: next, alias: inputs.length - 1 }]
  return { y: ops.leakyRelu(z, 0.2), parameters: [w, gamma, beta], statistics }
}

/** `depth` blocks, global mean, linear, cross entropy; the loss, the gradients of all parameters and new running means. */
export function batchNormNet(depth: number, batch = 16, channels = 16, size = 8, residual = false): TestGraph {
  const x = ops.input('x', [batch, channels, size, size])
  const labels = ops.input('labels', [batch], 'int32')
  const w = ops.input('w', [10, channels])
  const b = ops.input('b', [10])
  const inputs = [x, labels, w, b]
  const parameters = [w, b]
  const statistics: PlanOutput[] = []
  let h: Tensor = x
  for (let i = 0; i < depth; i++) {
    const next = block(h, channels, `block${i}`, inputs)
    h = residual ? ops.add(h, next.y) : next.y
    parameters.push(...next.parameters)
    statistics.push(...next.statistics)
  }
  const logits = ops.add(ops.matmul(ops.mean(h, [2, 3]), w, { transposeB: true }), b)
  const loss = ops.mean(ops.softmaxCrossEntropy(logits, labels))
  const gradients = grad(loss, parameters).map((tensor) => ({ tensor }))
  return { inputs, outputs: [{ tensor: loss }, ...gradients, ...statistics] }
}

/** Adam on parameters of the given shapes: p, m, v replaced in place, one shared step counter. */
export function adam(shapes: readonly number[][]): TestGraph {
  const count = ops.input('count', [])
  const rate = ops.input('rate', [])
  const inputs = [count, rate]
  const next = ops.add(count, 1)
  const outputs: PlanOutput[] = [{ tensor: next, alias: 0 }]
  const correction = (beta: number) => ops.sub(1, ops.exp(ops.mul(next, Math.log(beta))))
  const [c1, c2] = [correction(0.9), correction(0.999)]
  shapes.forEach((shape, i) => {
    const [p, m, v, g] = ['p', 'm', 'v', 'g'].map((n) => ops.input(`${n}${i}`, shape)) as [
      Tensor,
      Tensor,
      Tensor,
      Tensor,
    ]
    inputs.push(p, m, v, g)
    const m2 = ops.add(ops.mul(m, 0.9), ops.mul(g, 0.1))
    const v2 = ops.add(ops.mul(v, 0.999), ops.mul(ops.square(g), 0.001))
    const direction = ops.div(ops.div(m2, c1), ops.add(ops.sqrt(ops.div(v2, c2)), 1e-8))
    const at = inputs.length - 4
    outputs.push({ tensor: ops.sub(p, ops.mul(rate, direction)), alias: at })
    outputs.push({ tensor: m2, alias: at + 1 }, { tensor: v2, alias: at + 2 })
  })
  return { inputs, outputs }
}
