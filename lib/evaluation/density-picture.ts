/**
 * A learned density on the plane beside its data and samples, as pixels for a PNG file: panels with axes, titles and a colour legend.
 * The same as SVG is in scatter.ts; what is shown and how it is normalised in plane.ts.
 */
import { Canvas, letterHeight, pngBytes } from './canvas.ts'
import type { Axis } from './chart-scale.ts'
import { type Rgb, rampColour } from './colour-map.ts'
import { legendTicks, type Plane, type PlaneInput, type Points, planeOf, pointSets } from './plane.ts'
import type { GridImage } from './png.ts'

export interface DensityPictureOptions extends PlaneInput {
  /** Pixels across one panel; default 360, 120 to 4000. Its height follows the box, up to twice that. */
  readonly panelWidth?: number
  /** Default 'light'. */
  readonly theme?: 'light' | 'dark'
  /** Title of the density's panel; default 'learned density'. Letters and digits; see bitmap-font.ts. */
  readonly title?: string
}

const themes = {
  light: {
    page: [255, 255, 255],
    text: [84, 92, 105],
    line: [176, 183, 194],
    dots: [
      [11, 92, 173],
      [194, 65, 12],
    ],
  },
  dark: {
    page: [20, 23, 28],
    text: [163, 172, 186],
    line: [74, 83, 97],
    dots: [
      [124, 188, 255],
      [255, 159, 110],
    ],
  },
} as const satisfies Record<string, Record<'page' | 'text' | 'line', Rgb> & { readonly dots: readonly Rgb[] }>

type Theme = (typeof themes)['light' | 'dark']

/**
 * The picture as pixels, to be saved with savePng or turned into bytes with {@link densityPng}.
 * Throws LangevinError E_SHAPE, E_DATA (see plane.ts); RangeError for box, scale, range, panelWidth or theme.
 * @example savePng('density.png', densityPicture({ logDensity, box, data, samples }))
 */
export function densityPicture(options: DensityPictureOptions): GridImage {
  const { box, panelWidth: width = 360, theme = 'light', title = 'learned density' } = options
  if (!Number.isInteger(width) || width < 120 || width > 4000) {
    throw new RangeError(`densityPicture: panelWidth must be a whole number in 120..4000; got ${width}`)
  }
  if (!Object.hasOwn(themes, theme)) {
    throw new RangeError(`densityPicture: theme must be 'light' or 'dark'; got ${JSON.stringify(theme)}`)
  }
  const colours: Theme = themes[theme]
  const plane = planeOf(options)
  const sets = pointSets(options)
  const aspect = (box.y[1] - box.y[0]) / (box.x[1] - box.x[0])
  const height = Math.round(width * Math.min(2, Math.max(0.25, aspect)))
  const letters = Math.max(1, Math.round(width / 240))
  const unit = letterHeight(letters)
  const layout = { left: 6 * unit, top: 3 * unit, bottom: 3 * unit, gap: unit, legend: 7 * unit }
  const step = layout.left + width + layout.gap
  const canvas = new Canvas(step * (1 + sets.length) + layout.legend, layout.top + height + layout.bottom, colours.page)
  const panel = (at: number): Panel => ({
    canvas,
    left: layout.left + at * step + (at > 0 ? layout.legend : 0),
    top: layout.top,
    width,
    height,
    letters,
    colours,
  })
  drawCells(panel(0), plane)
  drawFrame(panel(0), plane, title)
  drawLegend(panel(0), plane)
  sets.forEach((points, i) => {
    drawFrame(panel(i + 1), plane, `${points.name} (${points.count})`)
    drawPoints(panel(i + 1), plane, points, points.name === 'data' ? colours.dots[0] : colours.dots[1])
  })
  return canvas
}

/** {@link densityPicture} as the bytes of a PNG file. */
export function densityPng(options: DensityPictureOptions): Uint8Array {
  return pngBytes(densityPicture(options))
}

/** Where one panel is drawn, and how. */
interface Panel {
  readonly canvas: Canvas
  readonly left: number
  readonly top: number
  readonly width: number
  readonly height: number
  readonly letters: number
  readonly colours: Theme
}

/** Share of the way along an axis. */
function along(axis: Axis, value: number): number {
  return (value - axis.low) / (axis.high - axis.low)
}

/** Every pixel has the colour of the cell that it lies in. */
function drawCells({ canvas, left, top, width, height }: Panel, { rows, columns, shade }: Plane): void {
  for (let y = 0; y < height; y++) {
    const row = rows - 1 - Math.floor((y * rows) / height)
    for (let x = 0; x < width; x++) {
      canvas.pixel(left + x, top + y, rampColour(shade[row * columns + Math.floor((x * columns) / width)] ?? NaN))
    }
  }
}

/** Title, border, ticks and their numbers. */
function drawFrame(panel: Panel, { xAxis, yAxis }: Plane, title: string): void {
  const { canvas, left, top, width, height, letters, colours } = panel
  const unit = letterHeight(letters)
  canvas.text(left, top - 2 * unit, title, colours.text, letters, 'start')
  const [right, foot] = [left + width, top + height]
  for (const [x, y, w, h] of [
    [left - 1, top - 1, width + 2, 1],
    [left - 1, foot, width + 2, 1],
    [left - 1, top - 1, 1, height + 2],
    [right, top - 1, 1, height + 2],
  ] as const) {
    canvas.rectangle(x, y, w, h, colours.line)
  }
  for (const t of xAxis.ticks) {
    const x = left + along(xAxis, t.value) * (width - 1)
    canvas.rectangle(Math.round(x), foot, 1, unit >> 1, colours.line)
    canvas.text(x, foot + unit, t.text, colours.text, letters, 'middle')
  }
  for (const t of yAxis.ticks) {
    const y = foot - 1 - along(yAxis, t.value) * (height - 1)
    canvas.rectangle(left - (unit >> 1), Math.round(y), unit >> 1, 1, colours.line)
    canvas.text(left - unit, y - unit / 2, t.text, colours.text, letters, 'end')
  }
}

/** The ramp beside the density, with the values that its colours stand for. */
function drawLegend({ canvas, left, top, width, height, letters, colours }: Panel, plane: Plane): void {
  const unit = letterHeight(letters)
  const x = left + width + unit
  for (let y = 0; y < height; y++) canvas.rectangle(x, top + y, unit, 1, rampColour(1 - y / (height - 1)))
  for (const t of legendTicks(plane)) {
    const y = top + (1 - (t.value - plane.low) / (plane.high - plane.low)) * (height - 1)
    canvas.rectangle(x + unit, Math.round(y), unit >> 1, 1, colours.line)
    canvas.text(x + 2 * unit, y - unit / 2, t.text, colours.text, letters, 'start')
  }
}

/** Many points are drawn smaller and fainter, so that where they crowd is still seen. */
function drawPoints(panel: Panel, { xAxis, yAxis }: Plane, points: Points, colour: Rgb): void {
  const { canvas, left, top, width, height } = panel
  const many = points.at.length / 2
  const radius = (width / 360) * (many > 1000 ? 1.2 : 2)
  for (let i = 0; i < points.at.length; i += 2) {
    const x = left + along(xAxis, points.at[i] ?? 0) * width
    const y = top + (1 - along(yAxis, points.at[i + 1] ?? 0)) * height
    canvas.disc(x, y, radius, colour, many > 1000 ? 0.5 : 0.7)
  }
}
