#!/usr/bin/env node
/**
 * How far convolutions are from exact ones, with Winograd's algorithm as the package chooses it and with LANGEVIN_WINOGRAD=0: 3x3 layers,
 * forward and both gradients, in float32 and bfloat16. A Markdown table; each cell is the rms of the error and its greatest magnitude, both in
 * units of the rms of the exact result, which is computed in float64 from the float32 operands (so the rounding of operands to bfloat16 counts).
 *
 * Operands are standard normal, weights scaled by 1/sqrt(9 C). The exact result is computed at sampled elements; all sampled elements of a layer
 * are the same in every column. Where turning Winograd off changes no bit of the whole result it was not used, and the cell says '='.
 */
import { spawnSync } from 'node:child_process'
import { existsSync, writeFileSync } from 'node:fs'
import { cpus } from 'node:os'
import { resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { fail, readOptions } from './options.mjs'

/** Images, channels in and out, side: from the first stage of WRN-16-1 to the last of WRN-28-10. */
const layers = [
  { n: 16, c: 16, o: 16, side: 32 },
  { n: 16, c: 32, o: 32, side: 32 },
  { n: 16, c: 64, o: 64, side: 16 },
  { n: 32, c: 64, o: 64, side: 8 },
  { n: 32, c: 128, o: 128, side: 8 },
  { n: 4, c: 160, o: 160, side: 32 },
  { n: 4, c: 320, o: 320, side: 16 },
  { n: 8, c: 640, o: 640, side: 8 },
]
const directions = ['forward', 'input gradient', 'weight gradient']
const precisions = ['float32', 'bfloat16']
const nameOf = ({ n, c, o, side }) => `${n} x ${c}x${o}, ${side}x${side}`

const help = `usage: node scripts/winograd-error.mjs [options]      (after npm run build)

  --only TEXT      layers with this in their names, such as 64x64 (default: all)
  --samples N      elements of each result that are compared (default 4000)
  --seed N         of operands and of the elements (default 1)
  --threads N      threads of the kernels (default 1)
  --out FILE       JSON of all numbers (default: none)
  --help           this text`

function parseOptions() {
  const { values, number } = readOptions(['only', 'samples', 'seed', 'threads', 'out', 'worker'], help)
  const { only = '', worker, out = '' } = values
  const chosen = layers.filter((l) => nameOf(l).includes(only))
  if (chosen.length === 0) fail(`--only: no layer has '${only}' in its name: ${layers.map(nameOf).join('; ')}`)
  const [samples, seed, threads] = [number('samples', 4000, true), number('seed', 1, true), number('threads', 1, true)]
  return { worker, out, layers: chosen, samples, seed, threads }
}

// ---- exact results, at one element; 3x3, padding 1

/** Of output [image, channel, row, column]: sum over c, i, j of x[n, c, h + i - 1, w + j - 1] weight[o, c, i, j]. */
function exactForward({ c, side }, x, w, [n, o, h, v]) {
  let sum = 0
  for (let k = 0; k < c; k++)
    for (let i = Math.max(0, 1 - h); i < Math.min(3, side + 1 - h); i++)
      for (let j = Math.max(0, 1 - v); j < Math.min(3, side + 1 - v); j++)
        sum += x[((n * c + k) * side + h + i - 1) * side + v + j - 1] * w[((o * c + k) * 3 + i) * 3 + j]
  return sum
}

/** Of dx [image, channel, row, column]: the adjoint of the above. */
function exactInputGrad({ c, o, side }, dy, w, [n, k, h, v]) {
  let sum = 0
  for (let q = 0; q < o; q++)
    for (let i = Math.max(0, h + 2 - side); i < Math.min(3, h + 2); i++)
      for (let j = Math.max(0, v + 2 - side); j < Math.min(3, v + 2); j++)
        sum += dy[((n * o + q) * side + h + 1 - i) * side + v + 1 - j] * w[((q * c + k) * 3 + i) * 3 + j]
  return sum
}

/** Of dw [out, in, row, column]. */
function exactWeightGrad({ n, c, o, side }, x, dy, [q, k, i, j]) {
  let sum = 0
  for (let m = 0; m < n; m++)
    for (let h = Math.max(0, 1 - i); h < Math.min(side, side + 1 - i); h++)
      for (let v = Math.max(0, 1 - j); v < Math.min(side, side + 1 - j); v++)
        sum += x[((m * c + k) * side + h + i - 1) * side + v + j - 1] * dy[((m * o + q) * side + h) * side + v]
  return sum
}

// ---- in a process of its own, since LANGEVIN_WINOGRAD is read there

/** Errors of every layer, direction and precision; one JSON line each. */
async function work(options) {
  const { createHash } = await import('node:crypto')
  const { compileGraph, hostTensor, ops, setThreads } = await import('../dist/index.js')
  const { addonInfo } = await import('../dist/runtime/addon.js')
  const { DeviceTensor } = await import('../dist/runtime/device.js')
  const { HostRandom } = await import('../dist/runtime/host-random.js')
  setThreads(options.threads)

  /** The whole result of one convolution by the package. */
  async function compute(build, shapes, data, precision) {
    const inputs = shapes.map((s, i) => ops.input(`x${i}`, s, 'float32'))
    const output = build(...inputs)
    const plan = await compileGraph('cpu', inputs, [{ tensor: output }], { precision })
    const bound = inputs.map((t) => DeviceTensor.empty('cpu', t.dtype, t.shape))
    const result = DeviceTensor.empty('cpu', output.dtype, output.shape)
    try {
      for (const [i, t] of bound.entries()) await t.write(hostTensor(data[i], shapes[i]))
      await plan.run(bound, [result])
      return { shape: output.shape, data: (await result.read()).data }
    } finally {
      plan.dispose()
      for (const t of [...bound, result]) t.dispose()
    }
  }

  const normal = (random, size, scale) => Float32Array.from({ length: size }, () => random.normal() * scale)

  /** By direction: operands and the exact result at an element. */
  function cases(layer) {
    const { n, c, o, side } = layer
    const random = new HostRandom(options.seed)
    const [xs, ys, ws] = [
      [n, c, side, side],
      [n, o, side, side],
      [o, c, 3, 3],
    ]
    const x = normal(random, n * c * side * side, 1)
    const dy = normal(random, n * o * side * side, 1)
    const w = normal(random, o * c * 9, 1 / Math.sqrt(9 * c))
    const attr = { padding: 1 }
    return [
      [(a, b) => ops.conv2d(a, b, attr), [xs, ws], [x, w], (at) => exactForward(layer, x, w, at)],
      [
        (a, b) => ops.conv2dInputGrad(a, b, { ...attr, inputSize: [side, side] }),
        [ys, ws],
        [dy, w],
        (at) => exactInputGrad(layer, dy, w, at),
      ],
      [
        (a, b) => ops.conv2dWeightGrad(a, b, { ...attr, kernelSize: [3, 3] }),
        [xs, ys],
        [x, dy],
        (at) => exactWeightGrad(layer, x, dy, at),
      ],
    ]
  }

  for (const layer of options.layers) {
    for (const [i, [build, shapes, data, exact]] of cases(layer).entries()) {
      let sampled
      for (const precision of precisions.filter((p) => p === 'float32' || addonInfo().bfloat16)) {
        const got = await compute(build, shapes, data, precision)
        sampled ??= sample(got.shape, exact)
        const key = `${nameOf(layer)}/${directions[i]}/${precision}`
        const hash = createHash('sha256').update(got.data).digest('hex')
        process.stdout.write(`${JSON.stringify({ key, hash, ...errors(got.data, sampled) })}\n`)
      }
    }
  }

  /** Elements at random, with their exact values. */
  function sample(shape, exact) {
    const random = new HostRandom(options.seed + 1)
    return Array.from({ length: options.samples }, () => {
      const at = shape.map((d) => random.int(d))
      return { offset: at.reduce((s, k, axis) => s * shape[axis] + k, 0), exact: exact(at) }
    })
  }
}

/** Rms and greatest magnitude of the error, over the rms of the exact values. */
function errors(data, sampled) {
  const rms = (v) => Math.sqrt(v.reduce((s, e) => s + e * e, 0) / v.length)
  const off = sampled.map(({ offset, exact }) => data[offset] - exact)
  const unit = rms(sampled.map((s) => s.exact))
  return { rms: rms(off) / unit, greatest: off.reduce((m, e) => Math.max(m, Math.abs(e)), 0) / unit }
}

/** All errors with Winograd as set. */
function measure(setting) {
  const { LANGEVIN_WINOGRAD: _, ...rest } = process.env
  const env = setting === undefined ? rest : { ...rest, LANGEVIN_WINOGRAD: setting }
  const args = [fileURLToPath(import.meta.url), ...process.argv.slice(2), '--worker', 'on']
  const child = spawnSync(process.execPath, args, { encoding: 'utf8', env, maxBuffer: 2 ** 26 })
  if (child.status !== 0) fail(`the process that measures ended with ${child.status ?? child.signal}: ${child.stderr}`)
  return new Map(
    child.stdout
      .trim()
      .split('\n')
      .map((l) => JSON.parse(l))
      .map((r) => [r.key, r]),
  )
}

/** A Markdown table. */
function markdown(head, rows) {
  const line = (cells) => `| ${cells.join(' | ')} |`
  return [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n')
}

async function main() {
  const o = parseOptions()
  if (!existsSync(fileURLToPath(new URL('../dist/index.js', import.meta.url)))) fail('run `npm run build` first')
  if (o.worker) return work(o)
  const [chosen, off] = [measure(undefined), measure('0')]
  const cell = (r) => (r === undefined ? '-' : `${r.rms.toExponential(1)}, ${r.greatest.toExponential(1)}`)
  const found = (key) => {
    const [a, b] = [chosen.get(key), off.get(key)]
    return [a !== undefined && a.hash === b?.hash ? '=' : cell(a), cell(b)]
  }
  const rows = o.layers.flatMap((layer) =>
    directions.map((direction) => [
      nameOf(layer),
      direction,
      ...precisions.flatMap((p) => found(`${nameOf(layer)}/${direction}/${p}`)),
    ]),
  )
  const head = ['images x channels, size', 'result', ...precisions.flatMap((p) => [`${p}, Winograd`, `${p}, direct`])]
  process.stdout.write(
    `${cpus()[0]?.model ?? 'unknown'}, ${o.threads} threads, ${o.samples} elements each: rms, greatest\n\n`,
  )
  process.stdout.write(`${markdown(head, rows)}\n`)
  if (o.out !== '')
    writeFileSync(
      resolve(o.out),
      `${JSON.stringify({ chosen: [...chosen.values()], off: [...off.values()] }, null, 2)}\n`,
    )
}

await main()
