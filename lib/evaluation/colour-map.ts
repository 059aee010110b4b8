/**
 * A perceptually ordered colour ramp for densities, dark violet through teal to pale yellow, computed: even steps of lightness and
 * hue in OKLab (Ottosson 2020), with as much colour as sRGB can show. Equal steps of the value look about equally far apart, in grey too.
 */

/** Lightness, hue in degrees and chroma at the ends. The chroma is about what sRGB holds on the way: more would be cut, and leave edges. */
const ramp = { light: [0.17, 0.95], hue: [305, 98], chroma: [0.075, 0.125] } as const

export type Rgb = readonly [red: number, green: number, blue: number]

/** The ramp in `steps` colours, 3 bytes each. */
function rampBytes(steps: number): Uint8Array {
  const out = new Uint8Array(3 * steps)
  for (let i = 0; i < steps; i++) {
    const t = i / (steps - 1)
    const between = ([from, to]: readonly [number, number]) => from + t * (to - from)
    const hue = (between(ramp.hue) * Math.PI) / 180
    out.set(withinGamut(between(ramp.light), between(ramp.chroma), hue), 3 * i)
  }
  return out
}

/** The colour of that lightness and hue, its chroma lowered until sRGB holds it. */
function withinGamut(lightness: number, chroma: number, hue: number): Rgb {
  let [low, high] = [0, chroma]
  const colour = (c: number) => linearRgb(lightness, c * Math.cos(hue), c * Math.sin(hue))
  const fits = (c: number) => colour(c).every((v) => v >= 0 && v <= 1)
  if (fits(high)) low = high
  for (let i = 0; i < 20 && low < high; i++) {
    const middle = (low + high) / 2
    if (fits(middle)) low = middle
    else high = middle
  }
  const [r, g, b] = colour(low)
  return [toByte(r), toByte(g), toByte(b)]
}

/** OKLab to linear sRGB. */
function linearRgb(lightness: number, a: number, b: number): Rgb {
  const l = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3
  const m = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3
  const s = (lightness - 0.0894841775 * a - 1.291485548 * b) ** 3
  return [
    4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s,
    -1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s,
    -0.0041960863 * l - 0.7034186147 * m + 1.707614701 * s,
  ]
}

/** The transfer function of sRGB. */
function toByte(linear: number): number {
  const v = Math.min(1, Math.max(0, linear))
  return Math.round(255 * (v <= 0.0031308 ? 12.92 * v : 1.055 * v ** (1 / 2.4) - 0.055))
}

const steps = 256
let table: Uint8Array | undefined

/** The colour of a value in [0, 1] (clamped); NaN is mid grey, which the ramp does not hold. */
export function rampColour(value: number): Rgb {
  if (Number.isNaN(value)) return [128, 128, 128]
  table ??= rampBytes(steps)
  const i = 3 * Math.round(Math.min(1, Math.max(0, value)) * (steps - 1))
  return [table[i] ?? 0, table[i + 1] ?? 0, table[i + 2] ?? 0]
}
