/** Standard normal numbers from a seed, for generators, whose noise is an input. Chains draw theirs within the file. */

/** The first `count` draws of stream `stream` of `seed` (0..2^53-1): Box-Muller on a counter whose bits are mixed with the key. */
export function normals(count: number, seed: number, stream: number): Float32Array {
  const low = seed >>> 0
  const high = Math.floor(seed / 2 ** 32) >>> 0
  const key = mix(mix(low ^ 0x9e3779b9) ^ mix((high + 0x85ebca6b) >>> 0) ^ mix((stream + 1) * 0xc2b2ae35))
  const uniform = (i: number) => (mix(mix(i ^ key) + key) + 0.5) / 2 ** 32
  const out = new Float32Array(count)
  for (let i = 0; i < count; i += 2) {
    const radius = Math.sqrt(-2 * Math.log(uniform(i)))
    const angle = 2 * Math.PI * uniform(i + 1)
    out[i] = radius * Math.cos(angle)
    if (i + 1 < count) out[i + 1] = radius * Math.sin(angle)
  }
  return out
}

/** A bijection of 32-bit words whose every output bit depends on every input bit (the finaliser of MurmurHash3; Appleby). */
function mix(word: number): number {
  let h = word >>> 0
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b)
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35)
  return (h ^ (h >>> 16)) >>> 0
}
