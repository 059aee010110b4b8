#!/usr/bin/env node
/** The command `langevin`: picks the command, turns errors into one line and an exit code (1 failure, 2 usage, 130 cancelled by Ctrl-C). */
import { LangevinError, suggestion } from '../graph/errors.ts'
import { packageVersion } from '../runtime/version.ts'
import { benchCommand } from './bench.ts'
import { type CommandSpec, helpText, runCommand, UsageError } from './command.ts'
import { exportCommand } from './export.ts'
import { infoCommand } from './info.ts'
import { evaluateCommand } from './run-commands.ts'
import { sampleCommand } from './sample.ts'
import { trainCommand } from './train.ts'
import { verifyCommand } from './verify.ts'

const commands: readonly CommandSpec[] = [
  trainCommand,
  sampleCommand,
  evaluateCommand,
  exportCommand,
  verifyCommand,
  benchCommand,
  infoCommand,
]

/** Signals that stop a command at the next step, and the exit code of each: 128 plus its number, as shells have it. */
const exitCodes = { SIGINT: 130, SIGTERM: 143, SIGHUP: 129 }

function overview(): string {
  return [
    'langevin: trains, samples, evaluates and exports energy-based models',
    '',
    'usage: langevin COMMAND [options]      langevin COMMAND --help',
    '',
    ...commands.map((c) => `  ${[c.name, ...c.positionals].join(' ').padEnd(20)} ${c.summary}`),
    '',
  ].join('\n')
}

/** Runs one command line; resolves to the exit code. */
export async function main(args: readonly string[]): Promise<number> {
  const [name, ...rest] = args
  const controller = new AbortController()
  const signals = Object.keys(exitCodes) as (keyof typeof exitCodes)[]
  let status = exitCodes.SIGINT
  const stop = (why: string): void => controller.abort(new LangevinError('E_CANCELLED', why))
  const interrupt = (signal: NodeJS.Signals): void => {
    status = exitCodes[signal as keyof typeof exitCodes]
    if (controller.signal.aborted) {
      // The signal's own effect ends the process wherever it stands; exit() would first take down libraries that native work still uses.
      release()
      process.kill(process.pid, signal)
      return
    }
    process.stderr.write('\nstopping at the next step; press Ctrl-C again to quit at once\n')
    stop(`cancelled by ${signal === 'SIGINT' ? 'Ctrl-C' : signal}`)
  }
  // Whoever read the output (head, a closed terminal) is gone: stop as for Ctrl-C, so that a checkpoint is kept.
  const unread = (): void => stop('nobody reads the output any more')
  const release = () => signals.map((s) => process.off(s, interrupt))
  for (const s of signals) process.on(s, interrupt)
  process.stdout.on('error', unread)
  process.stderr.on('error', unread)
  try {
    if (name === undefined || name === 'help' || name === '--help' || name === '-h') {
      const topic = commands.find((c) => c.name === rest[0])
      process.stdout.write(topic === undefined ? overview() : helpText(topic))
      return name === undefined ? 2 : 0
    }
    if (name === '--version' || name === '-v') {
      process.stdout.write(`${packageVersion()}\n`)
      return 0
    }
    const command = commands.find((c) => c.name === name)
    if (command === undefined) {
      throw new UsageError(
        `unknown command '${name}'.${suggestion(
          name,
          commands.map((c) => c.name),
        )}`,
      )
    }
    await runCommand(command, rest, controller.signal)
    return 0
  } catch (error) {
    return report(error, args.includes('--json'), status)
  } finally {
    release()
  }
}

function report(error: unknown, json: boolean, cancelled: number): number {
  const e = error instanceof Error ? error : new Error(String(error))
  const code = e instanceof LangevinError ? e.code : e.name
  if (json) process.stdout.write(`${JSON.stringify({ event: 'error', code, message: e.message })}\n`)
  process.stderr.write(`error: ${e.message}\n`)
  if (process.env.LANGEVIN_DEBUG) process.stderr.write(`${e.stack}\n`)
  if (code === 'E_CANCELLED') return cancelled
  return e instanceof UsageError ? 2 : 1
}

process.exitCode = await main(process.argv.slice(2))
