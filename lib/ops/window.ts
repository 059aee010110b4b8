/** The geometry that convolution and pooling share: windows over [H, W] with stride, padding and dilation. */
import { shapeError } from '../graph/errors.ts'
import { type Shape, showShape } from '../graph/shape.ts'
import { expectInteger } from './check.ts'
import { at } from './ref.ts'

/** One number for both axes, or [height, width]. */
export type Pair = number | readonly [number, number]
/** One number for all sides, [height, width], or [top, left, bottom, right]. */
export type Padding = Pair | readonly [number, number, number, number]

/** Attributes of a window, as plans hold them. */
export type WindowAttrs = {
  /** [h, w] */
  readonly stride: readonly number[]
  /** [top, left, bottom, right] */
  readonly padding: readonly number[]
}

export function pair(value: Pair): [number, number] {
  return typeof value === 'number' ? [value, value] : [value[0], value[1]]
}

export function fourSides(value: Padding): number[] {
  if (typeof value === 'number') return [value, value, value, value]
  return value.length === 4 ? [...value] : [value[0], value[1], value[0], value[1]]
}

/** Checks [h, w] or [top, left, bottom, right]. */
export function expectList(op: string, what: string, list: readonly number[], length: number, least: number): void {
  if (list.length !== length)
    throw new RangeError(`[${op}] ${what} must have ${length} entries; got ${showShape(list)}`)
  list.forEach((v, i) => {
    expectInteger(op, `${what}[${i}]`, v, least)
  })
}

/** Number of windows along [H, W]: floor((size + padding - dilation·(kernel - 1) - 1) / stride) + 1. */
export function windowCounts(
  op: string,
  size: Shape,
  kernel: readonly number[],
  { stride, padding }: WindowAttrs,
  dilation: readonly number[] = [1, 1],
): [number, number] {
  expectList(op, 'stride', stride, 2, 1)
  expectList(op, 'padding', padding, 4, 0)
  expectList(op, 'dilation', dilation, 2, 1)
  expectList(op, 'kernel', kernel, 2, 1)
  const counts = [0, 1].map((i) => {
    const span = at(dilation, i) * (at(kernel, i) - 1) + 1
    const room = at(size, i) + at(padding, i) + at(padding, i + 2)
    if (room < span) {
      throw shapeError(
        op,
        `window of ${span} does not fit ${i === 0 ? 'height' : 'width'} ${at(size, i)} padded to ${room}`,
        {
          size,
          kernel,
          padding,
        },
      )
    }
    return Math.floor((room - span) / at(stride, i)) + 1
  })
  return [at(counts, 0), at(counts, 1)]
}

/** Calls `visit(oh, ow, kh, kw, ih, iw)` for every window element that lies inside the image. */
export function forEachTap(
  size: Shape,
  kernel: readonly number[],
  counts: readonly number[],
  { stride, padding }: WindowAttrs,
  dilation: readonly number[],
  visit: (oh: number, ow: number, kh: number, kw: number, ih: number, iw: number) => void,
): void {
  for (let oh = 0; oh < at(counts, 0); oh++) {
    for (let ow = 0; ow < at(counts, 1); ow++) {
      for (let kh = 0; kh < at(kernel, 0); kh++) {
        const ih = oh * at(stride, 0) - at(padding, 0) + kh * at(dilation, 0)
        if (ih < 0 || ih >= at(size, 0)) continue
        for (let kw = 0; kw < at(kernel, 1); kw++) {
          const iw = ow * at(stride, 1) - at(padding, 1) + kw * at(dilation, 1)
          if (iw >= 0 && iw < at(size, 1)) visit(oh, ow, kh, kw, ih, iw)
        }
      }
    }
  }
}
