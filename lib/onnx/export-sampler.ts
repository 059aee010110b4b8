/**
 * Exports a sampler's whole chain over a model as one ONNX file, a Loop of as many steps as are asked for when it runs, and checks it in ONNX Runtime
 * before leaving it there. The graphs are sampler-graph.ts's part, the check verify-sampler.ts's.
 */
import { checkChoice, checkOptionNames, checkPositive } from '../graph/checks.ts'
import { LangevinError } from '../graph/errors.ts'
import type { Model } from '../nn/model.ts'
import { checkDiscrete } from '../samplers/discrete-check.ts'
import type { Sampler } from '../samplers/sampler.ts'
import { makeSampler, type SamplerOptions } from '../samplers/samplers.ts'
import { checkNetworkOptions } from '../samplers/source.ts'
import { checkPrecision } from './export-model.ts'
import { buildOnnx } from './exporter.ts'
import { gradientScale } from './gradient-scale.ts'
import { toHalf } from './half.ts'
import { exportMetadata, type Precision } from './metadata.ts'
import { runtimeRules } from './random.ts'
import { randomModes, type SamplerDescription } from './sampler-description.ts'
import { classesOf, controlInputs, type SamplerStart } from './sampler-graph.ts'
import { type RandomMode, type SamplerSpec, traceSampler } from './sampler-trace.ts'
import type { Trace } from './trace.ts'
import type { Verification } from './verify.ts'
import { verifySampler } from './verify-sampler.ts'
import { writeVerified } from './write-verified.ts'

export type { SamplerStart } from './sampler-graph.ts'
export type { RandomMode } from './sampler-trace.ts'

export interface ExportSamplerOptions {
  /** Default NUTS, as for `sample`. Step size and scales are the options': `Chains.tunedOptions()` gives those that a warm-up found. */
  readonly sampler?: SamplerOptions
  /** 'input' (default): the chains begin at the input `x0`. Or drawn in the graph; then `y` gives their classes, and how many there are. */
  readonly start?: 'input' | SamplerStart
  /**
   * 'seed' (default): an int64 input `seed` of which every number follows, the same as natively. 'noise': an input of standard normal draws,
   * for samplers that draw nothing else. 'runtime': the runtime's own generators, other numbers at each run.
   */
  readonly random?: RandomMode
  /** Chains of p(x|y): of this class, or of the classes of the input `y`. */
  readonly class?: number | 'input'
  /** Batch-norm statistics in the chain; default 'running'. */
  readonly norm?: 'batch' | 'running'
  /** Noise level of a noise-conditioned network; default its smallest. Samplers over several levels set it themselves. */
  readonly sigma?: number
  /** Chains draw from p(x)^(1/temperature); default 1. */
  readonly temperature?: number
  /** Adds the outputs `trajectory` and `energy_trace`: every step's points and their energies. Default false. */
  readonly trajectory?: boolean
  /** 17 to 21; default 18 for 'seed' (whose integer ops 17 lacks), else 17. */
  readonly opset?: number
  /** 'float16': weights and large products in half; the chain's state stays float32 (lib/onnx/half.ts). Default 'float32'. */
  readonly precision?: Precision
  /** Steps that the metadata names as the default; default the whole schedule of a sampler that has one, else ten training rounds. */
  readonly steps?: number
  /** More entries of metadata_props. */
  readonly metadata?: Readonly<Record<string, string>>
  /** Runs the file in ONNX Runtime against the native chain at batches 1 and 7 and refuses to leave one that disagrees; default true. */
  readonly verify?: boolean
  /** Weights in a file of their own beside the model; default only above 2 GB. */
  readonly externalData?: boolean
  /** Stops the export at the next step of its check; what stood at the path stays. */
  readonly signal?: AbortSignal
}

export interface ExportedSampler {
  readonly path: string
  readonly bytes: number
  readonly inputs: readonly string[]
  readonly outputs: readonly string[]
  /** Values of the inputs `steps`, `step_size` and `noise_scale`, those that there are, that the options stand for. */
  readonly defaults: Readonly<Record<string, number>>
  readonly opset: number
  readonly precision: Precision
  readonly verification: Verification | undefined
}

/**
 * Writes the chain of a sampler over `model` to `path` as ONNX. Inputs: `x0` float32 [batch, ...shape], or with a start of its own `y` int32 [batch]
 * (the class of each start; negative: drawn at random); `steps` int64 [] (transitions, for NUTS); `step_size` and `noise_scale` float32 [] where the
 * sampler has them; `seed` int64 [], or `noise` float32 [steps, (draws,) batch, ...shape] (and `init_noise` [batch, ...shape], the momentum that
 * `underdamped` begins with), where it draws at all; `y` for chains of p(x|y). Outputs: `samples` [batch, ...shape], `energies` [batch] = E(samples) as
 * `model.energy` gives it, `acceptance` [batch] (mean over the steps) of samplers with an accept step, and with `trajectory`
 * `trajectory` [steps, batch, ...shape] and `energy_trace` [steps, batch].
 *
 * With 'seed' the file draws what `Chains` draws from the same seed, start and settings. Lengths that are counted, not measured, are fixed in the file:
 * leapfrog steps, inner steps, levels.
 * @throws LangevinError E_CONFIG for options that do not go together, E_ONNX where the graph has no ONNX form or ONNX Runtime disagrees, E_IO;
 *   RangeError for impossible values
 */
export async function exportSampler(
  model: Model,
  path: string,
  options: ExportSamplerOptions = {},
): Promise<ExportedSampler> {
  checkOptionNames('exportSampler', options, optionNames)
  const spec = specOf(model, options)
  const { precision = 'float32', opset = spec.random === 'seed' ? 18 : 17 } = options
  checkPrecision('exportSampler', precision)
  const { trace } = traceSampler(model, spec, 2)
  const defaults = defaultsOf(spec.sampler, options.steps)
  const description = describe(spec, { opset, precision, trace, defaults })
  const scale = precision === 'float16' ? await gradientScale(model, spec.sigma) : 1
  const full = buildOnnx({
    build: (batch) => traceSampler(model, spec, batch, scale).trace,
    opset,
    modelName: spec.sampler.kind,
    metadata: exportMetadata('sampler', model.network.config, description, options.metadata),
    ...(spec.random === 'runtime' && { rules: runtimeRules }),
  })
  const message = precision === 'float16' ? toHalf(full) : full
  const save = options.externalData === undefined ? {} : { externalData: options.externalData }
  const tensors = typeof spec.start === 'string' ? undefined : spec.start.tensors
  const { signal } = options
  const checked = { ...(tensors && { tensors }), ...(signal && { signal }) }
  const check = (candidate: string) => verifySampler(candidate, model, description, checked)
  signal?.throwIfAborted()
  const written = await writeVerified(path, message, save, options.verify === false ? undefined : check)
  const { path: place, bytes, verification } = written
  const { inputs, outputs } = description
  return { path: place, bytes, inputs, outputs, defaults, opset, precision, verification }
}

function specOf(model: Model, options: ExportSamplerOptions): SamplerSpec {
  const { start = 'input', random = 'seed', class: wanted, norm = 'running', sigma, temperature = 1 } = options
  const where = 'exportSampler'
  const { network } = model
  checkChoice(`${where}: random`, random, randomModes)
  checkChoice(`${where}: norm`, norm, ['batch', 'running'])
  checkPositive(`${where}: temperature`, temperature)
  if (wanted === 'input') network.needClasses(`${where}: class`)
  checkNetworkOptions(where, network, {
    ...(typeof wanted === 'number' && { class: wanted }),
    ...(sigma !== undefined && { sigma }),
  })
  const sampler = makeSampler(options.sampler ?? { kind: 'nuts' })
  checkDiscrete(sampler, network)
  if (random === 'seed' && options.opset === 17)
    throw new LangevinError(
      'E_CONFIG',
      `${where}: random 'seed' needs opset 18 to 21 (BitwiseXor); got 17. Use one of those, or random: 'noise' or 'runtime'`,
    )
  if (start !== 'input' && random === 'noise')
    throw new LangevinError(
      'E_CONFIG',
      `${where}: random 'noise' takes the starting points as x0; a start drawn in the graph needs random: 'seed' or 'runtime'`,
    )
  if (options.trajectory === true && sampler.transitions !== undefined)
    throw new LangevinError(
      'E_CONFIG',
      `${where}: sampler ${sampler.kind} has no trajectory in a file, as its steps are less than transitions; run the file again and again for one ` +
        'transition (steps: 1), each from the samples of the last',
    )
  return { sampler, start, class: wanted, norm, sigma, temperature, random, trajectory: options.trajectory ?? false }
}

interface Written extends Pick<SamplerDescription, 'opset' | 'precision' | 'defaults'> {
  readonly trace: Trace
}

function describe(spec: SamplerSpec, { opset, precision, trace, defaults }: Written): SamplerDescription {
  const { sampler, start, random, norm, temperature, trajectory } = spec
  return {
    sampler: sampler.options,
    start:
      start === 'input'
        ? 'input'
        : { options: start.options, classes: classesOf(start), bounded: start.bounded ?? true },
    random,
    class: spec.class ?? null,
    norm,
    sigma: spec.sigma ?? null,
    temperature,
    trajectory,
    opset,
    precision,
    inputs: [...trace.inputs, ...(trace.plain ?? [])].map((i) => i.name),
    outputs: [...trace.outputs, ...(trace.loop?.scanned ?? [])].map((o) => o.name),
    defaults,
  }
}

/** What the options stand for, by input. */
function defaultsOf({ steps, schedule, controls = {} }: Sampler, asked: number | undefined): Record<string, number> {
  const values = Object.entries(controlInputs).flatMap(([name, input]) => {
    const value = controls[name as keyof typeof controls]
    return value === undefined ? [] : [[input, value] as const]
  })
  return { steps: asked ?? (schedule ? steps : 10 * steps), ...Object.fromEntries(values) }
}

const optionNames = [
  'sampler',
  'start',
  'random',
  'class',
  'norm',
  'sigma',
  'temperature',
  'trajectory',
  'opset',
  'precision',
  'steps',
  'metadata',
  'verify',
  'externalData',
  'signal',
]
