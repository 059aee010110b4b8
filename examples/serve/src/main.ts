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
  // The signal's own effect ends the process wherever it stands; exit() would wait for threads that are within a run.
  const quit = (signal: NodeJS.Signals): void => {
    process.off('SIGTERM', onSignal)
    process.off('SIGINT', onSignal)
    process.kill(process.pid, signal)
  }
  const onSignal = (signal: NodeJS.Signals): void => {
    if (stopping) {
      quit(signal)
      return
    }
    stopping = true
    app.log.info({ signal, drain: options.drain }, 'stopping: requests under way may finish')
    setTimeout(() => {
      app.log.warn('a run goes on after the drain, and is cut off')
      quit(signal)
    }, options.drain + 1000).unref()
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
