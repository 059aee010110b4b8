/**
 * Random numbers on the JavaScript side: splits, permutations, out-of-distribution sets.
 * Not for training: there every number comes from Philox in the graph (lib/ops). Deterministic by seed on every platform, save that
 * `normal` rests on Math.log and Math.cos.
 */

/**
 * xoshiro128** (Blackman & Vigna 2018, doi 10.1145/3460772), its state filled by SplitMix64 from a 64-bit seed.
 * @example new HostRandom(7).permutation(5)
 */
export class HostRandom {
  readonly #s: Uint32Array
  #spare: number | undefined

  /** `seed`: an integer; its low 64 bits count. A number must be a safe integer. */
  constructor(seed: number | bigint) {
    if (typeof seed === 'number' && !Number.isSafeInteger(seed)) {
      throw new RangeError(`HostRandom: seed must be a safe integer or a bigint; got ${seed}`)
    }
    this.#s = new Uint32Array(4)
    let state = BigInt.asUintN(64, BigInt(seed))
    for (let i = 0; i < 4; i += 2) {
      state = BigInt.asUintN(64, state + 0x9e3779b97f4a7c15n)
      const word = splitMix(state)
      this.#s[i] = Number(word & 0xffffffffn)
      this.#s[i + 1] = Number(word >> 32n)
    }
  }

  /** 32 random bits as an integer in [0, 2^32). */
  bits(): number {
    const s = this.#s
    const s1 = s[1] as number
    const result = Math.imul(rotate(Math.imul(s1, 5), 7), 9) >>> 0
    const t = s1 << 9
    s[2] = (s[2] as number) ^ (s[0] as number)
    s[3] = (s[3] as number) ^ s1
    s[1] = s1 ^ (s[2] as number)
    s[0] = (s[0] as number) ^ (s[3] as number)
    s[2] = (s[2] as number) ^ t
    s[3] = rotate(s[3] as number, 11)
    return result
  }

  /** Uniform in [0, 1) on a grid of 2^-53. */
  uniform(): number {
    return ((this.bits() >>> 5) * 67108864 + (this.bits() >>> 6)) / 9007199254740992
  }

  /** Standard normal (Box-Muller; the second value of a pair is kept for the next call). */
  normal(): number {
    if (this.#spare !== undefined) {
      const value = this.#spare
      this.#spare = undefined
      return value
    }
    const r = Math.sqrt(-2 * Math.log(1 - this.uniform()))
    const angle = 2 * Math.PI * this.uniform()
    this.#spare = r * Math.sin(angle)
    return r * Math.cos(angle)
  }

  /** Uniform integer in [0, n), without bias; 1 <= n <= 2^32. */
  int(n: number): number {
    if (!Number.isInteger(n) || n < 1 || n > 4294967296) {
      throw new RangeError(`HostRandom.int: n must be an integer in 1..2^32; got ${n}`)
    }
    const limit = 4294967296 - (4294967296 % n)
    for (;;) {
      const word = this.bits()
      if (word < limit) return word % n
    }
  }

  /** The numbers 0..n-1 in random order (Fisher-Yates). */
  permutation(n: number): Int32Array {
    const order = Int32Array.from({ length: n }, (_, i) => i)
    for (let i = n - 1; i > 0; i--) {
      const j = this.int(i + 1)
      const swapped = order[i] as number
      order[i] = order[j] as number
      order[j] = swapped
    }
    return order
  }
}

function rotate(x: number, k: number): number {
  return (x << k) | (x >>> (32 - k))
}

function splitMix(state: bigint): bigint {
  let z = state
  z = BigInt.asUintN(64, (z ^ (z >> 30n)) * 0xbf58476d1ce4e5b9n)
  z = BigInt.asUintN(64, (z ^ (z >> 27n)) * 0x94d049bb133111ebn)
  return z ^ (z >> 31n)
}
