/**
 * Accuracy under attack: projected gradient ascent (PGD, Madry et al. 2018) from several starts on every example, natively, and the worst of it.
 * With refine-then-classify (refinement.ts) both the classifier and, if it is told, the attack see the refined input. A figure of an attack is an
 * upper bound of the true robust accuracy: a stronger attack may lower it.
 */
import { z } from 'zod'
import { grad } from '../autodiff/index.ts'
import { LangevinError, suggestion } from '../graph/errors.ts'
import { type HostTensor, hostTensor } from '../graph/host-tensor.ts'
import { sameShape, showShape } from '../graph/shape.ts'
import type { Tensor } from '../graph/tensor.ts'
import type { Model } from '../nn/model.ts'
import type { Network } from '../nn/network.ts'
import { type Pass, Variables } from '../nn/variables.ts'
import * as ops from '../ops/index.ts'
import { type Instruction, makeProgram, type Program } from '../runtime/program.ts'
import { keyFromSeed, Recorder, runStage, type Stage, State } from '../runtime/state.ts'
import {
  attackLoss,
  attackStart,
  attackStep,
  fromPixels,
  margin,
  type PgdOptions,
  pgdFields,
  type ResolvedPgd,
  resolvePgd,
} from '../samplers/attacks.ts'
import { selectRows } from '../samplers/rows.ts'
import { checkCount, checkFinite, checkLabels } from './checks.ts'
import { type Compile, Refinement, type RefineOptions, refineSchema } from './refinement.ts'
import { sliceRows } from './rows.ts'

/** What is attacked how. The step's options are {@link PgdOptions}; `epsilon` and `stepSize` are lengths in `units`. */
export interface AttackOptions extends PgdOptions {
  /** Of epsilon and stepSize: the model's `input` (default), or `pixels` in [0, 1], which are doubled for inputs in [-1, 1]. */
  readonly units?: 'input' | 'pixels'
  /** Independent attacks on each example, of which the worst counts; default 1. */
  readonly restarts?: number
  /** Towards a wrong class drawn at random, another each restart, instead of away from the label; default false. */
  readonly targeted?: boolean
  /** Only the first so many examples; default all. */
  readonly examples?: number
  /** Classifies refined inputs; default none. */
  readonly refine?: RefineOptions
}

export interface AttackRunOptions extends AttackOptions {
  /** Examples at a time; default 128. Figures do not depend on the order of batches, but random starts do on their size. */
  readonly batch?: number
  /** Of random starts, targets and the refinement's noise; default 0. */
  readonly seed?: number
  readonly signal?: AbortSignal
  readonly onProgress?: (done: number, total: number) => void
}

/** AttackOptions as plain data. */
export const attackSchema = z.strictObject({
  ...pgdFields,
  units: z.enum(['input', 'pixels']).optional(),
  restarts: z.int().min(1).optional(),
  targeted: z.boolean().optional(),
  examples: z.int().min(1).optional(),
  refine: refineSchema.optional(),
})

/** Figures of one attack; lengths in units of the model's input. */
export interface Robustness {
  readonly norm: ResolvedPgd['norm']
  readonly epsilon: number
  readonly steps: number
  readonly stepSize: number
  readonly restarts: number
  readonly loss: ResolvedPgd['loss']
  readonly targeted: boolean
  /** The defence, where there is one. */
  readonly refine?: {
    readonly sampler: string
    readonly steps: number
    readonly draws: number
    readonly attack: string
  }
  /** Examples attacked. */
  readonly count: number
  /** Of unattacked inputs, through the defence where there is one. */
  readonly cleanAccuracy: number
  /** Share of examples that are classified right unattacked and by every restart. Never above cleanAccuracy. */
  readonly robustAccuracy: number
}

/** What an attack found for each example. */
export interface AttackedExamples {
  /** The input, of all that were tried, whose label's margin is the worst: [n, ...shape]. */
  readonly x: HostTensor
  /** max_{k≠y} f_k - f_y there: [n]. Positive: classified wrong. */
  readonly margin: Float32Array
  /** 1 where the unattacked example is classified right. */
  readonly clean: Uint8Array
  /** 1 where no try was classified wrong. */
  readonly robust: Uint8Array
}

/**
 * Clean and robust accuracy of a classifier on x, float32 [n, ...shape] in the model's units, with labels [n].
 * @example await robustAccuracy(model, x, labels, { norm: 'linf', epsilon: 8 / 255, units: 'pixels', steps: 40, restarts: 5 })
 * @throws LangevinError E_CONFIG, E_SHAPE, E_DATA, E_CANCELLED; RangeError naming the option
 */
export async function robustAccuracy(
  model: Pick<Model, 'network' | 'device' | 'value'>,
  x: HostTensor,
  labels: Int32Array,
  options: AttackRunOptions,
): Promise<Robustness> {
  const { restarts = 1, targeted = false, refine } = options
  const { clean, robust } = await attackExamples(model, x, labels, options)
  const { norm, epsilon, steps, stepSize, loss } = inInputUnits(options)
  const defence = refine && new Refinement(model.network, refine)
  const share = (bits: Uint8Array) => bits.reduce((a, b) => a + b, 0) / bits.length
  return {
    norm,
    epsilon,
    steps,
    stepSize,
    restarts,
    loss,
    targeted,
    ...(defence && {
      refine: {
        sampler: defence.sampler.kind,
        steps: defence.steps,
        draws: defence.draws,
        attack: defence.attack,
      },
    }),
    count: clean.length,
    cleanAccuracy: share(clean),
    robustAccuracy: share(robust),
  }
}

/**
 * The strongest adversarial examples that PGD finds. Without refinement every point on an attack's way counts; with it only where attacks end,
 * judged by draws of their own. @throws as {@link robustAccuracy}
 */
export async function attackExamples(
  model: Pick<Model, 'network' | 'device' | 'value'>,
  x: HostTensor,
  labels: Int32Array,
  options: AttackRunOptions,
): Promise<AttackedExamples> {
  const { signal, onProgress, seed = 0 } = options
  const settings = resolveAttack(model.network, x, labels, options)
  const { rows, batch } = settings
  const state = new State(model.device)
  const attack = new Attack(state, model.network, settings)
  const each = x.data.length / (x.shape[0] as number)
  const out = {
    x: new Float32Array(rows * each),
    margin: new Float32Array(rows),
    clean: new Uint8Array(rows),
    robust: new Uint8Array(rows),
  }
  try {
    for (const v of model.network.variables) await state.put(v.name, model.value(v.name))
    const programs = await attack.compile()
    for (let start = 0; start < rows; start += batch) {
      const count = Math.min(batch, rows - start)
      const result = await attack.run(programs, { x, labels, start, count, seed, signal })
      out.x.set(result.x.subarray(0, count * each), start * each)
      out.margin.set(result.margin.subarray(0, count), start)
      out.clean.set(result.clean.subarray(0, count), start)
      out.robust.set(result.robust.subarray(0, count), start)
      onProgress?.(start + count, rows)
    }
  } finally {
    attack.dispose()
    state.dispose()
  }
  checkFinite('margins under attack', out.margin)
  return { ...out, x: hostTensor(out.x, [rows, ...x.shape.slice(1)]) }
}

/** The options as PGD takes them. */
function inInputUnits(options: AttackOptions): ResolvedPgd {
  const { units = 'input', epsilon, stepSize, ...rest } = options
  if (units !== 'input' && units !== 'pixels')
    throw new LangevinError(
      'E_CONFIG',
      `attack: units '${units}' is not known.${suggestion(String(units), ['input', 'pixels'])}`,
    )
  const length = (v: number) => (units === 'pixels' ? fromPixels(v) : v)
  return resolvePgd({
    ...rest,
    epsilon: length(epsilon),
    ...(stepSize === undefined ? {} : { stepSize: length(stepSize) }),
  })
}

interface Settings {
  readonly pgd: ResolvedPgd
  readonly rows: number
  readonly batch: number
  readonly restarts: number
  readonly targeted: boolean
  readonly refine: Refinement | undefined
}

function resolveAttack(network: Network, x: HostTensor, labels: Int32Array, options: AttackRunOptions): Settings {
  const { restarts = 1, targeted = false, examples, batch = 128, refine } = options
  network.needClasses('an attack')
  if (x.dtype !== 'float32' || !((x.shape[0] ?? 0) >= 1) || !sameShape(x.shape.slice(1), network.shape)) {
    throw new LangevinError(
      'E_SHAPE',
      `attack: x must be float32 [n,${network.shape.join(',')}] with n >= 1, as the model takes it; got ${x.dtype}${showShape(x.shape)}`,
      { shape: x.shape, expected: network.shape },
    )
  }
  checkFinite('attack: x', x.data)
  checkLabels(labels, x.shape[0] as number, network.classes)
  checkCount('attack: restarts', restarts, 1)
  checkCount('attack: batch', batch, 1)
  if (examples !== undefined) checkCount('attack: examples', examples, 1)
  const pgd = inInputUnits(options)
  if (pgd.bounds !== null) checkWithin(x, pgd.bounds)
  if (restarts > 1 && !pgd.randomStart && !targeted)
    throw new RangeError(`attack: restarts ${restarts} would all be the same without randomStart; set it to true`)
  const rows = Math.min(examples ?? Number.POSITIVE_INFINITY, x.shape[0] as number)
  const defence = refine && new Refinement(network, refine)
  return { pgd, rows, batch: Math.min(batch, rows), restarts, targeted, refine: defence }
}

/** An input outside the box would be moved by more than the attack's radius. */
function checkWithin(x: HostTensor, [low, high]: readonly [number, number]): void {
  const slack = 1e-5 * (high - low)
  const at = (x.data as Float32Array).findIndex((v) => v < low - slack || v > high + slack)
  if (at >= 0)
    throw new RangeError(
      `attack: x holds ${x.data[at]}, outside bounds [${low}, ${high}]; give bounds that hold the data, or null for none`,
    )
}

interface Block {
  readonly x: HostTensor
  readonly labels: Int32Array
  readonly start: number
  readonly count: number
  readonly seed: number
  readonly signal: AbortSignal | undefined
}

interface Programs {
  readonly clean: Program
  readonly restart: Program
}

const STREAM = { start: 10, target: 12 }
/** Keys of one block of examples; there are fewer draws than this in it. */
const KEYS_PER_BLOCK = 2 ** 24

/** The plans of one attack over blocks of `batch` rows. */
class Attack {
  private readonly state: State
  private readonly network: Network
  private readonly settings: Settings
  private readonly stages: Stage[] = []

  constructor(state: State, network: Network, settings: Settings) {
    this.state = state
    this.network = network
    this.settings = settings
  }

  /** Code for a block's unattacked inputs, and for one restart. */
  async compile(): Promise<Programs> {
    const { batch, pgd, refine } = this.settings
    const { state } = this
    for (const name of ['origin', 'x']) state.create(`attack/${name}`, [batch, ...this.network.shape])
    for (const name of ['labels', 'targets']) state.create(`attack/${name}`, [batch], 'int32')
    for (const name of ['key', 'judgeKey']) state.create(`attack/${name}`, [4], 'int32')
    state.create('best/x', [batch, ...this.network.shape])
    for (const name of ['margin', 'wrong', 'cleanWrong']) state.create(`best/${name}`, [batch])
    const compile: Compile = async (name, record) => {
      const r = new Recorder(state)
      record(r)
      const s = await r.compile(name)
      this.stages.push(s)
      return runStage(s)
    }
    const begin = await compile('begin', (r) => this.begin(r))
    const judge: Instruction[] =
      refine === undefined ? [] : await refine.code(compile, 'attack/x', 'attack/judgeKey', (r) => this.pass(r))
    const final = (r: Recorder): void => {
      const x = r.read(refine === undefined ? 'attack/x' : 'refine/x')
      const logits = refine === undefined ? this.network.logits(x, this.pass(r)) : refine.logits(x, this.pass(r))
      this.keepWorst(r, logits)
    }
    judge.push(await compile('judge', final))
    const start = await compile('start', (r) => this.start(r))
    const step = await compile('step', (r) => this.step(r))
    const attack: Instruction[] = pgd.steps === 0 ? [] : [{ do: 'repeat', count: pgd.steps, body: [step] }]
    const remember: Instruction = {
      do: 'copy',
      from: [state.get('best/wrong')],
      to: [state.get('best/cleanWrong')],
    }
    return {
      clean: makeProgram([begin, ...judge, remember]),
      restart: makeProgram([start, ...attack, ...judge]),
    }
  }

  private pass(r: Recorder): Pass {
    return { variables: new Variables((v) => r.read(v.name)), norm: 'running' }
  }

  private begin(r: Recorder): void {
    const origin = r.read('attack/origin')
    const n = this.settings.batch
    r.write('attack/x', origin)
    r.write('best/x', origin)
    r.write('best/margin', ops.full([n], -3e38))
    r.write('best/wrong', ops.zeros([n]))
  }

  private start(r: Recorder): void {
    const { pgd, batch } = this.settings
    const key = r.read('attack/key')
    const origin = r.read('attack/origin')
    r.write('attack/x', pgd.randomStart ? attackStart(origin, pgd, key, STREAM.start) : origin)
    // One of the other classes, each as likely.
    const { classes } = this.network
    const shift = ops.add(ops.randomInt(key, [batch], { stream: STREAM.target, bound: classes - 1 }), 1)
    r.write('attack/targets', ops.rem(ops.add(r.read('attack/labels'), shift), classes))
    r.write('attack/key', ops.nextKey(key))
  }

  private step(r: Recorder): void {
    const { pgd, targeted, refine } = this.settings
    const x = r.read('attack/x')
    const key = r.read('attack/key')
    const aware = refine !== undefined && refine.attack !== 'around'
    const logits = aware ? refine.unrolled(x, this.pass(r), key) : this.network.logits(x, this.pass(r))
    const loss = attackLoss(pgd.loss, logits, r.read(targeted ? 'attack/targets' : 'attack/labels'), targeted)
    const [gradient] = grad(ops.sum(loss), [x]) as [Tensor]
    r.write('attack/x', attackStep(x, gradient, r.read('attack/origin'), pgd))
    if (refine === undefined) this.keepWorst(r, logits)
    if (!aware) return
    // Init and steps have used as many keys.
    let next = key
    for (let i = 0; i <= (refine as Refinement).steps; i++) next = ops.nextKey(next)
    r.write('attack/key', next)
  }

  /** Notes where the label's margin is worse than before, and which examples have been classified wrong. */
  private keepWorst(r: Recorder, logits: Tensor): void {
    const labels = r.read('attack/labels')
    const now = margin(logits, labels)
    const best = r.read('best/margin')
    const worse = ops.logicalNot(ops.le(now, best))
    r.write('best/margin', ops.select(worse, now, best))
    r.write('best/x', selectRows(worse, r.read('attack/x'), r.read('best/x')))
    const wrong = ops.cast(ops.ne(ops.argmax(logits, 1), labels), 'float32')
    r.write('best/wrong', ops.maximum(wrong, r.read('best/wrong')))
  }

  async run({ clean, restart }: Programs, block: Block) {
    const { state } = this
    const { batch, restarts } = this.settings
    const { x, labels, start, count, seed, signal } = block
    signal?.throwIfAborted()
    // A block that is not full repeats its last row.
    const rows = sliceRows(x, start, start + count)
    const each = rows.data.length / count
    const data = new Float32Array(batch * each)
    data.set(rows.data as Float32Array)
    for (let i = count; i < batch; i++) data.copyWithin(i * each, (count - 1) * each, count * each)
    const own = Int32Array.from({ length: batch }, (_, i) => labels[start + Math.min(i, count - 1)] as number)
    await state.get('attack/origin').write(hostTensor(data, [batch, ...this.network.shape]))
    await state.get('attack/labels').write(hostTensor(own, [batch]))
    const step = (start / batch) * KEYS_PER_BLOCK
    await state.get('attack/key').write(keyFromSeed(seed, step))
    await state.get('attack/judgeKey').write(keyFromSeed(BigInt(seed) ^ (1n << 63n), step))
    await clean.run(1, { signal })
    await restart.run(restarts, { signal })
    signal?.throwIfAborted()
    const read = async (name: string) => (await state.get(name).read()).data as Float32Array
    const right = (wrong: Float32Array) => Uint8Array.from(wrong, (w) => (w > 0 ? 0 : 1))
    return {
      x: await read('best/x'),
      margin: await read('best/margin'),
      clean: right(await read('best/cleanWrong')),
      robust: right(await read('best/wrong')),
    }
  }

  dispose(): void {
    for (const s of this.stages) s.plan.dispose()
  }
}
