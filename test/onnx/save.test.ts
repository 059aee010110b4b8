import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { HostTensor } from '../../lib/graph/host-tensor.ts'
import { buildOnnx, exportGraph, type Trace } from '../../lib/onnx/exporter.ts'
import { decodeOnnx, saveOnnx } from '../../lib/onnx/save.ts'
import { matmul } from '../../lib/ops/matmul.ts'
import { input } from '../../lib/ops/source.ts'
import { parametersOf, runOnnx, waves } from './helpers.ts'

let folder = ''
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'langevin-save-'))
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

/** x [batch, 40] times two matrices of 6400 and 160 bytes: the second is too small to leave the model. */
function build(data: HostTensor): (batch: number) => Trace {
  return (b) => {
    const [x, w, v] = [input('x', [b, 40]), input('w', [40, 40]), input('v', [40, 1])]
    return {
      inputs: [{ name: 'x', tensor: x }],
      outputs: [{ name: 'y', tensor: matmul(matmul(x, w), v) }],
      parameters: parametersOf([
        [w, 'w', data],
        [v, 'v', waves([40, 1], 9)],
      ]),
    }
  }
}

const x = waves([3, 40], 2)
const data = waves([40, 40], 4)

describe('saveOnnx', () => {
  it('writes one file that ONNX Runtime reads', async () => {
    const path = join(folder, 'one.onnx')
    const bytes = exportGraph({ build: build(data) })
    const saved = await saveOnnx(path, bytes)
    expect(saved).toEqual({ path, bytes: bytes.byteLength })
    expect(Buffer.compare(readFileSync(path), bytes)).toBe(0)
    const [a, b] = [await runOnnx(path, { x }), await runOnnx(bytes, { x })]
    expect(a[0]?.get('y')).toEqual(b[0]?.get('y'))
  })

  it('moves parameters to a file beside the model, from bytes and from a message alike', async () => {
    const path = join(folder, 'two.onnx')
    const [inside] = await runOnnx(exportGraph({ build: build(data) }), { x })
    const message = buildOnnx({ build: build(data) })
    for (const model of [exportGraph({ build: build(data) }), message]) {
      const saved = await saveOnnx(path, model, { externalData: true })
      expect(statSync(saved.dataPath ?? '').size).toBe(6400)
      expect(saved.bytes).toBeLessThan(8192 + 6400)
      expect(readFileSync(path).includes('external')).toBe(false)
      const [outside] = await runOnnx(path, { x })
      expect(outside?.get('y')).toEqual(inside?.get('y'))
    }
    const tensors = decodeOnnx(readFileSync(path)).graph?.initializer ?? []
    expect(tensors.map((t) => [t.name, t.rawData.byteLength, t.dataLocation]).slice(0, 2)).toEqual([
      ['w', 0, 1],
      ['v', 160, 0],
    ])
    // The message that was passed in still holds its parameters.
    expect(message.graph?.initializer[0]?.rawData.byteLength).toBe(6400)
  })

  it('replaces a model and leaves no data of the old one behind', async () => {
    const path = join(folder, 'again.onnx')
    const first = await saveOnnx(path, buildOnnx({ build: build(data) }), { externalData: true })
    const second = await saveOnnx(path, buildOnnx({ build: build(waves([40, 40], 5)) }), { externalData: true })
    expect(second.dataPath).not.toBe(first.dataPath)
    const files = () => readdirSync(folder).filter((f) => f.startsWith('again.onnx'))
    expect(files()).toHaveLength(2)
    const [a] = await runOnnx(path, { x })
    const [b] = await runOnnx(exportGraph({ build: build(waves([40, 40], 5)) }), { x })
    expect(a?.get('y')).toEqual(b?.get('y'))
    await saveOnnx(path, exportGraph({ build: build(data) }))
    expect(files()).toEqual(['again.onnx'])
  })

  it('says what went wrong', async () => {
    const bytes = exportGraph({ build: build(data) })
    await expect(saveOnnx(join(folder, 'nowhere', 'm.onnx'), bytes)).rejects.toMatchObject({ code: 'E_IO' })
    const nothing = saveOnnx(join(folder, 'bad.onnx'), new Uint8Array([255, 255, 1]), { externalData: true })
    await expect(nothing).rejects.toMatchObject({
      code: 'E_ONNX',
      message: expect.stringContaining('not an ONNX model'),
    })
  })
})
