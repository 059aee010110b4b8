/** PNG files that mean harm: what they would unpack to is not unpacked. */
import { crc32, deflateSync } from 'node:zlib'
import { decode, encode } from 'fast-png'
import { describe, expect, test } from 'vitest'
import { ServeError } from '../../examples/serve/src/errors.ts'
import { readPicture } from '../../examples/serve/src/picture.ts'

const size = { channels: 1, height: 8, width: 8 } as const
const signature = Uint8Array.of(0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a)

function chunk(type: string, data: Uint8Array = new Uint8Array(0)): Buffer {
  const out = Buffer.alloc(12 + data.length)
  out.writeUInt32BE(data.length, 0)
  out.write(type, 4, 'latin1')
  out.set(data, 8)
  out.writeUInt32BE(crc32(out.subarray(4, 8 + data.length)), 8 + data.length)
  return out
}

/** Grey of 8 bits. */
function header(width: number, height: number): Buffer {
  const data = Buffer.alloc(13)
  data.writeUInt32BE(width, 0)
  data.writeUInt32BE(height, 4)
  data[8] = 8
  return chunk('IHDR', data)
}

const pixels = chunk('IDAT', deflateSync(Buffer.alloc(72, 0).fill(7, 1, 9)))
const file = (...chunks: readonly Buffer[]): Buffer => Buffer.concat([signature, ...chunks])

function refusal(bytes: Buffer): ServeError {
  try {
    readPicture(bytes, size)
  } catch (error) {
    expect(error).toBeInstanceOf(ServeError)
    return error as ServeError
  }
  throw new Error('it was taken')
}

describe('PNG files that are not what they seem', () => {
  test('the file of these tests is sound', () => {
    expect([...readPicture(file(header(8, 8), pixels, chunk('IEND')), size)].slice(0, 10)).toEqual([
      ...Array<number>(8).fill(7),
      0,
      0,
    ])
  })

  test('what unpacks to more than its pixels', () => {
    const bomb = file(header(8, 8), chunk('IDAT', deflateSync(Buffer.alloc(5e7), { level: 9 })), chunk('IEND'))
    expect(bomb.length).toBeLessThan(1e5)
    const before = process.memoryUsage().rss
    expect(refusal(bomb).message).toMatch(/damaged/)
    expect(process.memoryUsage().rss - before).toBeLessThan(2e7)
  })

  test.each<[string, Buffer]>([
    ['a second header of another size', file(header(8, 8), header(60000, 60000), pixels, chunk('IEND'))],
    ['a header that is not the first', file(chunk('tEXt', header(8, 8).subarray(8, 21)), header(60000, 60000), pixels)],
    ['no end', file(header(8, 8), pixels)],
    ['a chunk that ends beyond the file', file(header(8, 8), pixels.subarray(0, -20))],
    ['no pixels', file(header(8, 8), chunk('IEND'))],
    ['pixels that are not packed', file(header(8, 8), chunk('IDAT', new Uint8Array(72)), chunk('IEND'))],
  ])('%s', (_, bytes) => {
    expect(refusal(bytes)).toMatchObject({ code: 'E_PNG', statusCode: 422 })
  })

  test('packed profiles and texts are not looked at', () => {
    const packed = deflateSync(Buffer.alloc(5e7), { level: 9 })
    const profile = chunk('iCCP', Buffer.concat([Buffer.from('name\0\0', 'latin1'), packed]))
    const bytes = file(header(8, 8), profile, pixels, chunk('IEND'))
    const before = process.memoryUsage().rss
    expect(readPicture(bytes, size)[0]).toBe(7)
    expect(process.memoryUsage().rss - before).toBeLessThan(2e7)
  })

  test('pictures that are cut short or changed anywhere are refused or read, never more', () => {
    const good = Buffer.from(
      encode({ width: 8, height: 8, channels: 4, data: Uint8Array.from({ length: 256 }, (_, i) => i) }),
    )
    expect(decode(good).width).toBe(8)
    for (let at = 0; at < good.length; at++) {
      expect(refusal(good.subarray(0, at)).code).toBe('E_PNG')
      const changed = Buffer.from(good)
      changed[at] = (changed[at] as number) ^ 0x41
      // Checksums find every change of what is read.
      expect(refusal(changed).code).toBe('E_PNG')
    }
  })
})
