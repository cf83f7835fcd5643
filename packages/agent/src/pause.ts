// A wait that can be cut short. AbortSignal.any would do it in one word, but is not in every Node 20, and in those that
// have it a signal that lives as long as the agent keeps something of every wait.

/** Resolves after that many milliseconds, or as soon as one of the signals is aborted. */
export function pause(millis: number, ...signals: AbortSignal[]): Promise<void> {
  return new Promise((resolve) => {
    const finish = () => {
      clearTimeout(timer)
      for (const signal of signals) signal.removeEventListener('abort', finish)
      resolve()
    }
    const timer = setTimeout(finish, millis)
    for (const signal of signals) signal.addEventListener('abort', finish, { once: true })
    if (signals.some((signal) => signal.aborted)) finish()
  })
}
