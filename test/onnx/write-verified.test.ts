/** A file is left only when the check passes: names, old files and external data in every case. */
import { mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { HostTensor } from '../../lib/graph/host-tensor.ts'
import { buildOnnx, type Trace } from '../../lib/onnx/exporter.ts'
import type { ModelProto } from '../../lib/onnx/gen/onnx_pb.ts'
import type { Verification } from '../../lib/onnx/verify.ts'
import { writeVerified } from '../../lib/onnx/write-verified.ts'
import { matmul } from '../../lib/ops/matmul.ts'
import { input } from '../../lib/ops/source.ts'
import { parametersOf, runOnnx, waves } from './helpers.ts'

let folder = ''
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'langevin-verified-'))
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

function message(data: HostTensor): ModelProto {
  const build = (b: number): Trace => {
    const [x, w] = [input('x', [b, 40]), input('w', [40, 40])]
    return {
      inputs: [{ name: 'x', tensor: x }],
      outputs: [{ name: 'y', tensor: matmul(x, w) }],
      parameters: parametersOf([[w, 'w', data]]),
    }
  }
  return buildOnnx({ build })
}

const check = (ok: boolean): Verification => ({
  outputs: [{ name: 'y', batch: 7, maxAbs: 0.5, maxRel: 0.25, tolerance: 1e-4, ok }],
  ok,
})
const good = async (): Promise<Verification> => check(true)
const bad = async (): Promise<Verification> => check(false)
const x = waves([3, 40], 2)
const files = (name: string) => readdirSync(folder).filter((f) => f.startsWith(name))
const run = async (path: string) => (await runOnnx(path, { x }))[0]?.get('y')

describe('writeVerified', () => {
  it.each([false, true])('renames what passes, the candidate having been run whole (external data: %s)', async (e) => {
    const path = join(folder, `pass-${e}.onnx`)
    let seen: HostTensor | undefined
    const written = await writeVerified(path, message(waves([40, 40], 1)), { externalData: e }, async (candidate) => {
      seen = await run(candidate)
      return check(true)
    })
    expect(written.verification).toEqual(check(true))
    expect(seen).toEqual(await run(path))
    expect(files(`pass-${e}`)).toHaveLength(e ? 2 : 1)
    await writeVerified(path, message(waves([40, 40], 2)), { externalData: e }, good)
    expect(files(`pass-${e}`)).toHaveLength(e ? 2 : 1)
    expect(await run(path)).not.toEqual(seen)
  })

  it.each([false, true])('refuses what disagrees and leaves the old file whole (external data: %s)', async (e) => {
    const path = join(folder, `refuse-${e}.onnx`)
    await writeVerified(path, message(waves([40, 40], 1)), { externalData: e }, good)
    const [before, y] = [files(`refuse-${e}`), await run(path)]
    for (const seed of [1, 2]) {
      const refused = writeVerified(path, message(waves([40, 40], seed)), { externalData: e }, bad)
      await expect(refused).rejects.toMatchObject({
        code: 'E_ONNX',
        message: expect.stringMatching(/was not written: y \(batch 7\): 2\.50e-1 > 0\.0001/),
      })
      expect(files(`refuse-${e}`)).toEqual(before)
      expect(await run(path)).toEqual(y)
    }
  })

  it('leaves nothing when the check throws, and writes unchecked where none is given', async () => {
    const path = join(folder, 'thrown.onnx')
    const failing = async (): Promise<Verification> => Promise.reject(new Error('stop'))
    await expect(writeVerified(path, message(waves([40, 40])), { externalData: true }, failing)).rejects.toThrow('stop')
    expect(files('thrown')).toEqual([])
    expect((await writeVerified(path, message(waves([40, 40])))).verification).toBeUndefined()
    expect(files('thrown')).toEqual(['thrown.onnx'])
  })

  it('exports to one place at a time do not touch each other: only what passed is left', async () => {
    const path = join(folder, 'both.onnx')
    const other = message(waves([40, 40], 2))
    await writeVerified(path, message(waves([40, 40], 1)), {}, async () => {
      await expect(writeVerified(path, other, {}, bad)).rejects.toMatchObject({ code: 'E_ONNX' })
      return check(true)
    })
    expect(files('both')).toEqual(['both.onnx'])
    const alone = join(folder, 'alone.onnx')
    await writeVerified(alone, message(waves([40, 40], 1)))
    expect(await run(path)).toEqual(await run(alone))
  })

  it('says why a file cannot be written or take its place', async () => {
    const model = message(waves([40, 40]))
    await expect(writeVerified(join(folder, 'none', 'm.onnx'), model, {}, good)).rejects.toMatchObject({ code: 'E_IO' })
    mkdirSync(join(folder, 'taken.onnx'))
    await expect(writeVerified(join(folder, 'taken.onnx'), model, {}, good)).rejects.toMatchObject({ code: 'E_IO' })
    expect(files('taken')).toEqual(['taken.onnx'])
  })
})
