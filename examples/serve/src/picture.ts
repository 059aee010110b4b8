/** PNG files: one read as planes of bytes, and grids of samples written. Decoding and encoding are fast-png's. */
import { inflateSync } from 'node:zlib'
import { convertIndexedToRgb, type DecodedPng, decode, encode } from 'fast-png'
import { reasonOf, ServeError } from './errors.ts'

export interface PictureSize {
  readonly channels: 1 | 3
  readonly height: number
  readonly width: number
}

/**
 * A PNG of that very size as planes [channels, height, width] with values 0..255; colour becomes grey by Rec. 601 luma, grey becomes three equal
 * planes, transparency shows white.
 * @throws ServeError E_PNG for another size or a damaged file. Nothing is unpacked but an image of that size: neither a larger one nor what else a file may hold.
 */
export function readPicture(bytes: Buffer, size: PictureSize): Float32Array {
  checkHeader(bytes, size)
  let png: DecodedPng
  try {
    png = decode(imageChunks(bytes, size), { checkCrc: true })
  } catch (cause) {
    throw new ServeError('E_PNG', {
      what: `the PNG is damaged or cut short (${reasonOf(cause)})`,
      remedy: 'Send the whole file, unchanged',
      cause,
    })
  }
  const { data, channels } = samplesOf(png)
  const { height, width } = size
  const planes = new Float32Array(size.channels * height * width)
  const colours = channels >= 3 ? 3 : 1
  for (let i = 0; i < height * width; i++) {
    const alpha = channels === 2 || channels === 4 ? (data[i * channels + colours] as number) / 255 : 1
    const shown = (c: number) => (data[i * channels + Math.min(c, colours - 1)] as number) * alpha + 255 * (1 - alpha)
    if (size.channels === 3) for (let c = 0; c < 3; c++) planes[c * height * width + i] = shown(c)
    else planes[i] = colours === 1 ? shown(0) : 0.299 * shown(0) + 0.587 * shown(1) + 0.114 * shown(2)
  }
  return planes
}

const SIGNATURE = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]

function checkHeader(bytes: Buffer, { height, width }: PictureSize): void {
  if (bytes.length < 33 || !SIGNATURE.every((b, i) => bytes[i] === b))
    throw new ServeError('E_PNG', { what: 'the body is no PNG', expected: `a PNG of ${width}x${height} pixels` })
  const [w, h] = [bytes.readUInt32BE(16), bytes.readUInt32BE(20)]
  if (w === width && h === height) return
  throw new ServeError('E_PNG', {
    what: 'the size of the picture',
    value: `${w}x${h}`,
    expected: `${width}x${height} pixels`,
    remedy: 'Scale it before sending: the service does not guess how',
  })
}

/** What an image is made of; profiles, texts and the like, which may be packed too, are left out. */
const kept: readonly string[] = ['IHDR', 'PLTE', 'tRNS', 'IDAT', 'IEND']

/**
 * The file's chunks (length, type, data, checksum) of the image, once they are known to unpack to no more than its pixels: a few hundred kilobytes
 * may stand for gigabytes. @throws Error that says what is wrong
 */
function imageChunks(bytes: Buffer, { height, width }: PictureSize): Buffer {
  const parts = [bytes.subarray(0, SIGNATURE.length)]
  const packed: Buffer[] = []
  let type = ''
  for (let at = SIGNATURE.length; type !== 'IEND'; ) {
    if (at + 12 > bytes.length) throw new Error('it ends before its IEND')
    const end = at + 12 + bytes.readUInt32BE(at)
    type = bytes.toString('latin1', at + 4, at + 8)
    if (end > bytes.length) throw new Error(`its ${type} ends early`)
    if ((type === 'IHDR') !== (at === SIGNATURE.length)) throw new Error('it does not begin with its one header')
    if (type === 'IDAT') packed.push(bytes.subarray(at + 8, end - 4))
    if (kept.includes(type)) parts.push(bytes.subarray(at, end))
    at = end
  }
  // At most 8 bytes a pixel and one a row, in up to seven passes.
  inflateSync(Buffer.concat(packed), { maxOutputLength: 2 * height * (8 * width + 1) + 7 * (height + 1) })
  return Buffer.concat(parts)
}

/** Interleaved 8-bit samples; palettes are looked up, 16 bits rounded, fewer bits stretched to 0..255. */
function samplesOf(png: DecodedPng): { readonly data: ArrayLike<number>; readonly channels: number } {
  if (png.palette) return { data: convertIndexedToRgb(png), channels: png.palette[0]?.length ?? 3 }
  const { data, channels, depth } = png
  if (depth === 8) return { data, channels }
  if (depth === 16) return { data: Array.from(data, (v) => Math.round(v / 257)), channels }
  return { data: unpacked(png), channels }
}

/** Grey of 1, 2 or 4 bits a pixel: rows begin at whole bytes. */
function unpacked({ data, width, height, depth }: DecodedPng): Uint8Array {
  const stride = Math.ceil((width * depth) / 8)
  const highest = 2 ** depth - 1
  return Uint8Array.from({ length: width * height }, (_, i) => {
    const x = i % width
    const byte = data[Math.floor(i / width) * stride + Math.floor((x * depth) / 8)] as number
    return (((byte >> (8 - depth - ((x * depth) % 8))) & highest) * 255) / highest
  })
}

/** A PNG of pictures in a grid, as square as can be, on white. `values` are [n, channels, height, width] in [-1, 1]; beyond is clamped. */
export function writeGrid(values: Float32Array, size: PictureSize, scale: number): Uint8Array {
  const { channels, height: h, width: w } = size
  const n = values.length / (channels * h * w)
  const columns = Math.ceil(Math.sqrt(n))
  const gap = 2
  const width = columns * (w * scale + gap) + gap
  const height = Math.ceil(n / columns) * (h * scale + gap) + gap
  const data = new Uint8Array(width * height * channels).fill(255)
  for (let i = 0; i < n; i++) {
    const left = gap + (i % columns) * (w * scale + gap)
    const top = gap + Math.floor(i / columns) * (h * scale + gap)
    for (let y = 0; y < h * scale; y++)
      for (let x = 0; x < w * scale; x++)
        for (let c = 0; c < channels; c++) {
          const from = ((i * channels + c) * h + Math.floor(y / scale)) * w + Math.floor(x / scale)
          const v = Math.min(1, Math.max(-1, values[from] as number))
          data[((top + y) * width + left + x) * channels + c] = Math.round((v + 1) * 127.5)
        }
  }
  return encode({ width, height, channels, depth: 8, data })
}
