/** What the ONNX tests share: toy ops with odd ONNX rules, feeds, and the checker of Python's onnx package where there is one. */
import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fromBinary } from '@bufbuild/protobuf'
import { type HostTensor, hostTensor } from '../../lib/graph/host-tensor.ts'
import { type Shape, sizeOf, type TensorType } from '../../lib/graph/shape.ts'
import type { Tensor } from '../../lib/graph/tensor.ts'
import type { Trace } from '../../lib/onnx/exporter.ts'
import { type ModelProto, ModelProtoSchema } from '../../lib/onnx/gen/onnx_pb.ts'
import { openOnnx } from '../../lib/onnx/verify.ts'
import { evaluateReference } from '../../lib/ops/evaluate.ts'

/** The python that has the onnx package: $LANGEVIN_PYTHON, or python3; undefined if there is none. */
export const python: string | undefined = [process.env.LANGEVIN_PYTHON, 'python3'].find((p) => {
  if (p === undefined || p === '') return false
  try {
    execFileSync(p, ['-c', 'import onnx'], { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
})

/** Runs the full ONNX checker (schema, types, strict shape inference) over models; throws with its message. */
export function checkWithPython(models: readonly Uint8Array[]): void {
  if (python === undefined) throw new Error('no python with onnx; set LANGEVIN_PYTHON')
  const folder = mkdtempSync(join(tmpdir(), 'langevin-onnx-'))
  try {
    const paths = models.map((bytes, i) => {
      const path = join(folder, `${i}.onnx`)
      writeFileSync(path, bytes)
      return path
    })
    const script =
      'import onnx, sys\n' +
      'for p in sys.argv[1:]:\n' +
      '    m = onnx.load(p)\n' +
      '    onnx.checker.check_model(m, full_check=True)\n' +
      '    onnx.shape_inference.infer_shapes(m, check_type=True, strict_mode=True, data_prop=True)\n'
    execFileSync(python, ['-c', script, ...paths], { stdio: 'pipe' })
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

/** Reproducible float32 numbers in (-1, 1), not symmetric and without repeats. */
export function waves(shape: Shape, seed = 1): HostTensor {
  const data = Float32Array.from({ length: sizeOf(shape) }, (_, i) => Math.sin(1.7 * i + 0.31 * i * i + seed))
  return hostTensor(data, shape)
}

/** A parameter list from tensors and their data. */
export function parametersOf(entries: readonly (readonly [Tensor, string, HostTensor])[]): Trace['parameters'] {
  return new Map(entries.map(([tensor, name, data]) => [tensor, { name, data }]))
}

export function parse(bytes: Uint8Array): ModelProto {
  return fromBinary(ModelProtoSchema, bytes)
}

/** Op types of a model's nodes, in order. */
export function opTypes(bytes: Uint8Array): string[] {
  return (parse(bytes).graph?.node ?? []).map((n) => n.opType)
}

/** Loads a model in ONNX Runtime, runs it on the feeds and releases it. */
export async function runOnnx(
  model: Uint8Array | string,
  ...feeds: readonly Record<string, HostTensor>[]
): Promise<Map<string, HostTensor>[]> {
  const session = await openOnnx(model, 1)
  try {
    const results: Map<string, HostTensor>[] = []
    for (const f of feeds) results.push(await session.run(new Map(Object.entries(f))))
    return results
  } finally {
    await session.release()
  }
}

/** The float64 values of graph tensors by the ops' references; `feeds` holds the inputs. */
export function evaluate(outputs: readonly Tensor[], feeds: ReadonlyMap<Tensor, HostTensor>): HostTensor[] {
  const given = new Map([...feeds].map(([t, { shape, data }]) => [t, { shape, data: Float64Array.from(data) }]))
  return evaluateReference(outputs, given).map(({ data }, i) => fromReference(data, outputs[i] as Tensor))
}

/** Float64 numbers as a host tensor of the type. */
function fromReference(data: Float64Array, { shape, dtype }: TensorType): HostTensor {
  if (dtype === 'float32') return hostTensor(Float32Array.from(data), shape)
  return dtype === 'int32' ? hostTensor(Int32Array.from(data), shape) : hostTensor(Uint8Array.from(data), shape, dtype)
}
