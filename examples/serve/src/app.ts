/** The HTTP side: routes, content types, and what a refusal looks like. Models stand in classify.ts and sample.ts. */
import { createRequire } from 'node:module'
import fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest, LogController } from 'fastify'
import { type Bundle, readBundle } from './bundle.ts'
import { Fields } from './check.ts'
import { Classifier, checkTop } from './classify.ts'
import { ServeError } from './errors.ts'
import { clientError, deadline, refusalOf } from './failures.ts'
import { ServeMetrics } from './metrics.ts'
import { type ServeOptions, withDefaults } from './options.ts'
import { type PictureSize, writeGrid } from './picture.ts'
import { MEDIA, type RowsFormat, rowsOfBytes, rowsOfJson, rowsOfPng } from './rows.ts'
import { Sampling } from './sample.ts'
import { nested } from './units.ts'

/** A service that is ready to listen. */
export interface Service {
  readonly app: FastifyInstance
  readonly bundle: Bundle
  readonly options: ServeOptions
  readonly metrics: ServeMetrics
  readonly classifier: Classifier
  readonly sampling: Sampling | undefined
  /** Stops taking requests, lets those under way finish (at most `drain` milliseconds), and ends the models' threads. */
  readonly stop: () => Promise<void>
}

const routes: Readonly<Record<string, readonly string[]>> = {
  '/classify': ['POST'],
  '/sample': ['POST'],
  '/health': ['GET', 'HEAD'],
  '/metrics': ['GET', 'HEAD'],
  '/model': ['GET', 'HEAD'],
}

/**
 * Opens the bundle in `folder` and makes its HTTP service; it does not listen yet.
 * @throws StartError E_BUNDLE for a bundle that is missing or damaged, E_USAGE for an option beyond its limits.
 */
export async function createService(folder: string, given: Partial<ServeOptions> = {}): Promise<Service> {
  const options = withDefaults(given)
  const bundle = await readBundle(folder)
  const metrics = new ServeMetrics()
  const classifier = await Classifier.open(bundle, options, metrics)
  let sampling: Sampling | undefined
  try {
    if (bundle.sampler && options.sampler) sampling = await Sampling.open(bundle, bundle.sampler, options, metrics)
    const state = { draining: false }
    const app = newApp(options, metrics, state)
    app.addHook('onClose', async () => {
      await Promise.all([classifier.engine.close(), sampling?.engine.close()])
    })
    const parts = { app, bundle, options, metrics, classifier, sampling }
    const service = { ...parts, stop: () => stop(app, options, state) }
    addClassify(service)
    addSample(service)
    addStatus(service, state)
    await app.ready()
    return service
  } catch (error) {
    await Promise.all([classifier.engine.close(), sampling?.engine.close()])
    throw error
  }
}

function newApp(options: ServeOptions, metrics: ServeMetrics, state: { readonly draining: boolean }): FastifyInstance {
  const { timeout } = options
  const app = fastify({
    logger: { level: options.log },
    logController: new LogController({ disableRequestLogging: !options.logRequests }),
    bodyLimit: options.bodyLimit,
    return503OnClosing: false,
    forceCloseConnections: 'idle',
    requestTimeout: timeout,
    http: { headersTimeout: timeout, requestTimeout: timeout, connectionsCheckingInterval: Math.min(1000, timeout) },
    clientErrorHandler: clientError,
    frameworkErrors: (error, request, reply) => refuse(error, request as FastifyRequest, reply as FastifyReply),
  })
  app.removeContentTypeParser('text/plain')
  app.setErrorHandler(refuse)
  app.setNotFoundHandler((request) => {
    throw unknownRoute(request)
  })
  app.addHook('onRequest', async (request) => {
    if (request.is404) throw unknownRoute(request)
    if (state.draining && request.method === 'POST')
      throw new ServeError('E_SHUTDOWN', {
        what: 'the service is stopping',
        remedy: 'Ask another one, or try again soon',
        headers: { 'retry-after': '5' },
      })
  })
  app.addHook('onSend', async (_, reply) => {
    // Else a client keeps its connection, and the service waits for it.
    if (state.draining) reply.header('connection', 'close')
  })
  app.addHook('onResponse', async (request, reply) => {
    metrics.request(request.routeOptions.url ?? 'other', reply.statusCode, reply.elapsedTime / 1000)
  })
  return app
}

function addClassify({ app, bundle, classifier, options }: Service): void {
  const format: RowsFormat = {
    shape: bundle.input.shape,
    most: Math.min(options.maxRows, options.queue),
    range: bundle.input.range,
  }
  app.register(async (scope) => {
    scope.addContentTypeParser(
      ['application/octet-stream', 'image/png'],
      { parseAs: 'buffer' },
      async (_: unknown, body: Buffer) => body,
    )
    scope.post('/classify', async (request, reply) => {
      const query = new Fields(request.query, 'query', (refusal) => new ServeError('E_OPTION', refusal), true)
      const top = query.integer('top', { least: 1 })
      const logits = query.flag('logits') ?? false
      const dtype = query.choice('dtype', ['float32', 'uint8'])
      query.done()
      checkTop(top, bundle.classes)
      const rows = rowsOf(request, dtype, format)
      const predictions = await classifier.answer(rows, { top, logits }, deadline(reply, options.timeout))
      return { predictions, normalised: classifier.normalised }
    })
  })
}

function rowsOf(request: FastifyRequest, dtype: 'float32' | 'uint8' | undefined, format: RowsFormat): Float32Array {
  const type = request.mediaType
  if (type !== 'application/octet-stream' && dtype !== undefined)
    throw new ServeError('E_OPTION', {
      what: "'query.dtype'",
      value: dtype,
      expected: 'it only with application/octet-stream',
    })
  if (!Buffer.isBuffer(request.body)) {
    if (request.body === undefined)
      throw new ServeError('E_BODY', { what: 'there is no body', expected: `one of ${MEDIA.join(', ')}` })
    return rowsOfJson(request.body, format)
  }
  return type === 'image/png' ? rowsOfPng(request.body, format) : rowsOfBytes(request.body, dtype ?? 'float32', format)
}

function addSample({ app, bundle, sampling, options }: Service): void {
  const { shape } = bundle.input
  app.post('/sample', async (request, reply) => {
    if (sampling === undefined) {
      throw new ServeError('E_NO_SAMPLER', {
        what: bundle.sampler ? 'the service was started with --no-sampler' : 'this bundle has no sampler',
        remedy: 'GET /model says what there is',
      })
    }
    if (request.body === undefined)
      throw new ServeError('E_BODY', { what: 'there is no body', expected: 'JSON such as {"count": 4}' })
    const type = negotiated(request, bundle)
    const asked = sampling.read(request.body)
    const { values, energies, used } = await sampling.draw(asked, deadline(reply, options.sampleTimeout))
    if (type === 'image/png') {
      const size = pictureSize(bundle) as PictureSize
      const scale = Math.max(1, Math.ceil(400 / (Math.ceil(Math.sqrt(asked.count)) * size.width)))
      const seed = used.seed === undefined ? {} : { 'langevin-seed': String(used.seed) }
      return reply
        .type(type)
        .headers(seed)
        .send(Buffer.from(writeGrid(values, size, scale)))
    }
    const { steps, step_size: stepSize, noise_scale: noiseScale, seed } = used
    return {
      samples: nested(sampling.raw(values), [asked.count, ...shape]),
      energies: energies === undefined ? null : Array.from(energies),
      class: asked.label === undefined ? null : bundle.classes[asked.label],
      ...{ steps, stepSize, noiseScale, seed },
    }
  })
}

/** JSON or a picture, whichever `accept` names first; JSON where it takes anything. @throws ServeError E_ACCEPT for neither. */
function negotiated(request: FastifyRequest, bundle: Bundle): 'application/json' | 'image/png' {
  const accepted = (request.headers.accept ?? '*/*')
    .split(',')
    .map((part) => (part.split(';')[0] as string).trim().toLowerCase())
  const pictures = pictureSize(bundle) !== undefined
  for (const type of accepted) {
    if (type === 'image/png' && pictures) return type
    if (type === 'application/json' || type === 'application/*' || type === '*/*') return 'application/json'
    if (type === 'image/*' && pictures) return 'image/png'
  }
  throw new ServeError('E_ACCEPT', {
    what: "the header 'accept'",
    value: request.headers.accept,
    expected: pictures ? 'application/json or image/png' : 'application/json: these samples are no pictures',
  })
}

function pictureSize({ input: { shape, range } }: Bundle): PictureSize | undefined {
  const [channels, height, width] = shape
  if (shape.length !== 3 || range === null || (channels !== 1 && channels !== 3)) return undefined
  return { channels, height: height as number, width: width as number }
}

function addStatus(service: Service, state: { readonly draining: boolean }): void {
  const { app, bundle, metrics, classifier, sampling } = service
  const version = (createRequire(import.meta.url)('../package.json') as { readonly version: string }).version
  const queue = () => ({ rows: classifier.batcher.waiting, samples: sampling?.lane.waiting ?? 0 })
  app.get('/health', async (_, reply) => {
    const alive = classifier.engine.alive && (sampling?.engine.alive ?? true)
    const status = state.draining ? 'stopping' : alive ? 'ready' : 'failed'
    reply.code(status === 'ready' ? 200 : 503).header('cache-control', 'no-store')
    return {
      status,
      name: bundle.name,
      method: bundle.method ?? null,
      classify: true,
      sample: sampling !== undefined,
      versions: {
        service: version,
        langevin: bundle.langevin,
        onnxruntime: classifier.engine.opened.version,
        node: process.versions.node,
      },
      uptimeSeconds: Math.round(process.uptime()),
      queue: queue(),
    }
  })
  app.get('/metrics', async (_, reply) => {
    reply.type('text/plain; version=0.0.4; charset=utf-8')
    const { rows, samples } = queue()
    return metrics.text({ queueRows: rows, sampleQueue: samples, uptime: process.uptime() })
  })
  app.get('/model', async () => bundle.manifest)
}

function refuse(error: unknown, request: FastifyRequest, reply: FastifyReply): void {
  const refusal = refusalOf(error, request)
  if (refusal.statusCode >= 500 && refusal.code !== 'E_BUSY' && refusal.code !== 'E_SHUTDOWN')
    request.log.error({ err: refusal.cause ?? refusal, code: refusal.code, url: request.url }, refusal.message)
  reply.code(refusal.statusCode).headers(refusal.headers).send(refusal.body())
}

function unknownRoute(request: FastifyRequest): ServeError {
  const path = (request.url.split('?')[0] as string).replace(/(?<=.)\/$/, '')
  const methods = routes[path]
  if (methods === undefined) {
    const list = Object.entries(routes).map(([p, [m]]) => `${m} ${p}`)
    return new ServeError('E_NOT_FOUND', { what: 'the path', value: path, expected: `one of ${list.join(', ')}` })
  }
  return new ServeError('E_METHOD', {
    what: `the method of ${path}`,
    value: request.method,
    expected: methods.join(' or '),
    headers: { allow: methods.join(', ') },
  })
}

async function stop(app: FastifyInstance, { drain }: ServeOptions, state: { draining: boolean }): Promise<void> {
  state.draining = true
  const timer = setTimeout(() => app.server.closeAllConnections(), drain)
  try {
    await app.close()
  } finally {
    clearTimeout(timer)
  }
}
