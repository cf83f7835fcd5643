/** What Prometheus reads at /metrics. Labels are operations and error names only: node ids would grow without bound. */
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client'

const SECONDS = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10]

export interface Metrics {
  answered(service: string, operation: string, error: string, seconds: number): void
  refused(reason: string): void
  openSockets: { inc(): void; dec(): void }
  text(): Promise<string>
  contentType: string
}

export function createMetrics(): Metrics {
  const registry = new Registry()
  collectDefaultMetrics({ register: registry })
  const requests = new Counter({
    name: 'musterbook_requests_total',
    help: 'Requests answered, by service, operation and error name (empty when it succeeded)',
    labelNames: ['service', 'operation', 'error'],
    registers: [registry],
  })
  const duration = new Histogram({
    name: 'musterbook_request_seconds',
    help: 'Time from the last byte of a request to its answer',
    labelNames: ['service', 'operation'],
    buckets: SECONDS,
    registers: [registry],
  })
  const refusals = new Counter({
    name: 'musterbook_refused_total',
    help: 'Requests refused before they reached an operation',
    labelNames: ['reason'],
    registers: [registry],
  })
  const sockets = new Gauge({
    name: 'musterbook_open_sockets',
    help: 'WebSockets open now (control and data channels)',
    registers: [registry],
  })
  // The library makes a string of its labels each time that it is asked: the series of each operation are looked up once, and
  // by its name first, which needs no string of its own.
  const series = new Map<string, Map<string, { requests: Counter.Internal; duration: Histogram.Internal<string> }>>()
  return {
    answered(service, operation, error, seconds) {
      const ofOperation = series.get(operation) ?? new Map()
      const outcome = error === '' ? service : `${service} ${error}`
      let known = ofOperation.get(outcome)
      if (!known) {
        known = {
          requests: requests.labels({ service, operation, error }),
          duration: duration.labels({ service, operation }),
        }
        series.set(operation, ofOperation.set(outcome, known))
      }
      known.requests.inc()
      known.duration.observe(seconds)
    },
    refused: (reason) => refusals.inc({ reason }),
    openSockets: { inc: () => sockets.inc(), dec: () => sockets.dec() },
    text: () => registry.metrics(),
    contentType: registry.contentType,
  }
}
