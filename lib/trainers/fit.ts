/**
 * Runs a step program to its end: reports, snapshots and recovery, checkpoints, cancelling, resume. Knows no method;
 * numbers come from the program, files go to the run folder.
 */
import { appendFile, mkdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type EventRow, formatMetricsLine, type MetricsRow, parseMetrics } from '../evaluation/metrics-row.ts'
import { LangevinError } from '../graph/errors.ts'
import type { HostTensor } from '../graph/host-tensor.ts'
import { ioError, writeFileAtomically } from '../runtime/files.ts'
import type { ProgramResult } from '../runtime/program.ts'
import { CHECKPOINT_FILE, type RunDescription, readCheckpoint, writeCheckpoint } from './checkpoint.ts'
import type { FitOptions } from './options.ts'
import { integer } from './options.ts'
import type { Engine, StepPlan, StepProgram } from './trainer.ts'

/** Files of a run folder that this file writes. */
export const METRICS_FILE = 'metrics.jsonl'
export const CONFIG_FILE = 'config.json'

export interface FitContext {
  readonly engine: Engine
  readonly plan: StepPlan
  readonly options: FitOptions
  /** Describes the run; counters are filled in here. */
  describe(progress: Pick<RunDescription, 'step' | 'seconds' | 'recoveries'>): RunDescription
  onEvent?(event: EventRow): void
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
  private savedAt = performance.now()
  private readonly reportEvery: number
  private readonly checkpointEvery: number | undefined

  constructor(context: FitContext) {
    this.context = context
    const { reportEvery = 20, checkpointEvery } = context.options
    integer('reportEvery', reportEvery, 1)
    if (checkpointEvery !== undefined) integer('checkpointEvery', checkpointEvery, 1)
    this.reportEvery = reportEvery
    this.checkpointEvery = checkpointEvery
  }

  private get out(): string | undefined {
    return this.context.options.out
  }

  /** Fresh state or the checkpoint's; chains filled; folder ready. */
  async start(): Promise<void> {
    const { engine, options } = this.context
    engine.checkTrainable()
    await engine.setup()
    if (options.resume) await this.resume()
    else {
      await engine.fillChains(engine.seed)
      if (this.out !== undefined) await this.openFolder(this.out)
    }
  }

  private async openFolder(out: string): Promise<void> {
    try {
      await mkdir(out, { recursive: true })
    } catch (cause) {
      throw ioError('create the run folder', out, cause)
    }
    const { step: _step, seconds: _seconds, ...config } = this.describe()
    await writeFileAtomically(
      join(out, CONFIG_FILE),
      `${JSON.stringify({ ...config, ...this.context.options.describe }, null, 2)}\n`,
    )
    await writeFileAtomically(join(out, METRICS_FILE), '')
  }

  private async resume(): Promise<void> {
    const out = this.out
    if (out === undefined) throw new LangevinError('E_CONFIG', 'resume: true needs out: the run folder to continue')
    const { run, tensors, path } = await readCheckpoint(out)
    this.checkSame(run, path)
    await this.context.engine.state.restore(tensors, path)
    this.step = this.savedStep = run.step
    this.seconds = run.seconds
    this.recoveries = run.recoveries
    // Rows that the killed run wrote after its last checkpoint will be written again.
    const text = await readFile(join(out, METRICS_FILE), 'utf8').catch(() => '')
    const { rows, events } = parseMetrics(text)
    const kept = [...rows, ...events].filter((r) => r.step <= run.step).sort((a, b) => a.step - b.step)
    await writeFileAtomically(join(out, METRICS_FILE), kept.map((r) => `${formatMetricsLine(r)}\n`).join(''))
    await this.event({ event: 'resumed', step: this.step })
  }

  /** A checkpoint may only continue the run it came from: same method, options, data and plan. */
  private checkSame(run: RunDescription, path: string): void {
    const mine = this.describe()
    for (const part of ['method', 'network', 'options', 'data'] as const) {
      const [theirs, ours] = [JSON.stringify(run[part]), JSON.stringify(mine[part])]
      if (theirs !== ours) {
        throw new LangevinError(
          'E_CHECKPOINT',
          `${path} was written with another ${part}: ${excerpt(theirs)} there, ${excerpt(ours)} here. Resume with the same configuration, or start a new run folder.`,
        )
      }
    }
    if (run.step > mine.totalSteps) {
      throw new LangevinError(
        'E_CHECKPOINT',
        `${path} stands at step ${run.step}, beyond the planned ${mine.totalSteps}; ask for more steps or epochs`,
      )
    }
  }

  private describe(): RunDescription {
    return this.context.describe({ step: this.step, seconds: this.seconds, recoveries: this.recoveries })
  }

  async *loop(): AsyncGenerator<MetricsRow, void, void> {
    const { engine, plan, options } = this.context
    const compiled = await engine.compile(plan)
    await this.snapshot()
    let finished = false
    try {
      while (this.step < plan.totalSteps) {
        if (options.signal?.aborted) throw this.cancelled()
        const target = Math.min(plan.totalSteps, (Math.floor(this.step / this.reportEvery) + 1) * this.reportEvery)
        const result = await compiled.program.run(target - this.step, options.signal ? { signal: options.signal } : {})
        const row = this.advance(result, compiled)
        if (row !== undefined) {
          await this.write(row)
          yield row
        }
        if (result.guard !== null) await this.diverged(result.guard)
        else await this.keep()
      }
      await this.save()
      finished = true
    } finally {
      // Left early (break, error, cancel): what is done is kept, except after a divergence that was given up on.
      if (!finished) await this.save().catch(() => undefined)
      await engine.syncModel()
      compiled.dispose()
    }
  }

  /** Counts the steps done and makes their report: means over the steps, but the last learning rate. */
  private advance(result: ProgramResult, compiled: StepProgram): MetricsRow | undefined {
    const n = result.completed
    this.step += n
    this.seconds += result.seconds
    if (n === 0) return undefined
    const width = compiled.metrics.length
    const values: Record<string, number> = {}
    compiled.metrics.forEach((name, j) => {
      let sum = 0
      for (let i = 0; i < n; i++) sum += result.metrics[i * width + j] as number
      values[name] = name === 'learningRate' ? (result.metrics[(n - 1) * width + j] as number) : sum / n
    })
    const epoch = this.step / this.context.plan.stepsPerEpoch
    const { loss = Number.NaN, learningRate = Number.NaN, ...rest } = values
    return {
      step: this.step,
      epoch,
      seconds: this.seconds,
      loss,
      learningRate,
      stepsPerSecond: n / result.seconds,
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

  /** After good steps: a snapshot and a checkpoint when they are due. */
  private async keep(): Promise<void> {
    const { engine, plan } = this.context
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

function excerpt(text: string): string {
  return text.length > 160 ? `${text.slice(0, 160)}...` : text
}
