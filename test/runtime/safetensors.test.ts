import { execFileSync, spawn } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { LangevinError } from '../../lib/graph/errors.ts'
import { type HostTensor, hostTensor } from '../../lib/graph/host-tensor.ts'
import { writeAtomically, writeFileAtomically } from '../../lib/runtime/files.ts'
import { inspectSafetensors, readSafetensors, writeSafetensors } from '../../lib/runtime/safetensors.ts'

let folder = ''
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'langevin-safetensors-'))
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

/** A file of the given header text (or object) and data bytes. */
function raw(name: string, header: unknown, data: Uint8Array = new Uint8Array(0), length?: bigint): string {
  const text = typeof header === 'string' ? header : JSON.stringify(header)
  const json = new TextEncoder().encode(text)
  const bytes = new Uint8Array(8 + json.length + data.length)
  new DataView(bytes.buffer).setBigUint64(0, length ?? BigInt(json.length), true)
  bytes.set(json, 8)
  bytes.set(data, 8 + json.length)
  const path = join(folder, name)
  writeFileSync(path, bytes)
  return path
}

function bytesOf(view: ArrayBufferView): Uint8Array {
  return new Uint8Array(view.buffer, view.byteOffset, view.byteLength)
}

async function failure(promise: Promise<unknown>): Promise<LangevinError> {
  const e = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  )
  expect(e).toBeInstanceOf(LangevinError)
  return e as LangevinError
}

const f32 = (begin: number, n: number) => ({ dtype: 'F32', shape: [n], data_offsets: [begin, begin + 4 * n] })

describe('writing and reading', () => {
  it('gives back every type, shape, name and the metadata', async () => {
    const path = join(folder, 'all.safetensors')
    const tensors: Record<string, HostTensor> = {
      mask: hostTensor(Uint8Array.of(1, 0, 1), [3], 'bool'),
      'conv.weight': hostTensor(Float32Array.of(1.5, -0, NaN, Infinity, 1e-45, 3), [2, 3]),
      step: hostTensor(Int32Array.of(-2147483648), []),
      pixels: hostTensor(Uint8Array.of(0, 7, 255), [1, 3]),
      empty: hostTensor(new Float32Array(0), [0, 4]),
      'naïve "name"\n': hostTensor(Float32Array.of(2), [1]),
    }
    await writeSafetensors(path, tensors, { format: 'pt', note: '√' })
    const back = await readSafetensors(path)
    expect(back.metadata).toEqual({ format: 'pt', note: '√' })
    expect(Object.fromEntries(back.tensors)).toEqual(tensors)
    const header = await inspectSafetensors(path)
    expect(header.dataStart % 8).toBe(0)
    for (const e of header.entries) expect(e.begin % (e.dtype === 'F32' || e.dtype === 'I32' ? 4 : 1)).toBe(0)
  })

  it('writes the same bytes whatever the order of names, and nothing but the file', async () => {
    const a = hostTensor(Float32Array.of(1), [1])
    const b = hostTensor(Uint8Array.of(2), [1])
    await writeSafetensors(
      join(folder, 'x1'),
      new Map([
        ['a', a],
        ['b', b],
      ]),
    )
    await writeSafetensors(join(folder, 'x2'), { b, a })
    expect(readFileSync(join(folder, 'x1'))).toEqual(readFileSync(join(folder, 'x2')))
    expect(readdirSync(folder).filter((f) => f.endsWith('.tmp'))).toEqual([])
  })

  it('converts F64, F16, BF16 and I64', async () => {
    const f64 = bytesOf(Float64Array.of(Math.PI, -Infinity, NaN, 1e-300))
    const f16 = bytesOf(Uint16Array.of(0x3c00, 0xc000, 0x7bff, 0x0001, 0x8000, 0x7c00, 0x7e00, 0x0400))
    const bf16 = bytesOf(Uint16Array.of(0x3f80, 0xc049, 0xff80, 0x7fc0))
    const i64 = bytesOf(BigInt64Array.of(-2147483648n, 2147483647n))
    const data = new Uint8Array([...f64, ...i64, ...f16, ...bf16])
    const path = raw(
      'wide',
      {
        d: { dtype: 'F64', shape: [4], data_offsets: [0, 32] },
        i: { dtype: 'I64', shape: [2], data_offsets: [32, 48] },
        h: { dtype: 'F16', shape: [8], data_offsets: [48, 64] },
        b: { dtype: 'BF16', shape: [2, 2], data_offsets: [64, 72] },
      },
      data,
    )
    const { tensors } = await readSafetensors(path)
    expect(tensors.get('d')?.data).toEqual(Float32Array.of(Math.PI, -Infinity, NaN, 0))
    expect(tensors.get('i')?.data).toEqual(Int32Array.of(-2147483648, 2147483647))
    expect(tensors.get('h')?.data).toEqual(Float32Array.of(1, -2, 65504, 2 ** -24, -0, Infinity, NaN, 2 ** -14))
    expect(tensors.get('b')?.data).toEqual(Float32Array.of(1, -3.140625, -Infinity, NaN))
    expect(tensors.get('b')?.shape).toEqual([2, 2])
  })

  it('refuses values that do not fit the narrower type, naming the element', async () => {
    const i = { dtype: 'I64', shape: [2], data_offsets: [0, 16] }
    const big = await failure(readSafetensors(raw('i64', { i }, bytesOf(BigInt64Array.of(1n, 2147483648n)))))
    expect(big.code).toBe('E_CHECKPOINT')
    expect(big.message).toContain("tensor 'i': element 1 is 2147483648")
    const d = { dtype: 'F64', shape: [1], data_offsets: [0, 8] }
    expect((await failure(readSafetensors(raw('f64', { d }, bytesOf(Float64Array.of(1e300)))))).message).toContain(
      '1e+300',
    )
    const m = { dtype: 'BOOL', shape: [2], data_offsets: [0, 2] }
    expect((await failure(readSafetensors(raw('bool', { m }, Uint8Array.of(1, 2))))).message).toContain(
      'element 1 is 2',
    )
  })

  it('checks what it is asked to write', async () => {
    const path = join(folder, 'never')
    const broken = { dtype: 'float32', shape: [3], data: new Float32Array(2) } as const
    await expect(writeSafetensors(path, { broken })).rejects.toThrow(/'broken' has shape \[3\] and 2 elements/)
    const t = hostTensor(Float32Array.of(1), [1])
    await expect(writeSafetensors(path, { __metadata__: t })).rejects.toThrow(TypeError)
    await expect(writeSafetensors(path, { t }, { n: 3 as unknown as string })).rejects.toThrow(
      /metadata 'n' must be a string/,
    )
    expect(readdirSync(folder)).not.toContain('never')
  })
})

describe('a damaged file is an E_CHECKPOINT error that names the file and the tensor', () => {
  const eight = new Uint8Array(8)
  const cases: [string, () => string, RegExp][] = [
    ['empty', () => raw('e0', '', eight.subarray(8), 0n), /header of 0 bytes/],
    ['huge header length', () => raw('e1', '{}', eight, 2n ** 63n), /9223372036854775808 bytes/],
    ['header past the end', () => raw('e2', '{}', eight, 100n), /header of 100 bytes; expected 2..10/],
    ['not JSON', () => raw('e3', '{"a":}'), /not JSON/],
    ['not UTF-8', () => raw('e4', '{"a":1}'.replace('a', '\ud800')), /not an object|not JSON/],
    ['no object', () => raw('e5', '[1]'), /begins with byte 91/],
    [
      'duplicate name',
      () => raw('e6', `{"a":${JSON.stringify(f32(0, 1))},"\\u0061":${JSON.stringify(f32(4, 1))}}`, eight),
      /'a' occurs twice/,
    ],
    ['unknown dtype', () => raw('e7', { a: { ...f32(0, 2), dtype: 'F8_E4M3' } }, eight), /tensor 'a': dtype "F8_E4M3"/],
    ['dtype of the prototype', () => raw('e8', { a: { ...f32(0, 2), dtype: 'toString' } }, eight), /dtype "toString"/],
    ['negative dimension', () => raw('e9', { a: { ...f32(0, 2), shape: [-2] } }, eight), /tensor 'a': shape/],
    ['fractional dimension', () => raw('e10', { a: { ...f32(0, 2), shape: [1.5] } }, eight), /tensor 'a': shape/],
    [
      'overflowing shape',
      () => raw('e11', { a: { ...f32(0, 2), shape: [2 ** 40, 2 ** 40] } }, eight),
      /tensor 'a': F32/,
    ],
    [
      'wrong size',
      () => raw('e12', { a: { ...f32(0, 2), shape: [3] } }, eight),
      /takes 12 bytes; data_offsets \[0,8\] span 8/,
    ],
    ['out of bounds', () => raw('e13', { a: f32(0, 3) }, eight), /'a' ends at byte 12 of the data; the file holds 8/],
    ['overlap', () => raw('e14', { a: f32(0, 2), b: f32(4, 1) }, eight), /'b' begins at byte 4 .* overlap/],
    ['gap', () => raw('e15', { a: f32(4, 1) }, eight), /'a' begins at byte 4 .* gap/],
    ['trailing bytes', () => raw('e16', { a: f32(0, 1) }, eight), /holds 4 more/],
    ['reversed offsets', () => raw('e17', { a: { ...f32(0, 2), data_offsets: [8, 0] } }, eight), /tensor 'a'/],
    ['missing offsets', () => raw('e18', { a: { dtype: 'F32', shape: [2] } }, eight), /data_offsets must be two/],
    ['unknown field', () => raw('e19', { a: { ...f32(0, 2), stride: 1 } }, eight), /unknown header field 'stride'/],
    ['metadata not strings', () => raw('e20', { __metadata__: { a: 1 } }), /metadata 'a' must be a string/],
    ['entry is null', () => raw('e21', { a: null }), /not an object/],
  ]
  it.each(cases)('%s', async (_, make, message) => {
    const path = make()
    const e = await failure(readSafetensors(path))
    expect(e.code).toBe('E_CHECKPOINT')
    expect(e.message).toContain(path)
    expect(e.message).toMatch(message)
  })

  it('every truncation of a good file', async () => {
    const path = join(folder, 'whole')
    await writeSafetensors(path, { a: hostTensor(new Float32Array(5), [5]), b: hostTensor(new Uint8Array(3), [3]) })
    const bytes = readFileSync(path)
    for (let n = 0; n < bytes.length; n++) {
      const cut = join(folder, 'cut')
      writeFileSync(cut, bytes.subarray(0, n))
      expect((await failure(readSafetensors(cut))).code).toBe('E_CHECKPOINT')
    }
  })

  it('random single-byte damage gives a typed error or a whole set of tensors, never anything else', async () => {
    const path = join(folder, 'target')
    await writeSafetensors(
      path,
      { a: hostTensor(new Float32Array(4), [2, 2]), b: hostTensor(new Int32Array(3), [3]) },
      { k: 'v' },
    )
    const bytes = readFileSync(path)
    const headerEnd = (await inspectSafetensors(path)).dataStart
    let refused = 0
    for (let i = 0; i < headerEnd; i++) {
      const damaged = Uint8Array.from(bytes)
      damaged[i] = (damaged[i] as number) ^ (1 << (i % 7))
      writeFileSync(path, damaged)
      const e = await readSafetensors(path).catch((reason: unknown) => reason)
      if (e instanceof LangevinError) refused++
      else expect((e as { tensors: Map<string, HostTensor> }).tensors.size).toBe(2)
    }
    expect(refused).toBeGreaterThan(headerEnd / 2)
  })
})

describe('errors of the system are E_IO and leave the old file intact', () => {
  const old = { a: hostTensor(Float32Array.of(1, 2, 3), [3]) }
  const unchanged = async (path: string) =>
    expect(Object.fromEntries((await readSafetensors(path)).tensors)).toEqual(old)

  it('missing files and folders', async () => {
    const e = await failure(readSafetensors(join(folder, 'absent')))
    expect(e.code).toBe('E_IO')
    expect(e.message).toContain('ENOENT')
    expect((await failure(readSafetensors(folder))).code).toBe('E_IO')
    expect((await failure(writeSafetensors(join(folder, 'no', 'such'), old))).message).toMatch(/ENOENT.*check the path/)
  })

  it('a path under a regular file, and a folder that takes no files', async () => {
    writeFileSync(join(folder, 'file'), 'x')
    const e = await failure(writeSafetensors(join(folder, 'file', 'under'), old))
    expect(e.code).toBe('E_IO')
    expect(e.message).toContain('ENOTDIR')
    if (process.platform !== 'linux') return
    const proc = await failure(writeSafetensors('/proc/langevin.safetensors', old))
    expect(proc.code).toBe('E_IO')
    expect(proc.message).toMatch(/ENOENT|EACCES|EPERM|EROFS/)
  })

  it('a target that is a folder', async () => {
    const e = await failure(writeSafetensors(folder, old))
    expect(e.code).toBe('E_IO')
    expect(readdirSync(folder).filter((f) => f.endsWith('.tmp'))).toEqual([])
  })

  it('an error in the middle of writing removes the temporary file', async () => {
    const path = join(folder, 'kept')
    await writeSafetensors(path, old)
    const broken = writeAtomically(path, async (file) => {
      await file.write('half')
      throw new RangeError('stop')
    })
    await expect(broken).rejects.toThrow(RangeError)
    await unchanged(path)
    expect(readdirSync(folder).filter((f) => f.endsWith('.tmp'))).toEqual([])
  })

  it('follows a symbolic link instead of replacing it', async () => {
    const path = join(folder, 'real')
    writeFileSync(path, 'old')
    symlinkSync(path, join(folder, 'link'))
    await writeFileAtomically(join(folder, 'link'), 'new')
    expect(readFileSync(path, 'utf8')).toBe('new')
  })
})

describe.skipIf(process.platform === 'win32')('in a child process', () => {
  let child = ''
  beforeAll(() => {
    child = compileChild()
  })

  it('a file size limit (as a full disk) is E_IO and leaves the old file', async () => {
    const path = join(folder, 'limited')
    await writeSafetensors(path, { a: hostTensor(Float32Array.of(1), [1]) })
    const script = `ulimit -f 64; exec "${process.execPath}" "${child}" once "${path}" 100000`
    const out = execFileSync('bash', ['-c', script], { encoding: 'utf8' })
    expect(out).toMatch(/^E_IO .*EFBIG.*intact/)
    expect((await readSafetensors(path)).tensors.get('a')?.data).toEqual(Float32Array.of(1))
    expect(readdirSync(folder).filter((f) => f.endsWith('.tmp'))).toEqual([])
  })

  it('kill -9 while it writes leaves a whole file, and the next writer removes the leftovers', async () => {
    const path = join(folder, 'killed')
    const n = 250_000
    let leftovers = 0
    for (let round = 0; round < 8; round++) {
      const writer = spawn(process.execPath, [child, 'loop', path, String(n)], { stdio: ['ignore', 'pipe', 'inherit'] })
      await new Promise((done) => writer.stdout.once('data', done))
      await sleep(3 + 11 * round)
      const ended = new Promise((done) => writer.once('exit', done))
      writer.kill('SIGKILL')
      await ended
      leftovers += readdirSync(folder).filter((f) => f.startsWith('.killed.')).length
      const { tensors, metadata } = await readSafetensors(path)
      const data = tensors.get('a')?.data
      expect(data?.length).toBe(n)
      expect(data?.every((v) => v === Number(metadata.value))).toBe(true)
    }
    expect(leftovers).toBeGreaterThan(0)
    await writeSafetensors(path, { a: hostTensor(Float32Array.of(1), [1]) })
    expect(readdirSync(folder).filter((f) => f.startsWith('.killed.'))).toEqual([])
  })
})

/** The writer as plain JavaScript: `node child.js once|loop PATH N` writes N equal floats, once or for ever. */
function compileChild(): string {
  const root = resolve(import.meta.dirname, '../..')
  const out = join(folder, 'child')
  const options =
    '--module nodenext --target es2023 --types node --rewriteRelativeImportExtensions --skipLibCheck --strict'
  const files = [join(root, 'lib/runtime/safetensors.ts')]
  const flags = ['--ignoreConfig', ...options.split(' '), '--rootDir', join(root, 'lib'), '--outDir', out]
  execFileSync(process.execPath, [join(root, 'node_modules/typescript/bin/tsc'), ...flags, ...files], { cwd: root })
  writeFileSync(join(out, 'package.json'), '{"type":"module"}')
  const path = join(out, 'child.js')
  writeFileSync(
    path,
    `import { writeSafetensors } from './runtime/safetensors.js'
    const [mode, path, n] = process.argv.slice(2)
    const write = (value) => writeSafetensors(path,
      { a: { dtype: 'float32', shape: [Number(n)], data: new Float32Array(Number(n)).fill(value) } }, { value: String(value) })
    if (mode === 'once') await write(2).then(() => console.log('written'), (e) => console.log(e.code, e.message))
    for (let i = 0; mode === 'loop'; i++) {
      await write(i)
      if (i === 0) console.log('first')
    }`,
  )
  return path
}
