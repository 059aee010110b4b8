/**
 * The simulated CUDA driver is strict: what a GPU would refuse or break on is refused, named, and breaks later calls. A small program, compiled here,
 * does one thing after another wrong. Skipped where the simulator was not built or there is no compiler.
 */
import { execFileSync, spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, realpathSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'

const at = (path: string): string => fileURLToPath(new URL(path, import.meta.url))
const release = dirname(process.env.LANGEVIN_ADDON ?? at('../../build/Release/langevin.node'))
const library = join(release, 'cuda-simulator', 'libcuda.so.1')
const compiler = process.env.CXX ?? 'c++'
const able = existsSync(library) && spawnSync(compiler, ['--version']).status === 0

let folder = ''
beforeAll(() => {
  if (!able) return
  folder = mkdtempSync(join(tmpdir(), 'langevin-simulator-test-'))
  const flags = ['-std=c++17', '-Wall', '-Wextra', '-Werror', '-o', join(folder, 'program')]
  const file = realpathSync(library)
  execFileSync(compiler, [...flags, at('cuda-simulator.cc'), file, `-Wl,-rpath,${dirname(file)}`])
})
afterAll(() => {
  if (folder !== '') rmSync(folder, { recursive: true })
})

/** What the program printed, and what the simulator said on standard error. */
function run(what: string, variables: Record<string, string> = {}): { lines: string[]; said: string } {
  const env = { ...process.env, LANGEVIN_SIMULATOR_CACHE: join(folder, 'cache'), ...variables }
  const done = spawnSync(join(folder, 'program'), [what, at('../../native')], { env, encoding: 'utf8' })
  expect(done.signal).toBe(null)
  expect(done.status, done.stdout + done.stderr).toBe(0)
  return { lines: done.stdout.trim().split('\n'), said: done.stderr }
}

describe.skipIf(!able)('the simulated driver', () => {
  for (const order of ['shuffled', 'forward', 'reversed']) {
    test(`runs kernels with and without barriers, blocks ${order}`, () => {
      expect(run('right', { LANGEVIN_SIMULATOR_ORDER: order })).toEqual({ lines: ['wrong 0'], said: '' })
    })
  }

  test('shows that a barrier is missing', () => {
    expect(run('race').lines).toEqual(['seen yes'])
  })

  test('replays a graph, and refuses one that was destroyed', () => {
    expect(run('graph').lines).toEqual(['fourth power of 3: 81', 'again CUDA_ERROR_INVALID_HANDLE'])
  })

  test('counts what was done', () => {
    const file = join(folder, 'counts.json')
    run('graph', { LANGEVIN_SIMULATOR_COUNTS: file })
    expect(JSON.parse(readFileSync(file, 'utf8'))).toMatchObject({
      launches: 1,
      graphLaunches: 2,
      kernels: 2,
      graphs: 1,
    })
  })

  test('lets pinned memory be read too early', () => {
    expect(run('pinned').lines).toEqual(['early not there', 'late there'])
  })

  test('wants cuInit, then a context', () => {
    expect(run('no context').lines).toEqual(['before CUDA_ERROR_NOT_INITIALIZED', 'after CUDA_ERROR_INVALID_CONTEXT'])
  })

  test('spoils a capture in which someone waits', () => {
    const { lines } = run('waiting in capture')
    expect(lines.slice(0, 2)).toEqual([
      'wait CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED',
      'launch CUDA_ERROR_STREAM_CAPTURE_INVALIDATED',
    ])
    expect(lines.slice(2)).toEqual(['end CUDA_ERROR_STREAM_CAPTURE_INVALIDATED', 'graph none'])
  })

  test('allocates nothing within a capture', () => {
    expect(run('allocating in capture').lines).toEqual(['allocate CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED'])
  })

  test('checks launches, frees and copies when they are asked for', () => {
    const { lines } = run('limits')
    const wrong = 'CUDA_ERROR_INVALID_VALUE'
    expect(lines).toEqual([
      `threads ${wrong}`,
      `blocks ${wrong}`,
      `shared ${wrong}`,
      'memory CUDA_ERROR_OUT_OF_MEMORY',
      `inside ${wrong}`,
      'free CUDA_SUCCESS',
      `twice ${wrong}`,
      `copy ${wrong}`,
    ])
  })

  const illegal = 'CUDA_ERROR_ILLEGAL_ADDRESS'
  const faults: [string, string, RegExp][] = [
    ['divergent', 'CUDA_ERROR_LAUNCH_FAILED', /kernel divergent \(block \d, thread \d+\): a divergent barrier/],
    ['beyond', illegal, /kernel beyond .* touched \d+ bytes behind an allocation of 12600 bytes/],
    ['just_beyond', illegal, /kernel just_beyond wrote 0 bytes behind the end of an allocation of 12600 bytes/],
    ['misaligned', 'CUDA_ERROR_MISALIGNED_ADDRESS', /kernel misaligned .* used a misaligned address/],
    ['beyond_shared', illegal, /kernel beyond_shared .* touched 0 bytes behind its 256 bytes of shared memory/],
    ['host pointer', illegal, /kernel squares was given an address of the host .* at byte 8/],
    ['freed', illegal, /kernel squares .* touched byte \d+ of an allocation of 12600 bytes that was freed/],
  ]
  for (const [what, code, words] of faults) {
    test(`names a kernel that goes wrong: ${what}`, () => {
      const { lines, said } = run(what)
      expect(lines).toEqual(['launch CUDA_SUCCESS', `wait ${code}`, `later ${code}`])
      expect(said).toMatch(words)
    })
  }
})
