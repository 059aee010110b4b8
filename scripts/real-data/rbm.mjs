/**
 * The RBM section: binarised digits by persistent contrastive divergence; log likelihood of held-out images with log Z between two bounds by
 * annealing, for the machine of the configuration and for one small enough that log Z is known exactly, which tells what the bounds are worth.
 */
import { join } from 'node:path'
import { configOf, markdownTable, meanAndError, release, show, trainBy } from './common.mjs'

const { loadDataset } = await import('../../dist/data/index.js')
const { bracketLogZ } = await import('../../dist/evaluation/ais.js')
const { heldOutLogLikelihood } = await import('../../dist/evaluation/likelihood.js')
const { rbmAnnealing, rbmLogZ } = await import('../../dist/evaluation/rbm.js')
const { hostTensor, savePng } = await import('../../dist/index.js')

/** Hidden units of the machine whose log Z is summed exactly. */
const few = 16

/** Figures and markdown of the section. */
export async function rbmSection(context) {
  const { config, base } = await configOf('rbm-digits.json')
  const { train, test } = await loadDataset(config.data, { base })
  const parts = { train: binary(train.normalized()), test: binary(test.normalized()) }
  const rows = [{ name: 'pixels apart', ...independent(parts) }]
  for (const hidden of [few, config.network.hidden]) {
    const name = `rbm-${hidden}`
    const run = await trainBy({ ...config, network: { ...config.network, hidden } }, train, { ...context, name })
    rows.push({ name: `RBM, ${hidden} hidden units`, ...(await figuresOf(run, hidden, parts, context)) })
    context.log(`${name}: ${show(rows.at(-1).mean, 2, rows.at(-1).error)} nats`)
    await release(run)
  }
  return {
    figures: { train: train.count, test: test.count, rows },
    markdown: markdownOf(test.count, train.count, rows),
  }
}

/** As the trainer's 'threshold' makes them: -1 and 1. */
function binary({ data, shape }) {
  return hostTensor(
    Float32Array.from(data, (v) => (v > 0 ? 1 : -1)),
    shape,
  )
}

/** Each pixel on with its own frequency (half an image more on, half one off): what a machine without weights reaches. */
function independent({ train, test }) {
  const d = train.data.length / train.shape[0]
  const on = new Float64Array(d).fill(0.5)
  train.data.forEach((v, i) => {
    on[i % d] += v > 0 ? 1 : 0
  })
  const p = on.map((k) => k / (train.shape[0] + 1))
  const of = ({ data, shape }) => {
    const sums = new Array(shape[0]).fill(0)
    data.forEach((v, i) => {
      sums[Math.floor(i / d)] += Math.log(v > 0 ? p[i % d] : 1 - p[i % d])
    })
    return meanAndError(sums)
  }
  const { mean, error } = of(test)
  return { mean, error, trainMean: of(train).mean }
}

async function figuresOf({ trainer, seconds, steps, recoveries }, hidden, { train, test }, { quick, seed, out }) {
  const { model } = trainer
  const chains = quick ? 20 : 500
  const samples = await trainer.sample({ count: chains, steps: quick ? 10 : 5000, seed: seed + 1 })
  if (hidden !== few)
    await savePng(
      join(out, 'rbm-samples.png'),
      hostTensor(samples.data.slice(0, Math.min(100, chains) * 64), [Math.min(100, chains), 1, 8, 8]),
    )
  const annealing = rbmAnnealing(model, { data: train })
  const z = await bracketLogZ(model, { ...annealing, chains, samples, steps: quick ? 20 : 10_000, seed })
  const exact = hidden <= few ? await rbmLogZ(model) : undefined
  const normaliser = exact === undefined ? { logZ: z.estimate, logZStandardError: z.standardError } : { logZ: exact }
  const held = await heldOutLogLikelihood(model, test, normaliser)
  const own = await heldOutLogLikelihood(model, train, normaliser)
  return {
    steps,
    seconds,
    recoveries,
    mean: held.mean,
    error: held.totalStandardError,
    trainMean: own.mean,
    ...(exact === undefined ? {} : { exact }),
    logZ: z.estimate,
    logZStandardError: z.standardError,
    lower: z.lower,
    upper: z.upper,
    forwardEffective: z.forward.effectiveSampleSize,
    reverseEffective: z.reverse.effectiveSampleSize,
  }
}

function markdownOf(testCount, trainCount, rows) {
  const head = [
    'model',
    'held out',
    'training images',
    'log Z by annealing',
    'below, above',
    'log Z exactly',
    'seconds',
  ]
  const body = rows.map((r) => [
    r.name,
    show(r.mean, 2, r.error),
    show(r.trainMean, 2),
    show(r.logZ, 3, r.logZStandardError),
    r.lower === undefined ? '-' : `${show(r.lower, 3)}, ${show(r.upper, 3)}`,
    show(r.exact, 3),
    show(r.seconds, 0),
  ])
  return [
    '## Binarised digits: RBM by persistent contrastive divergence',
    `Mean log p in nats an image of 64 binary pixels (on above half), ${testCount} held out, ${trainCount} to train on. Where log Z is known exactly it is used; else the estimate of both directions of annealing (500 chains, 10 000 temperatures).`,
    markdownTable(head, body),
  ].join('\n\n')
}
