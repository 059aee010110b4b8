/** The exporter's mechanics: dynamic batch, names, errors, versions. Single ops are in ops.test.ts, networks in network.test.ts. */
import { describe, expect, it } from 'vitest'
import { LangevinError } from '../../lib/graph/errors.ts'
import { hostTensor } from '../../lib/graph/host-tensor.ts'
import type { Tensor } from '../../lib/graph/tensor.ts'
import { type ExportOptions, exportGraph, type Trace } from '../../lib/onnx/exporter.ts'
import { defineOp } from '../../lib/ops/define.ts'
import { add, iota, mul } from '../../lib/ops/elementwise.ts'
import { matmul } from '../../lib/ops/matmul.ts'
import { mean, sum } from '../../lib/ops/reduce.ts'
import { broadcast, concat, reshape, slice, transpose } from '../../lib/ops/shape.ts'
import { constant, full, input, scalar } from '../../lib/ops/source.ts'
import { exp, relu } from '../../lib/ops/unary.ts'
import { checkWithPython, opTypes, parametersOf, parse, python, runOnnx, waves } from './helpers.ts'

/** A model of one input x [batch, ...shape] without parameters. */
function model(shape: readonly number[], f: (x: Tensor, batch: number) => Tensor): ExportOptions['build'] {
  return (batch) => {
    const x = input('x', [batch, ...shape])
    return {
      inputs: [{ name: 'x', tensor: x }],
      outputs: [{ name: 'y', tensor: f(x, batch) }],
      parameters: new Map(),
    }
  }
}

const odd = (name: string, onnx: Parameters<typeof defineOp<{ readonly n: number }>>[0]['onnx']) =>
  defineOp<{ readonly n: number }>({
    name,
    kind: 'structured',
    infer: (inputs) => inputs[0] as { shape: number[]; dtype: 'float32' },
    gradient: 'none',
    reference: (inputs) => inputs[0] as { shape: number[]; data: Float64Array },
    onnx,
  })
const noForm = odd('test_no_form', { unsupported: 'it only exists in this test' })
const fixedAttribute = odd('test_attribute', ({ emit, inputs, attrs }) => {
  return emit.node('Elu', [inputs[0] as string], { alpha: { float: attrs.n } })[0] as string
})
const batchForm = odd('test_form', ({ emit, inputs, attrs }) => {
  return emit.node(attrs.n > 12 ? 'Exp' : 'Log', [inputs[0] as string])[0] as string
})

async function outputs(build: ExportOptions['build'], batches: readonly number[], shape: readonly number[]) {
  const bytes = exportGraph({ build })
  const results = await runOnnx(bytes, ...batches.map((b) => ({ x: waves([b, ...shape], b) })))
  return results.map((r) => r.get('y'))
}

function failure(build: ExportOptions['build'], options: Partial<ExportOptions> = {}): LangevinError {
  try {
    exportGraph({ build, ...options })
  } catch (error) {
    if (error instanceof LangevinError) return error
    throw error
  }
  throw new Error('the export succeeded')
}

describe('dynamic batch', () => {
  it('computes shapes that depend on the batch from the input', async () => {
    const build = model([3, 4], (x, b) => {
      const rows = reshape(transpose(x, [1, 0, 2]), [3 * b, 4])
      const doubled = concat([rows, rows], 0)
      return slice(doubled, [1, 0], [6 * b - 1, 4])
    })
    for (const [i, y] of (await outputs(build, [1, 2, 7], [3, 4])).entries()) {
      const b = [1, 2, 7][i] as number
      const x = waves([b, 3, 4], b).data
      const rows = [0, 1, 2].flatMap((c) =>
        Array.from({ length: b }, (_, n) => x.slice(n * 12 + c * 4, n * 12 + c * 4 + 4)),
      )
      const want = [...rows, ...rows].slice(1, -1).flatMap((r) => Array.from(r))
      expect(y?.shape).toEqual([6 * b - 2, 4])
      expect(Array.from(y?.data ?? [])).toEqual(want)
    }
  })

  it('computes means over the batch, counts and filled tensors', async () => {
    const build = model([2], (x, b) => {
      const centred = add(x, mul(mean(x, 0, { keepDims: true }), -1))
      const counted = mul(centred, scalar(3 * b + 2))
      return add(counted, mul(iota([b, 2], 0, 'float32'), full([b, 2], 1 / b)))
    })
    for (const y of await outputs(build, [1, 2, 7], [2])) {
      const b = y?.shape[0] as number
      const x = waves([b, 2], b).data
      const column = (c: number) => Array.from({ length: b }, (_, n) => x[2 * n + c] as number)
      const means = [0, 1].map((c) => column(c).reduce((s, v) => s + v, 0) / b)
      y?.data.forEach((v, i) => {
        const n = Math.floor(i / 2)
        expect(v).toBeCloseTo(((x[i] as number) - (means[i % 2] as number)) * (3 * b + 2) + n / b, 4)
      })
    }
  })

  it('takes batch-sized constants of one value', async () => {
    const build = model([2], (x, b) => mul(x, constant(new Float32Array(b).fill(0.5), [b, 1])))
    const [y] = await outputs(build, [5], [2])
    expect(Array.from(y?.data ?? [])).toEqual(Array.from(waves([5, 2], 5).data, (v) => v * 0.5))
  })

  it('shares the arithmetic, needs none where Reshape can infer, and names dimensions', () => {
    const plain = exportGraph({ build: model([3, 4], (x, b) => relu(reshape(x, [b, 12]))) })
    expect(opTypes(plain)).toEqual(['Reshape', 'Relu'])
    const build = model([4], (x, b) => add(broadcast(sum(x, 0, { keepDims: true }), [b, 4]), full([b, 4], 2)))
    const types = opTypes(exportGraph({ build }))
    expect(types.filter((t) => t === 'Shape')).toHaveLength(1)
    expect(types.filter((t) => t === 'Concat')).toHaveLength(1)
    const graph = parse(exportGraph({ build: model([3], (x) => concat([x, x], 0)) })).graph
    const dims = (v: { type?: unknown } | undefined) =>
      JSON.stringify(v?.type, (_, x) => (typeof x === 'bigint' ? Number(x) : x))
    expect(dims(graph?.input[0])).toContain('"dimParam","value":"batch"')
    expect(dims(graph?.output[0])).toContain('"dimParam","value":"2*batch"')
  })

  it('survives batch sizes that equal a dimension of the model', async () => {
    // With 11 features, reshape(x, [11, b]) is no node at batch 11: those traces differ, and the second set of sizes decides.
    const build = model([11], (x, b) => exp(transpose(reshape(x, [11, b]))))
    const [y] = await outputs(build, [3], [11])
    const x = waves([3, 11], 3).data
    const want = Array.from({ length: 33 }, (_, i) => Math.exp(x[(i % 11) * 3 + Math.floor(i / 11)] as number))
    expect(y?.shape).toEqual([3, 11])
    want.forEach((v, i) => {
      expect(y?.data[i]).toBeCloseTo(v, 5)
    })
  })

  it('exports models without any dynamic axis', async () => {
    const build = (): Trace => {
      const x = input('x', [2, 3])
      const tensor = iota([2, 3], 1, 'float32')
      return {
        inputs: [{ name: 'x', tensor: x }],
        outputs: [{ name: 'y', tensor: add(x, tensor) }],
        parameters: new Map(),
      }
    }
    const [r] = await runOnnx(exportGraph({ build }), { x: hostTensor(new Float32Array(6), [2, 3]) })
    expect(Array.from(r?.get('y')?.data ?? [])).toEqual([0, 1, 2, 0, 1, 2])
  })
})

describe('names and parameters', () => {
  const w = input('w', [4, 3])
  const unused = input('unused', [5])
  const data = waves([4, 3])
  const build = (b: number): Trace => {
    const x = input('x', [b, 4])
    const h = matmul(x, w)
    return {
      inputs: [{ name: 'x', tensor: x }],
      outputs: [
        { name: 'h', tensor: h },
        { name: 'h again', tensor: h },
        { name: 'energy', tensor: sum(exp(h).named('head'), 1) },
      ],
      parameters: parametersOf([
        [w, 'blocks.0.fc.weight', data],
        [unused, 'unused.weight', waves([5])],
      ]),
    }
  }

  it('keeps PyTorch names, drops what is unused, and names nodes after modules and labels', () => {
    const graph = parse(exportGraph({ build, modelName: 'net' })).graph
    expect(graph?.name).toBe('net')
    expect(graph?.initializer.map((t) => t.name)).toContain('blocks.0.fc.weight')
    expect(graph?.initializer.map((t) => t.name)).not.toContain('unused.weight')
    const names = graph?.node.map((n) => n.name) ?? []
    expect(names).toContain('blocks.0.fc/matmul')
    expect(names).toContain('head/exp')
    expect(new Set(names).size).toBe(names.length)
    expect(graph?.output.map((o) => o.name)).toEqual(['h', 'h again', 'energy'])
  })

  it('computes with the parameters', async () => {
    const x = waves([2, 4], 5)
    const [r] = await runOnnx(exportGraph({ build }), { x })
    const want = [0, 1].flatMap((n) =>
      [0, 1, 2].map((o) =>
        [0, 1, 2, 3].reduce((s, i) => s + (x.data[4 * n + i] as number) * (data.data[3 * i + o] as number), 0),
      ),
    )
    want.forEach((v, i) => {
      expect(r?.get('h')?.data[i]).toBeCloseTo(v, 5)
      expect(r?.get('h again')?.data[i]).toBeCloseTo(v, 5)
    })
    expect(r?.get('energy')?.data[0]).toBeCloseTo(
      want.slice(0, 3).reduce((s, v) => s + Math.exp(v), 0),
      4,
    )
  })

  it('writes versions and metadata', () => {
    const versions = [17, 18, 19, 20, 21].map((opset) => {
      const m = parse(exportGraph({ build, opset, metadata: { classes: '["a","b"]' } }))
      expect(m.opsetImport.map((o) => [o.domain, Number(o.version)])).toEqual([['', opset]])
      expect(m.producerName).toBe('langevin')
      const props = Object.fromEntries(m.metadataProps.map((p) => [p.key, p.value]))
      expect(props.classes).toBe('["a","b"]')
      expect(props['langevin.version']).toBe(m.producerVersion)
      expect(m.producerVersion).toMatch(/^\d+\.\d+\.\d+/)
      return Number(m.irVersion)
    })
    expect(versions).toEqual([8, 8, 9, 9, 10])
    expect(() => exportGraph({ build, opset: 16 })).toThrow(RangeError)
    expect(() => exportGraph({ build, opset: 22 })).toThrow(/from 17 to 21; got 22/)
  })

  it('is deterministic', () => {
    expect(Buffer.compare(exportGraph({ build }), exportGraph({ build }))).toBe(0)
  })

  it.skipIf(python === undefined)('passes the full ONNX checker at every opset', () => {
    checkWithPython([17, 18, 19, 20, 21].map((opset) => exportGraph({ build, opset })))
  })
})

describe('errors are E_ONNX and say what to do', () => {
  it('an op without an ONNX form: op, node, reason', () => {
    const e = failure(model([2], (x) => noForm([x], { n: 1 }).named('layer')))
    expect(e.code).toBe('E_ONNX')
    expect(e.message).toMatch(
      /op test_no_form at node 'layer\/test_no_form' has no ONNX form: it only exists in this test/,
    )
  })

  it('numbers that are not affine in the batch', () => {
    expect(failure(model([2], (x, b) => mul(x, 1 / (b * b)))).message).toMatch(/a constant is .* at batches 11, 13, 17/)
    expect(failure(model([2], (x, b) => broadcast(sum(x), [b * b]))).message).toMatch(
      /only numbers of the form a·batch \+ b/,
    )
    expect(
      failure(
        model([2], (x, b) =>
          mul(
            x,
            constant(
              Float32Array.from({ length: b }, (_, i) => i),
              [b, 1],
            ),
          ),
        ),
      ).message,
    ).toMatch(/a constant array that depends on the batch \(shapes \[11,1\], \[13,1\], \[17,1\]/)
  })

  it('attributes and forms that depend on the batch', () => {
    expect(failure(model([2], (x, b) => fixedAttribute([x], { n: b }))).message).toMatch(
      /an attribute of Elu .* depends on the batch/,
    )
    expect(failure(model([2], (x, b) => batchForm([x], { n: b }))).message).toMatch(/node Log depends on the batch/)
  })

  it('another graph for another batch', () => {
    expect(failure(model([2], (x, b) => (b % 4 === 3 ? exp(x) : relu(x)))).message).toMatch(
      /builds another graph for another batch size/,
    )
  })

  it('inputs, outputs and parameters that do not fit', () => {
    const one = (extra: Partial<Trace>): ExportOptions['build'] => {
      return (b) => {
        const x = input('x', [b, 2])
        const z = input('z', [2])
        const y = add(x, z)
        const own = parametersOf([[z, 'z', waves([2])]])
        return { inputs: [{ name: 'x', tensor: x }], outputs: [{ name: 'y', tensor: y }], parameters: own, ...extra }
      }
    }
    expect(failure(one({ parameters: new Map() })).message).toMatch(
      /depend on input .*z.*neither among the inputs nor among the parameters/,
    )
    expect(failure(one({ outputs: [] })).message).toMatch(/no outputs/)
    expect(failure(one({ inputs: [{ name: 'c', tensor: scalar(1) }] })).message).toMatch(
      /'c' is the result of constant/,
    )
    const clash = (b: number): Trace => {
      const x = input('x', [b, 2])
      return { inputs: [{ name: 'x', tensor: x }], outputs: [{ name: 'x', tensor: exp(x) }], parameters: new Map() }
    }
    expect(failure(clash).message).toMatch(/output name 'x' is used twice/)
    const wrongShape = (b: number): Trace => {
      const x = input('x', [b, 2])
      const z = input('z', [2])
      const parameters = parametersOf([[z, 'z', waves([3])]])
      return { inputs: [{ name: 'x', tensor: x }], outputs: [{ name: 'y', tensor: add(x, z) }], parameters }
    }
    expect(failure(wrongShape).message).toMatch(
      /parameter 'z' is float32\[2\] in the graph, but its data is float32\[3\]/,
    )
  })

  it('a batch that no input tells', () => {
    const build = (b: number): Trace => {
      const x = input('x', [2])
      return {
        inputs: [{ name: 'x', tensor: x }],
        outputs: [{ name: 'y', tensor: broadcast(x, [b, 2]) }],
        parameters: new Map(),
      }
    }
    expect(failure(build).message).toMatch(/no input has an axis equal to it/)
  })
})
