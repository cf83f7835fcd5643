// npm start: sets up what is missing and becomes `musterbook up`. Arguments go along: npm start -- --port 9000
import { fileURLToPath, pathToFileURL } from 'node:url'
import { ensureDependencies } from './setup.mjs'
import { isBuilt } from './sources.mjs'

ensureDependencies()
if (!isBuilt()) {
  const { buildAll, endBuilder } = await import('./build.mjs')
  await buildAll()
  await endBuilder() // its process would live as long as the server does
}

const program = fileURLToPath(new URL('../dist/musterbook.js', import.meta.url))
process.argv = [process.execPath, program, 'up', ...process.argv.slice(2)]
await import(pathToFileURL(program).href)
