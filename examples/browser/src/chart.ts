/** Energies of chains over the steps: the mean as a line, lowest to highest as a band. */
import { colour, redrawOn, surface } from './dom.ts'

interface Row {
  readonly step: number
  readonly mean: number
  readonly low: number
  readonly high: number
}

/** More rows are thinned out. */
const MOST = 600
const [LEFT, RIGHT, TOP, BOTTOM] = [48, 8, 8, 22]

export class EnergyChart {
  private readonly target: HTMLCanvasElement
  private rows: Row[] = []

  constructor(target: HTMLCanvasElement) {
    this.target = target
    redrawOn(target, () => this.draw())
  }

  clear(): void {
    this.rows = []
    this.target.setAttribute('aria-label', 'No energies yet')
    this.draw()
  }

  add(step: number, energies: Float32Array): void {
    const finite = energies.filter((e) => Number.isFinite(e))
    if (finite.length === 0) return
    const mean = finite.reduce((s, e) => s + e, 0) / finite.length
    const row = { step, mean, low: Math.min(...finite), high: Math.max(...finite) }
    this.rows.push(row)
    // The first row stays: where the chains began.
    if (this.rows.length > MOST) this.rows = this.rows.filter((_, i) => i % 2 === 0 || i === this.rows.length - 1)
    const first = this.rows[0] ?? row
    this.target.setAttribute(
      'aria-label',
      `Energies of the chains: mean ${first.mean.toFixed(1)} at step ${first.step}, now ${mean.toFixed(1)} at step ${step}, from ${row.low.toFixed(1)} to ${row.high.toFixed(1)}`,
    )
    this.draw()
  }

  private draw(): void {
    const drawn = surface(this.target)
    if (drawn === undefined) return
    const { context, width, height } = drawn
    if (this.rows.length === 0) {
      context.font = '14px system-ui, sans-serif'
      context.fillStyle = colour('--muted')
      context.textAlign = 'center'
      context.fillText('no steps yet', width / 2, height / 2)
      return
    }
    const steps = Math.max(10, this.rows.at(-1)?.step ?? 0)
    const ticks = ticksOf(this.rows)
    const [low, high] = [ticks[0] ?? 0, ticks.at(-1) ?? 1]
    const x = (step: number): number => LEFT + ((width - LEFT - RIGHT) * step) / steps
    const y = (e: number): number => TOP + ((height - TOP - BOTTOM) * (high - e)) / (high - low)
    this.axes(context, { ticks, steps, x, y, width, height })
    context.beginPath()
    for (const r of this.rows) context.lineTo(x(r.step), y(r.high))
    for (const r of this.rows.toReversed()) context.lineTo(x(r.step), y(r.low))
    context.closePath()
    context.globalAlpha = 0.18
    context.fillStyle = colour('--accent')
    context.fill()
    context.globalAlpha = 1
    context.beginPath()
    for (const r of this.rows) context.lineTo(x(r.step), y(r.mean))
    context.lineWidth = 2
    context.strokeStyle = colour('--accent')
    context.stroke()
  }

  private axes(
    context: CanvasRenderingContext2D,
    at: {
      ticks: readonly number[]
      steps: number
      x(v: number): number
      y(v: number): number
      width: number
      height: number
    },
  ): void {
    context.font = '12px system-ui, sans-serif'
    context.fillStyle = colour('--muted')
    context.strokeStyle = colour('--line')
    context.lineWidth = 1
    context.textAlign = 'right'
    context.textBaseline = 'middle'
    for (const t of at.ticks) {
      const y = Math.round(at.y(t)) + 0.5
      context.beginPath()
      context.moveTo(LEFT, y)
      context.lineTo(at.width - RIGHT, y)
      context.stroke()
      context.fillText(String(t), LEFT - 6, y)
    }
    context.textBaseline = 'alphabetic'
    context.fillText(`step ${at.steps}`, at.width - RIGHT, at.height - 5)
    context.textAlign = 'left'
    context.fillText('0', LEFT, at.height - 5)
  }
}

/** Three to six round numbers that enclose all energies. */
function ticksOf(rows: readonly Row[]): number[] {
  const low = rows.length === 0 ? 0 : Math.min(...rows.map((r) => r.low))
  const high = rows.length === 0 ? 1 : Math.max(...rows.map((r) => r.high))
  const rough = Math.max(high - low, 1e-3) / 4
  const unit = 10 ** Math.floor(Math.log10(rough))
  const each = unit * ([1, 2, 5].find((k) => k * unit >= rough) ?? 10)
  const first = Math.floor(low / each)
  const count = Math.max(1, Math.ceil(high / each) - first)
  return Array.from({ length: count + 1 }, (_, i) => Number(((first + i) * each).toPrecision(6)))
}
