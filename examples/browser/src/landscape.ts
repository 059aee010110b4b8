/** The energy landscape of a model of points in the plane, with chains that move by the exported sampler from where they are dropped. */
import type { Bundle } from './bundle.ts'
import { type ChainState, FrameLoop, SamplerCalls, type SamplerFile } from './chains.ts'
import { EnergyChart } from './chart.ts'
import { button, canvas, html, option, redrawOn, select, showProblem, slider } from './dom.ts'
import { type Cross, EnergyMap, mapPoints, POINTS, type Window } from './energy-map.ts'
import { type Engine, Latest } from './engine.ts'
import { fetchBundle } from './load.ts'
import { paint } from './palette.ts'
import { float32 } from './protocol.ts'
import { freshSeed, uniforms } from './random.ts'

/** A model that can be chosen, from models/index.json. */
export interface LandscapeEntry {
  readonly folder: string
  readonly title: string
  readonly window: Window
  /** Moves chains from given points: inputs x0, steps, step_size, noise_scale, seed. */
  readonly chain: Omit<SamplerFile, 'url'> & { readonly file: string }
}

const [SCATTER, DROP, MOST] = [200, 25, 1000]
const SPREAD = 0.02
const TAIL = 12
const STEPS_A_FRAME = 2
const NONE = new Float32Array(0)

interface Loaded {
  readonly bundle: Bundle
  readonly chain: SamplerFile
  readonly map: EnergyMap
}

export class LandscapeView {
  private readonly engine: Engine
  private readonly entries: readonly LandscapeEntry[]
  private readonly calls: SamplerCalls
  private readonly random = uniforms(freshSeed())
  private readonly chart = new EnergyChart(canvas('map-energies'))
  private readonly latest = new Latest()
  private readonly loop: FrameLoop
  private readonly temperature = slider(
    'map-temperature',
    (v) => v,
    (v) => v.toFixed(2),
  )
  private readonly stepSize = slider(
    'map-step',
    (v) => 10 ** v,
    (v) => v.toPrecision(2),
  )
  private loaded: Loaded | undefined
  private state: ChainState | undefined
  private tail: Float32Array[] = []
  private cross: Cross | undefined

  constructor(engine: Engine, entries: readonly LandscapeEntry[]) {
    this.engine = engine
    this.entries = entries
    this.calls = new SamplerCalls(engine)
    this.loop = new FrameLoop(
      () => this.advance(),
      (running) => this.changed(running),
    )
    this.setUpControls()
    this.setUpMap()
    redrawOn(canvas('map'), () => {
      this.loaded?.map.forgetColours()
      this.draw()
      this.drawLegend()
    })
  }

  /** Loads what is chosen, once the tab is seen. */
  open(): void {
    if (this.loaded === undefined) this.choose()
  }

  /** Stops the chains while nobody sees them. */
  pause(): void {
    this.loop.running = false
  }

  private setUpControls(): void {
    select('map-model').append(...this.entries.map((e, i) => option(String(i), e.title)))
    select('map-model').addEventListener('change', () => this.choose())
    button('map-scatter').addEventListener('click', () => void this.scatter().catch(showProblem))
    button('map-pause').addEventListener('click', () => {
      this.loop.running = !this.loop.running
    })
    button('map-clear').addEventListener('click', () => this.clear())
  }

  private setUpMap(): void {
    const map = canvas('map')
    map.addEventListener('pointermove', (event) => this.moveCross(this.pointOf(event)))
    map.addEventListener('pointerleave', () => this.moveCross(undefined))
    map.addEventListener('click', (event) => {
      const at = this.pointOf(event)
      if (at !== undefined) this.drop(at)
    })
    map.addEventListener('focus', () => {
      if (map.matches(':focus-visible')) this.moveCross(this.cross ?? this.middle())
    })
    map.addEventListener('keydown', (event) => {
      if (event.ctrlKey || event.altKey || event.metaKey || !this.key(event.key, event.shiftKey)) return
      event.preventDefault()
    })
  }

  private key(key: string, far: boolean): boolean {
    const { window } = this.loaded?.map ?? {}
    if (window === undefined) return false
    const at = this.cross ?? this.middle()
    const by = (window.side / 40) * (far ? 4 : 1)
    const move = { ArrowLeft: [-by, 0], ArrowRight: [by, 0], ArrowUp: [0, by], ArrowDown: [0, -by] }[key]
    const inside = (v: number, low: number): number => Math.min(low + window.side, Math.max(low, v))
    if (move !== undefined)
      this.moveCross({ x: inside(at.x + (move[0] ?? 0), window.x), y: inside(at.y + (move[1] ?? 0), window.y) })
    else if (key === 'Enter' || key === ' ') this.drop(at)
    else if (key === 'Escape') this.moveCross(undefined)
    else return false
    return true
  }

  private middle(): Cross {
    const { x, y, side } = this.loaded?.map.window ?? { x: 0, y: 0, side: 0 }
    return { x: x + side / 2, y: y + side / 2 }
  }

  private pointOf(event: MouseEvent): Cross | undefined {
    const { window } = this.loaded?.map ?? {}
    if (window === undefined) return undefined
    const box = canvas('map').getBoundingClientRect()
    return {
      x: window.x + (window.side * (event.clientX - box.left)) / box.width,
      y: window.y + window.side * (1 - (event.clientY - box.top) / box.height),
    }
  }

  private choose(): void {
    const entry = this.entries[Number(select('map-model').value)]
    if (entry === undefined) return
    this.clear()
    this.moveCross(undefined)
    this.latest.request(async () => {
      try {
        this.loaded = await this.load(entry)
        html('map-title').textContent = `Energy landscape: ${entry.title}`
        this.draw()
        this.drawLegend()
        if (canvas('map').matches(':focus-visible')) this.moveCross(this.middle())
      } catch (error) {
        showProblem(error)
      }
    })
  }

  private async load({ folder, window, chain }: LandscapeEntry): Promise<Loaded> {
    const bundle = await fetchBundle(`models/${folder}`)
    const x = float32(mapPoints(window), [POINTS * POINTS, 2])
    const { outputs } = await this.engine.run(bundle.model.url, { x }, ['energy'])
    const map = new EnergyMap(window, Float32Array.from(outputs.energy?.data ?? [], Number))
    const url = new URL(`models/${chain.file}`, document.baseURI).href
    return { bundle, map, chain: { ...chain, url } }
  }

  /** Chains from the sampler's own starts: the file draws them when asked for no steps. */
  private async scatter(): Promise<void> {
    const { loaded } = this
    const sampler = loaded?.bundle.sampler
    if (loaded === undefined || sampler === undefined) return
    const y = new Int32Array(SCATTER).fill(-1)
    const { x } = await this.calls.call(sampler, [2], { y }, this.settings(0))
    if (this.loaded !== loaded) return
    this.forget()
    this.add(x)
  }

  /** Chains that begin close to a point. */
  private drop({ x, y }: Cross): void {
    const { window } = this.loaded?.map ?? {}
    if (window === undefined) return
    const spread = window.side * SPREAD
    this.add(
      Float32Array.from({ length: 2 * DROP }, (_, i) => (i % 2 === 0 ? x : y) + spread * (2 * this.random() - 1)),
    )
  }

  private add(points: Float32Array): void {
    const before = this.state?.x ?? NONE
    const all = new Float32Array(before.length + points.length)
    all.set(before)
    all.set(points, before.length)
    const x = all.slice(Math.max(0, all.length - 2 * MOST))
    // Chains that begin later would make a jump in the plot, so it starts again with them.
    this.chart.clear()
    this.state = { x, y: new Int32Array(x.length / 2), energies: NONE, step: 0 }
    this.tail = [x]
    this.draw()
    this.loop.running = true
  }

  private clear(): void {
    this.loop.running = false
    this.forget()
    html('map-status').textContent = 'No chains yet.'
    this.draw()
  }

  private forget(): void {
    this.state = undefined
    this.tail = []
    this.chart.clear()
    button('map-pause').disabled = true
  }

  /** Noise of variance 2·step·T: then the chain's stationary density is p(x)^(1/T). */
  private settings(steps: number): { steps: number; stepSize: number; noiseScale: number } {
    const stepSize = this.stepSize.value()
    return { steps, stepSize, noiseScale: Math.sqrt(2 * stepSize * this.temperature.value()) }
  }

  private async advance(): Promise<void> {
    const { state, loaded } = this
    if (state === undefined || loaded === undefined) {
      this.loop.running = false
      return
    }
    const { x, energies } = await this.calls.call(loaded.chain, [2], state, this.settings(STEPS_A_FRAME))
    if (this.state !== state) return
    this.state = { ...state, x, energies, step: state.step + STEPS_A_FRAME }
    this.tail = [...this.tail.slice(1 - TAIL), x]
    this.chart.add(this.state.step, energies)
    this.draw()
  }

  private changed(running: boolean): void {
    const control = button('map-pause')
    control.disabled = this.state === undefined
    control.textContent = running || this.state === undefined ? 'Pause' : 'Continue'
    const { state } = this
    if (state === undefined) return
    const chains = state.y.length
    const mean = state.energies.reduce((s, e) => s + e, 0) / chains
    html('map-status').textContent = running
      ? `${chains} chains are moving.`
      : `${chains} chains, paused at step ${state.step}; mean energy ${mean.toFixed(2)}.`
  }

  /** The cross and what stands at it: energy and score, by the network itself. */
  private moveCross(at: Cross | undefined): void {
    this.cross = at
    const { loaded } = this
    this.draw()
    if (at === undefined || loaded === undefined) {
      html('map-readout').textContent = '\u00a0'
      return
    }
    this.latest.request(async () => {
      try {
        const x = float32([at.x, at.y], [1, 2])
        const { outputs } = await this.engine.run(loaded.bundle.model.url, { x }, ['energy', 'score'])
        if (this.cross !== at || this.loaded !== loaded) return
        const energy = Number(outputs.energy?.data[0])
        const [a, b] = Array.from(outputs.score?.data ?? [], Number)
        this.cross = { ...at, score: [a ?? 0, b ?? 0] }
        const share = 100 * Math.exp(loaded.map.lowest - energy)
        html('map-readout').textContent =
          `x = (${signed(at.x)}, ${signed(at.y)}): E(x) = ${signed(energy)}, score (${signed(a ?? 0)}, ${signed(b ?? 0)}), ` +
          `density ${share >= 0.1 ? share.toPrecision(2) : 'under 0.1'}% of the highest`
        this.draw()
      } catch (error) {
        showProblem(error)
      }
    })
  }

  private draw(): void {
    this.loaded?.map.draw(canvas('map'), this.tail, this.cross)
  }

  private drawLegend(): void {
    const { map } = this.loaded ?? {}
    const target = canvas('legend')
    const context = target.getContext('2d')
    if (map === undefined || context === null) return
    target.width = 256
    target.height = 1
    context.drawImage(
      paint(
        Float32Array.from({ length: 256 }, (_, i) => i / 255),
        256,
      ),
      0,
      0,
    )
    const at = [0, 0.25, 0.5, 0.75, 1].map((t) => map.lowest + t * (map.highest - map.lowest))
    const words = at.map((e, i) =>
      i === 0 ? `E = ${e.toFixed(1)}` : i === 4 ? `${e.toFixed(1)} and above` : e.toFixed(1),
    )
    html('legend-labels').replaceChildren(
      ...words.map((text) => {
        const label = document.createElement('span')
        label.textContent = text
        return label
      }),
    )
    target.setAttribute('aria-label', `Colour scale: from energy ${words[0]} (likely) to ${words[4]} (unlikely)`)
  }
}

function signed(v: number): string {
  return v.toFixed(2).replace('-', '−')
}
