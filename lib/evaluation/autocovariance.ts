/** Autocovariance of a series through the Fourier transform, float64. No statistics beyond that. */

/** In-place discrete Fourier transform of a power-of-two length; `sign` -1 forward, +1 backward without the factor 1/n. */
export function fourierTransform(re: Float64Array, im: Float64Array, sign: -1 | 1): void {
  const n = re.length
  if (n === 0 || (n & (n - 1)) !== 0 || im.length !== n)
    throw new RangeError(`fourierTransform: both parts must have one length, a power of two; got ${n} and ${im.length}`)
  reverseBits(re, im)
  for (let size = 2; size <= n; size *= 2) {
    const half = size / 2
    for (let k = 0; k < half; k++) {
      const angle = (sign * 2 * Math.PI * k) / size
      const [c, s] = [Math.cos(angle), Math.sin(angle)]
      for (let i = k; i < n; i += size) {
        const j = i + half
        const [u, v] = [re[j]! * c - im[j]! * s, re[j]! * s + im[j]! * c]
        re[j] = re[i]! - u
        im[j] = im[i]! - v
        re[i]! += u
        im[i]! += v
      }
    }
  }
}

function reverseBits(re: Float64Array, im: Float64Array): void {
  const n = re.length
  for (let i = 0, j = 0; i < n; i++) {
    if (i < j) {
      const [a, b] = [re[i]!, im[i]!]
      re[i] = re[j]!
      im[i] = im[j]!
      re[j] = a
      im[j] = b
    }
    let bit = n >> 1
    for (; bit > 0 && (j & bit) !== 0; bit >>= 1) j ^= bit
    j |= bit
  }
}

/** Σ_{i<n-t} (x_i - x̄)(x_{i+t} - x̄) / n for lags t = 0..n-1 (divisor n, as Geyer's sequences want). O(n log n). */
export function autocovariance(x: ArrayLike<number>): Float64Array {
  const n = x.length
  let mean = 0
  for (let i = 0; i < n; i++) mean += x[i]! / n
  // Zeros behind the series keep its ends apart.
  const size = 2 ** Math.ceil(Math.log2(Math.max(2, 2 * n)))
  const re = new Float64Array(size)
  const im = new Float64Array(size)
  for (let i = 0; i < n; i++) re[i] = x[i]! - mean
  fourierTransform(re, im, -1)
  for (let i = 0; i < size; i++) {
    re[i] = re[i]! ** 2 + im[i]! ** 2
    im[i] = 0
  }
  fourierTransform(re, im, 1)
  return Float64Array.from({ length: n }, (_, t) => re[t]! / (size * n))
}
