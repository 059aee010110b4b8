/**
 * What a client is told when something goes wrong: one JSON shape, { error: { code, message, value?, expected?, remedy? } }.
 * Errors at start-up (a missing or damaged bundle, a wrong option) are StartError and end the process.
 */

/** Kinds of refusals, each with its usual HTTP status. */
export const statuses = {
  E_JSON: 400,
  E_BODY: 400,
  E_OPTION: 400,
  E_REQUEST: 400,
  E_NOT_FOUND: 404,
  E_METHOD: 405,
  E_ACCEPT: 406,
  E_RECEIVE_TIMEOUT: 408,
  E_TOO_LARGE: 413,
  E_MEDIA_TYPE: 415,
  E_SHAPE: 422,
  E_VALUE: 422,
  E_PNG: 422,
  E_CANCELLED: 499,
  E_INTERNAL: 500,
  E_MODEL: 500,
  E_NO_SAMPLER: 501,
  E_BUSY: 503,
  E_TIMEOUT: 503,
  E_SHUTDOWN: 503,
} as const

export type ServeErrorCode = keyof typeof statuses

/** What was found, what was expected, and what to do about it. */
export interface Refusal {
  /** The thing that is wrong: 'instances[2]', 'the body'. */
  readonly what: string
  readonly value?: unknown
  readonly expected?: string | undefined
  readonly remedy?: string | undefined
  /** Further response headers: Allow, Retry-After. */
  readonly headers?: Readonly<Record<string, string>> | undefined
  /** Another status than the code's usual one. */
  readonly status?: number | undefined
  readonly cause?: unknown
}

/** An answer other than success. */
export class ServeError extends Error {
  readonly code: ServeErrorCode
  readonly statusCode: number
  readonly headers: Readonly<Record<string, string>>
  readonly refusal: Refusal

  constructor(code: ServeErrorCode, refusal: Refusal) {
    super(messageOf(refusal), refusal.cause === undefined ? undefined : { cause: refusal.cause })
    this.name = 'ServeError'
    this.code = code
    this.statusCode = refusal.status ?? statuses[code]
    this.headers = refusal.headers ?? {}
    this.refusal = refusal
  }

  /** The JSON body of the answer. */
  body(): { readonly error: Readonly<Record<string, unknown>> } {
    const { value, expected, remedy } = this.refusal
    const parts = { value: plain(value), expected, remedy }
    const given = Object.fromEntries(Object.entries(parts).filter(([, v]) => v !== undefined))
    return { error: { code: this.code, message: this.message, ...given } }
  }
}

/** A service that cannot start: its message goes to the terminal, without a stack. */
export class StartError extends Error {
  readonly code: 'E_BUNDLE' | 'E_USAGE'

  constructor(code: 'E_BUNDLE' | 'E_USAGE', message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause })
    this.name = 'StartError'
    this.code = code
  }
}

function messageOf({ what, value, expected, remedy }: Refusal): string {
  const found = value === undefined ? what : `${what} is ${show(value)}`
  const wanted = expected === undefined ? '' : `; expected ${expected}`
  return `${found}${wanted}${remedy === undefined ? '' : `. ${remedy}`}`
}

/** A value as text of bounded length. */
export function show(value: unknown): string {
  const text =
    typeof value === 'string'
      ? `'${value}'`
      : Array.isArray(value)
        ? `an array of ${value.length}`
        : typeof value === 'object' && value !== null
          ? 'an object'
          : String(value)
  return text.length > 120 ? `${text.slice(0, 117)}...` : text
}

/** What goes into the JSON of an error: small values as they are, others described. */
function plain(value: unknown): unknown {
  if (value === undefined || value === null || typeof value === 'boolean') return value
  if (typeof value === 'number') return Number.isFinite(value) ? value : String(value)
  return typeof value === 'string' && value.length <= 120 ? value : show(value)
}

/** What any thrown value says. */
export function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
