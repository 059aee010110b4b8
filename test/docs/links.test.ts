/** Every page of docs: its links lead to files that exist, and the index names it. */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { expect, test } from 'vitest'
import { root } from './pages.ts'

const docs = join(root, 'docs')
const pages = readdirSync(docs).filter((name) => name.endsWith('.md'))

function linksOf(page: string): string[] {
  const text = readFileSync(join(docs, page), 'utf8')
  const targets = [...text.matchAll(/\]\(([^)#\s]+)[^)]*\)/g)].map((m) => m[1] as string)
  return targets.filter((t) => !/^[a-z]+:/.test(t))
}

test.each(pages)('links of docs/%s lead to files that exist', (page) => {
  expect(linksOf(page).filter((t) => !existsSync(resolve(docs, t)))).toEqual([])
})

test('the index names every page', () => {
  const named = new Set(linksOf('README.md'))
  expect(pages.filter((p) => p !== 'README.md' && !named.has(p))).toEqual([])
})
