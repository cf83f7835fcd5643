/** The work of the tools: each is loaded when it is called. main.ts runs them. */
import type { ToolName } from './settings.ts'

/** Handed all arguments, the tool's own name first. */
type RunTool = (args: string[]) => Promise<void>

export const LOADERS: Readonly<Record<ToolName, () => Promise<RunTool>>> = {
  follow: async () => (await import('./follow.ts')).runFollow,
  keys: async () => (await import('./keys.ts')).runKeys,
  session: async () => (await import('./sessions.ts')).runSessionCommand,
  forward: async () => (await import('./sessions.ts')).runSessionCommand,
  sessions: async () => (await import('./sessions.ts')).runSessionCommand,
  accounts: async () => (await import('./accounts.ts')).runAccounts,
  explain: async () => (await import('./explain.ts')).runExplain,
  trail: async () => (await import('./trail.ts')).runTrail,
  policy: async () => (await import('./policy.ts')).runPolicy,
}
