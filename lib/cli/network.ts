/** Completes a configuration's network from the data: shape and classes that it leaves open. Whether the parts fit is checked here, by name. */
import { resolve } from 'node:path'
import type { Dataset } from '../data/dataset.ts'
import { internalError, LangevinError } from '../graph/errors.ts'
import { sameShape } from '../graph/shape.ts'
import { Model } from '../nn/model.ts'
import { buildNetwork } from '../nn/networks.ts'
import type { FlowSpec, NetworkSpec } from '../nn/schema.ts'
import { importOnnx } from '../onnx/import.ts'
import type { Device } from '../runtime/devices.ts'

type Options = { readonly kind: string } & Record<string, unknown>

export interface NetworkModelOptions {
  /** The method trains a classifier. */
  readonly classifier: boolean
  /** The configuration's folder, where relative paths start. */
  readonly base: string
  readonly seed: number
  readonly device: Device
}

/**
 * The model that a configuration's network describes, as training begins with it: initialised by the seed, or with the weights of an ONNX file.
 * @throws LangevinError E_CONFIG for a network that cannot take such data, and what importing a file throws
 */
export async function networkModel(network: NetworkSpec, data: Dataset, options: NetworkModelOptions): Promise<Model> {
  const { classifier, base, seed, device } = options
  if (network.kind !== 'onnx')
    return new Model(buildNetwork(completeNetwork(network, data, classifier)), { seed, device })
  const { kind: _, file, answer, ...rest } = network
  const given = Object.fromEntries(Object.entries(rest).filter(([, v]) => v !== undefined))
  const model = await importOnnx(resolve(base, file), { ...given, ...(answer && { kind: answer }), device })
  const { shape, classes } = model.network
  if (!sameShape(shape, data.shape))
    throw new LangevinError(
      'E_CONFIG',
      `network.file: '${file}' takes examples of [${shape.join(',')}]; data '${data.name}' has [${data.shape.join(',')}]`,
    )
  if (classifier && classes !== data.classes)
    throw new LangevinError(
      'E_CONFIG',
      `network.file: '${file}' has ${classes} classes; data '${data.name}' has ${data.classes}`,
    )
  return model
}

/**
 * The options that `buildNetwork` takes. Where the configuration says nothing of classes they are the data's for a method that trains
 * a `classifier`, and none (an energy alone) for others.
 * @throws LangevinError E_CONFIG for a network that cannot take such data
 */
export function completeNetwork(network: NetworkSpec, data: Dataset, classifier: boolean): Options {
  const { kind } = network
  const ownClasses = classifier ? data.classes : 0
  const { shape, dimensions } = data
  switch (kind) {
    case 'mlp': {
      const { inputs, shape: own } = network
      const takes =
        inputs === undefined && own === undefined ? (shape.length === 1 ? { inputs: dimensions } : { shape }) : {}
      return { ...network, ...takes, classes: network.classes ?? ownClasses }
    }
    case 'convEnergy':
      return { ...network, shape: network.shape ?? imageShape(kind, data), classes: network.classes ?? ownClasses }
    case 'wideResNet': {
      const { channels, size, classes = ownClasses } = network
      if (channels !== undefined && size !== undefined) return { ...network, classes }
      const [c, height, width] = imageShape(kind, data)
      return { ...network, channels: channels ?? c, size: size ?? [height, width], classes }
    }
    case 'flow': {
      const flow: FlowSpec = network.flow ?? (shape.length === 3 ? { kind: 'image' } : { kind: 'spline' })
      if (flow.kind === 'image') return { kind, flow: { ...flow, shape: flow.shape ?? imageShape('flow', data) } }
      return { kind, flow: { ...flow, inputs: flow.inputs ?? vectorSize(flow.kind, data) } }
    }
    case 'rbm': {
      const { visible, shape: own, visibleKind = 'bernoulli' } = network
      const takes = visible === undefined && own === undefined ? { shape } : {}
      return { ...network, ...takes, ...(visibleKind === 'bernoulli' ? binaryValues(network.values, data) : {}) }
    }
    case 'ising':
      return { ...network, shape: network.shape ?? shape, ...binaryValues(network.values, data) }
    case 'potts':
      return pottsOf(network, data)
    case 'onnx':
      throw internalError('a network of a file is not completed from the data')
  }
}

/** Data with a range reach the network as [-1, 1], where 0 and 1 of binary units are -1 and 1. */
function binaryValues(values: readonly [number, number] | undefined, data: Dataset): { values?: readonly number[] } {
  if (values !== undefined) return { values }
  return data.range === null ? {} : { values: [-1, 1] }
}

function pottsOf(network: NetworkSpec & { readonly kind: 'potts' }, data: Dataset): Options {
  const { shape } = data
  if (network.shape === undefined && shape.length < 2) {
    throw new LangevinError(
      'E_CONFIG',
      `network.kind: 'potts' takes one-hot rows [..., states]; data '${data.name}' has rows of [${shape.join(',')}]. Give network.shape and network.states, or use kind 'ising'.`,
    )
  }
  return { ...network, shape: network.shape ?? shape.slice(0, -1), states: network.states ?? shape.at(-1) }
}

function imageShape(kind: string, data: Dataset): readonly [number, number, number] {
  const [channels, height, width] = data.shape
  if (data.shape.length === 3 && channels !== undefined && height !== undefined && width !== undefined)
    return [channels, height, width]
  throw new LangevinError(
    'E_CONFIG',
    `network.kind: '${kind}' takes images; data '${data.name}' has rows of [${data.shape.join(',')}]. Use kind 'mlp'.`,
  )
}

function vectorSize(kind: string, data: Dataset): number {
  if (data.shape.length === 1) return data.dimensions
  throw new LangevinError(
    'E_CONFIG',
    `network.flow.kind: '${kind}' takes rows of numbers; data '${data.name}' has examples of [${data.shape.join(',')}]. Use kind 'image'.`,
  )
}
