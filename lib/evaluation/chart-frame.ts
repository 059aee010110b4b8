/** What the charts of the report share: the plot area with axes and grid, the legend, marks of events. The curves are in charts.ts. */
import type { Axis } from './chart-scale.ts'
import { el, type Html, type HtmlValue } from './report-html.ts'

/** Size and margins in the SVG's own units; text is 12 units, so a chart can shrink to a phone's width. */
export const size = { width: 460, height: 250, left: 58, right: 20, top: 26, bottom: 40 } as const

/** Places of values in the plot area. */
export interface Frame {
  readonly x: (value: number) => number
  readonly y: (value: number) => number
  readonly xAxis: Axis
  readonly yAxis: Axis
}

/** Maps both axes to the plot area. */
export function frameOf(xAxis: Axis, yAxis: Axis): Frame {
  const { width, height, left, right, top, bottom } = size
  const place = (axis: Axis, from: number, to: number) => (value: number) =>
    from + ((value - axis.low) / (axis.high - axis.low)) * (to - from)
  return { x: place(xAxis, left, width - right), y: place(yAxis, height - bottom, top), xAxis, yAxis }
}

/** A coordinate with one decimal, as short as that gets. */
export function at(value: number): string {
  return String(Math.round(value * 10) / 10)
}

/** Text in a chart, centred on x unless an anchor says otherwise. */
export function label(x: number, y: number, text: HtmlValue, kind?: string, anchor = 'middle'): Html {
  return el('text', { class: kind, x: at(x), y: at(y), 'text-anchor': anchor }, text)
}

/** A path of one class. */
export function path(kind: string, d: string): Html {
  return el('path', { class: kind, d })
}

/** Grid, tick labels and axis names. */
export function axes(frame: Frame, xLabel: string, yLabel: string): Html {
  const { width, height, left, right, top, bottom } = size
  const foot = height - bottom
  return el(
    'g',
    { class: 'axes' },
    frame.yAxis.ticks.map((t) => [
      path('gridline', `M${left} ${at(frame.y(t.value))}H${width - right}`),
      label(left - 7, frame.y(t.value) + 4, t.text, undefined, 'end'),
    ]),
    frame.xAxis.ticks.map((t) => [
      path('tick', `M${at(frame.x(t.value))} ${foot}v5`),
      label(frame.x(t.value), foot + 18, t.text),
    ]),
    path('axis', `M${left} ${top}V${foot}H${width - right}`),
    label((left + width - right) / 2, height - 5, xLabel),
    label(6, 13, yLabel, undefined, 'start'),
  )
}

/** A whole chart. */
export interface Figure {
  readonly title: string
  readonly legend?: Html | undefined
  /** What a screen reader says of the picture. */
  readonly summary: string
  /** Content of the SVG. */
  readonly body: HtmlValue
  /** Remarks below the picture. */
  readonly notes?: readonly string[]
}

/** Markup of a chart: title, legend, picture, notes. */
export function figure({ title, legend, summary, body, notes = [] }: Figure): Html {
  const picture = { viewBox: `0 0 ${size.width} ${size.height}`, role: 'img', 'aria-label': `${title}: ${summary}` }
  return el(
    'figure',
    { class: 'chart' },
    el('figcaption', {}, el('h3', {}, title), legend),
    el('svg', picture, body),
    notes.map((n) => el('p', { class: 'note' }, n)),
    '\n',
  )
}

/** A chart that has nothing to draw says so. */
export function emptyFigure(title: string, text: string): Html {
  const { width, height } = size
  const box = el('rect', { class: 'empty', x: 1, y: 1, width: width - 2, height: height - 2, rx: 6 })
  return figure({ title, summary: text, body: [box, label(width / 2, height / 2, text)] })
}

/** How many series look different: each has a colour and a dash pattern of its own, and repeats after these. */
export const styles = 6

/** Legend of names, each with a piece of what stands for it, drawn in a box of 26 x 10. */
export function legend(
  entries: readonly { readonly name: string; readonly style?: number; readonly sample: HtmlValue }[],
): Html {
  const box = { viewBox: '0 0 26 10', width: 26, height: 10, 'aria-hidden': 'true' }
  return el(
    'ul',
    { class: 'legend' },
    entries.map((e) =>
      el(
        'li',
        {},
        el('svg', { class: e.style === undefined ? undefined : `s${e.style % styles}`, ...box }, e.sample),
        e.name,
      ),
    ),
  )
}

/** Legend of lines, so that dashes as well as colours tell the series apart; filled ones for histograms. */
export function lineLegend(names: readonly string[], filled = false): Html {
  const sample = [filled && path('area', 'M0 10V5H26V10Z'), path('line', 'M0 5H26')]
  return legend(names.map((name, style) => ({ name, style, sample })))
}

/** Something that happened at a step; `number` is its line in the table of events. */
export interface Mark {
  readonly x: number
  readonly number: number
  readonly text: string
}

/** Dashed uprights with the event's number in a flag; a flag that would cover the one before is left out. */
export function marks(frame: Frame, list: readonly Mark[]): Html {
  const { height, bottom, top } = size
  let last = -Infinity
  const drawn = list.filter((m) => m.x >= frame.xAxis.low && m.x <= frame.xAxis.high)
  return el(
    'g',
    { class: 'marks' },
    drawn.map((m) => {
      const x = frame.x(m.x)
      const flagged = x - last > 16
      if (flagged) last = x
      const upright = `M${at(x)} ${top}V${height - bottom}`
      const flag = flagged && [
        path('flag', `M${at(x - 7)} ${top - 17}h14v9l-7 6l-7 -6z`),
        label(x, top - 8, m.number, 'flagtext'),
      ]
      return el('g', {}, el('title', {}, m.text), path('hitline', upright), path('mark', upright), flag)
    }),
  )
}
