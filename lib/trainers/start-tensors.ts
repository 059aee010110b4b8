/** Estimates the named tensors that starts read (`start/mean`, `start/factor`, `start/scale`) from a data set. */
import { classGaussians } from '../data/class-gaussians.ts'
import type { Dataset } from '../data/dataset.ts'
import { LangevinError } from '../graph/errors.ts'
import type { HostTensor } from '../graph/host-tensor.ts'
import { partsOf, type SimpleStart, type StartOptions } from '../samplers/starts.ts'

type GaussianStart = Extract<SimpleStart, { kind: 'classGaussians' }>

/** Means and factors of class Gaussians if `start` draws from them; nothing otherwise. */
export async function estimateStart(start: StartOptions, data: Dataset): Promise<Map<string, HostTensor>> {
  const gaussians = partsOf(start).filter((p): p is GaussianStart => p.kind === 'classGaussians')
  const [first, ...others] = gaussians
  if (first === undefined) return new Map()
  if (others.some((o) => JSON.stringify(o) !== JSON.stringify(first))) {
    throw new LangevinError('E_CONFIG', 'start: a mixture may hold class Gaussians once, in one form')
  }
  const { form = 'full', rank = 64, jitter = 1e-4 } = first
  const estimate = await classGaussians(data, { form: form === 'lowRank' ? { lowRank: rank } : form, jitter })
  const out = new Map<string, HostTensor>([['start/mean', estimate.mean]])
  if ('factor' in estimate && estimate.factor !== undefined) out.set('start/factor', estimate.factor)
  if ('scale' in estimate && estimate.scale !== undefined) out.set('start/scale', estimate.scale)
  return out
}
