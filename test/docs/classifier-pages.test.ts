/** The scripts of the pages on methods that train classifiers as energies, as they stand; and the configurations of all pages. */
import { existsSync } from 'node:fs'
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { parseConfig } from '../../lib/cli/config.ts'
import { pageRunner, root } from './pages.ts'

const { numbers: printed } = pageRunner()

describe('docs/jem.md', () => {
  test('digits are classified, told from noise, drawn and exported', async () => {
    const rows = await printed('jem')
    expect(rows[2]?.[2]).toBeLessThan(rows[0]?.[2] as number)
    const [accuracy, ece, auroc] = rows[3] as [number, number, number]
    expect(accuracy).toBeGreaterThan(0.6)
    expect(ece).toSatisfy((v: number) => v >= 0 && v <= 1)
    expect(auroc).toBeGreaterThan(0.9)
    for (const file of ['jem.png', 'jem.onnx']) expect(existsSync(file), file).toBe(true)
  })
})

describe('docs/sada-jem.md', () => {
  test('digits are classified with sharpness-aware steps', async () => {
    const rows = await printed('sada-jem')
    expect(rows[3]?.[2]).toBeLessThan(rows[0]?.[2] as number)
    expect(rows[4]?.[0]).toBeGreaterThan(0.6)
    expect(existsSync('sada-jem.png')).toBe(true)
  })
})

describe('docs/dual-adversarial.md', () => {
  test('both stages run, T grows, and the classifier holds under attack', async () => {
    const rows = await printed('dual-adversarial')
    const [stageOne, stageTwo] = [rows[0], rows[4]] as [number[], number[]]
    expect(stageOne).toHaveLength(4)
    expect(stageTwo).toHaveLength(6)
    expect(stageTwo[5]).toBeGreaterThan(0)
    const [accuracy, attacked] = rows[5] as [number, number]
    expect(accuracy).toBeGreaterThan(0.6)
    expect(attacked).toSatisfy((v: number) => v > 0.3 && v <= accuracy)
    expect(existsSync('dat.png')).toBe(true)
  })
})

describe('docs/robustness.md', () => {
  test('accuracy falls with the radius; an attack through the refinement finds no less than one around it', async () => {
    const rows = await printed('robustness')
    const robust = rows.slice(2, 5).map((r) => r[2] as number)
    expect(robust).toEqual(robust.toSorted((a, b) => b - a))
    expect(robust[2]).toBeLessThan(robust[0] as number)
    const refined = rows.slice(5) as [number, number][]
    for (const [clean, attacked] of refined) expect(attacked).toBeLessThan(clean)
    expect(refined[2]?.[1]).toBeLessThan((refined[0]?.[1] as number) + 0.03)
  })
})

const pages = (await readdir(join(root, 'docs'))).filter((f) => f.endsWith('.md'))

test.each(pages)('configurations in docs/%s are valid', async (page) => {
  const text = await readFile(join(root, 'docs', page), 'utf8')
  for (const [, json] of text.matchAll(/^```json\n(\{[\s\S]*?)^```$/gm)) {
    if (!/"method"/.test(json as string)) continue
    const value = JSON.parse(json as string) as { readonly method?: string }
    expect(parseConfig(value, page)).toEqual(value)
  }
})
