/**
 * The rows of metrics.jsonl: one JSON object a line, a row of numbers at each report and a row of its own for each event.
 * Trainers write them, the report reads them; this file is where both agree.
 */
import { LangevinError } from '../graph/errors.ts'

/** Numbers at one step. Energies are in nats; numeric fields beyond those named here are welcome and get a chart of their own. */
export interface MetricsRow {
  /** Update steps done when the row was written. */
  readonly step: number
  /** Passes over the data, fractional. */
  readonly epoch: number
  /** Seconds of training so far, over all resumed parts. */
  readonly seconds: number
  readonly loss: number
  readonly crossEntropy?: number
  /** Mean energy of the data batch. */
  readonly energyData?: number
  /** Mean energy of the negatives. */
  readonly energyNegatives?: number
  /** energyNegatives - energyData. */
  readonly energyGap?: number
  /** Mean energy change of the negatives along their chain of this step. */
  readonly chainDrift?: number
  /** Share of the batch classified right, 0..1. */
  readonly accuracy?: number
  /** L2 norm of the gradient over all parameters, before clipping. */
  readonly gradientNorm?: number
  readonly learningRate: number
  readonly stepsPerSecond: number
  readonly [extra: string]: number | undefined
}

/** Something that happened: `recovered` after a divergence, `resumed`, `checkpoint`, ... with details of any JSON kind. */
export interface EventRow {
  readonly event: string
  readonly step: number
  readonly [detail: string]: unknown
}

/** One line of metrics.jsonl without the newline; NaN and infinities become null, as JSON has no word for them. */
export function formatMetricsLine(row: MetricsRow | EventRow): string {
  return JSON.stringify(row)
}

/** Rows and events of a metrics.jsonl. */
export interface MetricsFile {
  readonly rows: MetricsRow[]
  readonly events: EventRow[]
}

/**
 * Reads the text of a metrics.jsonl; null numbers become NaN. A last line without its end, as a killed process leaves it, is dropped; any
 * other line that is not an object with a numeric `step` throws LangevinError E_DATA with its line number.
 */
export function parseMetrics(text: string): MetricsFile {
  const rows: MetricsRow[] = []
  const events: EventRow[] = []
  const lines = text.split('\n')
  lines.forEach((line, i) => {
    if (line.trim() === '') return
    const value = parseLine(line)
    if (value === undefined) {
      if (i === lines.length - 1) return
      throw new LangevinError(
        'E_DATA',
        `metrics.jsonl, line ${i + 1}: expected a JSON object with a numeric step; got ${excerpt(line)}`,
        {
          line: i + 1,
        },
      )
    }
    if (typeof value.event === 'string') events.push({ ...value, event: value.event, step: value.step })
    else rows.push(numbersOf(value))
  })
  return { rows, events }
}

interface AnyRow {
  readonly step: number
  readonly [field: string]: unknown
}

function parseLine(line: string): AnyRow | undefined {
  let value: unknown
  try {
    value = JSON.parse(line)
  } catch {
    return undefined
  }
  return hasStep(value) ? value : undefined
}

function hasStep(value: unknown): value is AnyRow {
  return typeof value === 'object' && value !== null && 'step' in value && typeof value.step === 'number'
}

function numbersOf(value: AnyRow): MetricsRow {
  const fields: Record<string, number> = {}
  for (const [name, v] of Object.entries(value)) {
    if (typeof v === 'number') fields[name] = v
    else if (v === null) fields[name] = Number.NaN
  }
  const { epoch = NaN, seconds = NaN, loss = NaN, learningRate = NaN, stepsPerSecond = NaN } = fields
  return { ...fields, step: value.step, epoch, seconds, loss, learningRate, stepsPerSecond }
}

function excerpt(line: string): string {
  return JSON.stringify(line.length > 60 ? `${line.slice(0, 60)}...` : line)
}
