/** What the charts of the report share: the plot area with axes and grid, the legend, marks of events. The curves are in charts.ts. */
import type { Axis } from './chart-scale.ts'
import { type Html, type HtmlValue, html } from './report-html.ts'

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

/** Grid, tick labels and axis names. */
export function axes(frame: Frame, xLabel: string, yLabel: string): Html {
  const { width, height, left, right, top, bottom } = size
  const foot = height - bottom
  return html`<g class="axes">${frame.yAxis.ticks.map(
    (t) =>
      html`<path class="gridline" d="M${left} ${at(frame.y(t.value))}H${width - right}"/><text x="${left - 7}" y="${at(frame.y(t.value) + 4)}" text-anchor="end">${t.text}</text>`,
  )}${frame.xAxis.ticks.map(
    (t) =>
      html`<path class="tick" d="M${at(frame.x(t.value))} ${foot}v5"/><text x="${at(frame.x(t.value))}" y="${foot + 18}" text-anchor="middle">${t.text}</text>`,
  )}<path class="axis" d="M${left} ${top}V${foot}H${width - right}"/><text class="name" x="${(left + width - right) / 2}" y="${height - 5}" text-anchor="middle">${xLabel}</text><text class="name" x="6" y="13">${yLabel}</text></g>`
}

/** A whole chart: title, legend, picture, notes. `summary` is what a screen reader says of the picture. */
export function figure(
  title: string,
  legend: HtmlValue,
  summary: string,
  body: HtmlValue,
  notes: readonly HtmlValue[] = [],
): Html {
  return html`<figure class="chart"><figcaption><h3>${title}</h3>${legend}</figcaption><svg viewBox="0 0 ${size.width} ${size.height}" role="img" aria-label="${title}: ${summary}">${body}</svg>${notes.map((n) => html`<p class="note">${n}</p>`)}</figure>
`
}

/** How many series look different: each has a colour and a dash pattern of its own, and repeats after these. */
export const styles = 6

/** Legend with a piece of each line, so that dashes as well as colours tell the series apart. */
export function legend(names: readonly HtmlValue[], filled = false): Html {
  return html`<ul class="legend">${names.map(
    (name, i) =>
      html`<li><svg class="s${i % styles}" viewBox="0 0 26 10" width="26" height="10" aria-hidden="true">${filled && html`<path class="area" d="M0 10V5H26V10Z"/>`}<path class="line" d="M0 5H26"/></svg>${name}</li>`,
  )}</ul>`
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
  return html`<g class="marks">${drawn.map((m) => {
    const x = frame.x(m.x)
    const flag = x - last > 16
    if (flag) last = x
    return html`<g><title>${m.text}</title><path class="hitline" d="M${at(x)} ${top}V${height - bottom}"/><path class="mark" d="M${at(x)} ${top}V${height - bottom}"/>${
      flag &&
      html`<path class="flag" d="M${at(x - 7)} ${top - 17}h14v9l-7 6l-7 -6z"/><text class="flagtext" x="${at(x)}" y="${top - 8}" text-anchor="middle">${m.number}</text>`
    }</g>`
  })}</g>`
}
