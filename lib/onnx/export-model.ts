/** Exports what a model computes as one ONNX file, checked in ONNX Runtime before it is left there. Chains are lib/onnx/export-sampler.ts. */
import { checkOptionNames } from '../graph/checks.ts'
import { suggestion } from '../graph/errors.ts'
import { GeneratorModel } from '../nn/generator-model.ts'
import type { Model, ModelOutput } from '../nn/model.ts'
import { inputsOf, modelOutputs, needOutput, outputsOf } from '../nn/outputs.ts'
import { buildOnnx } from './exporter.ts'
import { gradientScale } from './gradient-scale.ts'
import { toHalf } from './half.ts'
import {
  exportMetadata,
  type GeneratorDescription,
  type ModelDescription,
  type Precision,
  precisions,
} from './metadata.ts'
import { modelInputs, traceGenerator, traceModel } from './model-trace.ts'
import type { Trace } from './trace.ts'
import type { Verification } from './verify.ts'
import { verifyGenerator, verifyModel } from './verify-export.ts'
import { writeVerified } from './write-verified.ts'

/** What every kind of export takes. */
export interface ExportOnnxOptions {
  /** 17 (default) to 21. */
  readonly opset?: number
  /** 'float16' keeps weights and the large products in half: about half the file; see half.ts. Inputs and outputs stay float32. */
  readonly precision?: Precision
  /** More entries of metadata_props (class names, normalisation, metrics). */
  readonly metadata?: Readonly<Record<string, string>>
  /** Runs the file in ONNX Runtime against this model at batches 1 and 7 and refuses to leave one that disagrees; default true. */
  readonly verify?: boolean
  /** Weights in a file of their own beside the model; default only above 2 GB. */
  readonly externalData?: boolean
  /** Stops the export at the next step of its check; what stood at the path stays. */
  readonly signal?: AbortSignal
}

export interface ExportModelOptions extends ExportOnnxOptions {
  /** Any of `ModelOutput` that the model has; default all that need nothing but x, features left out. */
  readonly outputs?: readonly ModelOutput[]
  /**
   * Of a noise-conditioned model: the noise level that the file holds fixed (default the smallest), or 'input' for another input `sigma`
   * float32 [batch].
   */
  readonly sigma?: 'input' | number
}

export interface ExportGeneratorOptions extends ExportOnnxOptions {
  /** Adds the learned noise σε, ε being the input `epsilon`, without which x is not a draw but its mean given z; default true. */
  readonly noise?: boolean
}

const commonOptions = ['opset', 'precision', 'metadata', 'verify', 'externalData', 'signal']
const modelOptions = [...commonOptions, 'outputs', 'sigma']
const generatorOptions = [...commonOptions, 'noise']

export interface ExportedModel {
  readonly path: string
  /** Bytes of all files written. */
  readonly bytes: number
  readonly inputs: readonly string[]
  readonly outputs: readonly string[]
  readonly opset: number
  readonly precision: Precision
  readonly verification: Verification | undefined
}

/**
 * Writes `model` to `path` as ONNX. Inputs: `x` float32 [batch, ...shape] in the units the model was trained on; where outputs need them `y`
 * int32 [batch] (classes), `sigma` float32 [batch] (noise levels), `z` float32 [batch, ...baseShape] (standard normal). Outputs: see
 * `ModelOutput`. Norms are in evaluation mode; weights keep PyTorch's names; metadata_props say what the file is (lib/onnx/metadata.ts).
 * A generator's file has `sample` [batch, ...shape] from `z` [batch, latent] and `epsilon` [batch, ...shape], both standard normal.
 * Tolerances of the check: 1e-4 of the largest magnitude, 1e-3 for scores and samples; see `halfTolerance` for float16.
 * @throws LangevinError E_CONFIG for outputs that the model has not and for `sigma` where it takes none, E_ONNX when an op has no ONNX form or
 *   ONNX Runtime disagrees, E_IO when the file cannot be written; RangeError for other options that do not fit
 */
export function exportOnnx(model: Model, path: string, options?: ExportModelOptions): Promise<ExportedModel>
export function exportOnnx(
  model: GeneratorModel,
  path: string,
  options?: ExportGeneratorOptions,
): Promise<ExportedModel>
export async function exportOnnx(
  model: Model | GeneratorModel,
  path: string,
  options: ExportModelOptions & ExportGeneratorOptions = {},
): Promise<ExportedModel> {
  checkOptionNames('exportOnnx', options, model instanceof GeneratorModel ? generatorOptions : modelOptions)
  const { opset = 17, precision = 'float32' } = options
  checkPrecision('exportOnnx', precision)
  const checked = options.signal === undefined ? {} : { signal: options.signal }
  if (model instanceof GeneratorModel) {
    const description: GeneratorDescription = { outputs: ['sample'], noise: options.noise ?? true, opset, precision }
    return writeFile(path, options, {
      kind: 'generator',
      config: model.generator.config,
      description,
      inputs: description.noise ? ['z', 'epsilon'] : ['z'],
      build: (batch) => traceGenerator(model, description, batch),
      verify: (candidate) => verifyGenerator(candidate, model, description, checked),
    })
  }
  const outputs = chosenOutputs(model, options.outputs)
  checkSigma(model, options.sigma)
  const gradients = precision === 'float16' && outputs.some((o) => o === 'score' || o === 'class_score')
  const scale = gradients ? await gradientScale(model, options.sigma) : 1
  const description: ModelDescription = { outputs, sigma: options.sigma ?? null, opset, precision }
  return writeFile(path, options, {
    kind: 'model',
    config: model.network.config,
    description,
    inputs: modelInputs(description),
    build: (batch) => traceModel(model, description, batch, scale),
    verify: (candidate) => verifyModel(candidate, model, description, checked),
  })
}

interface Content {
  readonly kind: 'model' | 'generator'
  readonly config: { readonly kind: string }
  readonly description: ModelDescription | GeneratorDescription
  readonly inputs: readonly string[]
  readonly build: (batch: number) => Trace
  readonly verify: (candidate: string) => Promise<Verification>
}

async function writeFile(path: string, options: ExportOnnxOptions, content: Content): Promise<ExportedModel> {
  const { kind, config, description, inputs, build } = content
  const { outputs, opset, precision } = description
  const metadata = exportMetadata(kind, config, description, options.metadata)
  const full = buildOnnx({ build, opset, metadata, modelName: config.kind })
  const message = precision === 'float16' ? toHalf(full) : full
  const save = options.externalData === undefined ? {} : { externalData: options.externalData }
  options.signal?.throwIfAborted()
  const written = await writeVerified(path, message, save, options.verify === false ? undefined : content.verify)
  return {
    path: written.path,
    bytes: written.bytes,
    inputs,
    outputs,
    opset,
    precision,
    verification: written.verification,
  }
}

/** The outputs asked for, or all that read x alone. */
function chosenOutputs(model: Model, asked: readonly ModelOutput[] | undefined): ModelOutput[] {
  const has = outputsOf(model.network)
  if (asked === undefined) return has.filter((o) => o !== 'features' && inputsOf(o).join() === 'x')
  const unknown = asked.find((o) => !modelOutputs.includes(o))
  if (unknown !== undefined || asked.length === 0 || new Set(asked).size !== asked.length) {
    const hint = unknown === undefined ? '' : `.${suggestion(unknown, modelOutputs)}`
    throw new RangeError(
      `exportOnnx: outputs must be distinct names among ${modelOutputs.join(', ')}; got [${asked.join(', ')}]${hint}`,
    )
  }
  for (const o of asked) needOutput(model.network, o, 'exportOnnx')
  return [...asked]
}

/** @throws RangeError for a precision that is none */
export function checkPrecision(where: string, precision: Precision): void {
  if (!precisions.includes(precision))
    throw new RangeError(
      `${where}: precision '${String(precision)}' is not known.${suggestion(String(precision), precisions)}`,
    )
}

function checkSigma(model: Model, sigma: ExportModelOptions['sigma']): void {
  if (sigma === undefined) return
  model.network.needSigma('exportOnnx with sigma')
  if (sigma !== 'input' && !(Number.isFinite(sigma) && sigma > 0))
    throw new RangeError(`exportOnnx: sigma must be 'input' or a positive finite number; got ${String(sigma)}`)
}
