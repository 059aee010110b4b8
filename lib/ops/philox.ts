/**
 * Philox 4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011) and what the random ops make of its words.
 * The exact counterpart of native/ops/philox.h; how keys, streams and elements map to counters stands in docs/architecture.md.
 */

type Words = readonly [number, number, number, number]

/** High word of the 64-bit product of two unsigned 32-bit words. */
function high(a: number, b: number): number {
  const [al, ah, bl, bh] = [a & 0xffff, a >>> 16, b & 0xffff, b >>> 16]
  const mid = ah * bl + Math.floor((al * bl) / 65536)
  const mid2 = al * bh + (mid % 65536)
  return (ah * bh + Math.floor(mid / 65536) + Math.floor(mid2 / 65536)) >>> 0
}

/** Four random words of a counter of four words and a key of two, all unsigned. */
export function philox(counter: Words, key: readonly [number, number]): Words {
  let [c0, c1, c2, c3] = counter
  let [k0, k1] = key
  for (let round = 0; round < 10; round++) {
    const n0 = (high(0xcd9e8d57, c2) ^ c1 ^ k0) >>> 0
    const n2 = (high(0xd2511f53, c0) ^ c3 ^ k1) >>> 0
    c1 = Math.imul(0xcd9e8d57, c2) >>> 0
    c3 = Math.imul(0xd2511f53, c0) >>> 0
    c0 = n0
    c2 = n2
    k0 = (k0 + 0x9e3779b9) >>> 0
    k1 = (k1 + 0xbb67ae85) >>> 0
  }
  return [c0, c1, c2, c3]
}

/** The words of elements 0..n-1 of a stream. `key` holds seed low, seed high, step low, step high. */
export function wordsOf(key: ArrayLike<number>, stream: number, n: number): Uint32Array {
  const [seedLow, seedHigh, stepLow, stepHigh] = Array.from(key, (v) => v >>> 0) as [number, number, number, number]
  const out = new Uint32Array(n)
  for (let block = 0; 4 * block < n; block++) {
    const words = philox([block, stream, stepLow, stepHigh], [seedLow, seedHigh])
    for (let j = 0; j < 4 && 4 * block + j < n; j++) out[4 * block + j] = words[j] as number
  }
  return out
}

/** In (0,1): the centres of 2^23 equal cells, exact in float32. */
export function uniformOf(word: number): number {
  return ((word >>> 9) + 0.5) * 2 ** -23
}

/** Standard normals of elements 0..n-1, by Box-Muller on pairs of words. */
export function normalsOf(key: ArrayLike<number>, stream: number, n: number): Float64Array {
  const words = wordsOf(key, stream, n + (n % 2))
  return Float64Array.from({ length: n }, (_, i) => {
    const first = i - (i % 2)
    const r = Math.sqrt(-2 * Math.log(uniformOf(words[first] as number)))
    const angle = 2 * Math.PI * uniformOf(words[first + 1] as number)
    return r * (i % 2 === 0 ? Math.cos(angle) : Math.sin(angle))
  })
}

/**
 * Where position `p` of 0..n-1 goes in epoch `epoch` of a stream: a 4-round Feistel network on an even number of bits, walked until
 * it lands below n. A round is (left, right) → (right, left ^ F(right)), left being the high bits.
 */
export function shuffled(p: number, n: number, epoch: number, stream: number, seed: readonly [number, number]): number {
  const half = Math.ceil(Math.ceil(Math.log2(n)) / 2)
  const mask = 2 ** half - 1
  let x = p
  do {
    let left = Math.floor(x / 2 ** half)
    let right = x & mask
    for (let round = 0; round < 4; round++) {
      const f = philox([right, round, epoch, stream], seed)[0]
      ;[left, right] = [right, (left ^ (f & mask)) >>> 0]
    }
    x = left * 2 ** half + right
  } while (x >= n)
  return x
}
