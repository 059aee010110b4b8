/** The picture of a landscape: energies of the plane as colours and lines, chains with their tails, and the cross. landscape.ts says what to show. */
import { contour, roundLevels } from './contours.ts'
import { colour, surface, wantsStillness } from './dom.ts'
import { paint } from './palette.ts'

/** A square of the plane: its lower left corner and its side. */
export interface Window {
  readonly x: number
  readonly y: number
  readonly side: number
}

/** Points along a side of the map. */
export const POINTS = 121
/** Energies above the lowest by more than this (a density below e^-12 of the highest) are one colour. */
const DEPTH = 12

/** Middles of the map's points, row by row from the upper left: [POINTS², 2]. */
export function mapPoints({ x, y, side }: Window): Float32Array {
  const each = side / (POINTS - 1)
  return Float32Array.from({ length: POINTS * POINTS * 2 }, (_, k) => {
    const i = k >> 1
    return k % 2 === 0 ? x + each * (i % POINTS) : y + side - each * Math.floor(i / POINTS)
  })
}

export interface Cross {
  readonly x: number
  readonly y: number
  readonly score?: readonly [number, number]
}

/** Energies of the plane, made ready to be drawn many times. */
export class EnergyMap {
  readonly window: Window
  readonly lowest: number
  private readonly energies: Float32Array
  private background: HTMLCanvasElement | undefined

  constructor(window: Window, energies: Float32Array) {
    this.window = window
    this.energies = energies
    this.lowest = energies.reduce((a, b) => Math.min(a, b), Number.POSITIVE_INFINITY)
  }

  get highest(): number {
    return this.lowest + DEPTH
  }

  /** Colours and lines are painted anew: after a change of size, of light and dark. */
  forgetColours(): void {
    this.background = undefined
  }

  draw(target: HTMLCanvasElement, chains: readonly Float32Array[], cross: Cross | undefined): void {
    const drawn = surface(target)
    if (drawn === undefined) return
    const { context, width } = drawn
    this.background ??= this.paintBackground(width)
    context.drawImage(this.background, 0, 0, width, width)
    this.drawChains(context, width, chains)
    if (cross !== undefined) this.drawCross(context, width, cross)
  }

  private paintBackground(width: number): HTMLCanvasElement {
    const density = window.devicePixelRatio || 1
    const made = document.createElement('canvas')
    made.width = made.height = Math.round(width * density)
    const context = made.getContext('2d')
    if (context === null) return made
    const shares = this.energies.map((e) => (e - this.lowest) / DEPTH)
    context.imageSmoothingQuality = 'high'
    const [cell, side] = [made.width / (POINTS - 1), POINTS]
    // The middles of the outer points lie on the edges.
    context.drawImage(paint(shares, side), -cell / 2, -cell / 2, side * cell, side * cell)
    context.strokeStyle = colour('--contour')
    context.lineWidth = density
    context.beginPath()
    for (const level of roundLevels(this.lowest, this.highest, 8))
      for (const [a, b, c, d] of contour(this.energies, POINTS, level)) {
        context.moveTo(a * cell, b * cell)
        context.lineTo(c * cell, d * cell)
      }
    context.stroke()
    return made
  }

  /** The newest of `chains` as points, those before as tails. */
  private drawChains(context: CanvasRenderingContext2D, width: number, chains: readonly Float32Array[]): void {
    const newest = chains.at(-1)
    if (newest === undefined) return
    const warm = colour('--warm')
    if (!wantsStillness()) {
      context.strokeStyle = warm
      context.globalAlpha = 0.25
      context.beginPath()
      for (let i = 0; i < newest.length; i += 2)
        for (const [k, points] of chains.entries()) {
          const [x, y] = this.toPixels(width, points[i] as number, points[i + 1] as number)
          if (k === 0) context.moveTo(x, y)
          else context.lineTo(x, y)
        }
      context.stroke()
      context.globalAlpha = 1
    }
    context.fillStyle = warm
    context.strokeStyle = colour('--card')
    context.lineWidth = 1
    for (let i = 0; i < newest.length; i += 2) {
      const [x, y] = this.toPixels(width, newest[i] as number, newest[i + 1] as number)
      context.beginPath()
      context.arc(x, y, 3, 0, 2 * Math.PI)
      context.fill()
      context.stroke()
    }
  }

  /** The cross, and the score at it: the way that p(x) grows. */
  private drawCross(context: CanvasRenderingContext2D, width: number, { x, y, score }: Cross): void {
    const [a, b] = this.toPixels(width, x, y)
    context.strokeStyle = colour('--ink')
    context.lineWidth = 1.5
    context.beginPath()
    context.moveTo(a - 8, b)
    context.lineTo(a + 8, b)
    context.moveTo(a, b - 8)
    context.lineTo(a, b + 8)
    const length = score === undefined ? 0 : Math.hypot(...score)
    if (score !== undefined && length > 0) {
      // Long scores are drawn shorter, by a logarithm.
      const drawn = (14 * Math.log1p(length)) / length
      const [dx, dy] = [score[0] * drawn, -score[1] * drawn]
      const angle = Math.atan2(dy, dx)
      context.moveTo(a, b)
      context.lineTo(a + dx, b + dy)
      for (const turn of [2.6, -2.6]) {
        context.moveTo(a + dx, b + dy)
        context.lineTo(a + dx + 7 * Math.cos(angle + turn), b + dy + 7 * Math.sin(angle + turn))
      }
    }
    context.stroke()
  }

  private toPixels(width: number, x: number, y: number): readonly [number, number] {
    const { x: left, y: bottom, side } = this.window
    return [((x - left) / side) * width, (1 - (y - bottom) / side) * width]
  }
}
