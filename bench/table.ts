/**
 * What a bench found, printed and written into its own section of docs/benchmarks.md. A section lies between two comments
 * that carry the bench's name; everything outside of them is written by hand and stays.
 */
import { execFileSync } from 'node:child_process'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { cpus, release, totalmem } from 'node:os'

export interface Report {
  title: string
  /** How it was measured, in sentences. */
  method: string[]
  tables: Table[]
}

export interface Table {
  caption: string
  head: string[]
  rows: string[][]
}

export async function publish(repository: string, name: string, report: Report): Promise<void> {
  const text = markdown(repository, report)
  console.log(`\n${text}`)
  const path = `${repository}/docs/benchmarks.md`
  const page = await readFile(path, 'utf8').catch(() => '# Benchmarks\n')
  await mkdir(`${repository}/docs`, { recursive: true })
  await writeFile(path, merge(page, name, text))
}

function merge(page: string, name: string, text: string): string {
  const [begin, end] = [`<!-- bench ${name} -->`, `<!-- end ${name} -->`]
  const section = `${begin}\n${text}\n${end}`
  const from = page.indexOf(begin)
  const to = page.indexOf(end)
  if (from < 0 || to < from) return `${page.trimEnd()}\n\n${section}\n`
  return page.slice(0, from) + section + page.slice(to + end.length)
}

function markdown(repository: string, { title, method, tables }: Report): string {
  const lines = [`## ${title}`, '', machine(repository), '', ...method.flatMap((sentence) => [sentence, ''])]
  for (const { caption, head, rows } of tables) {
    lines.push(`**${caption}**`, '', row(head), row(head.map((_, column) => (column === 0 ? '---' : '---:'))))
    lines.push(...rows.map(row), '')
  }
  return lines.join('\n').trimEnd()
}

const row = (cells: string[]) => `| ${cells.join(' | ')} |`

function machine(repository: string): string {
  const git = (...args: string[]) => execFileSync('git', args, { cwd: repository, encoding: 'utf8' }).trim()
  const changed = git('status', '--porcelain', '--', 'packages') === '' ? '' : ' with uncommitted changes'
  const [cpu] = cpus()
  const size = `${cpus().length} × ${cpu?.model.trim() ?? 'unknown'}, ${Math.round(totalmem() / 2 ** 30)} GiB`
  const date = new Date().toISOString().slice(0, 10)
  return `${date}, commit ${git('rev-parse', '--short', 'HEAD')}${changed}; ${size}; Linux ${release()}; Node ${process.version}.`
}
