/** For the tests of examples/browser: the page built into a folder, served under a sub-path of loopback, and the system's Chromium if there is one. */
import { execFile, execFileSync } from 'node:child_process'
import { createReadStream, existsSync, statSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { dirname, extname, join, normalize, sep } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

export const example = fileURLToPath(new URL('../../examples/browser/', import.meta.url))

/** Path of the system's Chromium: CHROMIUM, or the one on the PATH; undefined where there is none. */
export function findChromium(): string | undefined {
  const given = process.env.CHROMIUM
  if (given !== undefined && given !== '') return given
  for (const name of ['chromium', 'chromium-browser', 'google-chrome']) {
    try {
      const path = execFileSync('sh', ['-c', `command -v ${name}`], { encoding: 'utf8' }).trim()
      if (path !== '') return path
    } catch {
      // The next name.
    }
  }
  return undefined
}

/** What Debian's Chromium wants in a container; none of it matters to the page. */
export const chromiumFlags = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
]

/** Builds the page as `npm run build` does (in a process of its own: the tests' NODE_ENV would make another page), into `folder`. */
export async function buildPage(folder: string): Promise<void> {
  const { NODE_ENV: _, ...env } = process.env
  const vite = join(dirname(fileURLToPath(import.meta.resolve('vite/package.json'))), 'bin/vite.js')
  const options = ['build', '--outDir', folder, '--emptyOutDir', '--logLevel', 'error']
  await promisify(execFile)(process.execPath, [vite, ...options], { cwd: example, env })
}

const types: Readonly<Record<string, string>> = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript',
  '.mjs': 'text/javascript',
  '.css': 'text/css',
  '.json': 'application/json',
  '.webmanifest': 'application/manifest+json',
  '.svg': 'image/svg+xml',
  '.wasm': 'application/wasm',
  '.onnx': 'application/octet-stream',
}

export interface Site {
  /** Address of the page, with a slash at its end. */
  readonly url: string
  readonly origin: string
  close(): Promise<void>
}

/** Serves `folder` at http://127.0.0.1:PORT/some/where/ and nothing else: no special headers, as any static host. */
export async function servePage(folder: string): Promise<Site> {
  const prefix = '/some/where/'
  const server = createServer((request, response) => {
    const { pathname } = new URL(request.url ?? '/', 'http://127.0.0.1')
    const wanted = pathname.endsWith('/') ? `${pathname}index.html` : pathname
    const file = normalize(join(folder, decodeURIComponent(wanted.slice(prefix.length))))
    const inside = wanted.startsWith(prefix) && file.startsWith(folder + sep)
    if (!inside || !existsSync(file) || !statSync(file).isFile()) {
      response.writeHead(404).end('not found')
      return
    }
    response.writeHead(200, { 'content-type': types[extname(file)] ?? 'application/octet-stream' })
    createReadStream(file).pipe(response)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  const origin = `http://127.0.0.1:${port}`
  return {
    url: `${origin}${prefix}`,
    origin,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}
