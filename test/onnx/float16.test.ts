/** Half precision: every half comes back from float32 as itself, and what lies between rounds to the nearest, ties to even. */
import { describe, expect, it } from 'vitest'
import { fromHalfBits, halfBits, largestHalf, toHalfArray } from '../../lib/onnx/float16.ts'

describe('halves', () => {
  it('all 65536 are themselves after a trip through float32', () => {
    const wrong: number[] = []
    for (let bits = 0; bits < 65536; bits++) {
      const value = fromHalfBits(bits)
      if (Number.isNaN(value) ? (halfBits(value) & 0x7fff) <= 0x7c00 : halfBits(value) !== bits) wrong.push(bits)
    }
    expect(wrong).toEqual([])
  })

  it('between two neighbours the nearer one is taken, and halfway the even one', () => {
    const wrong: number[] = []
    for (let bits = 0; bits < 0x7bff; bits++) {
      const [a, b] = [fromHalfBits(bits), fromHalfBits(bits + 1)]
      const middle = (a + b) / 2
      const [below, above] = [a + (middle - a) * 0.999, b - (b - middle) * 0.999]
      const even = bits % 2 === 0 ? bits : bits + 1
      for (const [v, want] of [
        [below, bits],
        [above, bits + 1],
        [middle, even],
      ] as const) {
        if (halfBits(v) !== want || halfBits(-v) !== (want | 0x8000)) wrong.push(v)
      }
    }
    expect(wrong).toEqual([])
  })

  it('known numbers', () => {
    // IEEE 754: 1, -2, 65504, the smallest normal, the smallest subnormal, 1/3.
    const known = {
      1: 0x3c00,
      '-2': 0xc000,
      65504: 0x7bff,
      6.103515625e-5: 0x0400,
      5.960464477539063e-8: 1,
      0.3333333333: 0x3555,
    }
    for (const [value, bits] of Object.entries(known)) expect(halfBits(Number(value))).toBe(bits)
    expect(fromHalfBits(0x7bff)).toBe(largestHalf)
    expect([65519, 65520, 1e30, Number.POSITIVE_INFINITY].map(halfBits)).toEqual([0x7bff, 0x7c00, 0x7c00, 0x7c00])
    expect([2.9e-8, 3.1e-8, 1e-40, 0, -0].map(halfBits)).toEqual([0, 1, 0, 0, 0x8000])
    expect([...toHalfArray(Float32Array.of(1, -2))]).toEqual([0x3c00, 0xc000])
  })
})
