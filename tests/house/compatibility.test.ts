/** docs/compatibility.md promises what the capabilities declare, no more and no less. */
import { spawnSync } from 'node:child_process'
import { REPOSITORY } from '@musterbook/testbed'
import { expect, it } from 'vitest'

it('the table of operations is up to date; otherwise run: node scripts/compatibility.mjs', () => {
  const { stdout, stderr } = spawnSync(process.execPath, ['scripts/compatibility.mjs', '--check'], {
    cwd: REPOSITORY,
    encoding: 'utf8',
  })
  expect(stderr).toBe('')
  expect(stdout).toBe('docs/compatibility.md is up to date.\n')
})
