/** Folders written whole or not at all: into a temporary one beside, then renamed. Files have this from lib/runtime/files.ts. */
import { randomBytes } from 'node:crypto'
import { mkdir, readdir, rename, rm } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import { LangevinError } from '../graph/errors.ts'
import { ioError, makeFolder } from '../runtime/files.ts'

/**
 * Replaces the folder `path` by what `write` puts into an empty one; folders above it that are missing are made. A crash or an error leaves the old folder
 * or none, and never a part of the new one.
 * A folder that holds other things is refused: `ours` is a file that every folder of this kind has.
 * @throws LangevinError E_IO when the system refuses or a folder of another kind stands there; what `write` throws
 */
export async function replaceFolder<T>(path: string, ours: string, write: (folder: string) => Promise<T>): Promise<T> {
  const target = resolve(path)
  const parent = dirname(target)
  await refuseForeign(path, target, ours)
  const mark = `${process.pid}-${randomBytes(4).toString('hex')}`
  const [fresh, old] = ['new', 'old'].map((w) => join(parent, `.${basename(target)}.${mark}.${w}`)) as [string, string]
  await makeFolder(parent)
  try {
    await attempt(path, () => mkdir(fresh))
    const result = await write(fresh)
    const replaced = await rename(target, old).then(
      () => true,
      (cause: NodeJS.ErrnoException) => {
        if (cause.code === 'ENOENT') return false
        throw ioError('replace', path, cause)
      },
    )
    await rename(fresh, target).catch(async (cause: unknown) => {
      if (replaced) await rename(old, target)
      throw ioError('write', path, cause)
    })
    await rm(old, { recursive: true, force: true })
    return result
  } finally {
    await rm(fresh, { recursive: true, force: true })
  }
}

/** Runs a system call; its error names the path that the user gave. */
async function attempt<T>(path: string, call: () => Promise<T>): Promise<T> {
  try {
    return await call()
  } catch (cause) {
    throw ioError('write', path, cause)
  }
}

async function refuseForeign(path: string, target: string, ours: string): Promise<void> {
  let there: string[]
  try {
    there = await readdir(target)
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return
    throw ioError('write', path, cause)
  }
  if (there.length === 0 || there.includes(ours)) return
  throw new LangevinError(
    'E_IO',
    `'${path}' holds other files (${there.slice(0, 3).join(', ')}${there.length > 3 ? ', ...' : ''}) and no ${ours}: it would be replaced whole; give a new folder`,
    { path },
  )
}
