/**
 * Files written whole or not at all, and reads and writes of any size.
 * Knows nothing of formats: safetensors, npy and png stand on it. What the operating system refuses becomes an E_IO error with a remedy.
 */
import { randomBytes } from 'node:crypto'
import { type FileHandle, mkdir, open, readdir, realpath, rename, stat, unlink } from 'node:fs/promises'
import { hostname } from 'node:os'
import { basename, dirname, join, resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { LangevinError } from '../graph/errors.ts'

/** Bytes moved by one system call; far below the 2 GiB at which Linux and libuv cut a transfer short. */
const transferBytes = 64 * 1024 * 1024

/** What to do about an operating-system error, by its code. */
const remedies: Readonly<Record<string, string>> = {
  ENOSPC: 'The disk is full: free space there or choose another folder.',
  EDQUOT: 'The disk quota is used up: free space or choose another folder.',
  EFBIG: 'The file exceeds the size limit of the process or the file system (see ulimit -f).',
  EACCES: 'Permission is denied: check the owner and mode of the file and its folder, or choose another path.',
  EPERM:
    'The operation is not permitted: check the owner and attributes of the file and its folder, or choose another path.',
  EROFS: 'The file system is read-only: choose another folder.',
  ENOENT: 'No such file or folder: check the path; a folder to write to has to exist.',
  ENOTDIR: 'A part of the path is a file, not a folder: check the path.',
  EISDIR: 'The path is a folder: give the name of a file.',
  EMFILE: 'Too many files are open: close some or raise ulimit -n.',
  ENFILE: 'The system has too many open files.',
  EIO: 'The device reports a failure: check the disk.',
  ENAMETOOLONG: 'The name is too long for the file system.',
}

/** An E_IO error: what was attempted on which path, the system's code, what to do, and what became of the old file. */
export function ioError(action: string, path: string, cause: unknown, consequence = ''): LangevinError {
  const code = (cause as NodeJS.ErrnoException | undefined)?.code
  const reason = code ?? (cause instanceof Error ? cause.message : String(cause))
  const remedy = (code !== undefined && remedies[code]) || ''
  const text = [`cannot ${action} '${path}': ${reason}.`, remedy, consequence].filter((s) => s !== '').join(' ')
  return new LangevinError('E_IO', text, { path, code }, cause)
}

/** Runs `use` on the open file and closes it whatever happens. A file that cannot be opened is an E_IO error. */
export async function withFile<T>(path: string, use: (file: FileHandle) => Promise<T>): Promise<T> {
  let file: FileHandle
  try {
    file = await open(path, 'r')
  } catch (cause) {
    throw ioError('read', path, cause)
  }
  try {
    return await use(file)
  } finally {
    await file.close()
  }
}

/** Size in bytes of an open regular file; a folder or a device is an E_IO error. */
export async function sizeOfFile(file: FileHandle, path: string): Promise<number> {
  const info = await file.stat()
  if (info.isDirectory()) throw ioError('read', path, Object.assign(new Error('is a folder'), { code: 'EISDIR' }))
  if (!info.isFile()) throw ioError('read', path, new Error('not a regular file'))
  return info.size
}

/** Fills `into` from byte `position`; returns the bytes read, fewer than asked only where the file ends. */
export async function readAt(file: FileHandle, path: string, into: Uint8Array, position: number): Promise<number> {
  let done = 0
  while (done < into.length) {
    const length = Math.min(transferBytes, into.length - done)
    let bytesRead: number
    try {
      ;({ bytesRead } = await file.read(into, done, length, position + done))
    } catch (cause) {
      throw ioError('read', path, cause)
    }
    if (bytesRead === 0) break
    done += bytesRead
  }
  return done
}

/** Writes all of `data` at byte `position`, in as many system calls as it takes. System errors pass as they are. */
export async function writeAt(file: FileHandle, data: Uint8Array, position: number): Promise<void> {
  let done = 0
  while (done < data.length) {
    const length = Math.min(transferBytes, data.length - done)
    const { bytesWritten } = await file.write(data, done, length, position + done)
    done += bytesWritten
  }
}

/** The whole file in memory, also beyond 2 GiB. */
export function readWholeFile(path: string): Promise<Uint8Array> {
  return withFile(path, async (file) => {
    const size = await sizeOfFile(file, path)
    let bytes: Uint8Array
    try {
      bytes = new Uint8Array(size)
    } catch (cause) {
      throw ioError(`hold ${size} bytes of`, path, cause)
    }
    const got = await readAt(file, path, bytes, 0)
    return got === size ? bytes : bytes.subarray(0, got)
  })
}

/** Temporary files that this process is writing now; all others of its name are left over from a crash. */
const active = new Set<string>()

/**
 * Replaces `path` by what `write` puts into an empty file, atomically: readers and crashes see the old file or the new one, never a part.
 * A temporary file in the same folder is written, synced, renamed, and the folder synced. If anything fails, the temporary file is
 * removed, the old file stays, and the error (E_IO for system errors, others as they are) is thrown. A symbolic link is followed.
 */
export async function writeAtomically(path: string, write: (file: FileHandle) => Promise<void>): Promise<void> {
  const target = await followLink(path)
  const folder = dirname(target)
  const temporary = join(folder, temporaryName(basename(target)))
  active.add(temporary)
  try {
    await removeLeftovers(folder, basename(target))
    const file = await open(temporary, 'wx')
    try {
      await write(file)
      await file.sync()
    } finally {
      await file.close()
    }
    await replace(temporary, target)
    await syncFolder(folder)
  } catch (cause) {
    await unlink(temporary).catch(() => undefined)
    if (!isSystemError(cause)) throw cause
    throw ioError('write', path, cause, 'Nothing was changed: a file that stood there before is intact.')
  } finally {
    active.delete(temporary)
  }
}

/** {@link writeAtomically} of bytes or text (UTF-8). */
export function writeFileAtomically(path: string, data: Uint8Array | string): Promise<void> {
  const bytes = typeof data === 'string' ? new TextEncoder().encode(data) : data
  return writeAtomically(path, (file) => writeAt(file, bytes, 0))
}

function isSystemError(e: unknown): boolean {
  return e instanceof Error && 'syscall' in e && 'code' in e
}

/** Host and process id tell later writers whether the file's writer still lives. */
function temporaryName(name: string): string {
  return `.${name}.${hostTag()}-${process.pid}-${randomBytes(4).toString('hex')}.tmp`
}

function hostTag(): string {
  return hostname()
    .replace(/[^A-Za-z0-9]/g, '_')
    .slice(0, 32)
}

async function followLink(path: string): Promise<string> {
  try {
    return await realpath(path)
  } catch {
    return resolve(path)
  }
}

/** Removes temporary files of the same target whose writer was killed: a checkpoint's leftovers would fill the disk. */
async function removeLeftovers(folder: string, name: string): Promise<void> {
  const prefix = `.${name}.${hostTag()}-`
  for (const entry of await readdir(folder)) {
    if (!entry.startsWith(prefix)) continue
    const match = /^(\d+)-[0-9a-f]{8}\.tmp$/.exec(entry.slice(prefix.length))
    const path = join(folder, entry)
    if (match === null || active.has(path) || (await hasWriter(Number(match[1]), path))) continue
    await unlink(path).catch(() => undefined)
  }
}

/** Whether the writer of a temporary file may still live. Under our own id (in a container it recurs) the file's age decides. */
async function hasWriter(pid: number, path: string): Promise<boolean> {
  if (pid === process.pid) {
    const age = await stat(path).then(
      (s) => Date.now() - s.mtimeMs,
      () => 0,
    )
    return age < process.uptime() * 1000
  }
  try {
    process.kill(pid, 0)
    return true
  } catch (e) {
    return (e as NodeJS.ErrnoException).code === 'EPERM'
  }
}

/** Rename; on Windows a virus scanner may hold the file for a moment, so a refusal is tried again. */
async function replace(from: string, to: string): Promise<void> {
  for (let attempt = 0; ; attempt++) {
    try {
      return await rename(from, to)
    } catch (e) {
      const code = (e as NodeJS.ErrnoException).code ?? ''
      if (process.platform !== 'win32' || !['EPERM', 'EACCES', 'EBUSY'].includes(code) || attempt === 9) throw e
      await sleep(20 * (attempt + 1))
    }
  }
}

/** Makes the rename survive a power failure. Windows cannot sync folders and needs no such call. */
async function syncFolder(folder: string): Promise<void> {
  if (process.platform === 'win32') return
  const handle = await open(folder, 'r')
  try {
    await handle.sync()
  } catch (e) {
    // Some network and FUSE file systems refuse to sync a folder; the file itself is synced and in place.
    if (!['EINVAL', 'ENOTSUP', 'EBADF', 'EPERM'].includes((e as NodeJS.ErrnoException).code ?? '')) throw e
  } finally {
    await handle.close()
  }
}

/**
 * Makes a folder and those above it that are missing; one that is there is left alone.
 * @param action what the error says could not be done, such as 'create the run folder'
 * @throws LangevinError E_IO
 */
export async function makeFolder(path: string, action = 'create the folder'): Promise<void> {
  try {
    await makePath(resolve(path))
  } catch (cause) {
    throw ioError(action, path, cause)
  }
}

/** Like mkdir with `recursive`, which in Node never returns where the file system refuses new folders with ENOENT (/proc). */
async function makePath(path: string): Promise<void> {
  const there = await stat(path).catch(() => undefined)
  if (there?.isDirectory()) return
  if (there !== undefined) throw Object.assign(new Error(`'${path}' is a file`), { code: 'ENOTDIR' })
  if (dirname(path) !== path) await makePath(dirname(path))
  await mkdir(path).catch((cause: NodeJS.ErrnoException) => {
    // Another process may have made it meanwhile.
    if (cause.code !== 'EEXIST') throw cause
  })
}
