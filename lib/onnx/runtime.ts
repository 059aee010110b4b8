/**
 * Loads ONNX Runtime, which is an optional peer of the package: training and sampling do without it. Stands alone so that the published types of
 * other files do not depend on the runtime's.
 */
import { LangevinError } from '../graph/errors.ts'

export type Runtime = typeof import('onnxruntime-node')

/** ONNX Runtime, an optional peer of the package. @throws LangevinError E_ONNX that says how to install it. */
export async function loadRuntime(): Promise<Runtime> {
  try {
    return await import('onnxruntime-node')
  } catch (cause) {
    throw new LangevinError(
      'E_ONNX',
      `[onnx] running a model needs the package onnxruntime-node, which does not load here: ${cause}. Run: npm install --ignore-scripts onnxruntime-node (its install script only fetches a CUDA provider that is not needed)`,
      {},
      cause,
    )
  }
}
