// aws:downloadContent: one file from a web server, an S3 address, or a document of the control plane. A relative
// destinationPath lies in the command's own downloads folder; one that names a folder keeps the source's file name.

import { mkdir, stat, writeFile } from 'node:fs/promises'
import { basename, dirname, isAbsolute, join, posix } from 'node:path'
import type { Json, JsonObject } from '@musterbook/document'
import { whole } from '../download.ts'
import { reason } from '../log.ts'
import { failed, type Plugin, type PluginRun, textInput } from './step.ts'

export const downloadContent: Plugin = async (step) => {
  const type = textInput(step.inputs, 'sourceType')
  try {
    const info = sourceInfo(step.inputs.sourceInfo)
    switch (type) {
      case 'HTTP':
        return await fromWeb(step, webAddress(textInput(info, 'url'), 'url'), authorization(info))
      case 'S3':
        return await fromWeb(step, webAddress(textInput(info, 'path'), 'path'), {})
      case 'SSMDocument':
        return await fromDocument(step, textInput(info, 'name'))
      default:
        return failed(`sourceType ${type === '' ? 'must be given' : `${type} is not supported by this agent`}`)
    }
  } catch (error) {
    return failed(reason(error))
  }
}

async function fromWeb(step: PluginRun, url: URL, headers: Record<string, string>) {
  const name = decodeURIComponent(posix.basename(url.pathname))
  if (name === '' || url.pathname.endsWith('/')) return failed('the source must name a file, not a folder')
  const path = await destination(step, name)
  await step.download(url, path, headers)
  await step.write('stdout', `Content downloaded to ${path}\n`)
  return { exitCode: 0 }
}

async function fromDocument(step: PluginRun, name: string) {
  if (name === '') return failed('sourceInfo must hold the name of a document')
  const [plain, version] = /^(?:arn:.*\/)?[^:]*$/.test(name) ? [name] : split(name)
  const input = { Name: plain, DocumentFormat: 'JSON', ...(version ? { DocumentVersion: version } : {}) }
  const { Content: content } = await step.call('GetDocument', input)
  if (typeof content !== 'string') return failed(`the document ${name} came without content`)
  const path = await destination(step, `${posix.basename(plain ?? name)}.json`)
  await whole(path, (beside) => writeFile(beside, content, { flag: 'wx', mode: 0o600 }))
  await step.write('stdout', `Content downloaded to ${path}\n`)
  return { exitCode: 0 }
}

function split(name: string): [string, string] {
  const colon = name.lastIndexOf(':')
  return [name.slice(0, colon), name.slice(colon + 1)]
}

async function destination(step: PluginRun, name: string): Promise<string> {
  const wanted = textInput(step.inputs, 'destinationPath')
  const base = isAbsolute(wanted) ? wanted : join(step.downloads, wanted)
  const isFolder = wanted === '' || wanted.endsWith('/') || (await folderExists(base))
  // The name comes from the source: only its last part counts, so that it cannot leave the folder.
  const path = isFolder ? join(base, basename(name)) : base
  await mkdir(dirname(path), { recursive: true, mode: 0o700 })
  return path
}

async function folderExists(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isDirectory()
  } catch {
    return false
  }
}

function webAddress(text: string, member: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined
  if (url?.protocol === 'https:' || url?.protocol === 'http:') return url
  throw new Error(`${member} in sourceInfo must be an http or https address`)
}

function authorization(info: JsonObject): Record<string, string> {
  if (textInput(info, 'authMethod') !== 'Basic') return {}
  const pair = `${textInput(info, 'username')}:${textInput(info, 'password')}`
  return { authorization: `Basic ${Buffer.from(pair).toString('base64')}` }
}

function sourceInfo(given: Json | undefined): JsonObject {
  let value = given
  if (typeof given === 'string') {
    try {
      value = JSON.parse(given)
    } catch {
      throw new Error('sourceInfo is not JSON')
    }
  }
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value
  throw new Error('sourceInfo must be a JSON object')
}
