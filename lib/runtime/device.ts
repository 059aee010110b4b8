/**
 * Tensors in device memory. All work on them is queued on one native thread and done in the order of the calls, so a `read` after a
 * `run` sees its result whether or not the run was awaited.
 */
import { LangevinError } from '../graph/errors.ts'
import { type HostTensor, hostTensor } from '../graph/host-tensor.ts'
import { bytesOf, checkShape, type DType, type Shape, sameShape, showShape, sizeOf } from '../graph/shape.ts'
import { addon, fromNative, type NativeTensor, native } from './addon.ts'
import { checkDevice, type Device } from './devices.ts'

/** A tensor that owns device memory. Its shape and dtype never change. Memory is freed by `dispose`, or with the object. */
export class DeviceTensor {
  readonly device: Device
  readonly dtype: DType
  readonly shape: Shape
  private handle: NativeTensor | undefined

  private constructor(device: Device, dtype: DType, shape: Shape) {
    checkDevice(device)
    checkShape('DeviceTensor', shape)
    this.device = device
    this.dtype = dtype
    this.shape = Object.freeze([...shape])
    try {
      this.handle = new (addon().Tensor)(dtype, shape, device)
    } catch (error) {
      throw fromNative(`DeviceTensor ${dtype}${showShape(shape)}`, error)
    }
  }

  /** A tensor of zeros. @throws LangevinError E_DEVICE when memory does not suffice, E_SHAPE for an impossible shape. */
  static empty(device: Device, dtype: DType, shape: Shape): DeviceTensor {
    return new DeviceTensor(device, dtype, shape)
  }

  /** A tensor with the given contents. */
  static async from(device: Device, value: HostTensor): Promise<DeviceTensor> {
    const tensor = new DeviceTensor(device, value.dtype, value.shape)
    await tensor.write(value)
    return tensor
  }

  /** Elements. */
  get size(): number {
    return sizeOf(this.shape)
  }

  get bytes(): number {
    return this.size * bytesOf[this.dtype]
  }

  get disposed(): boolean {
    return this.handle === undefined
  }

  /** The addon's tensor, for lib/runtime. @throws LangevinError E_DEVICE after `dispose`. */
  get native(): NativeTensor {
    if (this.handle === undefined) {
      throw new LangevinError('E_DEVICE', `the tensor ${this.toString()} has been disposed of`)
    }
    return this.handle
  }

  /** Overwrites the contents; `value` is copied before this returns. @throws LangevinError E_SHAPE, E_DTYPE unless of the same type. */
  async write(value: HostTensor): Promise<void> {
    if (value.dtype !== this.dtype) {
      throw new LangevinError('E_DTYPE', `[write] the tensor is ${this.toString()}; got ${value.dtype}`)
    }
    if (!sameShape(value.shape, this.shape)) {
      throw new LangevinError(
        'E_SHAPE',
        `[write] the tensor is ${this.toString()}; got shape ${showShape(value.shape)}`,
      )
    }
    await native('write', () => this.native.write(value.data))
  }

  /** The contents, after all work that was queued before. */
  async read(): Promise<HostTensor> {
    return hostTensor(await native('read', () => this.native.read()), this.shape, this.dtype)
  }

  /** Copies another tensor of the same type into this one. */
  async copyFrom(from: DeviceTensor): Promise<void> {
    await copyTensors([from], [this])
  }

  /** Frees the memory as soon as work that was queued before is done. Further use throws; a second call does nothing. */
  dispose(): void {
    this.handle?.dispose()
    this.handle = undefined
  }

  toString(): string {
    return `${this.dtype}${showShape(this.shape)}`
  }
}

/** Copies pairwise and in order, on the device. @throws LangevinError E_SHAPE, E_DTYPE where a pair does not fit. */
export async function copyTensors(from: readonly DeviceTensor[], to: readonly DeviceTensor[]): Promise<void> {
  await native('copy', () =>
    addon().copy(
      from.map((t) => t.native),
      to.map((t) => t.native),
    ),
  )
}
