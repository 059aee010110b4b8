/** What the service can be told, with defaults and limits: one table from which the command line, its help and the checks are made. */
import { availableParallelism } from 'node:os'
import { parseArgs } from 'node:util'
import { near } from './check.ts'
import { StartError } from './errors.ts'

export interface ServeOptions {
  readonly host: string
  /** 0 takes any free port. */
  readonly port: number
  /** Threads of a run of the model. */
  readonly threads: number
  /** Gather rows of concurrent requests into batches. */
  readonly batching: boolean
  /** Most rows of a batch. */
  readonly maxBatch: number
  /** Milliseconds that a row may wait for company. */
  readonly maxDelay: number
  /** Most rows that wait. */
  readonly queue: number
  /** Most examples of a request. */
  readonly maxRows: number
  /** Most bytes of a body. */
  readonly bodyLimit: number
  /** Milliseconds in which a request must have arrived, and in which it is answered. */
  readonly timeout: number
  /** Load sampler.onnx, if there is one. */
  readonly sampler: boolean
  readonly samplerThreads: number
  /** Most samples of a request, most steps of a chain, most requests that wait for samples. */
  readonly maxSamples: number
  readonly maxSteps: number
  readonly sampleQueue: number
  /** Milliseconds in which samples are answered. */
  readonly sampleTimeout: number
  /** Milliseconds that requests under way have when the service is told to stop. */
  readonly drain: number
  readonly log: LogLevel
  /** A log line for every request. */
  readonly logRequests: boolean
}

const levels = ['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'] as const
export type LogLevel = (typeof levels)[number]

export const defaults: ServeOptions = {
  host: '127.0.0.1',
  port: 8080,
  threads: Math.max(1, Math.floor(availableParallelism() / 2)),
  batching: true,
  maxBatch: 64,
  maxDelay: 0,
  queue: 4096,
  maxRows: 1024,
  bodyLimit: 8 * 1024 * 1024,
  timeout: 10_000,
  sampler: true,
  samplerThreads: 1,
  maxSamples: 64,
  maxSteps: 1000,
  sampleQueue: 16,
  sampleTimeout: 60_000,
  drain: 10_000,
  log: 'info',
  logRequests: false,
}

interface Entry {
  readonly flag: string
  readonly key: keyof ServeOptions
  readonly value?: string
  readonly least?: number
  readonly most?: number
  readonly help: string
}

const table: readonly Entry[] = [
  { flag: 'host', key: 'host', value: 'HOST', help: 'address to listen on; 0.0.0.0 for every interface' },
  { flag: 'port', key: 'port', value: 'N', least: 0, most: 65535, help: '0 takes any free port' },
  { flag: 'threads', key: 'threads', value: 'N', least: 1, most: 256, help: 'of a run of the model' },
  { flag: 'no-batching', key: 'batching', help: 'run every request by itself' },
  { flag: 'max-batch', key: 'maxBatch', value: 'ROWS', least: 1, most: 4096, help: 'most rows of a batch' },
  {
    flag: 'max-delay',
    key: 'maxDelay',
    value: 'MS',
    least: 0,
    most: 1000,
    help: 'how long a row may wait for company while the model is idle',
  },
  { flag: 'queue', key: 'queue', value: 'ROWS', least: 1, most: 1e6, help: 'rows that may wait; more get 503' },
  { flag: 'max-rows', key: 'maxRows', value: 'ROWS', least: 1, most: 1e5, help: 'most examples of a request' },
  { flag: 'body-limit', key: 'bodyLimit', value: 'BYTES', least: 1024, most: 2 ** 30, help: 'larger bodies get 413' },
  {
    flag: 'timeout',
    key: 'timeout',
    value: 'MS',
    least: 10,
    most: 3.6e6,
    help: 'to receive a request, and to answer it',
  },
  { flag: 'no-sampler', key: 'sampler', help: 'classify only' },
  { flag: 'sampler-threads', key: 'samplerThreads', value: 'N', least: 1, most: 256, help: 'of a run of the sampler' },
  { flag: 'max-samples', key: 'maxSamples', value: 'N', least: 1, most: 1e5, help: 'most samples of a request' },
  { flag: 'max-steps', key: 'maxSteps', value: 'N', least: 1, most: 1e6, help: 'most steps of a chain' },
  {
    flag: 'sample-queue',
    key: 'sampleQueue',
    value: 'N',
    least: 0,
    most: 1e4,
    help: 'requests for samples that may wait',
  },
  { flag: 'sample-timeout', key: 'sampleTimeout', value: 'MS', least: 10, most: 3.6e6, help: 'to answer with samples' },
  { flag: 'drain', key: 'drain', value: 'MS', least: 0, most: 3.6e6, help: 'what requests under way have at SIGTERM' },
  { flag: 'log', key: 'log', value: 'LEVEL', help: levels.join(', ') },
  { flag: 'log-requests', key: 'logRequests', help: 'a line for every request' },
]

export function helpText(): string {
  const lines = table.map(({ flag, key, value, help }) => {
    const left = `  --${flag}${value === undefined ? '' : ` ${value}`}`
    const preset = value === undefined ? '' : ` (default ${defaults[key]})`
    return `${left.padEnd(24)}${help}${preset}`
  })
  return [
    'Serves a langevin bundle over HTTP: POST /classify, POST /sample, GET /health, /metrics, /model.',
    '',
    'usage: npm start -- BUNDLE [options]',
    '',
    ...lines,
    `${'  --help'.padEnd(24)}this text`,
    '',
    'BUNDLE is a folder that `langevin export RUN --bundle BUNDLE` wrote. SIGTERM and Ctrl-C let requests under way finish.',
    '',
  ].join('\n')
}

/** What a command line says: the bundle and the options, or that help is wanted. @throws StartError E_USAGE. */
export function readArguments(args: readonly string[]): { bundle: string; options: ServeOptions } | 'help' {
  const { values, positionals } = parsed(args)
  if (values.help === true) return 'help'
  const [bundle, ...more] = positionals
  if (bundle === undefined || more.length > 0)
    throw new StartError('E_USAGE', `expected one bundle folder; got ${positionals.length}. See --help`)
  const given: Record<string, unknown> = {}
  for (const entry of table) {
    const value = values[entry.flag]
    if (value === undefined) continue
    if (value === true) given[entry.key] = !entry.flag.startsWith('no-')
    else given[entry.key] = typeof defaults[entry.key] === 'number' ? numberOf(entry, value) : value
  }
  return { bundle, options: withDefaults(given as Partial<ServeOptions>) }
}

/** Options with defaults for what is not given. @throws StartError E_USAGE for a value beyond its limits. */
export function withDefaults(given: Partial<ServeOptions>): ServeOptions {
  const unknown = Object.keys(given).find((key) => !(key in defaults))
  if (unknown !== undefined)
    throw new StartError(
      'E_USAGE',
      `there is no option '${unknown}'; expected any of ${Object.keys(defaults).join(', ')}`,
    )
  const options = { ...defaults, ...given }
  for (const { flag, key, least, most } of table) {
    const value = options[key]
    if (typeof value !== typeof defaults[key])
      throw new StartError('E_USAGE', `--${flag}: expected a ${typeof defaults[key]}; got ${value}`)
    if (typeof value !== 'number' || least === undefined || most === undefined) continue
    const whole = key === 'maxDelay' || Number.isInteger(value)
    if (!whole || !(value >= least && value <= most))
      throw new StartError(
        'E_USAGE',
        `--${flag}: expected a ${key === 'maxDelay' ? '' : 'whole '}number in ${least}..${most}; got ${value}`,
      )
  }
  if (!levels.includes(options.log))
    throw new StartError('E_USAGE', `--log: expected one of ${levels.join(', ')}; got '${options.log}'`)
  return options
}

function parsed(args: readonly string[]): {
  values: Record<string, string | boolean | undefined>
  positionals: string[]
} {
  const flags = table.map(({ flag, value }) => [flag, { type: value === undefined ? 'boolean' : 'string' }] as const)
  try {
    const { values, positionals } = parseArgs({
      args: [...args],
      options: { ...Object.fromEntries(flags), help: { type: 'boolean', short: 'h' } },
      allowPositionals: true,
    })
    return { values: values as Record<string, string | boolean | undefined>, positionals }
  } catch (cause) {
    const message = cause instanceof Error ? cause.message : String(cause)
    const unknown = /'--([\w-]+)/.exec(message)?.[1]
    const meant = unknown === undefined ? undefined : table.find((e) => near(e.flag, unknown))
    const hint = meant === undefined || meant.flag === unknown ? '' : ` Did you mean --${meant.flag}?`
    throw new StartError('E_USAGE', `${message.split('. ')[0]}.${hint} See --help`, cause)
  }
}

function numberOf({ flag }: Entry, value: string | boolean): number {
  const n = typeof value === 'string' && value.trim() !== '' ? Number(value) : Number.NaN
  if (Number.isNaN(n)) throw new StartError('E_USAGE', `--${flag}: expected a number; got '${value}'`)
  return n
}
