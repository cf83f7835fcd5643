/** The laws of the floors hold, and each of them is noticed when a line breaks it. */
import { spawnSync } from 'node:child_process'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { REPOSITORY } from '@musterbook/testbed'
import { afterEach, describe, expect, it } from 'vitest'

const folders: string[] = []
afterEach(async () => {
  for (const folder of folders.splice(0)) await rm(folder, { recursive: true })
})

function floors(folder: string): { lines: string[]; status: number | null } {
  const { stdout, status } = spawnSync(process.execPath, [join(REPOSITORY, 'scripts/floors.mjs'), folder], {
    encoding: 'utf8',
  })
  return { lines: stdout.trim().split('\n').slice(0, -1), status }
}

const SERVER = 'packages/server/src'

/** A house in which all laws hold: two capabilities, `tags` below `nodes`. */
const HOUSE: Record<string, string> = {
  [`${SERVER}/capabilities.ts`]: [
    "import { nodes } from './capabilities/nodes/index.ts'",
    "import { tags } from './capabilities/tags/index.ts'",
    'const owners: Capability[] = [nodes]',
    'export const capabilities: Capability[] = [tags(owners), ...owners]',
  ].join('\n'),
  [`${SERVER}/capabilities/tags/index.ts`]: "import init from './migrations/0001-init.sql'\nexport const tags = [init]",
  [`${SERVER}/capabilities/tags/store.ts`]: 'export const read = (sql) => sql<Row[]>`select 1`',
  [`${SERVER}/capabilities/tags/migrations/0001-init.sql`]: 'create table tags (id text primary key);',
  [`${SERVER}/capabilities/nodes/index.ts`]: [
    "import { tags } from '../tags/index.ts'",
    "import init from './migrations/0001-init.sql'",
    'export const nodes = [tags, init]',
  ].join('\n'),
  [`${SERVER}/capabilities/nodes/migrations/0001-init.sql`]:
    'create table nodes (id text primary key references tags);',
  [`${SERVER}/platform/clock.ts`]: 'export const now = () => Date.now()',
  [`${SERVER}/engines/gateway/dispatch.ts`]: "import { now } from '../../platform/clock.ts'\nexport const at = now",
  'packages/agent/src/index.ts': "import { sign } from '@musterbook/wire'\nexport const started = sign(Date.now())",
  'packages/cli/src/config.ts': 'export const environment = process.env',
}

async function house(change: Record<string, string> = {}): Promise<{ lines: string[]; status: number | null }> {
  const folder = await mkdtemp(join(tmpdir(), 'musterbook-floors-'))
  folders.push(folder)
  for (const [path, text] of Object.entries({ ...HOUSE, ...change })) {
    await mkdir(join(folder, dirname(path)), { recursive: true })
    await writeFile(join(folder, path), text)
  }
  return floors(folder)
}

describe('the laws of the floors', () => {
  it('hold in this repository', () => {
    expect(floors(REPOSITORY)).toEqual({ lines: [], status: 0 })
  })

  it('hold in a small house that keeps them', async () => {
    expect(await house()).toEqual({ lines: [], status: 0 })
  })

  it('see no breach in comments, strings, templates and regular expressions', async () => {
    const text = [
      "// new Date() and process.env and sql`select 1` and import x from '../../engines/background/driver.ts'",
      "/* import x from '../nodes/index.ts' */",
      `const words = 'process.env, Date.now()' + "setTimeout(" + \`Date.now( \${words('process.env')} setInterval(\``,
      "const expression = /['`]process.env/.test(words) ? 1 / 2 : 3 / 4",
    ].join('\n')
    expect(await house({ [`${SERVER}/capabilities/tags/rules.ts`]: text })).toEqual({ lines: [], status: 0 })
  })

  it('see what stands inside of a template', async () => {
    const { lines } = await house({
      [`${SERVER}/capabilities/tags/rules.ts`]: `const text = \`a \${{ b: \`\${Date.now()}\` }} c\``,
    })
    expect(lines).toEqual([expect.stringContaining('tags/rules.ts:1: time is injected')])
  })

  const breaches: [law: string, path: string, text: string, message: string][] = [
    [
      'server and agent know nothing of each other',
      `${SERVER}/main.ts`,
      "\nimport { run } from '@musterbook/agent'",
      'server/src/main.ts:2: server may not import agent',
    ],
    [
      'wire imports no package',
      'packages/wire/src/x.ts',
      "import { parse } from '@musterbook/document'",
      'wire/src/x.ts:1: wire may not import document',
    ],
    [
      'wire is pure',
      'packages/wire/src/x.ts',
      "import { readFile } from 'node:fs/promises'",
      'wire/src/x.ts:1: wire is pure',
    ],
    [
      'wire runs in browsers',
      'packages/wire/src/x.ts',
      'export const empty = Buffer.alloc(0)',
      'wire/src/x.ts:1: wire also runs in browsers',
    ],
    [
      'a package has no back door',
      'packages/agent/src/x.ts',
      "import { sign } from '@musterbook/wire/src/sigv4.ts'",
      'agent/src/x.ts:1: wire is imported through its index.ts only',
    ],
    [
      'a package is imported by its name',
      'packages/agent/src/x.ts',
      "import { sign } from '../../wire/src/index.ts'",
      'agent/src/x.ts:1: another package is imported by its name',
    ],
    [
      'a new package names its floor',
      'packages/cellar/src/x.ts',
      "import { sign } from '@musterbook/wire'",
      'cellar/src/x.ts:1: the package cellar has no floor',
    ],
    [
      'a capability is entered by its door',
      `${SERVER}/capabilities/nodes/rules.ts`,
      "import { read } from '../tags/store.ts'",
      'nodes/rules.ts:1: another capability is imported through its index.ts only',
    ],
    [
      'a capability imports nothing that is listed below it',
      `${SERVER}/capabilities/tags/rules.ts`,
      "\n\nimport { nodes } from '../nodes/index.ts'",
      'tags/rules.ts:3: tags may not import nodes',
    ],
    [
      'a capability knows no engine',
      `${SERVER}/capabilities/tags/rules.ts`,
      "import { at } from '../../engines/gateway/dispatch.ts'",
      'tags/rules.ts:1: a capability may not import an engine',
    ],
    [
      'an engine knows no capability',
      `${SERVER}/engines/background/driver.ts`,
      "import type { tags } from '../../capabilities/tags/index.ts'",
      'background/driver.ts:1: an engine may not import a capability',
    ],
    [
      'the platform stands on nothing',
      `${SERVER}/platform/paging.ts`,
      "const tags = await import('../capabilities/tags/index.ts')",
      'platform/paging.ts:1: platform and contract may not import capabilities',
    ],
    [
      'a capability is listed',
      `${SERVER}/capabilities/attic/index.ts`,
      'export const attic = {}',
      'attic/index.ts:1: the capability attic is not listed',
    ],
    [
      'SQL stands in store.ts',
      `${SERVER}/capabilities/tags/operations.ts`,
      'export const read = (sql: Sql) =>\n  sql<{ id: string }[]>`select id from tags`',
      'tags/operations.ts:2: SQL stands',
    ],
    [
      'text is not run as SQL elsewhere',
      `${SERVER}/capabilities/tags/operations.ts`,
      "context.sql.unsafe('select 1')",
      'tags/operations.ts:1: SQL stands',
    ],
    [
      'the environment is read in one place',
      `${SERVER}/main.ts`,
      'const port = process.env.PORT',
      'server/src/main.ts:1: the environment is read',
    ],
    [
      'nobody reads the wall clock',
      `${SERVER}/capabilities/tags/rules.ts`,
      'const now = new Date()',
      'tags/rules.ts:1: time is injected',
    ],
    [
      'nobody sets a timer',
      `${SERVER}/capabilities/tags/rules.ts`,
      'setTimeout(() => {}, 5)',
      'tags/rules.ts:1: time is injected',
    ],
    [
      'migrations leave no gaps',
      `${SERVER}/capabilities/tags/migrations/0003-more.sql`,
      'select 1;',
      'tags/migrations/0003-more.sql:1: the next migration of tags is migrations/0002-',
    ],
    [
      'migrations are run',
      `${SERVER}/capabilities/tags/migrations/0002-more.sql`,
      'select 1;',
      'tags/migrations/0002-more.sql:1: this migration is imported by no file of tags',
    ],
    [
      'foreign keys point downward',
      `${SERVER}/capabilities/tags/migrations/0001-init.sql`,
      'create table tags (\n  id text primary key,\n  node text references nodes\n);',
      'tags/migrations/0001-init.sql:3: a foreign key points downward only: nodes belongs to nodes',
    ],
  ]
  it.each(breaches)('%s', async (_law, path, text, message) => {
    const { lines, status } = await house({ [path]: text })
    expect(lines.join('\n')).toContain(`${message}`)
    expect(status).toBe(1)
  })
})
