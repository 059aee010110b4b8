/** Runs the compiled command line as a user does: a process, its exit code, what it printed. */
import { type ChildProcess, spawn } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { buildDist, temporaryFolder } from '../dist.ts'

export interface Result {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
  readonly out: string
  readonly err: string
}

export interface Running {
  readonly process: ChildProcess
  readonly result: Promise<Result>
  /** Waits until standard output or error holds `text`; throws if the process ends without it. */
  said(text: string): Promise<void>
}

export { temporaryFolder as work } from '../dist.ts'

/** Starts `langevin ARGS` in a folder, on one thread. */
export async function start(args: readonly string[], cwd: string): Promise<Running> {
  const main = join(await buildDist(), 'bundle/cli.js')
  const process_ = spawn(process.execPath, [main, ...args], { cwd, env: { ...process.env, LANGEVIN_THREADS: '1' } })
  let [out, err] = ['', '']
  process_.stdout.on('data', (d) => {
    out += d
  })
  process_.stderr.on('data', (d) => {
    err += d
  })
  let ended = false
  const result = new Promise<Result>((resolve) =>
    process_.once('close', (code, signal) => {
      ended = true
      resolve({ code, signal, out, err })
    }),
  )
  const said = async (text: string) => {
    while (!out.includes(text) && !err.includes(text)) {
      if (ended) throw new Error(`langevin ${args.join(' ')} ended without '${text}':\n${out}\n${err}`)
      await new Promise((resolve) => setTimeout(resolve, 3))
    }
  }
  return { process: process_, result, said }
}

export const langevin = async (args: readonly string[], cwd = temporaryFolder()): Promise<Result> =>
  (await start(args, cwd)).result

/** The shipped digits, few of them; a small network; twenty steps. Given parts replace those at the top. */
export function tinyConfig(change: Readonly<Record<string, unknown>> = {}): Record<string, unknown> {
  return {
    method: 'jempp',
    data: { kind: 'digits', limit: 100, test: 40 },
    network: { kind: 'wideResNet', depth: 10, width: 1 },
    trainer: { batch: 8, sampler: { kind: 'pyld', outer: 2, inner: 2 }, buffer: { size: 40 } },
    steps: 20,
    reportEvery: 5,
    evaluation: { samples: 10 },
    ...change,
  }
}

export function writeJson(folder: string, name: string, value: unknown): string {
  const path = join(folder, name)
  writeFileSync(path, JSON.stringify(value))
  return path
}

export const shipped = fileURLToPath(new URL('../../configs/', import.meta.url))
