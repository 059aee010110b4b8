/** The training part of the report: which charts the rows of metrics.jsonl give, and the table of events. */
import type { Mark } from './chart-frame.ts'
import { showNumber } from './chart-scale.ts'
import { type LineChart, lineChart } from './charts.ts'
import type { EventRow, MetricsRow } from './metrics-row.ts'
import { el, type Html, table } from './report-html.ts'

/** Charts of the fields that every trainer may write: field and name of each curve. */
const known: readonly (Omit<LineChart, 'series' | 'marks'> & {
  readonly fields: readonly (readonly [string, string])[]
})[] = [
  {
    title: 'Energies',
    unit: 'nats',
    fields: [
      ['energyData', 'data'],
      ['energyNegatives', 'negatives'],
    ],
  },
  { title: 'Energy gap: negatives less data', unit: 'nats', zero: true, fields: [['energyGap', 'gap']] },
  {
    title: 'Loss',
    unit: 'nats',
    fields: [
      ['loss', 'loss'],
      ['crossEntropy', 'cross-entropy'],
    ],
  },
  { title: 'Batch accuracy', unit: 'share right', percent: true, fields: [['accuracy', 'accuracy']] },
  { title: 'Energy drift along the chain', unit: 'nats', zero: true, fields: [['chainDrift', 'drift']] },
  { title: 'Gradient norm', unit: 'L2 over all parameters', fields: [['gradientNorm', 'gradient norm']] },
  { title: 'Learning rate', unit: 'per step', zero: true, fields: [['learningRate', 'learning rate']] },
  { title: 'Speed', unit: 'steps/s', zero: true, fields: [['stepsPerSecond', 'steps/s']] },
]
/** Fields that are the axis or need no chart. */
const uncharted = new Set(['step', 'epoch', 'seconds'])

/** The rows that the run stands on: a recovery goes back in steps, and what it took back is left out. */
export function standingRows(rows: readonly MetricsRow[]): { rows: MetricsRow[]; dropped: number } {
  const out: MetricsRow[] = []
  for (const row of rows) {
    while (out.length > 0 && (out[out.length - 1]?.step ?? 0) >= row.step) out.pop()
    out.push(row)
  }
  return { rows: out, dropped: rows.length - out.length }
}

/** All charts of the rows, those of unknown numeric fields last. */
export function trainingCharts(rows: readonly MetricsRow[], events: readonly EventRow[]): Html[] {
  const marks = eventMarks(events)
  const present = new Set(rows.flatMap((r) => Object.keys(r).filter((k) => typeof r[k] === 'number')))
  const charts = known.flatMap(({ fields, ...chart }): LineChart[] => {
    const series = fields.filter(([f]) => present.has(f)).map(([f, name]) => seriesOf(rows, f, name))
    return series.length > 0 ? [{ ...chart, series, marks }] : []
  })
  const named = new Set([...uncharted, ...known.flatMap((c) => c.fields.map(([f]) => f))])
  const extra = [...present]
    .filter((f) => !named.has(f))
    .map((f): LineChart => ({ title: f, unit: '', series: [seriesOf(rows, f, f)], marks }))
  return [...charts, ...extra].map(lineChart)
}

/** Rows that lack the field altogether are skipped; a NaN is kept, as a gap. */
function seriesOf(rows: readonly MetricsRow[], field: string, name: string) {
  const having = rows.filter((r) => typeof r[field] === 'number')
  return { name, x: having.map((r) => r.step), y: having.map((r) => r[field] as number) }
}

/** Events are marked in the charts by their number in the table, except routine checkpoints. */
function eventMarks(events: readonly EventRow[]): Mark[] {
  return events.flatMap((e, i) =>
    e.event === 'checkpoint' ? [] : [{ x: e.step, number: i + 1, text: `${e.event} at step ${e.step}: ${details(e)}` }],
  )
}

/** Table of events, in the order in which they happened. */
export function eventTable(events: readonly EventRow[]): Html {
  if (events.length === 0) return el('p', {}, 'No recovery was needed and nothing else was recorded.')
  return table(
    { label: 'Events', head: ['##', 'event', 'step#', 'details'] },
    events.map((e, i) => [i + 1, e.event, e.step, details(e)]),
  )
}

function details(event: EventRow): string {
  return Object.entries(event)
    .filter(([k, v]) => k !== 'event' && k !== 'step' && v !== undefined)
    .map(([k, v]) => `${k} ${typeof v === 'number' ? showNumber(v) : typeof v === 'string' ? v : JSON.stringify(v)}`)
    .join(', ')
}
