/** The classifier and energy of a bundle as a service: raw examples in, probabilities, log p(x) and flags out. Runs are gathered by the batcher. */
import { Batcher } from './batcher.ts'
import type { Bundle } from './bundle.ts'
import { Engine, type Output, type Port } from './engine.ts'
import { reasonOf, ServeError, StartError } from './errors.ts'
import type { ServeMetrics } from './metrics.ts'
import type { ServeOptions } from './options.ts'
import { Units } from './units.ts'

export interface AnswerOptions {
  /** Only the k most probable classes. */
  readonly top: number | undefined
  readonly logits: boolean
}

/** What is said about one example. */
export interface Prediction {
  label?: string
  probability?: number
  probabilities?: Record<string, number>
  logits?: number[]
  /** log p(x) in the model's units, up to the constant log Z unless `normalised`. */
  logProb: number
  outOfDistribution: { readonly flag: boolean; readonly threshold: number } | null
}

export class Classifier {
  readonly engine: Engine
  readonly batcher: Batcher
  /** Whether `logProb` is a normalised density (flows). */
  readonly normalised: boolean
  readonly #bundle: Bundle
  readonly #units: Units
  readonly #outputs: readonly string[]
  readonly #metrics: ServeMetrics

  private constructor(bundle: Bundle, engine: Engine, options: ServeOptions, metrics: ServeMetrics) {
    this.engine = engine
    this.#bundle = bundle
    this.#metrics = metrics
    this.#units = new Units(bundle.input)
    this.#outputs = outputsOf(bundle, engine)
    this.normalised = this.#outputs.includes('log_prob')
    const run = async (rows: Float32Array, count: number) => (await this.#run(rows, count)).map((o) => o.data)
    this.batcher = new Batcher(run, {
      width: this.#units.size,
      maxBatch: options.maxBatch,
      maxDelay: options.batching ? options.maxDelay : 0,
      queue: options.queue,
      merge: options.batching,
      onBatch: (rows, requests, seconds) => metrics.batch(rows, requests, seconds),
    })
  }

  /** Opens the model and runs it once on zeros. @throws StartError E_BUNDLE when the file does not do what langevin.json says. */
  static async open(bundle: Bundle, options: ServeOptions, metrics: ServeMetrics): Promise<Classifier> {
    const engine = await Engine.open(bundle.model.path, options.threads)
    try {
      checkInput(bundle, engine)
      const classifier = new Classifier(bundle, engine, options, metrics)
      await classifier.#tryOut()
      return classifier
    } catch (error) {
      await engine.close()
      throw error
    }
  }

  /** Answers for `rows` of raw units, which are overwritten. @throws ServeError of the batcher and the engine. */
  async answer(rows: Float32Array, options: AnswerOptions, signal?: AbortSignal): Promise<Prediction[]> {
    const columns = await this.batcher.submit(this.#units.toModel(rows), signal)
    const column = (name: string) => columns[this.#outputs.indexOf(name)]
    const { classes, outOfDistribution: ood } = this.#bundle
    const logits = column('logits')
    const logProb = column('log_prob') ?? column('log_prob_unnormalized') ?? column('energy')?.map((e) => -e)
    const score = ood && (column(ood.score) as Float32Array)
    const predictions = Array.from({ length: rows.length / this.#units.size }, (_, i): Prediction => {
      const own = logits?.subarray(i * classes.length, (i + 1) * classes.length)
      checkFinite(i, logProb?.[i], own)
      return {
        ...(own ? classesOf(own, classes, options) : {}),
        logProb: logProb?.[i] as number,
        outOfDistribution:
          ood && score ? { flag: (score[i] as number) < ood.threshold, threshold: ood.threshold } : null,
      }
    })
    this.#metrics.examples(predictions.length, predictions.filter((p) => p.outOfDistribution?.flag).length)
    return predictions
  }

  #run(rows: Float32Array, count: number): Promise<readonly Output[]> {
    const dims = [count, ...this.#bundle.input.shape]
    return this.engine.run([{ name: 'x', dims, data: rows }], this.#outputs)
  }

  async #tryOut(): Promise<void> {
    const { classes, model } = this.#bundle
    const wrong = (why: string) => new StartError('E_BUNDLE', `'${model.path}' does not fit langevin.json: ${why}`)
    const rows = new Float32Array(2 * this.#units.size)
    const outputs = await this.#run(rows, 2).catch((error) => {
      throw wrong(reasonOf(error))
    })
    for (const { name, dims } of outputs) {
      const expected = name === 'logits' ? [2, classes.length] : [2]
      if (dims.join() !== expected.join())
        throw wrong(`output '${name}' of two examples is [${dims.join(', ')}]; expected [${expected.join(', ')}]`)
    }
  }
}

/** An example far enough from all data overflows float32: there is no answer then. */
function checkFinite(example: number, logProb: number | undefined, logits: Float32Array | undefined): void {
  const wild = [logProb, ...(logits ?? [])].find((v) => !Number.isFinite(v))
  if (wild === undefined) return
  throw new ServeError('E_VALUE', {
    what: `what the model says about instances[${example}]`,
    value: wild,
    expected: 'finite numbers',
    remedy: 'Its values are far beyond those of the data: see "input" of GET /model for units',
  })
}

/** Softmax of a row of logits, by class. */
function classesOf(
  logits: Float32Array,
  classes: readonly string[],
  { top, logits: raw }: AnswerOptions,
): Partial<Prediction> {
  const highest = logits.reduce((a, b) => Math.max(a, b))
  const weights = Float64Array.from(logits, (l) => Math.exp(l - highest))
  const total = weights.reduce((a, b) => a + b)
  const order = Array.from(classes.keys())
  const best = order.reduce((a, b) => ((weights[b] as number) > (weights[a] as number) ? b : a))
  const shown =
    top === undefined ? order : order.sort((a, b) => (weights[b] as number) - (weights[a] as number)).slice(0, top)
  const probability = (k: number) => (weights[k] as number) / total
  return {
    label: classes[best] as string,
    probability: probability(best),
    probabilities: Object.fromEntries(shown.map((k) => [classes[k] as string, probability(k)])),
    ...(raw ? { logits: Array.from(logits) } : {}),
  }
}

/** Outputs that say how likely an example is, the best first. */
const densities = ['log_prob', 'log_prob_unnormalized', 'energy']

/** The outputs that answers need, all of which the file must have. */
function outputsOf({ classes, outOfDistribution, model }: Bundle, { opened }: Engine): readonly string[] {
  const there = opened.outputs.map((o) => o.name)
  const density = densities.find((name) => there.includes(name))
  const missing = (name: string, why: string) =>
    new StartError(
      'E_BUNDLE',
      `'${model.path}' has no output '${name}', ${why}; it has ${there.join(', ')}. Export it with: langevin export RUN --outputs logits,log_prob_unnormalized,...`,
    )
  if (density === undefined) throw missing('log_prob_unnormalized', 'which log p(x) is read from')
  const needed = new Set([...(classes.length > 0 ? ['logits'] : []), density])
  const { score = density } = outOfDistribution ?? {}
  if (!densities.includes(score))
    throw new StartError('E_BUNDLE', `outOfDistribution.score is '${score}'; expected one of ${densities.join(', ')}`)
  needed.add(score)
  for (const name of needed) if (!there.includes(name)) throw missing(name, 'which langevin.json needs')
  return [...needed]
}

function checkInput({ input, model }: Bundle, { opened }: Engine): void {
  const found = opened.inputs.map(portText).join(', ')
  const fits = opened.inputs.length === 1 && opened.inputs[0] !== undefined && fitsShape(opened.inputs[0], input.shape)
  if (fits) return
  throw new StartError(
    'E_BUNDLE',
    `'${model.path}' takes ${found}; expected one input: x float32 [batch, ${input.shape.join(', ')}] as langevin.json says. Export the bundle again`,
  )
}

function fitsShape({ name, type, shape }: Port, expected: readonly number[]): boolean {
  const own = shape.slice(1)
  return name === 'x' && type === 'float32' && own.length === expected.length && own.every((s, i) => s === expected[i])
}

function portText({ name, type, shape }: Port): string {
  return `${name} ${type} [${shape.join(', ')}]`
}

/** Refuses a `top` beyond the classes. */
export function checkTop(top: number | undefined, classes: readonly string[]): void {
  if (top === undefined || top <= classes.length) return
  throw new ServeError('E_OPTION', {
    what: "'top'",
    value: top,
    expected:
      classes.length === 0
        ? 'no such option: this model has no classes'
        : `1 to ${classes.length}, the number of classes`,
  })
}
