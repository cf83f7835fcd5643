// The laws of the floors: what may import what, and where SQL, the environment and the wall clock may be touched.
// `npm run check` and tests/house/floors.test.ts run it; it prints `file:line: the law that this line breaks` for each
// breach and exits with 1. It reads text, not types, so that it takes a fraction of a second and needs nothing installed:
//   node scripts/floors.mjs [folder of a checkout]
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join, normalize, relative } from 'node:path'
import { fileURLToPath } from 'node:url'

/** What a package may import of its siblings; ARCHITECTURE.md draws it. */
const PACKAGES = {
  wire: [],
  document: [],
  server: ['wire', 'document'],
  agent: ['wire', 'document'],
  console: ['wire', 'document'],
  testbed: ['server', 'agent', 'wire', 'document'],
  cli: ['testbed', 'server', 'agent', 'console', 'wire', 'document'],
}

/** Packages without a socket, a file or a clock: `wire` runs in browsers as well. */
const PURE = ['wire', 'document']

const SERVER = 'packages/server/src'
const CAPABILITIES = `${SERVER}/capabilities`
const LIST = `${SERVER}/capabilities.ts`

/** Who may do what no one else may, and why. A folder ends in a slash. */
const EXCEPTIONS = {
  sql: {
    [`${SERVER}/platform/database.ts`]: 'opens the database',
    [`${SERVER}/platform/migrate.ts`]: 'keeps the table of what has been applied',
    [`${SERVER}/platform/wake.ts`]: 'NOTIFY is a statement',
    [`${SERVER}/platform/postgres/`]: 'makes and probes the embedded database',
    [`${SERVER}/main.ts`]: '/readyz asks the database for one',
    'packages/testbed/': 'makes and drops the databases of tests',
  },
  environment: {
    'packages/cli/src/config.ts': 'the one place where settings are read',
    'packages/cli/src/access.ts': 'tools take what every AWS client takes from it',
    'packages/cli/src/up.ts': 'hands the agent an environment without the secrets of the server',
    'packages/testbed/': 'hands an address on to the processes of test files',
    'packages/agent/src/executor-process.ts': 'a document runs in an environment made from that of the agent',
    'packages/agent/src/thrift.ts': 'the number of file threads is only asked for there',
    'packages/agent/src/steps/': 'scripts inherit the environment of the agent, and programs are found on its PATH',
  },
  time: {
    [`${SERVER}/platform/clock.ts`]: 'is the clock',
    [`${SERVER}/platform/postgres/`]: 'waits for another process, which no clock of ours moves',
    [`${SERVER}/engines/background/`]: 'drives background work',
    [`${SERVER}/engines/gateway/listener.ts`]: 'sockets that are closing get a limit of real seconds',
    'packages/agent/': 'runs on the machine that it manages, in real time',
    'packages/cli/': 'starts and stops real processes',
    'packages/testbed/': 'starts and stops real processes',
  },
}

/** @returns breaches as `file:line: what is wrong`, in the order of the files. */
function findBreaches(root) {
  const paths = [...walk(root, 'packages')].sort()
  const code = paths.filter((path) => path.endsWith('.ts') && !path.endsWith('.d.ts'))
  const texts = new Map(code.map((path) => [path, readFileSync(join(root, path), 'utf8')]))
  const ranks = capabilityRanks(texts.get(LIST) ?? '')
  const doors = new Map(Object.keys(PACKAGES).map((name) => [name, doorsOf(root, name)]))
  const found = []
  for (const [path, text] of texts) {
    const tell = (index, message) => found.push(`${path}:${lineAt(text, index)}: ${message}`)
    const bare = mask(text)
    const test = path.endsWith('.test.ts')
    for (const [specifier, index] of imports(text, bare))
      checkImport({ path, specifier, ranks, test, doors }, (m) => tell(index, m))
    if (test) continue
    for (const law of LAWS)
      for (const match of bare.matchAll(law.finds)) if (law.covers(path)) tell(match.index, law.says)
    if (isUnlisted(path, ranks)) tell(0, `the capability ${capabilityOf(path)} is not listed in ${LIST}`)
  }
  return [...found, ...migrationBreaches(root, paths, texts, ranks)]
}

// ── Imports ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

/** Under which names a package may be imported: its own, and what its package.json exports beside it. */
function doorsOf(root, name) {
  const file = join(root, 'packages', name, 'package.json')
  const { exports = {} } = existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')) : {}
  return new Set([`@musterbook/${name}`, ...Object.keys(exports).map((door) => join('@musterbook', name, door))])
}

function checkImport({ path, specifier, ranks, test, doors }, tell) {
  const from = path.split('/')[1]
  const named = /^@musterbook\/([^/]+)/.exec(specifier)?.[1]
  const target = specifier.startsWith('.') ? normalize(join(dirname(path), specifier)) : undefined
  const to = named ?? (target?.startsWith('packages/') ? target.split('/')[1] : undefined)
  if (target !== undefined && !target.startsWith(`packages/${from}/`) && named === undefined) {
    if (to !== undefined) tell(`another package is imported by its name, @musterbook/${to}, not by a path`)
    else if (!test) tell(`${specifier} lies outside of the packages`)
    return
  }
  if (to !== undefined && to !== from) {
    const allowed = PACKAGES[from]
    if (!allowed) tell(`the package ${from} has no floor: name what it may import in scripts/floors.mjs`)
    else if (!allowed.includes(to) && !(test && to === 'testbed'))
      tell(`${from} may not import ${to}: it does not stand below it`)
    if (named !== undefined && !doors.get(named)?.has(specifier)) tell(`${to} is imported through its index.ts only`)
  }
  if (PURE.includes(from) && !test && specifier.startsWith('node:'))
    tell(`${from} is pure: it may not import ${specifier}`)
  if (specifier === 'postgres' && !mayQuery(path) && !test)
    tell('the database driver is for store.ts and platform/database.ts')
  if (target !== undefined) checkServerImport({ path, target, ranks, test }, tell)
}

/** Inside the server: main > capabilities.ts > capabilities | engines > platform and contract. */
function checkServerImport({ path, target, ranks, test }, tell) {
  if (!path.startsWith(`${SERVER}/`)) return
  const [from, to] = [floorOf(path), floorOf(target)]
  if (from === 'ground' && (to === 'engines' || to === 'capabilities'))
    tell(`platform and contract may not import ${to}`)
  if (from === 'engines' && to === 'capabilities')
    tell('an engine may not import a capability: it is handed what they declare')
  if (from === 'capabilities' && to === 'engines')
    tell('a capability may not import an engine: it declares what an engine is handed')
  if (from !== 'top' && to === 'top') tell(`${target.slice(SERVER.length + 1)} stands above this file`)
  const [mine, other] = [capabilityOf(path), capabilityOf(target)]
  if (other === undefined || mine === other || test) return
  if (target !== `${CAPABILITIES}/${other}/index.ts` && from === 'capabilities')
    tell(`another capability is imported through its index.ts only: ../${other}/index.ts`)
  if (mine !== undefined && ranks.has(mine) && !(ranks.get(other) < ranks.get(mine)))
    tell(`${mine} may not import ${other}: it is not listed above it in capabilities.ts`)
}

function floorOf(path) {
  const [floor, rest] = path.slice(SERVER.length + 1).split('/')
  if (rest === undefined) return path.endsWith('sql.d.ts') ? 'ground' : 'top'
  return floor === 'platform' || floor === 'contract' ? 'ground' : floor
}

const capabilityOf = (path) => (path.startsWith(`${CAPABILITIES}/`) ? path.split('/')[4] : undefined)
const isUnlisted = (path, ranks) =>
  path.endsWith('/index.ts') && path.split('/').length === 6 && capabilityOf(path) && !ranks.has(capabilityOf(path))

/** The place of each capability in the list, lowest first, whatever identifiers and spreads the list is written with. */
function capabilityRanks(text) {
  const folders = new Map()
  for (const [, names, folder] of text.matchAll(/import \{([^}]*)\} from '\.\/capabilities\/([^/']+)\/index\.ts'/g))
    for (const name of names.split(',')) folders.set(name.trim().split(' as ').pop().trim(), folder)
  const lists = new Map()
  for (const [, name, items] of mask(text).matchAll(/const (\w+)\s*(?::[^=]*)?=\s*\[([^\]]*)\]/g))
    lists.set(name, items)
  const ranks = new Map()
  const read = (items) => {
    for (const [, spread, name] of items.matchAll(/(?:^|,)\s*(\.\.\.)?(\w+)/g))
      if (spread) read(lists.get(name) ?? '')
      else if (folders.has(name) && !ranks.has(folders.get(name))) ranks.set(folders.get(name), ranks.size)
  }
  read(lists.get('capabilities') ?? '')
  return ranks
}

function* imports(text, bare) {
  // Strings are blank in `bare`, their quotes are not: positions are found there, names read from the text.
  for (const match of bare.matchAll(/\bfrom\s*'|\bimport\s*\(?\s*'/g)) {
    const start = match.index + match[0].length
    yield [text.slice(start, text.indexOf("'", start)), match.index]
  }
}

// ── SQL, environment, time ──────────────────────────────────────────────────────────────────────────────────────────────

const excepted = (law, path) =>
  Object.keys(EXCEPTIONS[law]).some((place) => (place.endsWith('/') ? path.startsWith(place) : path === place))

const isStore = (path) => capabilityOf(path) !== undefined && /\/store(\.ts$|\/)/.test(path)
const mayQuery = (path) => isStore(path) || excepted('sql', path)

const LAWS = [
  {
    finds: /\b(?:\w*[sS]ql|database|tx|transaction)\s*(?:<[^`;]{0,600}?>(?:\[\])?>?)?`|\.unsafe\s*\(/g,
    covers: (path) => !mayQuery(path),
    says: "SQL stands in a capability's store.ts (or in its folder store/) and nowhere else",
  },
  {
    finds: /\bprocess\.env\b|\benv\b[^=;\n]*\}\s*=\s*process\b/g,
    covers: (path) => !excepted('environment', path),
    says: 'the environment is read in packages/cli/src/config.ts, that of AWS clients in access.ts, and nowhere else',
  },
  {
    finds: /\bDate\.now\(|\bnew Date\(\s*\)|\bset(?:Timeout|Interval)\(/g,
    covers: (path) => !excepted('time', path),
    says: 'time is injected: ask the clock of the context (platform/clock.ts), so that tests can move it',
  },
  {
    finds: /\bBuffer\b/g,
    covers: (path) => path.startsWith('packages/wire/'),
    says: 'wire also runs in browsers, which have no Buffer: use Uint8Array',
  },
]

// ── Migrations ──────────────────────────────────────────────────────────────────────────────────────────────────────────

function migrationBreaches(root, paths, texts, ranks) {
  const found = []
  const files = paths.filter((path) => path.startsWith(`${CAPABILITIES}/`) && path.endsWith('.sql'))
  const owners = new Map()
  const sql = new Map(files.map((path) => [path, readFileSync(join(root, path), 'utf8').replace(/--.*$/gm, '')]))
  for (const [path, text] of sql)
    for (const [, table] of text.matchAll(/\bcreate\s+(?:unlogged\s+)?table\s+(?:if\s+not\s+exists\s+)?(\w+)/gi))
      owners.set(table, capabilityOf(path))
  const counts = new Map()
  for (const path of files) {
    const capability = capabilityOf(path)
    const tell = (line, message) => found.push(`${path}:${line}: ${message}`)
    const number = (counts.get(capability) ?? 0) + 1
    counts.set(capability, number)
    const expected = String(number).padStart(4, '0')
    const place = path.slice(`${CAPABILITIES}/${capability}/`.length)
    if (!new RegExp(`^migrations/${expected}-[a-z0-9-]+\\.sql$`).test(place))
      tell(
        1,
        `the next migration of ${capability} is migrations/${expected}-<what-it-does>.sql: numbers neither repeat nor leave gaps`,
      )
    if (![...texts].some(([file, text]) => capabilityOf(file) === capability && text.includes(`/${place}'`)))
      tell(1, `this migration is imported by no file of ${capability}, so it would never run`)
    const text = sql.get(path)
    for (const match of text.matchAll(/\breferences\s+(\w+)/gi)) {
      const owner = owners.get(match[1])
      if (owner === undefined || owner === capability || ranks.get(owner) < ranks.get(capability)) continue
      tell(lineAt(text, match.index), `a foreign key points downward only: ${match[1]} belongs to ${owner}`)
    }
  }
  return found
}

// ── Reading text ────────────────────────────────────────────────────────────────────────────────────────────────────────

/** The same text with comments, strings and regular expressions blanked out; quotes, backticks and lines stay in place. */
function mask(text) {
  const out = text.split('')
  const blank = (from, to) => {
    for (let at = from; at < to; at++) if (out[at] !== '\n') out[at] = ' '
  }
  /** Brace depths at which a template's `${` was opened. */
  const templates = []
  let depth = 0
  let last = ''
  let at = 0
  const template = () => {
    const from = at
    while (at < text.length && text[at] !== '`' && !(text[at] === '$' && text[at + 1] === '{'))
      at += text[at] === '\\' ? 2 : 1
    blank(from, Math.min(at, text.length))
    if (text[at] === '$') {
      templates.push(depth++)
      at += 2
      last = '{'
    } else {
      at++
      last = '`'
    }
  }
  while (at < text.length) {
    const char = text[at]
    const two = text.slice(at, at + 2)
    if (two === '//' || two === '/*') {
      const end = two === '//' ? text.indexOf('\n', at) : text.indexOf('*/', at) + 2
      const to = end < at ? text.length : end
      blank(at, to)
      at = to
    } else if (char === "'" || char === '"') {
      const from = ++at
      while (at < text.length && text[at] !== char && text[at] !== '\n') at += text[at] === '\\' ? 2 : 1
      blank(from, Math.min(at, text.length))
      at++
      last = char
    } else if (char === '`') {
      at++
      template()
    } else if (char === '/' && startsExpression(text, at, last)) {
      const from = at++
      for (let inClass = false; at < text.length && text[at] !== '\n' && (inClass || text[at] !== '/'); at++) {
        if (text[at] === '\\') at++
        else if (text[at] === '[') inClass = true
        else if (text[at] === ']') inClass = false
      }
      blank(from, ++at)
      last = ')'
    } else {
      if (char === '{') depth++
      if (char === '}' && --depth === templates.at(-1)) {
        templates.pop()
        at++
        template()
        continue
      }
      if (/\S/.test(char)) last = char
      at++
    }
  }
  return out.join('')
}

/** Whether a slash here begins a regular expression rather than dividing by something. */
const startsExpression = (text, at, last) =>
  last === '' ||
  '(,=:[!&|?{};+-*%<>~^'.includes(last) ||
  /\b(?:return|typeof|case|in|of)\s*$/.test(text.slice(Math.max(0, at - 12), at))

function lineAt(text, index) {
  let line = 1
  for (let at = text.indexOf('\n'); at >= 0 && at < index; at = text.indexOf('\n', at + 1)) line++
  return line
}

function* walk(root, folder) {
  if (!existsSync(join(root, folder))) return
  for (const entry of readdirSync(join(root, folder), { withFileTypes: true })) {
    if (entry.name === 'node_modules' || entry.name === 'dist' || entry.name === 'fixtures') continue
    const path = `${folder}/${entry.name}`
    if (entry.isDirectory()) yield* walk(root, path)
    else yield path
  }
}

const here = fileURLToPath(new URL('..', import.meta.url))
const root = process.argv[2] ?? here
const breaches = findBreaches(root)
for (const breach of breaches) console.log(breach)
console.log(
  breaches.length === 0 ? `The floors hold (${relative(process.cwd(), root) || '.'}).` : `${breaches.length} breached.`,
)
process.exitCode = breaches.length === 0 ? 0 : 1
