/**
 * What an exported file tells of the run it came from, as entries of metadata_props: the method, what x is and how raw values become it, class names,
 * settings and figures. The network and the export's own settings are added where the file is written (lib/onnx).
 */
import { readFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { Evaluation } from '../evaluation/evaluate.ts'
import type { Run } from '../trainers/run.ts'
import { EVALUATION_FILE } from '../trainers/run-folder.ts'

/** Entries of metadata_props: text, or JSON. */
export async function runMetadata(run: Run): Promise<Record<string, string>> {
  const { data, options, method } = run.description
  const metrics = await runMetrics(run)
  return {
    'langevin.method': method,
    'langevin.input': inputOf(run),
    'langevin.normalisation': JSON.stringify({
      range: data.range,
      ...(data.transform ? { transform: data.transform } : {}),
    }),
    ...(data.columns === undefined ? {} : { 'langevin.columns': JSON.stringify(data.columns) }),
    'langevin.classes': JSON.stringify(data.classNames),
    'langevin.trainer': JSON.stringify(options),
    ...(Object.keys(metrics).length === 0 ? {} : { 'langevin.evaluation': JSON.stringify(metrics) }),
  }
}

/** Class names that the model tells apart; none for an energy alone. */
export function classesOf({ model, description }: Run): readonly string[] {
  return model.network.classes > 0 ? description.data.classNames : []
}

/** The figures of evaluation.json beside the checkpoint that a user of the model asks for; none where it was not evaluated. */
export async function runMetrics(run: Run): Promise<Record<string, number>> {
  const text = await readFile(join(dirname(run.path), EVALUATION_FILE), 'utf8').catch(() => undefined)
  if (text === undefined) return {}
  let evaluation: Partial<Evaluation>
  try {
    evaluation = JSON.parse(text) as Partial<Evaluation>
  } catch {
    // A damaged report is no reason to leave the model where it is.
    return {}
  }
  const { accuracy, nll, ece, brier, likelihood, ood = {} } = evaluation
  const known = { accuracy, nll, ece, brier, logZ: likelihood?.logZ, logLikelihood: likelihood?.mean }
  const detection = Object.entries(ood).map(([set, scores]) => [`auroc.${set}`, scores.log_px?.auroc] as const)
  return Object.fromEntries(
    [...Object.entries(known), ...detection].filter((e): e is [string, number] => Number.isFinite(e[1])),
  )
}

/** What `x` is, in a few words. */
function inputOf({ model, description }: Run): string {
  const { discrete } = model.network
  const { range, transform } = description.data
  if (discrete === 'oneHot') return 'float32, one-hot along the last axis'
  if (discrete !== undefined) return `float32, ${discrete.join(' or ')}`
  if (range !== null) return 'float32 in [-1, 1], the ends of the range'
  return transform === undefined
    ? "float32 in the data's own units"
    : 'float32, standardised columns: (value - mean) / std'
}
