/** Runs a command within the test's own process: no build, no new process. Paths are to be absolute. */
import { vi } from 'vitest'
import { type CommandSpec, runCommand } from '../../lib/cli/command.ts'

export interface Outcome {
  /** What it wrote to standard output. */
  readonly out: string
  /** What it ended with, if not well. */
  readonly error: (Error & { readonly code?: string }) | undefined
}

/** Runs `langevin NAME ARGS`, with progress kept quiet. */
export async function runHere(spec: CommandSpec, ...args: string[]): Promise<Outcome> {
  const lines: string[] = []
  const write = (text: unknown): boolean => {
    lines.push(String(text))
    return true
  }
  const out = vi.spyOn(process.stdout, 'write').mockImplementation(write)
  const err = vi.spyOn(process.stderr, 'write').mockImplementation(() => true)
  try {
    await runCommand(spec, args, new AbortController().signal)
    return { out: lines.join(''), error: undefined }
  } catch (error) {
    return { out: lines.join(''), error: error as Error }
  } finally {
    out.mockRestore()
    err.mockRestore()
  }
}
