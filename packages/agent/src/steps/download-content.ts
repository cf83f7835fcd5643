// aws:downloadContent: one file from a web server, a file or a folder from an S3 address, or a document of the control
// plane. A relative destinationPath lies in the command's own downloads folder; one that names a folder keeps the source's
// file name.

import { mkdir, stat, writeFile } from 'node:fs/promises'
import { basename, dirname, isAbsolute, join, posix } from 'node:path'
import type { Json, JsonObject } from '@musterbook/document'
import { whole } from '../download.ts'
import { reason } from '../log.ts'
import { filesIn } from './s3-folder.ts'
import { failed, type Plugin, type PluginRun, textInput } from './step.ts'

export const downloadContent: Plugin = async (step) => {
  const type = textInput(step.inputs, 'sourceType')
  try {
    const info = sourceInfo(step.inputs.sourceInfo)
    switch (type) {
      case 'HTTP':
        return await fromWeb(
          step,
          secure(webAddress(textInput(info, 'url'), 'url'), info),
          await authorization(step, info),
        )
      case 'S3':
        return await fromS3(step, webAddress(textInput(info, 'path').replaceAll('+', '%20'), 'path'))
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

/** A file, or with a key that ends in `/` everything below it, in the same folders. */
async function fromS3(step: PluginRun, url: URL) {
  if (!url.pathname.endsWith('/')) return fromWeb(step, url, {})
  const files = await filesIn(step, url)
  if (files.length === 0) return failed(`nothing lies in ${url.origin}${url.pathname}`)
  const wanted = textInput(step.inputs, 'destinationPath')
  const base = isAbsolute(wanted) ? wanted : join(step.downloads, wanted)
  for (const { url: from, path } of files) {
    const to = join(base, path)
    await mkdir(dirname(to), { recursive: true, mode: 0o700 })
    await step.download(from, to)
  }
  await step.write('stdout', `Content downloaded to ${base} (${files.length} files)\n`)
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

/** What is run must not be what somebody on the way put in its place, unless that is asked for. */
function secure(url: URL, info: JsonObject): URL {
  if (url.protocol === 'https:' || textInput(info, 'allowInsecureDownload') === 'true') return url
  throw new Error("an http address needs 'allowInsecureDownload': true in sourceInfo")
}

async function authorization(step: PluginRun, info: JsonObject): Promise<Record<string, string>> {
  const method = textInput(info, 'authMethod')
  if (method === '' || method === 'None') return {}
  if (method !== 'Basic') throw new Error(`authMethod ${method} is not supported by this agent: None or Basic`)
  const [name, password] = [await kept(step, info, 'username'), await kept(step, info, 'password')]
  return { authorization: `Basic ${Buffer.from(`${name}:${password}`).toString('base64')}` }
}

/** A member as it stands, or what `{{ssm-secure:name}}` names: fetched only here, and written nowhere. */
async function kept(step: PluginRun, info: JsonObject, member: string): Promise<string> {
  const text = textInput(info, member)
  const name = /^\s*\{\{ *ssm-secure:([/\w.:-]+) *\}\}\s*$/.exec(text)?.[1]
  if (name === undefined) return text
  const { Parameters: found } = await step.call('GetParameters', { Names: [name], WithDecryption: true })
  const [parameter] = (Array.isArray(found) ? found : []) as { Value?: unknown }[]
  if (typeof parameter?.Value === 'string') return parameter.Value
  throw new Error(`${member} in sourceInfo names the parameter ${name}, which is not there`)
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
