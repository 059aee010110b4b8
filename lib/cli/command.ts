/** What every command shares: option parsing with good errors, help text, output (people or --json), cancelling by Ctrl-C. */
import { parseArgs } from 'node:util'
import { suggestion } from '../graph/errors.ts'
import { setThreads } from '../runtime/addon.ts'
import { type Device, defaultDevice, isDevice, setDefaultDevice } from '../runtime/devices.ts'

/** A mistake in the command line itself: exit code 2. */
export class UsageError extends Error {
  override readonly name = 'UsageError'
}

export interface OptionSpec {
  readonly type: 'string' | 'boolean'
  /** Shown as `--name VALUE`. */
  readonly value?: string
  /** One letter. */
  readonly short?: string
  readonly help: string
}

export interface CommandSpec {
  readonly name: string
  /** Positional arguments, e.g. ['CONFIG.json']. */
  readonly positionals: readonly string[]
  readonly summary: string
  readonly options: Readonly<Record<string, OptionSpec>>
  readonly examples: readonly string[]
  run(context: CommandContext): Promise<void>
}

const common: Readonly<Record<string, OptionSpec>> = {
  seed: { type: 'string', value: 'N', help: 'seed of everything random' },
  threads: {
    type: 'string',
    value: 'N',
    help: 'threads of the native kernels (default: LANGEVIN_THREADS, else all cores)',
  },
  device: {
    type: 'string',
    value: 'NAME',
    help: 'cpu, cuda, cuda:1, or auto: a GPU where there is one (default: LANGEVIN_DEVICE, else cpu)',
  },
  json: { type: 'boolean', help: 'one JSON object a line on standard output, for machines' },
  help: { type: 'boolean', short: 'h', help: 'show this text' },
}

/** Parsed arguments of one command. */
export class CommandContext {
  readonly positionals: readonly string[]
  readonly json: boolean
  readonly signal: AbortSignal
  private readonly values: Readonly<Record<string, string | boolean | undefined>>

  constructor(
    positionals: readonly string[],
    values: Readonly<Record<string, string | boolean | undefined>>,
    signal: AbortSignal,
  ) {
    this.positionals = positionals
    this.values = values
    this.json = values.json === true
    this.signal = signal
  }

  text(name: string): string | undefined {
    const v = this.values[name]
    return typeof v === 'string' ? v : undefined
  }

  flag(name: string): boolean {
    return this.values[name] === true
  }

  /** An integer option within bounds. */
  integer(name: string, least = 0): number | undefined {
    const v = this.text(name)
    if (v === undefined) return undefined
    const n = Number(v)
    if (v.trim() === '' || !Number.isSafeInteger(n) || n < least)
      throw new UsageError(`--${name} takes an integer ≥ ${least}; got '${v}'`)
    return n
  }

  /** A comma-separated list, each word among `allowed`. */
  list<T extends string>(name: string, allowed?: readonly T[]): T[] | undefined {
    const v = this.text(name)
    if (v === undefined) return undefined
    const words = v.split(',').map((w) => w.trim())
    for (const w of words) {
      if (w === '' || (allowed !== undefined && !allowed.includes(w as T))) {
        throw new UsageError(`--${name}: '${w}' is not allowed.${suggestion(w, allowed ?? [])}`)
      }
    }
    return words as T[]
  }

  /** The device of the command, which is the default device of everything in it. */
  get device(): Device {
    return defaultDevice()
  }

  /** A line for people, or an object for machines. */
  print(text: string, value: Readonly<Record<string, unknown>>): void {
    process.stdout.write(this.json ? `${JSON.stringify(value)}\n` : `${text}\n`)
  }
}

/** Parses the arguments of `spec` and runs it; prints help when asked. */
export async function runCommand(spec: CommandSpec, args: readonly string[], signal: AbortSignal): Promise<void> {
  const options = { ...spec.options, ...common }
  const parsed = parse(spec, args, options)
  if (parsed.values.help === true) {
    process.stdout.write(helpText(spec))
    return
  }
  const { positionals } = parsed
  if (positionals.length !== spec.positionals.length) {
    const wants = spec.positionals.length === 0 ? 'takes no arguments' : `takes ${spec.positionals.join(' ')}`
    throw new UsageError(
      `langevin ${spec.name} ${wants}; got ${positionals.length === 0 ? 'nothing' : positionals.join(' ')}`,
    )
  }
  const context = new CommandContext(positionals, parsed.values, signal)
  const threads = context.integer('threads', 1)
  if (threads !== undefined) setThreads(threads)
  const device = context.text('device')
  if (device !== undefined) useDevice(device)
  await spec.run(context)
}

function useDevice(name: string): void {
  if (name !== 'auto' && !isDevice(name))
    throw new UsageError(`--device must be cpu, cuda, cuda:1 (or another number) or auto; got '${name}'`)
  setDefaultDevice(name)
}

function parse(spec: CommandSpec, args: readonly string[], options: Readonly<Record<string, OptionSpec>>) {
  const config = Object.fromEntries(
    Object.entries(options).map(([name, { type, short }]) => [name, short === undefined ? { type } : { type, short }]),
  )
  try {
    return parseArgs({ args: [...args], options: config, allowPositionals: true, strict: true })
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    const unknown = /option '(-[^']*)'/.exec(message)?.[1]
    if (code === 'ERR_PARSE_ARGS_UNKNOWN_OPTION' && unknown !== undefined) {
      const names = Object.keys(options).map((n) => `--${n}`)
      throw new UsageError(`langevin ${spec.name}: unknown option ${unknown}.${suggestion(unknown, names)}`)
    }
    throw new UsageError(`langevin ${spec.name}: ${message}`)
  }
}

/** The text of `langevin COMMAND --help`. */
export function helpText(spec: CommandSpec): string {
  const line = ([name, o]: [string, OptionSpec]) =>
    `  ${`--${name}${o.value === undefined ? '' : ` ${o.value}`}`.padEnd(26)} ${o.help}`
  return [
    `langevin ${[spec.name, ...spec.positionals].join(' ')} [options]`,
    '',
    spec.summary,
    '',
    ...Object.entries(spec.options).map(line),
    ...Object.entries(common).map(line),
    '',
    'Examples:',
    ...spec.examples.map((e) => `  ${e}`),
    '',
  ].join('\n')
}
