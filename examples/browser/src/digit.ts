/** Draw a digit: what the network sees of it, class probabilities, log p(x), and whether it is out of distribution. */
import { type Bundle, normalise } from './bundle.ts'
import { button, canvas, html, showProblem } from './dom.ts'
import { DrawPad, PAD } from './draw-pad.ts'
import { type Engine, Latest } from './engine.ts'
import { Gauge } from './gauge.ts'
import { InkGrid } from './ink-grid.ts'
import { float32 } from './protocol.ts'
import { freshSeed, noise, uniforms } from './random.ts'
import { FULL, inkOf } from './strokes.ts'

/** Held-out images that come with the page. */
export interface Example {
  readonly label: string
  /** Ink 0..16 of each cell, row by row. */
  readonly ink: readonly number[]
}

/** What the model says of one picture. */
interface Judgement {
  readonly probabilities: readonly number[]
  readonly logP: number
}

/** Shown first, and again when everything is wiped. */
const NOTHING = 'Nothing drawn yet'

export class DigitView {
  private readonly engine: Engine
  private readonly bundle: Bundle
  private readonly examples: readonly Example[]
  private readonly pad: DrawPad
  private readonly grid: InkGrid
  private readonly latest = new Latest()
  private readonly random = uniforms(freshSeed())
  private readonly bars: readonly { row: HTMLElement; fill: HTMLElement; value: HTMLElement }[]
  private gauge: Gauge | undefined
  private ink: ArrayLike<number> = []
  private told: ReturnType<typeof setTimeout> | undefined

  private constructor(engine: Engine, bundle: Bundle, examples: readonly Example[]) {
    this.engine = engine
    this.bundle = bundle
    this.examples = examples
    this.grid = new InkGrid(html('seen'), (ink) => {
      this.pad.wipe()
      this.look(ink, 'set cell by cell')
    })
    this.pad = new DrawPad(canvas('pad'), (strokes) => {
      const ink = inkOf(strokes, PAD)
      this.grid.show(ink)
      this.look(ink, 'drawn')
    })
    this.bars = bundle.classes.map((name) => barOf(html('bars'), name))
    this.setUpButtons()
  }

  /** Sets the view up; the first run of the model also finds the scale of log p. */
  static async open(engine: Engine, bundle: Bundle, examples: readonly Example[]): Promise<DigitView> {
    const view = new DigitView(engine, bundle, examples)
    await view.setUpGauge()
    return view
  }

  private setUpButtons(): void {
    button('clear').addEventListener('click', () => {
      this.pad.wipe()
      this.present([], '')
    })
    button('undo').addEventListener('click', () => this.pad.undo())
    const pick = (): Example | undefined => this.examples[Math.floor(this.random() * this.examples.length)]
    button('example-test').addEventListener('click', () => this.example(pick()?.ink ?? [], 'a held-out test digit'))
    button('example-inverted').addEventListener('click', () => {
      const ink = Array.from(this.ink).some((v) => v > 0) ? this.ink : (pick()?.ink ?? [])
      this.example(
        Array.from(ink, (v) => FULL - v),
        'inverted',
      )
    })
    button('example-noise').addEventListener('click', () =>
      this.example(Array.from(noise(64, 0, FULL, this.random), Math.round), 'noise'),
    )
  }

  private example(ink: ArrayLike<number>, what: string): void {
    this.pad.wipe()
    this.present(ink, what)
  }

  private present(ink: ArrayLike<number>, what: string): void {
    this.grid.show(ink)
    this.look(ink, what)
  }

  private look(ink: ArrayLike<number>, what: string): void {
    this.ink = ink
    this.latest.request(async () => {
      try {
        const empty = !Array.from(ink).some((v) => v > 0)
        const [judgement] = empty ? [] : await this.judge([ink])
        this.show(judgement, what)
      } catch (error) {
        showProblem(error)
      }
    })
  }

  /** Probabilities and log p of pictures. */
  private async judge(inks: readonly ArrayLike<number>[]): Promise<Judgement[]> {
    const { bundle } = this
    const x = normalise(
      bundle,
      inks.flatMap((ink) => Array.from(ink)),
    )
    const wanted = ['logits', 'log_prob_unnormalized']
    const { outputs } = await this.engine.run(
      bundle.model.url,
      { x: float32(x, [inks.length, ...bundle.shape]) },
      wanted,
    )
    const logits = Array.from(outputs.logits?.data ?? [], Number)
    const logP = Array.from(outputs.log_prob_unnormalized?.data ?? [], Number)
    const k = bundle.classes.length
    return logP.map((v, i) => ({ logP: v, probabilities: softmax(logits.slice(i * k, (i + 1) * k)) }))
  }

  /** The scale goes from noise to the most likely of the held-out examples. */
  private async setUpGauge(): Promise<void> {
    const fixed = uniforms(1)
    const noisy = Array.from({ length: 8 }, () => Array.from(noise(64, 0, FULL, fixed), Math.round))
    const all = (await this.judge([...this.examples.map((e) => e.ink), ...noisy])).map((j) => j.logP)
    const heldOut = all.slice(0, this.examples.length)
    const { threshold, falseAlarms } = this.bundle
    const low = Math.floor(Math.min(...all))
    this.gauge = new Gauge(html('gauge'), { low, high: Math.ceil(Math.max(...all)) + 1, threshold, heldOut })
    if (falseAlarms !== undefined)
      html('threshold-note').textContent =
        `Thin lines: ${heldOut.length} digits the model has not seen. The threshold is where ${(100 * falseAlarms).toFixed(0)}% of such digits are flagged.`
  }

  private show(judgement: Judgement | undefined, what: string): void {
    const { classes, threshold } = this.bundle
    this.gauge?.show(judgement?.logP)
    const probabilities = judgement?.probabilities ?? classes.map(() => 0)
    const best = probabilities.indexOf(Math.max(...probabilities))
    for (const [i, { row, fill, value }] of this.bars.entries()) {
      const p = probabilities[i] ?? 0
      fill.style.transform = `scaleX(${p})`
      value.textContent = judgement === undefined ? '' : percent(p)
      row.classList.toggle('best', judgement !== undefined && i === best)
    }
    const pill = html('verdict')
    if (judgement === undefined) {
      html('digit').textContent = '–'
      html('label').textContent = NOTHING
      pill.textContent = 'draw, or take an example'
      pill.dataset.state = 'none'
      this.tell(NOTHING)
      return
    }
    const out = threshold !== undefined && judgement.logP < threshold
    html('digit').textContent = classes[best] ?? ''
    html('label').textContent = `${percent(probabilities[best] ?? 0)} sure it is ${classes[best]} (${what})`
    pill.textContent = out ? '✕ out of distribution' : '✓ in distribution'
    pill.dataset.state = out ? 'out' : 'in'
    const verdict = out ? 'Out of distribution' : 'In distribution'
    this.tell(
      `${verdict}: log p ${judgement.logP.toFixed(1)}. Most like ${classes[best]}, ${percent(probabilities[best] ?? 0)}.`,
    )
  }

  /** Screen readers hear where it ended, not every move of the pen. */
  private tell(words: string): void {
    clearTimeout(this.told)
    this.told = setTimeout(() => {
      html('draw-status').textContent = words
    }, 600)
  }
}

function barOf(host: HTMLElement, name: string): { row: HTMLElement; fill: HTMLElement; value: HTMLElement } {
  const row = host.appendChild(document.createElement('li'))
  const label = row.appendChild(document.createElement('span'))
  label.textContent = name
  const track = row.appendChild(document.createElement('span'))
  track.className = 'track'
  const fill = track.appendChild(document.createElement('span'))
  fill.className = 'fill'
  const value = row.appendChild(document.createElement('span'))
  value.className = 'value'
  return { row, fill, value }
}

export function softmax(logits: readonly number[]): number[] {
  const most = Math.max(...logits)
  const parts = logits.map((l) => Math.exp(l - most))
  const total = parts.reduce((s, p) => s + p, 0)
  return parts.map((p) => p / total)
}

function percent(p: number): string {
  if (p < 0.0005) return '0%'
  return `${(100 * p).toFixed(p < 0.0995 ? 1 : 0)}%`
}
