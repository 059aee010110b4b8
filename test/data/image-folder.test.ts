import { mkdirSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { encode, type ImageData } from 'fast-png'
import { describe, expect, it } from 'vitest'
import { imageFolder } from '../../lib/data/image-folder.ts'
import { errorOf, scratch } from './helpers.ts'

const { folder, put } = scratch()

let next = 0
/** A folder of PNG files by relative name. */
function tree(files: Record<string, ImageData | Uint8Array>): string {
  const name = `set${next++}`
  mkdirSync(join(folder, name))
  for (const [path, image] of Object.entries(files)) {
    mkdirSync(join(folder, name, path, '..'), { recursive: true })
    put(join(name, path), image instanceof Uint8Array ? image : encode(image))
  }
  return join(folder, name)
}

const grey = (...data: number[]): ImageData => ({
  width: 2,
  height: 1,
  channels: 1,
  depth: 8,
  data: Uint8Array.from(data),
})
const pixels = async (dir: string, options = {}) => Array.from((await imageFolder(dir, options)).features.data)

describe('imageFolder', () => {
  it('takes subfolders as classes, in the order of names', async () => {
    const dir = tree({
      'dog/b.png': grey(3, 4),
      'dog/a.PNG': grey(1, 2),
      'cat/z.png': grey(5, 6),
      'cat/.hidden.png': grey(0, 0),
      'cat/notes.txt': new Uint8Array(1),
    })
    const data = await imageFolder(dir)
    expect(data.classNames).toEqual(['cat', 'dog'])
    expect(Array.from(data.labels ?? [])).toEqual([0, 1, 1])
    expect([data.shape, data.range]).toEqual([
      [1, 1, 2],
      [0, 255],
    ])
    expect(Array.from(data.features.data)).toEqual([5, 6, 1, 2, 3, 4])
  })

  it('a flat folder has no labels', async () => {
    const data = await imageFolder(tree({ 'b.png': grey(3, 4), 'a.png': grey(1, 2) }), { name: 'flat' })
    expect([data.name, data.labels, data.classes, data.count]).toEqual(['flat', undefined, 0, 2])
    expect(Array.from(data.features.data)).toEqual([1, 2, 3, 4])
  })

  it('reads 16 bits, few bits, and palettes', async () => {
    const sixteen: ImageData = {
      width: 2,
      height: 1,
      channels: 1,
      depth: 16,
      data: Uint16Array.of(65535, 257 * 7 + 100),
    }
    expect(await pixels(tree({ 'a.png': sixteen }))).toEqual([255, 7])
    const bits: ImageData = { width: 5, height: 2, channels: 1, depth: 1, data: Uint8Array.of(0b10110000, 0b00001000) }
    expect(await pixels(tree({ 'a.png': bits }))).toEqual([255, 0, 255, 255, 0, 0, 0, 0, 0, 255])
    const nibbles: ImageData = { width: 3, height: 1, channels: 1, depth: 4, data: Uint8Array.of(0x1f, 0x80) }
    expect(await pixels(tree({ 'a.png': nibbles }))).toEqual([17, 255, 136])
    const palette: ImageData = {
      width: 3,
      height: 1,
      channels: 1,
      depth: 8,
      data: Uint8Array.of(1, 0, 1),
      palette: [
        [10, 20, 30],
        [40, 50, 60],
      ],
    }
    expect(await pixels(tree({ 'a.png': palette }))).toEqual([40, 10, 40, 50, 20, 50, 60, 30, 60])
  })

  it('composes transparency over white, over black, or ignores it', async () => {
    const veil: ImageData = { width: 2, height: 1, channels: 2, depth: 8, data: Uint8Array.of(100, 255, 100, 51) }
    const dir = tree({ 'a.png': veil })
    expect(await pixels(dir)).toEqual([100, 224])
    expect(await pixels(dir, { background: 'black' })).toEqual([100, 20])
    expect(await pixels(dir, { background: 'ignore' })).toEqual([100, 100])
    const rgba: ImageData = { width: 1, height: 1, channels: 4, depth: 8, data: Uint8Array.of(9, 8, 7, 0) }
    expect(await pixels(tree({ 'a.png': rgba }))).toEqual([255, 255, 255])
  })

  it('mixes grey and colour as asked', async () => {
    const rgb: ImageData = { width: 2, height: 1, channels: 3, depth: 8, data: Uint8Array.of(1, 2, 3, 255, 0, 0) }
    const dir = tree({ 'a.png': rgb, 'b.png': grey(7, 8) })
    expect(await pixels(dir)).toEqual([1, 255, 2, 0, 3, 0, 7, 8, 7, 8, 7, 8])
    expect(await pixels(dir, { channels: 1 })).toEqual([2, 76, 7, 8])
  })

  it('names the file that does not fit', async () => {
    const wide: ImageData = { width: 3, height: 1, channels: 1, depth: 8, data: new Uint8Array(3) }
    expect(await errorOf('E_DATA', imageFolder(tree({ 'a.png': grey(1, 2), 'b.png': wide })))).toMatch(
      /b.png.*3x1.*2x1/,
    )
    expect(await errorOf('E_DATA', imageFolder(tree({ 'x/a.png': grey(1, 2), 'b.png': wide })))).toMatch(
      /b.png.*belongs to no class/,
    )
    expect(await errorOf('E_DATA', imageFolder(tree({ 'a.jpg': new Uint8Array(3) })))).toMatch(/a.jpg.*only PNG/)
    expect(await errorOf('E_DATA', imageFolder(tree({})))).toMatch(/no PNG files/)
    expect(await errorOf('E_DATA', imageFolder(tree({ 'x/a.png': grey(1, 2), 'y/n.txt': new Uint8Array(1) })))).toMatch(
      /y'.*no PNG/,
    )
    expect(await errorOf('E_IO', imageFolder(join(folder, 'absent')))).toMatch(/ENOENT/)
    const good = encode({
      width: 8,
      height: 8,
      channels: 1,
      depth: 8,
      data: Uint8Array.from({ length: 64 }, (_, i) => i * 3),
    })
    for (const n of [0, 4, 20, 40, good.length - 20]) {
      expect(await errorOf('E_DATA', imageFolder(tree({ 'cut.png': good.subarray(0, n) })))).toMatch(
        /cut.png.*cut short/,
      )
    }
    const crc = good.slice()
    crc[45] = (crc[45] as number) ^ 1
    expect(await errorOf('E_DATA', imageFolder(tree({ 'crc.png': crc })))).toMatch(/crc.png/)
    const bomb = good.slice()
    new DataView(bomb.buffer).setUint32(16, 60000)
    new DataView(bomb.buffer).setUint32(20, 60000)
    expect(await errorOf('E_DATA', imageFolder(tree({ 'bomb.png': bomb })))).toMatch(/60000x60000 pixels/)
  })

  it.skipIf(process.platform === 'win32')('follows links to class folders', async () => {
    const dir = tree({ 'a/1.png': grey(1, 2) })
    symlinkSync(join(dir, 'a'), join(dir, 'b'))
    expect((await imageFolder(dir)).classCounts()).toEqual([1, 1])
  })
})
