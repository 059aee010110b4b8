/** The compiled package in dist/, for tests that run it in processes of its own: built once, and again when a source is newer. */
import { execFileSync } from 'node:child_process'
import { mkdirSync, readdirSync, rmdirSync, statSync, utimesSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('../', import.meta.url))
const stamp = join(root, 'dist/.built')
const lock = join(root, 'dist/.building')

const modified = (path: string): number => {
  try {
    return statSync(path).mtimeMs
  } catch {
    return 0
  }
}

const newestSource = (): number =>
  Math.max(...readdirSync(join(root, 'lib'), { recursive: true }).map((f) => modified(join(root, 'lib', String(f)))))

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
      execFileSync(process.execPath, [join(root, 'node_modules/typescript/bin/tsc'), '-p', 'tsconfig.build.json'], {
        cwd: root,
        stdio: 'pipe',
      })
      writeFileSync(stamp, '')
      // Not now: a source that changed during the build is newer than what was built.
      utimesSync(stamp, new Date(Math.ceil(newest)), new Date(Math.ceil(newest)))
    } finally {
      rmdirSync(lock)
    }
  }
}
