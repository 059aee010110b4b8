/**
 * The builders as methods: `x.square().sum(-1).sqrt().sub(2)`. Each method is the function of the same name with the tensor as its
 * first argument (for `select`, the condition; for the random ops there are no methods). Declarations and attachment stand together.
 */
import { Tensor } from '../graph/tensor.ts'
import * as composite from './composite.ts'
import { conv2d } from './conv.ts'
import * as elementwise from './elementwise.ts'
import { argmax, gather, scatterAdd, scatterRows } from './gather.ts'
import { matmul } from './matmul.ts'
import { pad } from './pad.ts'
import { avgpool2d, maxpool2d } from './pool.ts'
import * as reduce from './reduce.ts'
import { resize2d } from './resize.ts'
import * as shape from './shape.ts'
import * as unary from './unary.ts'

const methods = {
  neg: unary.neg,
  abs: unary.abs,
  sign: unary.sign,
  exp: unary.exp,
  expm1: unary.expm1,
  log: unary.log,
  log1p: unary.log1p,
  sqrt: unary.sqrt,
  rsqrt: unary.rsqrt,
  reciprocal: unary.reciprocal,
  square: unary.square,
  sin: unary.sin,
  cos: unary.cos,
  tanh: unary.tanh,
  sigmoid: unary.sigmoid,
  softplus: unary.softplus,
  relu: unary.relu,
  leakyRelu: unary.leakyRelu,
  erf: unary.erf,
  floor: unary.floor,
  ceil: unary.ceil,
  round: unary.round,
  isFinite: elementwise.finite,
  logicalNot: elementwise.logicalNot,
  cast: elementwise.cast,
  add: elementwise.add,
  sub: elementwise.sub,
  mul: elementwise.mul,
  div: elementwise.div,
  rem: elementwise.rem,
  pow: elementwise.pow,
  maximum: elementwise.maximum,
  minimum: elementwise.minimum,
  eq: elementwise.eq,
  ne: elementwise.ne,
  lt: elementwise.lt,
  le: elementwise.le,
  gt: elementwise.gt,
  ge: elementwise.ge,
  logicalAnd: elementwise.logicalAnd,
  logicalOr: elementwise.logicalOr,
  select: elementwise.select,
  clamp: elementwise.clamp,
  sum: reduce.sum,
  mean: reduce.mean,
  max: reduce.max,
  min: reduce.min,
  variance: reduce.variance,
  norm: reduce.norm,
  argmax,
  logsumexp: composite.logsumexp,
  softmax: composite.softmax,
  logSoftmax: composite.logSoftmax,
  normalize: composite.normalize,
  softmaxCrossEntropy: composite.softmaxCrossEntropy,
  oneHot: composite.oneHot,
  silu: composite.silu,
  gelu: composite.gelu,
  elu: composite.elu,
  reshape: shape.reshape,
  stopGradient: shape.stopGradient,
  transpose: shape.transpose,
  broadcast: shape.broadcast,
  slice: shape.slice,
  sliceAxis: shape.sliceAxis,
  pad,
  flatten: shape.flatten,
  squeeze: shape.squeeze,
  unsqueeze: shape.unsqueeze,
  expandDims: shape.expandDims,
  gather,
  scatterAdd,
  scatterRows,
  matmul,
  conv2d,
  avgpool2d,
  maxpool2d,
  resize2d,
} as const

type Methods = typeof methods
type Rest<F> = F extends (first: never, ...rest: infer R) => infer T ? (...rest: R) => T : never
/** The methods of {@link Tensor}: the builders without their first argument. */
export type TensorMethods = { readonly [K in keyof Methods]: Rest<Methods[K]> }

declare module '../graph/tensor.ts' {
  interface Tensor extends TensorMethods {}
}

for (const [name, build] of Object.entries(methods)) {
  const f = build as (...args: unknown[]) => Tensor
  Object.defineProperty(Tensor.prototype, name, {
    value(this: Tensor, ...rest: unknown[]): Tensor {
      return f(this, ...rest)
    },
    writable: true,
    configurable: true,
  })
}
