/** Which tensors of a foreign graph are weights to train, which are kept as they are, and which are constants of the graph; and their names. */
import { sizeOf } from '../graph/shape.ts'
import type { NodeRecord, VariableRecord } from '../nn/imported/record.ts'
import { modelOutputs } from '../nn/outputs.ts'

/** What a tensor is used for. */
export type Part = 'parameter' | 'statistic' | 'constant'

/** A tensor's use by an operator that does something with it. */
interface Use {
  readonly node: NodeRecord
  readonly input: number
}

/** Inputs of operators that are weights wherever they stand. */
const weightInputs: Readonly<Record<string, readonly number[]>> = {
  Conv: [1, 2],
  ConvTranspose: [1, 2],
  Gemm: [0, 1, 2],
  MatMul: [0, 1],
  Einsum: [0, 1],
  BatchNormalization: [1, 2],
  InstanceNormalization: [1, 2],
  LayerNormalization: [1, 2],
  GroupNormalization: [1, 2],
  PRelu: [1],
}

/** Operators that hand a tensor on as it is. */
const passive = new Set(['Identity', 'Cast', 'Transpose', 'Reshape', 'Unsqueeze', 'Squeeze', 'Flatten', 'Expand'])

/** Operators whose tensors are weights behind the first layer: biases, scales, positions. Before it they prepare the input. */
const arithmetic = new Set(['Add', 'Sub', 'Mul', 'Div', 'Sum', 'Concat'])

const averages = /(^|[._/])(running|moving)_(mean|var|variance)($|[^a-z])/i

/** More numbers than this do not belong into a config. */
const largestConstant = 64

export class Uses {
  private readonly readers = new Map<string, Use[]>()
  /** Values that carry data through a layer with weights. */
  private readonly behind = new Set<string>()

  constructor(nodes: readonly NodeRecord[], input: string, isTensor: (value: string) => boolean) {
    const carries = new Set([input])
    for (const node of nodes) {
      for (const [input, v] of node.in.entries()) {
        const known = this.readers.get(v)
        if (known === undefined) this.readers.set(v, [{ node, input }])
        else known.push({ node, input })
      }
      if (!node.in.some((v) => carries.has(v))) continue
      const layer = node.op in weightInputs && node.in.some((v) => isTensor(v) || (v !== '' && !carries.has(v)))
      const behind = layer || node.in.some((v) => this.behind.has(v))
      for (const o of node.out) {
        carries.add(o)
        if (behind) this.behind.add(o)
      }
    }
  }

  /** What a float tensor of this value is, and what a fresh one begins with. */
  partOf(value: string, shape: readonly number[]): { readonly part: Part; readonly init?: number } {
    const uses = this.usesOf(value)
    const at = (op: string, ...inputs: number[]): boolean =>
      uses.some((u) => u.node.op === op && inputs.includes(u.input))
    if (at('BatchNormalization', 3)) return { part: 'statistic', init: 0 }
    if (at('BatchNormalization', 4)) return { part: 'statistic', init: 1 }
    if (averages.test(value)) return { part: 'statistic', init: /var/i.test(value) ? 1 : 0 }
    const scale = uses.some((u) => u.node.op.endsWith('Normalization') && u.input === 1)
    if (uses.some((u) => weightInputs[u.node.op]?.includes(u.input)))
      return { part: 'parameter', ...(scale && { init: 1 }) }
    const size = sizeOf(shape)
    const inner = uses.some((u) => arithmetic.has(u.node.op) && u.node.in.some((v) => this.behind.has(v)))
    if (inner && size > 1) return { part: 'parameter' }
    return { part: size <= largestConstant ? 'constant' : 'statistic' }
  }

  /** Readers of a value, through operators that only hand it on. */
  private usesOf(value: string): Use[] {
    const found: Use[] = []
    const values = new Set([value])
    // The set grows while it is gone through.
    for (const v of values)
      for (const u of this.readers.get(v) ?? [])
        if (passive.has(u.node.op) && u.input === 0) for (const o of u.node.out) values.add(o)
        else found.push(u)
    return found
  }
}

/** Names that the inputs and outputs of our own files take, of models and of samplers. */
const reserved: readonly string[] = [
  ...modelOutputs,
  ...['x', 'y', 'z', 'sigma', 'epsilon', 'x0', 'steps', 'step_size', 'noise_scale', 'seed', 'noise', 'init_noise'],
  ...['samples', 'energies', 'acceptance', 'trajectory', 'energy_trace'],
]

/** Names for variables, as the file's but without what checkpoints and our own exports use for themselves; each once. */
export function variableNames(values: readonly string[]): Map<string, VariableRecord['name']> {
  const taken = new Set(reserved)
  const names = new Map<string, string>()
  for (const value of values) {
    const base =
      value
        .replace(/[/:]+/g, '.')
        .replace(/[^\w.-]/g, '_')
        .replace(/^\.+|\.+$/g, '') || 'weight'
    let name = base
    for (let i = 1; taken.has(name); i++) name = `${base}_${i}`
    taken.add(name)
    names.set(value, name)
  }
  return names
}
