/** The part of the report on likelihood and on samples: log Z, held-out log likelihood, divergences, tests of samples against data, chains. */
import { showNumber, showPercent } from './chart-scale.ts'
import type { Evaluation } from './evaluate.ts'
import type { DivergenceFigures, LikelihoodFigures } from './likelihood-figures.ts'
import { type Cell, el, type Html, section, table } from './report-html.ts'
import type { SampleQuality } from './sample-quality.ts'

/** Log Z and what follows from it; nothing where it is not known. */
export function likelihoodSection({ likelihood: l, divergence: d }: Evaluation): Html | undefined {
  if (l === undefined && d === undefined) return undefined
  const rows = [...(l ? likelihoodRows(l) : []), ...(d ? divergenceRows(d) : [])]
  const edge = (l?.reachesEdge ?? false) || (d?.reachesEdge ?? false)
  const warning =
    '▼ The model has mass beyond the box of the quadrature: log Z is too small, and what follows from it too good.'
  const body = table({ label: 'Likelihood', head: ['figure', 'value#', ''] }, rows)
  return section('likelihood', 'Likelihood', body, edge && el('p', { class: 'note' }, warning))
}

function likelihoodRows(l: LikelihoodFigures): Cell[][] {
  const bound = (name: string, value: number | undefined, what: string): Cell[][] =>
    value === undefined ? [] : [[`${name} bound of log Z`, showNumber(value, 5), what]]
  return [
    ['log Z', withError(l.logZ, l.logZStandardError), source[l.method]],
    ...bound('lower', l.logZLower, 'forward annealing, in expectation'),
    ...bound('upper', l.logZUpper, 'reverse annealing from samples, in expectation if they are the model’s'),
    [
      'held-out log likelihood',
      withError(l.mean, l.totalStandardError),
      `nats an example of ${l.count}, in the units that the model sees`,
    ],
    ...(l.original === undefined ? [] : [['in the data’s own units', showNumber(l.original, 5), 'nats an example']]),
    ['bits a dimension', showNumber(l.bitsPerDimension, 4), 'low is good'],
  ]
}

function divergenceRows(d: DivergenceFigures): Cell[][] {
  const side = (v: readonly number[]) => `(${v.map((x) => showNumber(x, 3)).join(', ')})`
  const box = `nats, from the exact density, by quadrature from ${side(d.low)} to ${side(d.high)}`
  return [
    ['KL(data ‖ model)', showNumber(d.forward, 4), box],
    ['KL(model ‖ data)', showNumber(d.reverse, 4), 'nats'],
  ]
}

const source = {
  given: 'given',
  quadrature: 'by quadrature',
  exact: 'summed over all states',
  ais: 'by annealed importance sampling',
} as const

/** Samples against data, and chains; nothing where neither was looked at. */
export function qualitySection(e: Evaluation): Html | undefined {
  const { quality: q, chains, notes = [] } = e
  const rows = [...(q ? [...testRows(q), ...ballRows(q)] : []), ...networkRows(e)]
  const head = ['figure', 'value#', 'p-value#', '']
  const compared = `${q?.samples} samples against ${q?.reference} examples. A small p-value says that they are not of one distribution.`
  const parts = [
    rows.length > 0 && table({ label: 'Samples against data', head }, rows),
    q && el('p', { class: 'note' }, compared),
    chains && chainTable(chains),
    ...notes.map((n) => el('p', { class: 'note' }, n)),
  ]
  return parts.some(Boolean) ? section('quality', 'Samples against data', ...parts) : undefined
}

function testRows({ mmd, nearestNeighbour: near, classifier, stein }: SampleQuality): Cell[][] {
  const equal = '½ for equal distributions'
  return [
    [
      'MMD²',
      showNumber(mmd.squared, 3),
      p(mmd.pValue),
      'Gaussian kernel of the median width; 0 for equal distributions',
    ],
    ['nearest neighbour', showPercent(near.accuracy), p(near.pValue), `have theirs in their own set; ${equal}`],
    ...(classifier
      ? [
          [
            'classifier',
            showPercent(classifier.accuracy),
            p(classifier.pValue),
            `right of ${classifier.heldOut} held out; ${equal}`,
          ],
        ]
      : []),
    ...(stein
      ? [
          [
            'Stein discrepancy',
            showNumber(stein.ksd, 3),
            p(stein.pValue),
            'from the model itself: whether the chains have converged',
          ],
        ]
      : []),
  ]
}

function ballRows({ precisionRecall: b }: SampleQuality): Cell[][] {
  if (b === undefined) return []
  return [
    ['precision', showNumber(b.precision, 3), '', 'share of samples near data'],
    ['recall', showNumber(b.recall, 3), '', 'share of data near samples'],
    ['density', showNumber(b.density, 3), '', 'near 1 for equal distributions'],
    ['coverage', showNumber(b.coverage, 3), '', 'share of data with a sample in their own neighbourhood'],
  ]
}

function networkRows({ kid, inception }: Evaluation): Cell[][] {
  return [
    ...(kid
      ? [
          [
            'KID',
            withError(kid.mean, kid.std),
            '',
            `of features, over ${kid.subsets} subsets; 0 for equal distributions`,
          ],
        ]
      : []),
    ...(inception
      ? [
          [
            'inception score',
            withError(inception.mean, inception.std),
            '',
            `over ${inception.splits} parts; high is good`,
          ],
        ]
      : []),
  ]
}

function chainTable(c: NonNullable<Evaluation['chains']>): Html {
  const rows: Cell[][] = [
    ['acceptance', showNumber(c.acceptance, 3)],
    ['divergences', c.divergences],
    ['worst R-hat', showNumber(c.rhat, 4)],
    ['least effective sample size, bulk', showNumber(c.essBulk, 3)],
    ['least effective sample size, tail', showNumber(c.essTail, 3)],
    ['gradients a chain', c.gradients],
    ...(c.stepSize === null ? [] : [['step size', showNumber(c.stepSize, 3)]]),
  ]
  const caption = `${c.chains} chains of ${c.sampler}, ${c.draws} draws each`
  return table({ label: 'Chains', caption, head: ['figure', 'value#'] }, rows)
}

function p(value: number): string {
  return value < 0.001 ? '< 0.001' : value.toFixed(3)
}

function withError(value: number, error: number): string {
  return error > 0 ? `${showNumber(value, 5)} ± ${showNumber(error, 2)}` : showNumber(value, 5)
}
