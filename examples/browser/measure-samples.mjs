/**
 * What docs/browser.md says of the samples from noise, measured on the shipped files with the page's own runtime (WebAssembly, one thread) in Node:
 * how many the classifier reads with p >= 0.9 and finds in distribution, how many digits occur, and how long 16 take.
 * node examples/browser/measure-samples.mjs [RUNS]      (16 samples a run; default 40)
 */
import { readFile } from 'node:fs/promises'
import * as ort from 'onnxruntime-web'

const runs = Number(process.argv[2] ?? 40)
if (!Number.isInteger(runs) || runs < 1)
  throw new RangeError(`RUNS: expected a whole number of at least 1; got ${process.argv[2]}`)
ort.env.wasm.numThreads = 1
const models = new URL('public/models/', import.meta.url)
const json = async (path) => JSON.parse(await readFile(new URL(path, models), 'utf8'))
const open = async (path) => ort.InferenceSession.create(await readFile(new URL(path, models)), { logSeverityLevel: 3 })

const index = await json('index.json')
const { noise } = index.digits
const { classes, outOfDistribution } = await json(`${index.digits.folder}/langevin.json`)
const [sampler, classifier] = [await open(noise.file), await open(`${index.digits.folder}/model.onnx`)]
const count = 16
let [read, inside, seconds] = [0, 0, Number.POSITIVE_INFINITY]
const seen = new Set()
for (let seed = 0; seed < runs; seed++) {
  const feeds = {
    y: new ort.Tensor('int32', new Int32Array(count).fill(-1), [count]),
    steps: new ort.Tensor('int64', [BigInt(noise.defaults.steps)], []),
    seed: new ort.Tensor('int64', [BigInt(seed)], []),
    step_size: new ort.Tensor('float32', [noise.defaults.step_size ?? 0], []),
  }
  const given = Object.fromEntries(sampler.inputNames.map((n) => [n, feeds[n]]))
  const started = performance.now()
  const { samples } = await sampler.run(given)
  if (seed > 0 || runs === 1) seconds = Math.min(seconds, (performance.now() - started) / 1000)
  const { logits, log_prob_unnormalized: logP } = await classifier.run({ x: samples })
  for (let i = 0; i < count; i++) {
    const row = [...logits.data.subarray(i * classes.length, (i + 1) * classes.length)]
    const top = Math.max(...row)
    if (1 / row.reduce((s, v) => s + Math.exp(v - top), 0) >= 0.9) read++
    if (logP.data[i] >= outOfDistribution.threshold) inside++
    seen.add(row.indexOf(top))
  }
}
const share = (n) => `${((100 * n) / (runs * count)).toFixed(0)}%`
console.log(
  `${runs * count} samples: ${share(read)} read with p >= 0.9, ${share(inside)} in distribution, ${seen.size} different digits; ${count} took ${seconds.toFixed(2)} s`,
)
