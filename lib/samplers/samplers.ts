/** The registry: options of every kind of sampler, and the sampler that options describe. The samplers themselves stand one a file. */
import { LangevinError, suggestion } from '../graph/errors.ts'
import { makePyld, type PyldOptions } from './pyld.ts'
import type { Sampler } from './sampler.ts'
import { makeSgld, type ProximalSgldOptions, type SgldOptions } from './sgld.ts'

export type { PyldOptions } from './pyld.ts'
export type { ProximalSgldOptions, SgldOptions } from './sgld.ts'

export type SamplerOptions = SgldOptions | ProximalSgldOptions | PyldOptions

type Makers = {
  readonly [K in SamplerOptions['kind']]: (options: Extract<SamplerOptions, { kind: K }>) => Sampler<SamplerOptions>
}

const makers: Makers = {
  sgld: makeSgld,
  proximalSgld: makeSgld,
  pyld: makePyld,
}

/** The kinds that {@link makeSampler} knows. */
export const samplerKinds: readonly SamplerOptions['kind'][] = Object.keys(makers) as SamplerOptions['kind'][]

/** The sampler that the options describe. @throws LangevinError E_CONFIG for unknown kinds and options; RangeError for impossible values. */
export function makeSampler(options: SamplerOptions): Sampler<SamplerOptions> {
  const kind: string = options.kind
  if (!Object.hasOwn(makers, kind)) {
    throw new LangevinError('E_CONFIG', `sampler '${kind}' is not known.${suggestion(kind, samplerKinds)}`)
  }
  return (makers[options.kind] as (options: SamplerOptions) => Sampler<SamplerOptions>)(options)
}
