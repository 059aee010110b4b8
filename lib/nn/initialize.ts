/** The numbers a variable starts with: a pure function of its declaration and a seed. */
import { type HostTensor, hostTensor } from '../graph/host-tensor.ts'
import { sizeOf } from '../graph/shape.ts'
import { HostRandom } from '../runtime/host-random.ts'
import { singularVectors } from './singular.ts'
import type { VariableSpec } from './variables.ts'

/** Initial values follow from `seed` and the variable's name alone, whatever other variables there are. */
export function initialize(v: VariableSpec, seed: number): HostTensor {
  const { init } = v
  const data = new Float32Array(sizeOf(v.shape))
  if (init.kind === 'constant') data.fill(init.value)
  else if (init.kind === 'singular') {
    const start = normals(v.name.slice(0, v.name.lastIndexOf('.')), sizeOf(init.of.shape.slice(1)), seed)
    data.set(singularVectors(initialize(init.of, seed), start, init.iterations)[init.side])
  } else {
    const random = generator(v.name, seed)
    for (let i = 0; i < data.length; i++)
      data[i] = init.kind === 'uniform' ? (2 * random.uniform() - 1) * init.bound : random.normal() * init.std
  }
  return hostTensor(data, v.shape)
}

function normals(name: string, count: number, seed: number): Float64Array {
  const random = generator(name, seed)
  return Float64Array.from({ length: count }, () => random.normal())
}

function generator(name: string, seed: number): HostRandom {
  return new HostRandom((BigInt(seed) << 32n) ^ BigInt(hash(name)))
}

/** FNV-1a, 32 bits. */
function hash(text: string): number {
  let h = 0x811c9dc5
  for (let i = 0; i < text.length; i++) h = Math.imul(h ^ text.charCodeAt(i), 0x01000193)
  return h >>> 0
}
