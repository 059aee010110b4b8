// A program that resume.test.ts kills: runs the compiled package on what a JSON file says. Arguments: the file, the run folder, the mode.
import { readFileSync } from 'node:fs'
import { Dataset, hostTensor, Jem, mlp } from '../../dist/index.js'
import { writeCheckpoint } from '../../dist/trainers/checkpoint.js'

const [, , settings, out, mode] = process.argv

if (mode === 'train') {
  const { network, options, fit, rows, labels } = JSON.parse(readFileSync(settings, 'utf8'))
  const features = hostTensor(Float32Array.from(rows), [labels.length, 2])
  const data = new Dataset({ name: 'blobs', features, labels: Int32Array.from(labels), classes: 2 })
  for await (const row of new Jem(mlp(network), options).fit(data, { ...fit, out }))
    process.stdout.write(`step ${row.step}\n`)
} else {
  const tensors = new Map([
    ['big', hostTensor(new Float32Array(1 << 20).fill(1.5), [1 << 20])],
    ['one', hostTensor(new Int32Array([1]), [1])],
  ])
  for (let step = 0; ; step++) {
    await writeCheckpoint(`${out}/checkpoint.safetensors`, { step }, tensors)
    if (mode === 'once') break
    if (step === 0) process.stdout.write('writing\n')
  }
}
