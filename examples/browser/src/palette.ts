/** The colours of energies: from style.css's --map-low (low energy, likely) to --map-high, and their legend. */
import { colour } from './dom.ts'

type Rgb = readonly [number, number, number]

/** The share of the way from low (0) to high (1) as a colour; fixed to the present light or dark. */
export function palette(): (share: number) => Rgb {
  const [low, high] = [parse(colour('--map-low')), parse(colour('--map-high'))]
  return (share) => {
    // Most of a landscape is high; the square root gives the valleys more of the colours.
    const t = Math.sqrt(Math.min(1, Math.max(0, share)))
    const mix = (i: 0 | 1 | 2): number => Math.round(low[i] + (high[i] - low[i]) * t)
    return [mix(0), mix(1), mix(2)]
  }
}

/** A colour written #rrggbb. */
function parse(text: string): Rgb {
  const part = (at: number): number => Number.parseInt(text.slice(at, at + 2), 16)
  return [part(1), part(3), part(5)]
}

/** Paints shares of a grid, row by row, into a canvas of one pixel a value. */
export function paint(shares: Float32Array, columns: number): HTMLCanvasElement {
  const made = document.createElement('canvas')
  made.width = columns
  made.height = shares.length / columns
  const context = made.getContext('2d')
  if (context === null) return made
  const image = context.createImageData(made.width, made.height)
  const mix = palette()
  for (const [i, share] of shares.entries()) image.data.set([...mix(share), 255], 4 * i)
  context.putImageData(image, 0, 0)
  return made
}
