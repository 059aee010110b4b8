/** `langevin.export` of a sampler's file: all that is needed to run the same chain natively, as plain data. */
import { z } from 'zod'
import { amount, positive } from '../runtime/check-options.ts'
import { makeSampler, type SamplerOptions } from '../samplers/samplers.ts'
import { samplerSchema, startSchema } from '../samplers/schema.ts'
import type { StartOptions } from '../samplers/starts.ts'
import { precisions } from './metadata.ts'
import type { SamplerStart } from './sampler-graph.ts'
import type { RandomMode, SamplerSpec } from './sampler-trace.ts'

export const randomModes: readonly RandomMode[] = ['seed', 'noise', 'runtime']

export const samplerDescriptionSchema = z.strictObject({
  /** Every option of the sampler. */
  sampler: samplerSchema as unknown as z.ZodType<SamplerOptions>,
  start: z.union([
    z.literal('input'),
    z.strictObject({
      options: startSchema as unknown as z.ZodType<StartOptions>,
      classes: z.int().min(1),
      bounded: z.boolean(),
    }),
  ]),
  random: z.enum(['seed', 'noise', 'runtime']),
  class: z.union([z.int().min(0), z.literal('input'), z.null()]),
  norm: z.enum(['batch', 'running']),
  sigma: z.union([positive, z.null()]),
  temperature: positive,
  trajectory: z.boolean(),
  opset: z.int().min(17).max(21),
  precision: z.enum(precisions),
  inputs: z.array(z.string()),
  outputs: z.array(z.string()),
  /** Of `steps`, `step_size` and `noise_scale`, where they are inputs. */
  defaults: z.record(z.string(), amount),
})
export type SamplerDescription = z.infer<typeof samplerDescriptionSchema>

/** The chain that a description is of; `tensors` are those of class Gaussians, which it does not hold. */
export function specOfDescription(d: SamplerDescription, tensors: SamplerStart['tensors']): SamplerSpec {
  return {
    sampler: makeSampler(d.sampler),
    start: d.start === 'input' ? 'input' : { ...d.start, ...(tensors && { tensors }) },
    class: d.class ?? undefined,
    norm: d.norm,
    sigma: d.sigma ?? undefined,
    temperature: d.temperature,
    random: d.random,
    trajectory: d.trajectory,
  }
}
