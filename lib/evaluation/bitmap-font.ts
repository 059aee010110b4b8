/**
 * A small font of 5 x 9 dots for labels in PNG pictures, where there is no text engine. Digits, lower case and what numbers need; capitals
 * are drawn as lower case (but M, for millions), and any other character as a box.
 */

/** Rows of a glyph from the top, five bits each as a base-32 digit; rows that are left out are empty. The baseline is below row 7. */
const glyphs: Readonly<Record<string, string>> = {
  ...{ '0': 'ehjlphe', '1': '4c4444e', '2': 'eh1248v', '3': 'v2421he', '4': '26aiv22', '5': 'vgu11he', '6': '68guhhe' },
  ...{ '7': 'v124888', '8': 'ehhehhe', '9': 'ehhf12c', a: '00e1fhf', b: 'ggmphhu', c: '00egghe', d: '11djhhf' },
  ...{ e: '00ehvge', f: '698s888', g: '00fhhhf1e', h: 'ggmphhh', i: '40c444e', j: '2062222ic', k: 'ggikoki' },
  ...{ l: 'c44444e', m: '00qllhh', n: '00mphhh', o: '00ehhhe', p: '00uhhhugg', q: '00fhhhf11', r: '00mpggg' },
  ...{ s: '00fge1u', t: '88s8896', u: '00hhhjd', v: '00hhha4', w: '00hhlla', x: '00ha4ah', y: '00hhhhf1e' },
  ...{ z: '00v248v', M: 'hrllhhh', ' ': '', '-': '000e', '−': '000v', '+': '044v44', '=': '00v0v', _: '000000v' },
  ...{ '.': '00000cc', ',': '00000c48', ':': '0cc0cc', '(': '2488842', ')': '8422248', '%': 'op248j3', '/': '01248g0' },
}

const unknown = 'vhhhhhv'

/** Dots from one character to the next, and from the top of the letters to the baseline. */
export const glyphSize = { advance: 6, ascent: 7 } as const

/** Width of a line of text in dots. */
export function textWidth(text: string): number {
  return Math.max(0, [...text].length * glyphSize.advance - 1)
}

/** Calls `dot` for every dot of a line of text; its origin is the top left corner. */
export function textDots(text: string, dot: (x: number, y: number) => void): void {
  ;[...text].forEach((character, at) => {
    const rows = glyphs[character] ?? glyphs[character.toLowerCase()] ?? unknown
    ;[...rows].forEach((digit, y) => {
      const bits = Number.parseInt(digit, 32)
      for (let x = 0; x < 5; x++) if ((bits >> (4 - x)) & 1) dot(at * glyphSize.advance + x, y)
    })
  })
}
