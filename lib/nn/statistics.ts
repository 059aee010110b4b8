/** How the statistics that passes leave behind become the stored ones; part of every trainer's step. */
import type { Tensor } from '../graph/tensor.ts'
import * as ops from '../ops/index.ts'
import type { Variables } from './variables.ts'

/**
 * New values of a network's statistics after a step, from the maps that its passes filled (`Pass.statistics`; empty ones count for nothing).
 * By the variable's `update`: 'average' is running ← (1 - m)·running + m·(mean over the maps that have it), 'replace' the last map's value
 * itself (spectral norm's singular vectors, which must not be averaged).
 * @param momentum m, in (0, 1]
 */
export function foldStatistics(
  variables: Variables,
  maps: readonly ReadonlyMap<string, Tensor>[],
  momentum: number,
): Map<string, Tensor> {
  const out = new Map<string, Tensor>()
  for (const name of new Set(maps.flatMap((m) => [...m.keys()]))) {
    const found = maps.flatMap((m) => m.get(name) ?? [])
    if (variables.specs.get(name)?.update === 'replace') {
      out.set(name, found.at(-1) as Tensor)
      continue
    }
    const total = found.reduce((a, b) => ops.add(a, b))
    const batch = ops.mul(total, momentum / found.length)
    out.set(name, ops.add(ops.mul(variables.tensor(name), 1 - momentum), batch))
  }
  return out
}
