/** log p(x) on a line: where held-out digits lie, the threshold below which an example counts as out of distribution, and the present value. */
import { redrawOn } from './dom.ts'

const NAMESPACE = 'http://www.w3.org/2000/svg'
const HEIGHT = 54
const EDGE = 4
const [TOP, BAND] = [20, 14]
const UNDER = TOP + BAND + 16
/** Room that a number needs on either side, in pixels. */
const ROOM = 60

type Attributes = Readonly<Record<string, string | number>>

export interface GaugeRange {
  readonly low: number
  readonly high: number
  readonly threshold: number | undefined
  /** log p of examples of the data, shown as thin lines. */
  readonly heldOut: readonly number[]
}

export class Gauge {
  private readonly host: HTMLElement
  private readonly range: GaugeRange
  private value: number | undefined

  constructor(host: HTMLElement, range: GaugeRange) {
    this.host = host
    this.range = range
    redrawOn(host, () => this.draw())
  }

  show(value: number | undefined): void {
    this.value = value
    this.draw()
  }

  private draw(): void {
    const width = this.host.clientWidth
    if (width === 0) return
    const { low, high, threshold, heldOut } = this.range
    // What is beyond the line stands at its end.
    const at = (v: number): number => EDGE + Math.min(1, Math.max(0, (v - low) / (high - low))) * (width - 2 * EDGE)
    const svg = element('svg', { viewBox: `0 0 ${width} ${HEIGHT}`, role: 'img', 'aria-label': this.words() })
    const middle = at(threshold ?? low)
    svg.append(
      element('rect', { x: EDGE, y: TOP, width: middle - EDGE, height: BAND, fill: 'var(--bad-soft)' }),
      element('rect', { x: middle, y: TOP, width: width - EDGE - middle, height: BAND, fill: 'var(--good-soft)' }),
      ...heldOut.map((v) => mark(at(v), TOP, TOP + BAND, 'var(--good)', 1, 0.5)),
    )
    if (middle > EDGE + ROOM || threshold === undefined) svg.append(text(EDGE, UNDER, String(low), 'start'))
    if (middle < width - EDGE - ROOM) svg.append(text(width - EDGE, UNDER, String(high), 'end'))
    if (threshold !== undefined)
      svg.append(
        mark(middle, TOP - 3, TOP + BAND + 3, 'var(--muted)', 2),
        text(middle, UNDER, `threshold ${threshold.toFixed(1)}`, anchorOf(middle, width)),
      )
    if (this.value !== undefined) svg.append(...this.needle(at(this.value), this.value, width))
    this.host.replaceChildren(svg)
  }

  private needle(x: number, value: number, width: number): readonly SVGElement[] {
    const { threshold } = this.range
    const fill = threshold === undefined || value >= threshold ? 'var(--good)' : 'var(--bad)'
    const label = text(x, 11, value.toFixed(2).replace('-', '−'), anchorOf(x, width))
    label.setAttribute('class', 'value')
    return [mark(x, TOP - 4, TOP + BAND + 4, fill, 4), label]
  }

  private words(): string {
    const { threshold } = this.range
    const limit = threshold === undefined ? '' : `, threshold ${threshold.toFixed(2)}`
    return this.value === undefined ? `log p of x: no value yet${limit}` : `log p of x ${this.value.toFixed(2)}${limit}`
  }
}

/** Keeps a number at the end of the line inside of it. */
function anchorOf(x: number, width: number): 'start' | 'middle' | 'end' {
  return x < ROOM ? 'start' : x > width - ROOM ? 'end' : 'middle'
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
