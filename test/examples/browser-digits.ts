/** Digits as strokes on a pad of side 100, the way many people write them; arcs are polygons of short sides. */
import type { Point, Stroke } from '../../examples/browser/src/strokes.ts'

const arc = (cx: number, cy: number, rx: number, ry: number, from: number, to: number): Point[] =>
  Array.from({ length: 25 }, (_, i) => {
    const t = ((from + ((to - from) * i) / 24) * Math.PI) / 180
    return { x: cx + rx * Math.cos(t), y: cy + ry * Math.sin(t) }
  })

const line = (...xy: number[]): Point[] =>
  Array.from({ length: xy.length / 2 }, (_, i) => ({ x: xy[2 * i] as number, y: xy[2 * i + 1] as number }))

/** Strokes of the digits 0 to 9. */
export const digitStrokes: readonly (readonly Stroke[])[] = [
  [arc(50, 50, 20, 34, -90, 270)],
  [line(36, 30, 52, 16, 52, 84)],
  [[...arc(50, 34, 20, 19, 190, 380), ...line(66, 46, 32, 84, 72, 84)]],
  [[...arc(48, 33, 19, 17, 200, 450), ...arc(48, 67, 21, 18, -90, 160)]],
  [line(46, 14, 28, 56, 74, 56), line(62, 36, 58, 88)],
  [[...line(68, 16, 38, 16, 34, 46), ...arc(49, 64, 19, 20, -125, 140)]],
  [[...arc(62, 48, 28, 38, 260, 180), ...arc(51, 65, 17, 19, 180, -180)]],
  [line(30, 18, 70, 18, 46, 86), line(36, 52, 64, 52)],
  [[...arc(50, 32, 15, 17, 90, -270), ...arc(50, 67, 18, 18, -90, 270)]],
  [[...arc(50, 34, 17, 18, 0, -360), ...line(67, 34, 64, 62, 54, 86)]],
]

/** Wild lines all over the pad. */
export const scribble: readonly Stroke[] = [
  line(10, 12, 90, 20, 12, 34, 88, 44, 10, 58, 92, 66, 14, 80, 90, 90),
  line(14, 90, 20, 10, 38, 92, 48, 8, 62, 90, 74, 12, 88, 88),
]
