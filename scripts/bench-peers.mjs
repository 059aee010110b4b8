#!/usr/bin/env node
/**
 * Times this package beside PyTorch and JAX: every workload of scripts/bench/workloads.json, the contenders in alternation, in one go, so
 * that all of them meet the same machine. Prints a table of medians and ratios, with the share of the machine's peak that ours reach, and one of peak
 * memory, both as Markdown, and writes the numbers as JSON. Installs nothing.
 *
 * The peers' scripts (torch_bench.py, jax_bench.py) stand in a folder given by --peers, beside a workloads.json that must equal ours. They
 * run in the Python of LANGEVIN_PEERS_PYTHON, else python3; a contender whose library it lacks is left out and named.
 */
import { spawn, spawnSync } from 'node:child_process'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { availableParallelism, cpus, loadavg } from 'node:os'
import { join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { isDeepStrictEqual } from 'node:util'
import { fail, readOptions } from './options.mjs'

const root = fileURLToPath(new URL('..', import.meta.url))
const ours = 'langevin'
const oursHalf = 'langevin-bf16'
const variants = ['eager', 'channels_last', 'compile', 'bf16']
const isOurs = (name) => name === ours || name === oursHalf
const allNames = [ours, oursHalf, ...variants.map((v) => `torch-${v}`), 'jax']

const help = `usage: node scripts/bench-peers.mjs [options]      (after npm run build)

  --peers DIR          folder of torch_bench.py and jax_bench.py (default: ../shared/peers beside the checkout)
  --only LIST          workloads, by commas (default: all)
  --contenders LIST    any of ${allNames.join(',')} (default: all that can run)
  --rounds N           how often the contenders take turns at a workload (default 3)
  --repeats N          timings in a turn (default 3)
  --seconds S          a timing takes a quarter of this, or one call (default 1)
  --device NAME        cpu (default) or cuda: ours, PyTorch's and JAX's alike
  --threads N          threads of every contender (default: all cores that this process may use)
  --out FILE           JSON of all numbers (default: bench.json)
  --help               this text

LANGEVIN_PEERS_PYTHON names the Python that has torch or jax (default: python3).`

function parseOptions() {
  const { values, number, list } = readOptions(
    ['peers', 'only', 'contenders', 'rounds', 'repeats', 'seconds', 'threads', 'device', 'out'],
    help,
  )
  const device = values.device ?? 'cpu'
  if (!/^(cpu|cuda(:[0-9]+)?)$/.test(device)) fail(`--device takes cpu, cuda or cuda:N; got '${device}'`)
  const table = JSON.parse(readFileSync(join(root, 'scripts/bench/workloads.json'), 'utf8'))
  return {
    peers: resolve(values.peers ?? join(root, '../shared/peers')),
    workloads: list(
      'only',
      Object.keys(table).filter((k) => typeof table[k] === 'object'),
    ),
    contenders: list('contenders', allNames),
    table,
    rounds: number('rounds', 3, true),
    repeats: number('repeats', 3, true),
    seconds: number('seconds', 1, false),
    device,
    threads: number('threads', availableParallelism(), true),
    out: resolve(values.out ?? 'bench.json'),
  }
}

/** The contenders that can run here: name, command and environment; and a line for each that cannot. */
function findContenders(o) {
  const python = process.env.LANGEVIN_PEERS_PYTHON || 'python3'
  const common = ['--repeats', String(o.repeats), '--seconds', String(o.seconds), '--only']
  const threads = String(o.threads)
  const found = []
  const missing = []
  const peer = (name, module, file, args, env = {}) => {
    const script = join(o.peers, file)
    if (!existsSync(script)) return missing.push(`${name}: no ${file} in ${o.peers}; say --peers DIR`)
    const probe = spawnSync(python, ['-c', `import ${module}`], { encoding: 'utf8' })
    if (probe.status !== 0)
      return missing.push(`${name}: ${python} cannot import ${module}; set LANGEVIN_PEERS_PYTHON to one that can`)
    // torch.compile writes C++ and has it compiled.
    const compiler = process.env.CXX || 'g++'
    if (name === 'torch-compile' && spawnSync(compiler, ['--version']).status !== 0)
      return missing.push(`${name}: no C++ compiler '${compiler}'; install one or name it in CXX`)
    found.push({ name, command: python, args: [script, ...args, ...common], env: { OMP_NUM_THREADS: threads, ...env } })
  }
  for (const name of o.contenders) {
    if (isOurs(name)) {
      const script = join(root, 'dist/bundle/cli.js')
      if (!existsSync(script)) fail('dist/bundle/cli.js does not exist: run `npm run build` first')
      found.push({
        name,
        command: process.execPath,
        args: [
          script,
          'bench',
          '--json',
          '--threads',
          threads,
          '--device',
          o.device,
          ...(name === oursHalf ? ['--precision', 'bfloat16'] : []),
          ...common,
        ],
      })
    } else if (name === 'jax') {
      // XLA sizes its thread pool by the cores of its affinity mask; this flag holds it to one where one is asked for.
      const flags = o.threads === 1 ? '--xla_cpu_multi_thread_eigen=false' : ''
      peer(name, 'jax', 'jax_bench.py', [], { XLA_FLAGS: flags, JAX_PLATFORMS: o.device === 'cpu' ? 'cpu' : 'cuda' })
    } else {
      peer(name, 'torch', 'torch_bench.py', [
        '--variant',
        name.slice('torch-'.length),
        '--device',
        o.device,
        '--threads',
        threads,
      ])
    }
  }
  return { found, missing }
}

/** Most memory that a process has had resident so far, on Linux; 0 elsewhere and when it is gone. */
function peakBytes(pid) {
  try {
    return Number(/^VmHWM:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0) * 1024
  } catch {
    return 0
  }
}

/** Runs a contender on one workload: the JSON lines that it printed and the most memory that it had, or how it failed. */
function launch({ name, command, args, env }, workload) {
  return new Promise((done) => {
    const child = spawn(command, [...args, workload], {
      env: { ...process.env, ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    let out = ''
    let err = ''
    let peak = 0
    const watch = setInterval(() => {
      peak = Math.max(peak, peakBytes(child.pid))
    }, 20)
    child.stdout.on('data', (d) => {
      out += d
    })
    child.stderr.on('data', (d) => {
      err += d
    })
    child.on('error', (e) => {
      clearInterval(watch)
      done({ failed: e.message, lines: [] })
    })
    child.on('close', (code) => {
      clearInterval(watch)
      const lines = out.split('\n').filter((l) => l.startsWith('{'))
      const failed = `${name} on ${workload} ended with ${code}: ${err.trim().split('\n').at(-1)}`
      done({ lines: lines.map((l) => JSON.parse(l)), peak, ...(code === 0 ? {} : { failed }) })
    })
  })
}

/** The row of a contender for a workload; neither row nor failure where it has none. */
async function run(contender, workload) {
  const { lines, peak, failed } = await launch(contender, workload)
  if (failed) return { failed }
  const row = lines.find((r) => r.workload === workload && r.event === undefined)
  return row ? { row: { ...row, peak } } : {}
}

/**
 * Operations of the products and convolutions of a unit, convolutions counted as the direct algorithm has them, and how many a second the machine
 * does here and now in a large float32 product. In a process of its own: measuring that takes memory.
 */
async function measurePeak(o, workload) {
  const args = [
    join(root, 'dist/bundle/cli.js'),
    'bench',
    '--json',
    '--profile',
    '--device',
    o.device,
    '--threads',
    String(o.threads),
  ]
  const quick = ['--repeats', '1', '--seconds', '0.01', '--only']
  const { lines, failed } = await launch(
    { name: 'langevin --profile', command: process.execPath, args: [...args, ...quick], env: {} },
    workload,
  )
  if (failed) return { failed }
  const steps = lines.find((l) => l.event === 'profile').stages.flatMap((s) => s.steps)
  const heavy = steps.filter(({ op }) => op === 'matmul' || op.startsWith('conv2d'))
  return {
    operations: heavy.reduce((sum, k) => sum + k.operations, 0),
    ceiling: lines.find((l) => l.event === 'ceilings').operations,
  }
}

function median(values) {
  const s = [...values].sort((a, b) => a - b)
  return (s[Math.ceil(s.length / 2) - 1] + s[Math.floor(s.length / 2)]) / 2
}

/** A perceptron has no memory format, so there channels_last would be eager once more. */
function applies({ name }, { net }) {
  return name !== 'torch-channels_last' || net !== 'mlp'
}

/** All rounds of one workload: per contender its rows, merged. */
async function measure(o, contenders, workload) {
  const results = new Map()
  const peaks = []
  for (let i = 0; i < o.rounds; i++) {
    const say = (what) => process.stderr.write(`${workload}: ${what}, round ${i + 1} of ${o.rounds}\n`)
    if (contenders.some(({ name }) => isOurs(name))) {
      say('operations and peak')
      peaks[i] = await measurePeak(o, workload)
      if (peaks[i].failed) process.stderr.write(`warning: ${peaks[i].failed}\n`)
    }
    for (const c of contenders) {
      const have = results.get(c.name)
      if (have?.skip) continue
      say(c.name)
      const { row, failed } = await run(c, workload)
      if (failed) process.stderr.write(`warning: ${failed}\n`)
      if (row === undefined) results.set(c.name, { skip: true, rows: [], failed })
      else results.set(c.name, { rows: [...(have?.rows ?? []), row] })
    }
  }
  return Object.fromEntries(
    [...results].map(([name, { rows, failed }]) => {
      if (rows.length === 0) return [name, failed ? { failed } : null]
      return [name, { ...merged(rows), ...(isOurs(name) ? shareOfPeak(rows, peaks) : {}) }]
    }),
  )
}

/** One row of the rows of all rounds. */
function merged(rows) {
  return {
    contender: rows[0].contender,
    ms: median(rows.map((r) => r.ms)),
    min: Math.min(...rows.map((r) => r.min)),
    max: Math.max(...rows.map((r) => r.max)),
    n: rows.reduce((s, r) => s + r.n, 0),
    rounds: rows.map((r) => r.ms),
    peak: Math.max(...rows.map((r) => r.peak)),
  }
}

/** The share of the machine's peak, each round against its own: the operations over the whole time of a unit, loops and all. */
function shareOfPeak(rows, peaks) {
  const shares = rows.map(({ ms }, i) => peaks[i].operations / (ms * 1e-3) / peaks[i].ceiling).filter(Number.isFinite)
  return shares.length > 0 ? { ofPeak: median(shares), peaks } : {}
}

/** A Markdown table. */
function markdown(head, rows) {
  const line = (cells) => `| ${cells.join(' | ')} |`
  return [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n')
}

const times = (v) => (Number.isFinite(v) ? `${v.toFixed(2)}x` : '-')

/** The least of what these contenders took, or NaN. */
function fastest(by, names) {
  const all = names.map((n) => by[n]?.ms).filter((v) => v !== undefined)
  return all.length > 0 ? Math.min(...all) : Number.NaN
}

/** One line a workload: milliseconds of each, median (least to greatest), and how many times ours the fastest peer took. */
function timesTable(names, results) {
  const float32 = allNames.filter((n) => n !== ours && !n.endsWith('bf16'))
  const cell = (r) => {
    if (!r?.ms) return r?.failed ? 'failed' : '-'
    return `${r.ms.toPrecision(3)} (${r.min.toPrecision(3)} to ${r.max.toPrecision(3)})`
  }
  const mine = names.filter(isOurs)
  const share = (r) => (r?.ofPeak === undefined ? '-' : `${(r.ofPeak * 100).toFixed(0)}%`)
  const rows = Object.entries(results).map(([workload, by]) => [
    workload,
    ...names.map((n) => cell(by[n])),
    times(fastest(by, float32) / by[ours]?.ms),
    times(by['torch-bf16']?.ms / by[ours]?.ms),
    times(by['torch-bf16']?.ms / by[oursHalf]?.ms),
    ...mine.map((n) => share(by[n])),
  ])
  const ratios = ['float32 against the fastest float32 peer', 'float32 against torch bf16', 'bf16 against torch bf16']
  return markdown(['workload', ...names, ...ratios, ...mine.map((n) => `${n}, of peak`)], rows)
}

/** What the shares mean, and the peaks that they are shares of. */
function peakText(results) {
  const all = Object.values(results).flatMap((by) => (by[ours] ?? by[oursHalf])?.peaks ?? [])
  const rates = all.map((p) => p.ceiling / 1e9).filter(Number.isFinite)
  if (rates.length === 0) return ''
  const range = `${Math.min(...rates).toFixed(0)} to ${Math.max(...rates).toFixed(0)} GFLOP/s`
  return `of peak: operations of products and convolutions (as the direct algorithm counts them) over the whole time of a unit, against a large float32 product measured in the same round (${range}); of bf16 against the float32 product too\n\n`
}

/** One line a workload: the most MiB of the machine's memory, not the device's, that each had resident. */
function memoryTable(names, results) {
  const cell = (r) => (r?.peak ? (r.peak / 2 ** 20).toFixed(0) : '-')
  const rows = Object.entries(results).map(([workload, by]) => [workload, ...names.map((n) => cell(by[n]))])
  return markdown(['workload', ...names.map((n) => `${n}, MiB`)], rows)
}

async function main() {
  const o = parseOptions()
  const { found, missing } = findContenders(o)
  for (const m of missing) process.stderr.write(`left out ${m}\n`)
  if (found.length === 0) fail('no contender can run')
  const theirs = join(o.peers, 'workloads.json')
  if (found.some((c) => !isOurs(c.name)) && !isDeepStrictEqual(JSON.parse(readFileSync(theirs, 'utf8')), o.table))
    fail(`${theirs} differs from scripts/bench/workloads.json: the contenders would not do the same work`)
  const machine = {
    cpu: cpus()[0]?.model ?? 'unknown',
    device: o.device,
    threads: o.threads,
    node: process.version,
    load: loadavg()[0],
  }
  if (machine.load > 0.5 * availableParallelism())
    process.stderr.write(`warning: other work is running (load ${machine.load.toFixed(1)}); times will be too long\n`)
  const results = {}
  const names = found.map((c) => c.name)
  const save = () => writeFileSync(o.out, `${JSON.stringify({ machine, missing, results }, null, 2)}\n`)
  for (const workload of o.workloads) {
    results[workload] = await measure(
      o,
      found.filter((c) => applies(c, o.table[workload])),
      workload,
    )
    save()
  }
  process.stdout.write(
    `${machine.cpu}, device ${o.device}, ${o.threads} threads; milliseconds a step, median (least to greatest)\n\n`,
  )
  process.stdout.write(
    `${timesTable(names, results)}\n\n${peakText(results)}peak memory\n\n${memoryTable(names, results)}\n`,
  )
  const failed = Object.values(results).some((by) => Object.values(by).some((r) => r?.failed))
  process.exitCode = failed ? 1 : 0
}

await main()
