/**
 * The network of an imported graph: one stage between every two places where a single value is live. The first stage reaches to the first weight,
 * with what is added to it, so that PYLD's inner steps see a layer and not a transpose; a head of one matrix product has features.
 */
import { shapeError } from '../../graph/errors.ts'
import { sizeOf } from '../../graph/shape.ts'
import type { Tensor } from '../../graph/tensor.ts'
import * as ops from '../../ops/index.ts'
import { type Layer, layer } from '../layer.ts'
import { Network, type Stage } from '../network.ts'
import type { Scope } from '../variables.ts'
import { cuts, ForeignGraph, GraphRun } from './graph.ts'
import type { ImportedOptions, NodeRecord } from './record.ts'
import { ruleOf } from './rules.ts'

/** Nodes from one cut to the next. */
interface Segment {
  readonly from: string
  readonly to: string
  readonly nodes: readonly NodeRecord[]
}

const views = new Set(['Identity', 'Reshape', 'Flatten', 'Squeeze', 'Unsqueeze', 'Dropout', 'Cast'])
const products = new Set(['Conv', 'ConvTranspose', 'Gemm', 'MatMul'])

/**
 * A network from a foreign graph as plain data, which its config keeps: `{ kind: 'onnx', ...options }`.
 * @throws LangevinError E_ONNX that names every node that is not supported, or the first whose shapes do not fit; E_SHAPE for an output that is
 * neither [batch], [batch, classes] nor that with axes of 1 behind
 */
export function importedNetwork(options: ImportedOptions): Network {
  const graph = new ForeignGraph(options)
  const segments = segmentsOf(graph)
  const stages = segments.map((s, i): Stage => {
    const [first, last] = [i === 0, i === segments.length - 1]
    return { name: '', layer: segmentLayer(graph, s, first, last) }
  })
  return new Network({ kind: 'onnx', ...options }, options.shape, stages)
}

function segmentLayer(graph: ForeignGraph, segment: Segment, first: boolean, last: boolean): Layer {
  const { options } = graph
  const into = (x: Tensor): Tensor => (first ? mapped(x, options) : x)
  const apply = (x: Tensor, scope: Scope): Tensor => {
    const run = new GraphRun(graph, x.shape[0] as number, scope)
    run.set(segment.from, into(x))
    for (const node of segment.nodes) run.step(node)
    const y = run.get(segment.to)
    return last ? answer(y, options) : y
  }
  const shape = graph.shapesAt(2).get(segment.from)
  const head = last && segment.nodes.filter((n) => products.has(n.op)).length === 1 && isAffine(graph, segment)
  const features = head && shape?.length === 2 ? into : undefined
  const kind = head ? 'linear' : (segment.nodes.map((n) => n.op.toLowerCase()).at(0) ?? 'identity')
  return layer(kind, apply, isAffine(graph, segment), features)
}

/** x·scale + shift: what the foreign model was given. */
function mapped(x: Tensor, { inputMap }: ImportedOptions): Tensor {
  if (inputMap === undefined) return x
  const { shape, scale, shift } = inputMap
  return ops.add(ops.mul(x, ops.constant(scale, shape)), ops.constant(shift, shape))
}

/** Logits [n, classes] or an energy [n, 1] from the graph's output. */
function answer(y: Tensor, { answer: kind, output }: ImportedOptions): Tensor {
  const n = y.shape[0] as number
  const columns = y.shape.slice(1)
  const classes = sizeOf(columns)
  if (columns.length > 1 && columns.slice(1).some((d) => d !== 1)) {
    throw shapeError(
      'onnx',
      `output '${output}' must be [batch], [batch,1] or [batch, classes]; got [batch,${columns.join(',')}]. Name another value with the option output`,
    )
  }
  const rows = ops.reshape(y, [n, classes])
  if (kind === 'classifier') return classes > 1 ? rows : ops.concat([ops.zeros([n, 1]), rows], 1)
  if (classes !== 1)
    throw shapeError('onnx', `output '${output}' has ${classes} columns, so it is no energy; leave the option kind out`)
  return kind === 'logDensity' ? ops.neg(rows) : rows
}

function segmentsOf(graph: ForeignGraph): Segment[] {
  const { dataNodes, options } = graph
  const out: (Segment & { to: string; readonly nodes: NodeRecord[]; weighted: boolean })[] = []
  let [from, start] = [options.input, 0]
  for (const { end, value } of cuts(graph)) {
    const nodes = dataNodes.slice(start, end)
    const weighted = nodes.some((n) => n.in.some((i) => graph.isWeight(i)))
    const before = out.at(-1)
    if (before !== undefined && (joins(before.nodes, nodes) || (!before.weighted && before.from === options.input))) {
      before.nodes.push(...nodes)
      before.to = value
      before.weighted ||= weighted
    } else out.push({ from, to: value, nodes, weighted })
    ;[from, start] = [value, end]
  }
  return out.length > 0 ? out : [{ from: options.input, to: options.output, nodes: [] }]
}

/** Whether a stage goes on with these nodes: views, and what is added to a product. */
function joins(before: readonly NodeRecord[], nodes: readonly NodeRecord[]): boolean {
  const [only] = nodes
  if (nodes.length !== 1 || only === undefined) return nodes.length === 0
  if (views.has(only.op)) return true
  const product = before.findLast((n) => !views.has(n.op))
  return product !== undefined && products.has(product.op) && ['Add', 'Sub'].includes(only.op)
}

function isAffine(graph: ForeignGraph, { nodes }: Segment): boolean {
  return nodes.every((node) => {
    const { affine } = ruleOf(node)
    const carrying = node.in.flatMap((v, i) => (graph.carriesData(v) ? [i] : []))
    if (affine === 'all') return true
    return carrying.length === 1 && (affine === 'either' || (affine === 'first' && carrying[0] === 0))
  })
}
