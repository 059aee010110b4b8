/** Which data a command on a run works with: those that --data describes, or what the run folder's config.json keeps. */
import { access } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { DataSpec } from '../data/load.ts'
import { LangevinError } from '../graph/errors.ts'
import { readWholeFile } from '../runtime/files.ts'
import { CONFIG_FILE } from '../trainers/fit.ts'
import type { CommandContext } from './command.ts'
import type { TrainConfig } from './config.ts'
import { parseJson } from './files.ts'

/** What the run folder's config.json keeps of the configuration; nothing where a checkpoint stands alone. */
export interface KeptConfig {
  readonly dataSpec?: DataSpec
  readonly config?: string
  readonly evaluation?: TrainConfig['evaluation']
}

export async function keptConfig(folder: string): Promise<KeptConfig> {
  const path = join(folder, CONFIG_FILE)
  const there = await access(path).then(
    () => true,
    () => false,
  )
  return there ? (parseJson(new TextDecoder().decode(await readWholeFile(path)), path) as KeptConfig) : {}
}

/** Where the configuration's relative paths start. */
export function folderOfConfig({ config }: KeptConfig): string {
  return config === undefined ? '.' : dirname(config)
}

/** The description of the test data: from --data, or what the run folder's config.json keeps. */
export async function dataOf(
  context: CommandContext,
  folder: string,
  kept: KeptConfig,
): Promise<{ spec: DataSpec; base: string }> {
  const given = context.text('data')
  if (given !== undefined) {
    const inline = given.trimStart().startsWith('{')
    const text = inline ? given : new TextDecoder().decode(await readWholeFile(given))
    return { spec: parseJson(text, '--data') as DataSpec, base: inline ? '.' : dirname(given) }
  }
  if (kept.dataSpec === undefined)
    throw new LangevinError(
      'E_CONFIG',
      `${join(folder, CONFIG_FILE)} does not say which data the run used; give --data`,
    )
  return { spec: kept.dataSpec, base: folderOfConfig(kept) }
}
