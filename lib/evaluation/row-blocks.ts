/**
 * Pairwise work natively: a graph for a block of rows, run block after block by one native program until all rows are done.
 * Nothing of n x n is kept: a block's temporaries take about 16 MB. What is computed is the caller's; pairs.ts has distances.
 */
import { type HostTensor, hostTensor } from '../graph/host-tensor.ts'
import type { Tensor } from '../graph/tensor.ts'
import * as ops from '../ops/index.ts'
import { chosenDevice, type Device, type DeviceOption } from '../runtime/devices.ts'
import { makeProgram } from '../runtime/program.ts'
import { Recorder, runStage, State } from '../runtime/state.ts'

/** Elements of a block's largest temporary. */
const blockElements = 4_194_304

export interface RowWork extends RowRun {
  /** What the graph reads, by name. */
  readonly tensors: Readonly<Record<string, HostTensor>>
  /** Rows to visit. */
  readonly rows: number
  /** Elements of the largest temporary per row: the number of columns that a row is paired with. */
  readonly columns: number
}

/** How it runs: where, and until what. */
export interface RowRun {
  readonly device: Device
  /** Stops between blocks with the signal's reason. */
  readonly signal?: AbortSignal | undefined
}

/** From options that name both or neither. */
export function rowRun({ device, signal }: DeviceOption & { readonly signal?: AbortSignal }): RowRun {
  return { device: chosenDevice(device), signal }
}

/**
 * Runs `graph` for rows 0..rows-1. It gets the block's row numbers (int32 [block]) and a reader of the tensors, and gives results of
 * shape [block, ...]; they come back joined as [rows, ...]. The last block repeats the last row where the rows do not fill it.
 */
export async function overRows<K extends string>(
  { tensors, rows, columns, device, signal }: RowWork,
  graph: (index: Tensor, read: (name: string) => Tensor) => Record<K, Tensor>,
): Promise<Record<K, HostTensor>> {
  signal?.throwIfAborted()
  const block = Math.max(1, Math.min(rows, Math.floor(blockElements / Math.max(1, columns))))
  const state = new State(device)
  try {
    for (const [name, value] of Object.entries(tensors)) await state.put(name, value)
    await state.put('start', hostTensor(new Int32Array(1), []))
    const r = new Recorder(state)
    const start = r.read('start')
    const index = ops.minimum(ops.add(ops.iota([block], 0), start), rows - 1)
    const results = graph(index, (name) => r.read(name))
    for (const [name, value] of Object.entries<Tensor>(results)) {
      state.create(`out/${name}`, [rows, ...value.shape.slice(1)], value.dtype)
      r.write(`out/${name}`, ops.scatterRows(r.read(`out/${name}`), index, value))
    }
    r.write('start', ops.add(start, block))
    const stage = await r.compile('block')
    try {
      const program = makeProgram([runStage(stage)])
      await program.run(Math.ceil(rows / block), { signal })
      signal?.throwIfAborted()
      const read = Object.keys(results).map(async (name) => [name, await state.get(`out/${name}`).read()] as const)
      return Object.fromEntries(await Promise.all(read)) as Record<K, HostTensor>
    } finally {
      stage.plan.dispose()
    }
  } finally {
    state.dispose()
  }
}
