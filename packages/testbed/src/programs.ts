/** Where the built programs lie. */
import { fileURLToPath } from 'node:url'

export const REPOSITORY = fileURLToPath(new URL('../../..', import.meta.url))
/** The one binary. */
export const MUSTERBOOK = `${REPOSITORY}/dist/musterbook.js`
/** The agent as one file. */
export const AGENT = `${REPOSITORY}/dist/agent.cjs`
