/** No two draws of a run share a stream: the numbers in streams.ts, with the widths that its comments give, do not overlap. */
import { expect, test } from 'vitest'
import { STREAM } from '../../lib/trainers/streams.ts'

/** Streams that each takes, where it is more than one. */
const widths: Partial<Record<keyof typeof STREAM, number>> = {
  augmentData: 4,
  augmentLabelled: 4,
  augmentStart: 4,
  augmentFlow: 4,
  start: 16,
  classStart: 16,
  objective: 8,
  objective2: 8,
  noise: 16,
  flow: 8,
  attack: 2,
  chain: 1000,
  classChain: 1000,
  unrolledChain: 1000,
}

test('streams do not overlap', () => {
  const ranges = Object.entries(STREAM)
    .map(([name, first]) => ({ name, first, last: first + (widths[name as keyof typeof STREAM] ?? 1) - 1 }))
    .sort((a, b) => a.first - b.first)
  const clashes = ranges
    .slice(1)
    .flatMap((r, i) => ((ranges[i]?.last ?? 0) >= r.first ? [`${ranges[i]?.name} and ${r.name}`] : []))
  expect(clashes).toEqual([])
})
