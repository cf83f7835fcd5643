/**
 * Commands with words of their own, which the table of settings does not know: one line each here, their usage and their
 * work in the file that is loaded when they are called. main.ts runs them, help.ts lists them.
 */
export interface Tool {
  help: string
  /** Handed all arguments, its own name first. */
  load(): Promise<(args: string[]) => Promise<void>>
}

export const TOOLS: Readonly<Record<string, Tool>> = {
  follow: {
    help: 'show the output of a command on all of its nodes while they run it',
    load: async () => (await import('./follow.ts')).runFollow,
  },
  keys: {
    help: 'change the root key while everything runs, and tell which one is in use',
    load: async () => (await import('./keys.ts')).runKeys,
  },
  session: {
    help: 'a shell on a node, without session-manager-plugin',
    load: async () => (await import('./sessions.ts')).runSessionCommand,
  },
  forward: {
    help: 'a local port that leads to a port of a node, or to a host that the node reaches',
    load: async () => (await import('./sessions.ts')).runSessionCommand,
  },
  sessions: {
    help: 'play, verify or search the recordings of sessions',
    load: async () => (await import('./sessions.ts')).runSessionCommand,
  },
  accounts: {
    help: 'create, list, disable and enable accounts, each with a root key of its own',
    load: async () => (await import('./accounts.ts')).runAccounts,
  },
  explain: {
    help: 'say why a call was denied, or would be: which statement, which condition, which permission is missing',
    load: async () => (await import('./explain.ts')).runExplain,
  },
  trail: {
    help: 'verify: find out whether the audit is as it was written, and name the first bad record',
    load: async () => (await import('./trail.ts')).runTrail,
  },
  policy: {
    help: 'lint: name the grants of node roles that reach beyond the node itself',
    load: async () => (await import('./policy.ts')).runPolicy,
  },
}
