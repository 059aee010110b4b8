/** Rows of host tensors: slices along axis 0, and a function applied batch by batch. */
import { type HostTensor, hostTensor } from '../graph/host-tensor.ts'

/** Rows start..end-1 of x [n, ...], sharing memory. */
export function sliceRows(x: HostTensor, start: number, end: number): HostTensor {
  const rows = x.shape[0] ?? 0
  const width = rows === 0 ? 0 : x.data.length / rows
  return hostTensor(x.data.subarray(start * width, end * width), [end - start, ...x.shape.slice(1)], x.dtype)
}

/** Calls `visit` with consecutive slices of at most `batch` rows, one after the other, until done or aborted. */
export async function forEachBatch(
  x: HostTensor,
  batch: number,
  signal: AbortSignal | undefined,
  visit: (part: HostTensor, start: number) => Promise<void>,
): Promise<void> {
  const rows = x.shape[0] ?? 0
  for (let start = 0; start < rows; start += batch) {
    signal?.throwIfAborted()
    await visit(sliceRows(x, start, Math.min(rows, start + batch)), start)
  }
}
