/**
 * A run's own way of drawing, as an export writes it: the chain with its starts and the settings that the run itself samples with, or the flow or
 * generator that was trained beside the energy. What cannot leave says why.
 */
import { LangevinError } from '../graph/errors.ts'
import type { FlowModel } from '../nn/flow-model.ts'
import type { GeneratorModel } from '../nn/generator-model.ts'
import type { ExportSamplerOptions } from '../onnx/export-sampler.ts'
import { type SamplerOptions, samplerKinds } from '../samplers/samplers.ts'
import type { StartOptions } from '../samplers/starts.ts'
import { generatorOfRun } from '../trainers/adversarial.ts'
import type { PlainStarts } from '../trainers/chain-starts.ts'
import { FLOW, flowOfRun } from '../trainers/flow-module.ts'
import type { Run, RunChain } from '../trainers/run.ts'

/** What of a run's chain is to leave. */
export interface RunSamplerOptions extends Omit<ExportSamplerOptions, 'start'> {
  /**
   * 'run': the starting points are drawn in the file, where training's chains begin; 'input': they are an input x0. Default 'run', with a simple
   * distribution in its place where training's cannot leave (rows of the data, draws of a flow), which `notes` tells; 'input' with `random: 'noise'`.
   */
  readonly start?: 'run' | 'input'
}

/** A chain ready to be exported. */
export interface RunSampler {
  readonly options: ExportSamplerOptions
  readonly sampler: SamplerOptions
  /** Where the file's chains begin; undefined at its input x0. */
  readonly start: StartOptions | undefined
  readonly notes: readonly string[]
}

/** The chain of a run for export. @throws LangevinError E_CONFIG with the reason, for a run whose chain cannot leave */
export function samplerOfRun(run: Run, asked: RunSamplerOptions = {}): RunSampler {
  const chain = run.chain()
  const reason = whyNot(chain, asked.sampler)
  if (chain === undefined || reason !== undefined)
    throw new LangevinError('E_CONFIG', `exportRunSampler: the chain of this run cannot leave: ${reason}`)
  const { start: where = asked.random === 'noise' ? 'input' : undefined, ...rest } = asked
  // Its options are of the registry: whyNot has seen to that.
  const sampler = asked.sampler ?? (chain.sampler.options as SamplerOptions)
  const starts = where === 'input' ? undefined : startsOf(run, chain, where)
  const perClass = chain.perClass ? { class: 'input' as const } : {}
  const steps = asked.sampler === undefined ? { steps: chain.steps } : {}
  return {
    options: { norm: chain.norm, ...perClass, ...steps, ...rest, sampler, start: starts ?? 'input' },
    sampler,
    start: starts?.options,
    notes: [
      ...(starts !== undefined && chain.start === undefined
        ? [
            `training's chains begin at rows of its data or at draws of another model, which a file cannot hold: these begin at ${JSON.stringify(starts.options)}`,
          ]
        : []),
      ...(chain.norm === 'batch' && run.model.network.variables.some((v) => v.name.endsWith('running_mean'))
        ? [
            `batch norms take each call's own statistics, as in training: the chains of a call depend on each other, so ask for many at a time (training had ${chain.batch})`,
          ]
        : []),
    ],
  }
}

/** Why the chain of a run (or another on its model) cannot leave, if it cannot. */
export function whyNot(chain: RunChain | undefined, other?: SamplerOptions): string | undefined {
  if (chain === undefined) return 'its method draws without chains'
  if (other !== undefined) return undefined
  if (chain.own !== undefined)
    return `sampler '${chain.sampler.kind}' runs over 0 and 1, and this model takes other values; train on data of 0 and 1 (range null)`
  const kinds: readonly string[] = samplerKinds
  if (kinds.includes(chain.sampler.kind)) return undefined
  return `'${chain.sampler.kind}' is an attack, not a sampler; name one, e.g. sampler: { kind: 'sgld' }`
}

/** Training's starts, or the simplest ones. */
function startsOf(run: Run, chain: RunChain, where: 'run' | undefined): PlainStarts {
  if (chain.start !== undefined) return chain.start
  if (where === 'run')
    throw new LangevinError(
      'E_CONFIG',
      "exportRunSampler: this run's chains begin at rows of its data or at draws of another model, which a file cannot hold; use start: 'input'",
    )
  const { range } = run.description.data
  return {
    options: { kind: range === null ? 'normal' : 'uniform' },
    tensors: new Map(),
    classes: chain.starts.classes,
    bounded: range !== null,
  }
}

/**
 * What draws exactly in a run: the model itself if it is a flow, or the flow or generator that was trained beside it.
 * @throws LangevinError E_CONFIG for a run that trained none
 */
export async function exactModelOf(run: Run): Promise<FlowModel | GeneratorModel> {
  if (run.model.network.config.kind === 'flow' || run.modules.includes(FLOW)) return flowOfRun(run)
  return generatorOfRun(run)
}
