/** What the tests of lib/data share: a folder of their own, and the error of a promise. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect } from 'vitest'
import { type ErrorCode, LangevinError } from '../../lib/graph/errors.ts'

/** A fresh folder, removed after the tests of the file; returns a function that writes a file in it and gives its path. */
export function scratch(): { folder: string; put: (name: string, bytes: Uint8Array | string) => string } {
  const folder = mkdtempSync(join(tmpdir(), 'langevin-data-'))
  afterAll(() => rmSync(folder, { recursive: true, force: true }))
  const put = (name: string, bytes: Uint8Array | string): string => {
    writeFileSync(join(folder, name), bytes)
    return join(folder, name)
  }
  return { folder, put }
}

/** The error that a promise or a function must end in; fails if there is none or it has another code. */
export async function errorOf(code: ErrorCode, run: Promise<unknown> | (() => unknown)): Promise<string> {
  const e = await (typeof run === 'function' ? new Promise((done) => done(run())) : run).then(
    () => 'no error',
    (reason: unknown) => reason,
  )
  expect(e).toBeInstanceOf(LangevinError)
  expect((e as LangevinError).code).toBe(code)
  return (e as LangevinError).message
}

/** An IDX file: magic, dimensions, body. */
export function idxBytes(type: number, dims: readonly number[], body: Uint8Array): Uint8Array {
  const out = new Uint8Array(4 + 4 * dims.length + body.length)
  out.set([0, 0, type, dims.length])
  for (const [i, d] of dims.entries()) new DataView(out.buffer).setUint32(4 + 4 * i, d)
  out.set(body, 4 + 4 * dims.length)
  return out
}
