/**
 * A learned density on the plane beside its data and samples as SVG: figures for report.html, which take its colours, and a picture
 * of its own for pages and papers. The same as PNG is in density-picture.ts.
 */
import { pngBytes } from './canvas.ts'
import { at, label, path } from './chart-frame.ts'
import { showNumber } from './chart-scale.ts'
import { rampColour } from './colour-map.ts'
import { legendTicks, type Plane, type PlaneInput, type Points, planeOf, pointSets } from './plane.ts'
import { el, Html, type HtmlValue, html } from './report-html.ts'

/** Size and margins of a panel in the SVG's own units; its height follows the box. */
const panel = { width: 380, left: 46, right: 62, top: 12, bottom: 26 } as const

/** A panel's plot area, in its own units. */
interface Area {
  readonly width: number
  readonly height: number
  readonly plane: Plane
}

function areaOf(plane: Plane): Area {
  const width = panel.width - panel.left - panel.right
  const aspect = (plane.yAxis.high - plane.yAxis.low) / (plane.xAxis.high - plane.xAxis.low)
  return { width, height: width * Math.min(2, Math.max(0.25, aspect)), plane }
}

function place({ width, height, plane: { xAxis, yAxis } }: Area, x: number, y: number): [number, number] {
  return [
    panel.left + ((x - xAxis.low) / (xAxis.high - xAxis.low)) * width,
    panel.top + (1 - (y - yAxis.low) / (yAxis.high - yAxis.low)) * height,
  ]
}

/** Border, ticks and their numbers. */
function frame(area: Area): Html {
  const { width, height, plane } = area
  const foot = panel.top + height
  return el(
    'g',
    { class: 'axes' },
    path('axis', `M${panel.left} ${panel.top}h${at(width)}v${at(height)}h${at(-width)}z`),
    plane.xAxis.ticks.map((t) => {
      const [x] = place(area, t.value, plane.yAxis.low)
      return [path('tick', `M${at(x)} ${at(foot)}v5`), label(x, foot + 18, t.text)]
    }),
    plane.yAxis.ticks.map((t) => {
      const [, y] = place(area, plane.xAxis.low, t.value)
      return [path('tick', `M${panel.left} ${at(y)}h-5`), label(panel.left - 8, y + 4, t.text, undefined, 'end')]
    }),
  )
}

type Box = Readonly<Record<'x' | 'y' | 'width' | 'height', number | string>>

/** Pixels as an image within the SVG, stretched over a rectangle without smoothing. */
function pixels(columns: number, rows: number, shade: (column: number, row: number) => number, box: Box): Html {
  const data = new Uint8Array(3 * columns * rows)
  for (let r = 0; r < rows; r++)
    for (let c = 0; c < columns; c++) data.set(rampColour(shade(c, r)), 3 * (r * columns + c))
  const png = pngBytes({ width: columns, height: rows, channels: 3, data })
  const href = `data:image/png;base64,${Buffer.from(png.buffer, png.byteOffset, png.byteLength).toString('base64')}`
  return el('image', { class: 'cells', ...box, preserveAspectRatio: 'none', href })
}

/** The density and its colour legend. */
function densityBody(area: Area): HtmlValue {
  const { width, height, plane } = area
  const { rows, columns, shade } = plane
  const cells = pixels(columns, rows, (c, r) => shade[(rows - 1 - r) * columns + c] ?? NaN, {
    x: panel.left,
    y: panel.top,
    width: at(width),
    height: at(height),
  })
  const bar = panel.left + width + 10
  const legend = pixels(1, 64, (_, r) => 1 - r / 63, { x: at(bar), y: panel.top, width: 10, height: at(height) })
  const ticks = legendTicks(plane).map((t) => {
    const y = panel.top + (1 - (t.value - plane.low) / (plane.high - plane.low)) * height
    return [path('tick', `M${at(bar + 10)} ${at(y)}h4`), label(bar + 17, y + 4, t.text, undefined, 'start')]
  })
  return [cells, legend, frame(area), el('g', { class: 'axes' }, ticks)]
}

/** All points as one path of strokes without length, which round ends make dots. */
function pointsBody(area: Area, { at: xy }: Points): HtmlValue {
  const dots: string[] = []
  for (let i = 0; i < xy.length; i += 2) {
    const [x, y] = place(area, xy[i] ?? 0, xy[i + 1] ?? 0)
    dots.push(`M${at(x)} ${at(y)}h0`)
  }
  return [frame(area), path(xy.length > 2000 ? 'dots many' : 'dots', dots.join(''))]
}

/** One panel before it becomes a figure or a part of a picture. */
interface Drawn {
  readonly title: string
  readonly summary: string
  readonly style: number | undefined
  readonly body: HtmlValue
  readonly notes: readonly string[]
}

function panels(input: PlaneInput): { area: Area; drawn: Drawn[] } {
  const plane = planeOf(input)
  const area = areaOf(plane)
  const [px, py] = plane.peak
  const density: Drawn = {
    title: 'Density',
    summary: `${plane.unit} over the plane, greatest near (${showNumber(px, 3)}, ${showNumber(py, 3)})`,
    style: undefined,
    body: densityBody(area),
    notes: [
      `Colour is ${plane.unit}${plane.unit === 'density' ? ' per unit of area' : ''}, normalised over this box.`,
      ...(plane.bad > 0 ? [`${plane.bad} cells are not a number and drawn grey.`] : []),
    ],
  }
  const sets = pointSets(input).map((points): Drawn => {
    const shown = points.at.length / 2
    const inside = points.count - points.outside
    return {
      title: points.name === 'data' ? 'Data' : 'Samples',
      summary: `${points.count} points`,
      style: points.name === 'data' ? 0 : 1,
      body: pointsBody(area, points),
      notes: [
        `${showNumber(points.count, 9)} points${points.outside > 0 ? `, ${showNumber(points.outside, 9)} of them beyond the box` : ''}.`,
        ...(shown < inside ? [`Every ${Math.ceil(inside / shown)}th is drawn.`] : []),
      ],
    }
  })
  return { area, drawn: [density, ...sets] }
}

/**
 * The panels as figures for a page in the report's style: the density with its colour legend, then data and samples where given.
 * Throws as planeOf does.
 */
export function densityFigures(input: PlaneInput): Html[] {
  const { area, drawn } = panels(input)
  const box = `0 0 ${panel.width} ${at(panel.top + area.height + panel.bottom)}`
  return drawn.map((d) =>
    el(
      'figure',
      { class: 'chart' },
      el('figcaption', {}, el('h3', {}, d.title)),
      el(
        'svg',
        { viewBox: box, role: 'img', 'aria-label': `${d.title}: ${d.summary}` },
        el('g', { class: d.style === undefined ? undefined : `s${d.style}` }, d.body),
      ),
      el('p', { class: 'note' }, d.notes.join(' ')),
    ),
  )
}

const ownStyle = `svg { --text: #1b1f26; --dim: #545c69; --s0: #0b5cad; --s1: #c2410c;
  font: 12px system-ui, "Segoe UI", Roboto, "Liberation Sans", sans-serif; }
@media (prefers-color-scheme: dark) { svg { --text: #e7eaf0; --dim: #a3acba; --s0: #7cbcff; --s1: #ff9f6e; } }
text { fill: var(--dim); } text.title { fill: var(--text); font-weight: 600; } .axis, .tick { stroke: var(--dim); fill: none; }
.s0 { --c: var(--s0); } .s1 { --c: var(--s1); } .cells { image-rendering: pixelated; }
.dots { stroke: var(--c); stroke-width: 3; stroke-linecap: round; opacity: .75; } .dots.many { stroke-width: 1.8; opacity: .7; }`

/**
 * The panels side by side as the text of an SVG file, complete in itself, for light and dark pages (its background is the page's).
 * Throws as planeOf does.
 */
export function densitySvg(input: PlaneInput): string {
  const { area, drawn } = panels(input)
  const [width, height] = [panel.width * drawn.length, 20 + panel.top + area.height + panel.bottom]
  const parts = drawn.map((d, i) =>
    el(
      'g',
      { class: d.style === undefined ? undefined : `s${d.style}`, transform: `translate(${i * panel.width} 20)` },
      label(panel.left, 0, `${d.title}`, 'title', 'start'),
      d.body,
    ),
  )
  const summary = drawn.map((d) => `${d.title}: ${d.summary}`).join('; ')
  return html`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${at(height)}" width="${width}" height="${at(height)}" role="img" aria-label="${summary}">
${el('style', {}, new Html(ownStyle))}${parts}
</svg>
`.toString()
}
