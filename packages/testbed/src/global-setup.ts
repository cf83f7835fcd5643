/** Vitest's global setup: the bundles that real processes run, and one PostgreSQL for all test files. */
import { execFileSync } from 'node:child_process'
import { startTestPostgres } from './database.ts'
import { REPOSITORY } from './programs.ts'

export default async function setUp(): Promise<() => Promise<void>> {
  execFileSync(process.execPath, ['scripts/build.mjs'], { cwd: REPOSITORY, stdio: 'inherit' })
  const postgres = await startTestPostgres()
  return async () => postgres[Symbol.asyncDispose]()
}
