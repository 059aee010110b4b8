/** Pages under test: their ```ts blocks, run as they stand but for the import, which comes from lib/, and what they print. */
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { afterEach, beforeEach, expect, vi } from 'vitest'
import { setThreads } from '../../lib/runtime/addon.ts'

// Small networks are not faster on more threads, and wait for each other on a busy machine.
setThreads(1)

export const root = resolve(import.meta.dirname, '../..')

/** The ```ts blocks of a page, by its path in the repository. */
export async function scriptsOf(page: string): Promise<string[]> {
  const text = await readFile(join(root, page), 'utf8')
  return [...text.matchAll(/^```ts\n([\s\S]*?)^```$/gm)].map((m) => m[1] as string)
}

/** Runs block `index` of a page from within `folder`, which is the working folder already. */
export async function runBlock(folder: string, page: string, index: number): Promise<void> {
  const script = (await scriptsOf(page))[index]
  if (script === undefined) throw new Error(`${page} has no ts block ${index}`)
  const at = join(folder, `${page.replace(/\W/g, '-')}-${index}.ts`)
  await mkdir(folder, { recursive: true })
  const lib = pathToFileURL(join(root, 'lib/index.ts')).href
  await writeFile(at, script.replaceAll("from 'langevin'", `from '${lib}'`))
  await import(/* @vite-ignore */ pathToFileURL(at).href)
}

/** Every number that was printed, by itself or within an array; all must be finite. */
export function numbersIn(printed: readonly unknown[][]): number[] {
  const numbers = printed.flat(4).filter((v): v is number => typeof v === 'number')
  for (const v of numbers) expect(v).toSatisfy(Number.isFinite)
  return numbers
}

/** Blocks of pages in a test file: each test in a folder of its own, which is the working folder, with what is printed kept. */
export function pageRunner() {
  const place = { folder: '' }
  const before = process.cwd()
  const log = vi.spyOn(console, 'log').mockImplementation(() => {})
  beforeEach(async () => {
    place.folder = await mkdtemp(join(tmpdir(), 'langevin-docs-'))
    process.chdir(place.folder)
    log.mockClear()
  })
  afterEach(async () => {
    process.chdir(before)
    await rm(place.folder, { recursive: true, force: true })
  })
  const lines = async (page: string, index = 0): Promise<unknown[][]> => {
    await runBlock(place.folder, `docs/${page}.md`, index)
    numbersIn(log.mock.calls)
    return log.mock.calls
  }
  return {
    /** The folder of the running test. */
    place,
    /** What block `index` of a page prints, call by call; every number in it is finite. */
    lines,
    /** The numbers of each printed line. */
    numbers: async (page: string, index = 0): Promise<number[][]> =>
      (await lines(page, index)).map((line) => numbersIn([line])),
  }
}
