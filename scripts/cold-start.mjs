// How long a process takes from `import` to the first energy, and the command to its help: bundled, as it ships, and unbundled beside it.
// The least and the median of ten fresh processes each, in ms. Use: npm run build:ts && node scripts/cold-start.mjs
import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'

const dist = new URL('../dist/', import.meta.url)
const firstEnergy = (entry) => `
const start = performance.now()
const { hostTensor, mlp } = await import('${new URL(entry, dist).href}')
const imported = performance.now()
await mlp({ inputs: 2, hidden: [128, 128], classes: 0 }).energy(hostTensor(new Float32Array(512), [256, 2]))
console.log(JSON.stringify({ import: imported - start, energy: performance.now() - start }))`

function run(args) {
  const start = performance.now()
  const { status, stdout, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8' })
  if (status !== 0) throw new Error(stderr)
  return { stdout, ms: performance.now() - start }
}

function show(what, times) {
  const sorted = times.toSorted((a, b) => a - b)
  console.log(`${what.padEnd(32)} ${sorted[0].toFixed(0).padStart(5)} ${sorted[5].toFixed(0).padStart(7)}`)
}

console.log(`${''.padEnd(32)} least  median`)
const trees = { bundled: ['bundle/index.js', 'bundle/cli.js'], unbundled: ['index.js', 'cli/main.js'] }
for (const [name, [index, cli]] of Object.entries(trees)) {
  const ten = (args) => Array.from({ length: 10 }, () => run(args))
  const rows = ten(['--input-type=module', '-e', firstEnergy(index)]).map((r) => JSON.parse(r.stdout))
  show(
    `${name}: import`,
    rows.map((r) => r.import),
  )
  show(
    `${name}: import to first energy`,
    rows.map((r) => r.energy),
  )
  show(
    `${name}: langevin --help`,
    ten([fileURLToPath(new URL(cli, dist)), '--help']).map((r) => r.ms),
  )
}
show(
  'node alone',
  Array.from({ length: 10 }, () => run(['-e', '0']).ms),
)
