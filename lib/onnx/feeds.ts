/** Inputs for an exported file to be tried with: fresh numbers of the kinds that it takes, the same for the same batch and seed. */
import { type HostTensor, hostTensor } from '../graph/host-tensor.ts'
import { sizeOf } from '../graph/shape.ts'
import type { Generator } from '../nn/generator.ts'
import type { Network } from '../nn/network.ts'
import { HostRandom } from '../runtime/host-random.ts'
import type { GeneratorDescription, ModelDescription } from './metadata.ts'
import { type ModelInput, modelInputs } from './model-trace.ts'
import type { Feeds } from './verify.ts'

/**
 * Inputs of a model's file: x uniform, noise levels from the smallest to a hundredfold, classes and base noise at random.
 * Deterministic by batch and seed.
 */
export function modelFeeds(network: Network, description: ModelDescription, batch: number, seed: number): Feeds {
  const { shape, baseShape = [], smallestSigma = 1, classes } = network
  const random = new HostRandom(seed * 1009 + batch)
  const [low, high] = rangeOf(network)
  const made: Readonly<Record<ModelInput, () => HostTensor>> = {
    x: () => floats([batch, ...shape], () => low + (high - low) * random.uniform()),
    y: () =>
      hostTensor(
        Int32Array.from({ length: batch }, () => random.int(classes)),
        [batch],
      ),
    sigma: () => floats([batch], () => smallestSigma * 100 ** random.uniform()),
    z: () => floats([batch, ...baseShape], () => random.normal()),
  }
  return new Map(modelInputs(description).map((name) => [name, made[name]()]))
}

/** Where x is drawn: [-1, 1], the range of scaled data, or inside of the box of a restricted energy, outside of which there is nothing to compare. */
function rangeOf({ config }: Network): readonly [number, number] {
  const rule = config.rule as { readonly kind?: string; readonly low?: number; readonly high?: number } | undefined
  if (config.kind !== 'composition' || rule?.kind !== 'box') return [-1, 1]
  const { low, high } = rule as { readonly low: number; readonly high: number }
  return [Math.max(low, Math.min(-1, high - 2)), Math.min(high, Math.max(1, low + 2))]
}

/** Latents and noise of a generator's file, standard normal. */
export function generatorFeeds(
  generator: Generator,
  description: GeneratorDescription,
  batch: number,
  seed: number,
): Feeds {
  const random = new HostRandom(seed * 1009 + batch)
  const feeds = new Map([['z', floats([batch, generator.latent], () => random.normal())]])
  if (description.noise)
    feeds.set(
      'epsilon',
      floats([batch, ...generator.shape], () => random.normal()),
    )
  return feeds
}

function floats(dims: readonly number[], draw: () => number): HostTensor {
  return hostTensor(Float32Array.from({ length: sizeOf(dims) }, draw), dims)
}
