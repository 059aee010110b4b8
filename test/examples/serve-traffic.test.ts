/** The server example under traffic: a thousand requests, clients that dawdle or leave, full queues, and the end of the process. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import autocannon from 'autocannon'
import { beforeAll, describe, expect, test } from 'vitest'
import type { Prediction } from '../../examples/serve/src/classify.ts'
import type { LoadResult } from '../../examples/serve/src/load.ts'
import { folder } from '../trainers/tiny.ts'
import { compile, type DigitsBundle, digitsBundle, post, serve } from './serve-service.ts'

interface Answer {
  readonly predictions: readonly Prediction[]
}

let digits: DigitsBundle

beforeAll(async () => {
  digits = await digitsBundle()
}, 60_000)

const image = (i: number) => [...digits.raw.subarray(64 * i, 64 * (i + 1))]
const slow = { count: 64, steps: 1000 }

describe('a thousand requests over 32 connections', () => {
  test('none is lost, every answer is what the example alone gets, and they ran in batches', async () => {
    const { url, service } = await serve(digits.path)
    const alone: Prediction[] = []
    for (let i = 0; i < 50; i++) {
      const { predictions } = (await post(`${url}/classify`, { instances: [image(i)] })).body as Answer
      alone.push(predictions[0] as Prediction)
    }
    const before = service.metrics.batches
    const answers: string[] = []
    const result = await autocannon({
      ...{ url: `${url}/classify`, connections: 32, amount: 1000 },
      requests: Array.from({ length: 50 }, (_, i) => ({
        method: 'POST' as const,
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ instances: [image(i)] }),
        onResponse: (_status: number, body: string) => {
          answers.push(`${i} ${body}`)
        },
      })),
    })
    expect([result.requests.sent, result['2xx'], result.non2xx, result.errors]).toEqual([1000, 1000, 0, 0])
    expect(answers).toHaveLength(1000)
    for (const answer of answers) {
      const at = answer.indexOf(' ')
      const [p] = (JSON.parse(answer.slice(at)) as Answer).predictions as [Prediction]
      const expected = alone[Number(answer.slice(0, at))] as Prediction
      expect(p.label).toBe(expected.label)
      expect(Math.abs(p.logProb - expected.logProb)).toBeLessThan(1e-4)
      expect(Math.abs((p.probability ?? 0) - (expected.probability ?? 0))).toBeLessThan(1e-5)
    }
    const after = service.metrics.batches
    const batches = after.count - before.count
    expect(batches).toBeGreaterThan(1000 / 64)
    expect(1000 / batches).toBeGreaterThan(2)
  })

  test('classification, samples, refusals and large requests at once', async () => {
    const { url } = await serve(digits.path)
    const jobs = Array.from({ length: 120 }, async (_, n) => {
      if (n % 20 === 7) return (await post(`${url}/sample`, { count: 4, steps: 5 })).status
      if (n % 10 === 3) return (await post(`${url}/classify`, { instances: [[1]] })).status
      const rows = n % 10 === 9 ? 90 : 1
      const { status, body } = await post(`${url}/classify`, {
        instances: Array.from({ length: rows }, (_, i) => image(i)),
      })
      expect((body as Answer).predictions).toHaveLength(rows)
      return status
    })
    const statuses = await Promise.all(jobs)
    for (const [n, status] of statuses.entries())
      expect([n, status]).toEqual([n, n % 20 !== 7 && n % 10 === 3 ? 422 : 200])
  })

  test('a long chain does not hold up classification, and more than may wait are refused', async () => {
    const { url, service } = await serve(digits.path, { sampleQueue: 1, maxSteps: 5000 })
    const order: string[] = []
    const ask = async (name: string, steps: number) => {
      const { status, headers } = await post(`${url}/sample`, { count: 64, steps })
      order.push(name)
      return [status, headers.get('retry-after')]
    }
    const first = ask('first', 1500)
    while (!service.sampling?.lane.busy) await sleep(1)
    const second = ask('second', 1)
    while (service.sampling?.lane.waiting === 0) await sleep(1)
    expect(await ask('third', 1)).toEqual([503, '5'])
    for (let i = 0; i < 5; i++) expect((await post(`${url}/classify`, { instances: [image(i)] })).status).toBe(200)
    order.push('classified')
    expect(await Promise.all([first, second])).toEqual([
      [200, null],
      [200, null],
    ])
    expect(order).toEqual(['third', 'classified', 'first', 'second'])
  })
})

describe('clients that do not behave', () => {
  /** Sends text on a bare connection; gives what came back until it was closed. */
  async function raw(url: string, text: string): Promise<string> {
    const socket = connect(Number(new URL(url).port), '127.0.0.1')
    socket.write(text)
    let answer = ''
    for await (const chunk of socket) answer += chunk
    return answer
  }

  test('a body that does not come is given up; others are served meanwhile', async () => {
    const { url } = await serve(digits.path, { timeout: 400 })
    const head =
      'POST /classify HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{"inst'
    const begun = performance.now()
    const dawdling = raw(url, head)
    expect((await post(`${url}/classify`, { instances: [image(0)] })).status).toBe(200)
    const answer = await dawdling
    expect(answer).toMatch(/^HTTP\/1.1 408 /)
    expect(JSON.parse(answer.slice(answer.indexOf('\r\n\r\n')))).toMatchObject({ error: { code: 'E_RECEIVE_TIMEOUT' } })
    expect(performance.now() - begun).toBeGreaterThan(390)
  })

  test('no HTTP, and a header without end', async () => {
    const { url } = await serve(digits.path)
    expect(await raw(url, 'hello\r\n\r\n')).toMatch(/^HTTP\/1.1 400 [\s\S]*"code":"E_REQUEST"/)
    expect(await raw(url, `GET / HTTP/1.1\r\nx: ${'y'.repeat(20000)}\r\n\r\n`)).toMatch(
      /^HTTP\/1.1 431 [\s\S]*"code":"E_TOO_LARGE"/,
    )
    expect((await fetch(`${url}/health`)).status).toBe(200)
  })

  test('who leaves while waiting for samples leaves the queue', async () => {
    const { url, service } = await serve(digits.path)
    const lane = service.sampling?.lane
    const first = post(`${url}/sample`, slow)
    while (!lane?.busy) await sleep(1)
    const leaving = new AbortController()
    const left = fetch(`${url}/sample`, {
      method: 'POST',
      signal: leaving.signal,
      headers: { 'content-type': 'application/json' },
      body: '{}',
    })
    while (lane.waiting === 0) await sleep(1)
    leaving.abort()
    await expect(left).rejects.toThrow(/abort/)
    while (lane.waiting > 0) await sleep(1)
    expect((await first).status).toBe(200)
    const metrics = await (await fetch(`${url}/metrics`)).text()
    expect(metrics).toMatch(/^langevin_samples_total 64$/m)
  })

  test('what takes too long is answered with 503, and is over for the client', async () => {
    const { url } = await serve(digits.path, { sampleTimeout: 50 })
    const { status, headers, body } = await post(`${url}/sample`, slow)
    expect([status, headers.get('retry-after')]).toEqual([503, '1'])
    expect(JSON.stringify(body)).toMatch(/E_TIMEOUT.*no answer within 50 ms/)
  })

  test('a full queue is answered with 503', async () => {
    const { url } = await serve(digits.path, { queue: 20, maxBatch: 4 })
    const statuses = await Promise.all(
      Array.from(
        { length: 12 },
        async () =>
          (await post(`${url}/classify`, { instances: Array.from({ length: 20 }, (_, i) => image(i)) })).status,
      ),
    )
    expect(new Set(statuses)).toEqual(new Set([200, 503]))
  })
})

describe('the end', () => {
  test('requests under way are answered; new ones are refused; then the port is free', async () => {
    const { url, service } = await serve(digits.path)
    const sampling = post(`${url}/sample`, slow)
    while (!service.sampling?.lane.busy) await sleep(1)
    const stopped = service.stop()
    expect((await sampling).status).toBe(200)
    const answered = performance.now()
    await stopped
    expect(performance.now() - answered).toBeLessThan(5000)
    await expect(fetch(`${url}/health`)).rejects.toThrow(/fetch failed/)
  })

  test('who takes longer than the drain is cut off', async () => {
    const { url, service } = await serve(digits.path, { drain: 50, maxSteps: 100_000, sampleTimeout: 60_000 })
    const sampling = post(`${url}/sample`, { count: 64, steps: 3000 })
    while (!service.sampling?.lane.busy) await sleep(1)
    const stopped = service.stop()
    await expect(sampling).rejects.toThrow(/fetch failed/)
    await stopped
  })

  test('a model whose thread is gone makes the service unhealthy, not dead', async () => {
    const { url, service } = await serve(digits.path)
    await service.classifier.engine.close()
    const { status, body } = await post(`${url}/classify`, { instances: [image(0)] })
    expect([status, body]).toMatchObject([500, { error: { code: 'E_MODEL' } }])
    const health = await fetch(`${url}/health`)
    expect([health.status, await health.json()]).toMatchObject([503, { status: 'failed' }])
  })

  test('SIGTERM: the command answers what is under way and ends with code 0', async () => {
    const child = spawn(process.execPath, [
      join(await compile(), 'main.js'),
      digits.path,
      '--port',
      '0',
      '--threads',
      '1',
    ])
    const url = await readyUrl(child)
    const sampling = post(`${url}/sample`, slow)
    while (!/langevin_sample_queue 0/.test(await (await fetch(`${url}/metrics`)).text())) await sleep(5)
    const classified = post(`${url}/classify`, { instances: [image(0)] })
    expect((await classified).status).toBe(200)
    child.kill('SIGTERM')
    const [code] = await once(child, 'exit')
    expect([code, (await sampling).status]).toEqual([0, 200])
  })

  test('a run that goes on after the drain ends with the process, and so does any at a second signal', async () => {
    const long = { count: 64, steps: 50_000 }
    for (const [drain, signals] of [
      ['100', 1],
      ['60000', 2],
    ] as const) {
      const flags = ['--port', '0', '--threads', '1', '--drain', drain, '--max-steps', '50000']
      const child = spawn(process.execPath, [join(await compile(), 'main.js'), digits.path, ...flags])
      const url = await readyUrl(child)
      const [first, second] = [1, 2].map(() => post(`${url}/sample`, long).catch((error) => String(error)))
      while (!/langevin_sample_queue 1/.test(await (await fetch(`${url}/metrics`)).text())) await sleep(5)
      const ended = once(child, 'exit')
      child.kill('SIGTERM')
      if (signals === 2) {
        await sleep(100)
        child.kill('SIGTERM')
      }
      expect(await ended).toEqual([null, 'SIGTERM'])
      expect(await Promise.all([first, second])).toEqual(Array(2).fill(expect.stringMatching(/fetch failed/)))
    }
  })

  test('the load test counts what it sent and writes its table', async () => {
    const out = join(folder(), 'load.json')
    const args = [digits.path, '--requests', '100', '--concurrency', '1,8', '--out', out, '--threads', '1']
    const child = spawn(process.execPath, [join(await compile(), 'load.js'), ...args])
    let printed = ''
    child.stdout.on('data', (chunk) => {
      printed += chunk
    })
    expect((await once(child, 'close'))[0]).toBe(0)
    const { results } = JSON.parse(readFileSync(out, 'utf8')) as { results: LoadResult[] }
    expect(results.map((r) => [r.batching, r.concurrency, r.sent, r.ok, r.lost])).toEqual(
      [true, false].flatMap((batching) => [1, 8].map((c) => [batching, c, 100, 100, 0])),
    )
    for (const r of results) {
      expect(r.p50).toBeGreaterThan(0)
      expect(r.p99).toBeGreaterThanOrEqual(r.p50)
      if (!r.batching || r.concurrency === 1) expect(r.meanBatch).toBe(1)
    }
    expect(results[1]?.meanBatch).toBeGreaterThan(1)
    expect(printed.split('\n').filter((line) => /^\| (yes|no) \| \d/.test(line))).toHaveLength(4)
  })
})

async function readyUrl(child: ChildProcess): Promise<string> {
  if (child.stdout === null) throw new Error('no output')
  for await (const line of createInterface({ input: child.stdout })) {
    const { msg, url } = JSON.parse(line) as { readonly msg: string; readonly url?: string }
    if (msg !== 'ready' || url === undefined) continue
    child.stdout.resume()
    return url
  }
  throw new Error('the service did not start')
}
