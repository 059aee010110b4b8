/** The package's own version, read from its package.json. */
import { readFileSync } from 'node:fs'

let version: string | undefined

/** Version of the running package, e.g. '0.1.0'. */
export function packageVersion(): string {
  version ??= (JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as { version: string })
    .version
  return version
}
