/**
 * A factor for gradients that are computed in half precision, so that they neither vanish below 6e-8 nor overflow at 65504 on their way through
 * the layers: loss scaling (Micikevicius et al. 2018, arXiv:1710.03740), once and for all, as an exported graph cannot adapt.
 */
import type { HostTensor } from '../graph/host-tensor.ts'
import type { Model } from '../nn/model.ts'
import { modelFeeds } from './feeds.ts'
import type { ModelDescription } from './metadata.ts'

/** The scaled gradient of the energy by each logit stays at most this, far below the largest half. */
const largest = 4096

/**
 * The power of two that brings the model's score at random inputs to a root mean square of about 1 (powers of two change no digit).
 * `level`: the noise level of a noise-conditioned model, or 'input' where the file takes it.
 */
export async function gradientScale(model: Model, level: ModelDescription['sigma'] = null): Promise<number> {
  const description = { outputs: ['score' as const], sigma: level, opset: 17, precision: 'float16' as const }
  const feeds = modelFeeds(model.network, description, 16, 1)
  const sigma = typeof level === 'number' ? level : feeds.get('sigma')
  const { data } = await model.score(feeds.get('x') as HostTensor, sigma === undefined ? {} : { sigma })
  const finite = Array.from(data).filter(Number.isFinite)
  const size = Math.sqrt(finite.reduce((s, v) => s + v * v, 0) / Math.max(1, finite.length))
  if (size === 0) return 1
  return Math.min(largest, Math.max(1 / largest, 2 ** -Math.round(Math.log2(size))))
}
