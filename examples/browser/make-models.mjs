/**
 * Trains what the page shows and exports it into public/models: a JEM++ classifier of the digits that ship with the package (configs/jempp-digits.json
 * with a network of half the width, for small files), an energy of them at many noise levels, whose sampler draws digits from noise, and
 * energies of two toys of the plane by noise-contrastive estimation, which are right everywhere in a box. About a minute. Inside the repository, after
 * `npm run build`: node examples/browser/make-models.mjs
 */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import {
  data,
  evaluate,
  exportBundle,
  exportSampler,
  JemPlusPlus,
  mlp,
  NoiseContrastive,
  openRun,
  ScoreMatching,
  setThreads,
  wideResNet,
} from '../../dist/index.js'

const models = fileURLToPath(new URL('public/models/', import.meta.url))
const configs = new URL('../../configs/', import.meta.url)
/** Held-out digits of each class that come with the page. */
const EXAMPLES = 3
/** Seeds tried until one does not diverge. */
const SEEDS = 6
/** Where chains of p(x|y) begin. */
const GAUSSIANS = { kind: 'classGaussians' }

/** A sampler beside the bundle, and not in its folder, as the next bundle takes the folder's place. */
async function exportChain(run, name, options) {
  const file = `${name}.onnx`
  const { inputs, defaults } = await exportSampler(run.model, join(models, file), options)
  return { file, inputs, defaults }
}

async function readConfig(name) {
  return JSON.parse(await readFile(new URL(name, configs), 'utf8'))
}

/**
 * The classifier. A fifth of its chains begin at uniform noise: those from the classes' Gaussians alone never see it, and some seeds then give noise a
 * high density. So small a network sometimes diverges in its first epochs, by seed and by the rounding of a machine; then the next seed is taken.
 */
async function classifier(runs, config, train) {
  const parts = [
    { share: 0.8, start: GAUSSIANS },
    { share: 0.2, start: { kind: 'uniform' } },
  ]
  const buffer = { ...config.trainer.buffer, reinit: 0.1, start: { kind: 'mixture', parts } }
  const { depth } = config.network
  for (let seed = 0; seed < SEEDS; seed++) {
    const model = wideResNet({ depth, width: 1, channels: 1, size: 8, classes: 10, seed })
    const trainer = new JemPlusPlus(model, { ...config.trainer, buffer, seed })
    const out = join(runs, `digits-${seed}`)
    try {
      for await (const row of trainer.fit(train, { epochs: config.epochs, out }))
        if (row.step % 100 === 0) console.log(`digits, seed ${seed}: step ${row.step}, accuracy ${row.accuracy}`)
      return { run: await openRun(out), out }
    } catch (error) {
      if (error.code !== 'E_DIVERGED') throw error
      console.log(`digits, seed ${seed}: ${error.message}`)
    }
  }
  throw new Error(`training diverged with each of ${SEEDS} seeds`)
}

async function digits(runs) {
  const config = await readConfig('jempp-digits.json')
  const { train, test } = (await data.digits()).split({ test: config.data.test })
  const { run, out } = await classifier(runs, config, train)
  // Its figures go into langevin.json.
  const evaluation = await evaluate(run, test, { ood: config.evaluation.ood, samples: 0 })
  await writeFile(join(out, 'evaluation.json'), JSON.stringify(evaluation))
  const { manifest } = await exportBundle(run, join(models, 'digits'), { heldOut: test, name: 'JEM++ on digits' })
  console.log('digits: flagged', manifest.outOfDistribution.detection, manifest.metrics)
  // p(x|y), each chain by itself: so a chain does not depend on how many others the page shows.
  // Smaller steps than training's, to be watched.
  const sampler = { ...config.trainer.sampler, stepSize: 0.05, noise: 0.02 }
  const chain = await exportChain(run, 'digits-chain', { sampler, class: 'input', norm: 'running', steps: 60 })
  // As training's, without the part at noise.
  const start = { ...run.chain().start, options: GAUSSIANS }
  const gaussians = await exportChain(run, 'digits-gaussians', { sampler, start, class: 'input', norm: 'running' })
  await writeFile(join(models, 'digits-examples.json'), JSON.stringify(examplesOf(test)))
  const noise = await fromNoise(runs, train)
  return { folder: 'digits', chain, gaussians, noise, examples: 'digits-examples.json' }
}

/**
 * Digits from noise: the energy at many noise levels (configs/score-matching-digits.json, less than half the width, twice the steps, as the small network needs
 * them), and predictor-corrector down 100 levels with every step as an output.
 */
async function fromNoise(runs, train) {
  const { network, trainer: options } = await readConfig('score-matching-digits.json')
  const { kind: _, ...rest } = network
  const model = mlp({ ...rest, hidden: [240, 240, 240], shape: [1, 8, 8] })
  const trainer = new ScoreMatching(model, options)
  const out = join(runs, 'noise')
  for await (const row of trainer.fit(train, { steps: 6000, reportEvery: 1000, out }))
    console.log(`digits from noise: step ${row.step}, loss ${row.loss.toFixed(2)}`)
  const run = await openRun(out)
  const sigmas = { ...options.sampling.sampler.sigmas, levels: 100 }
  return exportChain(run, 'digits-noise', {
    sampler: { ...options.sampling.sampler, sigmas },
    start: { options: { kind: 'normal', mean: 0, std: sigmas.largest } },
    trajectory: true,
  })
}

/** The first few held-out images of each class. */
function examplesOf({ features, labels, classNames }) {
  const each = 64
  const seen = new Map()
  const images = []
  for (const [row, label] of labels.entries()) {
    const count = seen.get(label) ?? 0
    if (count === EXAMPLES) continue
    seen.set(label, count + 1)
    images.push({ label: classNames[label], ink: [...features.data.subarray(row * each, (row + 1) * each)] })
  }
  return { source: 'UCI optical recognition of handwritten digits, CC BY 4.0, doi 10.24432/C50P49', images }
}

/** Toys, and the square of the plane that the page shows. */
const toys = [
  {
    toy: 'twoMoons',
    folder: 'two-moons',
    title: 'two moons',
    options: { noise: 0.15 },
    window: { x: -2, y: -2.25, side: 5 },
  },
  { toy: 'pinwheel', folder: 'pinwheel', title: 'pinwheel', options: {}, window: { x: -4, y: -4, side: 8 } },
]

async function landscape(runs, { toy, folder, title, options, window }) {
  const { x, y, side } = window
  const points = data.toy(toy, { ...options, count: 50_000, seed: 0, labels: false })
  // A little more than is shown, so that chains near the edge find their way back.
  const reach = Math.max(...[x, y, x + side, y + side].map(Math.abs)) + 0.5
  const sampler = { kind: 'sgld', steps: 20, stepSize: 0.01, noise: 'langevin', bounds: [-reach, reach] }
  const model = mlp({ inputs: 2, hidden: [64, 64] })
  const trainer = new NoiseContrastive(model, {
    batch: 256,
    noise: { kind: 'uniform', low: -reach, high: reach },
    ratio: 4,
    optimizer: { kind: 'adam', learningRate: 0.005 },
    schedule: { kind: 'cosine' },
    ema: 0.999,
    sampling: { sampler, start: { kind: 'uniform', low: Math.max(x, y), high: Math.min(x, y) + side } },
  })
  const out = join(runs, folder)
  for await (const row of trainer.fit(points, { steps: 8000, reportEvery: 2000, out }))
    console.log(`${title}: step ${row.step}, loss ${row.loss.toFixed(3)}`)
  const run = await openRun(out)
  // Noise of a size of its own is an input of the file: the page sets it by step size and temperature.
  const chain = { ...sampler, noise: Math.sqrt(2 * sampler.stepSize) }
  await exportBundle(run, join(models, folder), { name: `noise-contrastive estimation of ${title}` })
  return { folder, title, window, chain: await exportChain(run, `${folder}-chain`, { sampler: chain }) }
}

// The networks are too small for more.
setThreads(1)
const runs = await mkdtemp(join(tmpdir(), 'langevin-browser-'))
try {
  const index = { digits: await digits(runs), landscapes: [] }
  for (const toy of toys) index.landscapes.push(await landscape(runs, toy))
  await writeFile(join(models, 'index.json'), `${JSON.stringify(index, null, 2)}\n`)
} finally {
  await rm(runs, { recursive: true, force: true })
}
