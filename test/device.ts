/**
 * The device that tests run on: LANGEVIN_TEST_DEVICE ('cuda', 'cuda:1'), else the CPU; vitest.config.ts makes it the default device and turns TF32 off,
 * so that float32 is compared with float32. What is compared with stays in JavaScript, in golden files or on the CPU. scripts/gpu-check.sh sets it.
 * Not a test itself.
 */
import { type Device, isDevice } from '../lib/runtime/devices.ts'

const given = process.env.LANGEVIN_TEST_DEVICE ?? ''
if (given !== '' && !isDevice(given)) throw new Error(`LANGEVIN_TEST_DEVICE must be cpu or cuda; got '${given}'`)

export const testDevice: Device = isDevice(given) ? given : 'cpu'

/** For what is the CPU's own (layouts, threads, machine code): such tests are reported as skipped on another device. */
export const elsewhere: boolean = testDevice !== 'cpu'

/** Do products and convolutions multiply TF32 here, 11 bits of mantissa? Then comparisons are as coarse. */
export const tf32: boolean = elsewhere && process.env.LANGEVIN_TF32 !== '0'

/** Largest relative error of an operand that is rounded to TF32. */
const TF32 = 2 ** -11

/**
 * A relative tolerance meant for the CPU, on this device: the same on the CPU; elsewhere at least `least`, as sums are taken in another order and exp,
 * log and sin differ in their last bits; with TF32 what a product of rounded operands, read by a few more, may be off.
 */
export function tolerance(onCpu: number, least = 0): number {
  if (!elsewhere) return onCpu
  return Math.max(onCpu, least, tf32 ? 16 * TF32 : 0)
}
