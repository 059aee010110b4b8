/**
 * Images to look at: a batch of tensors laid out as a grid, saved as a PNG.
 * Encoding is fast-png's. Reading PNG files is lib/data/image-folder.ts.
 */
import { encode } from 'fast-png'
import { LangevinError } from '../graph/errors.ts'
import type { HostTensor } from '../graph/host-tensor.ts'
import { showShape } from '../graph/shape.ts'
import { writeFileAtomically } from '../runtime/files.ts'

export interface GridOptions {
  /** Images in a row. Default: a square. */
  readonly columns?: number | undefined
  /** Every pixel becomes scale x scale. Default: the least whole number that makes the grid 400 pixels wide. */
  readonly scale?: number | undefined
  /** White pixels between the images and around them, unscaled. Default 2. */
  readonly padding?: number | undefined
}

/** Interleaved 8-bit pixels. */
export interface GridImage {
  readonly width: number
  readonly height: number
  /** 1 grey, 3 RGB. */
  readonly channels: 1 | 3
  readonly data: Uint8Array
}

/** Grids narrower than this are enlarged by a whole factor: 8x8 digits are specks else. */
const leastWidth = 400

/**
 * Lays out images [n, c, h, w] (c is 1 or 3) with values in [-1, 1] row by row; values beyond are clamped.
 * @throws RangeError for a shape or option that does not fit; LangevinError E_DATA for NaN, naming the image.
 */
export function imageGrid(images: HostTensor, options: GridOptions = {}): GridImage {
  const [n = 0, c = 0, h = 0, w = 0] = images.shape
  if (images.shape.length !== 4 || images.dtype !== 'float32' || (c !== 1 && c !== 3) || n * h * w === 0) {
    throw new RangeError(
      `imageGrid: images must be float32 [n, 1 or 3, h, w]; got ${images.dtype}${showShape(images.shape)}`,
    )
  }
  const columns = whole('columns', options.columns ?? Math.ceil(Math.sqrt(n)), 1)
  const padding = whole('padding', options.padding ?? 2, 0)
  const inner = Math.min(columns, n) * w
  const gaps = (Math.min(columns, n) + 1) * padding
  const scale = whole('scale', options.scale ?? Math.max(1, Math.ceil((leastWidth - gaps) / inner)), 1)
  const width = inner * scale + gaps
  const rows = Math.ceil(n / columns)
  const height = rows * h * scale + (rows + 1) * padding
  const data = new Uint8Array(width * height * c).fill(255)
  for (let i = 0; i < n; i++) {
    const left = padding + (i % columns) * (w * scale + padding)
    const top = padding + Math.floor(i / columns) * (h * scale + padding)
    for (let channel = 0; channel < c; channel++) {
      const start = (i * c + channel) * h * w
      for (let y = 0; y < h * scale; y++) {
        const row = start + Math.floor(y / scale) * w
        let at = ((top + y) * width + left) * c + channel
        for (let x = 0; x < w * scale; x++, at += c)
          data[at] = toByte(images.data[row + Math.floor(x / scale)] as number, i)
      }
    }
  }
  return { width, height, channels: c, data }
}

/** Saves a grid of images (see {@link imageGrid}), or pixels as they are, as a PNG; atomically. E_IO if it cannot be written. */
export async function savePng(path: string, image: HostTensor | GridImage, options: GridOptions = {}): Promise<void> {
  const { width, height, channels, data } = 'dtype' in image ? imageGrid(image, options) : image
  await writeFileAtomically(path, encode({ width, height, channels, depth: 8, data }))
}

function toByte(x: number, image: number): number {
  if (Number.isNaN(x)) throw new LangevinError('E_DATA', `imageGrid: image ${image} holds NaN`, { image })
  return Math.round((Math.min(1, Math.max(-1, x)) + 1) * 127.5)
}

function whole(name: string, value: number, least: number): number {
  if (Number.isInteger(value) && value >= least && value <= 65535) return value
  throw new RangeError(`imageGrid: ${name} must be a whole number in ${least}..65535; got ${value}`)
}
