/**
 * What a terminal's output shows as text, for searches: a word typed letter by letter, coloured or cut in two is found as
 * what stands on the screen. No terminal is imitated: what is overwritten in place stays. Pure.
 */

// Sequences with parameters (CSI), texts for the terminal (OSC, DCS and their like), and two-letter escapes.
// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what this is about
const ESCAPES = /\u001b(?:\[[0-?]*[ -/]*[@-~]|[\]PX^_][^\u0007\u001b]*(?:\u0007|\u001b\\|$)|[ -/]*[0-~])/g
// biome-ignore lint/suspicious/noControlCharactersInRegex: as above
const CONTROLS = /[\u0000-\u0008\u000b-\u001f\u007f]/g

export const shownText = (output: string): string => output.replace(ESCAPES, '').replace(CONTROLS, '')

/** Characters of a chunk's text that the next one repeats, so that what lies across both is found: the longest search. */
export const OVERLAP = 200

/** Whether the text ends in what this chunk showed itself; what lies in the repeated words alone is the chunk's before. */
export function foundIn(body: string, shown: string, text: string): boolean {
  const repeated = shown === '' ? 0 : Math.max(0, shown.length - shownText(outputOf(body)).length)
  return repeated === 0 || shown.includes(text, Math.max(0, repeated - text.length + 1))
}

/** All that the output events of these asciicast lines hold. */
export const outputOf = (body: string): string =>
  eventsOf(body)
    .map(({ output }) => output)
    .join('')

/** The second in which the text stood whole on the screen; that of the first event when it began before this chunk. */
export function secondOf(body: string, text: string): number {
  const events = eventsOf(body)
  const all = events.map(({ output }) => output)
  const shows = (count: number) => shownText(all.slice(0, count).join('')).includes(text)
  if (!shows(all.length)) return events[0]?.second ?? 0
  let [least, most] = [1, all.length]
  while (least < most) {
    const middle = (least + most) >> 1
    if (shows(middle)) most = middle
    else least = middle + 1
  }
  return events[least - 1]?.second ?? 0
}

function eventsOf(body: string): { second: number; output: string }[] {
  return body.split('\n').flatMap((line) => {
    const event: unknown = line === '' ? undefined : JSON.parse(line)
    return Array.isArray(event) && event[1] === 'o' ? [{ second: Number(event[0]), output: String(event[2]) }] : []
  })
}
