/** Pixels to draw on: rectangles, discs and labels, for pictures saved as PNG. No layout and no meaning here. */
import { encode } from 'fast-png'
import { glyphSize, textDots, textWidth } from './bitmap-font.ts'
import type { Rgb } from './colour-map.ts'
import type { GridImage } from './png.ts'

/** An RGB picture; what is drawn beyond its edges is cut off. */
export class Canvas implements GridImage {
  readonly width: number
  readonly height: number
  readonly channels = 3
  readonly data: Uint8Array

  constructor(width: number, height: number, background: Rgb) {
    this.width = width
    this.height = height
    this.data = new Uint8Array(3 * width * height)
    this.rectangle(0, 0, width, height, background)
  }

  /** Sets a pixel, or with `opacity` below 1 mixes it with what is there. */
  pixel(x: number, y: number, colour: Rgb, opacity = 1): void {
    if (x < 0 || y < 0 || x >= this.width || y >= this.height) return
    const at = 3 * (y * this.width + x)
    for (let c = 0; c < 3; c++) {
      this.data[at + c] = Math.round(opacity * (colour[c] ?? 0) + (1 - opacity) * (this.data[at + c] ?? 0))
    }
  }

  rectangle(left: number, top: number, width: number, height: number, colour: Rgb): void {
    for (let y = top; y < top + height; y++) for (let x = left; x < left + width; x++) this.pixel(x, y, colour)
  }

  /** A disc with soft edges about a point that need not be whole. */
  disc(x: number, y: number, radius: number, colour: Rgb, opacity: number): void {
    for (let py = Math.floor(y - radius - 1); py <= y + radius + 1; py++) {
      for (let px = Math.floor(x - radius - 1); px <= x + radius + 1; px++) {
        const cover = Math.min(1, Math.max(0, radius + 0.5 - Math.hypot(px + 0.5 - x, py + 0.5 - y)))
        if (cover > 0) this.pixel(px, py, colour, opacity * cover)
      }
    }
  }

  /** A line of text whose letters start at `top`; x is its left end, middle or right end. */
  text(x: number, top: number, text: string, colour: Rgb, scale: number, anchor: 'start' | 'middle' | 'end'): void {
    const width = textWidth(text) * scale
    const left = Math.round(anchor === 'start' ? x : anchor === 'end' ? x - width : x - width / 2)
    textDots(text, (dx, dy) => {
      this.rectangle(left + dx * scale, Math.round(top) + dy * scale, scale, scale, colour)
    })
  }
}

/** Height of the letters in pixels. */
export function letterHeight(scale: number): number {
  return glyphSize.ascent * scale
}

/** The bytes of a PNG file. */
export function pngBytes({ width, height, channels, data }: GridImage): Uint8Array {
  return encode({ width, height, channels, depth: 8, data })
}
