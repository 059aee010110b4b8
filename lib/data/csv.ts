/**
 * Delimited text to rows of fields, by RFC 4180: quoted fields may hold delimiters, line ends and doubled quotes; lines end in LF or CRLF.
 * Text only: what the fields mean is the business of table.ts.
 */
import { dataError } from './content.ts'

export interface TextRow {
  readonly fields: readonly string[]
  /** Line that the row starts on, from 1. */
  readonly line: number
}

/** Delimiters that {@link guessDelimiter} tells apart. */
const delimiters = [',', '\t', ';'] as const

/** The delimiter that stands most often in the first line outside of quotes: a comma, a tab or a semicolon. */
export function guessDelimiter(text: string): string {
  const header = (/^\uFEFF?[^\r\n]*/.exec(text)?.[0] ?? '').replace(/"[^"]*"/g, '')
  const count = (d: string): number => header.split(d).length - 1
  return delimiters.reduce((best, d) => (count(d) > count(best) ? d : best))
}

/**
 * Splits the text. Lines without any character are left out; a byte order mark at the start is dropped.
 * @param source for messages
 * @throws LangevinError E_DATA that names the line of a quote that is never closed, or that stands within an unquoted field.
 */
export function parseDelimited(text: string, delimiter: string, source: string): TextRow[] {
  const rows: TextRow[] = []
  let at = text.startsWith('\uFEFF') ? 1 : 0
  let line = 1
  let fields: string[] = []
  let start = line
  while (at < text.length) {
    const quoted = text[at] === '"'
    const end = quoted ? closingQuote(text, at, source, line) + 1 : fieldEnd(text, at, delimiter)
    const raw = text.slice(at, end)
    if (!quoted && raw.includes('"')) {
      throw dataError(
        source,
        `line ${line}: a quote within the unquoted field ${JSON.stringify(raw)}: quote the whole field and double it`,
      )
    }
    const after = text[end]
    if (after !== undefined && after !== delimiter && !isLineEnd(text, end)) {
      throw dataError(
        source,
        `line ${line}: ${JSON.stringify(after)} after a closing quote; expected a delimiter or the end of the line`,
      )
    }
    fields.push(quoted ? raw.slice(1, -1).replaceAll('""', '"') : raw)
    line += quoted ? raw.split('\n').length - 1 : 0
    at = end
    if (after === delimiter) {
      at += 1
      // A delimiter at the very end is followed by one more, empty field.
      if (at < text.length && !isLineEnd(text, at)) continue
      fields.push('')
    }
    if (fields.length > 1 || fields[0] !== '' || quoted) rows.push({ fields, line: start })
    at += text.startsWith('\r\n', at) ? 2 : 1
    line += 1
    start = line
    fields = []
  }
  return rows
}

/** Index of the quote that closes the one at `from`; doubled ones are part of the field. */
function closingQuote(text: string, from: number, source: string, line: number): number {
  for (let at = text.indexOf('"', from + 1); at >= 0; at = text.indexOf('"', at + 2)) {
    if (text[at + 1] !== '"') return at
  }
  throw dataError(source, `line ${line}: the quote that opens a field here is never closed`)
}

function fieldEnd(text: string, from: number, delimiter: string): number {
  let at = from
  while (at < text.length && text[at] !== delimiter && !isLineEnd(text, at)) at++
  return at
}

function isLineEnd(text: string, at: number): boolean {
  return text[at] === '\n' || (text[at] === '\r' && text[at + 1] === '\n')
}
