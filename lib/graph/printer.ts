/** Prints a graph as one line a node, stable across runs: ids are renumbered from 0 in topological order. */
import { showShape } from './shape.ts'
import { type Attrs, type Tensor, topologicalOrder } from './tensor.ts'

/** The graph below `outputs` as text: `%3 = conv2d(%0, %1) {stride:[1,1]} : float32[8,16,8,8]`. */
export function printGraph(outputs: readonly Tensor[]): string {
  const order = topologicalOrder(outputs)
  const name = new Map(order.map((t, i) => [t, `%${i}`]))
  const lines = order.map((t) => {
    const args = t.inputs.map((i) => name.get(i)).join(', ')
    const label = t.label ? ` # ${t.label}` : ''
    return `${name.get(t)} = ${t.op.name}(${args})${showAttrs(t.attrs)} : ${t.dtype}${showShape(t.shape)}${label}`
  })
  lines.push(`return ${outputs.map((o) => name.get(o)).join(', ')}`)
  return lines.join('\n')
}

/** ` {a:1,b:[2,3]}`, or nothing when there are no attributes. */
export function showAttrs(attrs: Attrs): string {
  const entries = Object.entries(attrs).filter(([, v]) => v !== undefined)
  if (entries.length === 0) return ''
  return ` {${entries.map(([k, v]) => `${k}:${JSON.stringify(v)}`).join(', ')}}`
}
