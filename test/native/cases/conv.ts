/** Convolutions to try on every device: geometries, what they must give (naive loops in float64), a seeded sweep of odd ones. Not a test itself. */
import { type Array64, between, uniform, zeros } from '../one-op.ts'
import { generator } from '../plan-json.ts'

export interface Case {
  readonly n: number
  readonly c: number
  readonly h: number
  readonly w: number
  readonly o: number
  readonly kernel: readonly [number, number]
  readonly stride?: readonly [number, number]
  readonly padding?: readonly [number, number, number, number]
  readonly dilation?: readonly [number, number]
  readonly groups?: number
}

export function geometry(g: Case) {
  const [sh, sw] = g.stride ?? [1, 1]
  const [top, left, bottom, right] = g.padding ?? [0, 0, 0, 0]
  const [dh, dw] = g.dilation ?? [1, 1]
  const oh = Math.floor((g.h + top + bottom - (g.kernel[0] - 1) * dh - 1) / sh) + 1
  const ow = Math.floor((g.w + left + right - (g.kernel[1] - 1) * dw - 1) / sw) + 1
  const attr = { stride: [sh, sw], padding: [top, left, bottom, right], dilation: [dh, dw], groups: g.groups ?? 1 }
  return { sh, sw, top, left, dh, dw, oh, ow, attr, groups: g.groups ?? 1 }
}

/** All three results at once: every term x·w·y of the trilinear form is visited once. */
export function reference(g: Case, x: Array64, w: Array64, bias: Array64, dy: Array64) {
  const { sh, sw, top, left, dh, dw, oh, ow, groups } = geometry(g)
  const [kh, kw] = g.kernel
  const [cg, og] = [g.c / groups, g.o / groups]
  const y = zeros(dy.shape)
  const dx = zeros(x.shape)
  const gradient = zeros(w.shape)
  for (let i = 0; i < dy.data.length; i++) {
    const [q, p] = [i % ow, Math.floor(i / ow) % oh]
    const o = Math.floor(i / (ow * oh)) % g.o
    const n = Math.floor(i / (ow * oh * g.o))
    const up = dy.data[i] as number
    let total = bias.data[o] as number
    for (let k = 0; k < cg * kh * kw; k++) {
      const [b, a] = [k % kw, Math.floor(k / kw) % kh]
      const [row, column] = [p * sh - top + a * dh, q * sw - left + b * dw]
      if (row < 0 || column < 0 || row >= g.h || column >= g.w) continue
      const c = Math.floor(o / og) * cg + Math.floor(k / (kw * kh))
      const at = ((n * g.c + c) * g.h + row) * g.w + column
      const weight = o * cg * kh * kw + k
      total += (x.data[at] as number) * (w.data[weight] as number)
      dx.data[at] = (dx.data[at] as number) + up * (w.data[weight] as number)
      gradient.data[weight] = (gradient.data[weight] as number) + up * (x.data[at] as number)
    }
    y.data[i] = total
  }
  return { y, dx, gradient }
}

/** What the three take and give. */
export function operands(g: Case, seed: number) {
  const random = generator(seed)
  const { oh, ow, groups } = geometry(g)
  const x = uniform([g.n, g.c, g.h, g.w], random)
  const w = uniform([g.o, g.c / groups, ...g.kernel], random)
  const bias = uniform([g.o], random)
  const dy = uniform([g.n, g.o, oh, ow], random)
  return { x, w, bias, dy, ...reference(g, x, w, bias, dy) }
}

export const same = { kernel: [3, 3], padding: [1, 1, 1, 1] } as const
export const table: Record<string, Case> = {
  'digits, first layer': { n: 8, c: 1, h: 8, w: 8, o: 16, ...same },
  'colour, first layer': { n: 4, c: 3, h: 12, w: 12, o: 16, ...same },
  'image as result': { n: 4, c: 32, h: 8, w: 8, o: 3, ...same },
  'blocked, Winograd': { n: 32, c: 32, h: 8, w: 8, o: 32, ...same },
  'blocked, Winograd, edges not full': { n: 32, c: 64, h: 7, w: 7, o: 32, ...same },
  'uneven padding': { n: 32, c: 32, h: 8, w: 8, o: 32, kernel: [3, 3], padding: [0, 1, 1, 0] },
  'stride 2 with a remainder': { n: 3, c: 16, h: 8, w: 9, o: 32, ...same, stride: [2, 2] },
  'stride 2, 1x1, remainder': { n: 3, c: 32, h: 8, w: 7, o: 64, kernel: [1, 1], stride: [2, 2] },
  '1x1': { n: 3, c: 32, h: 5, w: 5, o: 16, kernel: [1, 1] },
  'channels beside the block': { n: 3, c: 12, h: 6, w: 6, o: 20, ...same },
  groups: { n: 2, c: 32, h: 6, w: 6, o: 64, ...same, groups: 2 },
  depthwise: { n: 2, c: 32, h: 6, w: 6, o: 32, ...same, groups: 32 },
  'depthwise, beside the block': { n: 2, c: 5, h: 6, w: 6, o: 10, ...same, groups: 5 },
  dilation: { n: 2, c: 16, h: 9, w: 9, o: 16, kernel: [3, 3], padding: [2, 2, 2, 2], dilation: [2, 2] },
  'kernel larger than the image': { n: 2, c: 16, h: 2, w: 2, o: 16, kernel: [5, 5], padding: [2, 2, 2, 2] },
  'padding as large as the kernel': { n: 2, c: 16, h: 3, w: 3, o: 16, kernel: [2, 2], padding: [3, 2, 4, 2] },
  'one pixel': { n: 1, c: 1, h: 1, w: 1, o: 1, kernel: [1, 1] },
  'wide kernel': { n: 2, c: 3, h: 4, w: 11, o: 4, kernel: [1, 7], padding: [0, 3, 0, 3] },
  'no batch': { n: 0, c: 16, h: 4, w: 4, o: 16, ...same },
  'no channels': { n: 2, c: 0, h: 4, w: 4, o: 16, ...same },
}

/** Odd geometries, the same for a seed. */
export function sweep(count: number): Case[] {
  const random = generator(7)
  const channels = [1, 2, 3, 8, 16, 17, 32]
  const pick = (): number => channels[between(random, 0, channels.length - 1)] as number
  const size = (low: number, high: number): [number, number] => [between(random, low, high), between(random, low, high)]
  const cases: Case[] = []
  for (let i = 0; i < count; i++) {
    const depthwise = random() < 0.2
    const c = pick()
    const g: Case = {
      n: between(random, 1, 4),
      c,
      h: between(random, 1, 9),
      w: between(random, 1, 9),
      o: depthwise ? c : pick(),
      kernel: size(1, 4),
      stride: size(1, 3),
      padding: [...size(0, 2), ...size(0, 2)],
      dilation: size(1, 2),
      groups: depthwise ? c : 1,
    }
    const { oh, ow } = geometry(g)
    if (oh > 0 && ow > 0) cases.push(g)
  }
  return cases
}
