/** Builds the static page: relative addresses, so that any folder of any host will do, and a service worker that keeps every file. */
import { createHash } from 'node:crypto'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join, relative, resolve, sep } from 'node:path'
import { defineConfig, type Plugin } from 'vite'

/** Writes sw.js: src/service-worker.js with the list of all files and a version made of their contents. */
function offline(): Plugin {
  let folder = ''
  let source = ''
  return {
    name: 'offline',
    apply: 'build',
    configResolved(config) {
      folder = resolve(config.root, config.build.outDir)
      source = join(config.root, 'src/service-worker.js')
    },
    closeBundle() {
      const files = readdirSync(folder, { recursive: true, withFileTypes: true })
        .filter((f) => f.isFile() && f.name !== 'sw.js')
        .map((f) => relative(folder, join(f.parentPath, f.name)).split(sep).join('/'))
        .sort()
      const hash = createHash('sha256')
      for (const file of files) hash.update(file).update(readFileSync(join(folder, file)))
      const given = { version: hash.digest('hex').slice(0, 12), files }
      writeFileSync(join(folder, 'sw.js'), `const built = ${JSON.stringify(given)}\n${readFileSync(source, 'utf8')}`)
    },
  }
}

export default defineConfig({
  base: './',
  build: { target: 'es2022', assetsInlineLimit: 0, chunkSizeWarningLimit: 1000 },
  worker: { format: 'es' },
  plugins: [offline()],
})
