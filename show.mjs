import { prepare } from './dist/bench/prepare.js'
import { loadWorkloads } from './dist/bench/workloads.js'
const name = process.argv[2]
const p = await prepare(name, loadWorkloads().get(name))
for (const s of p.stages) { console.log('## ' + s.name); console.log(s.plan.text) }
process.exit(0)
