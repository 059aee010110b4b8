/**
 * Adversarial training: who is trained by which phase, q against energies that are known exactly, the bound, densities that are learned,
 * classifiers, resuming, and sampling from q and from chains that begin at it.
 */
import { describe, expect, test } from 'vitest'
import { parseConfig } from '../../lib/cli/config.ts'
import { toy, toyDensity } from '../../lib/data/toys.ts'
import type { MetricsRow } from '../../lib/evaluation/metrics-row.ts'
import { quadratureKl, quadratureLogZ } from '../../lib/evaluation/quadrature.ts'
import type { Tensor } from '../../lib/graph/tensor.ts'
import { customFlow } from '../../lib/nn/flow.ts'
import { actNorm } from '../../lib/nn/flow-bijectors.ts'
import type { Model } from '../../lib/nn/model.ts'
import { defineEnergy, mlp } from '../../lib/nn/models.ts'
import { Adversarial, type AdversarialOptions, generatorOfRun } from '../../lib/trainers/adversarial.ts'
import { flowOfRun } from '../../lib/trainers/flow-module.ts'
import { openRun } from '../../lib/trainers/run.ts'
import {
  blobs,
  checkpointOf,
  convNet,
  fitAll,
  folder,
  metricsOf,
  plane,
  rejection,
  resNet,
  someDigits,
} from './tiny.ts'

const flow = { kind: 'affineCoupling', layers: 2, hidden: [8] }
const withFlow: AdversarialOptions = { batch: 16, q: { kind: 'flow', flow }, gradientPenalty: 0.01 }
const withGenerator: AdversarialOptions = {
  batch: 16,
  q: { kind: 'generator', latent: 2, hidden: [8], samples: 4 },
  gradientPenalty: 0.01,
}
const frozen = { kind: 'sgd', learningRate: 0, momentum: 0 } as const
const constant = { kind: 'constant', value: 0 } as const

/** A known energy, with a constant to train that no loss depends on. */
const fixed = (energy: (x: Tensor) => Tensor) =>
  defineEnergy({ shape: [2] }, (x, scope) => energy(x).add(scope.parameter('c', [], constant)))
/** Standard normal up to its constant: log Z = log 2π. */
const normal = () => fixed((x) => x.square().sum(-1).mul(0.5))
const LOG_TAU = Math.log(2 * Math.PI)

const last = async (model: Model, options: AdversarialOptions, steps: number, reportEvery = steps / 2) => {
  const trainer = new Adversarial(model, options)
  const { rows } = await fitAll(trainer, toy('correlatedGaussian', { count: 500, seed: 1 }), { steps, reportEvery })
  return { trainer, row: rows.at(-1) as MetricsRow }
}
const number = (row: MetricsRow, name: string) => {
  expect(row[name], name).toBeTypeOf('number')
  return row[name] as number
}

describe('two players', () => {
  const moved = async (options: AdversarialOptions, q: string) => {
    const [before, after] = [folder(), folder()]
    await fitAll(new Adversarial(plane(0), options), blobs(), { steps: 1, out: before })
    await fitAll(new Adversarial(plane(0), options), blobs(), { steps: 4, out: after })
    const [a, b] = [await checkpointOf(before), await checkpointOf(after)]
    const changed = a.names.filter((n) => a.bits[n] !== b.bits[n])
    const of = (prefix: string) => a.names.filter((n) => n.startsWith(prefix) && !n.endsWith('noise'))
    const all = (names: string[]) => names.length > 0 && names.every((n) => changed.includes(n))
    const none = (names: string[]) => names.length > 0 && !names.some((n) => changed.includes(n))
    return { energy: a.names.filter((n) => /^\d/.test(n)), q: of(`${q}/`), posterior: of('posterior/'), all, none }
  }

  test('each phase moves its own: with the energy held, q learns; with q held, the energy', async () => {
    for (const [options, name] of [
      [withFlow, 'flow'],
      [withGenerator, 'generator'],
    ] as const) {
      const heldEnergy = await moved({ ...options, optimizer: frozen }, name)
      expect(heldEnergy.none(heldEnergy.energy)).toBe(true)
      expect(heldEnergy.all(heldEnergy.q)).toBe(true)
      const q = { ...(options.q as object), optimizer: frozen, posteriorOptimizer: frozen }
      if (name === 'flow') Reflect.deleteProperty(q, 'posteriorOptimizer')
      const heldQ = await moved({ ...options, q: q as AdversarialOptions['q'] & object }, name)
      // Constants added to an energy leave the gap as it is: the last bias has no gradient.
      expect(heldQ.all(heldQ.energy.filter((n) => n !== '2.bias'))).toBe(true)
      expect(heldQ.none(heldQ.q)).toBe(true)
    }
  })

  test('η has an optimizer of its own', async () => {
    const q = { kind: 'generator', latent: 2, hidden: [8], samples: 4, optimizer: frozen } as const
    const only = await moved({ ...withGenerator, q }, 'generator')
    expect(only.none(only.q)).toBe(true)
    expect(only.posterior).toEqual(['posterior/log_eta'])
    expect(only.all(only.posterior)).toBe(true)
  })

  test('qSteps counts updates of q', async () => {
    const rows = async (qSteps: number) => {
      const out = folder()
      await fitAll(new Adversarial(plane(0), { ...withFlow, qSteps }), blobs(), { steps: 3, out })
      return checkpointOf(out)
    }
    const [one, three] = [await rows(1), await rows(3)]
    expect(one.names).toEqual(three.names)
    expect(one.bits['optimizer/updates']).toEqual(three.bits['optimizer/updates'])
    expect(one.bits['optimizer/updates/flow']).not.toEqual(three.bits['optimizer/updates/flow'])
    // Three updates of one energy's step are the nine of three.
    const nine = folder()
    await fitAll(new Adversarial(plane(0), withFlow), blobs(), { steps: 9, out: nine })
    expect((await checkpointOf(nine)).bits['optimizer/updates/flow']).toEqual(three.bits['optimizer/updates/flow'])
  })

  test('the gradient penalty is ‖∇E‖² of the data: of a linear energy, its slope’s square', async () => {
    const linear = defineEnergy({ shape: [2] }, (x, scope) =>
      x.mul(scope.parameter('w', [2], { kind: 'constant', value: 2 })).sum(-1),
    )
    const { row } = await last(linear, { ...withFlow, optimizer: frozen, gradientPenalty: 0.25 }, 2, 1)
    expect(number(row, 'gradientPenalty')).toBeCloseTo(8, 4)
    expect(row.loss).toBeCloseTo(number(row, 'energyData') - number(row, 'energyNegatives') + 0.25 * 8, 3)
    const free = await last(linear, { ...withFlow, optimizer: frozen, gradientPenalty: 0 }, 2, 1)
    expect(free.row.gradientPenalty).toBeUndefined()
  })
})

describe('q against an energy that is known', () => {
  test('a flow finds log Z and the entropy of a correlated Gaussian', async () => {
    const density = toyDensity('correlatedGaussian')
    const model = fixed((x) => density.logDensity(x).neg())
    const q = { kind: 'flow', flow, optimizer: { kind: 'adam', learningRate: 0.01 } } as const
    const options: AdversarialOptions = { batch: 128, q, gradientPenalty: 0, schedule: { kind: 'cosine' } }
    const { row, trainer } = await last(model, options, 1200)
    // The flow's loss is E_q[E] - H = KL(q | p) - log Z, and log Z is 0.
    expect(number(row, 'flowLoss')).toBeGreaterThan(-0.02)
    expect(number(row, 'flowLoss')).toBeLessThan(0.02)
    // Then the bound is the mean log likelihood of the data, minus the entropy of p but for sampling.
    expect(Math.abs(number(row, 'bound') + number(row, 'entropy'))).toBeLessThan(0.2)
    const trained = await trainer.flow()
    const { x, logDensity } = await trained.sample({ count: 2000 })
    const energies = await model.energy(x)
    const gap = logDensity.reduce((s, l, i) => s + l + (energies[i] as number), 0) / 2000
    const offset = model.value('c').data[0] as number
    expect(gap - offset).toBeLessThan(0.03)
    await trained.dispose()
  })

  test('a generator finds a normal’s spread and entropy when K is large', async () => {
    const q = {
      kind: 'generator',
      latent: 2,
      hidden: [],
      samples: 128,
      eta: 0.3,
      noise: { smallest: 0.2, largest: 0.4 },
      optimizer: { kind: 'adam', learningRate: 0.01, betas: [0.5, 0.99] },
    } as const
    const options: AdversarialOptions = { batch: 64, q, gradientPenalty: 0, schedule: { kind: 'cosine' } }
    const { row, trainer } = await last(normal(), options, 800)
    // E_q[E] = 1 in two dimensions; the estimate pulls inwards by a share that falls with K.
    expect(Math.abs(number(row, 'energyNegatives') - 1)).toBeLessThan(0.2)
    expect(Math.abs(number(row, 'entropy') - (LOG_TAU + 1))).toBeLessThan(0.25)
    // The ELBO bounds mean log q(x) = -H from below.
    expect(number(row, 'elbo')).toBeLessThan(-number(row, 'entropy'))
    expect(number(row, 'effectiveSamples')).toBeGreaterThan(10)
    expect(number(row, 'sigma')).toBeGreaterThan(0.2)
    expect(number(row, 'sigma')).toBeLessThan(0.4)
    const generator = await trainer.generator()
    const data = Array.from((await generator.sample({ count: 4000 })).data)
    const variance = data.reduce((s, v) => s + v * v, 0) / data.length
    expect(Math.abs(variance - 1)).toBeLessThan(0.2)
    await generator.dispose()
  })

  test('without the entropy’s weight a generator collapses to the mode', async () => {
    const q = { kind: 'generator', latent: 2, hidden: [], samples: 2, entropyWeight: 0 } as const
    const options: AdversarialOptions = { batch: 64, q: { ...q, optimizer: { kind: 'adam', learningRate: 0.02 } } }
    const { row } = await last(normal(), { ...options, gradientPenalty: 0 }, 400)
    expect(number(row, 'energyNegatives')).toBeLessThan(0.1)
  })
})

describe('the energy', () => {
  test('learns a Gaussian against a flow; the bound is one, and close', async () => {
    const model = mlp({ inputs: 2, hidden: [32], seed: 2 })
    const q = { kind: 'flow', flow, optimizer: { kind: 'adam', learningRate: 5e-3, betas: [0.5, 0.99] } } as const
    const optimizer = { kind: 'adam', learningRate: 5e-3, betas: [0.5, 0.99] } as const
    const options: AdversarialOptions = { batch: 128, q, optimizer, gradientPenalty: 0, schedule: { kind: 'cosine' } }
    const data = toy('correlatedGaussian', { count: 4000, seed: 3 })
    const trainer = new Adversarial(model, options)
    const { rows } = await fitAll(trainer, data, { steps: 1500, reportEvery: 100 })
    const box = { low: -6, high: 6, points: 100 }
    const { forward } = await quadratureKl(toyDensity('correlatedGaussian').logDensity, model, box)
    expect(forward).toBeLessThan(0.05)
    const { logZ } = await quadratureLogZ(model, box)
    const energies = await model.energy(data.take(1000).features)
    const likelihood = -energies.reduce((a, b) => a + b, 0) / 1000 - logZ
    const bound = number(rows.at(-1) as MetricsRow, 'bound')
    expect(bound).toBeGreaterThan(likelihood - 0.1)
    expect(bound).toBeLessThan(likelihood + 0.3)
    trainer.dispose()
  })

  test('a classifier without chains: JEM on two blobs', async () => {
    const model = mlp({ inputs: 2, hidden: [16], classes: 2, seed: 4 })
    const trainer = new Adversarial(model, { ...withGenerator, batch: 32, weights: { pyx: 2 } })
    const data = blobs(128)
    const { rows } = await fitAll(trainer, data, { steps: 300, reportEvery: 100 })
    const row = rows.at(-1) as MetricsRow
    expect(number(row, 'accuracy')).toBeGreaterThan(0.97)
    expect(number(row, 'crossEntropy')).toBeLessThan(0.2)
    for (const name of ['energyGap', 'bound', 'entropy', 'effectiveSamples'])
      expect(Number.isFinite(row[name])).toBe(true)
    const samples = await trainer.sample({ class: 1, count: 20, steps: 5 })
    expect(samples.shape).toEqual([20, 2])
  })

  test('images: convolutional generator, batch norms in the energy, labelled stream', async () => {
    const out = folder()
    const q = { kind: 'generator', latent: 4, channels: [8, 4], samples: 2 } as const
    const trainer = new Adversarial(resNet(), { batch: 8, q, qSteps: 2, augmentation: { noise: 0.03 } })
    const { rows } = await fitAll(trainer, await someDigits(), { steps: 2, reportEvery: 1, out })
    expect(rows.every((r) => Object.values(r).every((v) => Number.isFinite(v)))).toBe(true)
    const { names } = await checkpointOf(out)
    expect(names).toEqual(expect.arrayContaining(['bn.running_mean', 'generator/head.weight', 'posterior/log_eta']))
    expect([...trainer.model.value('bn.running_mean').data].some((v) => v !== 0)).toBe(true)
    const x = await trainer.sample({ count: 5 })
    expect(x.shape).toEqual([5, 1, 8, 8])
  })
})

describe('resumes to the bit', () => {
  const cases: Record<string, { options: AdversarialOptions; model: () => Model; digits?: boolean }> = {
    flow: { options: { ...withFlow, ema: 0.9 }, model: () => plane(0) },
    generator: { options: { ...withGenerator, qSteps: 2, gradientClip: 1 }, model: () => plane(0) },
    classifier: {
      options: { batch: 8, q: { kind: 'generator', latent: 3, channels: [4], samples: 2 }, ema: 0.8, seed: 3 },
      model: () => convNet(),
      digits: true,
    },
  }
  for (const [name, { options, model, digits }] of Object.entries(cases)) {
    test(name, async () => {
      const data = digits ? await someDigits() : blobs(64, false)
      const [whole, parts] = [folder(), folder()]
      const fit = { steps: 8, reportEvery: 3 }
      await fitAll(new Adversarial(model(), options), data, { ...fit, out: whole })
      await fitAll(new Adversarial(model(), options), data, { ...fit, steps: 4, out: parts })
      await fitAll(new Adversarial(model(), options), data, { ...fit, out: parts, resume: true })
      const [a, b] = [await checkpointOf(whole), await checkpointOf(parts)]
      expect(b.run.step).toBe(8)
      expect(b.bits).toEqual(a.bits)
      expect(metricsOf(parts).events).toEqual([{ event: 'resumed', step: 4 }])
    })
  }

  test('a schedule over the run: cancelled in the middle and resumed', async () => {
    const [whole, parts] = [folder(), folder()]
    const options: AdversarialOptions = { ...withGenerator, qSteps: 2, schedule: { kind: 'cosine' } }
    const make = () => new Adversarial(plane(0), options)
    await fitAll(make(), blobs(), { steps: 12, reportEvery: 4, out: whole })
    const controller = new AbortController()
    const onRow = (r: MetricsRow) => r.step === 4 && controller.abort()
    await rejection(
      fitAll(make(), blobs(), { steps: 12, reportEvery: 4, out: parts, signal: controller.signal, onRow }),
    )
    await fitAll(make(), blobs(), { steps: 12, reportEvery: 4, out: parts, resume: true })
    expect((await checkpointOf(parts)).bits).toEqual((await checkpointOf(whole)).bits)
  })
})

describe('samples', () => {
  test('an opened run draws what its trainer draws: from q, from chains that begin at q', async () => {
    for (const options of [withFlow, { ...withGenerator, ema: 0.5 }]) {
      const out = folder()
      const trainer = new Adversarial(plane(2), options)
      await fitAll(trainer, blobs(), { steps: 4, out })
      const run = await openRun(out)
      const q = { count: 300, seed: 5 }
      const exact = await trainer.sample(q)
      expect(await run.sample(q)).toEqual(exact)
      expect(await trainer.sample({ ...q, from: 'model' })).toEqual(exact)
      for (const more of [{ from: 'start', steps: 2 }, { steps: 2 }, { class: 1, steps: 2 }] as const) {
        const x = await trainer.sample({ ...q, ...more })
        expect(await run.sample({ ...q, ...more })).toEqual(x)
        expect(x.data).not.toEqual(exact.data)
      }
      if (options.q?.kind === 'flow') {
        const [a, b] = [await trainer.flow(), await flowOfRun(run)]
        expect(b.stateDict()).toEqual(a.stateDict())
        expect(await rejection(trainer.generator())).toMatchObject({ code: 'E_CONFIG' })
        expect(() => generatorOfRun(run)).toThrow(/trained none/)
      } else {
        const [a, b] = [await trainer.generator(), generatorOfRun(run)]
        expect(b.stateDict()).toEqual(a.stateDict())
        expect(await b.sample({ count: 5 })).toEqual(await a.sample({ count: 5 }))
        expect(await rejection(trainer.flow())).toMatchObject({ code: 'E_CONFIG' })
        expect((await rejection(flowOfRun(run))).message).toMatch(/no module 'flow'; it has generator, posterior/)
      }
    }
  })

  test('chains of no steps are draws of q; a start of one’s own replaces it', async () => {
    const trainer = new Adversarial(plane(0), withFlow)
    await fitAll(trainer, blobs(), { steps: 200, reportEvery: 100 })
    const mean = ({ data }: { data: ArrayLike<number> }) =>
      Array.from(data).reduce((s, v) => s + v * v, 0) / data.length
    const [exact, begun] = [await trainer.sample({ count: 4000 }), await trainer.sample({ count: 4000, steps: 0 })]
    expect(Math.abs(mean(begun) / mean(exact) - 1)).toBeLessThan(0.15)
    const far = new Adversarial(plane(0), { ...withFlow, sampling: { start: { kind: 'normal', mean: 50 } } })
    await fitAll(far, blobs(), { steps: 2 })
    expect(mean(await far.sample({ count: 50, steps: 0 }))).toBeGreaterThan(2000)
  })

  test('what q cannot give is refused', async () => {
    const trainer = new Adversarial(plane(2), withGenerator)
    expect(await rejection(trainer.flow())).toMatchObject({
      code: 'E_CONFIG',
      message: expect.stringContaining('train first'),
    })
    await fitAll(trainer, blobs(), { steps: 1 })
    expect((await rejection(trainer.sample({ class: 1, from: 'model' }))).message).toMatch(/from: 'start'/)
    expect((await rejection(trainer.sample({ from: 'buffer' }))).message).toMatch(/no replay buffer/)
  })
})

describe('options', () => {
  const failing = async (options: unknown, model = plane(0), data = blobs()) =>
    rejection((async () => fitAll(new Adversarial(model, options as AdversarialOptions), data, { steps: 1 }))())

  test('what does not fit is named, with the remedy', async () => {
    expect((await failing({ q: { kind: 'flwo' } })).message).toMatch(/'flwo' is not known.*flow/)
    expect((await failing({ q: { kind: 'generator', latnet: 2 } })).message).toMatch(/unknown key 'latnet'.*latent/)
    expect((await failing({ gradientPenality: 2 })).message).toMatch(/gradientPenality.*gradientPenalty/)
    expect((await failing({ q: { kind: 'flow', flow: { kind: 'spline', inputs: 3 } } })).message).toMatch(
      /\[3\].*\[2\]/,
    )
    expect((await failing({ qSteps: 0 })).message).toMatch(/qSteps must be an integer ≥ 1; got 0/)
    expect((await failing({ gradientPenalty: -1 })).message).toMatch(/gradientPenalty.*got -1/)
    expect((await failing({ weights: { px: 0 } })).message).toMatch(/weights.px must be positive/)
    expect((await failing({ q: { kind: 'generator', samples: 0 } })).message).toMatch(/q.samples.*got 0/)
    expect((await failing({ q: { kind: 'generator', eta: 0 } })).message).toMatch(/q.eta.*got 0/)
    expect((await failing({ q: { kind: 'generator', channels: [8] } })).message).toMatch(
      /'mlp' has no option 'channels'/,
    )
    expect((await failing({ q: { kind: 'generator', network: 'conv', channels: [8] } })).message).toMatch(
      /shape must be \[channels/,
    )
    expect((await failing({ q: { kind: 'generator', scale: [1, 2, 3] } })).message).toMatch(
      /scale needs one number or 2/,
    )
    expect(await failing({}, plane(2), blobs(64, false))).toMatchObject({ code: 'E_DATA' })
    const still = defineEnergy({ shape: [2] }, (x) => x.square().sum(-1))
    expect(await failing({}, still)).toMatchObject({
      code: 'E_CONFIG',
      message: expect.stringContaining('no parameters'),
    })
  })

  test('a flow written in code trains, and is asked for when its run is opened', async () => {
    const made = customFlow([2], [actNorm([2])])
    const out = folder()
    const trainer = new Adversarial(plane(0), { ...withFlow, q: { kind: 'flow', flow: made } })
    await fitAll(trainer, blobs(), { steps: 2, out })
    expect((await trainer.flow()).flow).toBe(made)
    expect(await rejection(openRun(out))).toMatchObject({
      code: 'E_CONFIG',
      message: expect.stringContaining('written in code'),
    })
    const run = await openRun(out, { options: { q: { kind: 'flow', flow: made } } })
    expect(await run.sample({ count: 5 })).toEqual(await trainer.sample({ count: 5 }))
  })

  test('configurations: a valid one, and a misspelled key with its place', () => {
    const config = (trainer: object) => ({
      method: 'adversarial',
      data: { kind: 'toy', name: 'gaussians8', count: 100 },
      network: { kind: 'mlp' },
      trainer,
    })
    expect(parseConfig(config({ q: { kind: 'flow', flow: { kind: 'spline', layers: 2 } } }), 'c.json').method).toBe(
      'adversarial',
    )
    expect(() => parseConfig(config({ q: { kind: 'generator', chanels: [8] } }), 'c.json')).toThrow(/chanels.*channels/)
    expect(() => parseConfig(config({ q: { kind: 'flow', flow: { kind: 'splien' } } }), 'c.json')).toThrow(
      /splien.*spline/,
    )
  })
})
