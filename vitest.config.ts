import { readFileSync } from 'node:fs'
import { defineConfig } from 'vitest/config'

/** SQL migrations are imported as text, as the bundler does. */
const sqlAsText = {
  name: 'sql-as-text',
  load(id: string) {
    return id.endsWith('.sql') ? `export default ${JSON.stringify(readFileSync(id, 'utf8'))}` : undefined
  },
}

export default defineConfig({
  plugins: [sqlAsText],
  test: {
    include: ['packages/*/src/**/*.test.ts', 'tests/**/*.test.ts'],
    globalSetup: ['packages/testbed/src/global-setup.ts'],
    testTimeout: 240_000,
    hookTimeout: 240_000,
    maxWorkers: 2,
    // Files share the modules of their worker: loading the SDK for each of them anew took a quarter of the whole run. They
    // share nothing else; each brings its own testbed, account and folders.
    isolate: false,
    reporters: ['default'],
  },
})
