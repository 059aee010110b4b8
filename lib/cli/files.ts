/** Paths and JSON that several commands take. */
import { stat } from 'node:fs/promises'
import { dirname } from 'node:path'
import { LangevinError } from '../graph/errors.ts'

/** The positional argument of commands on a run. */
export const RUN = 'RUN'

/** @throws LangevinError E_CONFIG that names the source */
export function parseJson(text: string, source: string): unknown {
  try {
    return JSON.parse(text)
  } catch (cause) {
    throw new LangevinError('E_CONFIG', `${source} is not JSON: ${(cause as Error).message}`, { source }, cause)
  }
}

/** Refuses a file whose folder does not exist, before the work that would be lost. */
export async function checkFolderOf(file: string): Promise<void> {
  const folder = dirname(file)
  const info = await stat(folder).catch(() => undefined)
  if (!info?.isDirectory())
    throw new LangevinError('E_IO', `--out '${file}': '${folder}' is not a folder; create it first`, { path: file })
}

/** A run folder, or the folder of a checkpoint. */
export async function folderOf(path: string): Promise<string> {
  const info = await stat(path).catch(() => undefined)
  return info?.isDirectory() ? path : dirname(path)
}
