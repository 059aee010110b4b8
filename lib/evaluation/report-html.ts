/**
 * HTML as a type: text becomes markup only through `html` and `el`, which escape every string put into them; and the few shapes of
 * markup that the report repeats. No styling and no content here.
 */

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

/** What goes into markup: strings and numbers are escaped, markup stays as it is, lists are joined, `undefined` and `false` are nothing. */
export type HtmlValue = Html | string | number | undefined | false | readonly HtmlValue[]

/** Template tag for markup. Attributes must stand in double quotes. */
export function html(parts: TemplateStringsArray, ...values: readonly HtmlValue[]): Html {
  let out = parts[0] ?? ''
  values.forEach((value, i) => {
    out += render(value) + (parts[i + 1] ?? '')
  })
  return new Html(out)
}

/** One element with its attributes (`undefined` leaves one out) and children; not for elements without an end tag. */
export function el(
  name: string,
  attributes: Readonly<Record<string, string | number | undefined>>,
  ...children: readonly HtmlValue[]
): Html {
  const inside = Object.entries(attributes).map(([k, v]) => (v === undefined ? '' : ` ${k}="${escapeHtml(String(v))}"`))
  return new Html(`<${name}${inside.join('')}>${render(children)}</${name}>`)
}

/** A part of the page with its heading; `id` is what the navigation points to. */
export function section(id: string, title: string, ...body: readonly HtmlValue[]): Html {
  return html`
<section aria-labelledby="${id}">${el('h2', { id }, title)}${body}</section>`
}

/** A cell of a {@link table}: text or a whole element (td, th) made with {@link el}. */
export type Cell = HtmlValue

/** A table to be scrolled sideways where it is too wide; columns whose name ends in `#` hold numbers. The first cell of a row heads it. */
export function table(
  what: {
    readonly label: string
    readonly caption?: string
    readonly head?: readonly string[]
    readonly kind?: string
    readonly box?: string
  },
  rows: readonly (readonly Cell[])[],
): Html {
  const numeric = (what.head ?? []).map((h) => (h.endsWith('#') ? 'n' : undefined))
  const cell = (value: Cell, i: number): Html => {
    if (value instanceof Html && /^<t[dh][ >]/.test(value.markup)) return value
    return i === 0 ? el('th', { scope: 'row', class: numeric[i] }, value) : el('td', { class: numeric[i] }, value)
  }
  const inner = el(
    'table',
    { class: what.kind },
    what.caption !== undefined && el('caption', {}, what.caption),
    what.head &&
      el(
        'thead',
        {},
        el(
          'tr',
          {},
          what.head.map((h, i) => el('th', { scope: 'col', class: numeric[i] }, h.replace(/#$/, ''))),
        ),
      ),
    el(
      'tbody',
      {},
      rows.map((row) => el('tr', {}, row.map(cell))),
    ),
  )
  const box = what.box === undefined ? 'scroll' : `scroll ${what.box}`
  return el('div', { class: box, tabindex: 0, role: 'region', 'aria-label': what.label }, inner)
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
