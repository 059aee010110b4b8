/** The building blocks of `sequential`, as `layers` in the package. */
export { film } from './conditioning.ts'
export {
  type ActivationName,
  activation,
  avgPool,
  type ConvOptions,
  conv,
  flatten,
  globalMean,
  type InitName,
  type Layer,
  type LinearOptions,
  layer,
  linear,
  maxPool,
  sequence,
} from './layer.ts'
export { type NormName, norm } from './norms.ts'
