/**
 * Second derivatives along a direction, vᵀ(∇²f)v, as a graph that costs one tangent pass where a Hessian-vector product costs a tangent
 * pass and a second backward pass. Graph in, graph out; no objective stands here.
 */
import { jvp, vjp } from '../autodiff/index.ts'
import { type Tensor, topologicalOrder } from '../graph/tensor.ts'
import { definitionOf, rebuild } from '../ops/define.ts'
import * as ops from '../ops/index.ts'
import { dependents, substitute } from './compact.ts'

/** First and second derivative of energies along a direction. */
export interface Directional {
  /** v_iᵀ∇E(x_i) of each example, [n]. */
  readonly slope: Tensor
  /** Σ_i v_iᵀ(∇²E(x_i))v_i, a scalar. */
  readonly curvature: Tensor
}

/**
 * Derivatives along v of energies [n], each of which depends on its own example of x alone. Cost beside the energies and their gradient
 * by x: one forward pass. All of it can be differentiated again; `compact` the result first, as it repeats parts of the energy's graph.
 *
 * The slope is a graph of tangents, linear in v, whose coefficients a_p(x) (σ'(z) of each layer) belong to the energy's own graph. Its
 * derivative along v is therefore Σ_p ⟨∂slope/∂a_p, ȧ_p⟩, where the first factors are a backward pass of the slope that stops at the
 * coefficients (through the tangents it is the energy's own backward pass) and the ȧ_p are made of the tangents that are there. A
 * Hessian-vector product sends the same cotangents on down to x, a second backward pass, to multiply by v there. Collecting them where
 * they arise is what the forward Laplacian does (Li et al. 2024, arXiv 2307.08214).
 * @param energies [n], a graph over x
 * @param x [n, ...shape], a node of that graph
 * @param direction v, of x's shape
 */
export function alongDirection(energies: Tensor, x: Tensor, direction: Tensor): Directional {
  // A node of its own, so that what depends on v is told from what depends on x, however the two were made.
  const v = ops.input('direction', x.shape)
  const [slope] = jvp([energies], [x], [v]) as [Tensor]
  const { total, coefficients } = holdCoefficients(ops.sum(slope), x, v)
  const [held, values] = [[...coefficients.values()], [...coefficients.keys()]]
  const sensitivities = vjp([total], [ops.ones([])], held)
  const rates = jvp(values, [x], [v])
  const products = rates.map((rate, i) => ops.sum(ops.mul(rate, sensitivities[i] as Tensor)))
  const curvature = products.reduce((a, b) => ops.add(a, b), ops.scalar(0))
  const back = new Map([[v, direction], ...values.map((p, i) => [held[i] as Tensor, p] as const)])
  const [first, second] = substitute(substitute([slope, curvature], back), new Map([[v, direction]]))
  return { slope: first as Tensor, curvature: second as Tensor }
}

/** The graph of `total`, linear in v, over inputs in place of what it reads that depends on x alone. */
function holdCoefficients(total: Tensor, x: Tensor, v: Tensor): { total: Tensor; coefficients: Map<Tensor, Tensor> } {
  const tangents = dependents([total], [v])
  const smooth = new Set([x])
  const coefficients = new Map<Tensor, Tensor>()
  const image = new Map<Tensor, Tensor>()
  const hold = (p: Tensor): Tensor => {
    const held = coefficients.get(p) ?? ops.input('coefficient', p.shape)
    coefficients.set(p, held)
    return held
  }
  for (const t of topologicalOrder([total])) {
    if (!tangents.has(t)) {
      const differs = t.dtype === 'float32' && definitionOf(t).gradient !== 'none'
      if (differs && t.inputs.some((i) => smooth.has(i))) smooth.add(t)
    } else if (t !== v) {
      const inputs = t.inputs.map((p) => image.get(p) ?? (smooth.has(p) ? hold(p) : p))
      image.set(t, inputs.every((p, i) => p === t.inputs[i]) ? t : rebuild(t, inputs))
    }
  }
  return { total: image.get(total) ?? total, coefficients }
}
