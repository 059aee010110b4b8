/** The pad: strokes of mouse, finger or pen, kept as points on a square of side 100. strokes.ts makes the picture of them. */
import { colour, redrawOn, surface } from './dom.ts'
import type { Point, Stroke } from './strokes.ts'

export const PAD = 100
const LINE = 7

export class DrawPad {
  private readonly target: HTMLCanvasElement
  private readonly changed: (strokes: readonly Stroke[]) => void
  private strokes: Point[][] = []
  private current: Point[] | undefined

  constructor(target: HTMLCanvasElement, changed: (strokes: readonly Stroke[]) => void) {
    this.target = target
    this.changed = changed
    target.addEventListener('pointerdown', (event) => this.begin(event))
    target.addEventListener('pointermove', (event) => this.extend(event))
    for (const name of ['pointerup', 'pointercancel'] as const)
      target.addEventListener(name, () => {
        this.current = undefined
      })
    redrawOn(target, () => this.draw())
  }

  /** Takes all strokes away without telling. */
  wipe(): void {
    this.strokes = []
    this.current = undefined
    this.draw()
  }

  undo(): void {
    this.strokes.pop()
    this.update()
  }

  private begin(event: PointerEvent): void {
    if (event.button !== 0 || this.current !== undefined) return
    event.preventDefault()
    this.target.setPointerCapture(event.pointerId)
    this.current = [this.pointOf(event)]
    this.strokes.push(this.current)
    this.update()
  }

  private extend(event: PointerEvent): void {
    if (this.current === undefined) return
    const events = event.getCoalescedEvents()
    for (const e of events.length > 0 ? events : [event]) this.current.push(this.pointOf(e))
    this.update()
  }

  private pointOf(event: PointerEvent): Point {
    const box = this.target.getBoundingClientRect()
    const inside = (v: number): number => Math.min(PAD, Math.max(0, v * PAD))
    return { x: inside((event.clientX - box.left) / box.width), y: inside((event.clientY - box.top) / box.height) }
  }

  private update(): void {
    this.draw()
    this.changed(this.strokes)
  }

  private draw(): void {
    const drawn = surface(this.target)
    if (drawn === undefined) return
    const { context, width } = drawn
    context.scale(width / PAD, width / PAD)
    context.lineWidth = LINE
    context.lineCap = 'round'
    context.lineJoin = 'round'
    context.strokeStyle = colour('--ink')
    for (const [first, ...others] of this.strokes) {
      if (first === undefined) continue
      context.beginPath()
      context.moveTo(first.x, first.y)
      context.lineTo(first.x, first.y)
      for (const p of others) context.lineTo(p.x, p.y)
      context.stroke()
    }
  }
}
