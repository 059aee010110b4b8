/** Watch digits being sampled: a grid of chains, moved live by the exported sampler, their energies, and what the model itself reads in them. */
import type { Bundle } from './bundle.ts'
import { type ChainState, FrameLoop, SamplerCalls, type SamplerFile } from './chains.ts'
import { EnergyChart } from './chart.ts'
import { softmax } from './digit.ts'
import { button, canvas, colour, html, option, redrawOn, select, showProblem, slider, surface, typing } from './dom.ts'
import type { Engine } from './engine.ts'
import { float32 } from './protocol.ts'
import { freshSeed, noise, uniforms } from './random.ts'

const ANY = 'any'
/** Steps between two readings of the samples by the model. */
const READ_EVERY = 10

export class SamplingView {
  private readonly engine: Engine
  private readonly bundle: Bundle
  /** Chains of p(x|y) from given points. */
  private readonly chain: SamplerFile
  private readonly calls: SamplerCalls
  private readonly random = uniforms(freshSeed())
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
  private readings: readonly { label: string; probability: number }[] = []
  private readAt = -1

  constructor(engine: Engine, bundle: Bundle, chain: SamplerFile) {
    this.engine = engine
    this.bundle = bundle
    this.chain = chain
    this.calls = new SamplerCalls(engine)
    this.loop = new FrameLoop(
      () => this.advance(),
      (running) => this.changed(running),
    )
    this.setUpControls()
    redrawOn(canvas('samples'), () => this.draw())
  }

  /** Stops the chains while nobody sees them. */
  pause(): void {
    this.loop.running = false
  }

  private setUpControls(): void {
    const { classes, sampler } = this.bundle
    select('sample-class').append(option(ANY, 'any'), ...classes.map((name, i) => option(String(i), name)))
    if (sampler === undefined) select('sample-start').options[1]?.remove()
    this.stepSize.set(this.chain.defaults?.step_size ?? 0.2)
    this.noise.set(this.chain.defaults?.noise_scale ?? 0)
    button('sample-run').addEventListener('click', () => this.toggle())
    button('sample-reset').addEventListener('click', () => this.reset())
    for (const id of ['sample-class', 'sample-start', 'sample-count'])
      select(id).addEventListener('change', () => this.forget())
    document.addEventListener('keydown', (event) => {
      const free = !event.ctrlKey && !event.altKey && !event.metaKey && !typing(event.target)
      if (!free || html('sample').hidden) return
      if (event.key === 's' || event.key === 'S') this.toggle()
      else if (event.key === 'r' || event.key === 'R') this.reset()
    })
  }

  private toggle(): void {
    this.loop.running = !this.loop.running
  }

  private reset(): void {
    this.loop.running = false
    this.forget()
    html('sample-status').textContent = 'Press Start, or the key S.'
  }

  /** New chains by what is now chosen begin with the next step, at once if they are going. */
  private forget(): void {
    this.state = undefined
    this.readings = []
    this.readAt = -1
    this.chart.clear()
    this.nameButton()
    this.draw()
  }

  private nameButton(): void {
    const idle = this.state === undefined ? 'Start' : 'Continue'
    button('sample-run').textContent = this.loop.running ? 'Pause' : idle
  }

  private changed(running: boolean): void {
    this.nameButton()
    if (!running && this.state !== undefined) void this.report().catch(showProblem)
  }

  private async advance(): Promise<void> {
    const before = this.state
    const from = before ?? (await this.begin())
    if (before === undefined) {
      if (this.state !== undefined) return
      this.state = from
      this.show()
    }
    const settings = { steps: this.speed.value(), stepSize: this.stepSize.value(), noiseScale: this.noise.value() }
    const { x, energies } = await this.calls.call(this.chain, this.bundle.shape, from, settings)
    // Reset, or chosen anew, while this ran.
    if (this.state !== from) return
    this.state = { x, y: from.y, energies, step: from.step + settings.steps }
    if (this.state.step - this.readAt >= READ_EVERY) await this.read()
    this.show()
  }

  /** Starting points: noise of the page, or Gaussians of the classes drawn by the exported sampler with no steps. */
  private async begin(): Promise<ChainState> {
    const { bundle } = this
    const { shape, sampler, classes } = bundle
    const count = Number(select('sample-count').value)
    const wanted = select('sample-class').value
    const y = Int32Array.from({ length: count }, () =>
      wanted === ANY ? Math.floor(this.random() * classes.length) : Number(wanted),
    )
    const none = { steps: 0, stepSize: this.stepSize.value() }
    if (select('sample-start').value === 'gaussians' && sampler !== undefined)
      return { ...(await this.calls.call(sampler, shape, { y }, none)), y, step: 0 }
    const size = shape.reduce((a, b) => a * b, count)
    return {
      ...(await this.calls.call(this.chain, shape, { x: noise(size, -1, 1, this.random), y }, none)),
      y,
      step: 0,
    }
  }

  /** What the model reads in each sample. */
  private async read(): Promise<void> {
    const { state, bundle } = this
    if (state === undefined) return
    this.readAt = state.step
    const { y, x } = state
    const { outputs } = await this.engine.run(
      bundle.model.url,
      { x: float32(x.slice(), [y.length, ...bundle.shape]) },
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

  private show(): void {
    const { state } = this
    if (state === undefined) return
    this.chart.add(state.step, state.energies)
    this.draw()
  }

  private async report(): Promise<void> {
    await this.read()
    const { state } = this
    if (state === undefined) return
    this.draw()
    const mean = state.energies.reduce((s, e) => s + e, 0) / state.energies.length
    const read = this.readings.map((r) => r.label).join(' ')
    html('sample-status').textContent = `Step ${state.step}: mean energy ${mean.toFixed(1)}. The model reads: ${read}.`
    canvas('samples').setAttribute('aria-label', `${state.y.length} samples; the model reads ${read}`)
  }

  private draw(): void {
    const drawn = surface(canvas('samples'))
    if (drawn === undefined) return
    const { context, width } = drawn
    const count = this.state?.y.length ?? Number(select('sample-count').value)
    const side = Math.round(Math.sqrt(count))
    const gap = 6
    const each = (width - gap * (side - 1)) / side
    const [rows = 8, columns = 8] = this.bundle.shape.slice(-2)
    for (let i = 0; i < count; i++) {
      const [left, top] = [(i % side) * (each + gap), Math.floor(i / side) * (each + gap)]
      if (this.state === undefined) {
        context.fillStyle = colour('--soft')
        context.fillRect(left, top, each, each)
        continue
      }
      const image = pictureOf(this.state.x.subarray(i * rows * columns, (i + 1) * rows * columns), columns, rows)
      context.imageSmoothingEnabled = false
      context.drawImage(image, left, top, each, each)
      this.drawReading(context, i, left, top, each)
    }
  }

  private drawReading(context: CanvasRenderingContext2D, i: number, left: number, top: number, each: number): void {
    const reading = this.readings[i]
    if (reading === undefined) return
    const size = Math.max(11, each / 6)
    context.fillStyle = '#000b'
    context.fillRect(left, top + each - size * 1.3, size * 1.1, size * 1.3)
    context.fillStyle = '#fff'
    context.font = `600 ${size}px system-ui, sans-serif`
    context.textAlign = 'center'
    context.textBaseline = 'middle'
    context.fillText(reading.label, left + size * 0.55, top + each - size * 0.62)
  }
}

/** Values of [-1, 1] as grey. */
function pictureOf(values: Float32Array, width: number, height: number): HTMLCanvasElement {
  const made = document.createElement('canvas')
  made.width = width
  made.height = height
  const context = made.getContext('2d')
  if (context === null) return made
  const image = context.createImageData(width, height)
  for (const [i, v] of values.entries()) {
    const grey = Math.round(127.5 * (Math.min(1, Math.max(-1, v)) + 1))
    image.data.set([grey, grey, grey, 255], 4 * i)
  }
  context.putImageData(image, 0, 0)
  return made
}
