/** The addon in a process: how it is found, that the process ends when it should, worker threads. Child processes run the real thing. */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { expect, test, vi } from 'vitest'
import { threadsFromEnvironment } from '../../lib/runtime/addon.ts'

const root = new URL('../../', import.meta.url)
const folder = mkdtempSync(join(tmpdir(), 'langevin-process-'))

const prelude = `
import { createRequire } from 'node:module'
const load = () => createRequire(import.meta.url)(process.env.ADDON_PATH)
const loop = (n) => ({ version: 1, values: [{dtype:'float32',shape:[n]},{dtype:'float32',shape:[n]}], inputs: [0], constants: [],
  outputs: [{ value: 1, alias: 0 }], code: [{ op: 'loop', in: [0], out: [1],
  attr: { shape: [n], program: [['exp', 0], ['neg', 1]], outputs: [{ register: 2 }], axes: [] } }] })
const program = async (a, n = 1000) => {
  const x = new a.Tensor('float32', [n])
  const plan = await a.compile(JSON.stringify(loop(n)), new Uint8Array())
  return a.program(JSON.stringify({ code: [{ do: 'run', plan: 0, inputs: [0], outputs: [0] }] }), [plan], [x])
}
`

function child(name: string, code: string, env: Record<string, string> = {}) {
  const path = join(folder, `${name}.mjs`)
  writeFileSync(path, prelude + code)
  const addonPath = process.env.LANGEVIN_ADDON ?? new URL('build/Release/langevin.node', root).pathname
  const result = spawnSync(process.execPath, [path], {
    encoding: 'utf8',
    timeout: 30_000,
    env: { ...process.env, ADDON_PATH: addonPath, SELF: pathToFileURL(path).href, ...env },
  })
  return { status: result.status, signal: result.signal, out: result.stdout.trim(), err: result.stderr }
}

test('the process ends by itself when the work is done', () => {
  const r = child('idle', `const p = await program(load()); const r = await p.run(3); console.log(r.completed)`)
  expect(r).toMatchObject({ status: 0, out: '3' })
})

test('pending work keeps the process alive until it is done', () => {
  const r = child('pending', `const p = await program(load()); p.run(2000).then((r) => console.log(r.completed))`)
  expect(r).toMatchObject({ status: 0, out: '2000' })
})

test('process.exit ends it at once while endless work runs and more waits', () => {
  const r = child(
    'exit',
    `const a = load(); const p = await program(a); p.run(1e15); p.run(1e15); new a.Tensor('float32', [10]).read();
    setTimeout(() => { console.log('bye'); process.exit(7) }, 50)`,
  )
  expect(r).toMatchObject({ status: 7, signal: null, out: 'bye' })
})

test('an uncaught exception ends it too', () => {
  const r = child(
    'throw',
    `const p = await program(load()); p.run(1e15); setTimeout(() => { throw new Error('mine') }, 30)`,
  )
  expect(r).toMatchObject({ status: 1, signal: null })
  expect(r.err).toContain('mine')
})

test('worker threads have environments of their own, and may be terminated while they work', () => {
  const r = child(
    'workers',
    `import { Worker, isMainThread, parentPort } from 'node:worker_threads'
    const a = load()
    if (isMainThread) {
      const mine = await program(a)
      for (let round = 0; round < 4; round++) {
        const worker = new Worker(new URL(process.env.SELF))
        await new Promise((resolve, reject) => { worker.once('message', resolve); worker.once('error', reject) })
        const waiting = mine.run(1)
        await worker.terminate()
        await waiting
        console.log((await mine.run(5)).completed)
      }
    } else {
      const p = await program(a)
      await p.run(2)
      p.run(1e15); p.run(10)
      parentPort.postMessage('running')
    }`,
  )
  expect(r).toMatchObject({ status: 0, signal: null, out: '5\n5\n5\n5' })
})

test('garbage is collected: tensors and plans that nobody holds are freed', () => {
  const r = child(
    'garbage',
    `const a = load()
    const start = process.memoryUsage().rss
    for (let i = 0; i < 300; i++) {
      const t = new a.Tensor('float32', [1 << 20])
      await t.write(new Float32Array(1 << 20).fill(i))
    }
    console.log(process.memoryUsage().rss - start < 6e8 ? 'freed' : 'kept ' + (process.memoryUsage().rss - start))`,
  )
  expect(r).toMatchObject({ status: 0, out: 'freed' })
})

test('wrong receivers and arguments throw and do not crash', () => {
  const r = child(
    'receivers',
    `const a = load(); const t = new a.Tensor('float32', [2]); let thrown = 0
    const p = await a.compile(JSON.stringify(loop(4)), new Uint8Array())
    const bad = [() => t.read.call({}), () => t.read.call(p), () => p.run.call(t, [], []), () => a.Tensor('float32', [1]),
      () => new a.Tensor(), () => new a.Tensor('float32', [Symbol()]), () => new a.Tensor('float32', [-1]), () => t.write(),
      () => t.write(new Float64Array(2)), () => t.write(new Float32Array(3)), () => a.compile(), () => a.compile('', null),
      () => a.program('', 1, 2), () => a.program('{}', [], []), () => a.program('{"code":[]}', [t], []), () => a.copy([Object.create(a.Tensor.prototype)], [t]),
      () => new p.constructor(), () => new p.constructor(5), () => a.setThreads('x'), () => a.setThreads(0)]
    for (const f of bad) { try { const r = f(); if (r instanceof Promise) await r; console.log('no error', String(f)) } catch { thrown++ } }
    console.log(thrown === bad.length)`,
  )
  expect(r).toMatchObject({ status: 0, out: 'true' })
})

test('without an addon the error says what to run', async () => {
  const { LANGEVIN_ADDON } = process.env
  const fresh = async (): Promise<typeof import('../../lib/runtime/addon.ts')> => {
    vi.resetModules()
    return import('../../lib/runtime/addon.ts')
  }
  try {
    process.env.LANGEVIN_ADDON = join(folder, 'nowhere.node')
    const { addon } = await fresh()
    expect(() => addon()).toThrow(
      expect.objectContaining({ code: 'E_NATIVE_MISSING', message: expect.stringContaining('nowhere') }),
    )
    const broken = join(folder, 'broken.node')
    writeFileSync(broken, 'not a library')
    process.env.LANGEVIN_ADDON = broken
    const { addon: second } = await fresh()
    expect(() => second()).toThrow(
      expect.objectContaining({ code: 'E_NATIVE_MISSING', message: expect.stringContaining('npm run build:native') }),
    )
  } finally {
    if (LANGEVIN_ADDON === undefined) delete process.env.LANGEVIN_ADDON
    else process.env.LANGEVIN_ADDON = LANGEVIN_ADDON
    vi.resetModules()
  }
})

test('LANGEVIN_THREADS is checked', () => {
  expect(threadsFromEnvironment(undefined)).toBeUndefined()
  expect(threadsFromEnvironment(' ')).toBeUndefined()
  expect(threadsFromEnvironment('2')).toBe(2)
  for (const bad of ['0', '-1', '1.5', 'all', '4096', '1e999']) {
    expect(() => threadsFromEnvironment(bad)).toThrow(expect.objectContaining({ code: 'E_CONFIG' }))
  }
})

// Without the exit listener of environment.cc, exit() took oneDNN from under the running convolution in about one run of five.
test('process.exit while a convolution runs ends cleanly', () => {
  const code = `
const a = load()
const [x, w] = [new a.Tensor('float32', [8, 32, 16, 16]), new a.Tensor('float32', [32, 32, 3, 3])]
const y = new a.Tensor('float32', [8, 32, 16, 16])
const attr = { stride: [1, 1], padding: [1, 1, 1, 1], dilation: [1, 1], groups: 1 }
const type = (shape) => ({ dtype: 'float32', shape })
const plan = await a.compile(JSON.stringify({ version: 1, values: [type([8, 32, 16, 16]), type([32, 32, 3, 3]), type([8, 32, 16, 16])],
  inputs: [0, 1], constants: [], outputs: [{ value: 2, alias: null }], code: [{ op: 'conv2d', in: [0, 1], out: [2], attr }] }), new Uint8Array())
const p = a.program(JSON.stringify({ code: [{ do: 'run', plan: 0, inputs: [0, 1], outputs: [2] }] }), [plan], [x, w, y])
p.run(1e9).catch(() => {})
setTimeout(() => { console.log('leaving'); process.exit(7) }, 60)`
  for (let i = 0; i < 8; i++) {
    expect(child('exit-in-convolution', code)).toMatchObject({ status: 7, signal: null, out: 'leaving' })
  }
})
