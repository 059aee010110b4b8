/** `langevin export`: a run as an ONNX file of its model or of its sampler, as a bundle for servers and pages, or as a model repository of Triton. */
import { join } from 'node:path'
import type { Dataset } from '../data/dataset.ts'
import { loadDataset } from '../data/load.ts'
import { type BundleOptions, exportBundle } from '../export/bundle.ts'
import { type Bundle, MODEL_FILE, SAMPLER_FILE } from '../export/manifest.ts'
import { exportRun, exportRunSampler } from '../export/run.ts'
import { exportTriton } from '../export/triton.ts'
import { LangevinError } from '../graph/errors.ts'
import { modelOutputs } from '../nn/outputs.ts'
import type { ExportedModel } from '../onnx/export-model.ts'
import type { Verification } from '../onnx/verify.ts'
import { openRun, type Run } from '../trainers/run.ts'
import { type CommandContext, type CommandSpec, UsageError } from './command.ts'
import { checkFolderOf, folderOf, RUN } from './files.ts'
import { evaluationData } from './finish.ts'
import { dataOf, keptConfig } from './run-data.ts'
import { samplerOf, withLevels } from './sample.ts'

export const exportCommand: CommandSpec = {
  name: 'export',
  positionals: [RUN],
  summary:
    'Exports RUN as ONNX (its model, its sampler, or a folder of both) and checks each file in ONNX Runtime against the run; one that disagrees is not left behind.',
  options: {
    outputs: {
      type: 'string',
      value: 'LIST',
      help: `any of ${modelOutputs.join(',')} (default: all that need nothing but x, features left out); score is ∇x log p(x)`,
    },
    out: { type: 'string', value: 'FILE', help: 'default: model.onnx (or sampler.onnx) in the run folder' },
    opset: { type: 'string', value: 'N', help: '17 to 21 (default 17; 18 for a sampler with a seed)' },
    precision: { type: 'string', value: 'TYPE', help: 'float32 (default) or float16: weights of half the size' },
    sigma: {
      type: 'string',
      value: 'LEVEL',
      help: "noise-conditioned models: the level that the file holds (default: the smallest), or 'input' for a second input sigma [batch]",
    },
    sampler: { type: 'boolean', help: "the run's chain as a model that generates, instead of its model" },
    chain: {
      type: 'string',
      value: 'KIND|JSON',
      help: `with --sampler: another sampler than the run's, e.g. ula or '{"kind":"mala","stepSize":0.1}'`,
    },
    random: {
      type: 'string',
      value: 'HOW',
      help: "with --sampler: an input 'seed' (default), an input 'noise', or the 'runtime's own random numbers",
    },
    start: {
      type: 'string',
      value: 'WHERE',
      help: "with --sampler: 'run' (default: starting points are drawn in the file) or 'input' (they are its input x0)",
    },
    class: { type: 'string', value: 'C|input', help: 'with --sampler: chains of p(x|y), of one class or of input y' },
    trajectory: { type: 'boolean', help: 'with --sampler: also every step of the chains, and its energies' },
    bundle: {
      type: 'string',
      value: 'DIR',
      help: 'a folder with model.onnx, sampler.onnx and langevin.json, which the examples of a server and a page load',
    },
    triton: { type: 'string', value: 'DIR', help: 'a model repository of NVIDIA Triton Inference Server' },
    name: { type: 'string', value: 'NAME', help: 'with --bundle, --triton: name of the model' },
    'max-batch': {
      type: 'string',
      value: 'N',
      help: 'with --triton: rows that may be joined in one call (default 64)',
    },
    data: {
      type: 'string',
      value: 'JSON|FILE',
      help: "with --bundle, --triton: held-out data for the threshold (default: the run's own held-out part)",
    },
    'false-alarms': {
      type: 'string',
      value: 'SHARE',
      help: 'with --bundle, --triton: share of held-out data that the threshold flags (default 0.05)',
    },
    'no-verify': { type: 'boolean', help: 'leave out the check' },
  },
  examples: [
    'langevin export runs/digits --outputs logits,energy,score --out model.onnx',
    'langevin export runs/digits --sampler --class input --out digits-sampler.onnx',
    'langevin export runs/digits --bundle bundles/digits',
    'langevin export runs/digits --triton models',
  ],
  run: exportRunCommand,
}

const ofSampler = ['chain', 'random', 'start', 'class', 'trajectory'] as const
const ofFolder = ['name', 'data', 'false-alarms'] as const
/** What a folder holds is the same for everyone. */
const ofFile = ['out', ...ofSampler] as const

async function exportRunCommand(context: CommandContext): Promise<void> {
  const folders = (['bundle', 'triton'] as const).filter((n) => context.text(n) !== undefined)
  checkUsage(context, folders)
  // All options are read before the run is.
  const act =
    folders.length > 0 ? folderExport(context) : context.flag('sampler') ? samplerExport(context) : modelExport(context)
  const run = await openRun(context.positionals[0] as string, { device: context.device })
  try {
    await act(run)
  } finally {
    await run.model.dispose()
  }
}

/** What is done with the run, once it is open. */
type Act = (run: Run) => Promise<void>

function checkUsage(context: CommandContext, folders: readonly string[]): void {
  const given = (names: readonly string[]) => names.find((n) => context.text(n) !== undefined || context.flag(n))
  const refuse = (name: string | undefined, remedy: string): void => {
    if (name !== undefined) throw new UsageError(`--${name} ${remedy}`)
  }
  if (folders.length > 0) {
    refuse(given([...ofFile, 'sampler']), `is for a file of its own; leave out --${folders.join(' and --')}`)
    if (!folders.includes('triton')) refuse(given(['max-batch']), 'goes with --triton')
    return
  }
  refuse(given([...ofFolder, 'max-batch']), 'goes with --bundle or --triton')
  if (!context.flag('sampler')) refuse(given(ofSampler), 'goes with --sampler')
  else refuse(given(['outputs']), 'is for models; a sampler gives samples and energies')
}

/** What all files take. */
function common(context: CommandContext) {
  const opset = context.integer('opset', 1)
  const precision = context.list('precision', ['float32', 'float16'] as const)?.[0]
  return {
    ...(opset === undefined ? {} : { opset }),
    ...(precision === undefined ? {} : { precision }),
    ...(context.flag('no-verify') ? { verify: false } : {}),
    signal: context.signal,
  }
}

function modelExport(context: CommandContext): Act {
  const outputs = context.list('outputs', modelOutputs)
  const sigma = sigmaOf(context)
  const options = {
    ...common(context),
    ...(outputs ? { outputs } : {}),
    ...(sigma === undefined ? {} : { sigma }),
  }
  return async (run) => {
    const out = await outOf(context, MODEL_FILE)
    report(context, out, await exportRun(run, out, options), {})
  }
}

function samplerExport(context: CommandContext): Act {
  const other = samplerOf(context, 'chain')
  const random = context.list('random', ['seed', 'noise', 'runtime'] as const)?.[0]
  const start = context.list('start', ['run', 'input'] as const)?.[0]
  const wanted = classOf(context)
  const sigma = sigmaOf(context)
  if (sigma === 'input') throw new UsageError("--sigma input is for models; a sampler's file holds one level")
  const options = {
    ...common(context),
    ...(random ? { random } : {}),
    ...(start ? { start } : {}),
    ...(wanted === undefined ? {} : { class: wanted }),
    ...(sigma === undefined ? {} : { sigma }),
    ...(context.flag('trajectory') ? { trajectory: true } : {}),
  }
  return async (run) => {
    const out = await outOf(context, SAMPLER_FILE)
    const sampler = other ? { sampler: withLevels(other, run) } : {}
    const { kind, defaults, notes, ...exported } = await exportRunSampler(run, out, { ...options, ...sampler })
    report(context, out, exported, { kind, defaults, notes })
  }
}

/** The file to write; its folder must be there. */
async function outOf(context: CommandContext, name: string): Promise<string> {
  const out = context.text('out') ?? join(await folderOf(context.positionals[0] as string), name)
  await checkFolderOf(out)
  return out
}

type Exported = Omit<ExportedModel, 'path'>

interface Told {
  readonly kind?: string
  readonly defaults?: Readonly<Record<string, number>>
  readonly notes?: readonly string[]
}

function report(context: CommandContext, out: string, exported: Exported, told: Told): void {
  const { inputs, outputs, opset, precision, bytes, verification } = exported
  const { defaults = {}, notes = [] } = told
  const agreed = verification === undefined ? 'not checked' : 'ONNX Runtime agrees'
  const own = Object.entries(defaults).map(([name, value]) => `${name} ${value}`)
  context.print(
    [
      `${out}: ${outputs.join(', ')} of ${inputs.join(', ')}; opset ${opset}, ${(bytes / 1024).toFixed(0)} KiB; ${agreed}`,
      ...checkLines(verification),
      ...(own.length > 0 ? [`  the run's own settings: ${own.join(', ')}`] : []),
      ...notes.map((n) => `  note: ${n}`),
    ].join('\n'),
    {
      event: 'exported',
      out,
      inputs,
      outputs,
      opset,
      precision,
      bytes,
      checks: verification?.outputs ?? [],
      ...told,
    },
  )
}

/** The difference of each output at each batch, in a line each: the largest, or for gradients in half that of the typical example, whichever counts. */
export function checkLines(verification: Verification | undefined): string[] {
  const checks = verification?.outputs ?? []
  const width = Math.max(0, ...checks.map((c) => c.name.length))
  return checks.map((c) => {
    const [which, difference] = c.typicalRel === undefined ? ['largest', c.maxRel] : ['typical', c.typicalRel]
    const tolerance = Number(c.tolerance.toPrecision(2))
    return `  ${c.name.padEnd(width)}  batch ${String(c.batch).padEnd(2)}  ${which} relative difference ${difference.toExponential(1)} (tolerance ${tolerance})${c.ok ? '' : '  DISAGREES'}`
  })
}

function folderExport(context: CommandContext): Act {
  const sigma = sigmaOf(context)
  if (sigma === 'input') throw new UsageError("--sigma input is for a file of its own; a bundle's model has one level")
  const [target, repository, given] = [context.text('bundle'), context.text('triton'), context.text('name')]
  const maxBatch = context.integer('max-batch', 1)
  const falseAlarms = shareOf(context)
  const outputs = context.list('outputs', modelOutputs)
  const name = given === undefined ? {} : { name: given }
  const fixed: BundleOptions = {
    ...common(context),
    ...name,
    ...(outputs ? { outputs } : {}),
    ...(sigma === undefined ? {} : { sigma }),
    ...(falseAlarms === undefined ? {} : { falseAlarms }),
  }
  return async (run) => {
    const { heldOut, note } = await heldOutOf(context)
    const bundle = { ...fixed, ...(heldOut ? { heldOut } : {}) }
    const notes = note === undefined ? [] : [note]
    if (target !== undefined) reportBundle(context, await exportBundle(run, target, bundle), notes)
    if (repository === undefined) return
    const { models } = await exportTriton(target ?? run, repository, {
      ...name,
      ...(maxBatch === undefined ? {} : { maxBatch }),
      ...(target === undefined ? { bundle } : {}),
    })
    const told = target === undefined ? notes : []
    context.print(
      [
        `${repository}: ${models.join(', ')} for Triton; start it with: tritonserver --model-repository=${repository}`,
        ...told.map((n) => `  note: ${n}`),
      ].join('\n'),
      { event: 'exported', triton: repository, models, notes: told },
    )
  }
}

function reportBundle(context: CommandContext, { path, manifest }: Bundle, more: readonly string[]): void {
  const { model, sampler, outOfDistribution: ood } = manifest
  const notes = [...manifest.notes, ...more]
  const found = Object.entries(ood?.detection ?? {}).map(([set, share]) => `${(100 * share).toFixed(1)}% of ${set}`)
  const lines = [
    `${path}: ${model.file} (${model.outputs.join(', ')})${sampler === null ? '' : `, ${sampler.file} (${sampler.outputs.join(', ')} of ${sampler.inputs.join(', ')})`}, langevin.json`,
    ...(ood === null
      ? []
      : [
          `  out of distribution below log p(x) = ${ood.threshold.toPrecision(4)} + constant: flags ${(100 * ood.falseAlarms).toFixed(1)}% of ${ood.examples} held-out examples${found.length > 0 ? `, ${found.join(', ')}` : ''}`,
        ]),
    ...notes.map((n) => `  note: ${n}`),
  ]
  context.print(lines.join('\n'), { event: 'exported', bundle: path, manifest, notes })
}

/** Data that the run was not trained on, or why there are none. */
async function heldOutOf(context: CommandContext): Promise<{ readonly heldOut?: Dataset; readonly note?: string }> {
  const folder = await folderOf(context.positionals[0] as string)
  const asked = context.text('data') !== undefined
  try {
    const { spec, base } = await dataOf(context, folder, await keptConfig(folder))
    const split = await loadDataset(spec, { base })
    if (asked) return { heldOut: split.test ?? split.train }
    if (split.test !== undefined || spec.kind === 'toy') return { heldOut: await evaluationData(split, spec) }
    return { note: 'the run held out no data, so there is no threshold; give some with --data' }
  } catch (error) {
    if (asked || !(error instanceof LangevinError)) throw error
    return { note: `no threshold, as the run's data are not there (${error.message}); give some with --data` }
  }
}

/** A class, or 'input'. */
function classOf(context: CommandContext): number | 'input' | undefined {
  const text = context.text('class')
  return text === 'input' ? text : context.integer('class')
}

/** A noise level, or 'input'. */
function sigmaOf(context: CommandContext): number | 'input' | undefined {
  const text = context.text('sigma')
  if (text === undefined || text === 'input') return text
  const sigma = Number(text)
  if (!(sigma > 0)) throw new UsageError(`--sigma takes a noise level above 0, or 'input'; got '${text}'`)
  return sigma
}

function shareOf(context: CommandContext): number | undefined {
  const text = context.text('false-alarms')
  if (text === undefined) return undefined
  const share = Number(text)
  if (!(share > 0 && share < 1)) throw new UsageError(`--false-alarms takes a share in (0, 1); got '${text}'`)
  return share
}
