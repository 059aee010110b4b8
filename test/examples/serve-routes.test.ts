/** Every route of the server example, with its refusals, over a bundle of a tiny run: numbers as the native model has them. */
import { decode, encode } from 'fast-png'
import { beforeAll, describe, expect, test } from 'vitest'
import type { Prediction } from '../../examples/serve/src/classify.ts'
import { hostTensor } from '../../lib/graph/host-tensor.ts'
import { type DigitsBundle, digitsBundle, post, serve } from './serve-service.ts'

interface Answer {
  readonly predictions: readonly Prediction[]
  readonly normalised: boolean
}
interface Refused {
  readonly error: { readonly code: string; readonly message: string; readonly [key: string]: unknown }
}
interface Drawn {
  readonly samples: number[][][][]
  readonly energies: number[]
  readonly [key: string]: unknown
}

let digits: DigitsBundle
let url: string
let logits: Float32Array
let threshold: number

beforeAll(async () => {
  digits = await digitsBundle()
  const started = await serve(digits.path, { maxRows: 50, bodyLimit: 65536, maxSamples: 16, maxSteps: 40 })
  url = started.url
  threshold = started.service.bundle.outOfDistribution?.threshold as number
  logits = (await digits.run.model.logits(hostTensor(digits.x.slice(0, 640), [10, 1, 8, 8]))).data as Float32Array
}, 60_000)

/** Raw numbers of images from..to, one array each. */
const flat = (from: number, to: number) =>
  Array.from({ length: to - from }, (_, i) => [...digits.raw.subarray(64 * (from + i), 64 * (from + i + 1))])
const nested = (image: readonly number[]) => [Array.from({ length: 8 }, (_, y) => image.slice(8 * y, 8 * y + 8))]
const bytes = (from: number, to: number) => digits.raw.slice(64 * from, 64 * to)
const classify = async (body: unknown, query = '', headers: Record<string, string> = {}) =>
  (await post(`${url}/classify${query}`, body, headers)).body as Answer

/** Softmax and logsumexp of row i of the native logits. */
function native(i: number) {
  const row = Array.from(logits.subarray(10 * i, 10 * i + 10))
  const highest = Math.max(...row)
  const total = row.reduce((sum, l) => sum + Math.exp(l - highest), 0)
  return { row, probabilities: row.map((l) => Math.exp(l - highest) / total), logProb: highest + Math.log(total) }
}

describe('/classify', () => {
  test('probabilities, log p(x) and flags are those of the native model', async () => {
    const { predictions, normalised } = await classify({ instances: flat(0, 10) }, '?logits')
    expect(normalised).toBe(false)
    expect(predictions).toHaveLength(10)
    for (const [i, p] of predictions.entries()) {
      const { row, probabilities, logProb } = native(i)
      expect(Object.keys(p.probabilities ?? {})).toEqual(['0', '1', '2', '3', '4', '5', '6', '7', '8', '9'])
      for (const [k, q] of probabilities.entries()) {
        expect(p.probabilities?.[k]).toBeCloseTo(q, 5)
        expect(p.logits?.[k]).toBeCloseTo(row[k] as number, 4)
      }
      expect(p.label).toBe(String(probabilities.indexOf(Math.max(...probabilities))))
      expect(p.probability).toBeCloseTo(Math.max(...probabilities), 5)
      expect(p.logProb).toBeCloseTo(logProb, 4)
      expect(p.outOfDistribution).toEqual({ flag: logProb < threshold, threshold })
    }
  })

  test('flags what the threshold says: about one in twenty of the held-out digits', async () => {
    const { predictions } = await classify(bytes(0, 50), '?dtype=uint8', { 'content-type': 'application/octet-stream' })
    const more = await classify(bytes(50, 100), '?dtype=uint8', { 'content-type': 'application/octet-stream' })
    const flagged = [...predictions, ...more.predictions].filter((p) => p.outOfDistribution?.flag).length
    expect(flagged).toBe(5)
  })

  test('nested arrays, float32, uint8 and PNG say the same as flat numbers', async () => {
    const images = flat(0, 3)
    const own = await classify({ instances: images })
    const octets = { 'content-type': 'application/octet-stream' }
    const floats = new Uint8Array(Float32Array.from(images.flat()).buffer)
    expect(await classify({ instances: images.map(nested) })).toEqual(own)
    expect(await classify(floats, '', octets)).toEqual(own)
    expect(await classify(bytes(0, 3), '?dtype=uint8', octets)).toEqual(own)
    const data = Uint16Array.from(images[0] as number[], (v) => Math.round((v / 16) * 65535))
    const png = encode({ width: 8, height: 8, channels: 1, depth: 16, data })
    const { predictions } = await classify(png, '', { 'content-type': 'image/png' })
    expect(predictions[0]?.label).toBe(own.predictions[0]?.label)
    // The file's 16 bits are rounded to 8.
    expect(predictions[0]?.logProb).toBeCloseTo(own.predictions[0]?.logProb as number, 1)
  })

  test('numbers a little beyond the range are left to log p(x)', async () => {
    const image = flat(0, 1)[0] as number[]
    const { predictions } = await classify({ instances: [image.with(0, 32), image.with(0, -16)] })
    expect(predictions.map((p) => Number.isFinite(p.logProb))).toEqual([true, true])
  })

  test('top leaves the most probable', async () => {
    const all = await classify({ instances: flat(0, 1) })
    const some = await classify({ instances: flat(0, 1) }, '?top=2')
    const sorted = Object.entries(all.predictions[0]?.probabilities ?? {}).sort((a, b) => b[1] - a[1])
    expect(some.predictions[0]?.probabilities).toEqual(Object.fromEntries(sorted.slice(0, 2)))
    expect(some.predictions[0]).not.toHaveProperty('logits')
  })

  const image = Array.from({ length: 64 }, () => 1)
  const bytesOf255 = new Uint8Array(64).fill(255)
  const octets = { 'content-type': 'application/octet-stream' }
  const png = { 'content-type': 'image/png' }
  const wrongPng = encode({ width: 4, height: 8, channels: 1, data: new Uint8Array(32) })
  const goodPng = encode({ width: 8, height: 8, channels: 1, data: new Uint8Array(64) })
  test.each<[string, unknown, string, Record<string, string>, number, string, RegExp]>([
    ['no JSON', '{"instances": [[1,', '', {}, 400, 'E_JSON', /not valid JSON/],
    ['an empty body', '', '', {}, 400, 'E_BODY', /empty/],
    ['no object', '3', '', {}, 422, 'E_VALUE', /is 3; expected an object/],
    ['a misspelled field', { instanses: [image] }, '', {}, 422, 'E_VALUE', /no 'instanses'.*Did you mean 'instances'/],
    [
      'no array',
      { instances: 'x' },
      '',
      {},
      422,
      'E_SHAPE',
      /'instances' is 'x'; expected an array of examples, each \[1, 8, 8\]/,
    ],
    ['no examples', { instances: [] }, '', {}, 422, 'E_SHAPE', /number of examples is 0; expected 1 to 50/],
    ['too many examples', { instances: Array(51).fill(image) }, '', {}, 413, 'E_TOO_LARGE', /is 51; expected 1 to 50/],
    [
      'a short example',
      { instances: [image, image.slice(1)] },
      '',
      {},
      422,
      'E_SHAPE',
      /instances\[1\] is an array of 63/,
    ],
    [
      'a ragged one',
      { instances: [[[...(nested(image)[0]?.slice(1) ?? []), [1]]]] },
      '',
      {},
      422,
      'E_SHAPE',
      /instances\[0\]\[0\]\[7\]|instances\[0\]\[0\]/,
    ],
    [
      'a text for a number',
      { instances: [image.with(3, 'a' as never)] },
      '',
      {},
      422,
      'E_VALUE',
      /instances\[0\]\[3\] is 'a'; expected a finite/,
    ],
    [
      'null for a number',
      { instances: [image.with(3, null as never)] },
      '',
      {},
      422,
      'E_VALUE',
      /instances\[0\]\[3\] is null/,
    ],
    [
      'beyond float32',
      `{"instances":[[${image.with(5, 0).join().replace('0', '1e39')}]]}`,
      '',
      {},
      422,
      'E_VALUE',
      /\[5\] is 1e\+39/,
    ],
    [
      'other units',
      { instances: [image, image.with(5, 33)] },
      '',
      {},
      422,
      'E_VALUE',
      /number 5 of example 1 is 33; expected 0 to 16, the range/,
    ],
    [
      'bytes in other units',
      bytesOf255,
      '?dtype=uint8',
      octets,
      422,
      'E_VALUE',
      /number 0 of example 0 is 255; expected 0 to 16/,
    ],
    ['prototypes', '{"instances": [], "__proto__": {}}', '', {}, 400, 'E_JSON', /not valid JSON/],
    [
      'a form',
      'a=b',
      '',
      { 'content-type': 'application/x-www-form-urlencoded' },
      415,
      'E_MEDIA_TYPE',
      /expected one of application\/json, application\/octet-stream, image\/png/,
    ],
    ['text', 'ab', '', { 'content-type': 'text/plain' }, 415, 'E_MEDIA_TYPE', /text\/plain/],
    ['too many bytes', 'x'.repeat(65537), '', {}, 413, 'E_TOO_LARGE', /is 65537; expected at most 65536/],
    [
      'half an example of bytes',
      new Uint8Array(100),
      '?dtype=uint8',
      octets,
      422,
      'E_SHAPE',
      /is 100; expected a positive multiple of 64/,
    ],
    ['bytes taken for floats', new Uint8Array(64), '', octets, 422, 'E_SHAPE', /dtype=uint8/],
    [
      'NaN',
      new Uint8Array(Float32Array.from(image, () => Number.NaN).buffer),
      '',
      octets,
      422,
      'E_VALUE',
      /number 0 of example 0 is NaN/,
    ],
    ['a PNG of another size', wrongPng, '', png, 422, 'E_PNG', /is '4x8'; expected 8x8 pixels/],
    ['no PNG', new Uint8Array(60), '', png, 422, 'E_PNG', /no PNG/],
    ['a PNG cut short', goodPng.slice(0, -20), '', png, 422, 'E_PNG', /damaged or cut short/],
    [
      'an unknown option',
      { instances: [image] },
      '?tops=1',
      {},
      400,
      'E_OPTION',
      /no 'query.tops'.*Did you mean 'top'/,
    ],
    [
      'no number',
      { instances: [image] },
      '?top=many',
      {},
      400,
      'E_OPTION',
      /'query.top' is 'many'; expected a whole number/,
    ],
    ['more than the classes', { instances: [image] }, '?top=11', {}, 400, 'E_OPTION', /is 11; expected 1 to 10/],
    [
      'another type of numbers',
      new Uint8Array(64),
      '?dtype=int8',
      octets,
      400,
      'E_OPTION',
      /expected one of float32, uint8/,
    ],
    [
      'a type for JSON',
      { instances: [image] },
      '?dtype=uint8',
      {},
      400,
      'E_OPTION',
      /only with application\/octet-stream/,
    ],
  ])('refuses %s', async (_, body, query, headers, status, code, message) => {
    const answer = await post(`${url}/classify${query}`, body, headers)
    expect([answer.status, (answer.body as Refused).error]).toMatchObject([status, { code }])
    expect((answer.body as Refused).error.message).toMatch(message)
  })
})

describe('/sample', () => {
  test('the same seed draws the same; samples are in raw units with the energies of the native model', async () => {
    const ask = { count: 4, class: '3', steps: 3, seed: 11 }
    const { status, body } = await post(`${url}/sample`, ask)
    const drawn = body as Drawn
    expect([status, drawn]).toMatchObject([200, { class: '3', steps: 3, seed: 11, stepSize: expect.any(Number) }])
    expect((await post(`${url}/sample`, ask)).body).toEqual(drawn)
    expect((await post(`${url}/sample`, { ...ask, class: 3 })).body).toEqual(drawn)
    expect(((await post(`${url}/sample`, { ...ask, seed: 12 })).body as Drawn).samples).not.toEqual(drawn.samples)
    const raw = drawn.samples.flat(3)
    expect(raw).toHaveLength(256)
    for (const v of raw) expect(v).toSatisfy((r: number) => r >= 0 && r <= 16)
    const x = hostTensor(
      Float32Array.from(raw, (v) => v / 8 - 1),
      [4, 1, 8, 8],
    )
    const energies = await digits.run.model.energy(x)
    for (const [i, e] of drawn.energies.entries()) expect(e).toBeCloseTo(energies[i] as number, 3)
  })

  test('without a seed every answer is another, and tells its seed', async () => {
    const [a, b] = [await post(`${url}/sample`, { steps: 1 }), await post(`${url}/sample`, { steps: 1 })]
    expect((a.body as Drawn).seed).not.toBe((b.body as Drawn).seed)
    expect((a.body as Drawn).class).toBeNull()
    const again = await post(`${url}/sample`, { steps: 1, seed: (a.body as Drawn).seed })
    expect(again.body).toEqual(a.body)
  })

  test('a picture for who accepts one: the very samples, black to white', async () => {
    const ask = { count: 5, steps: 2, seed: 3 }
    const picture = await post(`${url}/sample`, ask, { accept: 'image/png,*/*;q=0.1' })
    expect(picture.headers.get('content-type')).toBe('image/png')
    expect(picture.headers.get('langevin-seed')).toBe('3')
    const { width, channels, data } = decode(picture.body as Uint8Array)
    const samples = ((await post(`${url}/sample`, ask)).body as Drawn).samples
    // Three columns of 8 pixels, enlarged, with two white pixels between.
    const scale = (width - 8) / 24
    expect([channels, Number.isInteger(scale)]).toEqual([1, true])
    for (const [i, y, x] of [
      [0, 0, 0],
      [1, 3, 4],
      [4, 7, 7],
    ] as const) {
      const [top, left] = [Math.floor(i / 3), i % 3].map((at) => 2 + at * (8 * scale + 2)) as [number, number]
      const value = samples[i]?.[0]?.[y]?.[x] as number
      expect(data[(top + y * scale) * width + left + x * scale]).toBe(Math.round((value / 16) * 255))
    }
    const plain = await post(`${url}/sample`, ask, { accept: 'application/json, image/png' })
    expect(plain.headers.get('content-type')).toMatch('application/json')
  })

  test.each<[string, unknown, Record<string, string>, number, string, RegExp]>([
    ['no body', '', {}, 400, 'E_BODY', /empty/],
    ['bytes', new Uint8Array(4), { 'content-type': 'image/png' }, 415, 'E_MEDIA_TYPE', /expected application\/json/],
    ['too many', { count: 17 }, {}, 422, 'E_VALUE', /'count' is 17; expected a whole number in 1..16/],
    ['too long a chain', { steps: 41 }, {}, 422, 'E_VALUE', /'steps' is 41; expected a whole number in 1..40/],
    ['half a sample', { count: 1.5 }, {}, 422, 'E_VALUE', /'count' is 1.5/],
    ['an unknown class', { class: 'ten' }, {}, 422, 'E_VALUE', /'class' is 'ten'; expected a name, one of '0', '1'/],
    ['a class beyond', { class: 10 }, {}, 422, 'E_VALUE', /index in 0..9/],
    ['no step size', { stepSize: 0 }, {}, 422, 'E_VALUE', /'stepSize' is 0; expected a positive/],
    ['what the sampler has not', { noiseScale: 1 }, {}, 422, 'E_VALUE', /no input noise_scale/],
    ['a negative seed', { seed: -1 }, {}, 422, 'E_VALUE', /'seed' is -1/],
    ['an unknown field', { number: 3 }, {}, 422, 'E_VALUE', /no 'number'/],
    [
      'a foreign type',
      { count: 1 },
      { accept: 'text/html' },
      406,
      'E_ACCEPT',
      /expected application\/json or image\/png/,
    ],
  ])('refuses %s', async (_, body, headers, status, code, message) => {
    const answer = await post(`${url}/sample`, body, headers)
    expect([answer.status, (answer.body as Refused).error]).toMatchObject([status, { code }])
    expect((answer.body as Refused).error.message).toMatch(message)
  })

  test('says so where there is no sampler', async () => {
    const { url: other } = await serve(digits.path, { sampler: false })
    const { status, body } = await post(`${other}/sample`, {})
    expect([status, (body as Refused).error.code]).toEqual([501, 'E_NO_SAMPLER'])
    expect(await (await fetch(`${other}/health`)).json()).toMatchObject({ status: 'ready', sample: false })
  })
})

describe('the rest', () => {
  test('/health, /model and /metrics', async () => {
    const health = await fetch(`${url}/health`)
    expect(health.status).toBe(200)
    expect(await health.json()).toMatchObject({
      ...{ status: 'ready', name: 'jempp on digits', sample: true, queue: { rows: 0, samples: 0 } },
      versions: { onnxruntime: expect.stringMatching(/^\d/), node: process.versions.node },
    })
    expect(await (await fetch(`${url}/model`)).json()).toMatchObject({
      format: 1,
      method: 'jempp',
      classes: { length: 10 },
    })
    const metrics = await fetch(`${url}/metrics`)
    expect(metrics.headers.get('content-type')).toBe('text/plain; version=0.0.4; charset=utf-8')
    const text = await metrics.text()
    const value = (name: string) =>
      Number(new RegExp(`^${name.replace(/[{}+]/g, '\\$&')} (\\S+)$`, 'm').exec(text)?.[1])
    expect(value('langevin_requests_total{route="/classify",status="413"}')).toBe(2)
    expect(value('langevin_examples_total')).toBeGreaterThan(100)
    expect(value('langevin_out_of_distribution_total')).toBeGreaterThanOrEqual(5)
    expect(value('langevin_batch_rows_sum')).toBeGreaterThanOrEqual(value('langevin_examples_total'))
    expect(value('langevin_request_seconds_bucket{route="/classify",le="+Inf"}')).toBe(
      value('langevin_request_seconds_count{route="/classify"}'),
    )
    // Every line is a comment or a name with a value, and buckets do not fall.
    for (const line of text.trimEnd().split('\n'))
      expect(line).toMatch(/^(# (HELP|TYPE) \S+ .+|[a-z_]+(\{[^}]+\})? \S+)$/)
    const buckets = [...text.matchAll(/^langevin_batch_rows_bucket\S+ (\d+)$/gm)].map((m) => Number(m[1]))
    expect(buckets).toEqual(buckets.toSorted((a, b) => a - b))
  })

  test('HEAD is GET without a body; other methods and paths are refused', async () => {
    const head = await fetch(`${url}/health`, { method: 'HEAD' })
    expect([head.status, await head.text()]).toEqual([200, ''])
    const cases = [
      ['GET', '/classify', 405, 'E_METHOD', 'POST'],
      ['DELETE', '/health', 405, 'E_METHOD', 'GET, HEAD'],
      ['PUT', '/sample?x=1', 405, 'E_METHOD', 'POST'],
      ['GET', '/', 404, 'E_NOT_FOUND', null],
      ['POST', '/clasify', 404, 'E_NOT_FOUND', null],
      ['GET', '/%zz', 400, 'E_REQUEST', null],
    ] as const
    for (const [method, path, status, code, allow] of cases) {
      const answer = await fetch(url + path, { method })
      expect([path, answer.status, answer.headers.get('allow')]).toEqual([path, status, allow])
      expect(((await answer.json()) as Refused).error).toMatchObject({ code, message: expect.stringMatching(/./) })
    }
  })
})
