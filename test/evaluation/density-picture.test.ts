import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { decode } from 'fast-png'
import { describe, expect, it } from 'vitest'
import { textDots, textWidth } from '../../lib/evaluation/bitmap-font.ts'
import { type Rgb, rampColour } from '../../lib/evaluation/colour-map.ts'
import { densityPicture, densityPng } from '../../lib/evaluation/density-picture.ts'
import { gridPoints, logDensityGrid, type PlaneInput, planeOf, pointsOf } from '../../lib/evaluation/plane.ts'
import { renderReport } from '../../lib/evaluation/report.ts'
import { densitySvg } from '../../lib/evaluation/scatter.ts'
import { type HostTensor, hostTensor } from '../../lib/graph/host-tensor.ts'
import { normals } from './random.ts'
import { gaussian } from './two-sample-golden.ts'

/** Two moons' worth of structure: a ring of radius 2 with a heavier right side. */
const ringEnergy = async (x: HostTensor) =>
  Float32Array.from({ length: x.shape[0] ?? 0 }, (_, i) => {
    const [a = 0, b = 0] = [x.data[2 * i], x.data[2 * i + 1]]
    return 8 * (Math.hypot(a, b) - 2) ** 2 - 0.5 * a
  })

function ringPoints(n: number, seed: number): HostTensor {
  const next = normals(seed)
  const data = new Float32Array(2 * n)
  for (let i = 0; i < n; i++) {
    const [angle, radius] = [0.9 * next(), 2 + 0.25 * next()]
    data[2 * i] = radius * Math.cos(angle)
    data[2 * i + 1] = radius * Math.sin(angle)
  }
  return hostTensor(data, [n, 2])
}

const box = { x: [-3, 3], y: [-2.5, 2.5] } as const

async function ring(extra: Partial<PlaneInput> = {}): Promise<PlaneInput> {
  const logDensity = await logDensityGrid(ringEnergy, box, { columns: 150 })
  return { logDensity, box, data: ringPoints(1200, 1), samples: ringPoints(400, 2), ...extra }
}

/** Relative luminance of an sRGB colour. */
function luminance([r, g, b]: Rgb): number {
  const linear = (v: number) => (v / 255 <= 0.04045 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4)
  return 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b)
}

describe('rampColour', () => {
  it('grows lighter all the way, in even steps, and clamps', () => {
    const colours = Array.from({ length: 33 }, (_, i) => rampColour(i / 32))
    const light = colours.map((c) => Math.cbrt(luminance(c)))
    const steps = light.slice(1).map((l, i) => l - (light[i] ?? 0))
    expect(Math.min(...steps)).toBeGreaterThan(0.3 / 32)
    expect(Math.max(...steps)).toBeLessThan(1.8 / 32)
    expect(luminance(rampColour(0))).toBeLessThan(0.02)
    expect(luminance(rampColour(1))).toBeGreaterThan(0.8)
    expect(rampColour(-5)).toEqual(rampColour(0))
    expect(rampColour(Infinity)).toEqual(rampColour(1))
    expect(rampColour(NaN)).toEqual([128, 128, 128])
  })

  it('changes hue as well as lightness', () => {
    const strongest = (c: Rgb) => c.indexOf(Math.max(...c))
    expect(strongest(rampColour(0.25))).toBe(2)
    expect(strongest(rampColour(0.6))).toBe(1)
    const [r, g, b] = rampColour(1)
    expect(Math.min(r, g)).toBeGreaterThan(b)
  })
})

describe('bitmap font', () => {
  it('draws each character differently, within its width', () => {
    const shapes = new Map<string, string>()
    for (const c of '0123456789abcdefghijklmnopqrstuvwxyzM-−+=.,:()%/_') {
      const dots: string[] = []
      textDots(c, (x, y) => {
        expect(x).toBeLessThan(5)
        expect(y).toBeLessThan(9)
        dots.push(`${x},${y}`)
      })
      expect(dots.length).toBeGreaterThan(2)
      shapes.set(dots.join(' '), c)
    }
    expect(shapes.size).toBe(49)
    expect(textWidth('12')).toBe(11)
    expect(textWidth('')).toBe(0)
  })
})

describe('planeOf', () => {
  it('normalises over the box: a Gaussian has its own density', async () => {
    const energy = async (x: HostTensor) =>
      Float32Array.from({ length: x.shape[0] ?? 0 }, (_, i) => {
        const [a = 0, b = 0] = [x.data[2 * i], x.data[2 * i + 1]]
        return 0.5 * ((a - 1) ** 2 + (b / 0.5) ** 2) + 1234
      })
    const wide = { x: [-5, 7], y: [-3, 3] } as const
    const logDensity = await logDensityGrid(energy, wide, { columns: 240 })
    expect(logDensity.shape).toEqual([120, 240])
    const plane = planeOf({ logDensity, box: wide })
    expect(plane.high).toBeCloseTo(1 / (2 * Math.PI * 0.5), 2)
    expect(plane.low).toBe(0)
    expect(plane.peak[0]).toBeCloseTo(1, 1)
    expect(plane.peak[1]).toBeCloseTo(0, 1)
    const logs = planeOf({ logDensity, box: wide, scale: 'log', range: 4 })
    expect(logs.high).toBeCloseTo(Math.log(1 / Math.PI), 2)
    expect(logs.high - logs.low).toBe(4)
    // Two nats below the top is half the ramp, or exp(-2) of it.
    const at = logDensity.data.findIndex((v) => Math.abs(v - (-1234 - 2)) < 0.02)
    expect(logs.shade[at]).toBeCloseTo(0.5, 1)
    expect(plane.shade[at]).toBeCloseTo(Math.exp(-2), 2)
  })

  it('has its grid at the middles of cells, the lowest row first', () => {
    const grid = gridPoints({ x: [0, 4], y: [10, 14] }, 2)
    expect(grid.shape).toEqual([4, 2])
    expect([...grid.data]).toEqual([1, 11, 3, 11, 1, 13, 3, 13])
  })

  it('thins many points and counts those beyond the box', () => {
    const points = pointsOf('data', gaussian(20_000, 2, 3), { x: [-1, 1], y: [-9, 9] })
    expect(points.count).toBe(20_000)
    expect(points.outside / 20_000).toBeCloseTo(0.317, 1)
    expect(points.at.length / 2).toBeLessThanOrEqual(3000)
    expect(points.at.length / 2).toBeGreaterThan(2000)
  })

  it('says what is wrong', async () => {
    const logDensity = hostTensor(new Float32Array(6), [2, 3])
    const fails = (input: Partial<PlaneInput>) => expect(() => planeOf({ logDensity, box, ...input }))
    fails({ logDensity: hostTensor(new Float32Array(6), [6]) }).toThrow(/logDensity must be float32 \[rows, columns\]/)
    fails({ logDensity: hostTensor(new Float32Array(6).fill(-Infinity), [2, 3]) }).toThrow(/finite largest value/)
    fails({ logDensity: hostTensor(new Float32Array(6).fill(Infinity), [2, 3]) }).toThrow(/finite largest value/)
    fails({ box: { x: [1, 1], y: [0, 1] } }).toThrow(/box.x must be \[low, high\] with low < high; got \[1, 1\]/)
    fails({ scale: 'lin' as 'log' }).toThrow(/scale must be 'density' or 'log'; got "lin"/)
    fails({ range: 0 }).toThrow(/range must be positive/)
    await expect(logDensityGrid(async () => new Float32Array(3), box)).rejects.toMatchObject({ code: 'E_SHAPE' })
    const picture = { logDensity, box }
    expect(() => densityPicture({ ...picture, data: gaussian(4, 3, 1) })).toThrow(/data must be float32 \[n, 2\]/)
    expect(() => densityPicture({ ...picture, panelWidth: 10 })).toThrow(
      /panelWidth must be a whole number in 120..4000/,
    )
    expect(() => densityPicture({ ...picture, theme: 'Dark' as 'dark' })).toThrow(/theme must be 'light' or 'dark'/)
  })
})

describe('densityPicture', () => {
  it('has the colour of each cell in its place, y upwards', () => {
    const logDensity = hostTensor(Float32Array.of(0, -Infinity, NaN, Math.log(0.4)), [2, 2])
    const png = decode(densityPng({ logDensity, box: { x: [0, 1], y: [0, 1] }, panelWidth: 200 }))
    const seen = (c: Rgb) => {
      let [count, sumX, sumY] = [0, 0, 0]
      for (let i = 0; i < png.width * png.height; i++) {
        if (!c.every((v, k) => png.data[3 * i + k] === v)) continue
        count++
        sumX += i % png.width
        sumY += Math.floor(i / png.width)
      }
      return { count, x: sumX / count, y: sumY / count }
    }
    const [bottomLeft, topLeft, topRight] = [seen(rampColour(1)), seen([128, 128, 128]), seen(rampColour(0.4))]
    for (const { count } of [bottomLeft, topLeft, topRight]) expect(count / 10_000).toBeCloseTo(1, 1)
    expect(topLeft.y).toBeLessThan(bottomLeft.y - 80)
    expect(topRight.x).toBeGreaterThan(topLeft.x + 80)
    expect(Math.abs(topLeft.x - bottomLeft.x)).toBeLessThan(10)
  })

  it('sets data and samples beside the density, in both themes', async () => {
    const whole = await ring()
    const { data: _d, samples: _s, ...alone } = whole
    const [three, one] = [densityPicture(whole), densityPicture(alone)]
    expect(three.width).toBeGreaterThan(2.5 * (one.width - 100))
    expect(three.height).toBe(one.height)
    const dark = densityPicture({ ...whole, theme: 'dark' })
    expect([...dark.data.subarray(0, 3)]).toEqual([20, 23, 28])
    expect([...three.data.subarray(0, 3)]).toEqual([255, 255, 255])
    if (process.env.PICTURE_OUT) {
      const out = process.env.PICTURE_OUT
      await mkdir(out, { recursive: true })
      await writeFile(join(out, 'light.png'), densityPng(whole))
      await writeFile(join(out, 'dark.png'), densityPng({ ...whole, theme: 'dark', scale: 'log', panelWidth: 480 }))
      await writeFile(join(out, 'density.svg'), densitySvg(whole))
      await writeFile(join(out, 'report.html'), renderReport({ title: 'ring', density: whole }))
    }
  })
})

describe('densitySvg and the report', () => {
  it('is complete in itself and tells its content in words', async () => {
    const svg = densitySvg(await ring({ scale: 'log' }))
    expect(svg).not.toMatch(/NaN|undefined|url\(|<script/)
    expect(svg.match(/<image /g)).toHaveLength(2)
    expect(svg).toMatch(
      /aria-label="Density: log density, nats over the plane, greatest near \(2[^"]*; Data: 1200 points; Samples: 400 points"/,
    )
    for (const [, target = ''] of svg.matchAll(/href="([^"]*)"/g)) expect(target).toMatch(/^data:image\/png;base64,/)
    // A dot for each point within the box.
    const data = pointsOf('data', ringPoints(1200, 1), box)
    expect(/class="dots[^"]*" d="([^"]*)"/.exec(svg)?.[1]?.split('M').length).toBe(1 + data.at.length / 2)
  })

  it('keeps the picture upright: the image of the cells begins with the top row', () => {
    const logDensity = hostTensor(Float32Array.of(0, Math.log(0.4)), [2, 1])
    const svg = densitySvg({ logDensity, box: { x: [0, 1], y: [0, 1] } })
    const png = decode(Buffer.from(/base64,([^"]*)"/.exec(svg)?.[1] ?? '', 'base64'))
    expect([...png.data]).toEqual([...rampColour(0.4), ...rampColour(1)])
  })

  it('is a section of the report where it is given', async () => {
    const page = renderReport({ title: 'ring', density: await ring() })
    expect(page).toContain('<a href="#plane">Learned density</a>')
    expect(page).toMatch(/<h2 id="plane">Learned density<\/h2>/)
    expect([...page.matchAll(/<h3>(.*?)<\/h3>/g)].map((m) => m[1])).toEqual(['Density', 'Data', 'Samples'])
    expect(page).not.toMatch(/NaN|undefined|\[object|url\(/)
    expect(renderReport({ title: 'none' })).not.toContain('id="plane"')
    const { data: _, ...withoutData } = await ring()
    expect(renderReport({ title: 'ring', density: withoutData })).not.toContain('<h3>Data</h3>')
  })
})
