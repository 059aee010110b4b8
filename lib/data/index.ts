/** The public names of lib/data, as `data` in the package: `import { data } from 'langevin'`. */

export { HostRandom } from '../runtime/host-random.ts'
export type { ArrayOptions } from './arrays.ts'
export * from './class-gaussians.ts'
export type { Gram } from './covariance.ts'
export {
  concatDatasets,
  type DataSplit,
  Dataset,
  type DatasetInit,
  type Range,
  type SplitOptions,
  type Transform,
} from './dataset.ts'
export {
  type BinarizeOptions,
  binarized,
  drawnFrom,
  type ModelDataOptions,
  oneHot,
} from './discrete.ts'
export { fitGaussian, type GaussianFit, type GaussianFitOptions } from './gaussian-fit.ts'
export {
  fitGaussianMixture,
  type GaussianMixtureFit,
  type GaussianMixtureOptions,
  type MixtureParameters,
} from './gaussian-mixture.ts'
export { type IdxOptions, idxDataset, readIdx } from './idx.ts'
export { type ImageFolderOptions, imageFolder } from './image-folder.ts'
export { type DataSpec, dataSpec, type LoadOptions, loadDataset } from './load.ts'
export { type NpyOptions, type NpzOptions, npyDataset, npzDataset, readNpy, readNpz, writeNpy } from './npy.ts'
export * from './ood.ts'
export { banknote, type CifarOptions, cifar10, digits, mnist } from './standard.ts'
export { standardize } from './standardize.ts'
export { type TableOptions, table } from './table.ts'
export {
  type ToyDensity,
  type ToyDrawOptions,
  type ToyName,
  type ToyOptions,
  toy,
  toyDefaults,
  toyDensity,
  toyNames,
} from './toys.ts'
