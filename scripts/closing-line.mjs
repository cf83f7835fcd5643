// The last line of .ci/run, `N passed, N failed`, from vitest's JSON report; exits as the test run did. A test file that
// could not be loaded holds no tests: it counts as one that failed, so that the line never looks better than the run.
//   node scripts/closing-line.mjs <report.json> <exit code of the test run>
import { readFileSync } from 'node:fs'

const [file, code] = process.argv.slice(2)
let passed = 0
let failed = 0
try {
  for (const { status, assertionResults } of JSON.parse(readFileSync(file, 'utf8')).testResults) {
    passed += assertionResults.filter((test) => test.status === 'passed').length
    const broken = assertionResults.filter((test) => test.status === 'failed').length
    failed += broken === 0 && status === 'failed' ? 1 : broken
  }
} catch (error) {
  console.error(`the test run left no report (${error.message})`)
}
const status = Number(code)
if (status !== 0 && failed === 0) failed = 1
if (passed === 0 && failed === 0) failed = 1
console.log(`${passed} passed, ${failed} failed`)
process.exitCode = failed > 0 ? status || 1 : 0
