/**
 * The server's certificate while the server runs: renewed a month before its end, and taken anew when its files change, for
 * the connections from then on. `serve` starts it; the files are looked at every minute.
 */
import type { KeyAndCertificate, Logger } from '@musterbook/server'

const LOOK_EVERY_MS = 60_000

export interface Renewal {
  /** What is to be served by now; a rejection leaves the one in use. */
  read(): Promise<KeyAndCertificate>
  current: KeyAndCertificate
  use(certificate: KeyAndCertificate): void
  log: Logger
  everyMs?: number
}

/** Disposing waits for a look that is going on: one that renews writes into the data folder. */
export function keepCertificate({ read, current, use, log, everyMs = LOOK_EVERY_MS }: Renewal): AsyncDisposable {
  let used = current
  let looking: Promise<void> | undefined
  const look = async () => {
    try {
      const found = await read()
      if (found.cert === used.cert && found.key === used.key) return
      use(found)
      used = found
      log.info('the server has taken a new certificate')
    } catch (error) {
      log.error({ err: error }, 'the certificate could not be looked at')
    }
  }
  const timer = setInterval(() => {
    looking ??= look().finally(() => {
      looking = undefined
    })
  }, everyMs)
  timer.unref()
  return {
    async [Symbol.asyncDispose]() {
      clearInterval(timer)
      await looking
    },
  }
}
