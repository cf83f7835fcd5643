// Splits a command line into words as the official agent does (POSIX quoting, no expansion): NonInteractiveCommands are
// run without a shell.

/** Throws an Error for a quote that is not closed. */
export function splitCommandLine(line: string): string[] {
  const words: string[] = []
  let word: string | undefined
  let quote: '"' | "'" | undefined
  for (let at = 0; at < line.length; at++) {
    const character = line[at] ?? ''
    if (quote === "'") {
      if (character === "'") quote = undefined
      else word = (word ?? '') + character
    } else if (character === '\\') {
      const next = line[++at]
      if (next === undefined) throw new Error('the command ends with a backslash')
      // Inside double quotes a backslash stays before everything that it does not protect.
      const kept = quote === '"' && !'"\\$`'.includes(next) ? `\\${next}` : next
      word = (word ?? '') + kept
    } else if (quote === '"') {
      if (character === '"') quote = undefined
      else word = (word ?? '') + character
    } else if (character === '"' || character === "'") {
      quote = character
      word ??= ''
    } else if (/\s/.test(character)) {
      if (word !== undefined) words.push(word)
      word = undefined
    } else word = (word ?? '') + character
  }
  if (quote !== undefined) throw new Error('the command has a quote that is not closed')
  if (word !== undefined) words.push(word)
  return words
}
