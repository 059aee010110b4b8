/** What the command lines of the measuring scripts have in common: options that take text, --help, and complaints that end the process with 2. */
import { parseArgs } from 'node:util'

export function fail(message) {
  process.stderr.write(`error: ${message}\n`)
  process.exit(2)
}

/** Values of the named options; `number(name, fallback, whole)` and `list(name, all)` read one. Prints `help` and ends where it is asked for. */
export function readOptions(names, help) {
  const options = { ...Object.fromEntries(names.map((n) => [n, { type: 'string' }])), help: { type: 'boolean' } }
  let values
  try {
    values = parseArgs({ options }).values
  } catch (error) {
    fail(`${error.message}\n\n${help}`)
  }
  if (values.help) {
    process.stdout.write(`${help}\n`)
    process.exit(0)
  }
  const number = (name, fallback, whole) => {
    const v = Number(values[name] ?? fallback)
    if (!(v > 0 && Number.isFinite(v)) || (whole && !Number.isInteger(v)))
      fail(`--${name} takes a positive ${whole ? 'integer' : 'number'}; got '${values[name]}'`)
    return v
  }
  const list = (name, all) => {
    const words = values[name]?.split(',').map((w) => w.trim()) ?? all
    for (const w of words) if (!all.includes(w)) fail(`--${name}: '${w}' is not known. Known: ${all.join(', ')}`)
    return all.filter((w) => words.includes(w))
  }
  return { values, number, list }
}
