/** What the trainer tests share: small data, networks and options, one thread (no barriers on a loaded machine), and ways to look at a run. */
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { Dataset } from '../../lib/data/dataset.ts'
import { digits } from '../../lib/data/standard.ts'
import { type EventRow, type MetricsRow, parseMetrics } from '../../lib/evaluation/metrics-row.ts'
import { hostTensor, type TypedArray } from '../../lib/graph/host-tensor.ts'
import { convEnergy, mlp, wideResNet } from '../../lib/nn/models.ts'
import { setThreads } from '../../lib/runtime/addon.ts'
import { HostRandom } from '../../lib/runtime/host-random.ts'
import { readSafetensors } from '../../lib/runtime/safetensors.ts'
import { CHECKPOINT_FILE } from '../../lib/trainers/checkpoint.ts'
import { METRICS_FILE } from '../../lib/trainers/fit.ts'
import type { JemOptions } from '../../lib/trainers/jem.ts'
import type { FitOptions } from '../../lib/trainers/options.ts'
import type { Trainer } from '../../lib/trainers/trainer.ts'

setThreads(1)

export { temporaryFolder as folder } from '../dist.ts'

/** The first digits of the shipped set: [1, 8, 8], ten classes. */
export const someDigits = async (count = 100): Promise<Dataset> => (await digits()).take(count)

/** Two blobs in the plane, labelled or not, within [-1, 1]. */
export function blobs(count = 64, labelled = true): Dataset {
  const random = new HostRandom(5)
  const labels = Int32Array.from({ length: count }, (_, i) => i % 2)
  const centre = [-0.5, 0.5]
  const rows = Float32Array.from({ length: 2 * count }, (_, i) =>
    Math.max(-1, Math.min(1, (centre[Math.floor(i / 2) % 2] as number) + 0.1 * random.normal())),
  )
  return new Dataset({
    name: 'blobs',
    features: hostTensor(rows, [count, 2]),
    ...(labelled ? { labels, classes: 2 } : {}),
  })
}

export const resNet = (seed = 1) => wideResNet({ depth: 10, width: 1, channels: 1, size: 8, seed })
export const convNet = (classes = 10) => convEnergy({ shape: [1, 8, 8], channels: [4], classes, seed: 2 })
export const plane = (classes = 2) => mlp({ inputs: 2, hidden: [8], classes, seed: 3 })

/** A chain of two cheap steps, a small buffer. */
export const small: JemOptions = {
  batch: 8,
  sampler: { kind: 'sgld', steps: 2, stepSize: 0.1, noise: 0.01, bounds: [-1, 1] },
  buffer: { size: 40, start: { kind: 'uniform' } },
  schedule: { kind: 'constant' },
}

export const smallPlusPlus: JemOptions = {
  ...small,
  sampler: { kind: 'pyld', outer: 2, inner: 3 },
  optimizer: { kind: 'sgd', learningRate: 0.02, momentum: 0.9, weightDecay: 4e-4 },
  schedule: { kind: 'step', milestones: [1, 2], gamma: 0.5, warmup: 5 },
}

export interface Watched {
  readonly rows: MetricsRow[]
  readonly events: EventRow[]
}

/** Runs fit to its end. */
export async function fitAll(
  trainer: Pick<Trainer, 'fit'>,
  data: Dataset,
  options: FitOptions & { onRow?: (row: MetricsRow) => void } = {},
): Promise<Watched> {
  const rows: MetricsRow[] = []
  const events: EventRow[] = []
  const { onRow, ...fit } = options
  for await (const row of trainer.fit(data, { ...fit, onEvent: (e) => void events.push(e) })) {
    rows.push(row)
    onRow?.(row)
  }
  return { rows, events }
}

/** Digests of the tensors of a run folder's checkpoint, their names, and the run's description. */
export async function checkpointOf(out: string) {
  const { tensors, metadata } = await readSafetensors(join(out, CHECKPOINT_FILE))
  const digest = (d: TypedArray) =>
    createHash('sha1')
      .update(new Uint8Array(d.buffer, d.byteOffset, d.byteLength))
      .digest('hex')
  const bits = Object.fromEntries([...tensors].map(([name, t]) => [name, digest(t.data)]))
  return {
    bits,
    names: [...tensors.keys()].sort(),
    run: JSON.parse(metadata.run as string) as { step: number; recoveries: number },
  }
}

export const metricsOf = (out: string) => parseMetrics(readFileSync(join(out, METRICS_FILE), 'utf8'))

/** What a promise was rejected with; fails where it was not. */
export async function rejection(
  promise: Promise<unknown>,
): Promise<Error & { code?: string; details?: Record<string, unknown> }> {
  try {
    await promise
  } catch (error) {
    return error as Error & { code?: string }
  }
  throw new Error('expected a rejection')
}
