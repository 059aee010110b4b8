/**
 * report.html: one file that opens from disk, with everything inside and nothing fetched (a content security policy in the file says so).
 * Pure: objects in, text out. Reading the run folder and writing the file is the caller's part; each part of the input may be missing.
 */
import { showDuration, showNumber, showPercent } from './chart-scale.ts'
import type { Evaluation } from './evaluate.ts'
import type { EventRow, MetricsRow } from './metrics-row.ts'
import type { PlaneInput } from './plane.ts'
import { classificationSection, densitySection } from './report-evaluation.ts'
import { el, Html, type HtmlValue, html, section, table } from './report-html.ts'
import { likelihoodSection, qualitySection } from './report-quality.ts'
import { reportStyle } from './report-style.ts'
import { eventTable, standingRows, trainingCharts } from './report-training.ts'
import { densityFigures } from './scatter.ts'

/** What a report is made of. */
export interface ReportInput {
  readonly title: string
  /** The run's settings, any JSON value; shown flattened. */
  readonly config?: unknown
  /** Rows of metrics.jsonl, in the order written. */
  readonly metrics?: readonly MetricsRow[]
  /** Its event rows; recoveries among them are marked in the charts. */
  readonly events?: readonly EventRow[]
  readonly evaluation?: Evaluation
  /** A grid of samples as a PNG file. */
  readonly samplesPng?: Uint8Array
  /** The learned density of a model of the plane, with data and samples; see plane.ts. */
  readonly density?: PlaneInput
  /** Versions, processor, threads, seed: whatever helps to repeat the run. */
  readonly environment?: Readonly<Record<string, unknown>>
}

/**
 * The report as the text of an HTML file. Long curves are thinned, so 100 000 rows stay well under 2 MB.
 * Throws TypeError if `samplesPng` is not a PNG file; LangevinError or RangeError for a `density` that cannot be drawn (planeOf).
 */
export function renderReport(input: ReportInput): string {
  const { evaluation, events = [] } = input
  const { rows, dropped } = standingRows(input.metrics ?? [])
  const sections: { readonly id: string; readonly name: string; readonly body: Html | undefined }[] = [
    { id: 'training', name: 'Training', body: trainingSection(rows, dropped, events) },
    { id: 'samples', name: 'Samples', body: samplesSection(input.samplesPng) },
    { id: 'plane', name: 'Learned density', body: planeSection(input.density) },
    { id: 'likelihood', name: 'Likelihood', body: evaluation && likelihoodSection(evaluation) },
    { id: 'quality', name: 'Samples against data', body: evaluation && qualitySection(evaluation) },
    { id: 'classes', name: 'Calibration', body: evaluation && classificationSection(evaluation) },
    { id: 'density', name: 'Energies and OOD', body: evaluation && densitySection(evaluation) },
    { id: 'events', name: 'Events', body: eventsSection(input.metrics !== undefined, events) },
    { id: 'settings', name: 'Settings', body: tableSection('settings', 'Settings', input.config) },
    { id: 'environment', name: 'Environment', body: tableSection('environment', 'Environment', input.environment) },
  ]
  const shown = sections.filter((s) => s.body !== undefined)
  return html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>${input.title}</title>
<style>${new Html(reportStyle)}</style>
</head>
<body>
<a class="skip" href="#main">Skip to content</a>
<header>
<h1>${input.title}</h1>
<p class="dim">Training report of an energy-based model. Energies are in nats; low energy is likely.</p>
<nav aria-label="Sections"><ul>${shown.map((s) => html`<li><a href="#${s.id}">${s.name}</a></li>`)}</ul></nav>
</header>
<main id="main">
${tiles(rows, events, evaluation)}
${!evaluation && html`<p class="note">This run has not been evaluated yet.</p>`}
${shown.map((s) => s.body)}
</main>
<footer>Made by langevin. This file is complete in itself: it loads nothing from anywhere.</footer>
</body>
</html>
`.toString()
}

/** One headline figure. */
interface Tile {
  readonly name: string
  readonly value: string
  readonly note?: string
}

function tiles(rows: readonly MetricsRow[], events: readonly EventRow[], e: Evaluation | undefined): HtmlValue {
  const all = [...(e ? evaluationTiles(e) : []), ...trainingTiles(rows, events)]
  if (all.length === 0) return undefined
  const tile = (t: Tile) =>
    el('div', {}, el('dt', {}, t.name), el('dd', {}, t.value, t.note !== undefined && el('small', {}, t.note)))
  return el('dl', { class: 'tiles' }, all.map(tile))
}

function evaluationTiles(e: Evaluation): Tile[] {
  const out: Tile[] = []
  if (e.accuracy !== undefined)
    out.push({ name: 'Test accuracy', value: showPercent(e.accuracy), note: `${e.count} inputs` })
  if (e.ece !== undefined) out.push({ name: 'Calibration error', value: showPercent(e.ece), note: 'ECE' })
  if (e.nll !== undefined)
    out.push({ name: 'Negative log-likelihood', value: showNumber(e.nll), note: 'nats an input, of the label' })
  if (e.likelihood)
    out.push({ name: 'Held-out log likelihood', value: showNumber(e.likelihood.mean), note: 'nats an input, of x' })
  if (e.divergence)
    out.push({ name: 'KL(data ‖ model)', value: showNumber(e.divergence.forward, 3), note: 'nats, low is good' })
  if (e.brier !== undefined)
    out.push({ name: 'Brier score', value: showNumber(e.brier, 3), note: '0 to 2, low is good' })
  const aurocs = Object.entries(e.ood).flatMap(([set, s]) => (s.log_px ? [{ set, value: s.log_px.auroc }] : []))
  const worst = aurocs.sort((a, b) => a.value - b.value)[0]
  if (worst)
    out.push({ name: 'Hardest foreign set', value: worst.value.toFixed(3), note: `AUROC of log p(x), ${worst.set}` })
  const f = e.frechet
  const counts = f && `${f.samples} samples, ${f.reference} reference`
  if (f?.features !== undefined && counts)
    out.push({ name: 'Frechet, features', value: showNumber(f.features), note: counts })
  if (f?.pixels !== undefined && counts)
    out.push({ name: 'Frechet, inputs', value: showNumber(f.pixels), note: counts })
  return out
}

function trainingTiles(rows: readonly MetricsRow[], events: readonly EventRow[]): Tile[] {
  const last = rows[rows.length - 1]
  if (last === undefined) return []
  const speed = last.step / last.seconds
  const recoveries = events.filter((e) => e.event === 'recovered').length
  return [
    { name: 'Steps', value: last.step.toLocaleString('en-US'), note: `${showNumber(last.epoch, 3)} epochs` },
    {
      name: 'Training time',
      value: showDuration(last.seconds),
      ...(Number.isFinite(speed) ? { note: `${showNumber(speed, 3)} steps/s on average` } : {}),
    },
    { name: 'Recoveries', value: String(recoveries), note: recoveries === 0 ? 'no divergence' : 'see Events' },
  ]
}

function trainingSection(rows: readonly MetricsRow[], dropped: number, events: readonly EventRow[]): Html {
  if (rows.length === 0) return section('training', 'Training', el('p', {}, 'No metrics have been recorded yet.'))
  const taken = dropped === 1 ? '1 row that a recovery took back is' : `${dropped} rows that recoveries took back are`
  const note = [
    `${rows.length} row${rows.length === 1 ? '' : 's'} of metrics.`,
    dropped > 0 && ` ${taken} not drawn.`,
    events.length > 0 && ' Numbered flags mark the events listed below.',
    ' Where rows are many, the line is the mean of neighbouring rows and the band reaches from their least to their greatest value.',
    ' The loss of a model trained with samples says little: watch the gap and the drift.',
  ]
  const charts = el('div', { class: 'grid' }, trainingCharts(rows, events))
  return section('training', 'Training', el('p', { class: 'note' }, note), charts)
}

function samplesSection(png: Uint8Array | undefined): Html | undefined {
  if (png === undefined) return undefined
  const { width, height } = pngSize(png)
  const data = Buffer.from(png.buffer, png.byteOffset, png.byteLength).toString('base64')
  // Small grids are enlarged by whole factors, so that single pixels can be seen.
  const shown = width * Math.max(1, Math.ceil(400 / width))
  const picture = html`<img class="samples" style="--w:${shown}px" width="${width}" height="${height}"
 alt="A grid of samples drawn from the model" src="data:image/png;base64,${data}">`
  return section('samples', 'Samples', picture)
}

function planeSection(input: PlaneInput | undefined): Html | undefined {
  return input && section('plane', 'Learned density', el('div', { class: 'grid' }, densityFigures(input)))
}

function pngSize(png: Uint8Array): { width: number; height: number } {
  const signature = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]
  if (png.length < 24 || signature.some((b, i) => png[i] !== b)) {
    throw new TypeError(
      `renderReport: samplesPng must be the bytes of a PNG file; got ${png.length} bytes that do not start like one`,
    )
  }
  const view = new DataView(png.buffer, png.byteOffset, png.byteLength)
  return { width: view.getUint32(16), height: view.getUint32(20) }
}

function eventsSection(hasMetrics: boolean, events: readonly EventRow[]): Html | undefined {
  if (!hasMetrics && events.length === 0) return undefined
  return section('events', 'Events', eventTable(events))
}

function tableSection(id: string, title: string, value: unknown): Html | undefined {
  if (value === undefined || value === null) return undefined
  const rows = flatten(value)
  return section(id, title, rows.length === 0 ? el('p', {}, 'None.') : table({ label: title, kind: 'settings' }, rows))
}

/** Nested settings as dotted names; lists and empty objects as JSON. */
function flatten(value: unknown, prefix = ''): [string, string][] {
  if (typeof value === 'object' && value !== null && !Array.isArray(value) && Object.keys(value).length > 0) {
    return Object.entries(value).flatMap(([k, v]) => flatten(v, prefix === '' ? k : `${prefix}.${k}`))
  }
  if (value === undefined || (prefix === '' && typeof value === 'object' && !Array.isArray(value))) return []
  return [
    [prefix === '' ? 'value' : prefix, typeof value === 'string' ? value : (JSON.stringify(value) ?? String(value))],
  ]
}
