/** The files that an `evaluation` names, found before hours of training and not after. */
import { access } from 'node:fs/promises'
import { resolve } from 'node:path'
import { type DataSpec, loadDataset } from '../data/load.ts'
import { ioError } from '../runtime/files.ts'
import type { TrainConfig } from './config.ts'

type Evaluation = NonNullable<TrainConfig['evaluation']>

/**
 * The evaluation with its networks' paths started from `base`, the configuration's folder; foreign data sets are opened once to see that they are there.
 * @throws LangevinError E_IO for files that cannot be read, and what opening data throws
 */
export async function resolveEvaluation(evaluation: Evaluation, base: string): Promise<Evaluation> {
  const paths: { features?: string; classifier?: string } = {}
  for (const key of ['features', 'classifier'] as const) {
    const given = evaluation[key]
    if (given === undefined) continue
    const path = resolve(base, given)
    try {
      await access(path)
    } catch (cause) {
      throw ioError('read', `${path} (evaluation.${key})`, cause)
    }
    paths[key] = path
  }
  for (const set of evaluation.ood ?? []) if (typeof set !== 'string') await loadDataset(set as DataSpec, { base })
  return { ...evaluation, ...paths }
}
