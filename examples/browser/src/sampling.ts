/**
 * The second tab: watch digits being sampled, in one of two ways (sampling-ways.ts), with the energies of the chains and what the classifier reads in
 * them. Every choice begins new chains.
 */
import type { Bundle } from './bundle.ts'
import { type ChainState, FrameLoop, SamplerCalls, type SamplerFile } from './chains.ts'
import { EnergyChart } from './chart.ts'
import { softmax } from './digit.ts'
import { button, canvas, html, option, redrawOn, select, showProblem, slider, typing } from './dom.ts'
import type { Engine } from './engine.ts'
import { float32 } from './protocol.ts'
import { freshSeed, uniforms } from './random.ts'
import { drawSamples, type Reading, SURE } from './sample-grid.ts'
import { FromNoise, type SamplingWay, Steering, type SteeringFiles } from './sampling-ways.ts'

/** Steps between two readings of the samples by the classifier. */
const READ_EVERY = 10

/** Sampler files beside the bundle. */
export interface SamplingFiles extends SteeringFiles {
  /** An annealed sampler with its trajectory; without one there is only steering. */
  readonly noise?: SamplerFile | undefined
}

export class SamplingView {
  private readonly engine: Engine
  private readonly bundle: Bundle
  private readonly ways: ReadonlyMap<string, SamplingWay>
  private readonly chart = new EnergyChart(canvas('energies'))
  private readonly loop: FrameLoop
  private readonly stepSize = slider(
    'sample-step',
    (v) => v,
    (v) => v.toFixed(2),
  )
  private readonly noise = slider(
    'sample-noise',
    (v) => v,
    (v) => v.toFixed(2),
  )
  private readonly speed = slider('sample-speed', (v) => v, String)
  private state: ChainState | undefined
  private finished = false
  /** Counts choices: what ran for an older one is not shown. */
  private era = 0
  private readings: readonly Reading[] = []
  private readAt = -1

  constructor(engine: Engine, bundle: Bundle, files: SamplingFiles) {
    this.engine = engine
    this.bundle = bundle
    const calls = new SamplerCalls(engine)
    const controls = { steps: this.speed.value, stepSize: this.stepSize.value, noiseScale: this.noise.value }
    const steering = new Steering(calls, bundle, files, controls, uniforms(freshSeed()))
    this.ways = new Map<string, SamplingWay>([
      ...(files.noise ? [['noise', new FromNoise(calls, files.noise, bundle.shape, controls)] as const] : []),
      ['steer', steering],
    ])
    this.loop = new FrameLoop(
      () => this.advance(),
      (running) => this.changed(running),
    )
    this.setUpControls(files)
    redrawOn(canvas('samples'), () => this.draw())
  }

  /** Stops the chains while nobody sees them. */
  pause(): void {
    this.loop.running = false
  }

  private get way(): SamplingWay {
    const way = this.ways.get(select('sample-way').value)
    if (way === undefined) throw new Error(`There is no way of sampling called '${select('sample-way').value}'.`)
    return way
  }

  private setUpControls({ chain, gaussians }: SamplingFiles): void {
    const { classes, sampler } = this.bundle
    select('sample-class').append(option('', 'any'), ...classes.map((name, i) => option(String(i), name)))
    if ((gaussians ?? sampler) === undefined) select('sample-start').options[0]?.remove()
    for (const o of [...select('sample-way').options]) if (!this.ways.has(o.value)) o.remove()
    this.stepSize.set(chain.defaults?.step_size ?? 0.2)
    this.noise.set(chain.defaults?.noise_scale ?? 0)
    button('sample-run').addEventListener('click', () => this.toggle())
    button('sample-reset').addEventListener('click', () => this.reset())
    for (const id of ['sample-class', 'sample-start', 'sample-count'])
      select(id).addEventListener('change', () => this.forget())
    select('sample-way').addEventListener('change', () => {
      this.reset()
      this.showWay()
    })
    this.showWay()
    document.addEventListener('keydown', (event) => {
      const free = !event.ctrlKey && !event.altKey && !event.metaKey && !typing(event.target)
      if (!free || html('sample').hidden) return
      if (event.key === 's' || event.key === 'S') this.toggle()
      else if (event.key === 'r' || event.key === 'R') this.reset()
    })
  }

  /** The controls and the line of help that belong to the chosen way. */
  private showWay(): void {
    const { value } = select('sample-way')
    for (const label of html('sample').querySelectorAll<HTMLElement>('[data-way]'))
      label.hidden = label.dataset.way !== value
    html('sample-help').textContent = this.way.help
  }

  private toggle(): void {
    if (this.loop.running) {
      this.loop.running = false
      return
    }
    if (this.finished) this.forget()
    if (!this.way.legible) this.readings = []
    this.loop.running = true
  }

  private reset(): void {
    this.loop.running = false
    this.forget()
    html('sample-status').textContent = 'Press Start, or the key S.'
  }

  /** New chains by what is now chosen begin with the next step, at once if they are going. */
  private forget(): void {
    this.era++
    this.state = undefined
    this.finished = false
    this.readings = []
    this.readAt = -1
    this.chart.clear()
    this.nameButton()
    this.draw()
  }

  private nameButton(): void {
    const idle = this.state === undefined ? 'Start' : this.finished ? 'Again' : 'Continue'
    button('sample-run').textContent = this.loop.running ? 'Pause' : idle
  }

  private changed(running: boolean): void {
    this.nameButton()
    if (running && this.state === undefined) html('sample-status').textContent = 'Sampling…'
    if (!running && this.state !== undefined) void this.report().catch(showProblem)
  }

  /** One frame: new chains, or those there are some steps later. */
  private async advance(): Promise<void> {
    const { era, way, state } = this
    const next = await (state === undefined ? way.begin(Number(select('sample-count').value)) : way.next(state))
    // Reset, or chosen anew, while this ran.
    if (era !== this.era) return
    if (next === undefined) {
      this.finished = true
      this.loop.running = false
      return
    }
    this.state = next
    if (way.legible && next.step - this.readAt >= READ_EVERY) await this.read()
    if (era !== this.era) return
    this.chart.add(next.step, next.energies)
    this.draw()
    if (way.rests(next)) this.loop.running = false
  }

  /** What the classifier reads in each sample. */
  private async read(): Promise<void> {
    const { state, bundle } = this
    if (state === undefined) return
    this.readAt = state.step
    const { y, x } = state
    const { outputs } = await this.engine.run(
      bundle.model.url,
      { x: float32(x.map(withinRange), [y.length, ...bundle.shape]) },
      ['logits'],
    )
    if (this.state !== state) return
    const logits = Array.from(outputs.logits?.data ?? [], Number)
    const k = bundle.classes.length
    this.readings = Array.from(y, (_, i) => {
      const probabilities = softmax(logits.slice(i * k, (i + 1) * k))
      const probability = Math.max(...probabilities)
      return { label: bundle.classes[probabilities.indexOf(probability)] ?? '', probability }
    })
  }

  private async report(): Promise<void> {
    await this.read()
    const { state } = this
    if (state === undefined || this.loop.running) return
    this.draw()
    const read = this.readings.map((r) => r.label).join(' ')
    const sure = this.readings.filter((r) => r.probability >= SURE).length
    html('sample-status').textContent =
      `Step ${state.step}. The classifier reads ${read}, ${sure} of ${this.readings.length} with p ≥ ${SURE}.`
    canvas('samples').setAttribute('aria-label', `${state.y.length} samples; the classifier reads ${read}`)
  }

  private draw(): void {
    const { state, readings, bundle } = this
    const count = state?.y.length ?? Number(select('sample-count').value)
    drawSamples(canvas('samples'), { x: state?.x, count, shape: bundle.shape, readings })
  }
}

/** As it is shown: an annealed sampler has no bounds, and a pixel has. */
function withinRange(v: number): number {
  return Math.min(1, Math.max(-1, v))
}
