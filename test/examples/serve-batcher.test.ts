/** The batcher and the lane by themselves, over runs whose end the test decides. */
import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect, test } from 'vitest'
import { Batcher, type BatcherOptions } from '../../examples/serve/src/batcher.ts'
import { Lane } from '../../examples/serve/src/lane.ts'

/** A model that doubles numbers of width 2 and sums rows, and ends when it is told to. */
function harness(options: Partial<BatcherOptions> = {}) {
  const batches: { rows: Float32Array; finish: (error?: Error) => void }[] = []
  const reported: [rows: number, requests: number][] = []
  const run = (rows: Float32Array, count: number) =>
    new Promise<readonly Float32Array[]>((resolve, reject) => {
      const sums = Float32Array.from({ length: count }, (_, i) => (rows[2 * i] as number) + (rows[2 * i + 1] as number))
      const finish = (error?: Error) => (error ? reject(error) : resolve([rows.map((v) => 2 * v), sums]))
      batches.push({ rows, finish })
    })
  const batcher = new Batcher(run, {
    ...{ width: 2, maxBatch: 4, maxDelay: 0, queue: 100, merge: true },
    onBatch: (rows, requests) => reported.push([rows, requests]),
    ...options,
  })
  return { batcher, batches, reported, tick: () => sleep(5) }
}

const rows = (first: number, count = 1) => Float32Array.from({ length: 2 * count }, (_, i) => first + Math.floor(i / 2))

describe('batcher', () => {
  test('gathers what came in the same turn, gives every request its own rows in order', async () => {
    const { batcher, batches, reported, tick } = harness()
    const answers = [batcher.submit(rows(1)), batcher.submit(rows(10, 2)), batcher.submit(rows(20))]
    await tick()
    expect(batches).toHaveLength(1)
    batches[0]?.finish()
    const [one, two, three] = await Promise.all(answers)
    expect(one?.map((c) => [...c])).toEqual([[2, 2], [2]])
    expect(two?.map((c) => [...c])).toEqual([
      [20, 20, 22, 22],
      [20, 22],
    ])
    expect(three?.map((c) => [...c])).toEqual([[40, 40], [40]])
    expect(reported).toEqual([[4, 3]])
  })

  test('what comes while a batch runs is the next batch', async () => {
    const { batcher, batches, tick } = harness()
    const first = batcher.submit(rows(1))
    await tick()
    const later = [batcher.submit(rows(2)), batcher.submit(rows(3))]
    await tick()
    expect(batches).toHaveLength(1)
    batches[0]?.finish()
    await first
    await tick()
    expect(batches[1]?.rows).toEqual(Float32Array.of(2, 2, 3, 3))
    batches[1]?.finish()
    expect((await Promise.all(later)).map((c) => c[1]?.[0])).toEqual([4, 6])
  })

  test('waits maxDelay for company, but not when a batch is full', async () => {
    const { batcher, batches, tick } = harness({ maxDelay: 60 })
    const begun = performance.now()
    const waits = batcher.submit(rows(1))
    await tick()
    expect(batches).toHaveLength(0)
    while (batches.length === 0) await tick()
    expect(performance.now() - begun).toBeGreaterThan(55)
    batches[0]?.finish()
    await waits
    const full = batcher.submit(rows(1, 4))
    await sleep(1)
    expect(batches).toHaveLength(2)
    batches[1]?.finish()
    await full
  })

  test('a long request is split, and a short one does not wait for its end', async () => {
    const { batcher, batches, tick } = harness()
    const long = batcher.submit(rows(100, 10))
    await tick()
    const short = batcher.submit(rows(1))
    batches[0]?.finish()
    await tick()
    expect([...(batches[1]?.rows ?? [])]).toContain(1)
    expect(batches[1]?.rows).toHaveLength(8)
    batches[1]?.finish()
    expect((await short)[1]?.[0]).toBe(2)
    for (let i = 2; i < 4; i++) {
      await tick()
      batches[i]?.finish()
    }
    expect([...((await long)[1] ?? [])]).toEqual(Array.from({ length: 10 }, (_, i) => 2 * (100 + i)))
  })

  test('without merging every batch is of one request', async () => {
    const { batcher, batches, reported, tick } = harness({ merge: false })
    const answers = [batcher.submit(rows(1)), batcher.submit(rows(2, 6)), batcher.submit(rows(9))]
    for (let i = 0; i < 4; i++) {
      await tick()
      batches[i]?.finish()
    }
    expect((await Promise.all(answers)).map((c) => c[1]?.length)).toEqual([1, 6, 1])
    expect(reported).toEqual([
      [1, 1],
      [4, 1],
      [2, 1],
      [1, 1],
    ])
  })

  test('a batch that fails fails its own requests, with all their rows, and no others', async () => {
    const { batcher, batches, tick } = harness()
    const [b, a] = [batcher.submit(rows(2)), batcher.submit(rows(1, 6))]
    await tick()
    expect(batches[0]?.rows).toEqual(Float32Array.of(2, 2, 1, 1, 2, 2, 3, 3))
    const later = batcher.submit(rows(3))
    batches[0]?.finish(new Error('out of memory'))
    await expect(a).rejects.toThrow('out of memory')
    await expect(b).rejects.toThrow('out of memory')
    await tick()
    expect(batches[1]?.rows).toEqual(Float32Array.of(3, 3))
    batches[1]?.finish()
    expect((await later)[1]?.[0]).toBe(6)
    expect(batcher.waiting).toBe(0)
  })

  test('an aborted request leaves the queue, or its result is dropped', async () => {
    const { batcher, batches, tick } = harness()
    const gone = new AbortController()
    const inFlight = batcher.submit(rows(1), gone.signal)
    await tick()
    const waiting = batcher.submit(rows(2), gone.signal)
    const stays = batcher.submit(rows(3))
    expect(batcher.waiting).toBe(2)
    gone.abort(new Error('gone'))
    await expect(inFlight).rejects.toThrow('gone')
    await expect(waiting).rejects.toThrow('gone')
    expect(batcher.waiting).toBe(1)
    batches[0]?.finish()
    await tick()
    expect(batches[1]?.rows).toEqual(Float32Array.of(3, 3))
    batches[1]?.finish()
    await stays
    await expect(batcher.submit(rows(4), gone.signal)).rejects.toThrow('gone')
  })

  test('a full queue refuses, and takes again when there is room', async () => {
    const { batcher, batches, tick } = harness({ queue: 3 })
    const first = batcher.submit(rows(1, 2))
    await expect(batcher.submit(rows(2, 2))).rejects.toMatchObject({
      code: 'E_BUSY',
      statusCode: 503,
      headers: { 'retry-after': '1' },
    })
    await tick()
    const second = batcher.submit(rows(2, 3))
    batches[0]?.finish()
    await tick()
    batches[1]?.finish()
    expect((await Promise.all([first, second])).map((c) => c[1]?.length)).toEqual([2, 3])
  })
})

describe('lane', () => {
  const job = () => {
    let finish = (): void => {}
    const ended = new Promise<void>((resolve) => {
      finish = resolve
    })
    return { finish, run: () => ended }
  }

  test('runs one at a time in order, refuses beyond its length, and goes on after a failure', async () => {
    const lane = new Lane(2)
    const order: string[] = []
    const first = job()
    const named = (name: string) => async () => {
      order.push(name)
      if (name === 'b') throw new Error('b fails')
      return name
    }
    const a = lane.run(first.run)
    const [b, c] = [lane.run(named('b')), lane.run(named('c'))]
    await expect(lane.run(named('d'))).rejects.toMatchObject({ code: 'E_BUSY', statusCode: 503 })
    expect([lane.busy, lane.waiting, order]).toEqual([true, 2, []])
    first.finish()
    await a
    await expect(b).rejects.toThrow('b fails')
    expect([await c, order]).toEqual(['c', ['b', 'c']])
    await sleep(1)
    expect([lane.busy, lane.waiting]).toEqual([false, 0])
  })

  test('an aborted job is not run', async () => {
    const lane = new Lane(2)
    const first = job()
    const a = lane.run(first.run)
    const gone = new AbortController()
    let ran = false
    const b = lane.run(async () => {
      ran = true
    }, gone.signal)
    gone.abort(new Error('gone'))
    await expect(b).rejects.toThrow('gone')
    first.finish()
    await a
    await sleep(1)
    expect(ran).toBe(false)
  })
})
