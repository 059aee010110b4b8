/** The evaluation part of the report: calibration, confusion, out-of-distribution figures, energies. */
import { showNumber, showPercent } from './chart-scale.ts'
import { histogramChart, reliabilityChart } from './charts.ts'
import type { Evaluation, OodScore } from './evaluate.ts'
import { type Cell, el, type Html, type HtmlValue, section, table } from './report-html.ts'

const scoreNames: Readonly<Record<string, string>> = {
  log_px: 'log p(x), unnormalised',
  max_py: 'max p(y|x)',
  score_norm: '−‖∇ log p(x)‖',
} satisfies Record<OodScore, string>

/** The classification part; nothing without labels. */
export function classificationSection(e: Evaluation): Html | undefined {
  if (e.reliability === undefined && e.confusion === undefined && e.attacks === undefined) return undefined
  return section(
    'classes',
    'Classification and calibration',
    el(
      'div',
      { class: 'grid' },
      e.reliability && reliabilityChart(e.reliability),
      e.confusion && confusionTable(e.confusion),
    ),
    e.attacks && attackTable(e.attacks),
  )
}

/** Largest class count whose confusion matrix is drawn whole. */
const wholeMatrix = 20

type Confusion = NonNullable<Evaluation['confusion']>

function confusionTable(confusion: Confusion): Html {
  if (confusion.length > wholeMatrix) return frequentConfusions(confusion)
  const rows = confusion.map((row, y): Cell[] => {
    const total = row.reduce((a, b) => a + b, 0)
    const cells = row.map((n, k) => {
      const style = `--v:${((0.55 * n) / Math.max(1, total)).toFixed(3)}`
      return el('td', { class: k === y ? 'hitcell' : undefined, style }, n === 0 ? '·' : n)
    })
    const right = total === 0 ? 'no rows' : showPercent((row[y] ?? 0) / total)
    return [String(y), ...cells, el('td', { class: 'n', style: '--v:0' }, right)]
  })
  return table(
    {
      label: 'Confusion matrix',
      caption: 'Confusion: rows are true classes, columns predictions',
      head: ['true', ...confusion.map((_, k) => `${k}#`), 'right#'],
      kind: 'confusion',
      box: 'chart',
    },
    rows,
  )
}

function frequentConfusions(confusion: Confusion): Html {
  const pairs = confusion
    .flatMap((row, y) => row.map((count, k) => ({ y, k, count })))
    .filter((p) => p.y !== p.k && p.count > 0)
    .sort((a, b) => b.count - a.count)
    .slice(0, 15)
  const caption = `Most frequent confusions among ${confusion.length} classes`
  return table(
    { label: caption, caption, head: ['true#', 'predicted#', 'inputs#'], box: 'chart' },
    pairs.map((p) => [p.y, p.k, p.count]),
  )
}

const attackNote =
  'Lengths are in units of the input ([-1, 1] for images). Robust accuracy is of the worst of all restarts; it is an upper bound, which a stronger attack may lower.'

function attackTable(attacks: NonNullable<Evaluation['attacks']>): HtmlValue {
  const rows = attacks.map((a): Cell[] => {
    const how = `${a.loss === 'margin' ? 'margin' : 'cross entropy'}${a.targeted ? ', targeted' : ''}`
    const defence = a.refine ? `${a.refine.steps} steps of ${a.refine.sampler}, attack ${a.refine.attack}` : 'none'
    return [
      `${a.norm === 'linf' ? 'L∞' : 'L2'} ${showNumber(a.epsilon, 3)}`,
      `${a.steps} × ${showNumber(a.stepSize, 3)}, ${a.restarts} restart${a.restarts === 1 ? '' : 's'}, ${how}`,
      defence,
      a.count,
      meter(a.cleanAccuracy),
      meter(a.robustAccuracy),
    ]
  })
  const head = ['ball', 'attack', 'refinement', 'inputs#', 'clean accuracy ↑#', 'robust accuracy ↑#']
  return [
    table({ label: 'Accuracy under attack', caption: 'Accuracy under attack (PGD)', head }, rows),
    el('p', { class: 'note' }, attackNote),
  ]
}

/** Energies and out-of-distribution figures. */
export function densitySection(e: Evaluation): Html {
  const foreign = Object.keys(e.ood).length > 0
  return section(
    'density',
    'Energies and out-of-distribution detection',
    el('div', { class: 'grid' }, histogramChart('Energies by set', 'energy, nats', e.energies), energyTable(e)),
    foreign
      ? oodTable(e)
      : el('p', {}, 'No foreign set was evaluated, so nothing is known of out-of-distribution detection.'),
  )
}

function energyTable(e: Evaluation): Html {
  return table(
    {
      label: 'Energies in numbers',
      caption: 'Energies in nats (low is likely)',
      head: ['set', 'inputs#', 'mean#', 'SD#', 'least#', 'median#', 'greatest#'],
      box: 'chart',
    },
    Object.entries(e.energies).map(([name, h]) => [
      name,
      h.count,
      ...[h.mean, h.deviation, h.min, h.median, h.max].map((v) => showNumber(v, 3)),
    ]),
  )
}

const oodNote =
  'The test set is the positive class; a higher score means known. AUROC counts ties half, ½ is chance. AUPR is average precision; its ' +
  'chance level is the share of test inputs. FPR at 95% TPR is the share of foreign inputs that pass the highest threshold that lets at ' +
  'least 95% of the test inputs pass.'

function oodTable(e: Evaluation): HtmlValue {
  const rows = Object.entries(e.ood).flatMap(([set, scores]) =>
    Object.entries(scores).map(([score, f]): Cell[] => [
      set,
      scoreNames[score] ?? score,
      meter(f.auroc),
      meter(f.aupr),
      meter(f.fpr95),
      reading(f.auroc),
    ]),
  )
  const caption = 'How well a score tells test inputs from foreign ones'
  const head = ['foreign set', 'score', 'AUROC ↑#', 'AUPR ↑#', 'FPR at 95% TPR ↓#', 'reading']
  return [table({ label: 'Out-of-distribution figures', caption, head }, rows), el('p', { class: 'note' }, oodNote)]
}

/** A number from 0 to 1 with a bar behind it. */
function meter(share: number): Html {
  return el('td', { class: 'n meter', style: `--v:${(100 * share).toFixed(1)}%` }, share.toFixed(3))
}

function reading(auroc: number): Html | string {
  if (auroc < 0.45) return el('span', { class: 'warn' }, '▼ ranks foreign inputs above the known')
  if (auroc < 0.55) return '◆ near chance'
  return auroc < 0.9 ? '▲ separates partly' : '▲ separates well'
}
