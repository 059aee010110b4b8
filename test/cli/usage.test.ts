/** Help, and mistakes on the command line or in what it is given: one line that says what, where and what to do; exit code 2 for usage, 1 else. */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, describe, expect, test } from 'vitest'
import { writeNpy } from '../../lib/data/npy.ts'
import { hostTensor } from '../../lib/graph/host-tensor.ts'
import { convEnergy } from '../../lib/nn/models.ts'
import { buildDist } from '../dist.ts'
import { langevin, tinyConfig, work, writeJson } from './command.ts'

beforeAll(async () => void (await buildDist()), 120_000)

const here = work()
const config = writeJson(here, 'tiny.json', tinyConfig())

describe('help', () => {
  const commands = ['train', 'sample', 'evaluate', 'export', 'verify', 'bench', 'info']

  test('overview: with --help, -h, help; and without a command, which is a mistake', async () => {
    const results = await Promise.all([['--help'], ['-h'], ['help'], []].map((args) => langevin(args)))
    expect(results.map((r) => r.code)).toEqual([0, 0, 0, 2])
    for (const r of results) for (const c of commands) expect(r.out).toMatch(new RegExp(`^  ${c} `, 'm'))
  })

  test('of each command: options, examples; -h and help COMMAND say the same', async () => {
    for (const c of commands) {
      const r = await langevin([c, '--help'])
      expect(r.code, c).toBe(0)
      expect(r.out).toContain(`langevin ${c}`)
      expect(r.out).toContain('--json')
      expect(r.out).toContain('Examples:')
      if (c === 'train')
        for (const other of [
          ['train', '-h'],
          ['help', 'train'],
        ])
          expect(await langevin(other)).toEqual(r)
    }
  }, 120_000)

  test('version', async () => {
    const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as {
      version: string
    }
    expect(await langevin(['--version'])).toMatchObject({ code: 0, out: `${version}\n`, err: '' })
  })
})

type Case = [args: string[], message: string | RegExp]

function cases(code: number, list: Case[]): void {
  test.each(list)('%j', async (args, message) => {
    const r = await langevin(args, here)
    expect(r.err).toMatch(
      message instanceof RegExp ? message : new RegExp(message.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')),
    )
    expect(r.err).toMatch(/^error: /)
    expect(r.err).not.toMatch(/^\s+at /m)
    expect(r.out).toBe('')
    expect(r.code).toBe(code)
  })
}

describe('usage mistakes end with code 2', () => {
  cases(2, [
    [['tran'], "unknown command 'tran'. Did you mean 'train'?"],
    [['train'], 'langevin train takes CONFIG.json; got nothing'],
    [['train', 'a', 'b'], 'langevin train takes CONFIG.json; got a b'],
    [['info', 'extra'], 'langevin info takes no arguments; got extra'],
    [['train', config, '--stps', '5'], "unknown option --stps. Did you mean '--steps'?"],
    [['train', config, '-x'], 'unknown option -x. Known: --out'],
    [['train', config, '--steps', 'x'], "--steps takes an integer ≥ 1; got 'x'"],
    [['train', config, '--steps', '0'], "--steps takes an integer ≥ 1; got '0'"],
    [['train', config, '--steps'], /--steps/],
    [['train', config, '--threads', '1.5'], "--threads takes an integer ≥ 1; got '1.5'"],
    [['train', config, '--device', 'gpu'], "--device must be cpu, cuda, cuda:1 (or another number) or auto; got 'gpu'"],
    [['sample', 'run', '--from', 'bufer'], "--from: 'bufer' is not allowed. Did you mean 'buffer'?"],
    [['sample', 'run', '--out', 'x.jpg'], "--out must end in .png, .npy or .csv; got 'x.jpg'"],
    [['evaluate', 'run', '--ood', 'uniform,invertd'], "--ood: 'invertd' is not allowed. Did you mean 'inverted'?"],
    [['export', 'run', '--outputs', 'scor'], "--outputs: 'scor' is not allowed. Did you mean 'score'?"],
  ])

  test('with --json the mistake is an object on standard output too', async () => {
    const r = await langevin(['train', config, '--json', '--stps', '5'], here)
    expect(r.code).toBe(2)
    expect(JSON.parse(r.out)).toEqual({
      event: 'error',
      code: 'UsageError',
      message: expect.stringContaining('--stps'),
    })
  })
})

describe('what cannot be done ends with code 1', () => {
  writeFileSync(join(here, 'notjson.json'), '{ "method": ')
  writeFileSync(join(here, 'file'), '')
  writeFileSync(join(here, 'noise.safetensors'), Buffer.from('x'.repeat(200)))
  const other = (name: string, change: Record<string, unknown>) => [
    'train',
    writeJson(here, name, tinyConfig(change)),
    '--out',
    'run',
  ]

  cases(1, [
    [['train', 'nowhere.json'], "cannot read 'nowhere.json': ENOENT"],
    [['train', 'notjson.json'], /notjson\.json is not JSON: /],
    [other('key.json', { epoch: 1 }), "unknown key 'epoch'. Did you mean 'epochs'?"],
    [['train', config, '--out', 'file/run'], /cannot create the run folder 'file\/run': ENOTDIR/],
    [['train', config, '--out', '/proc/langevin'], /cannot create the run folder '\/proc\/langevin'/],
    [['train', config, '--device', 'cuda:99'], /device 'cuda:99' (cannot be used: |is not here; there are: cpu, )/],
    [['train', config, '--out', 'empty', '--resume'], /run 'empty' does not exist/],
    [['sample', 'nowhere'], "run 'nowhere' does not exist; give a run folder or a checkpoint file"],
    [['sample', '.'], "run folder '.' holds no checkpoint.safetensors; train there first"],
    [['sample', 'noise.safetensors'], /'noise\.safetensors' is no safetensors file/],
    [['evaluate', 'nowhere'], /run 'nowhere' does not exist/],
    [['export', 'nowhere'], /run 'nowhere' does not exist/],
    [
      other('depth.json', { network: { kind: 'wideResNet', depth: 11, width: 1 } }),
      'depth must be 6n + 4 with n ≥ 1 (10, 16, 22, 28, ...); got 11',
    ],
    [
      other('batch.json', { trainer: { batch: 500 } }),
      "batch 500 is larger than the data 'digits' (100 rows); use batch ≤ 100",
    ],
    [
      other('channels.json', { network: { kind: 'wideResNet', depth: 10, width: 1, channels: 3 } }),
      "data 'digits' has examples of [1,8,8], the network takes [3,8,8]",
    ],
    [
      other('classes.json', { network: { kind: 'wideResNet', depth: 10, width: 1, classes: 5 } }),
      "data 'digits' has 10 classes, the network gives 5 logits",
    ],
    [
      other('flow.json', { network: { kind: 'flow', flow: { kind: 'spline' } } }),
      "'spline' takes rows of numbers; data 'digits' has examples of [1,8,8]. Use kind 'image'",
    ],
    [
      other('test.json', { data: { kind: 'digits', test: 5000 } }),
      /test must be a whole number in 1\.\.1796.*got 5000/,
    ],
  ])

  test('weights without a run: says to use Model.load', async () => {
    await convEnergy({ shape: [1, 8, 8], channels: [2] }).save(join(here, 'plain.safetensors'))
    const r = await langevin(['sample', 'plain.safetensors'], here)
    expect(r).toMatchObject({ code: 1, err: expect.stringContaining('Model.load') })
  })
})

describe('broken data files', () => {
  const idx = (type: number, dims: number[], bytes: number[]) => {
    const header = Buffer.alloc(4 + 4 * dims.length)
    header[2] = type
    header[3] = dims.length
    dims.forEach((d, i) => {
      header.writeUInt32BE(d, 4 + 4 * i)
    })
    return Buffer.concat([header, Buffer.from(bytes)])
  }
  const images = idx(8, [4, 2, 2], new Array(16).fill(7))
  writeFileSync(join(here, 'images'), images)
  writeFileSync(join(here, 'cut'), images.subarray(0, 20))
  writeFileSync(join(here, 'magic'), Buffer.concat([Buffer.from([80, 75]), images.subarray(2)]))
  writeFileSync(join(here, 'labels'), idx(8, [4], [0, 1, 2, 9]))
  writeFileSync(join(here, 'short-labels'), idx(8, [3], [0, 1, 1]))
  const nan = new Float32Array(16).fill(0.1)
  nan[9] = Number.NaN
  const data = (spec: Record<string, unknown>) =>
    langevin(['train', writeJson(here, 'data.json', tinyConfig({ data: spec })), '--out', 'run'], here)

  test.each([
    ['cut short', { kind: 'idx', images: 'cut' }, /'.*cut'.*(cut short|20|16 bytes)/],
    [
      'another magic number',
      { kind: 'idx', images: 'magic' },
      /no IDX file: it begins with bytes 80, 75; expected 0, 0/,
    ],
    ['missing', { kind: 'idx', images: 'nothing' }, /cannot read '.*nothing': ENOENT/],
    [
      'labels out of range',
      { kind: 'idx', images: 'images', labels: 'labels', classes: 3 },
      /the label of row 3 is 9; expected 0\.\.2/,
    ],
    ['too few labels', { kind: 'idx', images: 'images', labels: 'short-labels' }, /4 rows, but 3 labels/],
  ])('IDX: %s', async (_what, spec, message) => {
    const r = await data(spec)
    expect(r.err).toMatch(message)
    expect(r.code).toBe(1)
  })

  test('NaN pixels', async () => {
    await writeNpy(join(here, 'nan.npy'), hostTensor(nan, [4, 1, 2, 2]))
    const r = await data({ kind: 'npy', images: 'nan.npy' })
    expect(r.err).toMatch(/row 2 holds NaN \(number 1 of the row\)/)
    expect(r.code).toBe(1)
  })
})
