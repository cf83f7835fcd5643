/**
 * How output is shortened on the wire: sizes in bytes of UTF-8, AWS's marks, whole characters.
 * The official agent cuts bytes and may halve a character; here the cut stands before it. Used by agents when they reply
 * and by the server when it answers from the full output it keeps.
 */
import { utf8Length } from './json.ts'

/** Bytes of StandardOutputContent, and of the same member in agent replies. */
export const MAX_STDOUT_BYTES = 24_000
/** Bytes of StandardErrorContent in GetCommandInvocation; replies carry up to 24,000. */
export const MAX_STDERR_BYTES = 8_000
/** Bytes of CommandPlugins[].Output. */
export const MAX_COMBINED_BYTES = 2_500

const CUT_MARK = '--output truncated--'
const ERROR_TITLE = '\n----------ERROR-------\n'
const OUTPUT_MARK = '\n---Output truncated---'
const ERROR_MARK = '\n---Error truncated----'

/** The text when shorter than `bytes`; otherwise its beginning and the mark, together at most `bytes`. */
export function cut(text: string, bytes: number): string {
  if (fits(text, bytes - 1)) return text
  if (bytes <= CUT_MARK.length) return CUT_MARK.slice(0, Math.max(0, bytes))
  return beginning(text, bytes - CUT_MARK.length) + CUT_MARK
}

/** Both streams in one text of at most `bytes`: output, a title, errors; the longer one gives way, both when both are long. */
export function combinedOutput(stdout: string, stderr: string, bytes: number): string {
  const title = stderr === '' ? '' : ERROR_TITLE
  const space = Math.max(0, bytes - title.length)
  if (fits(stdout, space) && fits(stderr, space) && utf8Length(stdout) + utf8Length(stderr) < space) {
    return stdout + title + stderr
  }
  const half = Math.floor(space / 2)
  const shortOutput = fits(stdout, half)
  const shortErrors = fits(stderr, half)
  if (!shortOutput && !shortErrors) {
    const each = Math.floor((space - OUTPUT_MARK.length - ERROR_MARK.length) / 2)
    return beginning(stdout, each) + OUTPUT_MARK + title + beginning(stderr, each) + ERROR_MARK
  }
  if (shortOutput) {
    return stdout + title + beginning(stderr, space - ERROR_MARK.length - utf8Length(stdout)) + ERROR_MARK
  }
  return beginning(stdout, space - OUTPUT_MARK.length - utf8Length(stderr)) + OUTPUT_MARK + title + stderr
}

/** True when the text has at most this many bytes; does not encode a text that is surely longer. */
function fits(text: string, bytes: number): boolean {
  return text.length <= bytes && utf8Length(text) <= bytes
}

/** As many whole characters as fit in this many bytes. */
function beginning(text: string, bytes: number): string {
  if (bytes <= 0) return ''
  const { read } = new TextEncoder().encodeInto(text.slice(0, bytes), new Uint8Array(bytes))
  return text.slice(0, read)
}
