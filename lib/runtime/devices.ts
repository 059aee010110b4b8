/**
 * Devices by name, which one is meant where none is given, and what of CUDA was found on this machine. Tensors on them are device.ts's.
 */
import { LangevinError } from '../graph/errors.ts'
import { addon, native } from './addon.ts'

/** Where plans run and tensors live: the processor, or an NVIDIA GPU (`'cuda'` is the first, `'cuda:0'`). */
export type Device = 'cpu' | 'cuda' | `cuda:${number}`

/** Of computations on plain numbers. */
export interface DeviceOption {
  /** Where they run; default the default device (`setDefaultDevice`). */
  readonly device?: Device | undefined
}

/** A library of NVIDIA's that was found, or the sentence that tells what to install. */
export type CudaLibrary = { readonly version: string; readonly path: string } | { readonly missing: string }

/** What was found of CUDA. */
export interface CudaInfo {
  /** Whether there are a plugin, a driver and a GPU. A missing library is told by what needs it. */
  readonly available: boolean
  /** Where it is not available: what is missing and what to do. */
  readonly reason?: string
  /** Path of the plugin, whether it is there or not. */
  readonly plugin?: string
  /** The CUDA version that the driver is for. */
  readonly driver?: string
  /** GPUs: 'cuda:0', 'cuda:1', ...; memory in bytes. */
  readonly devices?: readonly { readonly name: string; readonly capability: string; readonly memory: number }[]
  readonly libraries?: Readonly<Record<string, CudaLibrary>>
}

/** Bytes of a device's memory. */
export interface DeviceMemory {
  /** What this process holds in tensors, plans and scratch; and the most so far. */
  readonly used: number
  readonly peak: number
  /** Of the device; both 0 where it does not tell. */
  readonly free: number
  readonly total: number
}

/** What device names look like. The pattern of {@link checkDevice}, for other checks of words. */
const pattern = /^(cpu|cuda|cuda:(0|[1-9][0-9]{0,3}))$/

/** Is this the name of a device, whether or not there is one? */
export function isDevice(name: unknown): name is Device {
  return typeof name === 'string' && pattern.test(name)
}

let described: CudaInfo | undefined

/** Looks for plugin, driver and GPUs at the first call. @throws LangevinError E_NATIVE_MISSING without the addon */
export function cudaInfo(): CudaInfo {
  described ??= JSON.parse(addon().info().cuda) as CudaInfo
  return described
}

/** The devices that can be used here, 'cpu' first. */
export function availableDevices(): Device[] {
  const { available, devices = [] } = cudaInfo()
  return ['cpu', ...(available ? devices.map((_, i): Device => `cuda:${i}`) : [])]
}

/** @throws LangevinError E_DEVICE for a device that is not here, saying what is missing; TypeError for what is no device's name. */
export function checkDevice(device: Device): void {
  if (device === 'cpu') return
  if (!isDevice(device))
    throw new TypeError(`device must be 'cpu', 'cuda' or 'cuda:' and a number; got ${JSON.stringify(device)}`)
  const { available, reason, devices = [] } = cudaInfo()
  if (!available) {
    const why = reason ?? 'no reason is known'
    throw new LangevinError('E_DEVICE', `device '${device}' cannot be used: ${why}; or use device 'cpu'`, { device })
  }
  const ordinal = device === 'cuda' ? 0 : Number(device.slice('cuda:'.length))
  if (ordinal < devices.length) return
  const names = devices.map(({ name }, i) => `cuda:${i} (${name})`).join(', ')
  throw new LangevinError('E_DEVICE', `device '${device}' is not here; there are: cpu, ${names || 'no GPU'}`, {
    device,
  })
}

/**
 * The device that a word means: 'auto' is 'cuda' where that is available, else 'cpu'; undefined is the default device.
 * @throws LangevinError E_DEVICE, TypeError as {@link checkDevice}
 */
export function chosenDevice(word: Device | 'auto' | undefined): Device {
  if (word === undefined) return defaultDevice()
  if (word === 'auto') return cudaInfo().available ? 'cuda' : 'cpu'
  checkDevice(word)
  return word
}

let standard: Device | undefined

/**
 * Where models and computations on plain numbers live that are told no device: what {@link setDefaultDevice} said, else LANGEVIN_DEVICE
 * ('cpu', 'cuda', 'cuda:1', or 'auto': a GPU where there is one), else 'cpu'.
 * @throws LangevinError E_CONFIG for another value of LANGEVIN_DEVICE, E_DEVICE where that device is not here
 */
export function defaultDevice(): Device {
  standard ??= fromEnvironment(process.env.LANGEVIN_DEVICE)
  return standard
}

/** The default device from now on; what exists already stays where it is. @throws LangevinError E_DEVICE, TypeError as {@link checkDevice} */
export function setDefaultDevice(device: Device | 'auto'): void {
  standard = chosenDevice(device)
}

function fromEnvironment(text: string | undefined): Device {
  const word = text?.trim() ?? ''
  if (word === '') return 'cpu'
  if (word === 'auto' || isDevice(word)) return chosenDevice(word)
  throw new LangevinError(
    'E_CONFIG',
    `LANGEVIN_DEVICE must be cpu, cuda, cuda:1 (or another number) or auto; got '${text}'`,
    {
      value: text,
    },
  )
}

/** Memory of a device; default the default device. @throws LangevinError E_DEVICE, TypeError as {@link checkDevice} */
export function deviceMemory(device: Device = defaultDevice()): Promise<DeviceMemory> {
  checkDevice(device)
  return native('memory', () => addon().memory(device))
}
