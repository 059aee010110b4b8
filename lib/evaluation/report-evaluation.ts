/** The evaluation part of the report: calibration, confusion, out-of-distribution figures, energies, distances of samples. */

import { showNumber, showPercent } from './chart-scale.ts'
import { histogramChart, reliabilityChart } from './charts.ts'
import type { Evaluation, OodScore } from './evaluate.ts'
import { type Html, html } from './report-html.ts'

const scoreNames: Readonly<Record<OodScore, string>> = {
  log_px: 'log p(x), unnormalised',
  max_py: 'max p(y|x)',
  score_norm: '−‖∇ log p(x)‖',
}

/** The classification part; nothing without labels. */
export function classificationSection(e: Evaluation): Html | undefined {
  if (e.reliability === undefined && e.confusion === undefined) return undefined
  return html`<section aria-labelledby="classes"><h2 id="classes">Classification and calibration</h2><div class="grid">${e.reliability && reliabilityChart(e.reliability)}${e.confusion && confusionTable(e.confusion)}</div></section>`
}

/** Largest class count whose confusion matrix is drawn whole. */
const wholeMatrix = 20

function confusionTable(confusion: Evaluation['confusion'] & object): Html {
  if (confusion.length > wholeMatrix) return frequentConfusions(confusion)
  const totals = confusion.map((row) =>
    Math.max(
      1,
      row.reduce((a, b) => a + b, 0),
    ),
  )
  return html`<div class="scroll chart" tabindex="0" role="region" aria-label="Confusion matrix"><table class="confusion"><caption>Confusion: rows are true classes, columns predictions</caption><thead><tr><th scope="col">true</th>${confusion.map((_, k) => html`<th scope="col" class="n">${k}</th>`)}<th scope="col" class="n">right</th></tr></thead><tbody>${confusion.map(
    (row, y) =>
      html`<tr><th scope="row">${y}</th>${row.map(
        (n, k) =>
          html`<td${y === k && html` class="hitcell"`} style="--v:${((0.55 * n) / (totals[y] ?? 1)).toFixed(3)}">${n === 0 ? '·' : n}</td>`,
      )}<td class="n" style="--v:0">${row.some((n) => n > 0) ? showPercent((row[y] ?? 0) / (totals[y] ?? 1)) : 'no rows'}</td></tr>`,
  )}</tbody></table></div>`
}

function frequentConfusions(confusion: Evaluation['confusion'] & object): Html {
  const pairs = confusion
    .flatMap((row, y) => row.map((count, k) => ({ y, k, count })))
    .filter((p) => p.y !== p.k && p.count > 0)
    .sort((a, b) => b.count - a.count)
    .slice(0, 15)
  return html`<div class="chart"><table><caption>Most frequent confusions among ${confusion.length} classes</caption><thead><tr><th scope="col" class="n">true</th><th scope="col" class="n">predicted</th><th scope="col" class="n">inputs</th></tr></thead><tbody>${pairs.map(
    (p) => html`<tr><td class="n">${p.y}</td><td class="n">${p.k}</td><td class="n">${p.count}</td></tr>`,
  )}</tbody></table></div>`
}

/** Energies and out-of-distribution figures. */
export function densitySection(e: Evaluation): Html {
  const sets = Object.keys(e.ood)
  return html`<section aria-labelledby="density"><h2 id="density">Energies and out-of-distribution detection</h2><div class="grid">${histogramChart('Energies by set', 'energy, nats', e.energies)}${energyTable(e)}</div>${
    sets.length > 0
      ? oodTable(e)
      : html`<p>No foreign set was evaluated, so nothing is known of out-of-distribution detection.</p>`
  }</section>`
}

function energyTable(e: Evaluation): Html {
  return html`<div class="scroll chart" tabindex="0" role="region" aria-label="Energies in numbers"><table><caption>Energies in nats (low is likely)</caption><thead><tr><th scope="col">set</th>${['inputs', 'mean', 'SD', 'least', 'median', 'greatest'].map((n) => html`<th scope="col" class="n">${n}</th>`)}</tr></thead><tbody>${Object.entries(
    e.energies,
  ).map(
    ([name, h]) =>
      html`<tr><th scope="row">${name}</th><td class="n">${h.count}</td>${[h.mean, h.deviation, h.min, h.median, h.max].map((v) => html`<td class="n">${showNumber(v, 3)}</td>`)}</tr>`,
  )}</tbody></table></div>`
}

function oodTable(e: Evaluation): Html {
  const rows = Object.entries(e.ood).flatMap(([set, scores]) =>
    Object.entries(scores).map(([score, f]) => ({ set, score, f })),
  )
  return html`<div class="scroll" tabindex="0" role="region" aria-label="Out-of-distribution figures"><table><caption>How well a score tells test inputs from foreign ones</caption><thead><tr><th scope="col">foreign set</th><th scope="col">score</th><th scope="col" class="n">AUROC ↑</th><th scope="col" class="n">AUPR ↑</th><th scope="col" class="n">FPR at 95% TPR ↓</th><th scope="col">reading</th></tr></thead><tbody>${rows.map(
    ({ set, score, f }) =>
      html`<tr><th scope="row">${set}</th><td>${scoreNames[score as OodScore] ?? score}</td><td class="n meter" style="--v:${(100 * f.auroc).toFixed(1)}%">${f.auroc.toFixed(3)}</td><td class="n meter" style="--v:${(100 * f.aupr).toFixed(1)}%">${f.aupr.toFixed(3)}</td><td class="n meter" style="--v:${(100 * f.fpr95).toFixed(1)}%">${f.fpr95.toFixed(3)}</td><td>${reading(f.auroc)}</td></tr>`,
  )}</tbody></table></div><p class="note">The test set is the positive class; a higher score means known. AUROC counts ties half, ½ is chance. AUPR is average precision; its chance level is the share of test inputs. FPR at 95% TPR is the share of foreign inputs that pass the highest threshold that lets at least 95% of the test inputs pass.</p>`
}

function reading(auroc: number): Html | string {
  if (auroc < 0.45) return html`<span class="warn">▼ ranks foreign inputs above the known</span>`
  if (auroc < 0.55) return '◆ near chance'
  return auroc < 0.9 ? '▲ separates partly' : '▲ separates well'
}
