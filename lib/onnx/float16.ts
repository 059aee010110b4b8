/** Numbers in IEEE 754 half precision: 1 sign bit, 5 of exponent, 10 of fraction. Node 20 has no Float16Array. Which numbers become half is half.ts's part. */

/** The largest finite half, 2^15 · (2 - 2^-10). */
export const largestHalf = 65504

const float = new Float32Array(1)
const word = new Uint32Array(float.buffer)

/** The half nearest to a float32, ties to even, as bits; too large numbers become infinite. */
export function halfBits(value: number): number {
  float[0] = value
  const bits = word[0] as number
  const sign = (bits >>> 16) & 0x8000
  const magnitude = bits & 0x7fffffff
  if (magnitude > 0x7f800000) return sign | 0x7e00
  // 65520 is halfway between 65504 and what would follow it.
  if (magnitude >= 0x477ff000) return sign | 0x7c00
  if (magnitude >= 0x38800000) return sign | rounded(magnitude - (112 << 23), 13)
  // Subnormal halves count units of 2^-24; below half a unit nothing is left.
  const exponent = magnitude >>> 23
  if (exponent < 102) return sign
  return sign | rounded((magnitude & 0x7fffff) | 0x800000, 126 - exponent)
}

/** x / 2^shift to the nearest integer, ties to even. */
function rounded(x: number, shift: number): number {
  const kept = x >>> shift
  const rest = x & (2 ** shift - 1)
  const middle = 2 ** (shift - 1)
  return rest > middle || (rest === middle && (kept & 1) === 1) ? kept + 1 : kept
}

/** The number that the bits of a half stand for. */
export function fromHalfBits(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1
  const exponent = (bits >>> 10) & 31
  const fraction = bits & 0x3ff
  if (exponent === 31) return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN
  return sign * (exponent === 0 ? fraction * 2 ** -24 : (1024 + fraction) * 2 ** (exponent - 25))
}

/** Little-endian halves of float32 numbers. */
export function toHalfArray(values: Float32Array): Uint16Array {
  const result = new Uint16Array(values.length)
  for (let i = 0; i < values.length; i++) result[i] = halfBits(values[i] as number)
  return result
}
