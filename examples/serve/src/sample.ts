/** The sampler of a bundle as a service: a whole chain is one run of sampler.onnx, in a lane of its own, so that classification goes on beside it. */
import { randomInt } from 'node:crypto'
import type { Bundle, SamplerInfo } from './bundle.ts'
import { Fields } from './check.ts'
import { Engine, type Feed } from './engine.ts'
import { ServeError, StartError, show } from './errors.ts'
import { Lane } from './lane.ts'
import type { ServeMetrics } from './metrics.ts'
import { normals } from './normals.ts'
import type { ServeOptions } from './options.ts'
import { sizeOf } from './rows.ts'
import { Units } from './units.ts'

/** What a client asks for. */
export interface SampleRequest {
  readonly count: number
  /** Index of a class; undefined draws one at random for every sample. */
  readonly label: number | undefined
  readonly steps: number | undefined
  readonly stepSize: number | undefined
  readonly noiseScale: number | undefined
  readonly seed: number
}

export interface Samples {
  /** [count, ...shape] in the model's units. */
  readonly values: Float32Array
  /** E of each sample; generators give none. */
  readonly energies: Float32Array | undefined
  /** What was fed, with defaults. */
  readonly used: Readonly<Record<string, number>>
}

/** Inputs that this service can feed: those of chains, and the noise of generators (`z` and, added to what is generated, `epsilon`). */
const known = ['y', 'steps', 'step_size', 'noise_scale', 'seed', 'z', 'epsilon']

export class Sampling {
  readonly engine: Engine
  readonly lane: Lane
  readonly #bundle: Bundle
  readonly #info: SamplerInfo
  readonly #units: Units
  readonly #options: ServeOptions
  readonly #metrics: ServeMetrics
  readonly #outputs: readonly string[]

  private constructor(bundle: Bundle, info: SamplerInfo, engine: Engine, options: ServeOptions, metrics: ServeMetrics) {
    this.engine = engine
    this.lane = new Lane(options.sampleQueue)
    this.#bundle = bundle
    this.#info = info
    this.#units = new Units(bundle.input)
    this.#options = options
    this.#metrics = metrics
    this.#outputs = info.inputs.includes('z') ? ['sample'] : ['samples', 'energies']
  }

  /** Opens the sampler. @throws StartError E_BUNDLE when it needs what no client can send, or a default is missing. */
  static async open(
    bundle: Bundle,
    info: SamplerInfo,
    options: ServeOptions,
    metrics: ServeMetrics,
  ): Promise<Sampling> {
    const engine = await Engine.open(info.path, options.samplerThreads)
    try {
      checkPorts(info, engine)
    } catch (error) {
      await engine.close()
      throw error
    }
    return new Sampling(bundle, info, engine, options, metrics)
  }

  /** Checks a request's body. @throws ServeError E_VALUE that names the field. */
  read(body: unknown): SampleRequest {
    const fields = new Fields(body, '', (refusal) => new ServeError('E_VALUE', refusal))
    const { maxSamples, maxSteps } = this.#options
    const count = fields.integer('count', { least: 1, most: maxSamples, remedy: 'Ask several times for more' }) ?? 1
    const label = this.#label(fields)
    const steps = this.#optional(fields, 'steps', 'steps', () => fields.integer('steps', { least: 1, most: maxSteps }))
    const positive = (name: string) => () => {
      const value = fields.number(name, { least: 0, most: 3e38 })
      if (value === 0 && name === 'stepSize') throw fields.wrong(name, 'a positive number')
      return value
    }
    const stepSize = this.#optional(fields, 'stepSize', 'step_size', positive('stepSize'))
    const noiseScale = this.#optional(fields, 'noiseScale', 'noise_scale', positive('noiseScale'))
    const drawn = this.#info.inputs.includes('z') ? 'z' : 'seed'
    const seed = this.#optional(fields, 'seed', drawn, () =>
      fields.integer('seed', { least: 0, most: Number.MAX_SAFE_INTEGER }),
    )
    fields.done()
    return { count, label, steps, stepSize, noiseScale, seed: seed ?? randomInt(2 ** 47) }
  }

  /** Runs a chain, or a generator once. The job waits for its turn; when `signal` is aborted while it waits, it is not run at all. */
  draw(request: SampleRequest, signal?: AbortSignal): Promise<Samples> {
    const { count } = request
    const { feeds, used } = feedsOf(request, this.#info, this.#bundle)
    return this.lane.run(async () => {
      const begun = performance.now()
      const outputs = await this.engine.run(feeds, this.#outputs)
      this.#metrics.samples(count, (performance.now() - begun) / 1000)
      const [values, energies] = outputs.map((o) => o.data)
      if (values?.length !== count * this.#units.size)
        throw new ServeError('E_MODEL', { what: `the sampler gave ${values?.length} numbers for ${count} samples` })
      const wild = values.findIndex((v) => !Number.isFinite(v))
      if (wild >= 0) throw diverged(values[wild], used)
      return { values, energies, used }
    }, signal)
  }

  /** Samples in the units of the data. */
  raw(values: Float32Array): Float32Array {
    return this.#units.toRaw(Float32Array.from(values))
  }

  /** A class by name (text) or by index (a number); null and none draw at random. */
  #label(fields: Fields): number | undefined {
    const { classes } = this.#bundle
    const value = this.#optional(fields, 'class', 'y', () => fields.raw('class'))
    if (value === undefined) return undefined
    const at = typeof value === 'string' ? classes.indexOf(value) : value
    if (Number.isInteger(at) && (at as number) >= 0 && (at as number) < classes.length) return at as number
    const names = classes.slice(0, 20).map(show).join(', ')
    throw fields.wrong(
      'class',
      classes.length === 0
        ? 'none: this model has no classes'
        : `a name, one of ${names}${classes.length > 20 ? ', ...' : ''}, or an index in 0..${classes.length - 1}`,
    )
  }

  /** A field that only samplers with that input have. */
  #optional<T>(fields: Fields, name: string, input: string, read: () => T | undefined): T | undefined {
    if (this.#info.inputs.includes(input)) return read()
    if (fields.has(name)) throw fields.wrong(name, `no such field: this sampler has no input ${input}`)
    return undefined
  }
}

/** What a run is fed, and the settings that it stands for. */
function feedsOf(
  request: SampleRequest,
  info: SamplerInfo,
  { input }: Bundle,
): { feeds: Feed[]; used: Record<string, number> } {
  const { count, label = -1, seed } = request
  const used: Record<string, number> = {}
  const scalar = (name: string, asked: number | undefined): number => {
    used[name] = asked ?? (info.defaults[name] as number)
    return used[name]
  }
  const float = (name: string, asked: number | undefined) => () => ({
    name,
    dims: [],
    data: Float32Array.of(scalar(name, asked)),
  })
  const long = (name: string, asked: number | undefined) => () => ({
    name,
    dims: [],
    data: BigInt64Array.of(BigInt(scalar(name, asked))),
  })
  const normal = (name: string, shape: readonly number[], stream: number) => () => {
    used.seed = seed
    return { name, dims: [count, ...shape], data: normals(count * sizeOf(shape), seed, stream) }
  }
  const makers: Readonly<Record<string, () => Feed>> = {
    y: () => ({ name: 'y', dims: [count], data: new Int32Array(count).fill(label) }),
    steps: long('steps', request.steps),
    step_size: float('step_size', request.stepSize),
    noise_scale: float('noise_scale', request.noiseScale),
    seed: long('seed', seed),
    z: normal('z', info.latent ?? input.shape, 0),
    epsilon: normal('epsilon', input.shape, 1),
  }
  const feeds = info.inputs.map((name) => makers[name]?.()).filter((feed) => feed !== undefined)
  return { feeds, used }
}

function diverged(value: unknown, used: Readonly<Record<string, number>>): ServeError {
  return new ServeError('E_VALUE', {
    what: 'a number of the samples',
    value,
    expected: 'finite numbers',
    remedy: `The chain diverged with ${Object.entries(used)
      .map(([k, v]) => `${k} ${v}`)
      .join(', ')}: ask for smaller steps`,
  })
}

function checkPorts({ path, inputs, outputs, defaults }: SamplerInfo, { opened }: Engine): void {
  const wrong = (why: string) =>
    new StartError('E_BUNDLE', `'${path}': ${why}. Export the bundle again, or start with --no-sampler`)
  const there = opened.inputs.map((i) => i.name)
  const foreign = there.find((name) => !known.includes(name))
  if (foreign !== undefined)
    throw wrong(
      `takes an input '${foreign}'; this service feeds ${known.join(', ')} (a chain with its starts in the file and a seed, or a generator)`,
    )
  if (there.toSorted().join() !== inputs.toSorted().join())
    throw wrong(`takes ${there.join(', ')}; langevin.json says ${inputs.join(', ')}`)
  const generator = inputs.includes('z')
  if (!generator && !inputs.includes('y')) throw wrong("takes no 'y', whose length is the number of samples")
  for (const name of generator ? ['sample'] : ['samples', 'energies']) {
    const port = opened.outputs.find((o) => o.name === name)
    if (port === undefined || !outputs.includes(name)) throw wrong(`has no output '${name}'`)
    if (port.type !== 'float32') throw wrong(`output '${name}' is ${port.type}; expected float32`)
  }
  for (const name of ['steps', 'step_size', 'noise_scale'])
    if (inputs.includes(name) && defaults[name] === undefined)
      throw wrong(`langevin.json gives no default of '${name}'`)
}
