#!/usr/bin/env node
/**
 * Load on a server of its own, on loopback only: so many requests at several concurrencies, with and without batching. Tells latencies,
 * throughput, and how many requests were lost. Client and server share the machine, so the figures are of both together.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { writeFile } from 'node:fs/promises'
import { availableParallelism, cpus } from 'node:os'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import autocannon from 'autocannon'
import { type InputInfo, readBundle } from './bundle.ts'
import { StartError } from './errors.ts'
import { sizeOf } from './rows.ts'

/** One row of the table. */
export interface LoadResult {
  readonly batching: boolean
  readonly concurrency: number
  /** Requests sent, answered with 200, answered otherwise, failed (connection or 30 s without an answer), and neither. */
  readonly sent: number
  readonly ok: number
  readonly refused: number
  readonly failed: number
  readonly lost: number
  readonly seconds: number
  readonly perSecond: number
  /** Milliseconds. */
  readonly p50: number
  readonly p99: number
  readonly max: number
  /** Requests in a batch. */
  readonly meanBatch: number
}

const usage = `usage: npm run load -- BUNDLE [options]

  --requests N          for each row of the table (default 10000)
  --concurrency LIST    connections (default 1,16,64)
  --out FILE            write the results as JSON
  --limit SECONDS       for each row: then it counts what there is (default 300)
  --threads N, --max-batch N, --max-delay MS   for the server
`

async function main(args: readonly string[]): Promise<void> {
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: {
      requests: { type: 'string', default: '10000' },
      concurrency: { type: 'string', default: '1,16,64' },
      limit: { type: 'string', default: '300' },
      out: { type: 'string' },
      threads: { type: 'string' },
      'max-batch': { type: 'string' },
      'max-delay': { type: 'string' },
      help: { type: 'boolean' },
    },
  })
  const folder = positionals[0]
  if (folder === undefined || values.help) {
    process.stdout.write(usage)
    return
  }
  const requests = whole('requests', values.requests)
  const limit = whole('limit', values.limit)
  const concurrencies = values.concurrency.split(',').map((c) => whole('concurrency', c))
  const { input, name } = await readBundle(folder)
  const flags = (['threads', 'max-batch', 'max-delay'] as const).flatMap((f) =>
    values[f] ? [`--${f}`, values[f]] : [],
  )
  const bodies = Array.from({ length: 64 }, (_, i) => exampleBody(input, i))
  const results: LoadResult[] = []
  process.stdout.write(`${header}\n`)
  for (const batching of [true, false]) {
    const server = await startServer([folder, ...flags, ...(batching ? [] : ['--no-batching'])])
    try {
      await hit(server.url, bodies, Math.min(500, requests), 8, limit)
      for (const concurrency of concurrencies) {
        const result = { batching, ...(await hit(server.url, bodies, requests, concurrency, limit)) }
        results.push(result)
        process.stdout.write(`${row(result)}\n`)
      }
    } finally {
      server.process.kill('SIGTERM')
      if (server.process.exitCode === null) await once(server.process, 'exit')
    }
  }
  const machine = {
    processor: cpus()[0]?.model ?? 'unknown',
    cores: availableParallelism(),
    node: process.versions.node,
  }
  process.stdout.write(
    `${machine.processor}, ${machine.cores} cores, Node ${machine.node}; ${name}, ${requests} requests a row\n`,
  )
  if (values.out)
    await writeFile(values.out, `${JSON.stringify({ bundle: name, requests, machine, results }, null, 2)}\n`)
  if (results.some((r) => r.lost + r.failed + r.refused > 0)) process.exitCode = 1
}

function whole(name: string, text: string): number {
  const n = Number(text)
  if (Number.isInteger(n) && n >= 1 && n <= 1e7) return n
  throw new StartError('E_USAGE', `--${name}: expected a whole number in 1..10000000; got '${text}'`)
}

/** A body with one example of numbers within the data's range (or near 0, for data without one). */
function exampleBody({ shape, range }: InputInfo, index: number): string {
  const [low, high] = range ?? [-1, 1]
  const value = (j: number) => low + (high - low) * (0.5 + 0.5 * Math.sin(1 + index * 7.3 + j * 1.7))
  return JSON.stringify({ instances: [Array.from({ length: sizeOf(shape) }, (_, j) => Number(value(j).toFixed(3)))] })
}

async function startServer(args: readonly string[]): Promise<{ process: ChildProcess; url: string }> {
  const main = fileURLToPath(new URL('./main.js', import.meta.url))
  const child = spawn(process.execPath, [main, ...args, '--port', '0', '--no-sampler'], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  for await (const line of createInterface({ input: child.stdout })) {
    const { msg, url } = JSON.parse(line) as { readonly msg?: string; readonly url?: string }
    if (msg !== 'ready' || url === undefined) continue
    child.stdout.resume()
    return { process: child, url }
  }
  throw new StartError('E_BUNDLE', 'the server did not start')
}

/** Sends `amount` requests over `connections`; latencies are of every single answer. */
async function hit(
  url: string,
  bodies: readonly string[],
  amount: number,
  connections: number,
  limit: number,
): Promise<Omit<LoadResult, 'batching'>> {
  const before = await batchesOf(url)
  const times: number[] = []
  const headers = { 'content-type': 'application/json' }
  const begun = performance.now()
  let last = begun
  const running = autocannon({
    url: `${url}/classify`,
    connections: Math.min(connections, amount),
    amount,
    timeout: 30,
    sampleInt: 100,
    requests: bodies.map((body) => ({ method: 'POST' as const, headers, body })),
    setupClient: (client) => {
      client.on('response', (_status: number, _bytes: number, milliseconds: number) => {
        times.push(milliseconds)
        last = performance.now()
      })
    },
  })
  const guard = setTimeout(() => (running as unknown as { stop: () => void }).stop(), 1000 * limit)
  const result = await running
  clearTimeout(guard)
  const after = await batchesOf(url)
  const sorted = times.sort((a, b) => a - b)
  const quantile = (q: number) => sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))] ?? Number.NaN
  const { sent } = result.requests
  // To the last answer: autocannon itself ends at its next sample.
  const seconds = (last - begun) / 1000
  const [ok, refused, failed] = [result['2xx'], result.non2xx, result.errors]
  return {
    concurrency: connections,
    ...{ sent, ok, refused, failed, lost: sent - ok - refused - failed },
    ...{ seconds, perSecond: ok / seconds },
    ...{ p50: quantile(0.5), p99: quantile(0.99), max: sorted.at(-1) ?? Number.NaN },
    meanBatch: (after.requests - before.requests) / (after.batches - before.batches),
  }
}

async function batchesOf(url: string): Promise<{ requests: number; batches: number }> {
  const text = await (await fetch(`${url}/metrics`)).text()
  const read = (what: string) => Number(new RegExp(`^langevin_batch_requests_${what} (.*)$`, 'm').exec(text)?.[1])
  return { requests: read('sum'), batches: read('count') }
}

const header = `| batching | connections | requests/s | p50 ms | p99 ms | max ms | requests a batch | refused | failed | lost |
|---|---|---|---|---|---|---|---|---|---|`

function row(r: LoadResult): string {
  const figures = [r.perSecond.toFixed(0), r.p50.toFixed(1), r.p99.toFixed(1), r.max.toFixed(1), r.meanBatch.toFixed(1)]
  return `| ${[r.batching ? 'yes' : 'no', r.concurrency, ...figures, r.refused, r.failed, r.lost].join(' | ')} |`
}

main(process.argv.slice(2)).catch((error: unknown) => {
  process.stderr.write(`load: ${error instanceof StartError ? error.message : (error as Error).stack}\n`)
  process.exitCode = 1
})
