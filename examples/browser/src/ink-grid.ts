/** The 8x8 picture as the network sees it: shown, and set cell by cell with the keyboard or by clicks (a grid of WAI-ARIA, one tab stop). */
import { FULL, SIDE } from './strokes.ts'

export class InkGrid {
  private readonly cells: HTMLElement[] = []
  private readonly changed: (ink: Uint8Array) => void
  private ink = new Uint8Array(SIDE * SIDE)
  private at = 0

  constructor(host: HTMLElement, changed: (ink: Uint8Array) => void) {
    this.changed = changed
    for (let y = 0; y < SIDE; y++) {
      const row = host.appendChild(document.createElement('div'))
      row.setAttribute('role', 'row')
      for (let x = 0; x < SIDE; x++) {
        const cell = row.appendChild(document.createElement('div'))
        cell.setAttribute('role', 'gridcell')
        cell.tabIndex = this.cells.length === 0 ? 0 : -1
        this.cells.push(cell)
      }
    }
    host.addEventListener('keydown', (event) => this.key(event))
    host.addEventListener('click', (event) => this.click(event))
    this.show(this.ink)
  }

  /** Shows a picture, without telling. */
  show(ink: ArrayLike<number>): void {
    this.ink = Uint8Array.from(ink)
    for (const [i, cell] of this.cells.entries()) {
      const v = this.ink[i] ?? 0
      const grey = Math.round((255 * v) / FULL)
      cell.style.background = `rgb(${grey} ${grey} ${grey})`
      cell.setAttribute('aria-label', `row ${Math.floor(i / SIDE) + 1}, column ${(i % SIDE) + 1}: ink ${v} of ${FULL}`)
    }
  }

  private set(value: number): void {
    const next = Uint8Array.from(this.ink)
    next[this.at] = Math.min(FULL, Math.max(0, value))
    this.show(next)
    this.changed(next)
  }

  private moveTo(at: number): void {
    const cell = this.cells[at]
    if (cell === undefined) return
    for (const c of this.cells) c.tabIndex = -1
    this.at = at
    cell.tabIndex = 0
    cell.focus()
  }

  private click(event: MouseEvent): void {
    const at = this.cells.indexOf(event.target as HTMLElement)
    if (at < 0) return
    this.moveTo(at)
    this.toggle()
  }

  private toggle(): void {
    this.set((this.ink[this.at] ?? 0) > 0 ? 0 : FULL)
  }

  private key(event: KeyboardEvent): void {
    if (event.ctrlKey || event.altKey || event.metaKey || !this.act(event.key)) return
    event.preventDefault()
  }

  /** True where the key means something here. */
  private act(key: string): boolean {
    const [row, column] = [Math.floor(this.at / SIDE), this.at % SIDE]
    const value = this.ink[this.at] ?? 0
    if (key === 'ArrowLeft') this.moveTo(this.at - (column > 0 ? 1 : 0))
    else if (key === 'ArrowRight') this.moveTo(this.at + (column < SIDE - 1 ? 1 : 0))
    else if (key === 'ArrowUp') this.moveTo(this.at - (row > 0 ? SIDE : 0))
    else if (key === 'ArrowDown') this.moveTo(this.at + (row < SIDE - 1 ? SIDE : 0))
    else if (key === 'Home') this.moveTo(row * SIDE)
    else if (key === 'End') this.moveTo(row * SIDE + SIDE - 1)
    else if (key === ' ' || key === 'Enter') this.toggle()
    else if (key === '+') this.set(value + 2)
    else if (key === '-') this.set(value - 2)
    else if (key === 'Delete' || key === 'Backspace') this.set(0)
    else if (/^[0-9]$/.test(key)) this.set(Math.round((Number(key) * FULL) / 9))
    else return false
    return true
  }
}
