import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { zipSync } from 'fflate'
import { describe, expect, it } from 'vitest'
import { npyDataset, npzDataset, readNpy, readNpz, writeNpy } from '../../lib/data/npy.ts'
import { hostTensor } from '../../lib/graph/host-tensor.ts'
import { errorOf, scratch } from './helpers.ts'
import { numpyArchive } from './numpy-archive.ts'

const { folder, put } = scratch()

/** A .npy file of the given header text and body. */
function npy(header: string, body: ArrayBufferView, version = 1): Uint8Array {
  const text = new TextEncoder().encode(header)
  const length =
    version === 1
      ? Uint8Array.of(text.length & 255, text.length >> 8)
      : Uint8Array.of(text.length & 255, text.length >> 8, 0, 0)
  const bytes = new Uint8Array(body.buffer, body.byteOffset, body.byteLength)
  return Uint8Array.of(0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59, version, 0, ...length, ...text, ...bytes)
}

const header = (descr: string, shape: string, fortran = 'False') =>
  `{'descr': '${descr}', 'fortran_order': ${fortran}, 'shape': ${shape}, }\n`

describe('npy', () => {
  it('gives back what it wrote', async () => {
    for (const t of [
      hostTensor(Float32Array.of(1.5, NaN, -Infinity, 3, 4, 5), [2, 3]),
      hostTensor(Int32Array.of(-5), []),
      hostTensor(Uint8Array.of(1, 2, 3), [3]),
      hostTensor(Uint8Array.of(1, 0), [2, 1, 1], 'bool'),
      hostTensor(new Float32Array(0), [0, 7]),
    ]) {
      const path = join(folder, 'own.npy')
      await writeNpy(path, t)
      expect(await readNpy(path)).toEqual(t)
      expect(readFileSync(path).indexOf(10) % 64).toBe(63)
    }
  })

  it('reads versions 1 to 3, both byte orders and the integer widths', async () => {
    for (const version of [1, 2, 3]) {
      const path = put('v', npy(header('<f4', '(2,)'), Float32Array.of(1, 2), version))
      expect((await readNpy(path)).data).toEqual(Float32Array.of(1, 2))
    }
    const read = (descr: string, n: number, body: ArrayBufferView) =>
      readNpy(put('w', npy(header(descr, `(${n},)`), body)))
    expect((await read('>i4', 1, Uint8Array.of(0, 0, 1, 2))).data).toEqual(Int32Array.of(258))
    expect((await read('<i8', 2, BigInt64Array.of(-1n, 2147483647n))).data).toEqual(Int32Array.of(-1, 2147483647))
    expect((await read('|i1', 2, Int8Array.of(-1, 5))).data).toEqual(Int32Array.of(-1, 5))
    expect((await read('<u2', 1, Uint16Array.of(65535))).data).toEqual(Int32Array.of(65535))
    expect((await read('<f8', 1, Float64Array.of(0.1))).data).toEqual(Float32Array.of(0.1))
    expect(await errorOf('E_DATA', read('<i8', 2, BigInt64Array.of(0n, 2147483648n)))).toMatch(
      /element 1 is 2147483648/,
    )
    expect(await errorOf('E_DATA', read('<u4', 1, Uint32Array.of(2 ** 31)))).toMatch(/element 0 is 2147483648/)
    expect(await errorOf('E_DATA', read('<f8', 1, Float64Array.of(-1e300)))).toMatch(/-1e\+300/)
    expect(await errorOf('E_DATA', read('|b1', 1, Uint8Array.of(2)))).toMatch(/boolean/)
  })

  it('turns Fortran order round', async () => {
    const body = Float32Array.of(0, 3, 1, 4, 2, 5)
    expect((await readNpy(put('f', npy(header('<f4', '(2, 3)', 'True'), body)))).data).toEqual(
      Float32Array.of(0, 1, 2, 3, 4, 5),
    )
  })

  const four = Float32Array.of(1)
  it.each([
    ['no magic', Uint8Array.of(1, 2, 3), /no npy file/],
    ['version 4', npy(header('<f4', '(1,)'), four, 4), /at byte 6: npy version 4/],
    ['body cut', npy(header('<f4', '(2,)'), four), /\[2\] of type f4 takes 8 bytes; 4 follow/],
    ['trailing', npy(header('<f4', '()'), new Float32Array(2)), /\[\] of type f4 takes 4 bytes; 8 follow/],
    ['absurd shape', npy(header('<f4', '(99999999999999999999,)'), four), /absurd dimension/],
    ['negative', npy(header('<f4', '(-1,)'), four), /npy header/],
    ['object', npy(header('|O', '(1,)'), four), /npy header/],
    ['text', npy(header('<U1', '(1,)'), four), /element type '<U1' is not supported/],
    ['structured', npy("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,), }", four), /npy header/],
    ['twice', npy(`{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (1,)}`, four), /'descr' twice/],
    ['missing', npy(`{'descr': '<f4', 'shape': (1,)}`, four), /missing/],
    ['code', npy(`__import__('os')`, four), /no dictionary/],
    [
      'header beyond the file',
      Uint8Array.of(0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59, 1, 0, 255, 255),
      /said to end at byte 65545/,
    ],
  ] as [string, Uint8Array, RegExp][])('refuses: %s', async (_, bytes, message) => {
    expect(await errorOf('E_DATA', readNpy(put('bad.npy', bytes)))).toMatch(message)
  })
})

describe('npz', () => {
  it("reads NumPy's own archive", async () => {
    const path = put('numpy.npz', numpyArchive)
    const arrays = await readNpz(path, ['x', 'y', 'f', 'big', 'flag', 'scalar'])
    expect(arrays.get('x')).toEqual(
      hostTensor(
        Uint8Array.from({ length: 16 }, (_, i) => i),
        [4, 2, 2],
      ),
    )
    expect(arrays.get('y')?.data).toEqual(Int32Array.of(0, 1, 1, 0))
    expect(arrays.get('f')).toEqual(
      hostTensor(
        Float32Array.from({ length: 24 }, (_, i) => i / 4),
        [2, 3, 4],
      ),
    )
    expect(arrays.get('big')?.data).toEqual(Float32Array.of(1.5, -2))
    expect(arrays.get('flag')).toEqual(hostTensor(Uint8Array.of(1, 0), [2], 'bool'))
    expect(arrays.get('scalar')).toEqual(hostTensor(Int32Array.of(7), []))
    expect(await errorOf('E_DATA', readNpz(path))).toMatch(/z.npy.*element type '<U1'/)
    expect(await errorOf('E_DATA', readNpz(path, ['imagse']))).toMatch(/no array 'imagse'/)
    expect(await errorOf('E_DATA', readNpz(path, ['fla']))).toMatch(/Did you mean 'flag'/)
  })

  it('makes data sets', async () => {
    const path = put('numpy.npz', numpyArchive)
    const data = await npzDataset(path, { classNames: ['cat', 'dog'] })
    expect([data.shape, data.count, data.classCounts(), data.classNames]).toEqual([
      [1, 2, 2],
      4,
      [2, 2],
      ['cat', 'dog'],
    ])
    expect((await npzDataset(path, { labels: null })).labels).toBeUndefined()
    expect((await npzDataset(path, { images: 'f', labels: null, range: 'data' })).range).toEqual([0, 5.75])
    expect((await npzDataset(path, { images: 'f', labels: null, range: null })).range).toBeNull()
    expect(await errorOf('E_DATA', npzDataset(path, { images: 'f', labels: null }))).toMatch(
      /outside the range \[-1, 1\]/,
    )
    expect(await errorOf('E_DATA', npzDataset(path, { labels: 'no' }))).toMatch(/no array 'no'/)
    const images = join(folder, 'table.npy')
    await writeNpy(images, hostTensor(Float32Array.of(0, 0.5, -1, 1), [2, 2]))
    expect((await npyDataset({ images })).shape).toEqual([2])
  })

  it('reads stored archives and refuses damaged ones', async () => {
    const member = npy(header('|u1', '(3,)'), Uint8Array.of(1, 2, 3))
    const stored = zipSync({ 'a.npy': [member, { level: 0 }], 'note.txt': member })
    expect([...(await readNpz(put('s.npz', stored))).keys()]).toEqual(['a'])
    for (const n of [0, 10, stored.length - 30, stored.length - 1]) {
      expect(await errorOf('E_DATA', readNpz(put('cut.npz', stored.subarray(0, n))))).toMatch(/cut short/)
    }
    const packed = zipSync({ 'a.npy': npy(header('|u1', '(5000,)'), new Uint8Array(5000)) })
    const at = Buffer.from(packed).lastIndexOf('PK\x01\x02') + 24
    const bomb = packed.slice()
    new DataView(bomb.buffer).setUint32(at, 0xfffffff0, true)
    expect(await errorOf('E_DATA', readNpz(put('bomb.npz', bomb)))).toMatch(/claims 4294967280 bytes/)
  })

  it('damage anywhere ends in E_DATA or in arrays, never in another error', async () => {
    const packed = zipSync({
      'x.npy': npy(
        header('<f4', '(8,)'),
        Float32Array.from({ length: 8 }, (_, i) => i),
      ),
    })
    for (let i = 0; i < packed.length; i++) {
      const damaged = packed.slice()
      damaged[i] = (damaged[i] as number) ^ (1 << (i % 8))
      const result = await readNpz(put('d.npz', damaged)).catch((e: { code?: string }) => e.code)
      expect(result instanceof Map ? 'E_DATA' : result).toBe('E_DATA')
    }
  })
})
