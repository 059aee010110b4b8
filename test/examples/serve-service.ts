/** Services under test: the example compiled, bundles of tiny runs, servers on free ports. All of it is gone when the file's tests are. */
import { execFileSync } from 'node:child_process'
import { rmSync } from 'node:fs'
import { mkdtemp } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { afterAll } from 'vitest'
import type { createService as CreateService, Service } from '../../examples/serve/src/app.ts'
import type { ServeOptions } from '../../examples/serve/src/options.ts'
import { exportBundle } from '../../lib/export/bundle.ts'
import type { Run } from '../../lib/trainers/run.ts'
import { folder } from '../trainers/tiny.ts'
import { trainedDigits } from '../trainers/trained.ts'

const root = fileURLToPath(new URL('../../', import.meta.url))
const example = join(root, 'examples/serve')
const made: string[] = []
const running: Service[] = []

afterAll(async () => {
  await Promise.all(running.map((service) => service.stop()))
  for (const path of made) rmSync(path, { recursive: true, force: true })
})

let compiled: Promise<string> | undefined

/** The folder with the compiled example: the models' threads run no TypeScript. Beside the sources, so that packages are found. */
export function compile(): Promise<string> {
  compiled ??= (async () => {
    const out = await mkdtemp(join(example, 'dist-'))
    made.push(out)
    execFileSync(process.execPath, [
      join(root, 'node_modules/typescript/bin/tsc'),
      '-p',
      example,
      '--outDir',
      out,
      '--sourceMap',
      'false',
    ])
    return out
  })()
  return compiled
}

/** A service over `bundle` that listens. Logs are off unless told otherwise. */
export async function serve(
  bundle: string,
  options: Partial<ServeOptions> = {},
): Promise<{ url: string; service: Service }> {
  const module: unknown = await import(/* @vite-ignore */ pathToFileURL(join(await compile(), 'app.js')).href)
  const { createService } = module as { readonly createService: typeof CreateService }
  const service = await createService(bundle, { log: 'silent', port: 0, threads: 1, ...options })
  running.push(service)
  const url = await service.app.listen({ host: '127.0.0.1', port: 0 })
  return { url, service }
}

export interface DigitsBundle {
  readonly path: string
  readonly run: Run
  /** 64 raw numbers 0..16 an image, and what the model sees of them. */
  readonly raw: Uint8Array
  readonly x: Float32Array
}

/** A classifier of digits with a chain and a threshold, trained for a moment. */
export async function digitsBundle(): Promise<DigitsBundle> {
  const { run, digits } = await trainedDigits()
  const path = join(folder(), 'digits')
  await exportBundle(run, path, { heldOut: digits, ood: [] })
  return { path, run, raw: Uint8Array.from(digits.features.data), x: digits.normalized().data as Float32Array }
}

/** Sends JSON; gives status, headers and the parsed body. */
export async function post(url: string, body: unknown, headers: Record<string, string> = {}) {
  const response = await fetch(url, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: typeof body === 'string' ? body : body instanceof Uint8Array ? Buffer.from(body) : JSON.stringify(body),
  })
  const type = response.headers.get('content-type') ?? ''
  const answer: unknown = type.includes('json') ? await response.json() : new Uint8Array(await response.arrayBuffer())
  return { status: response.status, headers: response.headers, body: answer as never }
}
