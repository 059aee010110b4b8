/** A small seeded generator for tests (mulberry32) with normals by Box-Muller. Not for anything else. */

/** Uniforms in [0, 1) from a seed. */
export function uniforms(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296
  }
}

/** Standard normals from a seed. */
export function normals(seed: number): () => number {
  const u = uniforms(seed)
  return () => Math.sqrt(-2 * Math.log(1 - u())) * Math.cos(2 * Math.PI * u())
}

/** A Float32Array of n values. */
export function floats(n: number, next: () => number): Float32Array {
  return Float32Array.from({ length: n }, next)
}
