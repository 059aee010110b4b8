/** HTML as a type: text becomes markup only through the `html` template, which escapes every string put into it. No page layout here. */

/** Markup that is known to be safe. */
export class Html {
  readonly markup: string

  constructor(markup: string) {
    this.markup = markup
  }

  toString(): string {
    return this.markup
  }
}

/** What a template takes: strings and numbers are escaped, markup goes in as it is, lists are joined, `undefined` and `false` are nothing. */
export type HtmlValue = Html | string | number | undefined | false | readonly HtmlValue[]

/** Template tag for markup. Attributes must stand in double quotes. */
export function html(parts: TemplateStringsArray, ...values: readonly HtmlValue[]): Html {
  let out = parts[0] ?? ''
  values.forEach((value, i) => {
    out += render(value) + (parts[i + 1] ?? '')
  })
  return new Html(out)
}

/** Text with the five characters that mean something in HTML, and control characters that it forbids, made harmless. */
export function escapeHtml(text: string): string {
  return text
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replaceAll('"', '&quot;')
    .replaceAll("'", '&#39;')
    .replace(/[^\P{Cc}\t\n\r]/gu, '\u{fffd}')
}

function render(value: HtmlValue): string {
  if (value === undefined || value === false) return ''
  if (value instanceof Html) return value.markup
  if (typeof value === 'string' || typeof value === 'number') return escapeHtml(String(value))
  return value.map(render).join('')
}
