/** What the readers of data files share: bytes from disk or from gzip, and the E_DATA error that names file and offset. */
import { promisify } from 'node:util'
import { gunzip } from 'node:zlib'
import { LangevinError } from '../graph/errors.ts'
import { readWholeFile } from '../runtime/files.ts'

/** Most bytes that a gzipped file may unpack to. */
export const largestUnpacked = 2 ** 31 - 1

const unpack = promisify(gunzip)

/** An E_DATA error about a file, with the byte offset where there is one. */
export function dataError(path: string, what: string, offset?: number, cause?: unknown): LangevinError {
  const at = offset === undefined ? '' : ` at byte ${offset}`
  return new LangevinError('E_DATA', `'${path}'${at}: ${what}`, { path, offset }, cause)
}

/** The file's bytes, unpacked if its content (not its name) is gzip. */
export async function readContent(path: string): Promise<Uint8Array> {
  const bytes = await readWholeFile(path)
  if (bytes[0] !== 0x1f || bytes[1] !== 0x8b) return bytes
  try {
    const { buffer, byteOffset, length } = await unpack(bytes, { maxOutputLength: largestUnpacked })
    // A plain array: the slice method of a Buffer would share memory.
    return new Uint8Array(buffer, byteOffset, length)
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException
    if (code === 'ERR_BUFFER_TOO_LARGE') {
      throw dataError(
        path,
        `the gzip stream unpacks to more than ${largestUnpacked} bytes: unpack the file on disk first`,
      )
    }
    throw dataError(path, `the gzip stream is damaged or cut short (${message})`, undefined, cause)
  }
}

/** Whether this machine stores the low byte first. */
export const littleEndian = new Uint8Array(Uint16Array.of(1).buffer)[0] === 1

/** Reverses the bytes of every element in place. */
export function swapBytes(bytes: Uint8Array, width: number): void {
  for (let i = 0; i + width <= bytes.length; i += width) bytes.subarray(i, i + width).reverse()
}
