/** The three tabs (WAI-ARIA: arrows move between them, one is a tab stop); the address keeps which one is open. */

export function setUpTabs(opened: (panel: string) => void): void {
  const tabs = [...document.querySelectorAll<HTMLButtonElement>('[role="tab"]')]
  const open = (tab: HTMLButtonElement): void => {
    for (const t of tabs) {
      const chosen = t === tab
      t.setAttribute('aria-selected', String(chosen))
      t.tabIndex = chosen ? 0 : -1
      const panel = document.getElementById(panelOf(t))
      if (panel !== null) panel.hidden = !chosen
    }
    history.replaceState(null, '', `#${panelOf(tab)}`)
    opened(panelOf(tab))
  }
  for (const [i, tab] of tabs.entries()) {
    tab.addEventListener('click', () => open(tab))
    tab.addEventListener('keydown', (event) => {
      const to = { ArrowLeft: i - 1, ArrowRight: i + 1, Home: 0, End: tabs.length - 1 }[event.key]
      const next = to === undefined ? undefined : tabs[(to + tabs.length) % tabs.length]
      if (next === undefined) return
      event.preventDefault()
      next.focus()
      open(next)
    })
  }
  const wanted = tabs.find((t) => `#${panelOf(t)}` === location.hash) ?? tabs[0]
  if (wanted !== undefined) open(wanted)
}

function panelOf(tab: HTMLElement): string {
  return tab.getAttribute('aria-controls') ?? ''
}
