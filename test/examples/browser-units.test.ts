/** examples/browser without a browser: strokes to pictures that the shipped model reads, contour lines, langevin.json. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { normalise, readBundle } from '../../examples/browser/src/bundle.ts'
import { contour, roundLevels } from '../../examples/browser/src/contours.ts'
import { FULL, inkOf, type Stroke } from '../../examples/browser/src/strokes.ts'
import { hostTensor } from '../../lib/graph/host-tensor.ts'
import { openOnnx } from '../../lib/onnx/verify.ts'
import { digitStrokes, scribble } from './browser-digits.ts'
import { example } from './browser-site.ts'

const models = join(example, 'public/models')
const manifest: unknown = JSON.parse(readFileSync(join(models, 'digits/langevin.json'), 'utf8'))
const base = new URL('http://example.org/models/digits/')

test('every digit, as strokes, is what it is to the shipped model, and in distribution; a scribble is not', async () => {
  const bundle = readBundle(manifest, base)
  const session = await openOnnx(join(models, 'digits/model.onnx'), 1)
  const inks = [...digitStrokes, scribble].map((strokes) => inkOf(strokes, 100))
  const x = hostTensor(
    normalise(
      bundle,
      inks.flatMap((ink) => [...ink]),
    ),
    [inks.length, 1, 8, 8],
  )
  const outputs = await session.run(new Map([['x', x]]))
  await session.release()
  const logits = outputs.get('logits')?.data as Float32Array
  const logP = outputs.get('log_prob_unnormalized')?.data as Float32Array
  for (let digit = 0; digit < 10; digit++) {
    const row = [...logits.subarray(10 * digit, 10 * digit + 10)]
    expect(row.indexOf(Math.max(...row))).toBe(digit)
    expect(logP[digit]).toBeGreaterThan(bundle.threshold as number)
  }
  expect(logP[10]).toBeLessThan(bundle.threshold as number)
})

test('strokes become the same picture wherever and however large they are drawn', () => {
  const move = (strokes: readonly Stroke[], scale: number, x: number, y: number): Stroke[] =>
    strokes.map((s) => s.map((p) => ({ x: x + scale * p.x, y: y + scale * p.y })))
  const ink = inkOf(digitStrokes[3] as readonly Stroke[], 100)
  expect(inkOf(move(digitStrokes[3] as readonly Stroke[], 0.5, 40, 7), 100)).toEqual(ink)
  expect(Math.max(...ink)).toBeLessThanOrEqual(FULL)
  // From edge to edge, as in the data.
  for (const row of [0, 7]) expect(ink.subarray(8 * row, 8 * row + 8).some((v) => v > 0)).toBe(true)
  expect([...inkOf([], 100)].every((v) => v === 0)).toBe(true)
  // A dot stays a dot in the middle.
  const dot = inkOf([[{ x: 10, y: 90 }]], 100)
  expect([dot[0], dot[7], dot[56], dot[63]]).toEqual([0, 0, 0, 0])
  expect(dot[27]).toBeGreaterThan(0)
})

test('contour lines of a cone are circles', () => {
  const side = 41
  const values = Float64Array.from({ length: side * side }, (_, i) =>
    Math.hypot((i % side) - 20, Math.floor(i / side) - 20),
  )
  const segments = contour(values, side, 10)
  let length = 0
  for (const [a, b, c, d] of segments) {
    for (const [x, y] of [
      [a, b],
      [c, d],
    ] as const)
      expect(Math.abs(Math.hypot(x - 20, y - 20) - 10)).toBeLessThan(0.02)
    length += Math.hypot(c - a, d - b)
  }
  expect(length).toBeCloseTo(20 * Math.PI, 0)
  expect(contour(values, side, 1000)).toEqual([])
  expect(contour(values.fill(Number.NaN, 0, 20 * side), side, 10).length).toBeLessThan(segments.length)
})

test('a saddle is cut by its middle: the two high corners joined or not', () => {
  const joined = contour([4, 0, 0, 4], 2, 1.9)
  const apart = contour([4, 0, 0, 4], 2, 2.1)
  expect(joined).toHaveLength(2)
  expect(apart).toHaveLength(2)
  // Lines around the low corners, upper right and lower left; then around the high ones.
  const corner = ([a, b, c, d]: readonly number[]): string =>
    `${Math.round((a ?? 0) + (c ?? 0))}${Math.round((b ?? 0) + (d ?? 0))}`
  expect(joined.map(corner).sort()).not.toEqual(apart.map(corner).sort())
})

test('round levels', () => {
  expect(roundLevels(0.5, 12.5, 8)).toEqual([2, 4, 6, 8, 10, 12])
  expect(roundLevels(1, 1, 8)).toEqual([])
})

test('langevin.json: addresses, scaling, and what is wrong with another', () => {
  const bundle = readBundle(manifest, base)
  expect(bundle.model.url).toBe('http://example.org/models/digits/model.onnx')
  expect([...normalise(bundle, [0, 8, 16])]).toEqual([-1, 0, 1])
  const broken =
    (change: object): (() => unknown) =>
    () =>
      readBundle({ ...(manifest as object), ...change }, base)
  expect(broken({ format: 2 })).toThrow(/format is 2/)
  expect(broken({ model: { file: 7 } })).toThrow(/model\.file must be a text; got 7/)
  expect(broken({ input: { shape: 'x', range: null } })).toThrow(/input\.shape must be a list/)
  expect(broken({ outOfDistribution: { threshold: null } })).toThrow(/threshold must be a number/)
  expect(() => readBundle(null, base)).toThrow(/must be an object/)
})
