// aws:runPowerShellScript: runCommand's lines as a script for PowerShell, on machines that have it.

import { access, constants } from 'node:fs/promises'
import { delimiter, join } from 'node:path'
import { runScript, scriptLines } from './run-script.ts'
import { failed, type Plugin } from './step.ts'

const EXIT_WITH_LAST_CODE = '\nexit $LASTEXITCODE'

export const runPowerShellScript: Plugin = async (step) => {
  const program = await findPowerShell()
  if (program === undefined) return failed('aws:runPowerShellScript needs PowerShell (pwsh), which this machine lacks')
  return runScript(step, {
    file: '_script.ps1',
    lines: scriptLines(step) + EXIT_WITH_LAST_CODE,
    command: (path) => [program, '-NoLogo', '-NonInteractive', '-ExecutionPolicy', 'Unrestricted', '-File', path],
  })
}

async function findPowerShell(): Promise<string | undefined> {
  for (const folder of (process.env.PATH ?? '').split(delimiter)) {
    const candidate = join(folder, 'pwsh')
    try {
      await access(candidate, constants.X_OK)
      return candidate
    } catch {
      // Not in this folder.
    }
  }
  return undefined
}
