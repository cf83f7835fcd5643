/** What --help prints, made from the tables of settings.ts. */
import { COMMANDS, type Command, SETTINGS, TOOLS } from './settings.ts'

const WIDTH = 100
const INDENT = 30

export function help(command: Command | undefined): string {
  const lines = command
    ? [`musterbook ${command}: ${COMMANDS[command]}`]
    : [
        'musterbook: a self-hosted AWS Systems Manager',
        '',
        'Usage: musterbook <command> [settings]',
        '',
        'Commands:',
        ...Object.entries(COMMANDS).flatMap(([name, text]) => entry(`  ${name}`, text)),
        '',
        "With words of their own ('musterbook <command> --help' tells them):",
        ...Object.entries(TOOLS).flatMap(([name, text]) => entry(`  ${name}`, text)),
      ]
  lines.push('', 'Settings (a flag wins over its variable):')
  for (const setting of Object.values(SETTINGS)) {
    if (command && !(setting.commands as readonly Command[]).includes(command)) continue
    const value = 'value' in setting ? ` <${setting.value}>` : ''
    const fallback = 'fallback' in setting ? ` [${setting.fallback}]` : ''
    const head = setting.flag ? `  --${setting.flag}${value}` : '  (variable only)'
    lines.push(...entry(head, `${setting.help}${fallback}`), ...entry('', setting.variable))
  }
  if (!command) lines.push('', "'musterbook <command> --help' shows the settings of one command.")
  return `${lines.join('\n')}\n`
}

function entry(head: string, text: string): string[] {
  const rows: string[] = ['']
  for (const word of text.split(' ')) {
    const last = rows.length - 1
    const row = rows[last]!
    if (row !== '' && row.length + word.length + 1 > WIDTH - INDENT) rows.push(word)
    else rows[last] = row === '' ? word : `${row} ${word}`
  }
  const first =
    head.length + 2 > INDENT ? [head, `${' '.repeat(INDENT)}${rows[0]}`] : [`${head.padEnd(INDENT)}${rows[0]}`]
  return [...first, ...rows.slice(1).map((row) => `${' '.repeat(INDENT)}${row}`)]
}
