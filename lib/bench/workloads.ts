/**
 * The benchmark's workloads: scripts/bench/workloads.json, the one table that every contender (ours, PyTorch, JAX) reads. Types, reading
 * and choosing. What a workload does stands in methods.ts and prepare.ts.
 */
import { readFileSync } from 'node:fs'
import { LangevinError, suggestion } from '../graph/errors.ts'

interface MlpNet {
  readonly net: 'mlp'
  /** Features, hidden widths, and 1. */
  readonly dims: readonly number[]
  readonly act: 'silu'
}

interface ConvNet {
  readonly net: 'conv'
  /** [channels, height, width]. */
  readonly shape: readonly [number, number, number]
  readonly channels: readonly number[]
  readonly act: 'silu'
}

/** Langevin steps of fixed weights: `steps` of them a call, each call from the same start. One unit is one step of all chains. */
export type ChainWorkload = (MlpNet | ConvNet) & {
  readonly chains: number
  readonly steps: number
  readonly step_size: number
  readonly noise: number
}

/** One unit is one training step with Adam. `k` chain steps (pcd) or a noise scale `sigma` (dsm) where the method has one. */
export type EnergyWorkload = (MlpNet | ConvNet) & {
  readonly batch: number
  readonly lr: number
  readonly k?: number
  readonly sigma?: number
}

/** One unit is one JEM++ step: PYLD of `M` outer and `N` inner steps, three forward passes in train mode, SGD. */
export interface JemWorkload {
  readonly net: 'wrn'
  readonly depth: number
  readonly width: number
  readonly batch: number
  readonly M: number
  readonly N: number
  readonly pyld_lr: number
  readonly eps: number
  readonly lr: number
}

export type Workload = ChainWorkload | EnergyWorkload | JemWorkload

/** Where the table stands, in the package as in the repository. */
export const workloadsFile = new URL('../../scripts/bench/workloads.json', import.meta.url)

/** Workloads by name, in the order of the file. @throws LangevinError E_IO where the file cannot be read. */
export function loadWorkloads(): ReadonlyMap<string, Workload> {
  let text: string
  try {
    text = readFileSync(workloadsFile, 'utf8')
  } catch (cause) {
    throw new LangevinError(
      'E_IO',
      `the workloads of the benchmark cannot be read (${(cause as Error).message}); reinstall the package`,
      {},
      cause,
    )
  }
  const table = JSON.parse(text) as Record<string, Workload | string>
  return new Map(Object.entries(table).filter((e): e is [string, Workload] => typeof e[1] === 'object'))
}

/** The workloads of these names (default: all). @throws LangevinError E_CONFIG for a name that is not in the table. */
export function chooseWorkloads(only?: readonly string[]): ReadonlyMap<string, Workload> {
  const all = loadWorkloads()
  if (only === undefined) return all
  for (const name of only) {
    if (!all.has(name))
      throw new LangevinError('E_CONFIG', `workload '${name}' is not known.${suggestion(name, [...all.keys()])}`)
  }
  return new Map([...all].filter(([name]) => only.includes(name)))
}
