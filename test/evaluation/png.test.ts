import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { decode } from 'fast-png'
import { afterAll, describe, expect, it } from 'vitest'
import { imageGrid, savePng } from '../../lib/evaluation/png.ts'
import { hostTensor } from '../../lib/graph/host-tensor.ts'

const folder = mkdtempSync(join(tmpdir(), 'langevin-png-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

/** Three images [1, 1, 2]. */
const grey = hostTensor(Float32Array.of(-1, 0, 1, -2, 5, 0.5), [3, 1, 1, 2])

describe('imageGrid', () => {
  it('places images row by row on white', () => {
    const grid = imageGrid(grey, { columns: 2, scale: 1, padding: 1 })
    expect([grid.width, grid.height, grid.channels]).toEqual([7, 5, 1])
    const w = 255
    expect(Array.from(grid.data)).toEqual([
      w,
      w,
      w,
      w,
      w,
      w,
      w,
      w,
      0,
      128,
      w,
      255,
      0,
      w,
      w,
      w,
      w,
      w,
      w,
      w,
      w,
      w,
      255,
      191,
      w,
      w,
      w,
      w,
      w,
      w,
      w,
      w,
      w,
      w,
      w,
    ])
  })

  it('enlarges pixels and keeps colours apart', () => {
    const rgb = hostTensor(Float32Array.of(1, -1, -1, 1, 0, 0), [1, 3, 1, 2])
    const grid = imageGrid(rgb, { scale: 2, padding: 0 })
    expect([grid.width, grid.height, grid.channels]).toEqual([4, 2, 3])
    const row = [255, 0, 128, 255, 0, 128, 0, 255, 128, 0, 255, 128]
    expect(Array.from(grid.data)).toEqual([...row, ...row])
  })

  it('is at least 400 pixels wide by default and square', () => {
    const digits = imageGrid(hostTensor(new Float32Array(100 * 64), [100, 1, 8, 8]))
    expect(digits.width).toBe(10 * 8 * 5 + 22)
    expect(digits.height).toBe(digits.width)
    expect(imageGrid(hostTensor(new Float32Array(500 * 500), [1, 1, 500, 500])).width).toBe(504)
  })

  it('refuses what is no image', () => {
    expect(() => imageGrid(hostTensor(new Float32Array(4), [1, 2, 1, 2]))).toThrow(/float32\[1,2,1,2\]/)
    expect(() => imageGrid(hostTensor(new Uint8Array(1), [1, 1, 1, 1]))).toThrow(RangeError)
    expect(() => imageGrid(grey, { columns: 0 })).toThrow(/columns/)
    expect(() => imageGrid(grey, { scale: 1.5 })).toThrow(/scale/)
    expect(() => imageGrid(hostTensor(Float32Array.of(0, NaN), [2, 1, 1, 1]))).toThrow(/image 1 holds NaN/)
  })
})

describe('savePng', () => {
  it('writes a file that reads back', async () => {
    const path = join(folder, 'grid.png')
    const grid = imageGrid(grey, { columns: 2, scale: 3 })
    await savePng(path, grey, { columns: 2, scale: 3 })
    const back = decode(readFileSync(path), { checkCrc: true })
    expect([back.width, back.height, back.channels, back.depth]).toEqual([grid.width, grid.height, 1, 8])
    expect(Buffer.compare(Uint8Array.from(back.data), grid.data)).toBe(0)
    const rgb = imageGrid(
      hostTensor(
        Float32Array.from({ length: 27 }, (_, i) => i / 13 - 1),
        [1, 3, 3, 3],
      ),
    )
    await savePng(path, rgb)
    expect(Buffer.compare(Uint8Array.from(decode(readFileSync(path)).data), rgb.data)).toBe(0)
  })

  it('leaves nothing behind where it cannot write', async () => {
    const path = join(folder, 'none', 'grid.png')
    await expect(savePng(path, grey)).rejects.toMatchObject({ code: 'E_IO' })
    expect(existsSync(path)).toBe(false)
  })
})
