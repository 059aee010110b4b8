/** Conversions from the number types that files hold to the three that a host tensor knows, with a check that the values fit. */
import { dataError } from './content.ts'

export type NumberArray =
  | Uint8Array
  | Int8Array
  | Uint16Array
  | Int16Array
  | Uint32Array
  | Int32Array
  | Float32Array
  | Float64Array

/** Rounds to float32; a finite value beyond its range is an E_DATA error that names the element. */
export function narrowToFloat32(path: string, numbers: Float64Array): Float32Array {
  const out = Float32Array.from(numbers)
  for (let i = 0; i < out.length; i++) {
    const x = numbers[i] as number
    if (Math.abs(out[i] as number) === Infinity && Math.abs(x) !== Infinity) {
      throw dataError(path, `element ${i} is ${x}, which does not fit float32`)
    }
  }
  return out
}

/** Whole numbers to int32; one that does not fit is an E_DATA error that names the element. */
export function narrowToInt32(path: string, numbers: Uint32Array | BigInt64Array | BigUint64Array): Int32Array {
  const out = new Int32Array(numbers.length)
  for (let i = 0; i < out.length; i++) {
    const x = numbers[i] as number | bigint
    out[i] = Number(BigInt.asIntN(32, BigInt(x)))
    if (BigInt(out[i] as number) !== BigInt(x)) throw dataError(path, `element ${i} is ${x}, which does not fit int32`)
  }
  return out
}
