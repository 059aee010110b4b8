/** Samples as a square of grey pictures, each with what the classifier reads in it. */
import { colour, surface } from './dom.ts'

export interface Reading {
  readonly label: string
  readonly probability: number
}

/** A reading that counts; others are shown faint. */
export const SURE = 0.9
/** Pixels between two pictures. */
const GAP = 6

/** Draws the first `count` pictures of x [chains, ...shape]; without x, their places. */
export function drawSamples(
  target: HTMLCanvasElement,
  {
    x,
    count,
    shape,
    readings,
  }: {
    readonly x: Float32Array | undefined
    readonly count: number
    readonly shape: readonly number[]
    readonly readings: readonly Reading[]
  },
): void {
  const drawn = surface(target)
  if (drawn === undefined) return
  const { context, width } = drawn
  const side = Math.round(Math.sqrt(count))
  const each = (width - GAP * (side - 1)) / side
  const [rows = 8, columns = 8] = shape.slice(-2)
  for (let i = 0; i < count; i++) {
    const [left, top] = [(i % side) * (each + GAP), Math.floor(i / side) * (each + GAP)]
    if (x === undefined) {
      context.fillStyle = colour('--soft')
      context.fillRect(left, top, each, each)
      continue
    }
    const image = pictureOf(x.subarray(i * rows * columns, (i + 1) * rows * columns), columns, rows)
    context.imageSmoothingEnabled = false
    context.drawImage(image, left, top, each, each)
    drawReading(context, readings[i], left, top, each)
  }
}

function drawReading(
  context: CanvasRenderingContext2D,
  reading: Reading | undefined,
  left: number,
  top: number,
  each: number,
): void {
  if (reading === undefined) return
  const size = Math.max(11, each / 6)
  context.fillStyle = '#000b'
  context.fillRect(left, top + each - size * 1.3, size * 1.1, size * 1.3)
  context.fillStyle = reading.probability >= SURE ? '#fff' : '#fff7'
  context.font = `600 ${size}px system-ui, sans-serif`
  context.textAlign = 'center'
  context.textBaseline = 'middle'
  context.fillText(reading.label, left + size * 0.55, top + each - size * 0.62)
}

/** Values of [-1, 1] as grey; what is beyond is black or white. */
function pictureOf(values: Float32Array, width: number, height: number): HTMLCanvasElement {
  const made = document.createElement('canvas')
  made.width = width
  made.height = height
  const context = made.getContext('2d')
  if (context === null) return made
  const image = context.createImageData(width, height)
  for (const [i, v] of values.entries()) {
    const grey = Math.round(127.5 * (Math.min(1, Math.max(-1, v)) + 1))
    image.data.set([grey, grey, grey, 255], 4 * i)
  }
  context.putImageData(image, 0, 0)
  return made
}
