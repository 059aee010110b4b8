/** Networks against PyTorch: logits, energy, ∂E/∂x and parameter gradients, in both norm modes (test/golden/generate.py). */

import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { grad } from '../../lib/autodiff/index.ts'
import { type HostTensor, hostTensor } from '../../lib/graph/host-tensor.ts'
import type { Tensor } from '../../lib/graph/tensor.ts'
import { wideResNetNetwork } from '../../lib/nn/networks.ts'
import { Variables } from '../../lib/nn/variables.ts'
import * as ops from '../../lib/ops/index.ts'
import { compileGraph } from '../../lib/runtime/compile.ts'
import { testDevice } from '../device.ts'
import { type Digest, digest, digestError, pattern, patternWeights, relativeError } from '../golden/pattern.ts'

interface Case {
  depth: number
  width: number
  norm: 'none' | 'batch' | 'layer' | 'instance' | 'group'
  channels: number
  size: number
  mode: 'train' | 'eval'
  labels: number[]
  logits: { data: number[] }
  energy: { data: number[] }
  inputGradient: { data: number[] }
  loss: number
  gradients: Record<string, Digest>
}

const golden = JSON.parse(readFileSync(new URL('../golden/networks.json', import.meta.url), 'utf8')) as {
  cases: Case[]
}

async function compute(c: Case) {
  const network = wideResNetNetwork({
    depth: c.depth,
    width: c.width,
    norm: c.norm,
    channels: c.channels,
    size: c.size,
  })
  const weights = patternWeights(network)
  const x = ops.input('x', [4, c.channels, c.size, c.size], 'float32')
  const y = ops.input('y', [4], 'int32')
  const variables = new Variables()
  const logits = network.logits(x, { variables, norm: c.mode === 'train' ? 'batch' : 'running' })
  const energy = network.energyOf(logits)
  const [gx] = grad(ops.sum(energy), [x])
  const loss = ops.add(ops.mean(ops.softmaxCrossEntropy(logits, y)), ops.mul(ops.mean(energy), 0.5))
  const names = network.variables.filter((v) => v.role === 'parameter').map((v) => v.name)
  const gradients = grad(
    loss,
    names.map((n) => variables.tensor(n)),
  )
  const all = network.variables.map((v) => v.name)
  const outputs = [logits, energy, gx as Tensor, loss, ...gradients].map((tensor) => ({ tensor }))
  const plan = await compileGraph(testDevice, [x, y, ...all.map((n) => variables.tensor(n))], outputs)
  const feeds = [
    pattern(x.shape, 500, 0.9),
    hostTensor(Int32Array.from(c.labels), [4]),
    ...all.map((n) => weights.get(n) as HostTensor),
  ]
  const results = await plan.call(feeds)
  plan.dispose()
  return { results, names }
}

describe('wide residual networks agree with PyTorch to 1e-4', () => {
  for (const c of golden.cases) {
    test(`depth ${c.depth}, width ${c.width}, norm ${c.norm}, ${c.channels}x${c.size}x${c.size}, ${c.mode}`, async () => {
      const { results, names } = await compute(c)
      const [logits, energy, gx, loss, ...gradients] = results as [
        HostTensor,
        HostTensor,
        HostTensor,
        HostTensor,
        ...HostTensor[],
      ]
      expect(relativeError(logits.data, c.logits.data)).toBeLessThan(1e-4)
      expect(relativeError(energy.data, c.energy.data)).toBeLessThan(1e-4)
      expect(relativeError(gx.data, c.inputGradient.data)).toBeLessThan(1e-4)
      expect(Math.abs((loss.data[0] as number) - c.loss) / Math.abs(c.loss)).toBeLessThan(1e-4)
      expect(names.length).toBe(Object.keys(c.gradients).length)
      // A bias before a train-mode norm has a gradient of exactly zero; what is left there is rounding, so errors are held against the largest norm.
      const largest = Math.max(...Object.values(c.gradients).map((d) => d.norm))
      names.forEach((name, i) => {
        const want = c.gradients[name] as Digest
        const got = digest(gradients[i] as HostTensor)
        if (want.norm < 1e-4 * largest) expect(got.norm, name).toBeLessThan(2e-4 * largest)
        else
          expect(digestError(got, want, (gradients[i] as HostTensor).data.length), name).toBeLessThan(
            1e-4 * Math.max(1, (0.05 * largest) / want.norm),
          )
      })
    })
  }
})
