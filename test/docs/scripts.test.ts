/**
 * The scripts of README.md and docs run as they stand, but for their length: imports come from lib/, epochs and steps are cut, and everything
 * happens in a folder of its own. Also: README's first two shell blocks are the two commands, one line each, and files named in links exist.
 */
import { existsSync } from 'node:fs'
import { mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'

const root = resolve(import.meta.dirname, '../..')

function blocks(markdown: string, language: string): string[] {
  return [...markdown.matchAll(new RegExp(`^\`\`\`${language}\n([^]*?)^\`\`\`$`, 'gm'))].map((m) => m[1] as string)
}

/** The script over lib/, with two steps of training in place of epochs, a narrower network and short chains. */
function shortened(script: string, root: string): string {
  const changes: readonly [RegExp, string][] = [
    [/from 'langevin'/g, `from '${pathToFileURL(join(root, 'lib/index.ts')).href}'`],
    [/epochs: \d+/g, 'steps: 2, reportEvery: 1'],
    [/width: 2/g, 'width: 1'],
    [/(advance)\(\d+\)/g, '$1(3)'],
  ]
  return changes.reduce((text, [from, to]) => text.replace(from, to), script)
}

let folder = ''
let before = ''
const log = vi.spyOn(console, 'log').mockImplementation(() => {})

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'langevin-docs-'))
  await symlink(join(root, 'node_modules'), join(folder, 'node_modules'))
  before = process.cwd()
  process.chdir(folder)
  log.mockClear()
})

afterEach(async () => {
  process.chdir(before)
  await rm(folder, { recursive: true, force: true })
})

async function runScript(file: string, index: number): Promise<unknown[][]> {
  const script = blocks(await readFile(join(root, file), 'utf8'), 'ts')[index]
  if (script === undefined) throw new Error(`${file} has no ts block ${index}`)
  const path = join(folder, 'script.ts')
  await writeFile(path, shortened(script, root))
  await import(/* @vite-ignore */ pathToFileURL(path).href)
  return log.mock.calls
}

describe('README.md', () => {
  test('the ten-line script trains, evaluates, samples and exports', async () => {
    const printed = await runScript('README.md', 0)
    expect(printed.slice(0, 2).map((row) => row[0])).toEqual([1, 2])
    expect(printed.slice(0, 2).flat().every(Number.isFinite)).toBe(true)
    const [accuracy, ece, auroc] = printed[2] as number[]
    for (const figure of [accuracy, ece, auroc]) expect(figure).toSatisfy((v: number) => v >= 0 && v <= 1)
    for (const file of [
      'samples.png',
      'model.onnx',
      'runs/ten-lines/metrics.jsonl',
      'runs/ten-lines/checkpoint.safetensors',
    ]) {
      expect(existsSync(file), file).toBe(true)
    }
  }, 60_000)

  test('the script with an energy of its own samples it', async () => {
    const printed = await runScript('README.md', 1)
    expect(printed[0]?.[0]).toMatch(/^mean energy -?\d.*, 0 divergent chains$/)
    expect(printed[1]?.[0]).toEqual([1000, 2])
  }, 60_000)

  test('the two commands come first, one line each, and exist', async () => {
    const shell = blocks(await readFile(join(root, 'README.md'), 'utf8'), 'sh')
    const [main, tests] = shell.map((b) => b.trim())
    expect([main, tests]).toEqual(['./scripts/quickstart.sh', './scripts/test.sh'])
    for (const command of [main, tests]) expect(existsSync(join(root, command as string)), command).toBe(true)
  })
})

describe('docs/jempp.md', () => {
  test('its script trains, opens the run again and samples a class', async () => {
    const printed = await runScript('docs/jempp.md', 0)
    expect(printed.slice(0, 2).map((row) => row[0])).toEqual([1, 2])
    expect(printed.slice(0, 2).flat().every(Number.isFinite)).toBe(true)
    expect(printed[2]?.[0]).toSatisfy((v: number) => v >= 0 && v <= 1)
    expect(existsSync('runs/jempp/threes.png')).toBe(true)
  }, 60_000)
})

test.each(['README.md', 'CONTRIBUTING.md', 'THIRD_PARTY.md', 'docs/jempp.md', 'docs/architecture.md'])(
  'links of %s lead to files that exist',
  async (file) => {
    const text = await readFile(join(root, file), 'utf8')
    const targets = [...text.matchAll(/\]\(([^)#\s]+)[^)]*\)/g)].map((m) => m[1] as string)
    const local = targets.filter((t) => !/^[a-z]+:/.test(t))
    const missing = local.filter((t) => !existsSync(resolve(join(root, file), '..', t)))
    expect(missing).toEqual([])
  },
)
