/** Runs on points and tables through all commands: networks completed from the data, figures of likelihood, pictures, samples in their own units. */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { decode } from 'fast-png'
import { beforeAll, describe, expect, test } from 'vitest'
import { evaluateCommand } from '../../lib/cli/run-commands.ts'
import { sampleCommand } from '../../lib/cli/sample.ts'
import { trainCommand } from '../../lib/cli/train.ts'
import { readNpy } from '../../lib/data/npy.ts'
import { table } from '../../lib/data/table.ts'
import { work, writeJson } from './command.ts'
import { type Outcome, runHere } from './in-process.ts'

const here = work()
const at = (path: string) => join(here, path)
const json = (path: string) => JSON.parse(readFileSync(at(path), 'utf8')) as Record<string, unknown>

const toyConfig = {
  method: 'scoreMatching',
  data: { kind: 'toy', name: 'gaussians8', count: 600, test: 100, options: { noise: 0.4 }, labels: false },
  network: { kind: 'mlp', hidden: [16] },
  trainer: { batch: 50, sampling: { steps: 20 } },
  steps: 20,
  evaluation: { samples: 60 },
}

/** Two columns far from unit scale, so that units show. */
const rows = Array.from({ length: 120 }, (_, i) => [1000 + 10 * Math.sin(i), 5 + 0.01 * ((i * 7) % 13)])
const tableConfig = {
  ...toyConfig,
  data: { kind: 'table', path: 'sizes.csv', columns: ['length', 'width'], test: 0.25 },
  network: { kind: 'flow', flow: { kind: 'affineCoupling', layers: 2, hidden: [8] } },
  method: 'maximumLikelihood',
  trainer: { batch: 30 },
}

let toy: Outcome
let sizes: Outcome

beforeAll(async () => {
  writeFileSync(at('sizes.csv'), `length,width\n${rows.map((r) => r.join(',')).join('\n')}\n`)
  toy = await runHere(trainCommand, writeJson(here, 'toy.json', toyConfig), '--out', at('toy'), '--seed', '1')
  sizes = await runHere(trainCommand, writeJson(here, 'sizes.json', tableConfig), '--out', at('sizes'))
}, 60_000)

describe('a toy', () => {
  test('leaves pictures of the density, samples as a table, and the figures that its exact density allows', () => {
    expect(toy.error).toBeUndefined()
    expect(toy.out).toMatch(/log Z -?\d.*quadrature/)
    expect(toy.out).toMatch(/held-out log likelihood -?\d.* nats, .* bits a dimension\n/)
    expect(toy.out).toMatch(/KL\(data‖model\) \d/)
    expect(toy.out).toMatch(/samples against data: MMD² .* \(p = /)
    expect(toy.out).toMatch(/AUROC against gaussian/)
    expect(readdirSync(at('toy')).sort()).toEqual(
      [
        'checkpoint.safetensors',
        'config.json',
        'density.png',
        'density.svg',
        'evaluation.json',
        'metrics.jsonl',
      ].concat(['report.html', 'samples.csv']),
    )
    const picture = decode(readFileSync(at('toy/density.png')))
    expect(picture.width).toBeGreaterThan(900)
    expect(readFileSync(at('toy/density.svg'), 'utf8')).toMatch(/^<svg .*Samples/s)
    expect(readFileSync(at('toy/report.html'), 'utf8')).toMatch(/Learned density<\/h2>.*Likelihood<\/h2>/s)
    expect(json('toy/evaluation.json')).toMatchObject({
      likelihood: { method: 'quadrature', count: 100 },
      divergence: { forward: expect.any(Number) },
      quality: { samples: 60, reference: 100, stein: { pValue: expect.any(Number) } },
    })
    expect(json('toy/config.json')).toMatchObject({ network: { kind: 'mlp', inputs: 2, hidden: [16], classes: 0 } })
  })

  test('sample: a table by default; any sampler, with its acceptance; refusals by name', async () => {
    const sample = (...args: string[]) => runHere(sampleCommand, at('toy'), ...args)
    const own = await sample('--count', '7', '--steps', '5')
    expect(own.out).toBe(`7 samples of [2] in ${at('toy/samples.csv')}\n`)
    expect((await table(at('toy/samples.csv'))).features.shape).toEqual([7, 2])
    const nuts = ['--sampler', 'nuts', '--count', '10', '--chains', '4', '--warmup', '20']
    const told = JSON.parse((await sample(...nuts, '--out', at('nuts.npy'), '--json')).out) as Record<string, number>
    expect(told).toMatchObject({ event: 'sampled', shape: [10, 2] })
    expect(told.acceptance).toBeGreaterThan(0.3)
    expect((await sample(...nuts, '--out', at('again.npy'))).out).toMatch(/4 chains of nuts, acceptance 0\.\d/)
    expect(await readNpy(at('again.npy'))).toEqual(await readNpy(at('nuts.npy')))
    const refusals: [args: string[], message: string][] = [
      [['--sampler', 'nutz'], "Did you mean 'nuts'"],
      [['--sampler', '{"kind":"mala","stepsize":1}'], "Did you mean 'stepSize'?"],
      [['--warmup', '3'], 'goes with --sampler'],
      [['--sampler', 'nuts', '--steps', '3'], 'give --warmup'],
      [['--out', 'x.png'], '.csv or .npy'],
      [['--out', 'x.txt'], '.png, .npy or .csv'],
    ]
    for (const [args, message] of refusals)
      expect((await sample(...args)).error).toMatchObject({
        name: 'UsageError',
        message: expect.stringContaining(message),
      })
  })

  test('evaluate: log Z another way, more options, and a word that is not one', async () => {
    const evaluate = (...args: string[]) => runHere(evaluateCommand, at('toy'), ...args)
    const options = JSON.stringify({ chains: { draws: 20, chains: 2, warmup: 20 }, quality: false })
    const r = await evaluate('--log-z', '2.5', '--samples', '0', '--options', options)
    expect(r.out).toMatch(/log Z 2\.5000 \(given\)/)
    expect(r.out).toMatch(/2 chains of nuts: acceptance/)
    expect(json('toy/evaluation.json')).toMatchObject({ likelihood: { logZ: 2.5 }, chains: { draws: 20 } })
    expect(json('toy/evaluation.json')).not.toHaveProperty('quality')
    expect((await evaluate('--log-z', 'quadratur')).error).toMatchObject({
      code: 'E_CONFIG',
      message: expect.stringMatching(/likelihood/),
    })
    expect((await evaluate('--options', '{"chain":{}}')).error?.message).toContain("Did you mean 'chains'?")
    expect((await evaluate('--options', '{chain')).error?.message).toContain('--options is not JSON')
  })
})

describe('a standardised table', () => {
  test('is sampled in its own units, under its own names; its likelihood is told in both', async () => {
    expect(sizes.error).toBeUndefined()
    const samples = await table(at('sizes/samples.csv'))
    expect(samples.columns).toEqual(['length', 'width'])
    const column = (j: number) => Array.from(samples.features.data).filter((_, i) => i % 2 === j)
    const mean = [0, 1].map((j) => column(j).reduce((a, b) => a + b, 0) / 60) as [number, number]
    expect(Math.abs(mean[0] - 1000)).toBeLessThan(10)
    expect(Math.abs(mean[1] - 5.06)).toBeLessThan(0.1)
    const { likelihood } = json('sizes/evaluation.json') as { likelihood: Record<string, number> }
    expect(likelihood).toMatchObject({ method: 'given', logZ: 0 })
    const { std } = (json('sizes/config.json').data as { transform: { std: number[] } }).transform
    const logStd = std.reduce((s, v) => s + Math.log(v), 0)
    expect(likelihood.original).toBeCloseTo((likelihood.mean as number) - logStd, 5)
    expect((await runHere(sampleCommand, at('sizes'), '--count', '9', '--out', at('sizes.npy'))).error).toBeUndefined()
    const drawn = await readNpy(at('sizes.npy'))
    expect(drawn.data.every((v, i) => i % 2 === 1 || v > 900)).toBe(true)
  })
})
