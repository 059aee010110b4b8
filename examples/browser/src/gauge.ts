/** log p(x) on a line: where held-out digits lie, the threshold below which an example counts as out of distribution, and the present value. */

const NAMESPACE = 'http://www.w3.org/2000/svg'
const WIDTH = 320
const EDGE = 6
const [TOP, BAND] = [20, 14]

type Attributes = Readonly<Record<string, string | number>>

export class Gauge {
  private readonly host: HTMLElement
  private readonly low: number
  private readonly high: number
  private readonly threshold: number | undefined
  private readonly heldOut: readonly number[]
  private value: number | undefined

  constructor(
    host: HTMLElement,
    range: { low: number; high: number; threshold: number | undefined; heldOut: readonly number[] },
  ) {
    this.host = host
    this.low = range.low
    this.high = range.high
    this.threshold = range.threshold
    this.heldOut = range.heldOut
    this.show(undefined)
  }

  show(value: number | undefined): void {
    this.value = value
    this.draw()
  }

  /** Position on the line; what is beyond it stands at its end. */
  private at(value: number): number {
    const part = (value - this.low) / (this.high - this.low)
    return EDGE + Math.min(1, Math.max(0, part)) * (WIDTH - 2 * EDGE)
  }

  private draw(): void {
    const svg = element('svg', { viewBox: `0 0 ${WIDTH} 58`, role: 'img', 'aria-label': this.words() })
    const middle = this.at(this.threshold ?? this.low)
    svg.append(
      element('rect', { x: EDGE, y: TOP, width: middle - EDGE, height: BAND, fill: 'var(--bad-soft)' }),
      element('rect', { x: middle, y: TOP, width: WIDTH - EDGE - middle, height: BAND, fill: 'var(--good-soft)' }),
    )
    for (const v of this.heldOut) svg.append(mark(this.at(v), TOP, TOP + BAND, 'var(--good)', 1, 0.5))
    if (this.threshold !== undefined) {
      svg.append(mark(middle, TOP - 3, TOP + BAND + 3, 'var(--muted)', 2))
      svg.append(text(middle, TOP + BAND + 17, `threshold ${this.threshold.toFixed(1)}`, 'middle'))
    }
    svg.append(text(EDGE, 52, 'less likely', 'start'), text(WIDTH - EDGE, 52, 'more likely', 'end'))
    if (this.value !== undefined) {
      const x = this.at(this.value)
      const fill = this.threshold === undefined || this.value >= this.threshold ? 'var(--good)' : 'var(--bad)'
      svg.append(mark(x, TOP - 4, TOP + BAND + 4, fill, 4))
      const anchor = x < 40 ? 'start' : x > WIDTH - 40 ? 'end' : 'middle'
      const label = text(x, 11, this.value.toFixed(2), anchor)
      label.setAttribute('font-weight', '700')
      svg.append(label)
    }
    this.host.replaceChildren(svg)
  }

  private words(): string {
    const limit = this.threshold === undefined ? '' : `, threshold ${this.threshold.toFixed(2)}`
    return this.value === undefined ? `log p of x: no value yet${limit}` : `log p of x ${this.value.toFixed(2)}${limit}`
  }
}

function element(name: string, attributes: Attributes): SVGElement {
  const made = document.createElementNS(NAMESPACE, name)
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, String(value))
  return made
}

function mark(x: number, y1: number, y2: number, stroke: string, width: number, opacity = 1): SVGElement {
  return element('line', { x1: x, x2: x, y1, y2, stroke, 'stroke-width': width, opacity })
}

function text(x: number, y: number, words: string, anchor: string): SVGElement {
  const made = element('text', { x, y, 'text-anchor': anchor })
  made.textContent = words
  return made
}
