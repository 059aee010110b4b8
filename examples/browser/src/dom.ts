/** Small helpers over the page's elements. */

/** The element with this id. @throws Error where the page has none of that type: a mistake in index.html */
export function byId<E extends Element>(id: string, type: new () => E): E {
  const found = document.getElementById(id)
  if (found instanceof type) return found
  throw new Error(`index.html has no ${type.name} with the id '${id}'`)
}

export const button = (id: string): HTMLButtonElement => byId(id, HTMLButtonElement)
export const select = (id: string): HTMLSelectElement => byId(id, HTMLSelectElement)
export const canvas = (id: string): HTMLCanvasElement => byId(id, HTMLCanvasElement)
export const html = (id: string): HTMLElement => byId(id, HTMLElement)

/** A slider with its `<output>`; `value()` is the number that `meaning` makes of its position. */
export function slider(id: string, meaning: (position: number) => number, show: (value: number) => string) {
  const input = byId(id, HTMLInputElement)
  const output = html(`${id}-value`)
  const value = (): number => meaning(Number(input.value))
  const update = (): void => {
    output.textContent = show(value())
    input.setAttribute('aria-valuetext', show(value()))
  }
  input.addEventListener('input', update)
  update()
  return {
    value,
    set(position: number): void {
      input.value = String(position)
      update()
    },
  }
}

export function option(value: string, text: string): HTMLOptionElement {
  return new Option(text, value)
}

/** The value of a colour of style.css, as it is in the present light or dark. */
export function colour(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim()
}

/** The canvas's context in CSS pixels, sharp on dense screens; cleared. Undefined while the canvas is not shown. */
export function surface(
  target: HTMLCanvasElement,
): { context: CanvasRenderingContext2D; width: number; height: number } | undefined {
  const { clientWidth: width, clientHeight: height } = target
  const context = target.getContext('2d')
  if (width === 0 || height === 0 || context === null) return undefined
  const density = window.devicePixelRatio || 1
  target.width = Math.round(width * density)
  target.height = Math.round(height * density)
  context.scale(density, density)
  return { context, width, height }
}

/** Calls `draw` when the element's size or the page's colours change. */
export function redrawOn(element: Element, draw: () => void): void {
  new ResizeObserver(draw).observe(element)
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', draw)
}

const stillness = matchMedia('(prefers-reduced-motion: reduce)')

/** Until the next picture is due: the next frame, or most of a second where the user wants little motion. */
export function nextFrame(): Promise<void> {
  return new Promise((resolve) => {
    if (stillness.matches) setTimeout(resolve, 700)
    else requestAnimationFrame(() => resolve())
  })
}

export function pause(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds))
}

/** Whether the user wants little motion. */
export const wantsStillness = (): boolean => stillness.matches

/** Says in the page what went wrong. */
export function showProblem(error: unknown): void {
  const place = html('problem')
  place.textContent = error instanceof Error ? error.message : String(error)
  place.hidden = false
}

/** True where a key that is typed belongs to a field. */
export function typing(target: EventTarget | null): boolean {
  return (
    target instanceof HTMLElement &&
    target.closest('input, select, textarea, [role="grid"], [role="application"]') !== null
  )
}
