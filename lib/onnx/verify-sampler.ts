/**
 * Runs a sampler's file in ONNX Runtime and the same chain natively, and compares. Two correct chains part where the dynamics are chaotic or a proposal is
 * accepted by one alone, so as many steps are compared as leave a slightly moved start near.
 */
import { LangevinError } from '../graph/errors.ts'
import { type HostTensor, hostTensor } from '../graph/host-tensor.ts'
import { type Shape, sizeOf } from '../graph/shape.ts'
import type { Model } from '../nn/model.ts'
import type { DiscreteValues, Network } from '../nn/network.ts'
import { HostRandom } from '../runtime/host-random.ts'
import { partsOf } from '../samplers/starts.ts'
import { numbersOf, readOnnxFile } from './import-file.ts'
import type { Precision } from './metadata.ts'
import { type ChainFeeds, NativeChain, type NativeRun, stacked } from './native-chain.ts'
import { type SamplerDescription, specOfDescription } from './sampler-description.ts'
import { START_TENSOR } from './sampler-graph.ts'
import { openSampler, type SamplerFeeds, type SamplerSession } from './sampler-session.ts'
import type { SamplerSpec } from './sampler-trace.ts'
import { compareOutputs, type OutputCheck, type Tolerance, type Verification } from './verify.ts'

export interface VerifySamplerOptions {
  /** Tensors of class Gaussians that the start draws from, as they were given to `exportSampler`; default those of the file. */
  readonly tensors?: ReadonlyMap<string, HostTensor>
  /** Default 1 and 7: neither is a size that the exporter traced. */
  readonly batches?: readonly number[]
  /** At most so many steps are compared. Default 20; 5 transitions, for NUTS. */
  readonly steps?: number
  readonly seed?: number
  /** Threads of ONNX Runtime. Default: its own choice. */
  readonly threads?: number
  /** Limits by output, `default` for the others, in place of those below. */
  readonly tolerance?: Tolerance
  readonly signal?: AbortSignal
}

/** What may differ, by the file's precision; parts of the largest magnitude. */
interface Limits {
  /** Points and acceptance. */
  readonly points: number
  readonly energies: number
  /** A start moved by this part of its size ... */
  readonly nudge: number
  /** ... may be that far off in the end, or fewer steps are compared. */
  readonly calm: number
}

const limitsOf: Readonly<Record<Precision, Limits>> = {
  float32: { points: 1e-4, energies: 1e-4, nudge: 1e-6, calm: 1e-5 },
  float16: { points: 3e-2, energies: 1e-2, nudge: 1e-3, calm: 3e-3 },
}

/**
 * Compares a file of {@link exportSampler} with the native chain: points and acceptance after up to 20 steps to 1e-4 of the largest magnitude (with
 * `random: 'runtime'` only that they are finite where the native ones are), energies with the model's energies of the file's points to 1e-4. Where a
 * start moved by 1e-6 ends more than 1e-5 away, fewer steps are compared (5, then 1); where that happens in one step, ten times what it
 * was off passes, up to a hundred times the limit. A file of float16 may be off by 3e-2 in its points and 1e-2 in energies; where it accepts and
 * refuses, which a rounding may turn, points are only to be finite.
 * @throws LangevinError E_ONNX when onnxruntime-node is missing or refuses the file, E_IO
 */
export async function verifySampler(
  path: string,
  model: Model,
  description: SamplerDescription,
  options: VerifySamplerOptions = {},
): Promise<Verification> {
  const spec = specOfDescription(description, options.tensors ?? (await startTensors(path, description)))
  const session = await openSampler(path, options.threads)
  try {
    const outputs: OutputCheck[] = []
    for (const batch of options.batches ?? [1, 7]) {
      options.signal?.throwIfAborted()
      const chain = await NativeChain.make(model, spec, batch)
      try {
        outputs.push(...(await compareChain({ session, chain, model, spec, description, batch, options })))
      } finally {
        chain.dispose()
      }
    }
    return { outputs, ok: outputs.length > 0 && outputs.every((o) => o.ok) }
  } finally {
    await session.release()
  }
}

/** Means and factors of a start as the file itself holds them. */
async function startTensors(path: string, { start }: SamplerDescription): Promise<Map<string, HostTensor> | undefined> {
  if (start === 'input' || !partsOf(start.options).some((p) => p.kind === 'classGaussians')) return undefined
  const file = await readOnnxFile(path)
  const found = new Map<string, HostTensor>()
  for (const t of file.model.graph?.initializer ?? []) {
    if (!t.name.startsWith(START_TENSOR)) continue
    const { data, shape } = await numbersOf(file, t)
    found.set(t.name.slice(START_TENSOR.length), hostTensor(data, shape))
  }
  return found
}

interface Comparison {
  readonly session: SamplerSession
  readonly chain: NativeChain
  readonly model: Model
  readonly spec: SamplerSpec
  readonly description: SamplerDescription
  readonly batch: number
  readonly options: VerifySamplerOptions
}

async function compareChain(c: Comparison): Promise<OutputCheck[]> {
  const { session, spec, batch, model } = c
  const { seed = 5 } = c.options
  const feeds = feedsFor(c, new HostRandom(batch))
  const limits = limitsOf[c.description.precision]
  const { run, steps, tolerance } = await calmRun(c, limits, feeds, seed)
  const got = await session.run({ ...fedBy(feeds), seed, steps, ...noiseOf(run) })
  const result = (name: string): HostTensor => {
    const t = got.get(name)
    if (t === undefined)
      throw new LangevinError('E_ONNX', `[onnx] the sampler has no output '${name}'; export it again`)
    return t
  }
  const asked = c.options.tolerance
  const check = (name: string, have: HostTensor, want: HostTensor, own: number): OutputCheck => {
    const limit = asked?.[name] ?? asked?.default ?? own
    const { maxAbs, maxRel } = compareOutputs(have, want)
    return { name, batch, maxAbs, maxRel, tolerance: limit, ok: maxRel <= limit }
  }
  const energies = async (x: HostTensor): Promise<HostTensor> =>
    model.evaluate('energy', x, spec.sigma === undefined ? {} : { sigma: spec.sigma })
  const samples = result('samples')
  // What the runtime draws cannot be known: then points need only be finite where the native ones are.
  const turned = c.description.precision === 'float16' && run.acceptance !== undefined
  const drawn = turned || (spec.random === 'runtime' && c.chain.random)
  const checks = [
    drawn
      ? check('samples', finiteness(samples), finiteness(run.samples), 0)
      : check('samples', samples, run.samples, tolerance),
    check('energies', result('energies'), await energies(samples), limits.energies),
  ]
  if (run.acceptance !== undefined && !drawn)
    checks.push(check('acceptance', result('acceptance'), run.acceptance, tolerance))
  if (spec.trajectory) {
    const points = result('trajectory')
    const flat = (t: HostTensor, shape: Shape) => hostTensor(t.data, shape)
    const native = stacked(run.trajectory, [steps]) as HostTensor
    const rows = [steps * batch, ...model.network.shape]
    const trace = result('energy_trace')
    checks.push(
      drawn
        ? check('trajectory', finiteness(points), finiteness(native), 0)
        : check('trajectory', points, native, tolerance),
      check('energy_trace', flat(trace, [steps * batch]), await energies(flat(points, rows)), limits.energies),
    )
  }
  return checks
}

/** 1 where a number is finite, else 0. */
function finiteness({ data, shape }: HostTensor): HostTensor {
  return hostTensor(
    Float32Array.from(data, (v) => (Number.isFinite(v) ? 1 : 0)),
    shape,
  )
}

/** The native run over as many steps as a moved start stays near for, and what its points may differ by. */
async function calmRun(
  { chain, spec, options }: Comparison,
  limits: Limits,
  feeds: ChainFeeds,
  seed: number,
): Promise<{ run: NativeRun; steps: number; tolerance: number }> {
  const longest = options.steps ?? (spec.sampler.transitions === undefined ? 20 : 5)
  const lengths = [longest, ...[5, 1].filter((s) => s < longest)]
  const random = new HostRandom(1)
  const nudge = ({ data, shape }: HostTensor): HostTensor => {
    const size = (data as Float32Array).reduce((m, v) => Math.max(m, Math.abs(v)), 0)
    return hostTensor(
      Float32Array.from(data, (v) => v + limits.nudge * size * (2 * random.uniform() - 1)),
      shape,
    )
  }
  for (const [i, steps] of lengths.entries()) {
    const run = await chain.run(feeds, seed, steps)
    const moved = await chain.run(feeds, seed, steps, nudge)
    const off = compareOutputs(moved.samples, run.samples).maxRel
    if (off <= limits.calm) return { run, steps, tolerance: limits.points }
    if (i === lengths.length - 1) {
      const most = Math.min(100 * limits.points, 10 * off)
      return { run, steps, tolerance: Math.max(limits.points, most) }
    }
  }
  throw new LangevinError('E_INTERNAL', 'internal: no number of steps to compare')
}

/** Points to start at or classes to start from, and the settings' defaults. */
function feedsFor({ model, spec, description, batch }: Comparison, random: HostRandom): ChainFeeds {
  const { network } = model
  const feeds = new Map<string, HostTensor>()
  const scalars = ['step_size', 'noise_scale'].filter((name) => description.inputs.includes(name))
  for (const name of scalars) feeds.set(name, hostTensor(Float32Array.of(description.defaults[name] ?? 0), []))
  if (description.inputs.includes('x0')) feeds.set('x0', startFor(spec, network, batch, random))
  if (description.inputs.includes('y')) {
    const known = Math.max(1, network.classes)
    // Of a start of its own, some classes are left to chance.
    const lowest = description.start === 'input' ? 0 : -1
    const classes = Int32Array.from({ length: batch }, () => lowest + random.int(known - lowest))
    feeds.set('y', hostTensor(classes, [batch]))
  }
  return feeds
}

function startFor({ sampler }: SamplerSpec, network: Network, batch: number, random: HostRandom): HostTensor {
  const shape = [batch, ...network.shape]
  const { start } = sampler
  const each = (draw: () => number) => hostTensor(Float32Array.from({ length: sizeOf(shape) }, draw), shape)
  if (network.discrete !== undefined) return discreteStart(network.discrete, shape, random)
  if (start?.kind === 'normal') return each(() => (start.mean ?? 0) + (start.std ?? 1) * random.normal())
  return each(() => 2 * random.uniform() - 1)
}

function discreteStart(values: DiscreteValues, shape: Shape, random: HostRandom): HostTensor {
  const size = sizeOf(shape)
  if (values !== 'oneHot')
    return hostTensor(
      Float32Array.from({ length: size }, () => values[random.int(2)] as number),
      shape,
    )
  const k = shape.at(-1) as number
  const data = new Float32Array(size)
  for (let at = 0; at < size; at += k) data[at + random.int(k)] = 1
  return hostTensor(data, shape)
}

function fedBy(feeds: ChainFeeds): Omit<SamplerFeeds, 'steps'> {
  const scalar = (name: string) => feeds.get(name)?.data[0]
  const [x0, y, stepSize, noiseScale] = [feeds.get('x0'), feeds.get('y'), scalar('step_size'), scalar('noise_scale')]
  return {
    ...(x0 && { x0 }),
    ...(y && { y }),
    ...(stepSize !== undefined && { step_size: stepSize }),
    ...(noiseScale !== undefined && { noise_scale: noiseScale }),
  }
}

function noiseOf({ noise, initNoise }: NativeRun): Partial<SamplerFeeds> {
  return { ...(noise && { noise }), ...(initNoise && { init_noise: initNoise }) }
}
