import { writeFile } from 'node:fs/promises'
import { describe, expect, it } from 'vitest'
import type { Evaluation } from '../../lib/evaluation/evaluate.ts'
import { renderReport } from '../../lib/evaluation/report.ts'
import { standingRows } from '../../lib/evaluation/report-training.ts'
import { someEvaluation, someEvents, someGrid, someRows, wholeReport } from './report-fixture.ts'

/** Tags with their nesting checked: throws where one closes that was not open. */
function outline(page: string): string[] {
  const lonely = new Set(['meta', 'img', '!doctype'])
  const open: string[] = []
  const seen: string[] = []
  const body = page.replace(/<style>.*?<\/style>/s, '<style></style>')
  for (const [, close, name = '', attributes = ''] of body.matchAll(/<(\/?)([a-z!][a-z0-9]*)((?:[^>"]|"[^"]*")*)>/g)) {
    if (close === '/') {
      const top = open.pop()
      if (top !== name) throw new Error(`</${name}> closes <${top}>`)
    } else {
      if (!lonely.has(name) && !attributes.endsWith('/')) open.push(name)
      seen.push(name)
    }
  }
  if (open.length > 0) throw new Error(`left open: ${open.join(' ')}`)
  return seen
}

const headings = (page: string) => [...page.matchAll(/<h([1-3])[^>]*>(.*?)<\/h\1>/g)].map((m) => `${m[1]} ${m[2]}`)

describe('renderReport', () => {
  it('has its parts in order, well nested, with every link and label resolved', async () => {
    const page = renderReport(await wholeReport())
    if (process.env.REPORT_OUT) await writeFile(process.env.REPORT_OUT, page)
    expect(headings(page)).toMatchInlineSnapshot(`
      [
        "1 JEM++ on digits",
        "2 Training",
        "3 Energies",
        "3 Energy gap: negatives less data",
        "3 Loss",
        "3 Batch accuracy",
        "3 Energy drift along the chain",
        "3 Gradient norm",
        "3 Learning rate",
        "3 Speed",
        "3 bufferAge",
        "2 Samples",
        "2 Classification and calibration",
        "3 Reliability",
        "2 Energies and out-of-distribution detection",
        "3 Energies by set",
        "2 Events",
        "2 Settings",
        "2 Environment",
      ]
    `)
    const tags = outline(page)
    for (const landmark of ['header', 'nav', 'main', 'footer', 'h1'])
      expect(tags.filter((t) => t === landmark)).toHaveLength(1)
    const ids = [...page.matchAll(/ id="([^"]+)"/g)].map((m) => m[1])
    expect(new Set(ids).size).toBe(ids.length)
    for (const [, target] of page.matchAll(/(?:href="#|aria-labelledby=")([^"]+)"/g)) expect(ids).toContain(target)
    expect(page).not.toMatch(/NaN|undefined|\[object/)
  })

  it('refers to nothing outside itself', async () => {
    const page = renderReport(await wholeReport())
    expect(page).not.toMatch(/https?:\/\/|<script|<link|@import|url\(/)
    for (const [, target = ''] of page.matchAll(/(?:src|href)="([^"]*)"/g))
      expect(target).toMatch(/^(#|data:image\/png;base64,)/)
    expect(page).toContain("default-src 'none'")
  })

  it('escapes whatever comes from outside', async () => {
    const bad = '"><script>alert(1)</script><img src=x onerror=1>\u0000\''
    const evaluation = await someEvaluation()
    const page = renderReport({
      title: bad,
      config: { [bad]: bad, list: [bad] },
      metrics: someRows(3).map((r) => ({ ...r, [bad]: 1 })),
      events: [{ event: bad, step: 2, [bad]: bad }],
      evaluation: {
        ...evaluation,
        ood: { [bad]: evaluation.ood.uniform ?? {} },
        energies: { [bad]: evaluation.energies.test },
      } as Evaluation,
      environment: { [bad]: { deep: bad } },
    })
    expect(page).not.toContain('<script')
    expect(page).not.toContain('<img')
    expect(page).not.toContain('\u0000')
    expect(page).toContain('&quot;&gt;&lt;script&gt;alert(1)&lt;/script&gt;')
    outline(page)
  })

  it('works with missing parts', async () => {
    const nothing = renderReport({ title: 'empty' })
    outline(nothing)
    expect(nothing).toContain('No metrics have been recorded yet')
    expect(nothing).toContain('has not been evaluated yet')
    const { step, epoch, seconds, loss, learningRate, stepsPerSecond } = someRows(1)[0]!
    const one = renderReport({
      title: 'one row',
      metrics: [{ step, epoch, seconds, loss, learningRate, stepsPerSecond }],
    })
    outline(one)
    expect(headings(one).filter((h) => h.startsWith('3'))).toEqual(['3 Loss', '3 Learning rate', '3 Speed'])
    expect(one).toContain('class="dot"')
    expect(one).not.toMatch(/NaN|Infinity/)
    const {
      accuracy: _a,
      nll: _n,
      ece: _e,
      brier: _b,
      confusion: _c,
      perClassAccuracy: _p,
      reliability: _r,
      frechet: _f,
      ...energyOnly
    } = await someEvaluation()
    const unlabelled = renderReport({ title: 'no labels', evaluation: { ...energyOnly, ood: {} } })
    outline(unlabelled)
    expect(headings(unlabelled)).toContain('2 Energies and out-of-distribution detection')
    expect(unlabelled).not.toContain('Reliability')
  })

  it('tells likelihood, divergence, samples against data and chains where they are known', async () => {
    const evaluation: Evaluation = {
      ...(await someEvaluation()),
      likelihood: {
        method: 'ais',
        logZ: 3.25,
        logZStandardError: 0.02,
        logZLower: 3.2,
        logZUpper: 3.31,
        count: 600,
        mean: -1.5,
        standardError: 0.04,
        totalStandardError: 0.05,
        bitsPerDimension: 1.08,
        original: -2.75,
      },
      divergence: { forward: 0.0421, reverse: 0.0532, reachesEdge: true, low: [-3, -4], high: [3, 4] },
      quality: {
        samples: 200,
        reference: 600,
        mmd: { squared: 0.0123, standardError: 0.001, pValue: 0.0001 },
        nearestNeighbour: { accuracy: 0.51, pValue: 0.4 },
        classifier: { accuracy: 0.77, pValue: 0.02, heldOut: 400 },
        stein: { ksd: 0.2, pValue: 0.5 },
        precisionRecall: { precision: 0.91, recall: 0.82, density: 0.93, coverage: 0.84, k: 5 },
      },
      kid: { mean: 0.031, std: 0.002, subsets: 100, subsetSize: 200 },
      inception: { mean: 7.3, std: 0.4, splits: 10 },
      chains: {
        sampler: 'nuts',
        chains: 4,
        draws: 500,
        acceptance: 0.81,
        divergences: 2,
        stepSize: 0.35,
        gradients: 3500,
        rhat: 1.004,
        essBulk: 812,
        essTail: 640,
      },
      notes: ['no samples: <for a reason>'],
    }
    const page = renderReport({ title: 'all', evaluation })
    outline(page)
    expect(headings(page)).toEqual(expect.arrayContaining(['2 Likelihood', '2 Samples against data']))
    const text = page.replace(/<style>.*?<\/style>/s, '').replace(/<[^>]*>/g, ' ')
    for (const said of ['3.25 ± 0.02', '-2.75', '0.0421', 'mass beyond the box', '&lt; 0.001', '77', '0.82', '0.031'])
      expect(text.replaceAll('−', '-'), said).toContain(said)
    expect(text).toContain('4 chains of nuts, 500 draws each')
    expect(text).toContain('no samples: &lt;for a reason&gt;')
    expect(page).not.toMatch(/NaN|undefined|\[object/)
  })

  it('lists the most frequent confusions where the matrix would be too large', async () => {
    const confusion: number[][] = Array.from({ length: 100 }, (_, y) =>
      Array.from({ length: 100 }, (_, k) => (y === k ? 50 : 0)),
    )
    confusion[17]![42] = 9
    confusion[3]![99] = 31
    const page = renderReport({ title: 'many', evaluation: { ...(await someEvaluation()), confusion } })
    outline(page)
    expect(page).toContain('Most frequent confusions among 100 classes')
    expect(page).toMatch(
      />3<\/th><td class="n">99<\/td><td class="n">31<.*>17<\/th><td class="n">42<\/td><td class="n">9</s,
    )
    expect(page).not.toContain('hitcell"')
  })

  it('shows values that are no numbers as gaps and says how many', () => {
    const rows = someRows(60).map((r, i) => ({
      ...r,
      loss: i >= 20 && i < 25 ? NaN : r.loss,
      accuracy: i === 40 ? Infinity : NaN,
    }))
    const page = renderReport({ title: 'gaps', metrics: rows })
    expect(page).toContain('× 5 values are not a finite number and left as a gap.')
    const line = /<h3>Loss<\/h3>.*?<path class="line" d="(M[^"]*L[^"]*)"/s.exec(page)?.[1] ?? ''
    expect(line.match(/M/g)).toHaveLength(2)
    expect(page).toContain('No finite value in 60 rows.')
    expect(page).not.toMatch(/[" ]NaN|Infinity/)
  })

  it('keeps 100 000 rows under 2 MB without losing a spike', () => {
    const rows = someRows(100_000)
    rows[77_777] = { ...rows[77_777]!, bufferAge: 41 }
    const page = renderReport({ title: 'long', metrics: rows, samplesPng: someGrid() })
    expect(page.length).toBeLessThan(2e6)
    const chart = /<h3>bufferAge<\/h3>.*?<\/figure>/s.exec(page)?.[0] ?? ''
    expect(chart.includes('to 41)</title>')).toBe(true)
    expect(page).toMatch(/values lie beyond the axis/) // the fixture's gradient spikes
  })

  it('draws only what a recovery left standing, and marks the event', () => {
    const rows = someRows(30)
    const { rows: standing, dropped } = standingRows([...rows.slice(0, 25), ...rows.slice(19)])
    expect(standing.map((r) => r.step)).toEqual(rows.map((r) => r.step))
    expect(dropped).toBe(6)
    const page = renderReport({
      title: 'recovered',
      metrics: [...rows.slice(0, 25), ...rows.slice(19)],
      events: [{ event: 'recovered', step: 19, guard: 'loss' }],
    })
    expect(page).toContain('6 rows that recoveries took back are not drawn')
    const charts = headings(page).filter((h) => h.startsWith('3')).length
    expect(page.split('<title>recovered at step 19: guard loss</title>')).toHaveLength(charts + 1)
  })

  it('does not mark checkpoints, and lists every event', () => {
    const page = renderReport({ title: 'events', metrics: someRows(500), events: someEvents })
    expect(page).not.toContain('<title>checkpoint')
    expect(page.split('<title>resumed at step 420').length).toBeGreaterThan(2)
    expect(page).toContain('file step-100.safetensors')
  })

  it('embeds the samples as crisp pixels and refuses what is no PNG', () => {
    const page = renderReport({ title: 'samples', samplesPng: someGrid() })
    expect(page).toMatch(/<img class="samples"[^>]* width="28" height="19"/)
    const data = /base64,([^"]*)"/.exec(page)?.[1] ?? ''
    expect(new Uint8Array(Buffer.from(data, 'base64'))).toEqual(new Uint8Array(someGrid()))
    expect(() => renderReport({ title: 'x', samplesPng: new Uint8Array(50) })).toThrow(
      /must be the bytes of a PNG file/,
    )
  })

  it('is a pure function', async () => {
    const input = await wholeReport()
    expect(renderReport(input)).toBe(renderReport(input))
  })
})
