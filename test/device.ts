/**
 * The device that tests run on: LANGEVIN_TEST_DEVICE ('cuda', 'cuda:1'), else the CPU. What they compare with stays where it was made, in JavaScript, in
 * golden files or on the CPU. scripts/gpu-check.sh sets it. Not a test itself.
 */
import { setDefaultDevice } from '../lib/index.ts'
import { type Device, isDevice } from '../lib/runtime/devices.ts'

const given = process.env.LANGEVIN_TEST_DEVICE ?? ''
if (given !== '' && !isDevice(given)) throw new Error(`LANGEVIN_TEST_DEVICE must be cpu or cuda; got '${given}'`)

export const testDevice: Device = isDevice(given) ? given : 'cpu'

// Parity is of float32 with float32; read when the plugin is loaded, later in this process. What TF32 rounds has cases of its own.
if (testDevice !== 'cpu' && process.env.LANGEVIN_TF32 === undefined) process.env.LANGEVIN_TF32 = '0'

// Models and computations that are told no device go there too.
setDefaultDevice(testDevice)

/** Do products and convolutions multiply TF32 here, 11 bits of mantissa? Then comparisons are as coarse. */
export const tf32: boolean = testDevice !== 'cpu' && process.env.LANGEVIN_TF32 !== '0'

/** Relative error of a TF32 operand, 2^-11. */
const TF32 = 4.9e-4

/**
 * A relative tolerance meant for the CPU, on this device: as it is on the CPU; elsewhere no less than `least`, as sums are taken in another order and exp,
 * log, sin differ in the last bits; and with TF32 what a product of a few rounded operands may be off.
 */
export function tolerance(onCpu: number, least = 0): number {
  if (testDevice === 'cpu') return onCpu
  return Math.max(onCpu, least, tf32 ? 8 * TF32 : 0)
}
