/** A made-up run for the report's tests: curves, a divergence with recovery, an evaluation of a known density. */
import { encode } from 'fast-png'
import { type Evaluation, evaluateModel } from '../../lib/evaluation/evaluate.ts'
import type { EventRow, MetricsRow } from '../../lib/evaluation/metrics-row.ts'
import type { ReportInput } from '../../lib/evaluation/report.ts'
import { type HostTensor, hostTensor } from '../../lib/graph/host-tensor.ts'
import { floats, normals, uniforms } from './random.ts'

/** `count` rows, one each `every` steps. */
export function someRows(count: number, every = 1): MetricsRow[] {
  const next = normals(1)
  return Array.from({ length: count }, (_, i) => {
    const step = (i + 1) * every
    const progress = i / Math.max(1, count - 1)
    const data = -12 - 20 * progress + next()
    const gap = 1.5 * Math.exp(-3 * progress) + 0.4 * next()
    const crossEntropy = 0.05 + 2.2 * Math.exp(-8 * progress) + 0.03 * Math.abs(next())
    return {
      step,
      epoch: step / 20,
      seconds: step / 11,
      loss: crossEntropy + gap,
      crossEntropy,
      energyData: data,
      energyNegatives: data + gap,
      energyGap: gap,
      chainDrift: -3 + next(),
      accuracy: Math.min(1, 1 - 0.85 * Math.exp(-7 * progress) + 0.02 * next()),
      gradientNorm: Math.exp(1.5 + 0.4 * next()) * (i % 97 === 96 ? 60 : 1),
      learningRate: 0.1 * Math.min(1, step / (50 * every)) * (progress > 0.7 ? 0.2 : 1),
      stepsPerSecond: 11 + 0.5 * next(),
      bufferAge: 40 * progress,
    }
  })
}

/** Ten classes on a plane: clusters on a circle, energy and logits of the true mixture with a temperature error. */
export async function someEvaluation(): Promise<Evaluation> {
  const u = uniforms(5)
  const next = normals(6)
  const centre = (k: number, axis: number) => 2 * (axis === 0 ? Math.cos : Math.sin)((2 * Math.PI * k) / 10)
  const labels = Int32Array.from({ length: 600 }, () => Math.floor(u() * 10))
  const draw = (y: Int32Array) =>
    hostTensor(
      floats(
        2 * y.length,
        (
          (i = 0) =>
          () =>
            centre(y[i >> 1] ?? 0, i++ % 2) + 0.3 * next()
        )(),
      ),
      [y.length, 2],
    )
  const logits = (x: HostTensor) => {
    const rows = x.shape[0] ?? 0
    const out = new Float32Array(rows * 10)
    for (let i = 0; i < out.length; i++) {
      const [a = 0, b = 0] = x.data.subarray(2 * Math.floor(i / 10))
      out[i] = -((a - centre(i % 10, 0)) ** 2 + (b - centre(i % 10, 1)) ** 2) * 2.5
    }
    return hostTensor(out, [rows, 10])
  }
  const energy = (x: HostTensor) => {
    const l = logits(x).data
    return Float32Array.from({ length: x.shape[0] ?? 0 }, (_, i) => {
      let s = 0
      for (let k = 0; k < 10; k++) s += Math.exp(l[i * 10 + k] ?? 0)
      return Math.min(60, -Math.log(s))
    })
  }
  const uniform = (n: number, scale: number) =>
    hostTensor(
      floats(2 * n, () => scale * (2 * u() - 1)),
      [n, 2],
    )
  return evaluateModel(
    {
      shape: [2],
      classes: 10,
      logits: async (x) => logits(x),
      energy: async (x) => energy(x),
      score: async (x) =>
        hostTensor(
          Float32Array.from(x.data, (v) => -v),
          x.shape,
        ),
    },
    {
      test: { x: draw(labels), labels },
      ood: new Map([
        ['uniform', uniform(300, 4)],
        ['centre', uniform(300, 0.8)],
      ]),
      samples: draw(labels.slice(0, 200)),
    },
  )
}

/** A 2 x 3 grid of 8 x 8 patterns with a line between. */
export function someGrid(): Uint8Array {
  const [width, height] = [3 * 9 + 1, 2 * 9 + 1]
  const data = Uint8Array.from({ length: width * height }, (_, i) => {
    const [x, y] = [i % width, Math.floor(i / width)]
    return x % 9 === 0 || y % 9 === 0 ? 40 : (x * 37 + y * 71 + x * y * 13) % 256
  })
  return encode({ width, height, data, channels: 1, depth: 8 })
}

export const someEvents: EventRow[] = [
  { event: 'checkpoint', step: 100, file: 'step-100.safetensors' },
  { event: 'recovered', step: 310, guard: 'loss', value: 3.2e9, limit: 1e8, from: 300 },
  { event: 'resumed', step: 420 },
]

/** Everything a report can hold. */
export async function wholeReport(): Promise<ReportInput> {
  return {
    title: 'JEM++ on digits',
    config: {
      method: 'jem++',
      model: { name: 'wide-resnet', depth: 10, width: 2, channels: [1, 16, 32] },
      sampler: { outer: 5, inner: 5, stepSize: 0.2, clamp: [-1, 1] },
      note: '',
    },
    metrics: someRows(500),
    events: someEvents,
    evaluation: await someEvaluation(),
    samplesPng: someGrid(),
    environment: { version: '0.1.0', node: 'v20', threads: 2, seed: 1 },
  }
}
