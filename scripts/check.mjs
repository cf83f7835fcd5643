// npm run check: everything that a change must pass, the quick parts first. Each names itself and shows the lines that break
// it; the tests run once all of the others pass. `npm run check -- --quick` leaves the tests out.
import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { ensureDependencies } from './setup.mjs'

ensureDependencies()
const root = fileURLToPath(new URL('..', import.meta.url))
const QUICK = [
  ['types', 'node_modules/typescript/bin/tsc', '-p', '.'],
  ['format and lint', 'node_modules/@biomejs/biome/bin/biome', 'check', '--error-on-warnings', '.'],
  ['floors', 'scripts/floors.mjs'],
  ['unused code and dependencies', 'node_modules/knip/bin/knip.js', '--no-config-hints'],
  ['table of operations', 'scripts/compatibility.mjs', '--check'],
]
const TESTS = ['tests', 'scripts/test.mjs']

function passes([name, ...args]) {
  const startedAt = performance.now()
  console.log(`── ${name}`)
  const { status } = spawnSync(process.execPath, args, { cwd: root, stdio: 'inherit' })
  const seconds = ((performance.now() - startedAt) / 1000).toFixed(1)
  console.log(status === 0 ? `   ${name}: passed (${seconds} s)\n` : `   ${name}: FAILED (${seconds} s)\n`)
  return status === 0
}

const failed = QUICK.filter((step) => !passes(step)).map(([name]) => name)
if (failed.length > 0) {
  console.error(`check: ${failed.join(', ')} failed; the lines are above. Many of them are mended by: npm run format`)
  process.exit(1)
}
if (!process.argv.includes('--quick') && !passes(TESTS)) {
  console.error('check: tests failed; the lines are above.')
  process.exit(1)
}
console.log('check: all passed')
