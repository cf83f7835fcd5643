// Ends the agent when whoever started it is gone, however it went. Documents that run go on.

export interface ParentWatch {
  parentPid: number | undefined
  watchStdin: boolean
}

/** A killed parent is noticed within this many milliseconds. */
const LOOK_EVERY = 1000

/** Calls `gone` once; the answer stops watching. */
export function watchParent(watch: ParentWatch, gone: () => void): () => void {
  const timer =
    watch.parentPid === undefined
      ? undefined
      : setInterval(() => {
          if (process.ppid !== watch.parentPid) gone()
        }, LOOK_EVERY)
  if (watch.watchStdin) {
    process.stdin.on('end', gone).on('close', gone).on('error', gone)
    process.stdin.resume()
  }
  return () => {
    clearInterval(timer)
    if (watch.watchStdin) process.stdin.destroy()
  }
}
