/** Axes in numbers: nice ticks, a range that outliers do not flatten, and how numbers are written. No drawing here. */
import { quantile } from './histogram.ts'

/** An axis: its range, its ticks with their text. */
export interface Axis {
  readonly low: number
  readonly high: number
  readonly ticks: readonly { readonly value: number; readonly text: string }[]
}

/** An axis over low..high, widened to whole ticks; about `count` of them, 1, 2 or 5 times a power of ten apart. */
export function niceAxis(low: number, high: number, count = 5, percent = false): Axis {
  let [a, b] = [Math.min(low, high), Math.max(low, high)]
  if (b - a <= Math.abs(a) * 1e-12 || b === a) {
    const half = Math.abs(a) > 0 ? Math.abs(a) * 0.1 : 1
    a -= half
    b += half
  }
  const step = niceStep((b - a) / Math.max(1, count))
  const first = Math.floor(a / step + 1e-9)
  const last = Math.ceil(b / step - 1e-9)
  const ticks = Array.from({ length: last - first + 1 }, (_, i) => {
    const value = (first + i) * step
    return { value, text: percent ? `${tickText(value * 100, step * 100)}%` : tickText(value, step) }
  })
  return { low: first * step, high: last * step, ticks }
}

/** Like {@link niceAxis}, but the range stays low..high and only ticks within it are kept: for the steps of a run. */
export function tightAxis(low: number, high: number, count = 5): Axis {
  if (!(high > low)) return niceAxis(low, high, 2)
  const nice = niceAxis(low, high, count)
  const slack = (high - low) * 1e-9
  return { low, high, ticks: nice.ticks.filter((t) => t.value >= low - slack && t.value <= high + slack) }
}

function niceStep(raw: number): number {
  const power = 10 ** Math.floor(Math.log10(raw))
  const lead = raw / power
  // The nearest of 1, 2, 5, 10 on a log scale.
  return (lead < Math.SQRT2 ? 1 : lead < Math.sqrt(10) ? 2 : lead < Math.sqrt(50) ? 5 : 10) * power
}

function tickText(value: number, step: number): string {
  const v = Math.abs(value) < step * 1e-9 ? 0 : value
  const size = Math.max(Math.abs(v), step)
  if (step < 1e-4 || size >= 1e9) {
    // As many digits as tell one step from the next.
    const digits = Math.floor(Math.log10(size) + 1e-9) - Math.floor(Math.log10(step) + 1e-9)
    return v === 0 ? '0' : tidy(v.toExponential(Math.min(20, Math.max(0, digits))).replace('e+', 'e'))
  }
  if (step >= 1e6) return tidy(`${v / 1e6}M`)
  if (step >= 1000) return v === 0 ? '0' : tidy(`${trimZeros((v / 1000).toFixed(1))}k`)
  return tidy(v.toFixed(Math.max(0, -Math.floor(Math.log10(step) + 1e-9))))
}

/** A number for people: four significant digits, grouped thousands, a true minus; words for NaN and infinities. */
export function showNumber(value: number, digits = 4): string {
  if (Number.isNaN(value)) return 'not a number'
  if (!Number.isFinite(value)) return value > 0 ? 'infinite' : '−infinite'
  const size = Math.abs(value)
  if (size !== 0 && (size < 1e-4 || size >= 1e7)) {
    const [lead = '', power = ''] = value.toExponential(digits - 1).split('e')
    return tidy(`${trimZeros(lead)}e${power.replace('+', '')}`)
  }
  if (size >= 10 ** (digits - 1)) return tidy(Math.round(value).toLocaleString('en-US'))
  return tidy(trimZeros(value.toPrecision(digits)))
}

/** A share as a percentage with one decimal: 0.9312 is 93.1%. */
export function showPercent(value: number): string {
  return Number.isFinite(value) ? tidy(`${(100 * value).toFixed(1)}%`) : showNumber(value)
}

/** Seconds as 1 h 02 min, 3 min 05 s or 2.4 s. */
export function showDuration(seconds: number): string {
  if (!Number.isFinite(seconds)) return showNumber(seconds)
  if (seconds < 60) return `${showNumber(seconds, 2)} s`
  const total = Math.round(seconds)
  const [h, m, s] = [Math.floor(total / 3600), Math.floor((total % 3600) / 60), total % 60]
  const two = (n: number) => String(n).padStart(2, '0')
  return h > 0 ? `${h} h ${two(m)} min` : `${m} min ${two(s)} s`
}

function tidy(text: string): string {
  return text.replace('e-', 'e−').replace(/^-/, '−')
}

function trimZeros(text: string): string {
  return text.includes('.') ? text.replace(/\.?0+$/, '') : text
}

/** A range for values and how many of them it leaves out. */
export interface Range {
  readonly low: number
  readonly high: number
  readonly outside: number
}

/**
 * The range of the finite values; where the whole range is more than eight times that of the middle 98% (a spike, a divergence), half of
 * that middle range is kept on each side and the rest left out. Undefined without a finite value.
 */
export function robustRange(values: readonly number[]): Range | undefined {
  const sorted = Float64Array.from(values.filter(Number.isFinite)).sort()
  const [low, high] = [sorted[0], sorted[sorted.length - 1]]
  if (low === undefined || high === undefined) return undefined
  const [a, b] = [quantile(sorted, 0.01), quantile(sorted, 0.99)]
  if (sorted.length < 20 || b === a || high - low <= 8 * (b - a)) return { low, high, outside: 0 }
  const cut = { low: Math.max(low, a - (b - a) / 2), high: Math.min(high, b + (b - a) / 2) }
  return { ...cut, outside: sorted.reduce((n, v) => n + (v < cut.low || v > cut.high ? 1 : 0), 0) }
}
