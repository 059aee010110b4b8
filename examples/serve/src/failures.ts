/** Whatever goes wrong within HTTP, in the one shape of errors.ts: Fastify's own errors, and connections that break rules or dawdle. */
import type { Socket } from 'node:net'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { reasonOf, ServeError } from './errors.ts'
import { MEDIA } from './rows.ts'

/** The refusal that an error means to the client. What is none of the client's business becomes E_INTERNAL with the error as its cause. */
export function refusalOf(error: unknown, request: FastifyRequest): ServeError {
  if (error instanceof ServeError) return error
  const { code = '', statusCode = 500 } = error as { readonly code?: string; readonly statusCode?: number }
  switch (code) {
    case 'FST_ERR_CTP_BODY_TOO_LARGE':
      return new ServeError('E_TOO_LARGE', {
        what: 'the body in bytes',
        value: Number(request.headers['content-length'] ?? Number.NaN) || 'more than is taken',
        expected: `at most ${request.routeOptions.bodyLimit}`,
        remedy: 'Send fewer examples at once, or application/octet-stream',
      })
    case 'FST_ERR_CTP_INVALID_MEDIA_TYPE':
      return new ServeError('E_MEDIA_TYPE', {
        what: 'the content type',
        value: request.headers['content-type'] ?? 'none',
        expected: request.routeOptions.url === '/classify' ? `one of ${MEDIA.join(', ')}` : 'application/json',
      })
    case 'FST_ERR_CTP_EMPTY_JSON_BODY':
      return new ServeError('E_BODY', { what: 'the body is empty', expected: 'JSON' })
    case 'FST_ERR_CTP_INVALID_CONTENT_LENGTH':
      return new ServeError('E_BODY', { what: 'the body is not as long as its content-length says' })
  }
  if (code === 'FST_ERR_CTP_INVALID_JSON_BODY' || (error instanceof SyntaxError && statusCode === 400))
    return new ServeError('E_JSON', {
      what: 'the body is not valid JSON',
      remedy: 'Check its quotes, commas and brackets',
    })
  if (statusCode < 500) return new ServeError('E_REQUEST', { what: reasonOf(error), status: statusCode })
  return new ServeError('E_INTERNAL', { what: 'the service failed', remedy: 'Its log tells more', cause: error })
}

/**
 * Aborts when an answer is overdue, with the refusal that says so, or when nobody waits for it any more. (Fastify's own request.signal
 * follows the request, which is over when its body has been read.)
 */
export function deadline(reply: FastifyReply, milliseconds: number): AbortSignal {
  const controller = new AbortController()
  const overdue = () =>
    new ServeError('E_TIMEOUT', {
      what: `no answer within ${milliseconds} ms`,
      remedy: 'Try again later, or with less',
      headers: { 'retry-after': '1' },
    })
  const timer = setTimeout(() => controller.abort(overdue()), milliseconds)
  reply.raw.once('close', () => {
    clearTimeout(timer)
    controller.abort(new ServeError('E_CANCELLED', { what: 'the client has gone' }))
  })
  return controller.signal
}

/** Answers on the bare connection: what arrived was no HTTP, or did not arrive in time. */
export function clientError(error: Error & { readonly code?: string }, socket: Socket): void {
  if (error.code === 'ECONNRESET' || !socket.writable) {
    socket.destroy()
    return
  }
  const refusal =
    error.code === 'ERR_HTTP_REQUEST_TIMEOUT'
      ? new ServeError('E_RECEIVE_TIMEOUT', {
          what: 'the request did not arrive in time',
          remedy: 'Send it whole, or on a faster line',
        })
      : error.code === 'HPE_HEADER_OVERFLOW'
        ? new ServeError('E_TOO_LARGE', { what: 'the header is too large', status: 431 })
        : new ServeError('E_REQUEST', { what: `this is no HTTP request (${error.code ?? error.message})` })
  const body = JSON.stringify(refusal.body())
  const head = [
    `HTTP/1.1 ${refusal.statusCode} ${refusal.code}`,
    'content-type: application/json; charset=utf-8',
    `content-length: ${Buffer.byteLength(body)}`,
    'connection: close',
  ]
  socket.end(`${head.join('\r\n')}\r\n\r\n${body}`)
}
