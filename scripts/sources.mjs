// Tells whether dist/ is older than what it is built from.
import { readdirSync, statSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('..', import.meta.url))

export function isBuilt() {
  try {
    const built = Math.min(...['musterbook.js', 'agent.cjs'].map((name) => statSync(`${root}/dist/${name}`).mtimeMs))
    return newest(`${root}/packages`) <= built && statSync(`${root}/package-lock.json`).mtimeMs <= built
  } catch {
    return false
  }
}

function newest(folder) {
  let latest = 0
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    if (entry.name === 'node_modules') continue
    const path = `${folder}/${entry.name}`
    latest = Math.max(latest, entry.isDirectory() ? newest(path) : statSync(path).mtimeMs)
  }
  return latest
}
