import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { describe, expect, it } from 'vitest'
import { idxDataset, readIdx } from '../../lib/data/idx.ts'
import { cifar10, digits, mnist } from '../../lib/data/standard.ts'
import { errorOf, idxBytes, scratch } from './helpers.ts'

const { folder, put } = scratch()

/** Big-endian bytes of numbers. */
function bigEndian(
  width: number,
  set: (view: DataView, at: number, value: number) => void,
  values: number[],
): Uint8Array {
  const out = new Uint8Array(values.length * width)
  for (const [i, v] of values.entries()) set(new DataView(out.buffer), i * width, v)
  return out
}

describe('readIdx', () => {
  it('reads every element type', async () => {
    const read = (type: number, n: number, body: Uint8Array) => readIdx(put('t', idxBytes(type, [n], body)))
    expect((await read(8, 2, Uint8Array.of(0, 255))).data).toEqual(Uint8Array.of(0, 255))
    expect((await read(9, 2, Uint8Array.of(1, 255))).data).toEqual(Int32Array.of(1, -1))
    expect(
      (
        await read(
          11,
          2,
          bigEndian(2, (v, at, x) => v.setInt16(at, x), [-2, 300]),
        )
      ).data,
    ).toEqual(Int32Array.of(-2, 300))
    expect(
      (
        await read(
          12,
          1,
          bigEndian(4, (v, at, x) => v.setInt32(at, x), [-70000]),
        )
      ).data,
    ).toEqual(Int32Array.of(-70000))
    expect(
      (
        await read(
          13,
          1,
          bigEndian(4, (v, at, x) => v.setFloat32(at, x), [1.5]),
        )
      ).data,
    ).toEqual(Float32Array.of(1.5))
    expect(
      (
        await read(
          14,
          1,
          bigEndian(8, (v, at, x) => v.setFloat64(at, x), [0.1]),
        )
      ).data,
    ).toEqual(Float32Array.of(0.1))
    const huge = bigEndian(8, (v, at, x) => v.setFloat64(at, x), [1, 1e99])
    expect(await errorOf('E_DATA', read(14, 2, huge))).toMatch(/element 1 is 1e\+99/)
  })

  it('tells gzip by content, not by name', async () => {
    const bytes = idxBytes(8, [2, 2], Uint8Array.of(1, 2, 3, 4))
    expect(await readIdx(put('plain.gz', bytes))).toEqual(await readIdx(put('packed', gzipSync(bytes))))
    expect((await readIdx(put('packed', gzipSync(bytes)))).shape).toEqual([2, 2])
  })

  const whole = idxBytes(8, [2, 2], Uint8Array.of(1, 2, 3, 4))
  it.each([
    ['empty', whole.subarray(0, 0), /0 bytes/],
    ['no magic', Uint8Array.of(1, 2, 8, 1, 0, 0, 0, 0), /at byte 0: no IDX file: it begins with bytes 1, 2/],
    [
      'unknown type',
      Uint8Array.of(0, 0, 10, 1, 0, 0, 0, 0),
      /at byte 2: .*element type is 10; expected one of 8, 9, 11, 12, 13, 14/,
    ],
    ['rank 0', Uint8Array.of(0, 0, 8, 0), /at byte 3: the rank is 0/],
    ['header cut', whole.subarray(0, 9), /at byte 4: cut short: 2 dimensions take 12 bytes; it has 9/],
    ['body cut', whole.subarray(0, 15), /at byte 12: cut short.*\[2,2\] of type unsigned byte take 4 bytes; 3 follow/],
    ['trailing byte', Uint8Array.of(...whole, 9), /bytes left over.*take 4 bytes; 5 follow/],
    [
      'absurd dimensions',
      idxBytes(14, [4294967295, 4294967295, 4294967295], whole),
      /or the dimensions are wrong.*take \d/,
    ],
    ['gzip cut', gzipSync(whole).subarray(0, 20), /gzip stream is damaged or cut short/],
  ] as [string, Uint8Array, RegExp][])('refuses: %s', async (name, bytes, message) => {
    const path = put('bad', bytes)
    const text = await errorOf('E_DATA', readIdx(path))
    expect(text, name).toContain(path)
    expect(text).toMatch(message)
  })

  it('a missing file is E_IO', async () => {
    expect(await errorOf('E_IO', readIdx(join(folder, 'absent')))).toMatch(/absent.*ENOENT/)
  })
})

describe('idxDataset', () => {
  it('gives images a channel, and says what does not fit', async () => {
    const images = put('i', idxBytes(8, [2, 2, 2], Uint8Array.of(0, 1, 2, 3, 4, 5, 6, 16)))
    const labels = put('l', idxBytes(8, [2], Uint8Array.of(1, 0)))
    const data = await idxDataset({ images, labels, range: [0, 16], classes: 3 })
    expect([data.shape, data.classes, data.classCounts()]).toEqual([[1, 2, 2], 3, [1, 1, 0]])
    expect((await idxDataset({ images, range: 'data' })).range).toEqual([0, 16])
    expect(await errorOf('E_DATA', idxDataset({ images, labels, range: [0, 15] }))).toMatch(/row 1 holds 16/)
    const three = put('l3', idxBytes(8, [3], Uint8Array.of(1, 0, 0)))
    expect(await errorOf('E_DATA', idxDataset({ images, labels: three }))).toMatch(/2 rows, but 3 labels/)
    const half = put(
      'lf',
      idxBytes(
        13,
        [2],
        bigEndian(4, (v, at, x) => v.setFloat32(at, x), [1, 0.5]),
      ),
    )
    expect(await errorOf('E_DATA', idxDataset({ images, labels: half }))).toMatch(/label of row 1 is 0.5/)
    expect(await errorOf('E_DATA', idxDataset({ images, labels: images }))).toMatch(
      /labels must be one whole number a row/,
    )
    expect(await errorOf('E_DATA', idxDataset({ images: labels }))).toMatch(/examples must be/)
  })
})

describe('standard sets', () => {
  it('ships the digits', async () => {
    const data = await digits()
    expect([data.count, data.shape, data.classes, data.range]).toEqual([1797, [1, 8, 8], 10, [0, 16]])
    expect(data.classCounts()).toEqual([178, 182, 177, 183, 181, 182, 181, 179, 174, 180])
    const { data: x } = data.normalized()
    expect([Math.min(...x), Math.max(...x)]).toEqual([-1, 1])
    const { train, test } = data.split({ test: 360 })
    expect([train.count, test.count]).toEqual([1437, 360])
  })

  it('reads MNIST by its names, gzipped or not, with a test part of any size or none', async () => {
    const dir = join(folder, 'mnist')
    mkdirSync(dir)
    expect(await errorOf('E_DATA', mnist(dir))).toMatch(/no MNIST here/)
    put('mnist/train-images-idx3-ubyte.gz', gzipSync(idxBytes(8, [3, 28, 28], new Uint8Array(3 * 784).fill(7))))
    expect(await errorOf('E_DATA', mnist(dir))).toMatch(/labels of the train part are missing/)
    put('mnist/train-labels-idx1-ubyte', idxBytes(8, [3], Uint8Array.of(0, 9, 1)))
    expect((await mnist(dir)).test).toBeUndefined()
    put('mnist/t10k-images-idx3-ubyte', idxBytes(8, [1, 28, 28], new Uint8Array(784)))
    put('mnist/t10k-labels-idx1-ubyte', idxBytes(8, [1], Uint8Array.of(4)))
    const { train, test } = await mnist(dir)
    expect([train.count, train.shape, train.classes, test?.count, test?.classes]).toEqual([3, [1, 28, 28], 10, 1, 10])
    put('mnist/train-labels-idx1-ubyte', idxBytes(8, [3], Uint8Array.of(0, 10, 1)))
    expect(await errorOf('E_DATA', mnist(dir))).toMatch(/label of row 1 is 10; expected 0..9/)
  })

  it('reads CIFAR-10 and CIFAR-100 batches', async () => {
    const dir = join(folder, 'cifar')
    mkdirSync(dir)
    const rows = (labels: number[][]) =>
      Buffer.concat(labels.map((l) => Buffer.from([...l, ...new Uint8Array(3072).fill(l[0] as number)])))
    expect(await errorOf('E_DATA', cifar10(dir))).toMatch(/data_batch_1.bin/)
    put('cifar/data_batch_1.bin', rows([[3], [9]]))
    put('cifar/data_batch_2.bin', rows([[1]]))
    const { train, test } = await cifar10(dir)
    expect([train.count, train.shape, train.classes, test]).toEqual([3, [3, 32, 32], 10, undefined])
    expect(Array.from(train.labels ?? [])).toEqual([3, 9, 1])
    expect([train.features.data[0], train.features.data[3072], train.features.data[3 * 3072 - 1]]).toEqual([3, 9, 1])
    expect(train.classNames[9]).toBe('truck')
    put('cifar/test_batch.bin', rows([[3], [10]]))
    expect(await errorOf('E_DATA', cifar10(dir))).toMatch(/at byte 3073: the label of row 1 is 10; expected 0..9/)
    put('cifar/test_batch.bin', rows([[3], [1]]).subarray(0, 4000))
    expect(await errorOf('E_DATA', cifar10(dir))).toMatch(
      /at byte 3073: expected rows of 3073 bytes; 4000 bytes are 1 rows and 927 more/,
    )
    put(
      'cifar/train.bin',
      rows([
        [19, 99],
        [0, 5],
      ]),
    ) // coarse, fine
    const fine = await cifar10(dir, { variant: 'cifar100' })
    expect([fine.train.classes, Array.from(fine.train.labels ?? [])]).toEqual([100, [99, 5]])
    const coarse = await cifar10(dir, { variant: 'cifar100', labels: 'coarse' })
    expect([coarse.train.classes, Array.from(coarse.train.labels ?? [])]).toEqual([20, [19, 0]])
  })
})
