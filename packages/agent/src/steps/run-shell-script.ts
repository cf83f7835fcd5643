// aws:runShellScript: runCommand's lines as a script for sh.

import { runScript, scriptLines } from './run-script.ts'
import type { Plugin } from './step.ts'

export const runShellScript: Plugin = (step) =>
  // As the official agent starts it: sh takes the path as a command, so a script's own #! line is honoured.
  runScript(step, { file: '_script.sh', lines: scriptLines(step), command: (path) => ['sh', '-c', quoted(path)] })

/** The data folder may have blanks in its name. */
function quoted(path: string): string {
  return `'${path.replaceAll("'", "'\\''")}'`
}
