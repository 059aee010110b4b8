/** `langevin verify`: an exported file, or a bundle, held against the run it came from. */
import { stat } from 'node:fs/promises'
import { readBundle } from '../export/manifest.ts'
import { verifyRun } from '../export/run.ts'
import { LangevinError } from '../graph/errors.ts'
import { openRun } from '../trainers/run.ts'
import { type CommandContext, type CommandSpec, UsageError } from './command.ts'
import { checkLines } from './export.ts'
import { RUN } from './files.ts'

export const verifyCommand: CommandSpec = {
  name: 'verify',
  positionals: ['MODEL.onnx', RUN],
  summary:
    'Runs an exported file (or both of a bundle) in ONNX Runtime and RUN natively on fresh inputs and shows the largest differences; exit code 1 where they disagree.',
  options: {
    batches: { type: 'string', value: 'LIST', help: 'batch sizes to run (default 1,7)' },
  },
  examples: ['langevin verify model.onnx runs/digits', 'langevin verify bundles/digits runs/digits --batches 1,32'],
  run: verify,
}

async function verify(context: CommandContext): Promise<void> {
  const [path, runPath] = context.positionals as [string, string]
  const batches = batchesOf(context)
  const seed = context.integer('seed')
  const files = await filesOf(path)
  const run = await openRun(runPath, { device: context.device })
  const wrong: string[] = []
  try {
    for (const file of files) {
      const verification = await verifyRun(file, run, {
        ...(batches ? { batches } : {}),
        ...(seed === undefined ? {} : { seed }),
        signal: context.signal,
      })
      const { ok, outputs: checks } = verification
      if (!ok) wrong.push(file)
      context.print([`${file}: ${ok ? 'agrees' : 'DISAGREES'}`, ...checkLines(verification)].join('\n'), {
        event: 'verified',
        file,
        ok,
        checks,
      })
    }
  } finally {
    await run.model.dispose()
  }
  if (wrong.length > 0)
    throw new LangevinError(
      'E_ONNX',
      `${wrong.join(', ')} ${wrong.length === 1 ? 'does' : 'do'} not compute what '${runPath}' does; export again, or name the run that the file is of`,
      { files: wrong },
    )
}

/** The file, or those of a bundle's folder. */
async function filesOf(path: string): Promise<string[]> {
  const info = await stat(path).catch(() => undefined)
  if (!info?.isDirectory()) return [path]
  const { model, sampler } = await readBundle(path)
  return sampler === undefined ? [model] : [model, sampler]
}

function batchesOf(context: CommandContext): number[] | undefined {
  const words = context.list('batches')
  return words?.map((w) => {
    const n = Number(w)
    if (!Number.isInteger(n) || n < 1)
      throw new UsageError(`--batches takes batch sizes, integers ≥ 1, separated by commas; got '${w}'`)
    return n
  })
}
