/** Every ONNX operator that is understood, by name; and the check of a whole graph, which names all that is not at once. */
import { LangevinError, nearest } from '../../graph/errors.ts'
import { Attributes, type OpRule } from './call.ts'
import { elementwise } from './elementwise.ts'
import { linear } from './linear.ts'
import { norms } from './norms.ts'
import type { NodeRecord } from './record.ts'
import { reductions } from './reductions.ts'
import { resizes } from './resize.ts'
import { shapes } from './shapes.ts'
import { windows } from './windows.ts'

const rules: ReadonlyMap<string, OpRule> = new Map(
  [elementwise, linear, norms, reductions, resizes, shapes, windows].flatMap((r) => Object.entries(r)),
)

/** The operators of ONNX that `importOnnx` takes. */
export const importedOps: readonly string[] = [...rules.keys()].sort()

/** @throws LangevinError E_ONNX for an operator that is not known */
export function ruleOf(node: NodeRecord): OpRule {
  const rule = rules.get(node.op)
  if (rule === undefined) throw unsupported([{ node, reason: unknownOp(node.op) }])
  return rule
}

interface Fault {
  readonly node: NodeRecord
  readonly reason: string
}

/**
 * @param read the values that some node or the output reads: an optional output that nobody reads does no harm
 * @throws LangevinError E_ONNX that lists every node with an operator, attribute or output that is not supported; `details.unsupported` has them
 */
export function checkNodes(nodes: readonly NodeRecord[], opset: number, read: ReadonlySet<string>): void {
  const faults = nodes.flatMap((node): Fault[] => {
    const reason = faultOf(node, opset, read)
    return reason === undefined ? [] : [{ node, reason }]
  })
  if (faults.length > 0) throw unsupported(faults)
}

function faultOf(node: NodeRecord, opset: number, read: ReadonlySet<string>): string | undefined {
  const rule = rules.get(node.op)
  if (rule === undefined) return unknownOp(node.op)
  const strange = Object.keys(node.attr ?? {}).filter((a) => !rule.attributes.includes(a))
  if (strange.length > 0) return `attribute ${strange.join(', ')} is not understood`
  const more = node.out.slice(rule.outputs ?? 1).find((o) => o !== '' && read.has(o))
  if (more !== undefined) return `its output '${more}' is not supported`
  return rule.refuse?.(new Attributes(node, opset))
}

function unknownOp(op: string): string {
  const near = nearest(op, importedOps)
  return near === undefined ? 'the operator is not supported' : `the operator is not supported (${near} is)`
}

/** A message names so many nodes. */
const mostNamed = 50

function unsupported(faults: readonly Fault[]): LangevinError {
  const lines = faults.slice(0, mostNamed).map(({ node, reason }) => `  ${node.op} at node '${node.name}': ${reason}`)
  if (faults.length > mostNamed)
    lines.push(`  and ${faults.length - mostNamed} more (details.unsupported has them all)`)
  return new LangevinError(
    'E_ONNX',
    `[onnx] the graph has ${faults.length === 1 ? 'a node that is' : `${faults.length} nodes that are`} not supported:\n${lines.join('\n')}\n` +
      "Export the model without them, or cut the graph before them with the option output: 'name of a value'.",
    { unsupported: faults.map(({ node, reason }) => ({ op: node.op, node: node.name, reason })) },
  )
}
