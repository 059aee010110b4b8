/**
 * Finds and loads the native addon, and turns its errors into LangevinErrors. Used only within lib/runtime; everything else goes through
 * device tensors, compiled plans and programs.
 */
import { existsSync } from 'node:fs'
import { createRequire } from 'node:module'
import { fileURLToPath } from 'node:url'
import { type ErrorCode, LangevinError } from '../graph/errors.ts'
import type { TypedArray } from '../graph/host-tensor.ts'
import type { DType } from '../graph/shape.ts'

/** What runs the kernels: for people and bug reports. */
export interface NativeInfo {
  readonly version: string
  /** Instruction set in use, by Highway's name (`AVX2`, `AVX3_ZEN4`, `NEON`). */
  readonly isa: string
  /** Whether fused loops become machine code of their own (AVX-512 on Linux; LANGEVIN_JIT=0 turns it off) or run instruction by instruction. */
  readonly machineCode: boolean
  readonly oneDnn: string
  /** Can plans of precision 'bfloat16' run here? They need a processor with AVX512-BF16. */
  readonly bfloat16: boolean
  /** Threads that plans compiled from now on run with. */
  readonly threads: number
  readonly ops: readonly string[]
  readonly loopOps: readonly string[]
}

/** What the addon itself tells; `cuda`, JSON, is looked for when it is read (devices.ts does). */
interface RawInfo extends NativeInfo {
  readonly cuda: string
}

export interface NativeTensor {
  readonly bytes: number
  write(data: TypedArray): Promise<void>
  read(): Promise<TypedArray>
  dispose(): void
}

export interface PlanStats {
  /** Scratch memory that the plan needs; all plans of a process share it. */
  readonly arenaBytes: number
  /** Constants, parameters in other layouts, packed weights. */
  readonly persistentBytes: number
  /** By op; kernels that multiply bfloat16 are counted apart, as `matmul:bf16`. */
  readonly kernels: readonly { readonly op: string; readonly count: number }[]
  readonly reorders: number
  /** One line a kernel: layouts and places in memory. */
  readonly text: string
}

/** What one step of a plan (a kernel, or a change of layout) has cost. */
export interface StepProfile {
  readonly op: string
  /** The step by its op, types and layouts. */
  readonly text: string
  /** Times it ran since profiling was turned on. */
  readonly runs: number
  /** Spent in it, over all runs. */
  readonly seconds: number
  /** Of one run, counted from shapes: a multiply-add is two operations; convolutions count as the direct algorithm does. */
  readonly operations: number
  /** Of one run: operands read once, results written once. */
  readonly bytes: number
}

export interface NativePlan {
  readonly stats: PlanStats
  setProfiling(on: boolean): Promise<void>
  profile(): Promise<StepProfile[]>
  run(inputs: readonly NativeTensor[], outputs: readonly NativeTensor[]): Promise<void>
  dispose(): void
}

export interface ProgramResult {
  /** Steps done; a step that a guard stopped does not count. */
  readonly completed: number
  /** completed x recorded, row by row. */
  readonly metrics: Float32Array
  /** Spent in native code, without waiting in the queue. */
  readonly seconds: number
  /** Kernels run. */
  readonly kernels: number
  /** The guard that stopped the run: `step` counts from 0 within this run. */
  readonly guard: null | {
    readonly name: string
    readonly value: number
    readonly limit: number
    readonly step: number
  }
  readonly cancelled: boolean
}

export interface NativeProgram {
  run(steps: number): Promise<ProgramResult>
  cancel(): void
}

export interface NativeAddon {
  info(): RawInfo
  setThreads(n: number): void
  readonly Tensor: new (dtype: DType, shape: readonly number[], device?: string) => NativeTensor
  copy(from: readonly NativeTensor[], to: readonly NativeTensor[]): Promise<void>
  compile(json: string, constants: Uint8Array, device?: string): Promise<NativePlan>
  memory(device: string): Promise<{ used: number; peak: number; free: number; total: number }>
  program(json: string, plans: readonly NativePlan[], tensors: readonly NativeTensor[]): NativeProgram
}

/**
 * OpenMP threads spin this many times before they sleep. Between the kernels of a plan they should not sleep, and libgomp's own
 * value keeps cores busy for milliseconds after the work: 10 000 spins are about 0.1 to 0.4 ms.
 */
const SPINS = '10000'

let loaded: NativeAddon | undefined

/**
 * The addon, loaded at the first call: from `LANGEVIN_ADDON` (a path) if set, else a local build in `build/Release` (who built one wants it),
 * else `prebuilds/<platform>-<arch>/langevin.node`, which the package ships. Reads `LANGEVIN_THREADS`.
 * @throws LangevinError E_NATIVE_MISSING, saying what to run; E_CONFIG for a bad environment variable.
 */
export function addon(): NativeAddon {
  loaded ??= load()
  return loaded
}

function load(): NativeAddon {
  const threads = threadsFromEnvironment(process.env.LANGEVIN_THREADS)
  const root = new URL('../../', import.meta.url)
  const target = `${process.platform}-${process.arch}`
  const given = process.env.LANGEVIN_ADDON
  const candidates = given
    ? [given]
    : ['build/Release/langevin.node', `prebuilds/${target}/langevin.node`].map((p) => fileURLToPath(new URL(p, root)))
  const path = candidates.find((p) => existsSync(p))
  const build =
    `build it with \`npm install --ignore-scripts && npm run build:native\` in ${fileURLToPath(root)}; that needs a C++17 compiler, CMake, oneDNN, Highway and ` +
    'nlohmann-json (Debian, Ubuntu: apt-get install g++ cmake libdnnl-dev libhwy-dev nlohmann-json3-dev)'
  if (path === undefined) {
    const looked = candidates.join(' and ')
    throw new LangevinError(
      'E_NATIVE_MISSING',
      `the native addon for ${target} was not found (looked at ${looked}): ${given ? 'correct LANGEVIN_ADDON' : build}`,
      { candidates, target },
    )
  }
  if (process.env.GOMP_SPINCOUNT === undefined && process.env.OMP_WAIT_POLICY === undefined) {
    process.env.GOMP_SPINCOUNT = SPINS
  }
  let native: NativeAddon
  try {
    native = createRequire(import.meta.url)(path) as NativeAddon
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause)
    throw new LangevinError(
      'E_NATIVE_MISSING',
      `${path} could not be loaded: ${why}. If it is stale, ${build}`,
      { path },
      cause,
    )
  }
  if (threads !== undefined) native.setThreads(threads)
  return native
}

/** The value of LANGEVIN_THREADS; undefined when unset or empty. @throws LangevinError E_CONFIG unless an integer in 1..1024. */
export function threadsFromEnvironment(text: string | undefined): number | undefined {
  if (text === undefined || text.trim() === '') return undefined
  const n = Number(text)
  if (!Number.isInteger(n) || n < 1 || n > 1024) {
    throw new LangevinError('E_CONFIG', `LANGEVIN_THREADS must be an integer in 1..1024; got '${text}'`, {
      value: text,
    })
  }
  return n
}

/** Version, instruction set, oneDNN, threads and ops of the addon. @throws LangevinError E_NATIVE_MISSING. */
export function addonInfo(): NativeInfo {
  const { version, isa, machineCode, oneDnn, bfloat16, threads, ops, loopOps } = addon().info()
  return { version, isa, machineCode, oneDnn, bfloat16, threads, ops, loopOps }
}

/**
 * Threads for plans compiled from now on; a plan always runs with the threads it was compiled for. Default: LANGEVIN_THREADS, else every
 * core that the process may use. @throws RangeError unless an integer in 1..1024.
 */
export function setThreads(n: number): void {
  if (!Number.isInteger(n) || n < 1 || n > 1024)
    throw new RangeError(`setThreads: n must be an integer in 1..1024; got ${n}`)
  addon().setThreads(n)
}

const nativeCodes: ReadonlySet<string> = new Set<ErrorCode>([
  'E_PLAN',
  'E_SHAPE',
  'E_DTYPE',
  'E_DEVICE',
  'E_CANCELLED',
  'E_INTERNAL',
])

/** An error of the addon as a LangevinError that names where it happened; anything else unchanged. */
export function fromNative(where: string, error: unknown): unknown {
  if (!(error instanceof Error) || error instanceof LangevinError) return error
  const code = (error as Error & { code?: unknown }).code
  if (typeof code !== 'string' || !nativeCodes.has(code)) return error
  return new LangevinError(code as ErrorCode, `[${where}] ${error.message}`, {}, error)
}

/** Calls the addon at once (so that work is queued in the order of the calls) and converts the errors, thrown or rejected. */
export async function native<T>(where: string, call: () => T | Promise<T>): Promise<T> {
  try {
    return await call()
  } catch (error) {
    throw fromNative(where, error)
  }
}
