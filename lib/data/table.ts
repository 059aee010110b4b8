/**
 * Tables: delimited text with a header, numeric columns chosen by name, an optional column of class names. Every cell is read strictly; a
 * missing or odd value is an error that names row and column, never a zero. Standardising is standardize.ts's part.
 */
import { suggestion } from '../graph/errors.ts'
import { hostTensor } from '../graph/host-tensor.ts'
import { dataError, readContent } from './content.ts'
import { guessDelimiter, parseDelimited, type TextRow } from './csv.ts'
import { Dataset } from './dataset.ts'

export interface TableOptions {
  /** Numeric columns, in this order. Default: all but the label, in the header's order. */
  readonly columns?: readonly string[] | undefined
  /** Column of the classes; its texts are their names. Default none. */
  readonly label?: string | undefined
  /** Order of the classes; other names are refused. Default: those that occur, numbers by value and then texts by code point. */
  readonly classNames?: readonly string[] | undefined
  /** One character. Default: comma, tab or semicolon, by the header. */
  readonly delimiter?: string | undefined
  /** Default: the path. */
  readonly name?: string | undefined
}

/**
 * Reads a table: a path (gzip is unpacked), or the text itself. Features float32 [n, d], range null, `columns` their names.
 * @example const wine = await table('wine.csv', { label: 'cultivar' })
 * @throws LangevinError E_IO for a file that cannot be read; E_DATA that names line, row and column for what does not fit.
 */
export async function table(source: string | { readonly text: string }, options: TableOptions = {}): Promise<Dataset> {
  if (typeof source !== 'string') return parseTable(source.text, 'text', options)
  return parseTable(new TextDecoder().decode(await readContent(source)), source, options)
}

function parseTable(text: string, source: string, options: TableOptions): Dataset {
  const { delimiter = guessDelimiter(text), name = source } = options
  if (delimiter.length !== 1 || delimiter === '"' || delimiter === '\n')
    throw new RangeError(`table: delimiter must be one character, not a quote; got ${JSON.stringify(delimiter)}`)
  const [first, ...rows] = parseDelimited(text, delimiter, source)
  if (first === undefined || rows.length === 0) {
    throw dataError(source, 'expected a header and at least one row below it')
  }
  const header = headerOf(first, source)
  for (const [i, row] of rows.entries()) {
    if (row.fields.length === header.length) continue
    throw dataError(
      source,
      `row ${i} (line ${row.line}) has ${row.fields.length} fields; the header has ${header.length}. Is the delimiter ${JSON.stringify(delimiter)}?`,
    )
  }
  const columns = options.columns ?? header.filter((column) => column !== options.label)
  if (columns.length === 0)
    throw dataError(source, 'no numeric column is left beside the label; name some in `columns`')
  const repeated = columns.find((column, i) => columns.indexOf(column) < i || column === options.label)
  if (repeated !== undefined) {
    throw dataError(source, `column '${repeated}' is named twice; a column is one feature, or the label`)
  }
  const features = numbersOf(rows, header, columns, source)
  return new Dataset({ name, features, columns, range: null, ...classesOf(rows, header, options, source) })
}

function headerOf(row: TextRow, source: string): string[] {
  const header = row.fields.map((field) => field.trim())
  if (header.every((column) => number.test(column))) {
    throw dataError(source, `line ${row.line} must name the columns; it holds only numbers: put a header above it`)
  }
  header.forEach((column, i) => {
    if (column === '') throw dataError(source, `column ${i} of the header has no name`)
    if (header.indexOf(column) < i) throw dataError(source, `the header names column '${column}' twice`)
  })
  return header
}

function indexOf(column: string, header: readonly string[], source: string): number {
  const at = header.indexOf(column)
  if (at < 0) throw dataError(source, `there is no column '${column}'.${suggestion(column, header)}`)
  return at
}

const number = /^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$/
/** Spellings of nothing, in lower case. */
const missing: ReadonlySet<string> = new Set(['', '?', 'na', 'n/a', 'nan', 'null', 'none', '-'])

function numbersOf(rows: readonly TextRow[], header: readonly string[], columns: readonly string[], source: string) {
  const at = columns.map((column) => indexOf(column, header, source))
  const out = new Float32Array(rows.length * at.length)
  for (const [i, row] of rows.entries()) {
    for (const [j, from] of at.entries()) {
      const cell = (row.fields[from] as string).trim()
      const x = number.test(cell) ? Math.fround(Number(cell)) : Number.NaN
      if (!Number.isFinite(x)) throw cellError(source, i, row.line, columns[j] as string, cell)
      out[i * at.length + j] = x
    }
  }
  return hostTensor(out, [rows.length, at.length])
}

function cellError(source: string, row: number, line: number, column: string, cell: string): Error {
  const where = `row ${row} (line ${line}), column '${column}'`
  if (missing.has(cell.toLowerCase())) {
    const shown = cell === '' ? '' : ` (${JSON.stringify(cell)})`
    return dataError(
      source,
      `${where}: the value is missing${shown}. Fill it in, leave the row out, or choose other \`columns\``,
    )
  }
  if (number.test(cell)) return dataError(source, `${where}: ${cell} does not fit float32`)
  return dataError(
    source,
    `${where}: expected a number; got ${JSON.stringify(cell)}. Choose the numeric columns in \`columns\`, or name this one as \`label\``,
  )
}

function classesOf(rows: readonly TextRow[], header: readonly string[], options: TableOptions, source: string) {
  if (options.label === undefined) {
    if (options.classNames !== undefined) throw dataError(source, 'classNames are given, but no column as `label`')
    return {}
  }
  const { label } = options
  const at = indexOf(label, header, source)
  const names = rows.map((row) => (row.fields[at] as string).trim())
  const empty = names.findIndex((name) => missing.has(name.toLowerCase()))
  if (empty >= 0) throw cellError(source, empty, (rows[empty] as TextRow).line, label, names[empty] as string)
  const classNames = options.classNames ?? [...new Set(names)].sort(byValue)
  const index = new Map(classNames.map((name, i) => [name, i]))
  const labels = Int32Array.from(names, (name, i) => {
    const known = index.get(name)
    if (known !== undefined) return known
    throw dataError(
      source,
      `row ${i} (line ${rows[i]?.line}), column '${label}': class '${name}' is not known.${suggestion(name, classNames)}`,
    )
  })
  return { labels, classNames }
}

/** Numbers first, by value; then texts by code point, the same on every machine. */
function byValue(a: string, b: string): number {
  const [x, y] = [number.test(a), number.test(b)]
  if (x && y && Number(a) !== Number(b)) return Number(a) - Number(b)
  if (x !== y) return x ? -1 : 1
  return a < b ? -1 : a > b ? 1 : 0
}
