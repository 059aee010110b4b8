/**
 * The package as it ships starts fast: what a process opens to import it (V8 names every script it compiled), and the time from `import` to
 * the first energy. How fast it is on a quiet machine is measured by hand; the bound here only tells a bundle from three hundred modules.
 */
import { execFileSync, spawnSync } from 'node:child_process'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { beforeAll, expect, test } from 'vitest'
import { buildDist, temporaryFolder } from '../dist.ts'

let bundle = ''
beforeAll(async () => {
  bundle = join(await buildDist(), 'bundle')
}, 120_000)

/** Runs a script; returns what it printed and the files whose code it loaded. */
function run(path: string, args: readonly string[] = []): { out: string; loaded: string[] } {
  const coverage = temporaryFolder()
  const env = { ...process.env, NODE_V8_COVERAGE: coverage, LANGEVIN_THREADS: '1' }
  const out = execFileSync(process.execPath, [path, ...args], { env, encoding: 'utf8' })
  const reports = readdirSync(coverage).map((f) => JSON.parse(readFileSync(join(coverage, f), 'utf8')) as Coverage)
  const urls = reports.flatMap((r) => r.result.map((s) => s.url)).filter((u) => u.startsWith('file:'))
  return { out, loaded: [...new Set(urls)].filter((u) => u !== pathToFileURL(path).href).sort() }
}

interface Coverage {
  readonly result: readonly { readonly url: string }[]
}

const inBundle = (names: readonly string[]): string[] =>
  names.map((name) => pathToFileURL(join(bundle, `${name}.js`)).href)

/** A program that prints the milliseconds from before the import to the first energy, and that energy. */
function firstEnergy(): string {
  const path = join(temporaryFolder(), 'first-energy.mjs')
  const code = [
    'const start = performance.now()',
    `const { hostTensor, mlp } = await import(${JSON.stringify(pathToFileURL(join(bundle, 'index.js')).href)})`,
    'const model = mlp({ inputs: 2, hidden: [128, 128], classes: 0 })',
    'const energies = await model.energy(hostTensor(new Float32Array(512).fill(0.5), [256, 2]))',
    'console.log(JSON.stringify({ ms: performance.now() - start, energies: energies.length, finite: energies.every(Number.isFinite) }))',
  ]
  writeFileSync(path, code.join('\n'))
  return path
}

test('importing the package and computing an energy loads its four files and no other package', () => {
  const { out, loaded } = run(firstEnergy())
  expect(JSON.parse(out)).toMatchObject({ energies: 256, finite: true })
  expect(loaded).toEqual(inBundle(['index', 'langevin', 'rolldown-runtime', 'vendor']))
})

test('the command loads its four files', () => {
  const cli = join(bundle, 'cli.js')
  const { out, loaded } = run(cli, ['--help'])
  expect(out).toContain('usage: langevin COMMAND')
  expect(loaded).toEqual(inBundle(['langevin', 'rolldown-runtime', 'vendor']))
})

test('the bundle finds the files that ship beside it', () => {
  const { version } = JSON.parse(readFileSync(join(bundle, '../../package.json'), 'utf8')) as { version: string }
  expect(run(join(bundle, 'cli.js'), ['info']).out).toContain(version)
  // Workloads are read from scripts/bench, and the error lists them.
  const { status, stderr } = spawnSync(process.execPath, [join(bundle, 'cli.js'), 'bench', '--only', 'none'], {
    encoding: 'utf8',
  })
  expect(status).not.toBe(0)
  expect(stderr).toContain('langevin_mlp')
})

test('from import to the first energy in less than a second', () => {
  const script = firstEnergy()
  // The best of some: what else the machine does can only add.
  let best = Number.POSITIVE_INFINITY
  for (let i = 0; i < 5 && best > 1000; i++) {
    const out = execFileSync(process.execPath, [script], { encoding: 'utf8' })
    best = Math.min(best, (JSON.parse(out) as { ms: number }).ms)
  }
  expect(best).toBeLessThan(1000)
})

test('the declarations that ship name nothing outside themselves', () => {
  const types = join(bundle, '../types')
  const files = readdirSync(types, { recursive: true, encoding: 'utf8' }).filter((f) => f.endsWith('.d.ts'))
  expect(files.map((f) => basename(f))).toContain('index.d.ts')
  const foreign = files.filter((f) => {
    const code = readFileSync(join(types, f), 'utf8').replace(/\/\*[\s\S]*?\*\/|^\s*\/\/.*/gm, '')
    return /(?:\bfrom\s*|\bimport\s*\(?\s*)['"](?!\.)/.test(code)
  })
  expect(foreign).toEqual([])
})

test('every package inside the bundle has its licence in it', () => {
  const text = readFileSync(join(bundle, 'LICENCES.txt'), 'utf8')
  const inside = readFileSync(join(bundle, 'vendor.js'), 'utf8').matchAll(
    /^\/\/ node_modules\/((?:@[^/\s]+\/)?[^/\s]+)/gm,
  )
  const names = [...new Set([...inside].map((m) => m[1] ?? ''))].sort()
  expect(names).toEqual(['@bufbuild/protobuf', 'fast-png', 'fflate', 'iobuffer', 'zod'])
  for (const name of names) expect(text).toContain(`\n${name} `)
  for (const phrase of ['Permission is hereby granted', 'Apache License', 'Redistribution and use in source']) {
    expect(text).toContain(phrase)
  }
})
