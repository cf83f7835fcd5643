/**
 * The one error of this folder: a sentence for a person that says which folder, what is wrong and what to do.
 * PostgreSQL's own last lines are part of it when it died; they hold no statements and no values (settings.ts).
 */

export class PostgresStartError extends Error {
  override name = 'PostgresStartError'
}

/** Runs a step on the file system; what the system refuses becomes a sentence that names the path. */
export async function explain<T>(step: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    const code = errorCode(error)
    if (code === undefined) throw error
    throw new PostgresStartError(`${step} failed: ${ADVICE[code] ?? code}`, { cause: error })
  }
}

const ADVICE: Record<string, string> = {
  EACCES: 'permission denied; choose a data folder that this user may write to (--data), or change its owner',
  EPERM: 'the system does not permit it; choose a data folder that this user owns (--data)',
  EROFS: 'the file system is read-only; choose another data folder (--data)',
  ENOSPC: 'the disk is full; free some space, or choose another data folder (--data)',
  ENOTDIR: 'a part of the path is a file; choose another data folder (--data)',
}

/** The system's name of an error (`ENOENT`), or undefined when it is no system error. */
export function errorCode(error: unknown): string | undefined {
  if (!(error instanceof Error) || !('code' in error)) return undefined
  return typeof error.code === 'string' ? error.code : undefined
}
