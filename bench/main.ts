/** Runs one bench by its name and puts what it returns where it belongs. Started by scripts/bench.mjs with name and repository. */
import { publish, type Report } from './table.ts'

interface Bench {
  run(): Promise<Report | undefined> | Promise<void>
}

const BENCHES: Record<string, () => Promise<Bench>> = {
  parameters: () => import('./parameters.ts'),
  'fan-out': () => import('./fan-out.ts'),
  fleet: () => import('./fleet.ts'),
  start: () => import('./start.ts'),
  identity: () => import('./identity.ts'),
  policy: () => import('./policy.ts'),
  sessions: () => import('./sessions.ts'),
}

const [name = '', repository = ''] = process.argv.slice(2)
const load = BENCHES[name]
if (!load) throw new Error(`there is no bench ${name}`)
const report = await (await load()).run()
if (report) await publish(repository, name, report)
