#!/usr/bin/env node
/**
 * How the cost of a step grows: with the number of chains, with depth, with images, and how it falls with a second thread. Prints Markdown
 * tables with the slope in log-log and the line through the points, draws the curves as SVG, and writes the numbers as JSON.
 *
 * Times are the best of several: the curves ask what a step costs, not what else the machine did. Every timing is a process of its own (this
 * file again, with --worker), in turns: points of a curve after one another, one thread and two after one another, round by round, so that a
 * busy hour hurts all alike.
 */
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { availableParallelism, cpus, loadavg } from 'node:os'
import { dirname, resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { fail, readOptions } from './options.mjs'

const root = fileURLToPath(new URL('..', import.meta.url))
const table = JSON.parse(readFileSync(resolve(root, 'scripts/bench/workloads.json'), 'utf8'))
const workloads = Object.keys(table).filter((k) => typeof table[k] === 'object')

/** Doublings from `low` to `high`. */
const doublings = (low, high) => Array.from({ length: Math.round(Math.log2(high / low)) + 1 }, (_, i) => low * 2 ** i)

/** Steps a call: enough that calling costs nothing, few enough that a call of the largest point is short. */
const stepsFor = (work) => Math.max(4, Math.min(200, Math.round(50_000 / work)))

/** A curve: `at(n)` is the workload at a point, `unit` what there are n of; slope and line count n from `first` on. */
const curves = {
  chains: {
    title: 'Chains of an MLP 2-128-128-1',
    unit: 'chain',
    points: doublings(64, 65536),
    at: (n) => ({ ...table.langevin_mlp, chains: n, steps: stepsFor(n) }),
  },
  depth: {
    title: 'Hidden layers of 128, 1024 chains',
    unit: 'layer',
    points: [1, 2, 3, 4, 6, 8, 12, 16],
    first: 1, // it has two inputs, so there are products of 128 x 128 only in the layers after it
    at: (n) => ({ ...table.langevin_mlp, dims: [2, ...Array(n).fill(128), 1], chains: 1024, steps: stepsFor(512 * n) }),
  },
  images: {
    title: 'Images 28 x 28 of a convolutional energy 32-64-64-128',
    unit: 'image',
    points: doublings(4, 128),
    at: (n) => ({ ...table.langevin_conv, chains: n, steps: stepsFor(200 * n) }),
  },
}
const parts = [...Object.keys(curves), 'threads']

const help = `usage: node scripts/scaling.mjs [options]      (after npm run build)

  --only LIST       any of ${parts.join(',')}, or workloads of scripts/bench/workloads.json for 'threads' (default: all)
  --rounds N        how often each point takes its turn (default 3)
  --seconds S       timing of a point in a turn, at least one call (default 0.25)
  --threads N       threads of the curves, and the most of 'threads' (default: 2, or the one core there is)
  --under COMMAND   runs every timing under this, such as 'chrt -r 10', and then waits as long as the timing took
  --out FILE        JSON of all numbers (default: none)
  --svg FILE        the curves (default: none); the repository's is docs/images/scaling.svg
  --help            this text`

function parseOptions() {
  const { values, number, list } = readOptions(
    ['only', 'rounds', 'seconds', 'threads', 'under', 'out', 'svg', 'worker'],
    help,
  )
  const words = list('only', [...parts, ...workloads])
  return {
    worker: values.worker,
    curves: Object.keys(curves).filter((c) => words.includes(c)),
    workloads: workloads.filter((w) => words.includes('threads') || words.includes(w)),
    rounds: number('rounds', 3, true),
    seconds: number('seconds', 0.25, false),
    threads: number('threads', Math.min(2, availableParallelism()), true),
    under: values.under?.trim().split(/\s+/) ?? [],
    out: values.out === undefined ? undefined : resolve(values.out),
    svg: values.svg === undefined ? undefined : resolve(values.svg),
  }
}

// ---- timing

/** In a process of its own: the least milliseconds of a unit of each job, one JSON line a job. */
async function work({ jobs, threads, seconds }) {
  const { setThreads } = await import('../dist/runtime/addon.js')
  const { prepare } = await import('../dist/bench/prepare.js')
  setThreads(threads)
  for (const { key, name, workload } of jobs) {
    const prepared = await prepare(name, workload, 'cpu')
    const wall = async (calls) => {
      const started = performance.now()
      const { guard } = await prepared.program.run(calls)
      if (guard !== null) throw new Error(`${name}: ${guard.name} = ${guard.value}; its time means nothing`)
      return performance.now() - started
    }
    await prepared.reset()
    await wall(1)
    const one = await wall(1)
    const calls = Math.max(1, Math.floor((seconds * 1e3) / 4 / one))
    let best = one
    for (let spent = one; spent < seconds * 1e3; ) {
      await prepared.reset()
      const ms = await wall(calls)
      best = Math.min(best, ms / calls)
      spent += ms
    }
    prepared.dispose()
    process.stdout.write(`${JSON.stringify({ key, ms: best / prepared.units })}\n`)
  }
}

/** Runs jobs in a child; Map from key to milliseconds. */
async function time(o, jobs, threads) {
  const self = [fileURLToPath(import.meta.url), '--worker', JSON.stringify({ jobs, threads, seconds: o.seconds })]
  const [command, ...args] = [...o.under, process.execPath, ...self]
  const started = performance.now()
  const child = spawnSync(command, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] })
  if (child.error) fail(`${command}: ${child.error.message}`)
  if (child.status !== 0) fail(`a timing ended with ${child.status ?? child.signal}: ${child.stderr.trim()}`)
  if (o.under.length > 0) await sleep(performance.now() - started)
  return new Map(
    child.stdout
      .trim()
      .split('\n')
      .map((l) => JSON.parse(l))
      .map(({ key, ms }) => [key, ms]),
  )
}

/** The points of a curve: n and the least milliseconds a step of all rounds. */
async function measureCurve(o, name) {
  const { points, at } = curves[name]
  const best = new Map()
  for (let i = 0; i < o.rounds; i++) {
    process.stderr.write(`${name}, round ${i + 1} of ${o.rounds}\n`)
    const jobs = points.map((n) => ({ key: n, name: `langevin_${name}`, workload: at(n) }))
    for (const [n, ms] of await time(o, jobs, o.threads)) best.set(n, Math.min(ms, best.get(n) ?? Infinity))
  }
  return points.map((n) => ({ n, ms: best.get(n) }))
}

/** Least milliseconds a unit of a workload with one thread and with the most. */
async function measureThreads(o, name) {
  const best = new Map()
  for (let i = 0; i < o.rounds; i++) {
    process.stderr.write(`${name} by threads, round ${i + 1} of ${o.rounds}\n`)
    for (const threads of [1, o.threads]) {
      const ms = (await time(o, [{ key: name, name, workload: table[name] }], threads)).get(name)
      best.set(threads, Math.min(ms, best.get(threads) ?? Infinity))
    }
  }
  const [one, many] = [best.get(1), best.get(o.threads)]
  return { workload: name, one, many, times: one / many }
}

// ---- figures

/** Slope of log ms over log n, by least squares. */
function slopeOf(points) {
  const x = points.map((p) => Math.log(p.n))
  const y = points.map((p) => Math.log(p.ms))
  const mean = (v) => v.reduce((s, a) => s + a, 0) / v.length
  const [mx, my] = [mean(x), mean(y)]
  return x.reduce((s, a, i) => s + (a - mx) * (y[i] - my), 0) / x.reduce((s, a) => s + (a - mx) ** 2, 0)
}

/** ms = offset + each n with the least sum of squared relative errors, so that small points count as much as large ones. */
function lineOf(points) {
  const sum = (f) => points.reduce((s, p) => s + f(p), 0)
  const [a, b, c] = [sum((p) => p.ms ** -2), sum((p) => p.n * p.ms ** -2), sum((p) => p.n ** 2 * p.ms ** -2)]
  const [u, v] = [sum((p) => 1 / p.ms), sum((p) => p.n / p.ms)]
  const each = (a * v - b * u) / (a * c - b * b)
  return { offset: (u - b * each) / a, each }
}

/** What is fitted to a curve's points. */
function fitted(name, points) {
  const { first = 0 } = curves[name]
  const counted = points.map(({ n, ms }) => ({ n: n - first, ms })).filter((p) => p.n > 0)
  const upper = counted.slice(-Math.ceil(counted.length / 2))
  return { points, slope: slopeOf(counted), upperSlope: slopeOf(upper), line: lineOf(counted) }
}

/** A Markdown table. */
function markdown(head, rows) {
  const line = (cells) => `| ${cells.join(' | ')} |`
  return [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n')
}

const micros = (ms) => (ms * 1e3).toPrecision(3)

function curveText({ title, unit, first = 0 }, { points, slope, upperSlope, line }) {
  const rows = points.map(({ n, ms }, i) => {
    const before = points[i - 1]
    const more = before === undefined ? '-' : micros((ms - before.ms) / (n - before.n))
    const ratio = n > first ? (ms / (line.offset + line.each * (n - first))).toFixed(2) : '-'
    return [n, Number(ms.toPrecision(3)), micros(ms / n), more, ratio]
  })
  const head = [`${unit}s`, 'ms a step', `µs a step per ${unit}`, `per ${unit} more than above`, 'against the line']
  const after = first > 0 ? ` after the first` : ''
  return [
    `${title}\n`,
    markdown(head, rows),
    `\nSlope in log-log, counting ${unit}s${after}: ${slope.toFixed(3)}, of the upper half ${upperSlope.toFixed(3)}. The line: ${micros(line.offset)} µs + ${micros(line.each)} µs per ${unit}${after}.`,
  ].join('\n')
}

const goal = 1.8

function threadsText(rows, threads) {
  const cells = rows.map(({ workload, one, many, times }) => [
    workload,
    one.toPrecision(3),
    many.toPrecision(3),
    `${times.toFixed(2)}x${threads === 2 && times < goal ? ` (below ${goal}x)` : ''}`,
  ])
  return `Threads\n\n${markdown(['workload', '1 thread, ms', `${threads} threads, ms`, 'times as fast'], cells)}`
}

// ---- picture

const style = `svg { --text: #1b1f26; --dim: #545c69; --c: #0b5cad; font: 12px system-ui, "Segoe UI", Roboto, "Liberation Sans", sans-serif; }
@media (prefers-color-scheme: dark) { svg { --text: #e7eaf0; --dim: #a3acba; --c: #7cbcff; } }
text { fill: var(--dim); } text.title { fill: var(--text); font-weight: 600; } .axis, .tick { stroke: var(--dim); fill: none; }
.gridline { stroke: var(--dim); opacity: .25; } .line { stroke: var(--c); fill: none; stroke-dasharray: 5 4; } .dot { fill: var(--c); }`

/** Both axes in powers of ten; `values` are not negative. */
function logAxis(values, base) {
  const power = (v) => Math.log(v) / Math.log(base)
  const [low, high] = [Math.floor(power(Math.min(...values)) + 1e-9), Math.ceil(power(Math.max(...values)) - 1e-9)]
  const stride = Math.ceil((high - low) / 6)
  const exponents = Array.from({ length: Math.floor((high - low) / stride) + 1 }, (_, i) => low + i * stride)
  const ticks = exponents.map((e) => ({ value: e * Math.log(base), text: String(Number((base ** e).toPrecision(6))) }))
  return { low: low * Math.log(base), high: high * Math.log(base), ticks }
}

/** The curves side by side in log-log: dots as measured, dashed the line through them. */
async function picture(found) {
  const { at, axes, frameOf, label, path, size } = await import('../dist/evaluation/chart-frame.js')
  const { el, Html, html } = await import('../dist/evaluation/report-html.js')
  const panels = Object.entries(found).map(([name, { points, line }], i) => {
    const { title, unit, first = 0 } = curves[name]
    const frame = frameOf(
      logAxis(
        points.map((p) => p.n),
        2,
      ),
      logAxis(
        points.map((p) => p.ms),
        10,
      ),
    )
    const place = (n, ms) => [at(frame.x(Math.log(n))), at(frame.y(Math.log(ms)))]
    const [from, to] = [Math.max(points[0].n, first + 1), points.at(-1).n]
    const along = Array.from({ length: 41 }, (_, k) => from * (to / from) ** (k / 40))
    const through = along.map((n) => [n, line.offset + line.each * (n - first)]).filter(([, ms]) => ms > 0)
    return el(
      'g',
      { transform: `translate(${i * size.width} 22)` },
      label(size.left, 0, title, 'title', 'start'),
      axes(frame, `${unit}s`, 'ms a step'),
      path('line', `M${through.map(([n, ms]) => place(n, ms).join(' ')).join('L')}`),
      points.map(({ n, ms }) => {
        const [cx, cy] = place(n, ms)
        return el('circle', { class: 'dot', cx, cy, r: 3.5 }, el('title', {}, `${n} ${unit}s: ${ms.toPrecision(3)} ms`))
      }),
    )
  })
  const [width, height] = [size.width * panels.length, size.height + 22]
  const words = Object.entries(found).map(([n, { slope }]) => `${curves[n].title}: slope ${slope.toFixed(2)}`)
  return html`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img" aria-label="${words.join('; ')}">
${el('style', {}, new Html(style))}${panels}
</svg>
`.toString()
}

async function main() {
  const o = parseOptions()
  if (!existsSync(resolve(root, 'dist/bench/prepare.js'))) fail('dist/bench does not exist: run `npm run build` first')
  if (o.worker !== undefined) return work(JSON.parse(o.worker))
  const machine = { cpu: cpus()[0]?.model ?? 'unknown', threads: o.threads, node: process.version, load: loadavg()[0] }
  if (machine.load > 0.5 * availableParallelism() && o.under.length === 0)
    process.stderr.write(`warning: other work is running (load ${machine.load.toFixed(1)}); times will be too long\n`)
  process.stdout.write(`${machine.cpu}, ${o.threads} threads, best of ${o.rounds} rounds\n`)
  const found = {}
  for (const name of o.curves) {
    const points = await measureCurve(o, name)
    found[name] = fitted(name, points)
    process.stdout.write(`\n${curveText(curves[name], found[name])}\n`)
  }
  const threads = []
  for (const name of o.workloads) threads.push(await measureThreads(o, name))
  if (threads.length > 0) process.stdout.write(`\n${threadsText(threads, o.threads)}\n`)
  if (o.out !== undefined) writeFileSync(o.out, `${JSON.stringify({ machine, curves: found, threads }, null, 2)}\n`)
  if (o.svg !== undefined && o.curves.length > 0) {
    mkdirSync(dirname(o.svg), { recursive: true })
    writeFileSync(o.svg, await picture(found))
  }
}

await main()
