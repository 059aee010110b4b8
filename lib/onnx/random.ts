/**
 * The random ops by ONNX's own generators, which no key reaches: other numbers in every run, of the same distributions. For runtimes without the
 * integer ops that keyed draws need, and for speed. Keyed draws stand with the ops (lib/ops/philox-onnx.ts).
 */
import type { Attrs } from '../graph/tensor.ts'
import type { OnnxContext, OnnxRule } from '../ops/define.ts'
import { one } from '../ops/onnx.ts'

type Context = OnnxContext<Attrs>

/** Ops that draw from a key, their first input. */
export const drawOps: ReadonlySet<string> = new Set(['normal', 'uniform', 'random_int', 'bernoulli', 'categorical'])

/** `RandomNormalLike` or `RandomUniformLike` of a shape that may depend on the batch. */
function draw(c: Context, opType: string, shape: readonly number[] = c.output.shape): string {
  return one(c, opType, [one(c, 'ConstantOfShape', [c.emit.shape('shape', shape)])])
}

const uniform = (c: Context, shape?: readonly number[]): string => draw(c, 'RandomUniformLike', shape)

/** Rules for `ExportOptions.rules`. */
export const runtimeRules: ReadonlyMap<string, OnnxRule<Attrs>> = new Map<string, OnnxRule<Attrs>>([
  ['normal', (c) => draw(c, 'RandomNormalLike')],
  ['uniform', (c) => uniform(c)],
  [
    'random_int',
    (c) => {
      const bound = c.attrs.bound as number
      const scaled = one(c, 'Floor', [one(c, 'Mul', [uniform(c), c.emit.floats([bound], [])])])
      // A uniform just below 1 may round up to the bound.
      return c.emit.cast(one(c, 'Min', [scaled, c.emit.floats([bound - 1], [])]), 'int32')
    },
  ],
  ['bernoulli', (c) => one(c, 'Less', [uniform(c), c.inputs[1] as string])],
  [
    'categorical',
    (c) => {
      const logits = c.inputs[1] as string
      const { shape } = c.types[1] as { readonly shape: readonly number[] }
      const gumbel = one(c, 'Log', [one(c, 'Neg', [one(c, 'Log', [uniform(c, shape)])])])
      const best = one(c, 'ArgMax', [one(c, 'Sub', [logits, gumbel])], {
        axis: { int: shape.length - 1 },
        keepdims: { int: 0 },
      })
      return c.emit.cast(best, 'int32')
    },
  ],
])
