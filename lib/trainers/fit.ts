/**
 * Runs a step program to its end: reports, snapshots and recovery, checkpoints, cancelling, resume. Knows no method;
 * numbers come from the program, files go to the run folder.
 */
import { appendFile, readFile, rename } from 'node:fs/promises'
import { join } from 'node:path'
import type { Dataset } from '../data/dataset.ts'
import { type EventRow, formatMetricsLine, type MetricsRow } from '../evaluation/metrics-row.ts'
import { checkInteger } from '../graph/checks.ts'
import { LangevinError } from '../graph/errors.ts'
import type { HostTensor } from '../graph/host-tensor.ts'
import { ioError, makeFolder, writeFileAtomically } from '../runtime/files.ts'
import type { ProgramResult } from '../runtime/program.ts'
import {
  CHECKPOINT_FILE,
  checkContinues,
  type RunDescription,
  type RunProgress,
  readCheckpoint,
  writeCheckpoint,
} from './checkpoint.ts'
import type { Engine } from './engine.ts'
import type { Segment, StepPlan } from './method.ts'
import type { FitOptions } from './options.ts'

/** Files of a run folder that this file writes. */
export const METRICS_FILE = 'metrics.jsonl'
export const CONFIG_FILE = 'config.json'
/** Where a new run in the same folder moves the checkpoint of the one before. */
export const PREVIOUS_FILE = 'checkpoint.previous.safetensors'

export interface FitContext {
  readonly engine: Engine
  readonly data: Dataset
  readonly plan: StepPlan
  readonly options: FitOptions
  /** Describes the run; counters are filled in here. */
  describe(progress: RunProgress): RunDescription
  onEvent?(event: EventRow): void
}

/** Steps that no report has told of yet. */
interface Unreported {
  steps: number
  seconds: number
  readonly sums: Float64Array
  learningRate: number
}

interface Snapshot {
  readonly step: number
  readonly values: ReadonlyMap<string, HostTensor>
}

/** Trains until the planned step, yielding a row every `reportEvery` steps. */
export async function* runFit(context: FitContext): AsyncGenerator<MetricsRow, void, void> {
  const run = new FitRun(context)
  await run.start()
  yield* run.loop()
}

class FitRun {
  private readonly context: FitContext
  private step = 0
  private seconds = 0
  private recoveries = 0
  private snapshots: Snapshot[] = []
  private savedStep = -1
  private metricsLines = 0
  private unreported: Unreported | undefined
  /** Cross entropy of the last report, and the least of any: what tells a state worth keeping from one on its way out. */
  private crossEntropy: RunProgress['crossEntropy'] = null
  private savedAt = performance.now()
  private readonly reportEvery: number
  private readonly checkpointEvery: number | undefined
  private readonly segments: readonly Segment[]

  constructor(context: FitContext) {
    this.context = context
    const { reportEvery = 20, checkpointEvery } = context.options
    checkInteger('reportEvery', reportEvery, 1)
    if (checkpointEvery !== undefined) checkInteger('checkpointEvery', checkpointEvery, 1)
    this.reportEvery = reportEvery
    this.checkpointEvery = checkpointEvery
    this.segments = context.engine.segments(context.plan)
  }

  private get out(): string | undefined {
    return this.context.options.out
  }

  /** Fresh state or the checkpoint's; chains filled; folder ready. */
  async start(): Promise<void> {
    const { engine, options } = this.context
    engine.checkTrainable()
    await engine.setup(this.context.data, this.context.plan)
    if (options.resume) await this.resume()
    else {
      if (this.out !== undefined) await makeFolder(this.out, 'create the run folder')
      await engine.fillChains(engine.seed)
    }
  }

  /** Begins the files of a new run. An older run's checkpoint is moved aside, so that it is neither lost nor taken for this one's. */
  private async openFolder(out: string): Promise<void> {
    const {
      step: _,
      seconds: __,
      recoveries: ___,
      metricsLines: ____,
      crossEntropy: _____,
      ...config
    } = this.describe()
    const whole = { ...config, ...this.context.options.describe }
    await writeFileAtomically(join(out, CONFIG_FILE), `${JSON.stringify(whole, null, 2)}\n`)
    await writeFileAtomically(join(out, METRICS_FILE), '')
    try {
      await rename(join(out, CHECKPOINT_FILE), join(out, PREVIOUS_FILE))
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code !== 'ENOENT')
        throw ioError('move aside', join(out, CHECKPOINT_FILE), cause)
    }
  }

  private async resume(): Promise<void> {
    const out = this.out
    if (out === undefined) throw new LangevinError('E_CONFIG', 'resume: true needs out: the run folder to continue')
    const { run, tensors, path } = await readCheckpoint(out)
    checkContinues(run, this.describe(), path)
    await this.context.engine.state.restore(tensors, path)
    this.step = this.savedStep = run.step
    this.seconds = run.seconds
    this.recoveries = run.recoveries
    this.crossEntropy = run.crossEntropy
    // Lines that the stopped run wrote after its last checkpoint will be written again.
    const text = await readFile(join(out, METRICS_FILE), 'utf8').catch(() => '')
    const kept = text.split('\n').slice(0, -1).slice(0, run.metricsLines)
    this.metricsLines = kept.length
    await writeFileAtomically(join(out, METRICS_FILE), kept.map((line) => `${line}\n`).join(''))
    await this.event({ event: 'resumed', step: this.step })
  }

  private describe(): RunDescription {
    const { step, seconds, recoveries, metricsLines, crossEntropy } = this
    return this.context.describe({ step, seconds, recoveries, metricsLines, crossEntropy })
  }

  async *loop(): AsyncGenerator<MetricsRow, void, void> {
    const { engine, plan, options } = this.context
    let segment = this.segment()
    let compiled = await engine.compile(plan, segment)
    if (this.out !== undefined && !options.resume) await this.openFolder(this.out)
    await this.snapshot()
    let failed = false
    try {
      while (this.step < plan.totalSteps) {
        if (options.signal?.aborted) {
          await this.save()
          throw this.cancelled()
        }
        if (this.segment() !== segment) {
          segment = this.segment()
          compiled.dispose()
          compiled = await engine.compile(plan, segment)
        }
        const steps = this.nextStop(segment) - this.step
        const result = await compiled.program.run(steps, options.signal ? { signal: options.signal } : {})
        this.advance(result, compiled.metrics)
        const pause = this.step % this.reportEvery === 0 || this.step === plan.totalSteps || this.step === segment.until
        if (result.completed < steps || pause) {
          const row = this.report(compiled.metrics)
          if (row !== undefined) {
            await this.write(row)
            yield row
          }
        }
        if (result.guard !== null) await this.diverged(result.guard)
        else await this.keep()
      }
    } catch (error) {
      // What stands on disk is good: a cancelled and a given-up run have been saved, and what else fails may have left half a step.
      failed = true
      throw error
    } finally {
      try {
        if (!failed) await this.save()
      } finally {
        await engine.syncModel()
        compiled.dispose()
      }
    }
  }

  /** The step at which JavaScript next has something to do: a report, a snapshot, a checkpoint, the end. */
  private nextStop(segment: Segment): number {
    const { engine, plan } = this.context
    const after = (every: number) => (Math.floor(this.step / every) + 1) * every
    const due = (this.snapshots.at(-1)?.step ?? this.step) + engine.recovery.snapshotEvery
    const snapshot = due > this.step ? due : Number.POSITIVE_INFINITY
    const checkpoint = this.out === undefined ? undefined : this.checkpointEvery
    return Math.min(
      plan.totalSteps,
      segment.until,
      after(this.reportEvery),
      snapshot,
      after(checkpoint ?? Number.MAX_SAFE_INTEGER),
    )
  }

  /** The segment that the next step belongs to. */
  private segment(): Segment {
    const found = this.segments.find((s) => this.step < s.until)
    if (found === undefined) throw new LangevinError('E_INTERNAL', `internal: no segment holds step ${this.step}`)
    return found
  }

  /** Counts the steps done. */
  private advance(result: ProgramResult, metrics: readonly string[]): void {
    const n = result.completed
    this.step += n
    this.seconds += result.seconds
    if (n === 0) return
    this.unreported ??= { steps: 0, seconds: 0, sums: new Float64Array(metrics.length), learningRate: Number.NaN }
    const u = this.unreported
    u.steps += n
    u.seconds += result.seconds
    for (let i = 0; i < n * metrics.length; i++) {
      const j = i % metrics.length
      u.sums[j] = (u.sums[j] as number) + (result.metrics[i] as number)
    }
    u.learningRate = result.metrics[(n - 1) * metrics.length + metrics.indexOf('learningRate')] as number
  }

  /** The steps since the last report as a row: their means, but the last learning rate. */
  private report(metrics: readonly string[]): MetricsRow | undefined {
    const u = this.unreported
    if (u === undefined) return undefined
    this.unreported = undefined
    const means = Object.fromEntries(metrics.map((name, j) => [name, (u.sums[j] as number) / u.steps]))
    const { loss = Number.NaN, learningRate: _, ...rest } = means
    const last = means.crossEntropy ?? 0
    this.crossEntropy = { last, best: Math.min(last, this.crossEntropy?.best ?? last) }
    return {
      step: this.step,
      epoch: this.step / this.context.plan.stepsPerEpoch,
      seconds: this.seconds,
      loss,
      learningRate: u.learningRate,
      stepsPerSecond: u.steps / u.seconds,
      ...rest,
    }
  }

  private async diverged(guard: NonNullable<ProgramResult['guard']>): Promise<void> {
    const { engine } = this.context
    const { tries, rateFactor, snapshotEvery } = engine.recovery
    const at = this.step
    const what = `${guard.name} is ${guard.value} (limit ${guard.limit})`
    const [latest, older] = [this.snapshots.at(-1), this.snapshots.at(-2)]
    if (latest === undefined) throw new LangevinError('E_INTERNAL', 'internal: diverged before the first snapshot')
    // A state that diverges again at once was not good: go one further back.
    const back = older !== undefined && at - latest.step < snapshotEvery / 10 ? older : latest
    this.snapshots = [back]
    if (this.recoveries >= tries) {
      await engine.restore(back.values)
      this.step = back.step
      this.savedStep = -1
      await this.save()
      await this.event({ event: 'diverged', step: at, guard: guard.name, value: guard.value, limit: guard.limit })
      const kept =
        this.out === undefined ? '' : ` The state of step ${back.step} is in ${join(this.out, CHECKPOINT_FILE)}.`
      throw new LangevinError(
        'E_DIVERGED',
        `training diverged at step ${at}: ${what}, after ${this.recoveries} of ${tries} recoveries.${kept} Lower the learning rate, raise the input noise, or clamp the sampler's gradient.`,
        { ...guard, step: at, lastGoodStep: back.step },
      )
    }
    this.recoveries++
    await engine.recover(back.values, this.recoveries)
    this.step = back.step
    // The file may hold this very step, but of the steps that have just been taken back.
    this.savedStep = -1
    await this.event({
      event: 'recovered',
      step: at,
      to: back.step,
      guard: guard.name,
      value: guard.value,
      limit: guard.limit,
      rateFactor,
      attempt: this.recoveries,
    })
  }

  /**
   * False while the classifier is much worse than it has been: a run that diverges does so over some dozens of steps, and a state from among
   * them is none to go back to.
   */
  private get healthy(): boolean {
    return this.crossEntropy === null || this.crossEntropy.last <= 2 * this.crossEntropy.best + 0.5
  }

  /** After good steps: a snapshot and a checkpoint when they are due. */
  private async keep(): Promise<void> {
    const { engine, plan } = this.context
    if (!this.healthy) return
    const last = this.snapshots.at(-1)
    if (last === undefined || this.step - last.step >= engine.recovery.snapshotEvery) await this.snapshot()
    if (this.out === undefined) return
    const every = this.checkpointEvery ?? plan.stepsPerEpoch
    const crossed = Math.floor(this.step / every) > Math.floor(Math.max(0, this.savedStep) / every)
    const stale = this.checkpointEvery === undefined && performance.now() - this.savedAt > 60_000
    const soon = this.checkpointEvery === undefined && performance.now() - this.savedAt < 5_000
    if ((crossed && !soon) || stale) await this.save()
  }

  private async snapshot(): Promise<void> {
    const { engine } = this.context
    const values = await engine.state.read(engine.snapshotNames())
    this.snapshots = [...this.snapshots.slice(-1), { step: this.step, values }]
  }

  private async save(): Promise<void> {
    if (this.out === undefined || this.savedStep === this.step) return
    await writeCheckpoint(join(this.out, CHECKPOINT_FILE), this.describe(), await this.context.engine.state.read())
    this.savedStep = this.step
    this.savedAt = performance.now()
  }

  private async write(row: MetricsRow | EventRow): Promise<void> {
    if (this.out === undefined) return
    const path = join(this.out, METRICS_FILE)
    try {
      await appendFile(path, `${formatMetricsLine(row)}\n`)
      this.metricsLines++
    } catch (cause) {
      throw ioError('write', path, cause)
    }
  }

  private async event(row: EventRow): Promise<void> {
    await this.write(row)
    this.context.onEvent?.(row)
  }

  private cancelled(): LangevinError {
    const where =
      this.out === undefined ? '' : `; ${join(this.out, CHECKPOINT_FILE)} holds this step, continue with resume`
    return new LangevinError('E_CANCELLED', `training was cancelled at step ${this.step}${where}`, { step: this.step })
  }
}
