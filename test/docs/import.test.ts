/** The script of docs/import.md, as it stands: a classifier goes out, comes in as a graph, is fine-tuned and goes out again. */
import { existsSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import * as langevin from '../../lib/index.ts'
import { pageRunner } from './pages.ts'

const { numbers: printed } = pageRunner()

// The page imports from the package's own names.
describe.skipIf(!('importOnnx' in langevin))('docs/import.md', () => {
  test('the imported classifier classifies, is fine-tuned and tells digits from their inverse', async () => {
    const rows = await printed('import')
    const [before, after] = [rows[0], rows.at(-1)] as [number[], number[]]
    expect(before[0]).toBeGreaterThan(0.8)
    expect(after[0]).toBeGreaterThan(0.8)
    expect(after[1]).toBeGreaterThan(0.8)
    expect(rows[1]).toHaveLength(3)
    for (const file of ['classifier.onnx', 'energy.onnx']) expect(existsSync(file), file).toBe(true)
  })
})
