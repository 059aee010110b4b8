/**
 * What every objective shares: the form of a result, of an energy and of a source of noise, and the few operations on batches that
 * they are written with. No objective stands here, and nothing here runs: all is graph in, graph out.
 *
 * Costs in the docstrings of this folder are in forward passes of the energy over one batch, for the loss and its parameter gradient: a
 * backward pass to inputs and parameters counts 2, one to the inputs alone 1. So a loss on E costs 3, and one on the score ∇x E costs 6.
 */
import { grad } from '../autodiff/index.ts'
import { checkChoice, checkInteger, checkNotNegative, checkPositive } from '../graph/checks.ts'
import { shapeError } from '../graph/errors.ts'
import { showShape, sizeOf } from '../graph/shape.ts'
import type { Tensor } from '../graph/tensor.ts'
import * as ops from '../ops/index.ts'
import { rowSum } from '../ops/rows.ts'

/** What an objective gives: the scalar loss to descend and float32 scalar metrics by name. */
export interface Terms {
  readonly loss: Tensor
  readonly metrics: Readonly<Record<string, Tensor>>
}

/** E(x) = -log p(x) up to a constant: [n, ...shape] to [n]. Each example's energy must depend on that example alone. */
export type EnergyFunction = (x: Tensor) => Tensor
/** An energy of noisy data that is told the noise level of each example: sigma [n]. */
export type NoisyEnergyFunction = (x: Tensor, sigma: Tensor) => Tensor

/** Where an objective draws its noise: a key (int32 [4]) and the first of the eight streams stream..stream+7 that it may use. */
export interface Noise {
  readonly key: Tensor
  readonly stream: number
}

/** Examples in a batch. @throws LangevinError E_SHAPE for a scalar or an empty batch. */
export function batchOf(objective: string, x: Tensor): number {
  const n = x.shape[0]
  if (n === undefined || n === 0) {
    throw shapeError(objective, `x must be a batch [n, ...] of at least one example; got ${showShape(x.shape)}`, {
      shape: x.shape,
    })
  }
  return n
}

/** Elements of one example. @throws LangevinError E_SHAPE for an empty batch or examples without elements. */
export function dimensionOf(objective: string, x: Tensor): number {
  batchOf(objective, x)
  const d = sizeOf(x.shape.slice(1))
  if (d === 0) throw shapeError(objective, `examples must have elements; got x of shape ${showShape(x.shape)}`)
  return d
}

/** Energies [n] of a batch. @throws LangevinError E_SHAPE when `energy` gives another shape. */
export function energiesOf(objective: string, energy: EnergyFunction, x: Tensor): Tensor {
  return expectVector(objective, 'the energy', energy(x), batchOf(objective, x))
}

/** `t`, after checking that it holds one float32 number for each of `n` examples. */
export function expectVector(objective: string, what: string, t: Tensor, n: number): Tensor {
  if (t.rank !== 1 || t.shape[0] !== n || t.dtype !== 'float32') {
    throw shapeError(
      objective,
      `${what} must be float32[${n}], one number an example; got ${t.dtype}${showShape(t.shape)}`,
      { shape: t.shape, expected: [n] },
    )
  }
  return t
}

/** Energies [n] and ∇x E [n, ...shape] of a batch; the score is the negative of the latter. */
export function energyAndGradient(
  objective: string,
  energy: EnergyFunction,
  x: Tensor,
): { readonly energy: Tensor; readonly gradient: Tensor } {
  const e = energiesOf(objective, energy, x)
  const [gradient] = grad(ops.sum(e), [x]) as [Tensor]
  return { energy: e, gradient }
}

/** The batch `count` times, one copy after another: [n, ...shape] to [count·n, ...shape]. */
export function repeatBatch(x: Tensor, count: number): Tensor {
  if (count === 1) return x
  const [n, ...shape] = x.shape as readonly [number, ...number[]]
  return ops.reshape(ops.broadcast(ops.unsqueeze(x, 0), [count, n, ...shape]), [count * n, ...shape])
}

/**
 * f(x) by value, [n], with a gradient that flows through the points x alone and never into f's own parameters. Needed where points are
 * made by what is trained (a generator, the last steps of a chain) and judged by something else that is trained too.
 * First derivatives only. Costs one forward and one input gradient of f.
 */
export function throughPoints(f: (x: Tensor) => Tensor, x: Tensor): Tensor {
  const fixed = ops.stopGradient(x)
  return reattach(f(fixed), fixed, x)
}

/** `value` [n], computed from `fixed` = stopGradient(x), with the gradient by x that it would have without the stop, and no other. */
export function reattach(value: Tensor, fixed: Tensor, x: Tensor): Tensor {
  const [slope] = grad(ops.sum(value), [fixed]) as [Tensor]
  const linear = rowSum(ops.mul(ops.stopGradient(slope), x))
  return ops.add(ops.stopGradient(value), ops.sub(linear, ops.stopGradient(linear)))
}

/** @throws RangeError naming the option. */
export function positive(objective: string, name: string, value: number): void {
  checkPositive(`${objective}: ${name}`, value)
}

/** @throws RangeError naming the option. */
export function notNegative(objective: string, name: string, value: number): void {
  checkNotNegative(`${objective}: ${name}`, value)
}

/** @throws RangeError naming the option. */
export function positiveCount(objective: string, name: string, value: number): void {
  checkInteger(`${objective}: ${name}`, value, 1)
}

/** `value`, if it is one of `known`. @throws LangevinError E_CONFIG that names the nearest right one. */
export function oneOf<T extends string>(objective: string, name: string, value: T, known: readonly T[]): T {
  checkChoice(`${objective}: ${name}`, value, known)
  return value
}
