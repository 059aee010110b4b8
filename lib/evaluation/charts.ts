/**
 * The three charts of the report as inline SVG: curves over steps, overlaid histograms, the reliability diagram. Colours come
 * from the page's style sheet, so they follow light, dark and print. Every chart tells its content in words too (aria-label,
 * tooltips by <title>).
 */
import type { Reliability, ReliabilityBin } from './calibration.ts'
import {
  at,
  axes,
  emptyFigure,
  type Frame,
  figure,
  frameOf,
  label,
  legend,
  lineLegend,
  type Mark,
  marks,
  path,
  size,
  styles,
} from './chart-frame.ts'
import { niceAxis, robustRange, showNumber, showPercent, tightAxis } from './chart-scale.ts'
import { type Bucket, downsample } from './downsample.ts'
import type { Histogram } from './histogram.ts'
import { el, type Html, type HtmlValue } from './report-html.ts'

/** One curve: y over x (ascending); NaN and infinities are gaps. */
export interface Series {
  readonly name: string
  readonly x: readonly number[]
  readonly y: readonly number[]
}

/** A chart of curves over training steps. */
export interface LineChart {
  readonly title: string
  /** Unit of y, written above its axis. */
  readonly unit: string
  readonly series: readonly Series[]
  readonly marks?: readonly Mark[]
  /** y is a share and written in percent. */
  readonly percent?: boolean
  /** Keep zero within the range. */
  readonly zero?: boolean
}

/** Buckets per curve: narrow enough for a phone, wide enough for a mean to be calmer than its rows. */
const buckets = 120

/** Curves over steps; long ones are drawn as their mean with a band from least to greatest. */
export function lineChart(chart: LineChart): Html {
  const { title, unit, percent = false } = chart
  const show = percent ? showPercent : (v: number) => showNumber(v)
  const range = robustRange(chart.series.flatMap((s) => s.y))
  const xs = chart.series.flatMap((s) => [s.x[0], s.x[s.x.length - 1]]).filter((v) => v !== undefined)
  if (range === undefined || xs.length === 0) {
    const rows = chart.series.reduce((n, s) => n + s.y.length, 0)
    return emptyFigure(title, `No finite value in ${rows} row${rows === 1 ? '' : 's'}.`)
  }
  const [low, high] = chart.zero ? [Math.min(0, range.low), Math.max(0, range.high)] : [range.low, range.high]
  const frame = frameOf(tightAxis(Math.min(...xs), Math.max(...xs)), niceAxis(low, high, 5, percent))
  const curves = chart.series.map((s) => downsample(s.x, s.y, buckets))
  const bad = curves.flat().reduce((n, b) => n + b.bad, 0)
  const notes = [
    range.outside > 0 && `${range.outside} value${range.outside === 1 ? ' lies' : 's lie'} beyond the axis.`,
    bad > 0 && `× ${bad} value${bad === 1 ? ' is' : 's are'} not a finite number and left as a gap.`,
  ].filter((n) => n !== false)
  return figure({
    title,
    legend: chart.series.length > 1 ? lineLegend(chart.series.map((s) => s.name)) : undefined,
    summary: chart.series.map((s) => tell(s, show)).join('; '),
    body: [
      axes(frame, 'step', unit),
      marks(frame, chart.marks ?? []),
      curves.map((list, i) => curve(frame, list, i, chart.series[i]?.name ?? '', show)),
    ],
    notes,
  })
}

function tell(series: Series, show: (v: number) => string): string {
  const finite = series.y.map((y, i) => ({ x: series.x[i] ?? 0, y })).filter((p) => Number.isFinite(p.y))
  const [first, last] = [finite[0], finite[finite.length - 1]]
  if (first === undefined || last === undefined) return `${series.name} has no finite value`
  if (first === last) return `${series.name} is ${show(first.y)} at step ${first.x}`
  return `${series.name} goes from ${show(first.y)} at step ${first.x} to ${show(last.y)} at step ${last.x}`
}

function curve(frame: Frame, list: readonly Bucket[], index: number, name: string, show: (v: number) => string): Html {
  const { height, bottom, top } = size
  // What lies beyond the axis is drawn along its edge.
  const y = (v: number) => Math.min(height - bottom + 1, Math.max(top - 1, frame.y(v)))
  const place = (x: number, v: number) => `${at(frame.x(x))} ${at(y(v))}`
  const runs = contiguous(list)
  const line = runs.map((run) => `M${run.map((b) => place(b.x, b.mean)).join('L')}`).join('')
  const band = runs
    .filter((run) => run.some((b) => b.max > b.min))
    .map(
      (run) => `M${[...run.map((b) => place(b.x, b.max)), ...run.map((b) => place(b.x, b.min)).reverse()].join('L')}Z`,
    )
  const dot = (kind: string, b: Bucket, r: number, ...inside: HtmlValue[]) =>
    el('circle', { class: kind, cx: at(frame.x(b.x)), cy: at(y(b.mean)), r }, inside)
  const tip = (b: Bucket) =>
    `${name}, step ${showNumber(b.x, 7)}: ${show(b.mean)}${b.max > b.min ? ` (${show(b.min)} to ${show(b.max)})` : ''}`
  return el(
    'g',
    { class: `s${index % styles}` },
    band.length > 0 && path('band', band.join('')),
    path('line', line),
    runs.filter((run) => run.length === 1).map(([b]) => b && dot('dot', b, 3)),
    list
      .filter((b) => b.bad > 0)
      .map((b) => path('bad', `M${at(frame.x(b.x) - 3)} ${height - bottom - 7}l6 6m0 -6l-6 6`)),
    tooltips(list).map((b) => dot('hit', b, 5, el('title', {}, tip(b)))),
  )
}

/** The buckets that get a tooltip: of each stretch the one with the widest band, so that spikes can be read. */
function tooltips(buckets: readonly Bucket[]): Bucket[] {
  const stride = Math.ceil(buckets.length / 48)
  const out: Bucket[] = []
  for (let start = 0; start < buckets.length; start += stride) {
    const some = buckets.slice(start, start + stride).filter((b) => b.count > 0)
    const widest = some.reduce<Bucket | undefined>((a, b) => (a && a.max - a.min >= b.max - b.min ? a : b), undefined)
    if (widest) out.push(widest)
  }
  return out
}

/** Stretches of buckets that have a value. */
function contiguous(buckets: readonly Bucket[]): Bucket[][] {
  const runs: Bucket[][] = []
  let open = false
  for (const b of buckets) {
    if (b.count === 0) {
      open = false
      continue
    }
    if (open) runs[runs.length - 1]?.push(b)
    else runs.push([b])
    open = true
  }
  return runs
}

/** Histograms over common bins laid over each other; each set is scaled to its own count. */
export function histogramChart(title: string, unit: string, sets: Readonly<Record<string, Histogram>>): Html {
  const entries = Object.entries(sets)
  const first = entries[0]?.[1]
  if (first === undefined) return emptyFigure(title, 'Nothing to show.')
  const share = (h: Histogram, bin: number) => (h.counts[bin] ?? 0) / h.count
  const bins = first.counts.length
  const peak = Math.max(...entries.flatMap(([, h]) => h.counts.map((c) => c / h.count)))
  const frame = frameOf(tightAxis(first.low, first.high), niceAxis(0, peak, 5, true))
  const edge = (bin: number) => first.low + ((first.high - first.low) * bin) / bins
  const shapes = entries.map(([, h], i) => {
    const steps = h.counts.map((_, bin) => `V${at(frame.y(share(h, bin)))}H${at(frame.x(edge(bin + 1)))}`).join('')
    const outline = `M${at(frame.x(first.low))} ${at(frame.y(0))}${steps}V${at(frame.y(0))}`
    return el('g', { class: `s${i % styles}` }, path('area', `${outline}Z`), path('line thin', outline))
  })
  const { top, bottom, height } = size
  const columns = Array.from({ length: bins }, (_, bin) => {
    const [a, b] = [frame.x(edge(bin)), frame.x(edge(bin + 1))]
    const lines = entries.map(
      ([name, h]) => `\n${name}: ${showPercent(share(h, bin))} (${h.counts[bin]} of ${h.count})`,
    )
    const tip = `${showNumber(edge(bin))} to ${showNumber(edge(bin + 1))} ${unit}${lines.join('')}`
    const box = { class: 'hit', x: at(a), y: top, width: at(b - a), height: height - bottom - top }
    return el('rect', box, el('title', {}, tip))
  })
  const outside = entries
    .filter(([, h]) => h.below + h.above > 0)
    .map(([name, h]) => `${name} ${h.below} below and ${h.above} above`)
  return figure({
    title,
    legend: lineLegend(
      entries.map(([name]) => name),
      true,
    ),
    summary: entries
      .map(([name, h]) => `${name}: mean ${showNumber(h.mean)}, median ${showNumber(h.median)}`)
      .join('; '),
    body: [axes(frame, unit, 'share of its set'), shapes, columns],
    notes: outside.length > 0 ? [`Outside the range: ${outside.join('; ')}.`] : [],
  })
}

/** Accuracy of each confidence bin against the diagonal; bars are the more solid the more rows they hold. */
export function reliabilityChart(r: Reliability): Html {
  const frame = frameOf(niceAxis(0, 1, 5, true), niceAxis(0, 1, 5, true))
  const total = r.bins.reduce((n, b) => n + b.count, 0)
  const kind = r.binning === 'width' ? 'equal-width' : 'equal-count'
  return figure({
    title: 'Reliability',
    legend: legend([
      { name: 'accuracy in the bin', style: 0, sample: el('rect', { class: 'bar', x: 4, width: 18, height: 10 }) },
      {
        name: 'gap to its confidence',
        style: 1,
        sample: el('rect', { class: 'gap', x: 4, y: 1, width: 18, height: 8 }),
      },
      { name: 'perfect', sample: path('diagonal', 'M0 5H26') },
    ]),
    summary: `expected calibration error ${showPercent(r.ece)}, largest gap ${showPercent(r.mce)}, ${r.bins.length} bins`,
    body: [
      axes(frame, 'confidence', 'accuracy'),
      r.bins.map((b) => reliabilityBar(frame, b, total)),
      path('diagonal', `M${at(frame.x(0))} ${at(frame.y(0))}L${at(frame.x(1))} ${at(frame.y(1))}`),
      label(size.left + 12, size.top + 18, `ECE ${showPercent(r.ece)}`, 'figure', 'start'),
    ],
    notes: [`${r.bins.length} ${kind} bins, ${total} inputs; a bar is the more solid the more inputs it holds.`],
  })
}

function reliabilityBar(frame: Frame, bin: ReliabilityBin, total: number): Html | undefined {
  if (bin.accuracy === null || bin.confidence === null) return undefined
  const x = at(frame.x(bin.low) + 1)
  const width = at(Math.max(2, frame.x(bin.high) - frame.x(bin.low) - 2))
  const [a, c] = [frame.y(bin.accuracy), frame.y(bin.confidence)]
  const opacity = (0.35 + 0.65 * Math.sqrt(bin.count / total)).toFixed(2)
  const tip =
    `confidence ${showPercent(bin.low)} to ${showPercent(bin.high)}\n${bin.count} inputs, ` +
    `mean confidence ${showPercent(bin.confidence)}, accuracy ${showPercent(bin.accuracy)}`
  return el(
    'g',
    {},
    el('title', {}, tip),
    el('rect', { class: 'bar s0', opacity, x, width, y: at(a), height: at(frame.y(0) - a) }),
    el('rect', { class: 'gap s1', x, width, y: at(Math.min(a, c)), height: at(Math.abs(a - c)) }),
  )
}
