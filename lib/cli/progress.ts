/** Progress of long work: a bar on a terminal, a plain line now and then elsewhere, nothing with --json (rows are the progress there). */

export interface Progress {
  update(done: number, total: number, note?: string): void
  /** A line that stays, above the bar. */
  log(text: string): void
  end(): void
}

const WIDTH = 24
const PLAIN_EVERY_MS = 5000

/** Progress on standard error. */
export function makeProgress(title: string, options: { readonly json: boolean }): Progress {
  if (options.json) return { update() {}, log() {}, end() {} }
  return process.stderr.isTTY ? barProgress(title) : plainProgress(title)
}

function barProgress(title: string): Progress {
  const started = performance.now()
  let drawn = 0
  const clear = () => process.stderr.write('\r\x1b[2K')
  return {
    update(done, total, note = '') {
      const now = performance.now()
      if (done < total && now - drawn < 80) return
      drawn = now
      const share = total > 0 ? done / total : 1
      const full = Math.round(share * WIDTH)
      const left = share > 0 ? (((now - started) / 1000) * (1 - share)) / share : 0
      const text = `${title} ${'█'.repeat(full)}${'░'.repeat(WIDTH - full)} ${String(Math.floor(share * 100)).padStart(3)}%  ${showSeconds(left)} left  ${note}`
      clear()
      process.stderr.write(text.slice(0, Math.max(20, (process.stderr.columns ?? 100) - 1)))
    },
    log(text) {
      clear()
      process.stderr.write(`${text}\n`)
    },
    end: clear,
  }
}

function plainProgress(title: string): Progress {
  let last = performance.now()
  return {
    update(done, total, note = '') {
      const now = performance.now()
      if (done < total && now - last < PLAIN_EVERY_MS) return
      last = now
      process.stderr.write(`${title} ${done}/${total}  ${note}\n`)
    },
    log: (text) => void process.stderr.write(`${text}\n`),
    end() {},
  }
}

/** `42 s`, `3 min 05 s`, `1 h 20 min`. */
export function showSeconds(seconds: number): string {
  const s = Math.max(0, Math.round(seconds))
  if (s < 60) return `${s} s`
  if (s < 3600) return `${Math.floor(s / 60)} min ${String(s % 60).padStart(2, '0')} s`
  return `${Math.floor(s / 3600)} h ${String(Math.floor((s % 3600) / 60)).padStart(2, '0')} min`
}
