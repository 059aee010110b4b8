/**
 * Symbolic differentiation: graph in, graph out. The rules stand with the ops; these are the drivers.
 * Results are graphs of ops that have rules themselves, so every function here can be applied to its own results.
 */
import { dtypeError, internalError, LangevinError, shapeError } from '../graph/errors.ts'
import { sameShape, showShape } from '../graph/shape.ts'
import { differentiating, type Tensor, topologicalOrder } from '../graph/tensor.ts'
import { definitionOf } from '../ops/define.ts'
import { add } from '../ops/elementwise.ts'
import { input, ones, zerosLike } from '../ops/source.ts'

/**
 * Gradients of a scalar with respect to tensors, which may be inputs or intermediate values (then the dependence through that value).
 * @param y float32 tensor with one element
 * @returns one float32 tensor of the shape of each `wrt`; zeros where y does not depend on it
 * @throws LangevinError E_SHAPE (y is not a scalar), E_DTYPE (not float32), E_NOT_DIFFERENTIABLE (names the path to an op without a rule)
 */
export function grad(y: Tensor, wrt: readonly Tensor[]): Tensor[] {
  if (y.size !== 1) {
    throw shapeError(
      'grad',
      `y must have one element; got ${y}: reduce it with sum or mean, or use vjp with a cotangent`,
      { shape: y.shape },
    )
  }
  return vjp([y], [ones(y.shape)], wrt)
}

/**
 * Vector-Jacobian products: Σ_o cotangentᵀ_o · ∂output_o/∂w for each w of `wrt`.
 * @param cotangents one tensor of each output's shape, float32
 */
export function vjp(outputs: readonly Tensor[], cotangents: readonly Tensor[], wrt: readonly Tensor[]): Tensor[] {
  expectMatching('vjp', 'cotangent', outputs, cotangents)
  for (const t of [...outputs, ...wrt]) expectFloat('differentiate', t)
  const order = topologicalOrder(outputs)
  const active = dependents(order, wrt)
  const cotangentOf = new Map<Tensor, Tensor>()
  outputs.forEach((o, i) => {
    if (active.has(o)) accumulate(cotangentOf, o, cotangents[i] as Tensor)
  })
  const targets = new Set(wrt)
  for (let i = order.length - 1; i >= 0; i--) {
    const t = order[i] as Tensor
    const g = cotangentOf.get(t)
    if (g === undefined || !t.inputs.some((x) => active.has(x))) continue
    if (!targets.has(t)) cotangentOf.delete(t)
    flowBack(t, g, active, cotangentOf, outputs)
  }
  return wrt.map((w) => cotangentOf.get(w) ?? zerosLike(w))
}

/** The float32 tensors of `order` that depend on one of `wrt`, themselves included. */
function dependents(order: readonly Tensor[], wrt: readonly Tensor[]): Set<Tensor> {
  const active = new Set(wrt)
  for (const t of order) {
    if (t.dtype === 'float32' && definitionOf(t).gradient !== 'none' && t.inputs.some((i) => active.has(i)))
      active.add(t)
  }
  return active
}

function flowBack(
  t: Tensor,
  g: Tensor,
  active: ReadonlySet<Tensor>,
  cotangentOf: Map<Tensor, Tensor>,
  outputs: readonly Tensor[],
): void {
  const rule = definitionOf(t).gradient
  if (rule === 'none') return
  if (typeof rule !== 'function') {
    throw new LangevinError(
      'E_NOT_DIFFERENTIABLE',
      `[${t.op.name}] has no gradient: ${rule.missing}. It is reached by ${pathTo(t, outputs)}; ` +
        'wrap its input in stopGradient if no gradient is wanted there',
      { op: t.op.name, path: pathTo(t, outputs) },
    )
  }
  const parts = differentiating(t, () => rule({ inputs: t.inputs, attrs: t.attrs, output: t, grad: g }))
  parts.forEach((d, i) => {
    const x = t.inputs[i] as Tensor
    if (d !== null && active.has(x)) differentiating(x, () => accumulate(cotangentOf, x, d))
  })
}

function accumulate(cotangentOf: Map<Tensor, Tensor>, t: Tensor, g: Tensor): void {
  if (!sameShape(g.shape, t.shape)) {
    throw internalError(`the gradient rule of a user of ${t} gives a cotangent of shape ${showShape(g.shape)}`)
  }
  const have = cotangentOf.get(t)
  cotangentOf.set(t, have === undefined ? g : add(have, g))
}

/** `sum → mul → scatter_rows(buffer)`: how an output depends on `t`, for messages. */
function pathTo(t: Tensor, outputs: readonly Tensor[]): string {
  const from = new Map<Tensor, Tensor | undefined>(outputs.map((o) => [o, undefined]))
  const queue = [...outputs]
  for (let i = 0; i < queue.length && !from.has(t); i++) {
    const user = queue[i] as Tensor
    for (const x of user.inputs) {
      if (from.has(x)) continue
      from.set(x, user)
      queue.push(x)
    }
  }
  const names: string[] = []
  for (let at: Tensor | undefined = t; at !== undefined; at = from.get(at)) {
    names.push(at.label ? `${at.op.name}(${at.label})` : at.op.name)
  }
  return names.reverse().join(' → ')
}

/**
 * Jacobian-vector products: Σ_w ∂output/∂w · tangent_w for each output. Two reverse sweeps: the first is linear in its cotangent, so its
 * own vjp with respect to that cotangent is the forward derivative, and the cotangent itself is no longer part of the graph.
 * @param tangents one tensor of each wrt's shape, float32
 */
export function jvp(outputs: readonly Tensor[], wrt: readonly Tensor[], tangents: readonly Tensor[]): Tensor[] {
  expectMatching('jvp', 'tangent', wrt, tangents)
  const dummies = outputs.map((o, i) => input(`cotangent${i}`, o.shape))
  return vjp(vjp(outputs, dummies, wrt), tangents, dummies)
}

/** Hessian-vector products of a scalar: Σ_v ∂²y/∂w∂v · vector_v for each w of `wrt`; one vector of each wrt's shape. */
export function hvp(y: Tensor, wrt: readonly Tensor[], vectors: readonly Tensor[]): Tensor[] {
  expectMatching('hvp', 'vector', wrt, vectors)
  return vjp(grad(y, wrt), vectors, wrt)
}

function expectMatching(op: string, what: string, tensors: readonly Tensor[], partners: readonly Tensor[]): void {
  if (tensors.length !== partners.length) {
    throw new RangeError(`[${op}] needs one ${what} for each of ${tensors.length} tensors; got ${partners.length}`)
  }
  tensors.forEach((t, i) => {
    const p = partners[i] as Tensor
    if (!sameShape(t.shape, p.shape)) {
      throw shapeError(op, `${what} ${i} must have shape ${showShape(t.shape)} of ${t}; got ${showShape(p.shape)}`, {
        shape: t.shape,
        got: p.shape,
      })
    }
    expectFloat(op, p)
  })
}

function expectFloat(op: string, t: Tensor): void {
  if (t.dtype !== 'float32')
    throw dtypeError(op, `derivatives exist for float32 tensors only; got ${t}`, { dtype: t.dtype })
}
