import { describe, expect, it } from 'vitest'
import { type EventRow, formatMetricsLine, type MetricsRow, parseMetrics } from '../../lib/evaluation/metrics-row.ts'

const row: MetricsRow = {
  step: 10,
  epoch: 0.5,
  seconds: 2,
  loss: 1.5,
  accuracy: 0.5,
  learningRate: 0.1,
  stepsPerSecond: 5,
  own: 7,
}
const event: EventRow = { event: 'recovered', step: 12, guard: 'loss', value: 1e9 }

describe('metrics.jsonl', () => {
  it('gives back what was written, numbers and events apart', () => {
    const text = [row, event, { ...row, step: 20 }].map((r) => `${formatMetricsLine(r)}\n`).join('')
    expect(parseMetrics(text)).toEqual({ rows: [row, { ...row, step: 20 }], events: [event] })
  })

  it('reads NaN and infinities back as NaN', () => {
    const { rows } = parseMetrics(formatMetricsLine({ ...row, loss: Infinity, own: Number.NaN }))
    expect(rows[0]?.loss).toBeNaN()
    expect(rows[0]?.own).toBeNaN()
    expect(rows[0]?.accuracy).toBe(0.5)
  })

  it('drops an unfinished last line and refuses any other that is wrong', () => {
    const line = formatMetricsLine(row)
    expect(parseMetrics(`${line}\n${line.slice(0, 20)}`).rows).toHaveLength(1)
    expect(() => parseMetrics(`${line}\n${line.slice(0, 20)}\n${line}\n`)).toThrow(
      /line 2: expected a JSON object with a numeric step/,
    )
    expect(() => parseMetrics('{"step":"1"}\n')).toThrow(/line 1/)
    expect(parseMetrics('')).toEqual({ rows: [], events: [] })
  })
})
