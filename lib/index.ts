/** The public names of langevin, and nothing else; by folder, which is by floor: data, evaluation, graph, nn, ... */

export * as autodiff from './autodiff/index.ts'
export { Dataset } from './data/dataset.ts'
export * as data from './data/index.ts'
export { type Evaluation, evaluateModel } from './evaluation/evaluate.ts'
export * as evaluation from './evaluation/index.ts'
export type { EventRow, MetricsRow } from './evaluation/metrics-row.ts'
export { imageGrid, savePng } from './evaluation/png.ts'
export { type BundleOptions, exportBundle } from './export/bundle.ts'
export { type Bundle, type BundleManifest, readBundle } from './export/manifest.ts'
export { type ExportedRunSampler, exportRun, exportRunSampler, verifyRun } from './export/run.ts'
export type { RunSamplerOptions } from './export/sampler.ts'
export { fitThreshold, type OutOfDistribution } from './export/threshold.ts'
export { type ExportTritonOptions, exportTriton } from './export/triton.ts'
export { type ErrorCode, LangevinError } from './graph/errors.ts'
export { type HostTensor, hostTensor } from './graph/host-tensor.ts'
export { printGraph } from './graph/printer.ts'
export type { DType, Shape } from './graph/shape.ts'
export { Tensor } from './graph/tensor.ts'
export {
  conditional,
  guided,
  type MixtureOptions,
  mixtureOfEnergies,
  productOfExperts,
  restrict,
  shifted,
  temper,
  withLogZ,
} from './nn/compose.ts'
export type { SigmaOptions } from './nn/conditioning.ts'
export { type IsingOptions, ising, type PottsOptions, potts } from './nn/discrete.ts'
export { type Bijector, customFlow, Flow, type FlowConfig } from './nn/flow.ts'
export { FlowModel, type FlowSampleOptions } from './nn/flow-model.ts'
export {
  type AffineCouplingFlowOptions,
  affineCouplingFlow,
  type ImageFlowOptions,
  imageFlow,
  type SplineFlowOptions,
  splineFlow,
} from './nn/flows.ts'
export {
  type ConvGeneratorOptions,
  convGenerator,
  Generator,
  type MlpGeneratorOptions,
  mlpGenerator,
} from './nn/generator.ts'
export { GeneratorModel } from './nn/generator-model.ts'
export * as layers from './nn/layers.ts'
export { type EvaluateOptions, Model, type ModelOutput } from './nn/model.ts'
export { convEnergy, defineEnergy, mlp, sequential, wideResNet } from './nn/models.ts'
export { Network } from './nn/network.ts'
export type { ConvEnergyOptions, MlpOptions, WideResNetOptions } from './nn/networks.ts'
export { type RbmNetworkOptions, rbm } from './nn/rbm.ts'
export type { Scope } from './nn/variables.ts'
export {
  type ExportedModel,
  type ExportGeneratorOptions,
  type ExportModelOptions,
  exportOnnx,
} from './onnx/export-model.ts'
export {
  type ExportedSampler,
  type ExportSamplerOptions,
  exportSampler,
  type RandomMode,
  type SamplerStart,
} from './onnx/export-sampler.ts'
export { type ImportOptions, type InputNormalization, importOnnx } from './onnx/import.ts'
export { readOnnxMetadata } from './onnx/metadata.ts'
export { type Verification, verifyOnnx } from './onnx/verify.ts'
export { type VerifyExportOptions, verifyExport } from './onnx/verify-export.ts'
export * as ops from './ops/index.ts'
export type { OptimizerOptions } from './optim/optimizers.ts'
export type { ScheduleOptions } from './optim/schedules.ts'
export { setThreads } from './runtime/addon.ts'
export { type CompiledPlan, compileGraph } from './runtime/compile.ts'
export { DeviceTensor } from './runtime/device.ts'
export {
  availableDevices,
  type CudaInfo,
  cudaInfo,
  type Device,
  type DeviceMemory,
  defaultDevice,
  deviceMemory,
  setDefaultDevice,
} from './runtime/devices.ts'
export { readSafetensors, writeSafetensors } from './runtime/safetensors.ts'
export { packageVersion } from './runtime/version.ts'
export { fromPixels, type PgdOptions } from './samplers/attacks.ts'
export { type ChainInfo, Chains, type ChainsOptions, type DrawOptions, type Draws } from './samplers/chains.ts'
export * as distributions from './samplers/distributions.ts'
export {
  type FlowDensity,
  type FlowDensityOptions,
  probabilityFlowLogDensity,
} from './samplers/flow-density.ts'
export type { Sigmas } from './samplers/levels.ts'
export { type SampleChainsOptions, sample } from './samplers/sample.ts'
export type {
  AnnealedLangevinOptions,
  BlockGibbsOptions,
  GibbsWithGradientsOptions,
  HmcOptions,
  MalaOptions,
  NutsOptions,
  ParallelTemperingOptions,
  PreconditionedLangevinOptions,
  PredictorCorrectorOptions,
  ProbabilityFlowOptions,
  ProximalSgldOptions,
  PyldOptions,
  RwmOptions,
  SamplerOptions,
  SgldOptions,
  UlaOptions,
  UnderdampedOptions,
} from './samplers/samplers.ts'
export type { DensitySource } from './samplers/source.ts'
export type { SimpleStart, StartOptions } from './samplers/starts.ts'
export { type EnergyTargetOptions, energyTarget, type Target } from './samplers/target.ts'
export { Adversarial, type AdversarialOptions, generatorOfRun } from './trainers/adversarial.ts'
export type { RunDescription } from './trainers/checkpoint.ts'
export { ContrastiveDivergence, type ContrastiveDivergenceOptions } from './trainers/contrastive-divergence.ts'
export { type DiscreteOptions, PseudoLikelihood, RatioMatching } from './trainers/discrete.ts'
export { DualAdversarial, type DualAdversarialOptions } from './trainers/dual-adversarial.ts'
export type { EnergyOptions, SamplingOptions } from './trainers/energy-method.ts'
export { FlowContrastive, type FlowContrastiveOptions } from './trainers/flow-contrastive.ts'
export { type FlowSource, flowOfRun } from './trainers/flow-module.ts'
export type { JemOptions } from './trainers/jem.ts'
export { Jem, JemPlusPlus } from './trainers/jem-trainers.ts'
export { MaximumLikelihood, type MaximumLikelihoodOptions } from './trainers/maximum-likelihood.ts'
export { NoiseContrastive, type NoiseContrastiveOptions } from './trainers/noise-contrastive.ts'
export type { NoiseOptions } from './trainers/noise-distribution.ts'
export type { CommonOptions, FitOptions, RecoveryOptions } from './trainers/options.ts'
export { Rbm, type RbmOptions } from './trainers/rbm.ts'
export type { ReplayOptions } from './trainers/replay.ts'
export { type OpenOptions, openRun, type Run, type RunChain } from './trainers/run.ts'
export { type EvaluateRunOptions, evaluate } from './trainers/run-folder.ts'
export { planeOfRun } from './trainers/run-plane.ts'
export { SadaJem } from './trainers/sada-jem.ts'
export type { SampleOptions } from './trainers/sampling.ts'
export { type ScoreEstimator, ScoreMatching, type ScoreMatchingOptions } from './trainers/score-matching.ts'
export type { SamOptions } from './trainers/sharpness.ts'
export { Trainer } from './trainers/trainer.ts'
