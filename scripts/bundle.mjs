/**
 * The package as it ships, made after `tsc`: dist/bundle holds lib/ and the few packages it uses in five files, so that a process opens five
 * instead of three hundred; dist/types holds the declarations behind dist/index.d.ts, with those of zod that they mention. Nothing that ships
 * imports another package but onnxruntime-node, which is optional. The unbundled tree in dist/ stays for scripts and tests.
 */
import { copyFileSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { isBuiltin } from 'node:module'
import { dirname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { rolldown } from 'rolldown'

const root = fileURLToPath(new URL('../', import.meta.url))
const bundleFolder = join(root, 'dist/bundle')
const typesFolder = join(root, 'dist/types')
/** What a declaration file imports: `from '...'`, `import('...')`, `import '...'`; comments and other strings are matched to be passed over. */
const IMPORTED = /\/\*[\s\S]*?\*\/|\/\/.*|(\bfrom\s*|\bimport\s*\(?\s*)(['"])(.+?)\2|'[^'\n]*'|"[^"\n]*"/g

await bundle()
declarations()

async function bundle() {
  const build = await rolldown({
    cwd: root,
    input: { index: 'lib/index.ts', cli: 'lib/cli/main.ts' },
    platform: 'node',
    external: ['onnxruntime-node', /^node:/],
    tsconfig: false,
    onLog(_level, log) {
      throw new Error(`bundling: ${log.message}`)
    },
  })
  const { output } = await build.write({
    dir: bundleFolder,
    format: 'esm',
    sourcemap: true,
    entryFileNames: '[name].js',
    // Flat, two folders below the root: lib/*/*.ts look for the addon and package.json at ../../ of the file they are in.
    chunkFileNames: '[name].js',
    codeSplitting: {
      groups: [
        { name: 'vendor', test: /[\\/]node_modules[\\/]/ },
        { name: 'langevin', test: /[\\/]lib[\\/]/, minShareCount: 2 },
      ],
    },
    comments: { legal: true, annotation: false, jsdoc: false },
  })
  const chunks = output.filter((o) => o.type === 'chunk')
  const names = chunks.map((c) => c.fileName).sort()
  if (names.join() !== 'cli.js,index.js,langevin.js,rolldown-runtime.js,vendor.js')
    throw new Error(`unexpected bundle: ${names.join(', ')}`)
  const outside = chunks.flatMap((c) => [...c.imports, ...c.dynamicImports]).filter((i) => !names.includes(i))
  const foreign = outside.filter((i) => !isBuiltin(i) && i !== 'onnxruntime-node')
  if (foreign.length > 0) throw new Error(`the bundle imports ${foreign.join(', ')}`)
  const packages = new Set(chunks.flatMap((c) => c.moduleIds).map(packageOf))
  writeFileSync(join(bundleFolder, 'LICENCES.txt'), licences([...packages].filter((p) => p !== undefined).sort()))
}

/** Folder of the package that a module belongs to; undefined for ours. */
function packageOf(id) {
  return /^.*[\\/]node_modules[\\/](?:@[^\\/]+[\\/])?[^\\/]+/.exec(id)?.[0]
}

function licences(folders) {
  const parts = folders.map((folder) => {
    const { name, version, license } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'))
    // One package comes without its licence; the text is kept here.
    const missing = join(root, 'scripts/licences', `${name.replace('@', '').replace('/', '-')}.txt`)
    const text = readFileSync(existsSync(missing) ? missing : join(folder, 'LICENSE'), 'utf8')
    return `${name} ${version} (${license})\n\n${text.trim()}\n`
  })
  return `vendor.js contains these packages.\n\n${parts.join(`\n${'-'.repeat(80)}\n\n`)}`
}

/** Copies the declarations that dist/index.d.ts leads to; zod's go into types/zod. */
function declarations() {
  rmSync(typesFolder, { recursive: true, force: true })
  const zod = join(root, 'node_modules/zod')
  const targetOf = (file) =>
    file.startsWith(zod)
      ? join(typesFolder, 'zod', relative(zod, file))
      : join(typesFolder, relative(join(root, 'dist'), file))
  const done = new Set()
  const copy = (file) => {
    if (done.has(file)) return
    done.add(file)
    const target = targetOf(file)
    const text = readFileSync(file, 'utf8').replace(IMPORTED, (whole, before, quote, name) => {
      if (name === undefined) return whole
      const from = name === 'zod' ? join(zod, 'index.js') : name.startsWith('.') ? join(dirname(file), name) : undefined
      if (from === undefined)
        throw new Error(`${relative(root, file)} shows '${name}', which langevin does not bring along`)
      const found = from.replace(/(?:\.d)?\.[jt]s$/, '.d.ts')
      copy(found)
      const to = relative(dirname(target), targetOf(found))
        .replaceAll('\\', '/')
        .replace(/\.d\.ts$/, '.js')
      return `${before}${quote}${to.startsWith('.') ? to : `./${to}`}${quote}`
    })
    mkdirSync(dirname(target), { recursive: true })
    writeFileSync(target, text)
  }
  copy(join(root, 'dist/index.d.ts'))
  copyFileSync(join(zod, 'LICENSE'), join(typesFolder, 'zod/LICENSE'))
}
