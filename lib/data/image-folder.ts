/**
 * A folder of PNG files as a data set: one subfolder a class.
 * Decoding is fast-png's; here stands what becomes of depths, palettes and transparency, and the order of rows.
 */
import type { Dirent } from 'node:fs'
import { readdir, stat } from 'node:fs/promises'
import { extname, join } from 'node:path'
import { convertIndexedToRgb, type DecodedPng, decode } from 'fast-png'
import { hostTensor } from '../graph/host-tensor.ts'
import { ioError, readWholeFile } from '../runtime/files.ts'
import { dataError } from './content.ts'
import { Dataset } from './dataset.ts'

export interface ImageFolderOptions {
  /** 1 grey or 3 colours. Default: 3 if any image has colour channels, else 1. Colour becomes grey by Rec. 601 luma. */
  readonly channels?: 1 | 3 | undefined
  /** What shines through transparent pixels. 'ignore' takes the stored colours. Default 'white', as on a page. */
  readonly background?: 'white' | 'black' | 'ignore' | undefined
  /** Default: the path. */
  readonly name?: string | undefined
}

/**
 * Reads every PNG below `folder`: subfolders are the classes, in the order of their names; without subfolders the rows have no labels.
 * Rows are ordered by class, then file name, both by code unit, so the order is the same everywhere. Files beginning with a dot are skipped.
 * All depths are read; 16 bits are rounded to 8. All images must have one size.
 * @throws LangevinError E_DATA that names the file; E_IO if a file cannot be read.
 */
export async function imageFolder(folder: string, options: ImageFolderOptions = {}): Promise<Dataset> {
  const { files, classNames } = await listImages(folder)
  const first = files[0]
  if (first === undefined) throw dataError(folder, 'no PNG files here, nor in subfolders')
  const images: Picture[] = []
  for (const { path } of files) {
    const image = await readPng(path, options.background ?? 'white')
    const { width, height } = images[0] ?? image
    if (image.width !== width || image.height !== height) {
      throw dataError(
        path,
        `the image is ${image.width}x${image.height}; '${first.path}' is ${width}x${height}: sizes must agree`,
      )
    }
    images.push(image)
  }
  const { width, height } = images[0] as Picture
  const channels = options.channels ?? (images.some((i) => i.channels === 3) ? 3 : 1)
  const plane = width * height
  const data = new Uint8Array(images.length * channels * plane)
  for (const [i, image] of images.entries())
    fillPlanes(data.subarray(i * channels * plane, (i + 1) * channels * plane), image, channels)
  const features = hostTensor(data, [images.length, channels, height, width])
  const labels = classNames.length === 0 ? undefined : Int32Array.from(files, (f) => f.label)
  return new Dataset({ name: options.name ?? folder, features, labels, classNames, range: [0, 255] })
}

interface ImageFile {
  readonly path: string
  readonly label: number
}

async function listImages(folder: string): Promise<{ files: ImageFile[]; classNames: string[] }> {
  const top = await list(folder)
  const classNames = top.folders
  if (classNames.length === 0)
    return { files: top.images.map((name) => ({ path: join(folder, name), label: 0 })), classNames }
  const stray = top.images[0]
  if (stray !== undefined) {
    throw dataError(
      join(folder, stray),
      `an image beside the class folders (${classNames[0]}, ...) belongs to no class: move it into one`,
    )
  }
  const files: ImageFile[] = []
  for (const [label, name] of classNames.entries()) {
    const { images } = await list(join(folder, name))
    if (images.length === 0)
      throw dataError(join(folder, name), 'no PNG files in this class folder: remove it or fill it')
    files.push(...images.map((image) => ({ path: join(folder, name, image), label })))
  }
  return { files, classNames }
}

const otherImages = new Set(['.jpg', '.jpeg', '.gif', '.webp', '.bmp', '.tif', '.tiff', '.avif'])

async function list(folder: string): Promise<{ images: string[]; folders: string[] }> {
  const entries = await readdir(folder, { withFileTypes: true }).catch((cause) => {
    throw ioError('read folder', folder, cause)
  })
  const images: string[] = []
  const folders: string[] = []
  for (const entry of entries) {
    const extension = extname(entry.name).toLowerCase()
    if (entry.name.startsWith('.')) continue
    if (await isFolder(folder, entry)) folders.push(entry.name)
    else if (extension === '.png') images.push(entry.name)
    else if (otherImages.has(extension))
      throw dataError(join(folder, entry.name), 'only PNG is read: convert the images to PNG')
  }
  return { images: images.sort(), folders: folders.sort() }
}

/** Links count as what they point to. */
async function isFolder(folder: string, entry: Dirent): Promise<boolean> {
  if (!entry.isSymbolicLink()) return entry.isDirectory()
  const target = await stat(join(folder, entry.name)).catch((cause) => {
    throw ioError('follow the link', join(folder, entry.name), cause)
  })
  return target.isDirectory()
}

/** One image of interleaved 8-bit pixels, grey or RGB. */
interface Picture {
  readonly width: number
  readonly height: number
  readonly channels: 1 | 3
  readonly data: Uint8Array
}

async function readPng(path: string, background: 'white' | 'black' | 'ignore'): Promise<Picture> {
  const bytes = await readWholeFile(path)
  let png: DecodedPng
  try {
    checkSize(path, bytes)
    png = decode(bytes, { checkCrc: true })
  } catch (cause) {
    if (cause instanceof Error && cause.name === 'LangevinError') throw cause
    throw dataError(path, `no PNG file, damaged, or cut short (${(cause as Error).message})`, undefined, cause)
  }
  const { width, height } = png
  const { data, channels } = unpackSamples(path, png)
  if (channels === 1 || channels === 3) return { width, height, channels, data }
  const colours = channels === 2 ? 1 : 3
  const out = new Uint8Array(width * height * colours)
  const behind = background === 'white' ? 255 : 0
  for (let i = 0; i < width * height; i++) {
    const alpha = background === 'ignore' ? 1 : (data[i * channels + colours] as number) / 255
    for (let c = 0; c < colours; c++) {
      out[i * colours + c] = Math.round((data[i * channels + c] as number) * alpha + behind * (1 - alpha))
    }
  }
  return { width, height, channels: colours, data: out }
}

/** The header may promise any size: deflate packs at most 1032 to 1, so a file of these bytes cannot hold more. */
function checkSize(path: string, bytes: Uint8Array): void {
  if (bytes.length < 26) return
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const [width, height] = [view.getUint32(16), view.getUint32(20)]
  if ((width * height) / 8 > 1032 * bytes.length) {
    throw dataError(path, `the header promises ${width}x${height} pixels; ${bytes.length} bytes cannot hold them`, 16)
  }
}

/** 8-bit samples: palettes looked up, 16 bits rounded (v / 257), less than 8 bits unpacked and stretched. */
function unpackSamples(path: string, png: DecodedPng): { data: Uint8Array; channels: number } {
  const { width, height, depth, channels } = png
  if (png.palette !== undefined) {
    const entry = png.palette[0]
    if (entry === undefined) throw dataError(path, 'the palette is empty')
    try {
      return { data: convertIndexedToRgb(png), channels: entry.length }
    } catch (cause) {
      throw dataError(path, `the palette does not fit the pixels (${(cause as Error).message})`, undefined, cause)
    }
  }
  if (depth === 16) return { data: Uint8Array.from(png.data, (v) => Math.round(v / 257)), channels }
  if (depth === 8) return { data: Uint8Array.from(png.data), channels }
  const stretch = 255 / (2 ** depth - 1)
  const rowBytes = Math.ceil((width * depth) / 8)
  const data = new Uint8Array(width * height)
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const byte = png.data[y * rowBytes + ((x * depth) >> 3)] as number
      data[y * width + x] = ((byte >> (8 - depth - ((x * depth) & 7))) & (2 ** depth - 1)) * stretch
    }
  }
  return { data, channels: 1 }
}

/** Interleaved pixels to planes, grey repeated or colour mixed to grey where the number of channels differs. */
function fillPlanes(out: Uint8Array, image: Picture, channels: 1 | 3): void {
  const { data } = image
  const plane = image.width * image.height
  for (let i = 0; i < plane; i++) {
    if (image.channels === 1) {
      for (let c = 0; c < channels; c++) out[c * plane + i] = data[i] as number
    } else if (channels === 3) {
      for (let c = 0; c < 3; c++) out[c * plane + i] = data[3 * i + c] as number
    } else {
      const [r, g, b] = data.subarray(3 * i, 3 * i + 3) as unknown as [number, number, number]
      out[i] = Math.round(0.299 * r + 0.587 * g + 0.114 * b)
    }
  }
}
