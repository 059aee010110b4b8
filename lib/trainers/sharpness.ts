/** Sharpness-aware minimisation (Foret 2021; adaptive: Kwon 2021): where the second gradient of a step is taken. Graphs only. */
import type { Tensor } from '../graph/tensor.ts'
import * as ops from '../ops/index.ts'
import { globalNorm } from '../optim/schedules.ts'

export interface SamOptions {
  /** Radius of the neighbourhood; published 0.05 for plain, 2 for adaptive SAM. */
  readonly rho: number
  /** Measures the neighbourhood relative to the weights; default false. */
  readonly adaptive?: boolean
}

/** w + ρ·g/‖g‖, or adaptive: w + ρ·w²g/‖|w|g‖. The direction is a constant to later gradients. */
export function ascend(parameters: readonly Tensor[], gradients: readonly Tensor[], options: SamOptions): Tensor[] {
  const { rho, adaptive = false } = options
  const weighted = adaptive ? gradients.map((g, i) => ops.mul(g, ops.abs(parameters[i] as Tensor))) : gradients
  const scale = ops.div(rho, ops.add(globalNorm(weighted), 1e-12))
  return parameters.map((w, i) => {
    const g = gradients[i] as Tensor
    const direction = adaptive ? ops.mul(g, ops.square(w)) : g
    return ops.add(w, ops.stopGradient(ops.mul(direction, scale)))
  })
}
