/**
 * Rebuilds a graph bottom-up into canonical form: composites decomposed, equal nodes shared (hash-consing), simplifications and
 * constant folding applied where a node is made. Dead nodes vanish because only what outputs need is rebuilt.
 * One walk, linear in the graph; the rules stand in simplify.ts and constants.ts.
 */
import { internalError } from '../graph/errors.ts'
import { type Shape, sameShape, type TensorType } from '../graph/shape.ts'
import { type Attrs, type AttrValue, Tensor } from '../graph/tensor.ts'
import { allOps, type OpDefinition } from '../ops/define.ts'
import { constantOf, contentKey, fold, isConstant, sameContents, uniformValue } from './constants.ts'
import { simplify } from './simplify.ts'

/** Operand order does not matter to the value: such nodes are equal in either order. */
const commutative = new Set(['add', 'mul', 'eq', 'ne', 'logical_and', 'logical_or'])

export interface BuilderOptions {
  /** Composites and stopped gradients stay, so that the result can be differentiated as the graph it was made of. Default false. */
  readonly differentiable?: boolean
  /** Canonical tensors that stand for tensors of the graph; what is below those is not looked at. */
  readonly images?: ReadonlyMap<Tensor, Tensor>
}

/** Makes canonical nodes; every tensor it returns is canonical, and equal expressions are one tensor. */
export class GraphBuilder {
  private readonly differentiable: boolean
  private readonly definitions: ReadonlyMap<string, OpDefinition>
  private readonly table = new Map<string, Tensor>()
  private readonly canonical = new Set<Tensor>()
  private readonly images: Map<Tensor, Tensor>

  constructor({ differentiable = false, images = new Map() }: BuilderOptions = {}) {
    this.differentiable = differentiable
    this.images = new Map(images)
    this.definitions = new Map(allOps().map((d) => [d.name, d]))
  }

  /** The canonical forms of `outputs`. */
  rewrite(outputs: readonly Tensor[]): Tensor[] {
    for (const t of this.newBelow(outputs)) this.visit(t)
    return outputs.map((t) => this.imageOf(t))
  }

  definition(name: string): OpDefinition {
    const d = this.definitions.get(name)
    if (d === undefined) throw internalError(`op ${name} is not defined`)
    return d
  }

  /** The canonical node for an op over canonical inputs. */
  make(name: string, inputs: readonly Tensor[], attrs: Attrs, from?: Tensor): Tensor {
    const d = this.definition(name)
    if (d.kind === 'composite' && !this.differentiable) return this.decomposed(d, inputs, attrs)
    const type = d.infer(inputs, attrs)
    const simple = this.simpler(d, inputs, attrs, type)
    if (simple !== undefined) return isConstant(simple) ? this.constant(simple) : simple
    const key = nodeKey(name, inputs, attrs)
    const have = this.table.get(key)
    if (have !== undefined) return have
    const reuse = from !== undefined && from.op.name === name && from.inputs.every((t, i) => t === inputs[i])
    const label = from?.label === undefined ? {} : { label: from.label }
    const node = reuse ? from : new Tensor(d, inputs, attrs, type.shape, type.dtype, label)
    this.table.set(key, node)
    this.canonical.add(node)
    return node
  }

  private simpler(d: OpDefinition, inputs: readonly Tensor[], attrs: Attrs, type: TensorType): Tensor | undefined {
    if (this.differentiable && d.name === 'stop_gradient') return undefined
    return simplify(this, d, inputs, attrs, type) ?? fold(d, inputs, attrs, type)
  }

  reshape(t: Tensor, shape: Shape): Tensor {
    return sameShape(t.shape, shape) ? t : this.make('reshape', [t], { shape })
  }

  broadcast(t: Tensor, shape: Shape): Tensor {
    return sameShape(t.shape, shape) ? t : this.make('broadcast', [t], { shape })
  }

  /** A scalar constant. */
  scalar(value: number, dtype: Tensor['dtype']): Tensor {
    return this.constant(constantOf([value], [], dtype))
  }

  /** Shares equal constants; one that repeats a single value becomes a broadcast scalar. */
  constant(t: Tensor): Tensor {
    if (this.canonical.has(t)) return t
    const value = uniformValue(t)
    if (value !== undefined) return this.broadcast(this.scalar(value, t.dtype), t.shape)
    let key = contentKey(t)
    for (let have = this.table.get(key); have !== undefined; have = this.table.get(key)) {
      if (sameContents(have, t)) return have
      key += '+'
    }
    this.table.set(key, t)
    this.canonical.add(t)
    return t
  }

  private visit(t: Tensor): void {
    if (this.images.has(t) || this.canonical.has(t)) return
    if (isConstant(t)) {
      this.images.set(t, this.constant(t))
    } else if (t.op.name === 'input') {
      this.canonical.add(t)
    } else {
      const inputs = t.inputs.map((i) => this.imageOf(i))
      this.images.set(t, this.make(t.op.name, inputs, t.attrs, t))
    }
  }

  private imageOf(t: Tensor): Tensor {
    const image = this.images.get(t) ?? (this.canonical.has(t) ? t : undefined)
    if (image === undefined) throw internalError(`tensor ${t.toString()} was not visited before its user`)
    return image
  }

  private decomposed(d: OpDefinition, inputs: readonly Tensor[], attrs: Attrs): Tensor {
    if (d.decompose === undefined) throw internalError(`composite op ${d.name} has no decompose`)
    const out = d.decompose(inputs, attrs)
    for (const t of this.newBelow([out])) this.visit(t)
    return this.imageOf(out)
  }

  /** Tensors below `outputs` that are not canonical yet, inputs first; stops at canonical ones, so that the cost is local. */
  private newBelow(outputs: readonly Tensor[]): Tensor[] {
    const seen = new Set<Tensor>()
    const stack = [...outputs]
    for (let t = stack.pop(); t !== undefined; t = stack.pop()) {
      if (seen.has(t) || this.canonical.has(t) || this.images.has(t)) continue
      seen.add(t)
      stack.push(...t.inputs)
    }
    return [...seen].sort((a, b) => a.id - b.id)
  }
}

function nodeKey(name: string, inputs: readonly Tensor[], attrs: Attrs): string {
  const ids = inputs.map((t) => t.id)
  if (commutative.has(name)) ids.sort((a, b) => a - b)
  return `${name}|${ids.join(',')}|${attrsKey(attrs)}`
}

function attrsKey(attrs: Attrs): string {
  const names = Object.keys(attrs).filter((k) => attrs[k] !== undefined)
  if (names.length > 1) names.sort()
  return names.map((k) => `${k}:${attrKey(attrs[k])}`).join(';')
}

/** Unlike JSON it tells -0, infinities and NaN apart, and a number from a string. */
function attrKey(v: AttrValue): string {
  if (typeof v === 'number') return Object.is(v, -0) ? '-0' : String(v)
  if (typeof v === 'string') return JSON.stringify(v)
  return Array.isArray(v) ? `[${v.map((x) => attrKey(x as number)).join(',')}]` : String(v)
}
