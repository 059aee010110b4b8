/** Random numbers of the page itself: starting noise and the seeds it gives to the exported samplers, which draw all others. */

/** A generator of uniform numbers in [0, 1) from a seed (mulberry32). */
export function uniforms(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = state
    t = Math.imul(t ^ (t >>> 15), t | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296
  }
}

/** The seed after `?seed=` of the page's address, for pictures that come again; without it, one that differs from visit to visit. */
export function freshSeed(): number {
  const asked = new URLSearchParams(location.search).get('seed')
  if (asked !== null && /^\d{1,9}$/.test(asked)) return Number(asked)
  return crypto.getRandomValues(new Uint32Array(1))[0] as number
}

/** Numbers from U(low, high). */
export function noise(count: number, low: number, high: number, random: () => number): Float32Array<ArrayBuffer> {
  return Float32Array.from({ length: count }, () => low + (high - low) * random())
}
