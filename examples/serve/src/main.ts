#!/usr/bin/env node
/** The command: reads its arguments, serves a bundle, and stops in order at SIGTERM and SIGINT. Exit codes: 0 stopped, 1 cannot start, 2 usage. */
import { createService } from './app.ts'
import { StartError } from './errors.ts'
import { helpText, readArguments } from './options.ts'

async function main(args: readonly string[]): Promise<void> {
  const asked = readArguments(args)
  if (asked === 'help') {
    process.stdout.write(helpText())
    return
  }
  const { app, bundle, options, sampling, stop } = await createService(asked.bundle, asked.options)
  let stopping = false
  const onSignal = (signal: NodeJS.Signals): void => {
    // A second signal ends the process where it stands.
    if (stopping) process.exit(1)
    stopping = true
    app.log.info({ signal, drain: options.drain }, 'stopping: requests under way may finish')
    stop().then(
      () => app.log.info('stopped'),
      (error) => {
        app.log.error(error)
        process.exitCode = 1
      },
    )
  }
  process.on('SIGTERM', onSignal)
  process.on('SIGINT', onSignal)
  const url = await app.listen({ host: options.host, port: options.port })
  app.log.info({ url, name: bundle.name, sample: sampling !== undefined, threads: options.threads }, 'ready')
}

main(process.argv.slice(2)).catch((error: unknown) => {
  const known = error instanceof StartError || (error as NodeJS.ErrnoException).syscall === 'listen'
  process.stderr.write(`langevin-serve: ${known ? (error as Error).message : (error as Error).stack}\n`)
  process.exit(error instanceof StartError && error.code === 'E_USAGE' ? 2 : 1)
})
