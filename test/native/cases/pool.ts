/** Pooling and resizing on a device against naive float64 loops: borders, ties, NaN, both orders of images; gradients as exact transposes. Not a test itself. */
import { describe, test } from 'vitest'
import { type Array64, between, expectOp, type Random, uniform, zeros } from '../one-op.ts'
import { generator } from '../plan-json.ts'

interface Case {
  readonly shape: readonly [number, number, number, number]
  readonly kernel: readonly [number, number]
  readonly stride: readonly [number, number]
  readonly padding: readonly [number, number, number, number]
}

function outputShape({ shape: [n, c, h, w], kernel, stride, padding: [t, l, b, r] }: Case): number[] {
  return [
    n,
    c,
    Math.floor((h + t + b - kernel[0]) / stride[0]) + 1,
    Math.floor((w + l + r - kernel[1]) / stride[1]) + 1,
  ]
}

/** Calls visit(output index, input indices of its window in row-major order). */
function eachWindow(g: Case, visit: (out: number, taps: number[]) => void): void {
  const [n, c, h, w] = g.shape
  const [, , oh, ow] = outputShape(g) as [number, number, number, number]
  for (let i = 0; i < n * c * oh * ow; i++) {
    const [q, p, plane] = [i % ow, Math.floor(i / ow) % oh, Math.floor(i / (ow * oh))]
    const taps: number[] = []
    for (let k = 0; k < g.kernel[0] * g.kernel[1]; k++) {
      const row = p * g.stride[0] - g.padding[0] + Math.floor(k / g.kernel[1])
      const column = q * g.stride[1] - g.padding[1] + (k % g.kernel[1])
      if (row >= 0 && column >= 0 && row < h && column < w) taps.push((plane * h + row) * w + column)
    }
    visit(i, taps)
  }
}

const add = (t: Array64, i: number, v: number): void => {
  t.data[i] = (t.data[i] as number) + v
}

async function checkAverage(g: Case, countIncludePad: boolean, random: Random, device: string): Promise<void> {
  const [x, dy] = [uniform(g.shape, random), uniform(outputShape(g), random)]
  const [y, dx] = [zeros(dy.shape), zeros(x.shape)]
  eachWindow(g, (i, taps) => {
    const count = countIncludePad ? g.kernel[0] * g.kernel[1] : taps.length
    for (const k of taps) {
      add(y, i, (x.data[k] as number) / count)
      add(dx, k, (dy.data[i] as number) / count)
    }
  })
  const attr = { kernel: g.kernel, stride: g.stride, padding: g.padding, countIncludePad }
  await expectOp('avgpool2d', [x], attr, y, 1e-6, device)
  await expectOp('avgpool2d_grad', [dy], { ...attr, inputSize: g.shape.slice(2) }, dx, 1e-6, device)
}

/** `special` scatters NaN and -Infinity; values are thirds, so that there are ties. */
async function checkMaximum(g: Case, special: boolean, random: Random, device: string): Promise<void> {
  const raw = uniform(g.shape, random).data.map((v) => {
    const draw = special ? random() : 1
    return draw < 0.05 ? Number.NaN : draw < 0.15 ? Number.NEGATIVE_INFINITY : Math.fround(Math.round(v * 3) / 3)
  })
  const [x, t, dy] = [{ shape: g.shape, data: raw }, uniform(g.shape, random), uniform(outputShape(g), random)]
  const [y, dx, selected] = [zeros(dy.shape), zeros(x.shape), zeros(dy.shape)]
  eachWindow(g, (i, taps) => {
    const values = taps.map((k) => x.data[k] as number)
    const nan = values.findIndex((v) => Number.isNaN(v))
    const first = nan >= 0 ? nan : values.indexOf(Math.max(...values))
    y.data[i] = first < 0 ? Number.NEGATIVE_INFINITY : (values[first] as number)
    if (first < 0) return
    add(dx, taps[first] as number, dy.data[i] as number)
    selected.data[i] = t.data[taps[first] as number] as number
  })
  const attr = { kernel: g.kernel, stride: g.stride, padding: g.padding }
  await expectOp('maxpool2d', [x], attr, y, 0, device)
  await expectOp('maxpool2d_grad', [x, dy], attr, dx, 1e-6, device)
  await expectOp('maxpool2d_select', [x, t], attr, selected, 0, device)
}

const table: Record<string, Case> = {
  halving: { shape: [2, 16, 8, 8], kernel: [2, 2], stride: [2, 2], padding: [0, 0, 0, 0] },
  overlapping: { shape: [2, 32, 7, 6], kernel: [3, 3], stride: [2, 1], padding: [1, 1, 1, 1] },
  'uneven padding': { shape: [1, 3, 5, 4], kernel: [3, 2], stride: [2, 2], padding: [2, 0, 1, 1] },
  'whole image': { shape: [2, 5, 4, 3], kernel: [4, 3], stride: [1, 1], padding: [0, 0, 0, 0] },
  'windows wholly in the padding': { shape: [1, 16, 2, 2], kernel: [1, 2], stride: [1, 1], padding: [2, 1, 1, 2] },
  'one pixel': { shape: [1, 1, 1, 1], kernel: [1, 1], stride: [1, 1], padding: [0, 0, 0, 0] },
  'skipped rows': { shape: [2, 8, 9, 9], kernel: [1, 2], stride: [3, 3], padding: [0, 0, 0, 0] },
  large: { shape: [4, 32, 32, 32], kernel: [2, 2], stride: [2, 2], padding: [0, 0, 0, 0] },
  'no batch': { shape: [0, 3, 4, 4], kernel: [2, 2], stride: [2, 2], padding: [0, 0, 0, 0] },
}

/** Weights of output i over an axis of `size`: pairs [input, weight]. */
function taps(i: number, size: number, out: number, mode: string, alignCorners: boolean): [number, number][] {
  if (mode === 'nearest') return [[Math.floor((i * size) / out), 1]]
  const centre = alignCorners ? (out === 1 ? 0 : (i * (size - 1)) / (out - 1)) : ((i + 0.5) * size) / out - 0.5
  const at = Math.min(Math.max(centre, 0), size - 1)
  const low = Math.floor(at)
  return low === at
    ? [[low, 1]]
    : [
        [low, 1 - (at - low)],
        [low + 1, at - low],
      ]
}

/** Defines the tests. */
export function testPooling(device: string): void {
  describe('pooling', () => {
    for (const [name, g] of Object.entries(table)) {
      test(`average: ${name}`, async () => {
        await checkAverage(g, true, generator(1), device)
        await checkAverage(g, false, generator(2), device)
      })
      test(`maximum: ${name}`, async () => {
        await checkMaximum(g, false, generator(3), device)
        await checkMaximum(g, true, generator(4), device)
      })
    }
  })

  describe('resizing', () => {
    const modes = [
      ['nearest', false],
      ['bilinear', false],
      ['bilinear', true],
    ] as const
    const shapes = [
      [
        [2, 16, 4, 4],
        [8, 8],
      ],
      [
        [2, 3, 5, 7],
        [3, 9],
      ],
      [
        [1, 8, 6, 6],
        [1, 1],
      ],
      [
        [2, 1, 1, 1],
        [3, 4],
      ],
      [
        [4, 32, 16, 16],
        [32, 24],
      ],
      [
        [0, 3, 4, 4],
        [2, 2],
      ],
    ] as const
    for (const [mode, alignCorners] of modes) {
      test(`${mode}${alignCorners ? ', corners aligned' : ''}`, async () => {
        const random = generator(between(generator(9), 1, 100))
        for (const [shape, size] of shapes) {
          const [n, c, h, w] = shape
          const [x, dy] = [uniform(shape, random), uniform([n, c, ...size], random)]
          const [y, dx] = [zeros(dy.shape), zeros(x.shape)]
          for (let i = 0; i < dy.data.length; i++) {
            const plane = Math.floor(i / (size[0] * size[1]))
            for (const [row, u] of taps(Math.floor(i / size[1]) % size[0], h, size[0], mode, alignCorners)) {
              for (const [column, v] of taps(i % size[1], w, size[1], mode, alignCorners)) {
                const at = (plane * h + row) * w + column
                add(y, i, u * v * (x.data[at] as number))
                add(dx, at, u * v * (dy.data[i] as number))
              }
            }
          }
          await expectOp('resize2d', [x], { size, mode, alignCorners }, y, 1e-6, device)
          await expectOp('resize2d_grad', [dy], { inputSize: [h, w], mode, alignCorners }, dx, 2e-6, device)
        }
      })
    }
  })
}
