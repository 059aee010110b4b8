/** The public constructors: networks with initial values, ready to train. */
import type { Shape } from '../graph/shape.ts'
import type { Tensor } from '../graph/tensor.ts'
import type { Device } from '../runtime/devices.ts'
import type { Layer } from './layer.ts'
import { Model } from './model.ts'
import type { NetworkOptions } from './network.ts'
import {
  type ConvEnergyOptions,
  convEnergyNetwork,
  energyNetwork,
  type MlpOptions,
  mlpNetwork,
  sequentialNetwork,
  type WideResNetOptions,
  wideResNetNetwork,
} from './networks.ts'
import type { Scope } from './variables.ts'

export interface InitOptions {
  /** Initial values follow from it; default 0. */
  readonly seed?: number
  /** Default: the default device, `setDefaultDevice`. */
  readonly device?: Device
}

/** Multilayer perceptron on [n, inputs] or [n, ...shape]; see MlpOptions. */
export function mlp(options: MlpOptions & InitOptions): Model {
  return new Model(mlpNetwork(options), options)
}

/** Stride-2 convolutions and a linear head; see ConvEnergyOptions. */
export function convEnergy(options: ConvEnergyOptions & InitOptions): Model {
  return new Model(convEnergyNetwork(options), options)
}

/** Wide residual network, JEM++'s architecture; see WideResNetOptions. */
export function wideResNet(options: WideResNetOptions & InitOptions): Model {
  return new Model(wideResNetNetwork(options), options)
}

/**
 * A network of layers, named by index as in PyTorch's Sequential.
 * @example sequential([2], [linear(64), activation('silu'), linear(1)])
 */
export function sequential(shape: Shape, layers: readonly Layer[], options: InitOptions & NetworkOptions = {}): Model {
  return new Model(sequentialNetwork(shape, layers, options), options)
}

/**
 * An energy as a plain function of a graph tensor x [n, ...shape] to energies [n] (or logits [n, classes]); parameters, if any, are declared
 * through the scope. With `sigma: { smallest }` the energy is noise-conditioned, and `scope.sigma()` is the level of each example, [n].
 * @example defineEnergy({ shape: [2] }, (x) => x.square().sum(-1).sqrt().sub(2).square().mul(8))
 */
export function defineEnergy(
  options: { readonly shape: Shape; readonly name?: string } & InitOptions & NetworkOptions,
  energy: (x: Tensor, scope: Scope) => Tensor,
): Model {
  return new Model(energyNetwork(options, energy), options)
}
