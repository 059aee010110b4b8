/**
 * The digits section: multi-scale denoising of the shipped digits, and whether its samples are digits, by two classifiers that were trained on the
 * labelled images and never saw a sample: how sure they are, whether they agree, and which classes come. The same figures of held-out images stand beside.
 */
import { join } from 'node:path'
import { configOf, markdownTable, meanOf, release, show, trainBy } from './common.mjs'

const { HostRandom, loadDataset } = await import('../../dist/data/index.js')
const { logMaxProbability, predictions } = await import('../../dist/evaluation/classification.js')
const { frechetBetween } = await import('../../dist/evaluation/frechet.js')
const { hostTensor, savePng } = await import('../../dist/index.js')

/** Two classifiers of different make, so that what both are sure of is no accident of one. */
const judges = [
  { kind: 'convEnergy', channels: [32, 64, 128] },
  { kind: 'mlp', hidden: [256, 256] },
].map((network) => ({
  method: 'jem',
  network,
  steps: 1500,
  trainer: {
    batch: 64,
    weights: { px: 0, pyx: 1 },
    optimizer: { kind: 'adam', learningRate: 0.002 },
    schedule: { kind: 'cosine' },
    augmentation: { labelled: { pad: 1, noise: 0.1 } },
  },
}))
/** A sample counts as a digit if both judges name the same one and each gives it at least this. */
const sure = 0.9

/** Figures and markdown of the section. */
export async function digitsSection(context) {
  const { config, base } = await configOf('score-matching-digits.json')
  const { train, test } = await loadDataset(config.data, { base })
  const classifiers = []
  for (const judge of judges) {
    const name = `digits-judge-${judge.network.kind}`
    classifiers.push((await trainBy(judge, train, { ...context, name })).trainer.model)
  }
  const run = await trainBy(config, train, { ...context, name: 'digits' })
  const started = performance.now()
  const samples = await run.trainer.sample({ count: context.quick ? 40 : 500, seed: context.seed + 1 })
  const sampling = (performance.now() - started) / 1000
  await release(run)
  await savePng(join(context.out, 'digits-samples.png'), firstRows(samples, 100))
  await savePng(join(context.out, 'digits-test.png'), firstRows(test.normalized(), 100))
  const sets = [
    { name: 'test images', images: test.normalized(), labels: test.labels },
    { name: 'samples', images: samples },
    { name: 'test images and noise of deviation 0.5', images: noisy(test.normalized(), 0.5), labels: test.labels },
    { name: 'pixels drawn apart, as in random training images', images: mixedPixels(train.normalized(), 500) },
  ]
  const known = { classifiers, train: train.normalized(), test: test.normalized(), classes: train.classes }
  const rows = []
  for (const set of sets) rows.push({ name: set.name, ...(await figuresOf(set, known)) })
  rows[0].frechet = frechetBetween(firstRows(shuffled(train.normalized()), test.count), test.normalized())
  for (const model of classifiers) await model.dispose()
  const { steps, seconds, recoveries } = run
  const nearestTraining = nearestDistance(firstRows(known.train, 400), known.train, true)
  const figures = {
    nearestTraining,
    train: train.count,
    test: test.count,
    steps,
    seconds,
    recoveries,
    sampling,
    sure,
    rows,
  }
  return { figures, markdown: markdownOf(figures) }
}

/** What the judges say of images, how far they are from the test images, and from the nearest training image. */
async function figuresOf({ images, labels }, { classifiers, train, test, classes }) {
  const logits = await Promise.all(classifiers.map((c) => c.logits(images)))
  const [named, other] = logits.map((l) => Array.from(predictions(l)))
  const confidence = logits.map((l) => Array.from(logMaxProbability(l), Math.exp))
  const agree = named.map((c, i) => c === other[i])
  const both = agree.map((same, i) => same && Math.min(...confidence.map((c) => c[i])) >= sure)
  const counts = new Array(classes).fill(0)
  for (const c of named) counts[c]++
  const share = (flags) => flags.filter(Boolean).length / flags.length
  const entropy = -counts.reduce((s, k) => (k === 0 ? s : s + (k / named.length) * Math.log(k / named.length)), 0)
  return {
    count: named.length,
    ...(labels === undefined ? {} : { accuracy: share(named.map((c, i) => c === labels[i])) }),
    confidence: meanOf(confidence.flat()),
    agreement: share(agree),
    recognised: share(both),
    counts,
    effectiveClasses: Math.exp(entropy),
    frechet: images === test ? 0 : frechetBetween(images, test),
    nearest: nearestDistance(images, train),
  }
}

/** Mean over images of the distance to the nearest of `others` (but for itself), root mean square a pixel: near 0 would be copies. */
function nearestDistance(images, others, themselves = false) {
  const d = images.data.length / images.shape[0]
  const n = others.shape[0]
  const least = Array.from({ length: images.shape[0] }, (_, i) => {
    let best = Number.POSITIVE_INFINITY
    for (let j = 0; j < n; j++) {
      if (themselves && j === i) continue
      let sum = 0
      for (let k = 0; k < d && sum < best; k++) sum += (images.data[i * d + k] - others.data[j * d + k]) ** 2
      best = Math.min(best, sum)
    }
    return Math.sqrt(best / d)
  })
  return meanOf(least)
}

function firstRows({ data, shape }, count) {
  const n = Math.min(count, shape[0])
  return hostTensor(data.slice(0, (n * data.length) / shape[0]), [n, ...shape.slice(1)])
}

function noisy({ data, shape }, deviation) {
  const random = new HostRandom(7)
  return hostTensor(
    Float32Array.from(data, (v) => v + deviation * random.normal()),
    shape,
  )
}

/** Rows in a random order. */
function shuffled({ data, shape }) {
  const d = data.length / shape[0]
  const order = new HostRandom(8).permutation(shape[0])
  return hostTensor(
    Float32Array.from(data, (_, i) => data[order[Math.floor(i / d)] * d + (i % d)]),
    shape,
  )
}

/** Every pixel from an image of its own: each pixel is distributed as in the data, and no image is a digit. */
function mixedPixels({ data, shape }, count) {
  const random = new HostRandom(9)
  const d = data.length / shape[0]
  const out = Float32Array.from(
    { length: count * d },
    (_, i) => data[Math.floor(random.uniform() * shape[0]) * d + (i % d)],
  )
  return hostTensor(out, [count, ...shape.slice(1)])
}

function markdownOf({ rows, nearestTraining, steps, seconds, sampling, sure }) {
  const head = [
    'images',
    'recognised',
    'judges agree',
    'mean confidence',
    'right',
    'effective classes',
    'Frechet',
    'nearest',
    'of each class',
  ]
  const percent = (v) => (v === undefined ? '-' : `${(100 * v).toFixed(1)}%`)
  const body = rows.map((r) => [
    r.name,
    percent(r.recognised),
    percent(r.agreement),
    show(r.confidence, 3),
    percent(r.accuracy),
    show(r.effectiveClasses, 1),
    show(r.frechet, 2),
    show(r.nearest, 3),
    r.counts.join(' '),
  ])
  return [
    '## Digits: samples of multi-scale denoising',
    `Recognised: two classifiers name the same digit, each with a probability of at least ${sure}. Frechet: distance to the test images in pixels (of the test images: of as many training images). Nearest: root mean square distance to the nearest training image (from one training image to the next: ${show(nearestTraining, 3)}). ${steps} steps in ${show(seconds, 0)} s, ${rows[1].count} samples in ${show(sampling, 0)} s; pictures: digits-samples.png, digits-test.png.`,
    markdownTable(head, body),
  ].join('\n\n')
}
