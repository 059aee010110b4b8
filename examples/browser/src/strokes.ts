/**
 * Pen strokes made into an 8x8 picture as the digits of the UCI set were: a bitmap of 32x32, the character as high as the frame and in its middle,
 * then the ink counted in blocks of 4x4, 0 to 16. No page elements here: draw-pad.ts is the pad, ink-grid.ts shows the result.
 */

export interface Point {
  readonly x: number
  readonly y: number
}

export type Stroke = readonly Point[]

/** Pixels along a side of the bitmap, and of the picture. */
const BITMAP = 32
export const SIDE = 8
/** Most ink of one cell: every pixel of its block. */
export const FULL = (BITMAP / SIDE) ** 2

/** The pen as a part of the character's height: what scanned characters have. */
const PEN = 0.16
/** Narrow characters (a one) were widened to about half the frame, but never to more than so many times their width. */
const NARROW = 14
const WIDEN = 1.8
/** Wide ones are fitted into so many pixels. */
const WIDEST = 28
/** What is smaller than this part of the pad is a dot, not a character to be blown up. */
const SMALLEST = 0.2
/** Middle of the characters in the data, in pixels from the left. */
const MIDDLE = 16.2

/** Ink of each cell, row by row, 0..16; all 0 for no strokes. `pad` is the side of the pad in the units of the points. */
export function inkOf(strokes: readonly Stroke[], pad: number): Uint8Array {
  const ink = new Uint8Array(SIDE * SIDE)
  const points = strokes.flat()
  if (points.length === 0) return ink
  const frame = frameOf(points, pad)
  const segments = strokes.flatMap((s) => s.map((p, i) => [s[i - 1] ?? p, p] as const))
  const reach = frame.radius ** 2
  for (let row = 0; row < BITMAP; row++) {
    for (let column = 0; column < BITMAP; column++) {
      const x = frame.x + (column + 0.5 - MIDDLE) / frame.scaleX
      const y = frame.y + (row + 0.5 - BITMAP / 2) / frame.scaleY
      if (!segments.some(([a, b]) => squaredDistance(x, y, a, b) <= reach)) continue
      const cell = (row >> 2) * SIDE + (column >> 2)
      ink[cell] = (ink[cell] ?? 0) + 1
    }
  }
  return ink
}

interface Frame {
  /** Middle of the drawing, in the pad's units. */
  readonly x: number
  readonly y: number
  /** Pixels of the bitmap a unit. */
  readonly scaleX: number
  readonly scaleY: number
  /** Of the pen, in the pad's units. */
  readonly radius: number
}

function frameOf(points: readonly Point[], pad: number): Frame {
  const xs = points.map((p) => p.x)
  const ys = points.map((p) => p.y)
  const [left, right] = [Math.min(...xs), Math.max(...xs)]
  const [top, bottom] = [Math.min(...ys), Math.max(...ys)]
  // The pen is a part of the whole height, its own width included: h + 2r = height, 2r = PEN·height.
  const size = Math.max(bottom - top, (right - left) * (BITMAP / WIDEST), SMALLEST * pad)
  const radius = (PEN * size) / (2 * (1 - PEN))
  const height = size + 2 * radius
  const scaleY = BITMAP / height
  const width = (right - left + 2 * radius) * scaleY
  const wanted = width < NARROW ? Math.min(NARROW, WIDEN * width) : Math.min(width, WIDEST)
  return { x: (left + right) / 2, y: (top + bottom) / 2, scaleX: (scaleY * wanted) / width, scaleY, radius }
}

function squaredDistance(x: number, y: number, a: Point, b: Point): number {
  const [dx, dy] = [b.x - a.x, b.y - a.y]
  const length = dx * dx + dy * dy
  const along = length === 0 ? 0 : Math.min(1, Math.max(0, ((x - a.x) * dx + (y - a.y) * dy) / length))
  return (x - a.x - along * dx) ** 2 + (y - a.y - along * dy) ** 2
}
