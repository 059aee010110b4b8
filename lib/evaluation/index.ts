/** The public names of lib/evaluation, as `evaluation` in the package: `import { evaluation } from 'langevin'`. */

export {
  type AisOptions,
  type AisResult,
  annealedImportanceSampling,
  bracketLogZ,
  type LogZBracket,
  type ReverseAisOptions,
  reverseAnnealedImportanceSampling,
} from './ais.ts'
export type { BaseOptions } from './ais-base.ts'
export type { TransitionOptions } from './ais-transition.ts'
export { type BinOptions, type Reliability, reliability, reliabilityOf } from './calibration.ts'
export { type ChainCheckOptions, type ChainFigures, chainFigures } from './chain-figures.ts'
export { type ClassificationFigures, classificationFigures } from './classification.ts'
export { type DensityPictureOptions, densityPicture, densityPng } from './density-picture.ts'
export { type EnumerateOptions, type Enumeration, enumerateStates } from './enumerate.ts'
export { type FeatureOptions, onnxFeatures } from './features.ts'
export { type FisherDivergence, type FisherOptions, fisherDivergence } from './fisher.ts'
export { frechetBetween, frechetDistance, type Moments, momentsOf } from './frechet.ts'
export { type InceptionOptions, type InceptionScore, inceptionScore, onnxInceptionScore } from './inception.ts'
export { type KidOptions, type KidResult, kid, onnxKid } from './kid.ts'
export { type HeldOutLikelihood, type HeldOutOptions, heldOutLogLikelihood } from './likelihood.ts'
export type { LikelihoodOptions } from './likelihood-figures.ts'
export { logMeanExp, logSumExp } from './log-weights.ts'
export {
  autocorrelation,
  type DrawSummary,
  type EssOptions,
  effectiveSampleSize,
  splitRhat,
  stackDraws,
  summarizeDraws,
} from './mcmc-diagnostics.ts'
export { type MmdOptions, type MmdResult, mmd } from './mmd.ts'
export { type NearestNeighbourOptions, type NearestNeighbourTest, nearestNeighbourTest } from './nearest-neighbour.ts'
export { aupr, auroc, fprAtTpr, type OodFigures, oodFigures } from './ood.ts'
export { logDensityGrid, type PlaneBox, type PlaneInput } from './plane.ts'
export { type PrecisionRecall, type PrecisionRecallOptions, precisionRecall } from './precision-recall.ts'
export {
  type BoxOptions,
  type DensityGrid,
  densityGrid,
  type LogDensity,
  type QuadratureKl,
  type QuadratureResult,
  quadratureKl,
  quadratureLogZ,
} from './quadrature.ts'
export { type RbmAnnealingOptions, rbmAnnealing, rbmLogZ } from './rbm.ts'
export type { RefineOptions } from './refinement.ts'
export { type ReportInput, renderReport } from './report.ts'
export {
  type AttackedExamples,
  type AttackOptions,
  type AttackRunOptions,
  attackExamples,
  type Robustness,
  robustAccuracy,
} from './robustness.ts'
export { type SampleQuality, type SampleQualityOptions, sampleQuality } from './sample-quality.ts'
export { densitySvg } from './scatter.ts'
export { kernelSteinDiscrepancy, type SteinDiscrepancy, type SteinOptions } from './stein.ts'
export { type ClassifierTest, type ClassifierTestOptions, classifierTwoSampleTest } from './two-sample.ts'
