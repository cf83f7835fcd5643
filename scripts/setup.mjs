// Installs what is missing, so that `npm start` and `npm test` work in a fresh clone. Does nothing when it is all there.
import { spawnSync } from 'node:child_process'
import { existsSync, statSync, utimesSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('..', import.meta.url))

export function ensureDependencies() {
  const [major, minor] = process.versions.node.split('.').map(Number)
  if (major < 20 || (major === 20 && minor < 19))
    fail(`Node ${process.versions.node} is too old: Musterbook needs 20.19 or newer`)
  const installed = `${root}/node_modules/.package-lock.json`
  if (existsSync(installed) && statSync(installed).mtimeMs >= statSync(`${root}/package-lock.json`).mtimeMs) return
  console.log('Installing dependencies (once)…')
  // Not `npm ci`, which first removes all that is there, also from under a server that runs from this folder.
  const args = ['install', '--no-save', '--include=dev', '--include=optional', '--no-audit', '--no-fund']
  const npm = spawnSync('npm', [...args, '--loglevel=error'], { cwd: root, stdio: ['ignore', 'inherit', 'inherit'] })
  if (npm.error) fail(`npm cannot be run (${npm.error.code}); it comes with Node`)
  if (npm.status !== 0) fail('npm install failed; its messages are above')
  const now = new Date()
  utimesSync(installed, now, now)
}

function fail(message) {
  console.error(`musterbook: ${message}`)
  process.exit(1)
}
