/** Counts and histograms in Prometheus' text format (version 0.0.4). */

const seconds = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30]
const sizes = [1, 2, 4, 8, 16, 32, 64, 128, 256]

class Histogram {
  readonly #bounds: readonly number[]
  readonly #counts: number[]
  #sum = 0
  count = 0

  constructor(bounds: readonly number[]) {
    this.#bounds = bounds
    this.#counts = bounds.map(() => 0)
  }

  add(value: number): void {
    this.count++
    this.#sum += value
    const at = this.#bounds.findIndex((b) => value <= b)
    if (at >= 0) this.#counts[at] = (this.#counts[at] ?? 0) + 1
  }

  get mean(): number {
    return this.count === 0 ? 0 : this.#sum / this.count
  }

  lines(name: string, labels = ''): string[] {
    const inside = (le: string) => `{${labels === '' ? '' : `${labels},`}le="${le}"}`
    let total = 0
    const buckets = this.#bounds.map((b, i) => {
      total += this.#counts[i] ?? 0
      return `${name}_bucket${inside(String(b))} ${total}`
    })
    const braces = labels === '' ? '' : `{${labels}}`
    return [
      ...buckets,
      `${name}_bucket${inside('+Inf')} ${this.count}`,
      `${name}_sum${braces} ${this.#sum}`,
      `${name}_count${braces} ${this.count}`,
    ]
  }
}

/** Values read when somebody asks. */
export interface Gauges {
  readonly queueRows: number
  readonly sampleQueue: number
  readonly uptime: number
}

/** What the service counts. */
export class ServeMetrics {
  readonly #requests = new Map<string, number>()
  readonly #latency = new Map<string, Histogram>()
  readonly #batchRows = new Histogram(sizes)
  readonly #batchRequests = new Histogram(sizes)
  readonly #batchSeconds = new Histogram(seconds)
  readonly #sampleSeconds = new Histogram(seconds)
  #examples = 0
  #flagged = 0
  #samples = 0

  /** One answered request; `route` is a pattern, never what a client typed. */
  request(route: string, status: number, took: number): void {
    const key = `route="${route}",status="${status}"`
    this.#requests.set(key, (this.#requests.get(key) ?? 0) + 1)
    const latency = this.#latency.get(route) ?? new Histogram(seconds)
    this.#latency.set(route, latency)
    latency.add(took)
  }

  batch(rows: number, requests: number, took: number): void {
    this.#batchRows.add(rows)
    this.#batchRequests.add(requests)
    this.#batchSeconds.add(took)
  }

  examples(count: number, flagged: number): void {
    this.#examples += count
    this.#flagged += flagged
  }

  samples(count: number, took: number): void {
    this.#samples += count
    this.#sampleSeconds.add(took)
  }

  /** Batches so far, and their mean sizes in rows and requests. */
  get batches(): { readonly count: number; readonly meanRows: number; readonly meanRequests: number } {
    return { count: this.#batchRows.count, meanRows: this.#batchRows.mean, meanRequests: this.#batchRequests.mean }
  }

  text(gauges: Gauges): string {
    const counter = (name: string, help: string, lines: readonly string[]) => section(name, 'counter', help, lines)
    const gauge = (name: string, help: string, value: number) => section(name, 'gauge', help, [`${name} ${value}`])
    const histogram = (name: string, help: string, lines: readonly string[]) => section(name, 'histogram', help, lines)
    const requests = [...this.#requests].map(([labels, n]) => `langevin_requests_total{${labels}} ${n}`)
    const latency = [...this.#latency].flatMap(([route, h]) => h.lines('langevin_request_seconds', `route="${route}"`))
    return `${[
      counter('langevin_requests_total', 'Answered requests.', requests),
      histogram('langevin_request_seconds', 'Seconds from the head of a request to the end of its answer.', latency),
      histogram('langevin_batch_rows', 'Rows of a batch.', this.#batchRows.lines('langevin_batch_rows')),
      histogram(
        'langevin_batch_requests',
        'Requests in a batch.',
        this.#batchRequests.lines('langevin_batch_requests'),
      ),
      histogram('langevin_batch_seconds', 'Seconds of a batch.', this.#batchSeconds.lines('langevin_batch_seconds')),
      counter('langevin_examples_total', 'Classified examples.', [`langevin_examples_total ${this.#examples}`]),
      counter('langevin_out_of_distribution_total', 'Examples flagged as out of distribution.', [
        `langevin_out_of_distribution_total ${this.#flagged}`,
      ]),
      counter('langevin_samples_total', 'Samples drawn.', [`langevin_samples_total ${this.#samples}`]),
      histogram(
        'langevin_sample_seconds',
        'Seconds of a sampler run.',
        this.#sampleSeconds.lines('langevin_sample_seconds'),
      ),
      gauge('langevin_queue_rows', 'Rows that wait for a batch.', gauges.queueRows),
      gauge('langevin_sample_queue', 'Requests for samples that wait.', gauges.sampleQueue),
      gauge('langevin_uptime_seconds', 'Seconds since the start.', gauges.uptime),
      gauge('process_resident_memory_bytes', 'Resident memory.', process.memoryUsage.rss()),
    ].join('\n')}\n`
  }
}

function section(name: string, type: string, help: string, lines: readonly string[]): string {
  return [`# HELP ${name} ${help}`, `# TYPE ${name} ${type}`, ...lines].join('\n')
}
