// Writes docs/compatibility.md: every operation of every service that the contract models, and whether a capability
// declares it. The answer comes from the code that dispatch itself is made of, so that the page cannot promise more.
//   node scripts/compatibility.mjs           writes the page
//   node scripts/compatibility.mjs --check   exits with 1 when the page is out of date
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { build } from 'esbuild'

const root = fileURLToPath(new URL('..', import.meta.url))
const page = `${root}docs/compatibility.md`
const COMMAND = 'node scripts/compatibility.mjs'

/** How the services are called where people talk of them; a service without a name here goes by its SigV4 name. */
const NAMES = {
  ssm: 'Systems Manager',
  ssmmessages: 'Session Manager channels',
  ec2messages: "Message delivery, the agent's older way",
  iam: 'Identity and Access Management',
  sts: 'Security Token Service',
  kms: 'Key Management Service',
  cloudtrail: 'CloudTrail',
  logs: 'CloudWatch Logs',
  monitoring: 'CloudWatch',
}

/**
 * Stands for the host of a server process: some capabilities make their operations when they start. Whatever is asked of
 * it is it again, so that they start without a database; nothing that they do is looked at but the names of operations.
 */
const nothing = new Proxy(() => {}, {
  get: (_, name) => {
    if (name === 'then') return undefined
    if (name === Symbol.toPrimitive) return () => ''
    if (name === Symbol.iterator) return () => [].values()
    return nothing
  },
  apply: () => nothing,
  construct: () => nothing,
})

/** The registry as it is in the sources: packages run from TypeScript, so they are bundled for this one question. */
async function readRegistry() {
  const folder = mkdtempSync(join(root, 'node_modules/.compatibility-'))
  try {
    const outfile = join(folder, 'registry.mjs')
    await build({
      absWorkingDir: root,
      stdin: {
        resolveDir: root,
        contents: `
          export { capabilities } from './packages/server/src/capabilities.ts'
          export { gather } from './packages/server/src/platform/registry.ts'
          export { operationNames, serviceNames } from './packages/server/src/contract/model.ts'`,
      },
      outfile,
      bundle: true,
      platform: 'node',
      target: 'node20',
      format: 'esm',
      packages: 'external',
      alias: Object.fromEntries(
        ['agent', 'document', 'server', 'wire'].map((name) => [
          `@musterbook/${name}`,
          `${root}packages/${name}/src/index.ts`,
        ]),
      ),
      loader: { '.sql': 'text' },
      logLevel: 'warning',
      banner: { js: "import { createRequire as __r } from 'node:module'; const require = __r(import.meta.url);" },
    })
    const { capabilities, gather, operationNames, serviceNames } = await import(pathToFileURL(outfile).href)
    const running = new Map()
    for (const capability of capabilities) {
      const started = await capability.start?.(nothing)
      if (started) running.set(capability.name, started)
    }
    const owner = new Map(
      gather(capabilities, running).operations.map((each) => [`${each.service}:${each.name}`, each.capability]),
    )
    return serviceNames().map((service) => ({
      service,
      operations: operationNames(service)
        .sort()
        .map((name) => ({ name, capability: owner.get(`${service}:${name}`) })),
    }))
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

function write(services) {
  const done = (operations) => operations.filter(({ capability }) => capability).length
  const rows = services.map(
    ({ service, operations }) =>
      `| ${NAMES[service] ?? service} | \`${service}\` | ${done(operations)} | ${operations.length} |`,
  )
  const sections = services.flatMap(({ service, operations }) => [
    '',
    `## ${NAMES[service] ?? service} (\`${service}\`)`,
    '',
    '| Operation | State | Capability |',
    '| --- | --- | --- |',
    ...operations.map(
      ({ name, capability }) => `| ${name} | ${capability ? 'done' : 'absent'} | ${capability ?? ''} |`,
    ),
  ])
  return `${[
    '# Compatibility',
    '',
    `<!-- Generated from the operations that the capabilities declare: ${COMMAND} -->`,
    '',
    'Every operation that the contract knows. **done**: a capability answers it, its input is checked and its answer is made by',
    "AWS's model. **absent**: the request is understood and refused with an error that says so.",
    '',
    '| Service | Signing name | Done | Known |',
    '| --- | --- | ---: | ---: |',
    ...rows,
    ...sections,
  ].join('\n')}\n`
}

const fresh = write(
  await readRegistry().catch((error) => {
    console.error(`the sources cannot be read: ${error.message}`)
    process.exit(1)
  }),
)
if (process.argv.includes('--check')) {
  let old = ''
  try {
    old = readFileSync(page, 'utf8')
  } catch {}
  if (old !== fresh) {
    const [was, is] = [old.split('\n'), fresh.split('\n')]
    const line = is.findIndex((text, at) => text !== was[at])
    console.error(`docs/compatibility.md:${line + 1}: is out of date, write it anew with: ${COMMAND}`)
    console.error(`  has   ${was[line] ?? '(nothing)'}\n  needs ${is[line] ?? '(nothing)'}`)
    process.exit(1)
  }
  console.log('docs/compatibility.md is up to date.')
} else {
  writeFileSync(page, fresh)
  console.log('docs/compatibility.md is written.')
}
