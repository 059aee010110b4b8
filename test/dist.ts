/**
 * For tests that work with files and processes: folders that are removed afterwards, and the compiled and bundled package in dist/, built
 * once and again when a source is newer.
 */
import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readdirSync, rmdirSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { afterAll } from 'vitest'

const root = fileURLToPath(new URL('../', import.meta.url))
const stamp = join(root, 'dist/.built')
const bundler = join(root, 'scripts/bundle.mjs')
const lock = join(root, 'dist/.building')

const made: string[] = []

afterAll(() => {
  for (const folder of made) rmSync(folder, { recursive: true, force: true })
})

/** A new folder, removed after the test file. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'langevin-test-'))
  made.push(folder)
  return folder
}

const modified = (path: string): number => {
  try {
    return statSync(path).mtimeMs
  } catch {
    return 0
  }
}

const newestSource = (): number =>
  Math.max(
    ...readdirSync(join(root, 'lib'), { recursive: true }).map((f) => modified(join(root, 'lib', String(f)))),
    modified(bundler),
  )

/** Builds dist/ unless it is newer than every source; two test files at once wait for each other. Returns its folder. */
export async function buildDist(): Promise<string> {
  mkdirSync(join(root, 'dist'), { recursive: true })
  for (;;) {
    const newest = newestSource()
    if (modified(stamp) >= newest) return join(root, 'dist')
    try {
      mkdirSync(lock)
    } catch {
      // A build that was killed leaves its lock: after two minutes it counts as abandoned.
      if (Date.now() - modified(lock) > 120_000) rmdirSync(lock)
      await sleep(50)
      continue
    }
    try {
      const compiler = join(root, 'node_modules/typescript/bin/tsc')
      for (const step of [[compiler, '-p', 'tsconfig.build.json'], [bundler]]) {
        execFileSync(process.execPath, step, { cwd: root, stdio: 'pipe' })
      }
      writeFileSync(stamp, '')
      // Not now: a source that changed during the build is newer than what was built.
      utimesSync(stamp, new Date(Math.ceil(newest)), new Date(Math.ceil(newest)))
    } finally {
      rmdirSync(lock)
    }
  }
}
