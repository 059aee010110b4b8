import { mkdirSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { type DataSpec, loadDataset } from '../../lib/data/load.ts'
import { writeNpy } from '../../lib/data/npy.ts'
import { hostTensor } from '../../lib/graph/host-tensor.ts'
import { errorOf, idxBytes, scratch } from './helpers.ts'
import { numpyArchive } from './numpy-archive.ts'

const { folder, put } = scratch()

describe('loadDataset', () => {
  it('loads the digits with a hold-out that a limit does not move', async () => {
    const whole = await loadDataset({ kind: 'digits' })
    expect([whole.train.count, whole.test]).toEqual([1797, undefined])
    const { train, test } = await loadDataset({ kind: 'digits', test: 360, limit: 100 })
    expect([train.count, test?.count, test?.classes]).toEqual([100, 360, 10])
    expect(test?.features).toEqual((await loadDataset({ kind: 'digits', test: 360 })).test?.features)
    expect((await loadDataset({ kind: 'digits', test: 0.1 })).test?.count).toBe(180)
  })

  it('resolves paths against the base, and takes a second description as test', async () => {
    put('i', idxBytes(8, [3, 2, 2], new Uint8Array(12)))
    put('l', idxBytes(8, [3], Uint8Array.of(0, 1, 1)))
    put('n.npz', numpyArchive)
    const test: DataSpec = { kind: 'npz', path: 'n.npz', limit: 2 }
    const data = await loadDataset({ kind: 'idx', images: 'i', labels: 'l', classes: 2, test }, { base: folder })
    expect([data.train.count, data.train.classCounts(), data.test?.count]).toEqual([3, [1, 2], 2])
    expect(await errorOf('E_IO', loadDataset({ kind: 'idx', images: 'i' }))).toMatch(/ENOENT/)
    await writeNpy(`${folder}/t.npy`, hostTensor(Float32Array.of(0, 1, 2), [3, 1]))
    const table = await loadDataset({ kind: 'npy', images: 't.npy', range: [0, 2] }, { base: folder })
    expect(Array.from(table.train.normalized().data)).toEqual([-1, 0, 1])
    const mixed = loadDataset(
      { kind: 'npy', images: 't.npy', range: 'data', test: { kind: 'digits' } },
      { base: folder },
    )
    expect(await errorOf('E_DATA', mixed)).toMatch(/differ in the shape/)
  })

  it('standard test parts stand unless a number replaces them', async () => {
    mkdirSync(`${folder}/m`)
    for (const [part, n] of [
      ['train', 4],
      ['t10k', 2],
    ] as const) {
      put(`m/${part}-images-idx3-ubyte`, idxBytes(8, [n, 28, 28], new Uint8Array(n * 784)))
      put(`m/${part}-labels-idx1-ubyte`, idxBytes(8, [n], new Uint8Array(n)))
    }
    const counts = async (test?: number) => {
      const split = await loadDataset({ kind: 'mnist', path: `${folder}/m`, test })
      return [split.train.count, split.test?.count]
    }
    expect(await counts()).toEqual([4, 2])
    expect(await counts(1)).toEqual([3, 1])
  })

  it('a description that is not one is E_CONFIG and says where', async () => {
    const bad = (spec: unknown) => errorOf('E_CONFIG', loadDataset(spec as DataSpec))
    expect(await bad({ kind: 'digit' })).toMatch(/kind/)
    expect(await bad({ kind: 'digits', limt: 5 })).toMatch(/limt/)
    expect(await bad({ kind: 'mnist' })).toMatch(/path/)
    expect(await bad({ kind: 'digits', limit: 0 })).toMatch(/limit/)
    expect(await bad({ kind: 'digits', test: { kind: 'idx' } })).toMatch(/test/)
    expect(await bad({ kind: 'digits', test: 5000 })).toMatch(/whole number in 1..1796/)
    expect(await bad(null)).toMatch(/not valid/)
  })
})
