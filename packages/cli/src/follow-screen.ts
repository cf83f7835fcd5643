/**
 * What `musterbook follow` shows: lines of many nodes under their names, and below them how far the command is. On a terminal
 * every node has a colour, and what nodes write may colour its line and nothing else; where output goes into a file
 * or a pipe its bytes stay as they are.
 */

export interface Followed {
  nodeId: string
  /** Names from the one that is liked best; a name that two nodes have names neither. */
  names: readonly (string | undefined)[]
}

/** A machine calls itself what it likes: nothing that moves a cursor, breaks a line or turns the direction of writing. */
const UNSHOWABLE = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u

/** Each node's best name that can be shown and that no other node has too, as its id or otherwise; its id where there is none. */
export function shownNames(nodes: readonly Followed[]): Map<string, string> {
  const bearers = new Map(nodes.map(({ nodeId }) => [nodeId, new Set([nodeId])]))
  for (const { nodeId, names } of nodes)
    for (const name of names) if (name) bearers.set(name, (bearers.get(name) ?? new Set()).add(nodeId))
  const isOwn = (name: string | undefined) => name && bearers.get(name)?.size === 1 && !UNSHOWABLE.test(name)
  return new Map(nodes.map(({ nodeId, names }) => [nodeId, names.find(isOwn) || nodeId]))
}

const ESC = '\u001b'
const STYLE = new RegExp(`${ESC}\\[[0-9;:]*m`, 'g')
/** Styles, other control sequences, strings that end with BEL or ST, other escapes, control characters but the tab. */
const CONTROLS = new RegExp(
  [
    `(${ESC}\\[[0-9;:]*m)`,
    `${ESC}\\[[0-?]*[ -/]*[@-~]?`,
    `${ESC}[\\]PX^_][^\\u0007${ESC}]*(?:\\u0007|${ESC}\\\\)?`,
    `${ESC}[ -/]*[0-~]?`,
    '[\\u0000-\\u0008\\u000a-\\u001f\\u007f-\\u009f]',
  ].join('|'),
  'g',
)

/** What a terminal would show of a line in the end: the last of what was written over itself, colours, no other commands. */
export function onTerminal(line: string): string {
  const text = line.split('\r').findLast((part) => part !== '') ?? ''
  const clean = text.replace(CONTROLS, (_all, style: string | undefined) => style ?? '')
  return clean.search(STYLE) < 0 ? clean : `${clean}${ESC}[0m`
}

export const OPEN: ReadonlySet<string> = new Set(['Pending', 'InProgress', 'Delayed', 'Cancelling'])

/** `2 of 3 done: 1 Failed, 1 InProgress, 1 Success` */
export function progressText(states: Iterable<string>): string {
  const counts = new Map<string, number>()
  for (const state of states) counts.set(state, (counts.get(state) ?? 0) + 1)
  const sum = (rows: [string, number][]) => rows.reduce((total, [, count]) => total + count, 0)
  const rows = [...counts].sort(([one], [other]) => (one < other ? -1 : 1))
  const done = sum(rows.filter(([state]) => !OPEN.has(state)))
  return `${done} of ${sum(rows)} done: ${rows.map(([state, count]) => `${count} ${state}`).join(', ')}`
}

/** Nodes that are named in the summary of one state; the others are counted. */
const NAMED = 10

/** Who did not succeed, state by state: `Failed: web-1, web-2`. */
export function unsuccessful(states: ReadonlyMap<string, string>, names: ReadonlyMap<string, string>): string[] {
  const by = new Map<string, string[]>()
  for (const [nodeId, state] of states)
    if (state !== 'Success') by.set(state, [...(by.get(state) ?? []), names.get(nodeId) ?? nodeId])
  return [...by].map(([state, nodes]) => {
    const more = nodes.length > NAMED ? ` and ${nodes.length - NAMED} more` : ''
    return `${state}: ${nodes.slice(0, NAMED).join(', ')}${more}`
  })
}

export interface Screen {
  line(nodeId: string, stream: string, text: string): void
  state(nodeId: string, statusDetails: string): void
  /** The last of the progress line, which stays. */
  end(): void
}

/** Cyan, yellow, green, magenta, blue: red is for errors. */
const COLOURS = [36, 33, 32, 35, 34]
const LONGEST_NAME = 30

type Out = NodeJS.WritableStream & { isTTY?: boolean; columns?: number }

/** `states` is what is known of each node so far; lines go to `out`, progress to `progress`. */
export function screen(
  out: Out,
  progress: Out,
  names: ReadonlyMap<string, string>,
  states: Map<string, string>,
  colourful: boolean,
): Screen {
  const width = Math.min(LONGEST_NAME, Math.max(0, ...[...names.values()].map((name) => name.length)))
  const colourOf = new Map([...names.keys()].map((nodeId, at) => [nodeId, COLOURS[at % COLOURS.length]!]))
  const painted = (text: string, colour: number) =>
    out.isTTY && colourful ? `${ESC}[${colour}m${text}${ESC}[0m` : text
  const clear = () => progress.isTTY && progress.write(`\r${ESC}[K`)
  // A line that wraps could not be taken back.
  const draw = () =>
    progress.isTTY &&
    progress.write(`\r${ESC}[K${progressText(states.values()).slice(0, (progress.columns || 80) - 1)}`)
  return {
    line(nodeId, stream, text) {
      const name = (names.get(nodeId) ?? nodeId).padEnd(width)
      const bar = stream === 'stderr' ? painted('!', 31) : '|'
      if (out.isTTY) clear()
      const shown = out.isTTY ? onTerminal(text) : text.replace(/\r$/, '')
      out.write(`${painted(name, colourOf.get(nodeId) ?? 0)} ${bar} ${shown}\n`)
      if (out.isTTY) draw()
    },
    state(nodeId, statusDetails) {
      states.set(nodeId, statusDetails)
      draw()
    },
    end() {
      clear()
      progress.write([progressText(states.values()), ...unsuccessful(states, names)].map((row) => `${row}\n`).join(''))
    },
  }
}
