/**
 * Checkpoints: one safetensors file with every tensor a run owns, and metadata that says what they belong to. Parameters and statistics
 * carry PyTorch's names, so the file also loads as a state_dict; the rest is prefixed (`optimizer/`, `ema/`, `rng/`, `chain/`, `start/`, `schedule/`).
 */
import { stat } from 'node:fs/promises'
import { join } from 'node:path'
import { LangevinError } from '../graph/errors.ts'
import type { HostTensor } from '../graph/host-tensor.ts'
import type { NetworkConfig } from '../nn/network.ts'
import { readSafetensors, writeSafetensors } from '../runtime/safetensors.ts'

/** File of a run folder. */
export const CHECKPOINT_FILE = 'checkpoint.safetensors'

const FORMAT = 'langevin-run-1'

/** What a data set was, as far as using the model needs it. */
export interface DataDescription {
  readonly name: string
  readonly count: number
  readonly shape: readonly number[]
  readonly classes: number
  readonly classNames: readonly string[]
  /** Raw values that are -1 and 1; null where values are taken as they are. */
  readonly range: readonly [number, number] | null
  /** Names of a table's columns. */
  readonly columns?: readonly string[] | undefined
  /** Mean and standard deviation of standardised columns. */
  readonly transform?: { readonly mean: readonly number[]; readonly std: readonly number[] } | undefined
}

/** How far a run is. */
export interface RunProgress {
  /** Updates done. */
  readonly step: number
  /** Seconds of training, over all resumed parts. */
  readonly seconds: number
  /** Recoveries from divergence so far. */
  readonly recoveries: number
  /** Lines of metrics.jsonl that belong to these steps. */
  readonly metricsLines: number
  /** Cross entropy of the last report and the least of any so far, which tell whether a state is worth keeping; null before the first. */
  readonly crossEntropy: { readonly last: number; readonly best: number } | null
}

/** Everything about a run that is not a tensor. */
export interface RunDescription extends RunProgress {
  /** Its name in methods.ts. */
  readonly method: string
  readonly network: NetworkConfig
  /** The trainer's options, as given. */
  readonly options: Readonly<Record<string, unknown>>
  readonly data: DataDescription
  readonly stepsPerEpoch: number
  readonly totalSteps: number
  /** Package version that wrote it. */
  readonly version: string
}

export interface Checkpoint {
  readonly path: string
  readonly run: RunDescription
  readonly tensors: ReadonlyMap<string, HostTensor>
}

/** The checkpoint file of a run folder, or the file itself. */
async function checkpointPath(run: string): Promise<string> {
  let isFolder: boolean
  try {
    isFolder = (await stat(run)).isDirectory()
  } catch (cause) {
    throw new LangevinError(
      'E_IO',
      `run '${run}' does not exist; give a run folder or a checkpoint file`,
      { path: run },
      cause,
    )
  }
  if (!isFolder) return run
  const path = join(run, CHECKPOINT_FILE)
  try {
    await stat(path)
  } catch (cause) {
    throw new LangevinError(
      'E_CHECKPOINT',
      `run folder '${run}' holds no ${CHECKPOINT_FILE}; train there first`,
      { path },
      cause,
    )
  }
  return path
}

/** Reads a run folder's or a file's checkpoint. @throws LangevinError E_CHECKPOINT for a damaged or foreign file. */
export async function readCheckpoint(run: string): Promise<Checkpoint> {
  const path = await checkpointPath(run)
  const { tensors, metadata } = await readSafetensors(path)
  if (metadata.format !== FORMAT || metadata.run === undefined) {
    throw new LangevinError(
      'E_CHECKPOINT',
      `${path} is a safetensors file but not a run's checkpoint (metadata format is ${JSON.stringify(metadata.format ?? null)}, expected '${FORMAT}'); to load plain weights use Model.load`,
    )
  }
  try {
    return { path, run: JSON.parse(metadata.run) as RunDescription, tensors }
  } catch (cause) {
    throw new LangevinError(
      'E_CHECKPOINT',
      `${path}: the run description is not valid JSON; the file is damaged, use an older checkpoint`,
      {},
      cause,
    )
  }
}

/** Writes a checkpoint atomically: a kill at any moment leaves the old file or the new one, whole. */
export function writeCheckpoint(
  path: string,
  run: RunDescription,
  tensors: ReadonlyMap<string, HostTensor>,
): Promise<void> {
  return writeSafetensors(path, tensors, { format: FORMAT, run: JSON.stringify(run) })
}

/** A checkpoint may only continue the run it came from: same method, network, options and data, and no more steps than are planned. */
export function checkContinues(run: RunDescription, mine: RunDescription, path: string): void {
  for (const part of ['method', 'network', 'options', 'data'] as const) {
    const other = difference(part, run[part], mine[part])
    if (other !== undefined) {
      throw new LangevinError(
        'E_CHECKPOINT',
        `${path} belongs to another run: ${other.place} is ${excerpt(other.a)} there, ${excerpt(other.b)} here. Resume with the same configuration, or start a new run folder.`,
      )
    }
  }
  if (run.step > mine.totalSteps) {
    throw new LangevinError(
      'E_CHECKPOINT',
      `${path} stands at step ${run.step}, beyond the planned ${mine.totalSteps}; ask for more steps or epochs`,
    )
  }
}

/** The first place where two plain values differ, as JSON. */
function difference(place: string, a: unknown, b: unknown): { place: string; a: string; b: string } | undefined {
  const [textA, textB] = [JSON.stringify(a) ?? 'not set', JSON.stringify(b) ?? 'not set']
  if (textA === textB) return undefined
  if (isObject(a) && isObject(b)) {
    for (const key of new Set([...Object.keys(a), ...Object.keys(b)])) {
      const deeper = difference(`${place}.${key}`, a[key], b[key])
      if (deeper !== undefined) return deeper
    }
    return undefined
  }
  return { place, a: textA, b: textB }
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function excerpt(text: string): string {
  return text.length > 160 ? `${text.slice(0, 160)}...` : text
}
