/**
 * The page of examples/browser in headless Chromium: built, served under a sub-path without special headers, drawn on, sampled from, used by keyboard
 * alone, on a phone's screen, without a network; and the numbers of WebAssembly against ONNX Runtime in Node. Skipped where there is no Chromium
 * (CHROMIUM names one). Screenshots go to LANGEVIN_SCREENSHOTS, or into a folder that is removed.
 */
import { mkdirSync, readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { type Browser, type BrowserContext, type BrowserContextOptions, chromium, type Page } from 'playwright-core'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { temporaryFolder } from '../dist.ts'
import { digitStrokes, scribble } from './browser-digits.ts'
import { runHere, runThere } from './browser-numbers.ts'
import { buildPage, chromiumFlags, findChromium, type Site, servePage } from './browser-site.ts'

const executablePath = findChromium()
if (executablePath === undefined)
  console.warn('examples/browser is not tested in a browser: there is no Chromium here (set CHROMIUM to one)')

/** Milliseconds that anything may take on a busy machine. */
const PATIENCE = 60_000
const desktop: BrowserContextOptions = { viewport: { width: 1200, height: 800 }, colorScheme: 'light' }
const phone: BrowserContextOptions = { viewport: { width: 360, height: 640 }, colorScheme: 'dark', hasTouch: true }

describe.skipIf(executablePath === undefined)('the page in Chromium', { timeout: 120_000 }, () => {
  let site: Site
  let browser: Browser
  let shots: string
  /** What must not happen on any page: errors, and requests that leave the origin. */
  const faults: string[] = []

  beforeAll(async () => {
    const folder = temporaryFolder()
    shots = process.env.LANGEVIN_SCREENSHOTS ?? temporaryFolder()
    mkdirSync(shots, { recursive: true })
    await buildPage(folder)
    site = await servePage(folder)
    browser = await chromium.launch({ ...(executablePath && { executablePath }), args: chromiumFlags })
  }, 120_000)

  beforeEach(() => {
    faults.length = 0
  })

  afterAll(async () => {
    await browser?.close()
    await site?.close()
  })

  async function visit(options: BrowserContextOptions, query = ''): Promise<{ context: BrowserContext; page: Page }> {
    const context = await browser.newContext(options)
    const page = await context.newPage()
    page.on('console', (m) => {
      if (m.type() === 'error' || m.type() === 'warning') faults.push(`console: ${m.text()}`)
    })
    page.on('pageerror', (error) => faults.push(`error: ${error.message}`))
    context.on('request', (r) => {
      if (!r.url().startsWith(site.url) && !r.url().startsWith('data:')) faults.push(`request: ${r.url()}`)
    })
    await page.goto(site.url + query)
    await ready(page)
    return { context, page }
  }

  test('drawn digits are read, and in distribution; scribbles, noise and inverted ones are not', async () => {
    const { context, page } = await visit(desktop)
    expect(await page.locator('#verdict').getAttribute('data-state')).toBe('none')
    for (const digit of [0, 1, 3]) {
      await page.click('#clear')
      await draw(page, digitStrokes[digit] as (typeof digitStrokes)[number])
      await told(page, '#digit', `${digit}`)
      await page.waitForSelector('#verdict[data-state=in]')
    }
    await told(page, '#draw-status', /In distribution: log p .* Most like 3/)
    await page.screenshot({ path: join(shots, 'draw-desktop.png') })
    await page.click('#clear')
    await page.waitForSelector('#verdict[data-state=none]')
    await draw(page, scribble)
    await page.waitForSelector('#verdict[data-state=out]')
    await page.screenshot({ path: join(shots, 'scribble-desktop.png') })
    await page.click('#example-noise')
    await told(page, '#label', /noise/)
    await page.waitForSelector('#verdict[data-state=out]')
    await page.click('#example-test')
    await told(page, '#label', /test digit/)
    await page.click('#example-inverted')
    await told(page, '#label', /inverted/)
    await page.waitForSelector('#verdict[data-state=out]')
    await context.close()
    expect(faults).toEqual([])
  })

  test('a key draws sixteen digits from noise, and the classifier reads most of them, of several kinds', async () => {
    const { context, page } = await visit(desktop, '?seed=1')
    await page.click('#tab-sample')
    await page.keyboard.press('s')
    await page.locator('#sample-reset').focus()
    await energiesAt(page, '#energies', 40)
    await page.screenshot({ path: join(shots, 'sample-middle-desktop.png') })
    const { fell } = await energiesAt(page, '#energies', 100)
    expect(fell).toBeGreaterThan(100)
    await readingsOf(page, 100)
    await page.screenshot({ path: join(shots, 'sample-desktop.png') })
    expect(await page.locator('#sample-run').textContent()).toBe('Again')
    const { read, sure } = await readingsOf(page, 100)
    expect(read).toHaveLength(16)
    expect(sure).toBeGreaterThanOrEqual(10)
    expect(new Set(read).size).toBeGreaterThanOrEqual(4)
    // Others with the next run; paused on the way, and on.
    const before = await pictures(page)
    await page.keyboard.press('s')
    await energiesAt(page, '#energies', 10)
    await page.keyboard.press('s')
    expect(await page.locator('#sample-run').textContent()).toBe('Continue')
    await page.keyboard.press('s')
    await energiesAt(page, '#energies', 100)
    const again = await readingsOf(page, 100)
    expect(again.sure).toBeGreaterThanOrEqual(10)
    expect(await pictures(page)).not.toBe(before)
    await context.close()
    expect(faults).toEqual([])
  })

  test('chains steered to a class: their energies fall, and the classifier reads the digit that was asked for', async () => {
    const { context, page } = await visit(desktop, '?seed=1')
    await page.click('#tab-sample')
    expect(await page.locator('#sample-class').isVisible()).toBe(false)
    await page.selectOption('#sample-way', 'steer')
    await page.selectOption('#sample-class', '3')
    await page.click('#sample-run')
    // They rest by themselves.
    const { read } = await readingsOf(page, 10)
    expect((await energiesAt(page, '#energies', 10)).fell).toBeGreaterThan(0.5)
    expect(await page.locator('#sample-run').textContent()).toBe('Continue')
    expect(read).toHaveLength(16)
    expect(read.filter((d) => d === '3').length).toBeGreaterThanOrEqual(14)
    await page.screenshot({ path: join(shots, 'sample-steered-desktop.png') })
    // From noise of the page, any digit, 36 chains.
    await page.selectOption('#sample-class', { label: 'any' })
    await page.selectOption('#sample-start', 'noise')
    await page.selectOption('#sample-count', '36')
    await page.click('#sample-run')
    await energiesAt(page, '#energies', 6)
    await page.click('#sample-run')
    await readingsOf(page)
    await page.click('#sample-run')
    await readingsOf(page, 10)
    expect((await energiesAt(page, '#energies', 10)).fell).toBeGreaterThan(2)
    await labelled(page, '#samples', /^36 samples/)
    await page.screenshot({ path: join(shots, 'sample-steered-noise-desktop.png') })
    await page.click('#sample-reset')
    expect(await page.locator('#sample-run').textContent()).toBe('Start')
    await context.close()
    expect(faults).toEqual([])
  })

  test('chains in the plane move downhill; the cross tells energy and score; temperature 0 only descends', async () => {
    const { context, page } = await visit({ ...desktop, colorScheme: 'dark' })
    await page.click('#tab-landscape')
    await told(page, '#legend-labels', /and above/)
    await page.click('#map-scatter')
    expect((await energiesAt(page, '#map-energies', 60)).fell).toBeGreaterThan(2)
    await page.hover('#map', { position: { x: 200, y: 200 } })
    await told(page, '#map-readout', /E\(x\) = .* score \(/)
    await page.screenshot({ path: join(shots, 'landscape-desktop-dark.png') })
    await page.click('#map-clear')
    await page.selectOption('#map-model', { label: 'pinwheel' })
    await told(page, '#map-title', /pinwheel/)
    await page.locator('#map-temperature').fill('0')
    await page.click('#map', { position: { x: 60, y: 60 } })
    await energiesAt(page, '#map-energies', 60)
    await page.click('#map-pause')
    await told(page, '#map-status', /25 chains, paused/)
    const { first, last } = await energiesAt(page, '#map-energies', 60)
    expect(last).toBeLessThan(first)
    await page.screenshot({ path: join(shots, 'landscape-descent-dark.png') })
    await context.close()
    expect(faults).toEqual([])
  })

  test('WebAssembly gives the numbers of ONNX Runtime in Node, for every file and output', async () => {
    const { context, page } = await visit(desktop)
    const models = join(import.meta.dirname, '../../examples/browser/public/models')
    const files = readdirSync(models, { recursive: true })
      .map(String)
      .filter((f) => f.endsWith('.onnx'))
    expect(files.length).toBeGreaterThanOrEqual(9)
    for (const file of files) {
      expect(statSync(join(models, file)).size).toBeGreaterThan(1000)
      const { feeds, outputs } = await runHere(join(models, file))
      const there = await runThere(page, `models/${file}`, feeds)
      expect(Object.keys(there).sort()).toEqual([...outputs.keys()].sort())
      for (const [name, want] of outputs) {
        const got = there[name]
        expect(got?.dims).toEqual([...want.dims])
        const scale = Math.max(1, ...want.data.map(Math.abs))
        const worst = Math.max(...want.data.map((v, i) => Math.abs(v - (got?.data[i] ?? Number.NaN))))
        expect({ file, name, agrees: worst <= 1e-4 * scale, worst }).toMatchObject({ agrees: true })
      }
    }
    await context.close()
    expect(faults).toEqual([])
  })

  test('after the first visit it works without a network', async () => {
    const { context, page } = await visit(desktop)
    await told(page, '#offline', /without a network/)
    await context.setOffline(true)
    await page.reload()
    await ready(page)
    await draw(page, digitStrokes[0] as (typeof digitStrokes)[number])
    await told(page, '#digit', '0')
    await page.click('#tab-landscape')
    await told(page, '#legend-labels', /and above/)
    await context.close()
    expect(faults).toEqual([])
  })

  test('the keyboard alone: a one in cells, the tabs, chains at the cross; every control has a name', async () => {
    const { context, page } = await visit({ ...desktop, reducedMotion: 'reduce' })
    await tabTo(page, `document.activeElement.getAttribute('role') === 'gridcell'`)
    for (let i = 0; i < 3; i++) await page.keyboard.press('ArrowRight')
    for (let row = 0; row < 8; row++)
      for (const key of ['9', 'ArrowRight', '9', 'ArrowLeft', 'ArrowDown']) await page.keyboard.press(key)
    await told(page, '#digit', '1')
    expect(await page.getByRole('gridcell', { name: 'row 8, column 5: ink 16 of 16' }).count()).toBe(1)
    expect(await unnamed(page)).toEqual([])
    await tabTo(page, `document.activeElement.id === 'tab-draw'`, 'Shift+Tab')
    await page.keyboard.press('ArrowRight')
    await tabTo(page, `document.activeElement.id === 'sample-run'`)
    expect(await unnamed(page)).toEqual([])
    await page.keyboard.press('Enter')
    await labelled(page, '#energies', /now/)
    await tabTo(page, `document.activeElement.id === 'tab-sample'`, 'Shift+Tab')
    await page.keyboard.press('End')
    await tabTo(page, `document.activeElement.id === 'map'`)
    await told(page, '#map-readout', /E\(x\)/)
    await page.keyboard.press('ArrowUp')
    await page.keyboard.press('Enter')
    await told(page, '#map-status', /25 chains are moving/)
    expect(await unnamed(page)).toEqual([])
    await context.close()
    expect(faults).toEqual([])
  })

  test('a phone: nothing is wider than the screen, a finger draws', async () => {
    const { context, page } = await visit(phone)
    await draw(page, digitStrokes[2] as (typeof digitStrokes)[number])
    await page.waitForSelector('#verdict[data-state=in]')
    for (const tab of ['draw', 'sample', 'landscape']) {
      await page.click(`#tab-${tab}`)
      if (tab === 'sample') {
        await page.click('#sample-run')
        await energiesAt(page, '#energies', 6)
        await page.click('#sample-run')
      }
      if (tab === 'landscape') await told(page, '#legend-labels', /and above/)
      expect(await page.evaluate('document.documentElement.scrollWidth')).toBeLessThanOrEqual(360)
      await page.screenshot({ path: join(shots, `${tab}-phone-dark.png`), fullPage: true })
    }
    await context.close()
    expect(faults).toEqual([])
  })

  test('a model that does not load is told in words', async () => {
    const context = await browser.newContext(desktop)
    const page = await context.newPage()
    await page.route('**/digits/model.onnx', (route) => route.fulfill({ status: 503 }))
    await page.goto(site.url)
    await page.waitForSelector('#problem:not([hidden])')
    expect(await page.locator('#problem').textContent()).toMatch(/model\.onnx does not load: the host answers 503/)
    await context.close()
  })
})

function ready(page: Page): Promise<unknown> {
  return page.waitForSelector('html[data-ready]', { timeout: PATIENCE })
}

/** Waits until an element says something; the page's own policy forbids to evaluate texts there. */
async function told(page: Page, selector: string, what: string | RegExp): Promise<string> {
  const text = async (): Promise<string> => (await page.locator(selector).textContent()) ?? ''
  if (typeof what === 'string') await expect.poll(text, { timeout: PATIENCE, interval: 50 }).toBe(what)
  else await expect.poll(text, { timeout: PATIENCE, interval: 50 }).toMatch(what)
  return text()
}

/** The same of its label for screen readers. */
async function labelled(page: Page, selector: string, what: RegExp): Promise<void> {
  const label = async (): Promise<string> => (await page.locator(selector).getAttribute('aria-label')) ?? ''
  await expect.poll(label, { timeout: PATIENCE, interval: 50 }).toMatch(what)
}

/** What the classifier reads in the samples once they stand still, at `step` if it is given. */
async function readingsOf(page: Page, step?: number): Promise<{ read: string[]; sure: number }> {
  const at = step ?? '[0-9]+'
  const status = await told(page, '#sample-status', new RegExp(`Step ${at}\\. The classifier reads [0-9 ]+, [0-9]+ of`))
  const [, read = '', sure] = /reads ([0-9 ]+), ([0-9]+) of/.exec(status) ?? []
  return { read: read.split(' '), sure: Number(sure) }
}

/** The pictures of the samples as they are painted. */
function pictures(page: Page): Promise<string> {
  return page.evaluate(`document.getElementById('samples').toDataURL()`)
}

/** Moves the mouse along strokes given on a square of side 100. */
async function draw(page: Page, strokes: (typeof digitStrokes)[number]): Promise<void> {
  const box = await page.locator('#pad').boundingBox()
  if (box === null) throw new Error('the pad is not shown')
  for (const stroke of strokes) {
    const points = stroke.map((p) => [box.x + (p.x * box.width) / 100, box.y + (p.y * box.height) / 100] as const)
    await page.mouse.move(...(points[0] as readonly [number, number]))
    await page.mouse.down()
    for (const p of points) await page.mouse.move(...p, { steps: 2 })
    await page.mouse.up()
  }
}

/** Waits until the chains of a plot have made so many steps; their mean energies as its label tells them. */
async function energiesAt(
  page: Page,
  selector: string,
  step: number,
): Promise<{ first: number; last: number; fell: number }> {
  const chart = page.locator(selector)
  const form = /mean (\S+) at step \d+, now (\S+) at step (\d+),/
  let found: RegExpExecArray | null = null
  await expect
    .poll(
      async () => {
        found = form.exec((await chart.getAttribute('aria-label')) ?? '')
        return Number(found?.[3] ?? 0)
      },
      { timeout: PATIENCE, interval: 50 },
    )
    .toBeGreaterThanOrEqual(step)
  const [, a, b] = found ?? []
  const [first, last] = [Number(a), Number(b)]
  return { first, last, fell: first - last }
}

/** Presses Tab until what has the focus satisfies a condition. */
async function tabTo(page: Page, condition: string, key = 'Tab'): Promise<void> {
  for (let i = 0; i < 30; i++) {
    if (await page.evaluate(condition)) return
    await page.keyboard.press(key)
  }
  throw new Error(`${key} does not lead to where ${condition}`)
}

/** Controls that a screen reader would have no name for. */
async function unnamed(page: Page): Promise<string[]> {
  const tree = await page.locator('body').ariaSnapshot()
  const controls = /^\s*- '?(button|combobox|slider|tab|gridcell|link|img|application|grid|tabpanel|textbox)\b(?! ")/
  const lines = tree.split('\n')
  expect(lines.length).toBeGreaterThan(10)
  return lines.filter((l) => controls.test(l))
}
