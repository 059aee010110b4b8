/** The floors of docs/architecture.md: a file imports only from its own folder and those below it. */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'

const root = new URL('..', import.meta.url).pathname

/** Folders of lib/ in the order of the table, top first. */
function floors(): string[] {
  const page = readFileSync(join(root, 'docs/architecture.md'), 'utf8')
  return [...page.matchAll(/^\| `lib\/([a-z]+)\/` \|/gm)].map((m) => m[1] as string)
}

function files(folder: string): string[] {
  return readdirSync(join(root, 'lib', folder), { recursive: true, encoding: 'utf8' })
    .filter((f) => f.endsWith('.ts'))
    .map((f) => join(folder, f))
}

const order = floors()

test('the table names every folder of lib/', () => {
  const folders = readdirSync(join(root, 'lib'), { withFileTypes: true }).filter((e) => e.isDirectory())
  expect(folders.map((e) => e.name).sort()).toEqual([...order].sort())
})

describe('imports go down', () => {
  for (const [height, folder] of order.entries()) {
    test(`lib/${folder}`, () => {
      const wrong = files(folder).flatMap((file) => {
        const text = readFileSync(join(root, 'lib', file), 'utf8')
        const targets = [...text.matchAll(/from '(?:\.\.\/)+([a-z]+)\//g)].map((m) => m[1] as string)
        return targets
          .filter((t) => order.includes(t) && order.indexOf(t) < height)
          .map((t) => `lib/${file} imports lib/${t}`)
      })
      expect(wrong).toEqual([])
    })
  }
})
