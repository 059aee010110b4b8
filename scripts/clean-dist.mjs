// Removes dist/, so that a package never carries the output of a source file that is gone. Run by `npm pack`, before it compiles.
import { rmSync } from 'node:fs'

rmSync(new URL('../dist', import.meta.url), { recursive: true, force: true })
