/**
 * Times prepared workloads as the peers' scripts do: three calls to warm up, one to see how long a call takes, then repeats of as many
 * calls as fill a quarter of `seconds`; wall time a unit, the median of the repeats. Also the profile of what was compiled.
 */
import { LangevinError } from '../graph/errors.ts'
import { addonInfo } from '../runtime/addon.ts'
import type { Precision } from '../runtime/compile.ts'
import { chosenDevice, type Device, type DeviceOption, deviceMemory } from '../runtime/devices.ts'
import { packageVersion } from '../runtime/version.ts'
import { type Prepared, prepare } from './prepare.ts'
import type { Workload } from './workloads.ts'

export interface MeasureOptions extends DeviceOption {
  /** Timings of which the median is taken; default 7. */
  readonly repeats?: number
  /** One timing takes about a quarter of this, or one call; default 1. */
  readonly seconds?: number
  readonly signal?: AbortSignal
  /** Of products and convolutions; default 'float32'. The contender's name tells. */
  readonly precision?: Precision
}

/** One row, the form that every contender prints. Times are milliseconds of wall time a unit. */
export interface BenchRow {
  readonly workload: string
  readonly contender: string
  readonly ms: number
  readonly min: number
  readonly max: number
  /** Timings. */
  readonly n: number
  /** The most bytes of the device's memory that the process has held so far. */
  readonly peakDeviceBytes: number
}

/** One kernel (or change of layout) of a stage. Figures are of a unit of the workload. */
export interface KernelProfile {
  readonly op: string
  /** Op, types and layouts. */
  readonly text: string
  readonly runs: number
  readonly ms: number
  readonly operations: number
  readonly bytes: number
}

/** What was compiled for one stage of a workload, and where its time goes: its steps in the order of running. */
export interface StageProfile {
  readonly stage: string
  readonly kernels: Readonly<Record<string, number>>
  readonly reorders: number
  readonly arenaBytes: number
  readonly persistentBytes: number
  readonly steps: readonly KernelProfile[]
}

/** What a unit costs inside. */
export interface BenchProfile {
  readonly workload: string
  /** Kernels run a unit. */
  readonly kernels: number
  /** Milliseconds in native code a unit; the rest of a row's time is JavaScript and waiting. */
  readonly nativeMs: number
  readonly stages: readonly StageProfile[]
}

const WARM_UP = 3

/** `langevin-<version>-cpu-<threads>threads` or `langevin-<version>-cuda`, with `-bf16` for that precision. */
export function contenderName(device: Device, precision: Precision = 'float32'): string {
  const name = `langevin-${packageVersion()}-${device === 'cpu' ? `cpu-${addonInfo().threads}threads` : device}`
  return precision === 'bfloat16' ? `${name}-bf16` : name
}

/** Compiles and times one workload. */
export async function benchWorkload(
  name: string,
  workload: Workload,
  options: MeasureOptions = {},
): Promise<{ readonly row: BenchRow; readonly profile: BenchProfile }> {
  const prepared = await prepare(name, workload, chosenDevice(options.device), 0, options.precision)
  try {
    return await measure(prepared, options)
  } finally {
    prepared.dispose()
  }
}

/** Times a prepared workload. @throws RangeError for impossible options, LangevinError E_DIVERGED when a guard stops the work. */
export async function measure(
  prepared: Prepared,
  options: MeasureOptions = {},
): Promise<{ readonly row: BenchRow; readonly profile: BenchProfile }> {
  const { repeats = 7, seconds = 1, signal } = options
  if (!Number.isSafeInteger(repeats) || repeats < 1)
    throw new RangeError(`bench: repeats must be a positive integer; got ${repeats}`)
  if (!(Number.isFinite(seconds) && seconds > 0))
    throw new RangeError(`bench: seconds must be positive; got ${seconds}`)
  const { name, units } = prepared
  await prepared.reset()
  await timed(prepared, WARM_UP, signal)
  const one = await timed(prepared, 1, signal)
  const calls = Math.max(1, Math.floor(seconds / Math.max(one.wall, 1e-9) / 4))
  const ms: number[] = []
  let native = 0
  for (let i = 0; i < repeats; i++) {
    await prepared.reset()
    const t = await timed(prepared, calls, signal)
    ms.push((t.wall / calls / units) * 1e3)
    native += t.native
  }
  ms.sort((a, b) => a - b)
  const row = {
    workload: name,
    contender: contenderName(prepared.state.device, prepared.state.precision),
    ms: round(median(ms)),
    min: round(ms[0] as number),
    max: round(ms.at(-1) as number),
    n: repeats,
    peakDeviceBytes: (await deviceMemory(prepared.state.device)).peak,
  }
  const profile = {
    workload: name,
    kernels: one.kernels / units,
    nativeMs: round((native / (repeats * calls * units)) * 1e3),
    stages: await stageProfiles(prepared, calls, signal),
  }
  return { row, profile }
}

async function timed(prepared: Prepared, calls: number, signal?: AbortSignal) {
  const started = performance.now()
  const result = await prepared.program.run(calls, { signal })
  const wall = (performance.now() - started) / 1e3
  if (result.cancelled) throw new LangevinError('E_CANCELLED', 'the benchmark was cancelled')
  if (result.guard !== null || result.metrics.some((v) => !Number.isFinite(v))) {
    const what = result.guard === null ? 'a metric' : `${result.guard.name} = ${result.guard.value}`
    throw new LangevinError(
      'E_DIVERGED',
      `workload ${prepared.name}: ${what} is not finite or too large, so its time means nothing`,
    )
  }
  return { wall, native: result.seconds, kernels: result.kernels }
}

/** Times each kernel over as many calls as one timing took; apart from the timings, since looking at the clock takes time. */
async function stageProfiles(prepared: Prepared, calls: number, signal?: AbortSignal): Promise<StageProfile[]> {
  await prepared.reset()
  await Promise.all(prepared.stages.map((s) => s.plan.setProfiling(true)))
  await timed(prepared, calls, signal)
  const units = calls * prepared.units
  const profiles: StageProfile[] = []
  for (const { name, plan } of prepared.stages) {
    const { kernels, reorders, arenaBytes, persistentBytes } = plan.stats
    const steps = (await plan.profile()).map(({ op, text, runs, seconds, operations, bytes }) => ({
      op,
      text,
      runs: runs / units,
      ms: (seconds * 1e3) / units,
      operations: (operations * runs) / units,
      bytes: (bytes * runs) / units,
    }))
    await plan.setProfiling(false)
    const counts = Object.fromEntries(kernels.map((k) => [k.op, k.count]))
    profiles.push({ stage: name, kernels: counts, reorders, arenaBytes, persistentBytes, steps })
  }
  return profiles
}

/** Of sorted numbers, at least one. */
function median(sorted: readonly number[]): number {
  const half = sorted.length / 2
  return ((sorted[Math.ceil(half) - 1] as number) + (sorted[Math.floor(half)] as number)) / 2
}

function round(x: number): number {
  return Math.round(x * 1e5) / 1e5
}
